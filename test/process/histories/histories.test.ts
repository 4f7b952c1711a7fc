// Several histories in one database: a command each, or a schema for each tenant. All are at head before the application
// starts, however many replicas start at once.
// @runs-on executable

import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject, shadowAlembic, type RevisionFile } from "../harness/project.ts";

/** An env.py whose version table has a name of its own. */
function environmentOf(table: string): string {
  return `import os
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    context.configure(connection=connection, version_table="${table}", transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
`;
}

const twoHistories = "alembic -n blog upgrade head\nalembic -n shop upgrade head";

/** A project with the histories `blog` (a1, b2) and `shop` (s1, s2), each with a version table of its own. */
function createTwoHistories(shop: readonly RevisionFile[] = [{ id: "s1" }, { id: "s2" }]): string {
  const ini = "[blog]\nscript_location = blog\n\n[shop]\nscript_location = shop\n";
  const cwd = createProject([{ id: "a1" }, { id: "b2" }], {
    ini,
    env: environmentOf("blog_version"),
  });
  const other = createProject(shop, { env: environmentOf("shop_version") });
  cpSync(join(cwd, "migrations"), join(cwd, "blog"), { recursive: true });
  cpSync(join(other, "migrations"), join(cwd, "shop"), { recursive: true });
  rmSync(join(cwd, "migrations"), { recursive: true });
  return cwd;
}

/** As in Alembic's cookbook: the tenant is told by -x. */
const tenantByArgument = `import os
from alembic import context
from sqlalchemy import create_engine, text

tenant = context.get_x_argument(as_dictionary=True).get("tenant")
engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    connection.execute(text('create schema if not exists "%s"' % tenant))
    connection.execute(text('set search_path to "%s"' % tenant))
    connection.commit()
    connection.dialect.default_schema_name = tenant
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
`;

/** All tenants, one after the other. */
const tenantsInLoop = `import os
from alembic import context
from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    for tenant in os.environ["TENANTS"].split():
        connection.execute(text('create schema if not exists "%s"' % tenant))
        connection.execute(text('set search_path to "%s"' % tenant))
        connection.commit()
        context.configure(connection=connection, version_table_schema=tenant)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
`;

const revisions: readonly RevisionFile[] = [{ id: "a1" }, { id: "b2" }];

interface Case {
  readonly kind: string;
  readonly create: () => string;
  readonly env: Readonly<Record<string, string>>;
  /** Every history: its name, the version table, and the row that it is at afterwards. */
  readonly histories: readonly (readonly [name: string, table: string, head: string])[];
  /** How often the migration command runs on an empty database. */
  readonly runs: number;
}

const cases: readonly Case[] = [
  {
    kind: "two commands",
    create: createTwoHistories,
    env: { ENTRYPOINT_MIGRATE: twoHistories },
    histories: [
      ["alembic -n blog upgrade head", "blog_version", "b2"],
      ["alembic -n shop upgrade head", "shop_version", "s2"],
    ],
    runs: 2,
  },
  {
    kind: "a command for each tenant",
    create: () => createProject(revisions, { env: tenantByArgument }),
    env: {
      ENTRYPOINT_MIGRATE: "alembic -x tenant={tenant} upgrade head",
      ENTRYPOINT_TENANTS: "acme,zoo",
    },
    histories: [
      ["acme", "acme.alembic_version", "b2"],
      ["zoo", "zoo.alembic_version", "b2"],
    ],
    runs: 2,
  },
  {
    kind: "a command that loops over the tenants",
    create: () => createProject(revisions, { env: tenantsInLoop }),
    env: { TENANTS: "acme zoo", ENTRYPOINT_TENANTS: "acme,zoo" },
    histories: [
      ["acme", "acme.alembic_version", "b2"],
      ["zoo", "zoo.alembic_version", "b2"],
    ],
    runs: 1,
  },
];

const startedBy = (lines: readonly { event?: string }[], event: string) =>
  lines.filter((line) => line.event === event);

