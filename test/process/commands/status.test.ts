// `entrypoint status` in every state and on histories of every shape, beside what real Alembic says and does: what is
// pending is what `alembic upgrade` then runs. It waits for nothing, takes no lock, and starts Python only where the
// files leave doubt.
// @runs-on executable

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import type { Client } from "pg";
import { describe, expect, test } from "vitest";
import type { Status } from "../../../src/commands/status.ts";
import { alembic, type Place } from "../harness/alembic.ts";
import {
  entrypointCommand,
  migrationLockKey,
  plainEnvironment,
  python,
  runEntrypoint,
  startEntrypoint,
} from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import {
  addComputedRevision,
  computedTable,
  createPlugins,
  createProject,
  foldersInCode,
  histories,
  shadowAlembic,
} from "../harness/project.ts";
import { greetAsPooler, startProxy } from "../harness/proxy.ts";

async function placeOf(cwd: string): Promise<Place> {
  return { cwd, env: { DATABASE_URL: await createTestDatabase() } };
}

/** The first word of each line. */
function idsOf(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "")
    .filter((id) => id !== "")
    .toSorted();
}

/** What status says; standard output holds one object and nothing else. */
async function askStatus(place: Place, ...args: string[]) {
  const { code, stdout, lines } = await runEntrypoint(["status", "--json", ...args], place);
  expect(stdout.trimEnd().split("\n")).toHaveLength(1);
  return { code, lines, ...(JSON.parse(stdout) as Status) };
}

/** The same without Python. */
async function askFiles(place: Place, ...args: string[]) {
  const { env, mark } = shadowAlembic();
  const status = await askStatus({ ...place, env: { ...place.env, ...env } }, ...args);
  expect(() => readFileSync(mark)).toThrow("ENOENT");
  expect(status).toMatchObject({ source: "files", lines: [] });
  return status;
}

async function listTables(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    "select substr(relname, 3) as name from pg_class where relkind = 'r' and relname like 't\\_%'",
  );
  return rows.map(({ name }) => name).toSorted();
}

describe("pending is what real Alembic then runs, and head is where it ends", () => {
  test.for([
    ["linear", []],
    ["linear", ["b2"]],
    ["merged", []],
    ["merged", ["c3"]],
    ["merged", ["b2", "c4"]],
    ["depending", []],
    ["depending", ["b1"]],
    ["depending", ["a1", "b1"]],
  ] as const)("%s, at %j", async ([shape, rows]) => {
    const place = await placeOf(createProject(histories[shape]));
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    for (const row of rows) await alembic(place, "upgrade", row);
    const before = await listTables(client);
    const target = ["--migrate", "alembic upgrade heads"];
    const status = await askFiles(place, ...target);
    expect(status).toMatchObject({ code: 3, state: "behind", reason: null });
    expect(status.current?.toSorted()).toEqual(rows.toSorted());
    await alembic(place, "upgrade", "heads");
    const made = (await listTables(client)).filter((name) => !before.includes(name));
    expect(status.pending?.toSorted()).toEqual(made);
    const after = await askFiles(place, ...target);
    expect(after).toMatchObject({ code: 0, state: "current", pending: [], pendingRevisions: [] });
    expect(after.current).toEqual(status.heads);
  });

  test("where the files leave doubt, Alembic is asked: a computed revision in a merged history", async () => {
    const cwd = createProject(histories.merged);
    addComputedRevision(cwd, "f7", "e6");
    const place = await placeOf(cwd);
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await alembic(place, "upgrade", "b2");
    const status = await askStatus(place);
    expect(status).toMatchObject({ code: 3, state: "behind", source: "alembic", current: ["b2"] });
    expect(status.reason).toContain("f7.py");
    expect(status.heads).toEqual(idsOf(await alembic(place, "heads")));
    expect(status.pendingRevisions?.at(-1)).toMatchObject({
      id: "f7",
      message: "computed",
      path: expect.stringMatching(/f7\.py$/),
    });
    await alembic(place, "upgrade", "head");
    const made = (await listTables(client)).filter((name) => !["a1", "b2"].includes(name));
    expect(status.pending?.toSorted()).toEqual(made);
    expect(await askStatus(place)).toMatchObject({ code: 0, state: "current", source: "alembic" });
  });

  test("and a version table that env.py computes, with a dependency across two bases", async () => {
    const place = await placeOf(createProject(histories.depending, { env: computedTable }));
    const target = ["--migrate", "alembic upgrade heads"];
    await alembic(place, "upgrade", "b1");
    const behind = await askStatus(place, ...target);
    expect(behind).toMatchObject({ code: 3, source: "alembic", current: ["b1"], heads: ["a2"] });
    expect(behind.pending?.toSorted()).toEqual(["a1", "a2", "b2"]);
    await alembic(place, "upgrade", "heads");
    // The table holds a2 alone, since that depends on b2.
    expect(await askStatus(place, ...target)).toMatchObject({ code: 0, current: ["a2"] });
  });
});

