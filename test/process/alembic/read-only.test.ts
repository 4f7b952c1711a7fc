// Every question that entrypoint asks of a project's Python only reads, whatever the application does as it is loaded: it
// may migrate, create tables or a database's file. Held against real Alembic, SQLAlchemy and PostgreSQL.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { python, runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { refuseOptions, startProxy } from "../harness/proxy.ts";
import { addComputedRevision, createProject } from "../harness/project.ts";

const environment = `import os
from alembic import context
from sqlalchemy import create_engine
def migrate(connection):
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
if context.is_offline_mode():
    context.configure(dialect_name="postgresql")
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
        migrate(connection)
`;

/** Loads the application before Alembic, as Flask does. */
const flask = `import sys
import blog_app
from alembic import command
from alembic.config import Config
config = Config("alembic.ini")
verb, words = sys.argv[2], [word for word in sys.argv[3:] if not word.startswith("-")]
if verb == "upgrade":
    command.upgrade(config, words[0] if words else "head", sql="--sql" in sys.argv)
elif verb == "history":
    command.history(config, verbose=True)
elif verb == "heads":
    command.heads(config)
elif verb == "current":
    command.current(config, verbose=True)
`;

/** Writes in every way that options of a connection's own, autocommit and files leave it; what succeeds is in a file. */
const writesEverywhere = `import asyncio, os, psycopg, sqlalchemy, sqlite3
url, options = os.environ["DATABASE_URL"], "-c work_mem=5MB"
create = "create table loaded (id int)"
wrote = []
def attempt(name, write):
    try:
        write()
        wrote.append(name)
    except Exception as error:
        print(name, error)
def by_driver():
    psycopg.connect(url, autocommit=True, options=options).execute(create)
def by_address():
    psycopg.connect(url + "?options=-c%20work_mem%3D5MB", autocommit=True).execute(create)
async def by_coroutine():
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True, options=options)
    await connection.execute(create)
def by_engine():
    engine = sqlalchemy.create_engine(
        url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT", connect_args={"options": options}
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(create))
def to_file(name, before=None, **more):
    connection = sqlite3.connect(name, **more)
    if before is not None:
        connection.execute(before)
    connection.execute("create table other.loaded (id int)" if before and "attach" in before else create)
    connection.commit()
attempt("driver", by_driver)
attempt("address", by_address)
attempt("coroutine", lambda: asyncio.run(by_coroutine()))
attempt("engine", by_engine)
attempt("file", lambda: to_file("old.db"))
attempt("file, switched", lambda: to_file("old.db", "pragma query_only = off"))
attempt("file by URI", lambda: to_file("file:old.db?mode=rw", uri=True))
attempt("file beside memory", lambda: to_file(":memory:", "attach 'old.db' as other"))
to_file("file:new.db", uri=True)
open("wrote.txt", "w").write(", ".join(wrote))
`;

const upgrades = `from alembic import command
from alembic.config import Config
command.upgrade(Config("alembic.ini"), "head")
`;

const creates = (options: string) => `import os, sqlalchemy
engine = sqlalchemy.create_engine(os.environ["DATABASE_URL"]${options})
with engine.begin() as connection:
    connection.execute(sqlalchemy.text("create table loaded (id int)"))
`;

async function projectThat(application: string) {
  const cwd = createProject([{ id: "a1" }, { id: "b2" }], {
    env: environment,
    ini: "[alembic]\nscript_location = migrations\nprepend_sys_path = .\n",
  });
  writeFileSync(join(cwd, "blog_app.py"), application);
  mkdirSync(join(cwd, "flask"));
  // A package before that of the installed Flask.
  writeFileSync(join(cwd, "flask", "__init__.py"), "");
  writeFileSync(join(cwd, "flask", "__main__.py"), flask);
  const url = await createTestDatabase();
  const tables = async () => {
    const client = await connectClient(url);
    const { rows } = await client.query(
      "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
    );
    return rows.map((row: { relname: string }) => row.relname);
  };
  const env = { DATABASE_URL: url, ENTRYPOINT_MIGRATE: "python -m flask db upgrade" };
  return { cwd, env, tables };
}

