// The lint of Django's migrations, by real Django: what it prints of each operation, and what it cannot; the line in the migration's
// file; the transaction of each; comments that allow; and the safe forms, which Django runs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import {
  createProject,
  djangos,
  isMissing,
  migration,
  newest,
  type Project,
} from "../tools/harness/django.ts";

interface Finding {
  readonly rule: string;
  readonly file: string | null;
  readonly line: number | null;
  readonly allowed: string | null;
  readonly message: string;
  readonly safe: readonly { readonly django: string }[];
}

interface Report {
  readonly findings: readonly Finding[];
  readonly revisions: readonly string[] | null;
}

/** The project, with an application of its own migrations, and a database with the first ones and many rows. */
async function prepare(
  django: (typeof djangos)[number],
  pending: Readonly<Record<string, string>>,
): Promise<{ project: Project; url: string }> {
  const project = createProject(django);
  project.write(
    "posts/migrations/0004_unique.py",
    migration(
      "0003_published",
      'migrations.AddField("Post", "at", models.IntegerField(default=0)), migrations.AlterUniqueTogether("Post", {("title", "at")})',
    ),
  );
  const url = await createTestDatabase();
  const { code, output } = project.manage(["migrate"], { DATABASE_URL: url });
  expect(code, output).toBe(0);
  await (
    await connectClient(url)
  ).query(
    "insert into posts_post (title, published, at) select 'a post', false, n from generate_series(1, 20000) n; analyze posts_post",
  );
  for (const [name, text] of Object.entries(pending))
    project.write(`posts/migrations/${name}.py`, text);
  return { project, url };
}