/** The statement by which the fixture sets the folders. */
const setting = /^context\.script\.version_locations = .*\n/m;
const [settingFolders = ""] = setting.exec(foldersInCode) ?? [];
const withoutSetting = foldersInCode.replace(setting, "");

const onceMigrating =
  "from alembic import context\ncontext.configure(url=None)\ncontext.run_migrations()\n";

describe("folders that env.py sets in code: what is pending is what an upgrade then runs", () => {
  test.for([
    ["at its beginning", foldersInCode, ["b2"]],
    [
      "once it is connected",
      withoutSetting.replace("        context.configure", `        ${settingFolders}$&`),
      ["b2"],
    ],
    [
      "where Alembic has read its config already",
      foldersInCode.replace(
        setting,
        'context.config.set_main_option("version_locations", "plugins/posts")\n',
      ),
      [],
    ],
  ] as const)("%s", async ([, env, pending]) => {
    const place = await placeOf(createPlugins(env));
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await alembic(place, "upgrade", "a1");
    const status = await askStatus(place);
    expect(status).toMatchObject({ source: "alembic", current: ["a1"], pending });
    expect(status.state).toBe(pending.length === 0 ? "current" : "behind");
    expect(status.reason).toMatch(/^env\.py, line \d+: the folders may be set in code$/);
    await alembic(place, "upgrade", "head");
    expect(await listTables(client)).toEqual(["a1", ...pending]);
    const after = await askStatus(place);
    expect(after).toMatchObject({ code: 0, state: "current", source: "alembic", pending: [] });
    expect(after.current).toEqual(status.heads);
  });

  test("also where the configured folder makes no sense without the others", async () => {
    const cwd = createPlugins();
    const source = `revision = "c3"\ndown_revision = "b2"\n\ndef upgrade():\n    pass\n`;
    writeFileSync(join(cwd, "migrations/versions/c3.py"), source);
    const place = await placeOf(cwd);
    await stampRows(place.env["DATABASE_URL"] ?? "", "a1");
    const status = await askStatus(place);
    expect(status).toMatchObject({ code: 3, source: "alembic", pending: ["b2", "c3"] });
  });

  test("86: others for each of several runs", async () => {
    const env = `${withoutSetting.replace(/^if context[^]*/m, "")}for folder in ["migrations/versions", "plugins/posts"]:\n    context.script.version_locations = [folder]\n    run_migrations_online()\n`;
    const place = await placeOf(createPlugins(env));
    await stampRows(place.env["DATABASE_URL"] ?? "", "a1");
    const status = await askStatus(place);
    expect(status).toMatchObject({ code: 86, state: "cannot-tell", heads: null, pending: null });
    expect(status.reason).toContain("more than once");
    expect(status.cure).toContain("--versions");
  });

  test("86: Python is run so that nobody can ask it from inside, with the cure", async () => {
    const place = await placeOf(createPlugins());
    await stampRows(place.env["DATABASE_URL"] ?? "", "a1");
    const status = await askStatus(place, "--migrate", "python -I -m alembic upgrade head");
    expect(status).toMatchObject({ code: 86, state: "cannot-tell", heads: null, pending: null });
    expect(status.reason).toContain("is Python run with -I or -E");
    expect(status.cure).toContain("-P and -s in their place");
    const cured = await askStatus(place, "--migrate", "python -P -s -m alembic upgrade head");
    expect(cured).toMatchObject({ code: 3, source: "alembic", pending: ["b2"] });
  });

  test("also where no temporary folder can be made", async () => {
    const { cwd, env } = await placeOf(createPlugins());
    await stampRows(env["DATABASE_URL"] ?? "", "a1");
    const place = { cwd, env: { ...env, TMPDIR: join(cwd, "nowhere") } };
    expect(await askStatus(place)).toMatchObject({ code: 3, pending: ["b2"] });
  });
});

