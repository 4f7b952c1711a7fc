// Django, with the project of fixtures/django: frozen without a database, then decided by the table alone, until anything has changed
// that Django's answer came from.
// @runs-on executable

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

import type { Status } from "../../../src/commands/status.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import {
  createProject,
  djangos,
  isMissing,
  migration,
  newest,
  type Project,
} from "./harness/django.ts";

const testNewest = test.skipIf(isMissing(newest));
const squash = "posts.0001_squashed_0002_title";
const head = "posts.0003_published";

async function freeze(project: Project): Promise<string> {
  const { code, stdout, stderr } = await project.run(["freeze"]);
  expect(code, stderr).toBe(0);
  return stdout;
}

async function statusOf(project: Project, url: string): Promise<Status> {
  const { stdout, stderr } = await project.run(["status", "--json"], { DATABASE_URL: url });
  expect(stdout, stderr).not.toBe("");
  return JSON.parse(stdout) as Status;
}

async function migrate(project: Project, url: string, ...args: readonly string[]) {
  const { code, stdout, stderr, lines } = await project.run(args.length > 0 ? args : ["migrate"], {
    DATABASE_URL: url,
  });
  return { code, stdout, stderr, lines, events: lines.map(({ event }) => event) };
}

const failing = migration(
  "0003_published",
  'migrations.RunSQL("create table half ()"), migrations.RunSQL("select no_such_function()")',
);

for (const django of djangos) {
  test.skipIf(isMissing(django))(
    `Django ${django.version}: frozen without a database, eight replicas migrate an empty one once, and then it is not started`,
    async () => {
      const project = createProject(django);
      expect(await freeze(project)).toMatch(
        new RegExp(`: \\d+ migrations of 2 applications, by Django ${django.version}\\.\\d+\n$`),
      );
      const url = await createTestDatabase();
      const before = await statusOf(project, url);
      expect(before).toMatchObject({ state: "behind", source: "frozen" });
      // Of a squash and what it replaces, Django runs one.
      expect(before.pending?.filter((id) => id.startsWith("posts."))).toEqual([squash, head]);

      // Two with the application, which needs the newest migration, and six that only migrate.
      const runs = Array.from({ length: 8 }, (_, index) =>
        project.start(index < 2 ? ["python", "app.py"] : ["migrate"], { DATABASE_URL: url }),
      );
      const ended = await Promise.all(runs.map((run) => run.ended));
      expect(ended.map(({ code }) => code)).toEqual(Array.from({ length: 8 }, () => 0));
      expect(runs.slice(0, 2).map((run) => run.stdout())).toEqual([
        expect.stringContaining("published posts: 0\n"),
        expect.stringContaining("published posts: 0\n"),
      ]);
      const migrating = runs.filter((run) =>
        run.lines().some(({ event }) => event === "migrating"),
      );
      expect(migrating).toHaveLength(1);

      writeFileSync(join(project.cwd, "python"), "#!/bin/sh\nexit 9\n", { mode: 0o755 });
      const PATH = `${project.cwd}:/usr/bin:/bin`;
      const again = await project.run(["true"], { DATABASE_URL: url, PATH });
      expect(again.code, again.stderr).toBe(0);
      expect(again.lines.map(({ event }) => event)).toEqual(["current", "starting"]);
      // Where no setting names the database, Django does.
      const DB = url.replace("postgresql:", "postgres:");
      const named = await project.run(["true"], { DB });
      expect(named.code, named.stderr).toBe(0);
      expect(named.lines.map(({ event }) => event)).toEqual([
        "asking",
        "database-found",
        "current",
        "starting",
      ]);
      // Django agrees.
      const check = project.manage(["migrate", "--check"], { DATABASE_URL: url });
      expect(check.code, check.output).toBe(0);
    },
  );
}

testNewest(
  "a database from before a squash, a failing migration, and what is applied",
  async () => {
    const project = createProject(newest);
    const url = await createTestDatabase();
    const moved = ["0001_squashed_0002_title.py", "0003_published.py"].map((name) => {
      const path = `posts/migrations/${name}`;
      const text = readFileSync(join(project.cwd, path), "utf8");
      rmSync(join(project.cwd, path));
      return () => project.write(path, text);
    });
    const bare = project.manage(["migrate"], { DATABASE_URL: url });
    expect(bare.code, bare.output).toBe(0);
    for (const restore of moved) restore();
    // Without anything frozen, status has Django list them.
    expect(await statusOf(project, url)).toMatchObject({
      state: "behind",
      source: "django",
      pending: [squash, head],
    });
    project.write("posts/migrations/0004_half.py", failing);
    await freeze(project);
    const failed = await migrate(project, url);
    expect(failed.code, failed.stderr).toBe(1);
    expect(failed.lines.at(-1)?.msg).toContain("3 were pending, 1 was applied");
    expect(await statusOf(project, url)).toMatchObject({
      state: "behind",
      // Django records a squash at the end of a run that succeeds.
      pending: [squash, "posts.0004_half"],
    });
    const history = await project.run(["history"], { DATABASE_URL: url });
    expect(history.stdout).toContain(`applied  ${head}\npending  posts.0004_half\n`);
    const back = await project.run(["downgrade", "-1"], { DATABASE_URL: url });
    expect(back.code).toBe(64);
    expect(back.stderr).toContain("python manage.py migrate APP MIGRATION");
  },
);