async function lint(
  project: Project,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Report & { readonly listed: readonly string[] }> {
  const { stdout, stderr } = await project.run(["lint", "--json", ...args], env);
  expect(stdout, stderr).not.toBe("");
  const report = JSON.parse(stdout) as Report;
  const listed = report.findings.map(({ rule, file, line, allowed }) => {
    const place = String(file).replace("posts/migrations/", "");
    return `${place}:${line} ${rule}${allowed === null ? "" : ", allowed"}`;
  });
  return { ...report, listed: listed.toSorted() };
}

/** Each operation on a line of its own, from line 15 on. */
function write(after: string, operations: readonly string[], rest = ""): string {
  return `from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.migrations.operations.base import Operation


def fill(apps, schema_editor):
    open("filled", "w").close()


class Migration(migrations.Migration):
    ${rest}
    dependencies = [("posts", "${after}")]

    operations = [
${operations.map((one) => `        ${one}\n`).join("")}    ]
`;
}

const title = 'models.Index(fields=["title"], name="posts_title_NAME")';
const index = (name: string) => title.replace("NAME", name);

const writing = `class Write(Operation):
    def state_forwards(self, app_label, state):
        pass

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("create table written ()")


`;

const pending = {
  "0005_plain": write("0004_unique", [
    `migrations.AddIndex("Post", ${index("a")}),`,
    'migrations.AddField("Post", "views", models.IntegerField(default=0)),',
    "migrations.AlterField(",
    '    "Post", "at", models.BigIntegerField(default=0)),',
  ]),
  "0006_python": write("0005_plain", [
    "migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop),",
    "migrations.RunPython(fill),",
    "migrations.SeparateDatabaseAndState(",
    "    database_operations=[",
    '        migrations.RunSQL("drop table other; select 1"),',
    "        migrations.RunPython(fill),",
    "    ],",
    "),",
  ]),
  "0007_concurrent": write(
    "0006_python",
    [`AddIndexConcurrently("Post", ${index("b")}),`],
    "atomic = False",
  ),
  "0008_transactions": write(
    "0007_concurrent",
    [
      'migrations.RunSQL("create index concurrently one on posts_post (id)"),',
      'migrations.RunSQL("select 1; create index concurrently two on posts_post (id)"),',
    ],
    "atomic = False",
  ),
  "0009_atomic": write("0008_transactions", [`AddIndexConcurrently("Post", ${index("c")}),`]),
  "0010_allowed": write("0009_atomic", [
    "# entrypoint: allow create-index because nobody writes at night",
    `migrations.AddIndex("Post", ${index("d")}),`,
    `migrations.AddIndex("Post", ${index("e")}),  # entrypoint: allow create-index because it is next to it`,
    `migrations.AddIndex("Post", ${index("f")}), migrations.AddIndex("Post", ${index("g")}),  # entrypoint: allow create-index because of which?`,
    "# entrypoint: allow create-index",
    `migrations.AddIndex("Post", ${index("h")}),`,
    '*[migrations.RunSQL(f"drop table {name}") for name in ("one", "two")],',
  ]),
  // The name of the constraint is the database's.
  "0011_names": write("0010_allowed", [
    'migrations.AlterUniqueTogether("Post", set()),',
    "Write(),",
    'migrations.RunSQL("-- entrypoint: allow drop-table because it is old\\ndrop table old"),',
  ]).replace("class Migration", `${writing}class Migration`),
};

const expected = [
  "0005_plain.py:15 create-index",
  "0005_plain.py:17 change-type",
  "0006_python.py:16 incomplete",
  "0006_python.py:19 drop-table",
  "0006_python.py:20 incomplete",
  "0008_transactions.py:16 concurrently-in-transaction",
  "0009_atomic.py:15 concurrently-in-transaction",
  "0010_allowed.py:16 create-index, allowed",
  "0010_allowed.py:17 create-index, allowed",
  "0010_allowed.py:18 create-index",
  "0010_allowed.py:18 create-index",
  "0010_allowed.py:19 bad-suppression",
  "0010_allowed.py:20 create-index",
  "0010_allowed.py:21 drop-table",
  "0010_allowed.py:21 drop-table",
  "0011_names.py:24 drop-key",
  "0011_names.py:25 incomplete",
  "0011_names.py:26 drop-table, allowed",
];

describe.for(djangos)("Django $version", (django) => {
  test.skipIf(isMissing(django))(
    "each pending operation, with its line, and the database is only read",
    { timeout: 120_000 },
    async () => {
      const { project, url } = await prepare(django, pending);
      const env = {
        DATABASE_URL: url,
        // As before Python 3.11: a call has a line, and no columns.
        ...(django === newest ? {} : { PYTHONNODEBUGRANGES: "1" }),
      };
      const { listed, revisions, findings } = await lint(project, [], env);
      expect(listed).toEqual(expected);
      expect(revisions).toEqual(Object.keys(pending).map((name) => `posts.${name}`));
      expect(findings.find(({ line, rule }) => line === 25 && rule === "incomplete")?.message).toBe(
        "the SQL of posts.0011_names could not be printed to its end: Write: InternalError: cannot execute CREATE TABLE in a read-only transaction",
      );
      const client = await connectClient(url);
      const { rows } = await client.query("select to_regclass('written') as written");
      expect(rows).toEqual([{ written: null }]);
      expect(() => readFileSync(join(project.cwd, "filled"))).toThrow("ENOENT");
    },
  );
});

const testNewest = test.skipIf(isMissing(newest));

testNewest(
  "frozen: a boot with --lint error refuses what is pending, until it is safe",
  async () => {
    const unsafe = write("0004_unique", [`migrations.AddIndex("Post", ${index("a")}),`]);
    const { project, url } = await prepare(newest, { "0005_index": unsafe });
    const env = { DATABASE_URL: url };
    await project.run(["freeze"]);
    const refused = await project.run(["--lint", "error", "migrate"], env);
    expect(refused.code, refused.stderr).toBe(65);
    expect(refused.lines.at(-1)?.msg).toContain("posts/migrations/0005_index.py:15");

    const [finding] = (await lint(project, [], env)).findings;
    const safe = (finding?.safe ?? []).map(({ django }) => django).join("\n");
    expect(safe).toBe(
      "# with atomic = False\nAddIndexConcurrently(model_name='Post', index=models.Index(fields=['title'], name='posts_title_a')),",
    );
    project.write(
      "posts/migrations/0005_index.py",
      write("0004_unique", safe.split("\n"), "atomic = False"),
    );
    await project.run(["freeze"]);
    const migrated = await project.run(["--lint", "error", "migrate"], env);
    expect(migrated.code, migrated.stderr).toBe(0);
    // Nothing is pending.
    expect(await lint(project, [], env)).toMatchObject({ listed: [], revisions: [] });
  },
);

testNewest("the safe forms of operations: Django runs them, and has the same models", async () => {
  const check = 'models.CheckConstraint(name="posts_at", KEY=models.Q(at__gt=0))';
  const key = "condition";
  const indexed = `migrations.AddIndex("Post", ${index("a")}),`;
  const { project, url } = await prepare(newest, {
    "0005_index": write("0004_unique", [indexed]),
  });
  const env = { DATABASE_URL: url };
  expect(project.manage(["migrate"], env)).toMatchObject({ code: 0 });
  project.write(
    "posts/migrations/0006_more.py",
    write("0005_index", [
      'migrations.RemoveIndex("Post", "posts_title_a"),',
      `migrations.AddConstraint("Post", ${check.replace("KEY", key)}),`,
      "migrations.RunSQL(\"alter table posts_post alter column at type text using '100%'\"),",
    ]),
  );
  const { findings } = await lint(project, [], env);
  const formOf = (rule: string) =>
    findings.find((one) => one.rule === rule)?.safe.map(({ django }) => django) ?? [];
  expect(formOf("drop-index")).toEqual([
    "# with atomic = False\nRemoveIndexConcurrently(model_name='Post', name='posts_title_a'),",
  ]);
  const [added = "", validated = ""] = formOf("add-check");
  expect(added).toMatch(/^AddConstraintNotValid\(/);
  expect(validated).toBe("ValidateConstraint(model_name='Post', name='posts_at'),");
  const safely = (after: string, operations: readonly string[]) =>
    write(after, operations, "atomic = False").replace(
      "import AddIndexConcurrently",
      "import AddConstraintNotValid, RemoveIndexConcurrently, ValidateConstraint",
    );
  project.write(
    "posts/migrations/0006_more.py",
    safely("0005_index", [...formOf("drop-index"), added]),
  );
  project.write("posts/migrations/0007_valid.py", safely("0006_more", [validated]));
  expect((await lint(project, [], env)).listed).toEqual([]);
  expect(project.manage(["migrate"], env)).toMatchObject({ code: 0 });
  project.write(
    "posts/models.py",
    `from django.db import models


class Post(models.Model):
    id = models.BigAutoField(primary_key=True)
    title = models.TextField(default="")
    published = models.BooleanField(default=False)
    at = models.IntegerField(default=0)

    class Meta:
        unique_together = [("title", "at")]
        constraints = [${check.replace("KEY", key)}]
`,
  );
  const models = project.manage(["makemigrations", "--check", "--dry-run"], env);
  expect(models, models.output).toMatchObject({ code: 0 });
});

testNewest("a range needs no database: from the newest migration of each application", async () => {
  const { project, url } = await prepare(newest, {
    "0005_more": write("0004_unique", [
      'migrations.AlterField("Post", "at", models.BigIntegerField(default=50)),',
      'migrations.AlterUniqueTogether("Post", set()),',
      'migrations.AddField("Post", "percent", models.TextField(default="50%")),',
    ]),
  });
  const before = "contenttypes.0002_remove_content_type_name,posts.0004_unique";
  const change = "0005_more.py:15 change-type";
  expect(await lint(project, ["--range", `${before}:head`])).toMatchObject({
    listed: [change, "0005_more.py:16 incomplete"],
    revisions: ["posts.0005_more"],
  });
  // What is in the database is read where it is known to be there.
  await project.run(["freeze"]);
  expect(await lint(project, ["--range", `${before}:head`], { DATABASE_URL: url })).toMatchObject({
    listed: [change, "0005_more.py:16 drop-key"],
  });
  // What the named one needs is applied too, and where there is a squash it stands for its parts.
  expect(await lint(project, ["--range", "posts.0002_title:posts.0004"])).toMatchObject({
    listed: ["0004_unique.py:6 add-unique"],
    revisions: ["contenttypes.0001_initial", "posts.0003_published", "posts.0004_unique"],
  });
  const unknown = await project.run(["lint", "--range", "posts.0009:head"]);
  expect(unknown.code).toBe(64);
  expect(unknown.lines.at(-1)?.msg).toContain("there is no migration posts.0009");
});

testNewest("settings that cannot be loaded are one gap, and no success", async () => {
  const project = createProject(newest);
  project.append("config/settings.py", "raise ValueError('no settings')\n");
  const { findings } = await lint(project, ["--range", "base:head"]);
  expect(findings).toMatchObject([
    { rule: "incomplete", message: expect.stringContaining("no settings") as string },
  ]);
});