describe("states", () => {
  test("3: behind, with the message and the file of what is pending", async () => {
    const place = await placeOf(createProject(histories.linear));
    await stampRows(place.env["DATABASE_URL"] ?? "", "a1");
    const { code, lines: _, ...status } = await askFiles(place);
    expect(code).toBe(3);
    const path = (id: string) => `${place.cwd}/migrations/versions/${id}.py`;
    expect(status).toEqual({
      state: "behind",
      current: ["a1"],
      heads: ["d4"],
      pending: ["b2", "c3", "d4"],
      pendingRevisions: [
        { id: "b2", message: "add titles; with 'quotes' and Ümläute", path: path("b2") },
        { id: "c3", message: "drop what nobody\nreads any more", path: path("c3") },
        { id: "d4", message: "", path: path("d4") },
      ],
      reason: null,
      cure: null,
      source: "files",
      database: expect.stringMatching(/^test_/),
      lock: { held: false, holder: null },
      blockedBy: [],
      invalidIndexes: [],
      backfills: [],
      pooled: false,
    });
  });

  describe.for([
    ["from the files", () => createProject(histories.linear), "files"],
    [
      "from Alembic, since a revision is computed",
      () => {
        const cwd = createProject(histories.linear);
        addComputedRevision(cwd, "e5", "d4");
        return cwd;
      },
      "alembic",
    ],
  ] as const)("%s", ([, create, source]) => {
    test.for([
      ["80: ahead", ["z9"], 80, "ahead", "which no migration file has"],
      ["82: overlapping", ["a1", "b2"], 82, "overlapping", "holds both a1 and b2"],
    ] as const)("%s", async ([, rows, code, state, reason]) => {
      const place = await placeOf(create());
      await stampRows(place.env["DATABASE_URL"] ?? "", ...rows);
      const status = await askStatus(place);
      expect(status).toMatchObject({ code, state, source, current: rows });
      expect(status).toMatchObject({ pending: null, pendingRevisions: null });
      expect(status.reason).toContain(reason);
      expect(status.cure).not.toBeNull();
    });

    test("81: unstamped, tables and no recorded revision", async () => {
      const place = await placeOf(create());
      const client = await connectClient(place.env["DATABASE_URL"] ?? "");
      await client.query("create table old (id int)");
      const status = await askStatus(place);
      expect(status).toMatchObject({ code: 81, state: "unstamped", source, current: [] });
      expect(status.cure).toContain("alembic stamp");
    });

    test("83: several heads where one is the target", async () => {
      const cwd = create();
      const place = await placeOf(cwd);
      addComputedRevision(cwd, "x1", "a1");
      const status = await askStatus(place);
      expect(status).toMatchObject({ code: 83, state: "multiple-heads", source: "alembic" });
      expect(status.heads?.toSorted()).toEqual(idsOf(await alembic(place, "heads")));
    });
  });

  test("83: several heads, from the files", async () => {
    const place = await placeOf(createProject(histories["several heads"]));
    const status = await askFiles(place);
    expect(status).toMatchObject({ code: 83, heads: ["b2", "c3"], pending: null });
  });

  test("80: ahead of a head that is applied, so nothing is pending", async () => {
    const place = await placeOf(createProject(histories.linear));
    await stampRows(place.env["DATABASE_URL"] ?? "", "d4", "z9");
    expect(await askFiles(place)).toMatchObject({ code: 80, state: "ahead", pending: [] });
  });

  test("what this role may not see is null", async () => {
    const place = await placeOf(createProject([{ id: "a1" }]));
    const url = new URL(place.env["DATABASE_URL"] ?? "");
    await stampRows(url.href, "a1");
    const client = await connectClient(url.href);
    const role = `limited_${url.pathname.slice(1)}`;
    await client.query(`create role ${role} login password 'limited-pw'`);
    await client.query(`grant select on alembic_version to ${role}`);
    await client.query("create schema entrypoint; create table entrypoint.backfill (name text)");
    await client.query(`select pg_advisory_lock(${migrationLockKey})`);
    [url.username, url.password] = [role, "limited-pw"];
    const status = await askFiles({ ...place, env: { DATABASE_URL: url.href } });
    expect(status).toMatchObject({
      code: 0,
      backfills: null,
      blockedBy: [],
      lock: { held: true, holder: { forSeconds: null, state: null, query: null } },
    });
  });

  test("a version table that env.py computes: ahead, and empty is not unstamped", async () => {
    const place = await placeOf(createProject(histories.linear, { env: computedTable }));
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await client.query("create table blog_versions (version_num varchar(32))");
    expect(await askStatus(place)).toMatchObject({ code: 3, state: "behind", current: [] });
    await client.query("insert into blog_versions values ('z9')");
    expect(await askStatus(place)).toMatchObject({ code: 80, state: "ahead", current: ["z9"] });
    const named = await askFiles(place, "--version-table", "blog_versions");
    expect(named).toMatchObject({ code: 80, state: "ahead" });
  });

  test("82: overlapping in the table that env.py leaves in doubt, since Alembic shows the same of it", async () => {
    const env = computedTable.replace("blog", "alembic").replace("_versions", "_version");
    const place = await placeOf(createProject(histories.linear, { env }));
    await stampRows(place.env["DATABASE_URL"] ?? "", "a1", "b2");
    expect(await askStatus(place)).toMatchObject({
      code: 82,
      source: "alembic",
      current: ["a1", "b2"],
    });
  });

  test.for([
    ["its rows", "version_table = 1"],
    ["its graph", "version_locations = 1"],
  ] as const)("143: told to stop while Alembic is asked for %s", async ([, last]) => {
    const env = `import os, time\nopen("mark", "w").close()\ntime.sleep(60)\n${last}\n${onceMigrating}`;
    const { cwd, env: given } = await placeOf(createProject(histories.linear, { env }));
    const TMPDIR = join(cwd, "tmp");
    mkdirSync(TMPDIR);
    const args = ["status", "--version-table", "alembic_version"];
    const run = startEntrypoint(last.startsWith("version_l") ? args : ["status"], {
      cwd,
      env: { ...given, TMPDIR },
    });
    await expect.poll(() => existsSync(join(cwd, "mark"))).toBe(true);
    run.process.kill("SIGTERM");
    expect((await run.ended).code).toBe(143);
    expect(run.stdout()).toBe("");
    expect(readdirSync(TMPDIR)).toEqual([]);
  });

  test("a version table in several schemas: Alembic's is asked for", async () => {
    const place = await placeOf(createProject(histories.linear));
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await stampRows(place.env["DATABASE_URL"] ?? "", "c3");
    await client.query("create schema other");
    await client.query("create table other.alembic_version (version_num varchar(32))");
    const status = await askStatus(place);
    expect(status).toMatchObject({ code: 3, source: "alembic", pending: ["d4"] });
    expect(status.reason).toContain("several schemas");
  });

  test("no PostgreSQL URL is known, but Alembic knows its database", async () => {
    const place = await placeOf(
      createProject(histories.linear, {
        env: `from alembic import context\nfrom sqlalchemy import create_engine\nwith create_engine("sqlite:///blog.db").connect() as connection:\n    context.configure(connection=connection)\n    with context.begin_transaction():\n        context.run_migrations()\n`,
      }),
    );
    const elsewhere = { cwd: place.cwd, env: { DATABASE_URL: "sqlite:///blog.db" } };
    await alembic(elsewhere, "upgrade", "b2");
    expect(await askStatus(elsewhere)).toMatchObject({
      code: 3,
      source: "alembic",
      database: null,
      pending: ["c3", "d4"],
    });
  });

  test("86: Alembic cannot tell either, or the command is not Alembic's", async () => {
    const broken = await placeOf(createProject([{ id: "a1" }, { id: "b2", down: "missing" }]));
    const status = await askStatus(broken);
    expect(status).toMatchObject({ code: 86, state: "cannot-tell", current: null, heads: null });
    expect(status.reason).toMatch(/follows missing.*; Revision missing referenced from /);
    expect(status.cure).toContain("fix what Alembic reports");
    const shell = await askStatus(broken, "--migrate", "sh -c 'alembic upgrade head'");
    expect(shell).toMatchObject({ code: 86, reason: "a shell runs it" });
    expect(shell.cure).toContain("name the migration tool's own command");
  });

  test("69: the database does not answer, and is not waited for", async () => {
    const cwd = createProject(histories.linear);
    const refused = { DATABASE_URL: "postgresql://127.0.0.1:1/blog" };
    const run = await runEntrypoint(["status"], { cwd, env: refused });
    expect(run).toMatchObject({ code: 69, stdout: "" });
    expect(run.lines.map((line) => line.event)).toEqual(["database-unavailable"]);
    expect(run.lines[0]?.msg).toContain("ECONNREFUSED");
    expect(run.ms).toBeLessThan(15_000);
  });

  test("69: a server that is silent gets two seconds", async () => {
    const { env, cwd } = await placeOf(createProject(histories.linear));
    const proxy = await startProxy(env["DATABASE_URL"] ?? "");
    proxy.swallow();
    const { url } = proxy;
    const run = await runEntrypoint(["status"], { cwd, env: { DATABASE_URL: url } });
    expect(run.code).toBe(69);
    expect(run.lines.at(-1)?.msg).toMatch(/: no answer in 2 s$|timeout expired/);
  });

  test.for([
    [["status", "uvicorn"], {}, "no APP"],
    [["status"], { ENTRYPOINT_MIGRATE: "" }, "no migration command is left"],
    [["status", "--database-url", "nonsense"], {}, "--database-url"],
  ] as const)("64: %j %j", async ([args, env, message]) => {
    const run = await runEntrypoint(args, { cwd: createProject(histories.linear), env });
    expect(run).toMatchObject({ code: 64, stdout: "" });
    expect(run.lines.at(-1)?.msg).toContain(message);
  });
});