describe("an application that migrates as it is loaded", () => {
  test("lint reads its migrations, and runs none", async () => {
    const { tables, ...place } = await projectThat(upgrades);
    const { code, stdout } = await runEntrypoint(["lint", "--json"], place);
    expect(JSON.parse(stdout)).toMatchObject({ revisions: ["a1", "b2"], incomplete: false });
    expect(code).toBe(0);
    expect(await tables()).toEqual([]);
  });

  test("status and current report the state, and change nothing", async () => {
    const { tables, ...place } = await projectThat(upgrades);
    addComputedRevision(place.cwd, "c3", "b2");
    const status = await runEntrypoint(["status", "--json"], place);
    expect(JSON.parse(status.stdout)).toMatchObject({
      state: "behind",
      source: "alembic",
      current: [],
    });
    const current = await runEntrypoint(["current"], place);
    expect(current.code).toBe(0);
    expect(await tables()).toEqual([]);
  });

  test("freeze writes the graph, creates no database, and names the files that it leaves", async () => {
    const { tables, ...place } = await projectThat(`import os, sqlalchemy
for url in ("sqlite:///blog.db", "sqlite:///" + os.path.abspath("other.db")):
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table loaded (id int)"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("insert into loaded values (1)"))
if not os.path.exists("secret.key"):
    open("secret.key", "w").write("secret")
${upgrades}`);
    const { cwd } = place;
    const { code, stderr, lines } = await runEntrypoint(["freeze"], place);
    expect(code, stderr).toBe(0);
    expect(existsSync(join(cwd, "blog.db"))).toBe(false);
    expect(existsSync(join(cwd, "other.db"))).toBe(false);
    expect(lines.find(({ event }) => event === "created")).toMatchObject({
      level: "warn",
      files: [join(cwd, "secret.key")],
    });
    expect(await tables()).toEqual([]);
  });
});

test("in whatever way it writes: lint, heads, current, --dry-run and freeze write nothing", async () => {
  const { tables, cwd, env } = await projectThat(writesEverywhere);
  // Only Python knows what comes next.
  addComputedRevision(cwd, "c3", "b2");
  const made = spawnSync(
    python,
    ["-c", "import sqlite3; sqlite3.connect('old.db').execute('create table t (id int)')"],
    { cwd },
  );
  expect(made.status).toBe(0);
  const commands = ["lint", "heads", "current", "--dry-run", "freeze"];
  const asked: string[] = [];
  for (const command of commands) {
    rmSync(join(cwd, "wrote.txt"), { force: true });
    await runEntrypoint([command], { cwd, env });
    expect(await tables(), command).toEqual([]);
    if (!existsSync(join(cwd, "wrote.txt"))) continue;
    asked.push(command);
    expect(readFileSync(join(cwd, "wrote.txt"), "utf8"), command).toBe("");
  }
  expect(asked).toEqual(["lint", "heads", "current", "freeze"]);
  expect(readdirSync(cwd).filter((name) => name.includes(".db"))).toEqual(["old.db"]);
});

test.for([
  ["by the driver's own session", ""],
  ["also where the engine has options of its own", ', connect_args={"options": "-c work_mem=5MB"}'],
])("a table that it creates is refused, %s", async ([, options = ""]) => {
  const { tables, ...place } = await projectThat(creates(options));
  const { code, stdout } = await runEntrypoint(["lint", "--json", "--range", "base:head"], place);
  expect(code).toBe(65);
  const { findings } = JSON.parse(stdout) as { findings: { rule: string; message: string }[] };
  expect(findings.map(({ rule }) => rule)).toEqual(["incomplete"]);
  expect(findings[0]?.message).toContain("cannot execute CREATE TABLE in a read-only transaction");
  expect(await tables()).toEqual([]);
});

test("behind a pooler that refuses start-up parameters, transactions only read", async () => {
  const { tables, ...place } = await projectThat(creates(""));
  const proxy = await startProxy(place.env.DATABASE_URL, undefined, 0, undefined, refuseOptions);
  const through = { ...place, env: { ...place.env, DATABASE_URL: proxy.url } };
  const { stdout } = await runEntrypoint(["lint", "--json", "--range", "base:head"], through);
  expect(stdout).toContain("cannot execute CREATE TABLE in a read-only transaction");
  expect(await tables()).toEqual([]);
  // An application that writes nothing is read.
  writeFileSync(
    join(place.cwd, "blog_app.py"),
    creates("").replace("create table loaded (id int)", "select 1"),
  );
  addComputedRevision(place.cwd, "c3", "b2");
  const status = await runEntrypoint(["status", "--json"], through);
  expect(JSON.parse(status.stdout)).toMatchObject({ state: "behind", source: "alembic" });
  expect((await runEntrypoint(["current"], through)).code).toBe(0);
});

test("the migration itself writes", async () => {
  const { tables, ...place } = await projectThat("");
  const { code, stderr } = await runEntrypoint(["migrate"], place);
  expect(code, stderr).toBe(0);
  expect((await tables()).toSorted()).toEqual(["alembic_version", "t_a1", "t_b2"]);
});