describe.each(cases)("$kind", ({ create, env: given, histories, runs }) => {
  async function prepare() {
    const cwd = create();
    const env = { ...given, DATABASE_URL: await createTestDatabase() };
    const client = await connectClient(env.DATABASE_URL);
    const readRows = async () =>
      Promise.all(
        histories.map(async ([, table]) => {
          const { rows } = await client.query<{ id: string }>(
            `select version_num as id from ${table}`,
          );
          return rows.map(({ id }) => id);
        }),
      );
    return { cwd, env, client, readRows };
  }
  const heads = histories.map(([, , head]) => [head]);

  test("of four replicas at once on an empty database one migrates, and all start on it at head", async () => {
    const { cwd, env, readRows } = await prepare();
    const replicas = await Promise.all(
      Array.from({ length: 4 }, () => runEntrypoint(["echo", "app"], { cwd, env })),
    );
    for (const { code, stdout, stderr } of replicas) {
      expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: "app\n" });
    }
    const migrated = replicas.map(({ lines }) => startedBy(lines, "migrating").length);
    expect(migrated.toSorted((a, b) => a - b)).toEqual([0, 0, 0, runs]);
    expect(await readRows()).toEqual(heads);

    // At head no Python is started, and every command agrees.
    const { env: shadow, mark } = shadowAlembic();
    for (const words of [["true"], ["wait"], ["status"]]) {
      const again = await runEntrypoint(words, { cwd, env: { ...env, ...shadow } });
      expect(again.code, again.stderr).toBe(0);
    }
    expect(() => readFileSync(mark)).toThrow("ENOENT");
  });

  test("one that is behind is named, migrated, and verified", async () => {
    const { cwd, env, client, readRows } = await prepare();
    expect(await runEntrypoint(["migrate"], { cwd, env })).toMatchObject({ code: 0 });
    const [, [name, table, head] = ["", "", ""]] = histories;
    const [last, before] = head === "b2" ? ["b2", "a1"] : ["s2", "s1"];
    await client.query(`update ${table} set version_num = '${before}'`);
    const [schema = "public"] = table.includes(".") ? table.split(".") : ["public"];
    await client.query(`drop table ${schema}.t_${last}`);

    const status = await runEntrypoint(["status", "--json"], { cwd, env });
    expect(status.code).toBe(3);
    const report = JSON.parse(status.stdout) as Record<string, unknown>;
    expect(report).toMatchObject({ state: "behind", current: [before], pending: [last] });
    expect(report["histories"]).toMatchObject([
      { name: histories[0]?.[0], state: "current" },
      { name, state: "behind", pending: [last] },
    ]);
    const text = await runEntrypoint(["status"], { cwd, env });
    expect(text.stdout).toContain(`history     ${name}\nstate       behind (1 pending)\n`);
    expect(text.stdout).toContain("at head     1 history\n");

    const wait = await runEntrypoint(["wait", "--wait-timeout", "0"], { cwd, env });
    expect(wait.code).toBe(3);
    expect(wait.lines.at(-1)?.msg).toContain(`the database is not at head ${last} of ${name}`);
    const dry = await runEntrypoint(["--dry-run", "true"], { cwd, env });
    expect(dry.stdout).toContain(`state      ${name}: behind: at ${before}, head ${last}`);
    expect(dry.stdout.match(/would run alembic/g)).toHaveLength(1);

    const run = await runEntrypoint(["migrate"], { cwd, env });
    expect(run.code, run.stderr).toBe(0);
    expect(startedBy(run.lines, "migrating")).toHaveLength(1);
    expect(startedBy(run.lines, "migrated")).toMatchObject([{ history: name, current: [head] }]);
    expect(await readRows()).toEqual(heads);
  });
});

test("84: a command that ends with 0 and leaves one of the tenants behind", async () => {
  const cwd = createProject(revisions, { env: tenantsInLoop });
  const env = {
    DATABASE_URL: await createTestDatabase(),
    TENANTS: "acme",
    ENTRYPOINT_TENANTS: "acme,zoo",
  };
  const run = await runEntrypoint(["echo", "app"], { cwd, env });
  expect(run).toMatchObject({ code: 84, stdout: "" });
  expect(run.lines.at(-1)?.msg).toMatch(
    /^zoo: alembic upgrade head exited with 0, but .* is not at head/,
  );
});

test("1: the second of two fails, the application does not start, and the next boot resumes there", async () => {
  const cwd = createTwoHistories([{ id: "s1" }, { id: "s2", upgrade: "sys.exit(7)" }]);
  const env = { DATABASE_URL: await createTestDatabase(), ENTRYPOINT_MIGRATE: twoHistories };
  const first = await runEntrypoint(["echo", "app"], { cwd, env });
  expect(first).toMatchObject({ code: 1, stdout: "" });
  expect(first.lines.at(-1)?.msg).toMatch(
    /^alembic -n shop upgrade head: Migration failed! .* 2 were pending, 1 was applied/,
  );
  const path = join(cwd, "shop/versions/s2.py");
  writeFileSync(path, readFileSync(path, "utf8").replace("sys.exit(7)", "pass"));
  const second = await runEntrypoint(["echo", "app"], { cwd, env });
  expect(second).toMatchObject({ code: 0, stdout: "app\n" });
  expect(startedBy(second.lines, "migrating")).toMatchObject([{ pending: ["s2"] }]);
});