describe("who is at work, and in the way", () => {
  test("the holder of the migration lock, while status itself takes none", async () => {
    const place = await placeOf(createProject(histories.linear));
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await client.query("set application_name = 'web-3'");
    await client.query(`select pg_advisory_lock(${migrationLockKey})`);
    const status = await askFiles(place);
    expect(status.code).toBe(3);
    expect(status.lock).toMatchObject({
      held: true,
      holder: { application: "web-3", user: "postgres" },
    });
  });

  test("a migration that waits in the database, and for whom", async () => {
    const place = await placeOf(
      createProject([
        { id: "a1" },
        { id: "b2", upgrade: 'op.execute("alter table t_a1 add x int")' },
      ]),
    );
    await alembic(place, "upgrade", "a1");
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await client.query("set application_name = 'report'");
    await client.query("begin");
    await client.query("select from t_a1");
    const run = startEntrypoint(["migrate"], place);
    await run.event("migrating");
    const watcher = await connectClient(place.env["DATABASE_URL"] ?? "");
    for (let waiting = 0; waiting === 0;) {
      const { rowCount } = await watcher.query(
        "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
      );
      waiting = rowCount ?? 0;
    }
    const status = await askFiles(place);
    expect(status).toMatchObject({ code: 3, state: "behind", pending: ["b2"] });
    expect(status.lock?.holder?.application).toMatch(/^entrypoint /);
    // What entrypoint itself has asked is not what its session is at.
    expect(status.lock?.holder?.query).toBe("");
    expect(status.blockedBy).toMatchObject([
      { application: "report", state: "idle in transaction", query: "select from t_a1" },
    ]);
    const table = (await runEntrypoint(["status"], place)).stdout;
    expect(table).toMatch(/^lock +held by pid \d+ \(entrypoint .*, user postgres, from /m);
    expect(table).toMatch(
      /^blocked by +pid \d+ \(report, .*idle in transaction: select from t_a1$/m,
    );
    await client.query("commit");
    expect((await run.ended).code).toBe(0);
  });

  test("a version table that somebody has locked is not waited for, nor is Alembic asked", async () => {
    const place = await placeOf(createProject(histories.linear));
    await stampRows(place.env["DATABASE_URL"] ?? "", "d4");
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await client.query("begin");
    await client.query("lock table alembic_version");
    const status = await askFiles(place);
    expect(status).toMatchObject({
      code: 86,
      state: "cannot-tell",
      reason: "somebody has locked the table alembic_version",
    });
  });

  test("an index that a failed CREATE INDEX CONCURRENTLY has left", async () => {
    const place = await placeOf(createProject(histories.linear));
    const client = await connectClient(place.env["DATABASE_URL"] ?? "");
    await client.query('create table "Posts" (title text)');
    await client.query(`insert into "Posts" values ('same'), ('same')`);
    const building = client.query('create unique index concurrently titles on "Posts" (title)');
    await expect(building).rejects.toThrow("could not create unique index");
    const status = await askFiles(place);
    expect(status.invalidIndexes).toEqual([{ name: "public.titles", table: 'public."Posts"' }]);
    expect((await runEntrypoint(["status"], place)).stdout).toMatch(
      /^invalid +index public\.titles on public\."Posts": drop it, and create it again$/m,
    );
  });

  test("a transaction pooler in between", async () => {
    const place = await placeOf(createProject(histories.linear));
    const { url } = await startProxy(place.env["DATABASE_URL"] ?? "", greetAsPooler);
    const status = await askFiles({ ...place, env: { DATABASE_URL: url } });
    expect(status).toMatchObject({ code: 3, pooled: true });
  });
});

test("the table for people", async () => {
  const place = await placeOf(createProject(histories.linear));
  await stampRows(place.env["DATABASE_URL"] ?? "", "a1");
  const run = await runEntrypoint(["status"], place);
  expect(run).toMatchObject({ code: 3, stderr: "" });
  const path = `${place.cwd}/migrations/versions`;
  expect(run.stdout.replace(/test_\w+/, "blog").split("\n")).toEqual([
    "state       behind (3 pending)",
    "current     a1",
    "heads       d4",
    `pending     b2  add titles; with 'quotes' and Ümläute  ${path}/b2.py`,
    `            c3  drop what nobody reads any more        ${path}/c3.py`,
    `            d4                                         ${path}/d4.py`,
    "source      the revision files",
    "database    blog",
    "lock        free",
    "",
  ]);
});

test("colours on a terminal, unless NO_COLOR or TERM say otherwise", async () => {
  const place = await placeOf(createProject(histories.linear));
  const [file, ...before] = entrypointCommand();
  const onTerminal = async (extra: Record<string, string>) => {
    const env = plainEnvironment({ ...place.env, TERM: "xterm", ...extra });
    const terminal = "import pty, sys; pty.spawn(sys.argv[1:])";
    const { stdout } = await execa(python, ["-c", terminal, file, ...before, "status"], {
      cwd: place.cwd,
      env,
      extendEnv: false,
      reject: false,
    });
    return stdout;
  };
  expect(await onTerminal({})).toContain("state       \u001B[1;33mbehind\u001B[0m (4 pending)");
  for (const extra of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
    expect(await onTerminal(extra)).toContain("state       behind (4 pending)");
  }
});