testNewest("what the frozen answer came from makes it stale when it changes", async () => {
  const project = createProject(newest);
  project.write("notes/__init__.py", "");
  project.write(
    "config/settings.py",
    `${readFileSync(join(project.cwd, "config/settings.py"), "utf8")}\nINSTALLED_APPS.append("notes")\n`,
  );
  const { lines } = await project.run(["freeze"]);
  // That the applications depend on DEBUG is found; ALLOWED_HOSTS does not matter.
  expect(lines).toMatchObject([{ event: "variables", variables: ["DEBUG"] }]);
  const ignored = async (env: Record<string, string> = {}) => {
    const heads = await project.run(["heads"], env);
    const found = heads.lines.find(({ event }) => event === "freeze-ignored");
    if (found === undefined) expect(heads.stdout).toContain(`${head}\n`);
    return found === undefined ? null : String(found["reason"]).replaceAll(project.cwd, "");
  };
  expect(await ignored({ ALLOWED_HOSTS: "example.org", SECRET_KEY: "another" })).toBe(null);
  expect(await ignored({ DEBUG: "1" })).toBe("DEBUG is not what it was at the build");
  expect(await ignored({ DJANGO_SETTINGS_MODULE: "config.other" })).toBe(
    "DJANGO_SETTINGS_MODULE has changed",
  );
  const changes: [path: string, reason: string][] = [
    ["config/settings.py", "/config/settings.py has changed"],
    ["manage.py", "/manage.py has changed"],
    [
      "posts/migrations/0004_more.py",
      "a revision file in /posts/migrations has been added, changed or removed",
    ],
    [
      "posts/migrations/0003_published.py",
      "a revision file in /posts/migrations has been added, changed or removed",
    ],
    // Handlers and migrations that come to an application.
    ["posts/management/__init__.py", "/posts/management/__init__.py has been added"],
    ["posts/apps.py", "/posts/apps.py has been added"],
    ["notes/migrations/0001_initial.py", "/notes/migrations has been added"],
    ["notes/models.py", "/notes/models.py has been added"],
    [".env", "/.env has been added"],
  ];
  for (const [path, reason] of changes) {
    const whole = join(project.cwd, path);
    const before = existsSync(whole) ? readFileSync(whole, "utf8") : null;
    project.write(path, `${before ?? ""}\n`);
    expect(await ignored(), path).toBe(reason);
    if (before === null)
      rmSync(path === "notes/migrations/0001_initial.py" ? join(whole, "..") : whole, {
        recursive: true,
      });
    else project.write(path, before);
  }
});

const apps = "class Posts(AppConfig):\n    name = 'posts'\n    def ready(self):\n";
const imports = "from django.apps import AppConfig\n";

test.skipIf(isMissing(newest)).for<[what: string, path: string, text: string, reason: RegExp]>([
  [
    "conflicting migrations",
    "posts/migrations/0003_other.py",
    migration("0002_title", ""),
    /Django refuses conflicting migrations: 0003_other and 0003_published of posts/,
  ],
  [
    "a migration that depends on one that is not there",
    "posts/migrations/0004_lost.py",
    migration("0009_none", ""),
    /NodeNotFoundError: Migration posts\.0004_lost dependencies reference nonexistent/,
  ],
  [
    "an application that queries the database as it is loaded",
    "posts/apps.py",
    `${imports}${apps}        from posts.models import Post\n        Post.objects.count()\n`,
    /OperationalError: .*no\.such\.host/,
  ],
  [
    "a migrate of the project's own",
    "posts/management/commands/migrate.py",
    "from django.core.management.commands.migrate import Command\n",
    /the command migrate is that of posts, and not Django's own/,
  ],
])("freeze refuses %s", async ([, path, text, reason]) => {
  const project = createProject(newest);
  project.write(path, text);
  const { code, stderr } = await project.run(["freeze"]);
  expect(code, stderr).toBe(86);
  expect(stderr).toMatch(reason);
  expect(existsSync(join(project.cwd, "entrypoint.freeze.json"))).toBe(false);
});

const receiver = `${imports}from django.db.models.signals import post_migrate

def seed(**options):
    from posts.models import Post
    Post.objects.create(published=True)

${apps}        post_migrate.connect(seed, sender=self)
`;

test
  .skipIf(isMissing(newest))
  .for<[what: string, change: (project: Project) => void, reason: string]>([
    [
      "a handler of the project's own",
      (project) => project.write("posts/apps.py", receiver),
      "posts.apps.seed runs with every migrate",
    ],
    [
      "models without migrations",
      (project) => {
        project.write("notes/__init__.py", "");
        project.write(
          "notes/models.py",
          "from django.db import models\nclass Note(models.Model):\n    pass\n",
        );
        project.append("config/settings.py", 'INSTALLED_APPS += ["notes"]\n');
      },
      "the application notes has models and no migrations",
    ],
  ])("%s: the command runs at every boot, and is verified", async ([, change, reason]) => {
  const project = createProject(newest);
  change(project);
  const frozen = await project.run(["freeze"]);
  expect(frozen.stderr).toContain(`Every start will still run the migration command: ${reason}`);
  const url = await createTestDatabase();
  expect((await migrate(project, url)).code).toBe(0);
  const { code, stderr, events } = await migrate(project, url);
  expect(code, stderr).toBe(0);
  expect(events).toContain("migrating");
  expect(stderr).toContain(reason);
  expect(await statusOf(project, url)).toMatchObject({ state: "current" });
});