test("a history that comes to a database later finds the other one's tables, and is not unstamped", async () => {
  const cwd = createTwoHistories();
  const DATABASE_URL = await createTestDatabase();
  const env = { DATABASE_URL, ENTRYPOINT_MIGRATE: twoHistories };
  const [blog = ""] = twoHistories.split("\n");
  const before = await runEntrypoint(["--migrate", blog, "migrate"], { cwd, env });
  expect(before.code, before.stderr).toBe(0);
  const status = await runEntrypoint(["status", "--json"], { cwd, env });
  expect(JSON.parse(status.stdout)).toMatchObject({ state: "behind", pending: ["s1", "s2"] });
  const run = await runEntrypoint(["migrate"], { cwd, env });
  expect(run.code, run.stderr).toBe(0);
  expect(startedBy(run.lines, "unstamped")).toEqual([]);
});

test("80: one that is ahead ends the boot before another one is migrated", async () => {
  const cwd = createTwoHistories();
  const DATABASE_URL = await createTestDatabase();
  const env = { DATABASE_URL, ENTRYPOINT_MIGRATE: twoHistories };
  const client = await connectClient(DATABASE_URL);
  await client.query("create table shop_version (version_num text)");
  await client.query("insert into shop_version values ('z9')");
  for (const words of [["echo", "app"], ["wait"], ["status"]]) {
    expect(await runEntrypoint(words, { cwd, env })).toMatchObject({ code: 80 });
  }
  const { rows } = await client.query("select to_regclass('blog_version') as made");
  expect(rows).toEqual([{ made: null }]);
  const run = await runEntrypoint(["--on-ahead", "start", "echo", "app"], { cwd, env });
  expect(run).toMatchObject({ code: 0, stdout: "app\n" });
  expect(startedBy(run.lines, "migrating")).toHaveLength(1);
});

test("64: two histories of two databases are not one boot's", async () => {
  const cwd = createTwoHistories();
  const urls = [await createTestDatabase(), await createTestDatabase()];
  const ini = ["blog", "shop"]
    .map((name, index) => `[${name}]\nscript_location = ${name}\nsqlalchemy.url = ${urls[index]}\n`)
    .join("\n");
  writeFileSync(join(cwd, "alembic.ini"), ini);
  const env = `from alembic import context
from sqlalchemy import engine_from_config

config = context.config
connectable = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
with connectable.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`;
  for (const name of ["blog", "shop"]) writeFileSync(join(cwd, name, "env.py"), env);
  const run = await runEntrypoint(["echo", "app"], {
    cwd,
    env: { ENTRYPOINT_MIGRATE: twoHistories },
  });
  expect(run).toMatchObject({ code: 64, stdout: "" });
  expect(run.lines.at(-1)?.msg).toContain(new URL(urls[1] ?? "").pathname);
});

test("lint, current, heads and history show every history; freeze keeps each", async () => {
  const unsafe = 'op.execute("create table t_s2 (id int)")\nop.execute("drop table t_s1")';
  const cwd = createTwoHistories([{ id: "s1" }, { id: "s2", upgrade: unsafe }]);
  const DATABASE_URL = await createTestDatabase();
  const env = { DATABASE_URL, ENTRYPOINT_MIGRATE: twoHistories };
  const frozen = await runEntrypoint(["freeze"], { cwd, env });
  expect(frozen.code, frozen.stderr).toBe(0);
  expect(frozen.stdout.match(/2 revisions/g)).toHaveLength(2);
  const heads = await runEntrypoint(["heads"], { cwd, env });
  expect(heads.stdout).toBe(
    "# alembic -n blog upgrade head\nb2 (head)\n# alembic -n shop upgrade head\ns2 (head)\n",
  );
  const lint = await runEntrypoint(["lint", "--json"], { cwd, env });
  expect(JSON.parse(lint.stdout)).toMatchObject({ revisions: ["a1", "b2", "s1", "s2"] });
  const status = await runEntrypoint(["status", "--json"], { cwd, env });
  expect(JSON.parse(status.stdout)).toMatchObject({
    histories: [{ source: "frozen" }, { source: "frozen" }],
  });
  const refused = await runEntrypoint(["downgrade", "-1"], { cwd, env });
  expect(refused.code).toBe(64);
});
