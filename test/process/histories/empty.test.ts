// An empty database that the project fills by a command of its own, mostly create_all and a stamp; and tables of which no
// revision is recorded.
// @runs-on executable

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

/** Makes the tables of all models and stamps `argv[1]`, in the schema `argv[2]` if there is one. */
const createAll = `import os, subprocess, sys
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, text

revision, schema = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
metadata = MetaData(schema=schema)
for name in ["t_a1", "t_b2"] if revision != "a1" else ["t_a1"]:
    Table(name, metadata, Column("id", Integer))
engine = create_engine(os.environ["DATABASE_URL"])
with engine.begin() as connection:
    if schema:
        connection.execute(text(f'create schema if not exists "{schema}"'))
    metadata.create_all(connection)
arguments = ["-x", f"tenant={schema}"] if schema else []
if revision != "none":
    sys.exit(subprocess.call(["alembic", *arguments, "stamp", revision]))
`;

/** Revisions that fail on the tables that create_all makes: where they run, the test sees it. */
function createModels(env?: string): string {
  const cwd = createProject([{ id: "a1" }, { id: "b2" }], env === undefined ? {} : { env });
  writeFileSync(join(cwd, "create_all.py"), createAll);
  return cwd;
}

const migrating = (lines: readonly { event?: string; command?: unknown }[]) =>
  lines.filter(({ event }) => event === "migrating").map(({ command }) => command);

async function prepare(whenEmpty: string) {
  const DATABASE_URL = await createTestDatabase();
  const client = await connectClient(DATABASE_URL);
  const env = { DATABASE_URL, ENTRYPOINT_WHEN_EMPTY: whenEmpty };
  const readRows = async (table = "alembic_version") =>
    (await client.query<{ id: string }>(`select version_num as id from ${table}`)).rows.map(
      ({ id }) => id,
    );
  return { cwd: createModels(), client, env, readRows };
}

const upgrade = ["alembic", "upgrade", "head"];

describe("--when-empty", () => {
  test("of four replicas at once on an empty database one creates and stamps, and none migrates", async () => {
    const { cwd, env, readRows } = await prepare("python create_all.py head");
    const replicas = await Promise.all(
      Array.from({ length: 4 }, () => runEntrypoint(["echo", "app"], { cwd, env })),
    );
    for (const { code, stdout, stderr } of replicas) {
      expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: "app\n" });
    }
    expect(replicas.flatMap(({ lines }) => migrating(lines))).toEqual([
      ["python", "create_all.py", "head"],
    ]);
    expect(await readRows()).toEqual(["b2"]);
    const again = await runEntrypoint(["echo", "app"], { cwd, env });
    expect(again.lines.map(({ event }) => event)).toEqual(["current", "starting"]);
  });

  test("what it creates may be older than head: the migration command does the rest", async () => {
    const { cwd, env, readRows } = await prepare("python create_all.py a1");
    const run = await runEntrypoint(["migrate"], { cwd, env });
    expect(run.code, run.stderr).toBe(0);
    expect(migrating(run.lines)).toEqual([["python", "create_all.py", "a1"], upgrade]);
    expect(await readRows()).toEqual(["b2"]);
  });

  test("--dry-run names it, and a database that is not empty is migrated", async () => {
    const { cwd, env, client, readRows } = await prepare("python create_all.py head");
    const dry = await runEntrypoint(["--dry-run", "migrate"], { cwd, env });
    expect(dry.stdout).toContain("would run python create_all.py head under the migration lock");
    await client.query("create table t_a1 (id int)");
    await client.query("create table alembic_version (version_num text)");
    await client.query("insert into alembic_version values ('a1')");
    const run = await runEntrypoint(["migrate"], { cwd, env });
    expect(run.code, run.stderr).toBe(0);
    expect(migrating(run.lines)).toEqual([upgrade]);
    expect(await readRows()).toEqual(["b2"]);
  });

  test("84: it records no revision; the next boot is told by --on-unstamped abort, 81", async () => {
    const { cwd, env } = await prepare("python create_all.py none");
    const run = await runEntrypoint(["echo", "app"], { cwd, env });
    expect(run).toMatchObject({ code: 84, stdout: "" });
    expect(run.lines.at(-1)).toMatchObject({
      state: "unstamped",
      hint: "the command of --when-empty must record what it has created: alembic stamp b2",
    });
    const args = ["--on-unstamped", "abort", "echo", "app"];
    const next = await runEntrypoint(args, { cwd, env });
    expect(next).toMatchObject({ code: 81, stdout: "" });
    expect(migrating(next.lines)).toEqual([]);
    expect(next.lines.at(-1)?.["hint"]).toContain("alembic stamp b2");
    const dry = await runEntrypoint(["--dry-run", ...args], { cwd, env });
    expect(dry.stdout).toContain("would stop the database has tables, but no revision is recorded");
  });

  test("1: it fails, and the application does not start", async () => {
    const { cwd, env } = await prepare("sh -c 'exit 7'");
    const run = await runEntrypoint(["echo", "app"], { cwd, env });
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.lines.at(-1)?.msg).toContain("exit 7' exited with code 7");
  });

  test("a migration command that cannot be read has an empty database too", async () => {
    const { cwd, env, client } = await prepare("sh -c 'echo created; python create_all.py head'");
    const options = { cwd, env: { ...env, ENTRYPOINT_MIGRATE: "sh -c 'echo migrated'" } };
    const first = await runEntrypoint(["echo", "app"], options);
    expect(first).toMatchObject({ code: 0, stdout: "created\napp\n" });
    const second = await runEntrypoint(["echo", "app"], options);
    expect(second).toMatchObject({ code: 0, stdout: "migrated\napp\n" });
    await client.query("drop table t_a1, t_b2");
    // The version table alone may be what is left of anything.
    const third = await runEntrypoint(["echo", "app"], options);
    expect(third).toMatchObject({ code: 0, stdout: "migrated\napp\n" });
  });

  test("the schema of a new tenant is empty beside those of others", async () => {
    const cwd = createModels(`import os
from alembic import context
from sqlalchemy import create_engine, text

tenant = context.get_x_argument(as_dictionary=True)["tenant"]
engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    connection.execute(text('set search_path to "%s"' % tenant))
    connection.commit()
    context.configure(connection=connection, version_table_schema=tenant)
    with context.begin_transaction():
        context.run_migrations()
`);
    const { env, readRows } = await prepare("python create_all.py head {tenant}");
    const options = (tenants: string) => ({
      cwd,
      env: {
        ...env,
        ENTRYPOINT_MIGRATE: "alembic -x tenant={tenant} upgrade head",
        ENTRYPOINT_TENANTS: tenants,
      },
    });
    const run = await runEntrypoint(["migrate"], options("acme"));
    expect(run.code, run.stderr).toBe(0);
    const both = await runEntrypoint(["migrate"], options("acme,zoo"));
    expect(both.code, both.stderr).toBe(0);
    expect(migrating(both.lines)).toEqual([["python", "create_all.py", "head", "zoo"]]);
    expect(await readRows("zoo.alembic_version")).toEqual(["b2"]);
  });
});
