// A migration that gives up a lock soon and tries again, beside sessions that hold the table or go on using it. The
// holders are let go when entrypoint has said something, never after a time.
// @runs-on executable

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { Client } from "pg";
import { expect, onTestFinished, test } from "vitest";

import { startPostgres } from "../../../scripts/postgres.ts";
import {
  entrypointCommand,
  migrationLockKey,
  plainEnvironment,
  runEntrypoint,
  startEntrypoint,
} from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { greetAsPooler, startProxy } from "../harness/proxy.ts";
import { createProject } from "../harness/project.ts";

const option = ["--ddl-lock-timeout", "2s"];
const alterBusy = { id: "a1", upgrade: 'op.execute("alter table busy add column c int")' };
const printSettings = {
  id: "a1",
  upgrade: `for name in ("lock_timeout", "work_mem", "search_path"):
    print(op.get_bind().exec_driver_sql(f"show {name}").scalar())`,
};

/** Makes the table `busy`, and a session that has read it in a transaction which stays open. */
async function holdBusy(url: string): Promise<Client> {
  const holder = await connectClient(url);
  await holder.query("create table busy (id int)");
  await holder.query("set application_name = 'nightly report'");
  await holder.query("begin");
  await holder.query("select from busy");
  return holder;
}

/** A session that uses `busy` all the time, and how long each of its statements took. */
async function useBusy(url: string, sql: string) {
  const client = await connectClient(url);
  const waits: number[] = [];
  const ended = new AbortController();
  const loop = async () => {
    while (!ended.signal.aborted) {
      const startMs = performance.now();
      await client.query(sql);
      waits.push(performance.now() - startMs);
      await sleep(5);
    }
  };
  const running = loop();
  return {
    done: () => waits.length,
    async end() {
      ended.abort();
      await running;
      return Math.max(...waits);
    },
  };
}

/** Resolves once the migration waits for its lock on `busy`. */
async function migrationWaits(client: Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query(
      "select from pg_locks where relation = 'busy'::regclass and mode = 'AccessExclusiveLock' and not granted",
    );
    if (rows.length > 0) return;
    await sleep(10);
  }
}

test("the table goes on being read and written, and the migration lands once the lock is free", async () => {
  const DATABASE_URL = await createTestDatabase();
  const holder = await holdBusy(DATABASE_URL);
  const observer = await connectClient(DATABASE_URL);
  const cwd = createProject([alterBusy]);
  const users = [
    await useBusy(DATABASE_URL, "select from busy"),
    await useBusy(DATABASE_URL, "insert into busy (id) values (1)"),
  ];

  // With the option: between two tries, everybody has got on.
  const patient = startEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  await migrationWaits(observer);
  const heldFromMs = performance.now();
  const [first] = await patient.events("lock-retry", 1);
  const doneAtFirst = users.map((user) => user.done());
  const [, second] = await patient.events("lock-retry", 2);
  const heldMs = performance.now() - heldFromMs;
  for (const [index, user] of users.entries()) {
    expect(user.done()).toBeGreaterThan(doneAtFirst[index] ?? 0);
  }
  const waits = await Promise.all(users.map((user) => user.end()));
  await holder.query("commit");
  expect((await patient.ended).code).toBe(0);
  const described =
    /^The migration could not get the lock within 0\.5 s: blocked by pid \d+ \(nightly report, user postgres, from .*, for \d+ s\): select from busy; retrying in \d\.\d s/;
  for (const line of [first, second]) expect(line?.msg).toMatch(described);
  expect(first?.["blockers"]).toMatchObject([{ application: "nightly report" }]);
  // It queued for half a second at a time, and the holder was in the way for far longer than that.
  const longestMs = Math.max(...waits);
  expect(longestMs).toBeLessThan(heldMs * 0.75);

  // Without it: behind the migration everybody waits for as long as the holder lives.
  await observer.query("alter table busy drop column c");
  await observer.query("drop table alembic_version");
  await holder.query("begin");
  await holder.query("select from busy");
  const plain = startEntrypoint(["migrate"], { cwd, env: { DATABASE_URL } });
  await migrationWaits(observer);
  const blockedUsers = [
    await useBusy(DATABASE_URL, "select from busy"),
    await useBusy(DATABASE_URL, "insert into busy (id) values (1)"),
  ];
  const blockedFromMs = performance.now();
  await plain.event("blocked");
  expect(blockedUsers.map((user) => user.done())).toEqual([0, 0]);
  await holder.query("commit");
  const blockedMs = performance.now() - blockedFromMs;
  expect((await plain.ended).code).toBe(0);
  const blockedWaits = await Promise.all(blockedUsers.map((user) => user.end()));
  expect(Math.min(...blockedWaits)).toBeGreaterThan(blockedMs * 0.75);
});

test("75: a lock that does not come free within --lock-timeout names its holder, and nothing is half done", async () => {
  const DATABASE_URL = await createTestDatabase();
  await holdBusy(DATABASE_URL);
  const cwd = createProject([
    { id: "a0" },
    {
      id: "a1",
      upgrade: `op.execute("create table half_done (id int)")\n${alterBusy.upgrade}`,
    },
  ]);
  const { code, lines, stdout } = await runEntrypoint(
    [...option, "--lock-timeout", "1500ms", "echo", "the app was started"],
    { cwd, env: { DATABASE_URL } },
  );
  expect(code).toBe(75);
  expect(stdout).toBe("");
  const retries = lines.filter(({ event }) => event === "lock-retry");
  expect(retries.length).toBeGreaterThan(0);
  expect(retries[0]?.msg).toContain("2 were pending, 1 was applied: the database is at a0");
  const failure = lines.at(-1);
  expect(failure).toMatchObject({ event: "lock-timeout", current: ["a0"], pending: ["a1"] });
  expect(failure?.msg).toMatch(
    /Migration failed! Aborting startup\. .*: it could not get the lock in \d+ attempts?: blocked by pid \d+ \(nightly report, .*: 2 were pending, 1 was applied/,
  );
  expect(failure?.["hint"]).toMatch(/pg_terminate_backend\(\d+\), or raise --lock-timeout/);
  const client = await connectClient(DATABASE_URL);
  const { rows } = await client.query("select from pg_class where relname = 'half_done'");
  expect(rows).toEqual([]);
});

test("a try that came further is the first one of the place that it came to", async () => {
  const DATABASE_URL = await createTestDatabase();
  const holder = await holdBusy(DATABASE_URL);
  const second = await connectClient(DATABASE_URL);
  await second.query("create table busy_too (id int)");
  await second.query("begin");
  await second.query("select from busy_too");
  const cwd = createProject([
    alterBusy,
    { id: "b2", upgrade: 'op.execute("alter table busy_too add column c int")' },
  ]);
  const run = startEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  await run.events("lock-retry", 2);
  await holder.query("commit");
  const lines = await run.events("lock-retry", 3);
  await second.query("commit");
  expect((await run.ended).code).toBe(0);
  expect(lines.map((line) => [line["tries"], line["lockTimeoutMs"], line["current"]])).toEqual([
    [1, 500, []],
    [2, 500, []],
    [1, 1_000, ["a1"]],
  ]);
});

test("124: --migrate-timeout counts for all tries, and says what they have waited for", async () => {
  const DATABASE_URL = await createTestDatabase();
  await holdBusy(DATABASE_URL);
  const cwd = createProject([alterBusy]);
  const args = [...option, "--migrate-timeout", "20s", "migrate"];
  const { code, lines } = await runEntrypoint(args, { cwd, env: { DATABASE_URL } });
  expect(code).toBe(124);
  expect(lines.at(-1)?.msg).toMatch(/took longer than 20 s: .*blocked by pid \d+ \(nightly report/);
});

test("a failure that is no lock time-out is not tried again, whatever was caught before it", async () => {
  const DATABASE_URL = await createTestDatabase();
  await holdBusy(DATABASE_URL);
  const cwd = createProject([
    {
      id: "a1",
      upgrade: `try:
    with op.get_bind().begin_nested():
        op.execute("lock table busy")
except Exception:
    import traceback
    traceback.print_exc()
op.execute("select 1 / 0")`,
    },
  ]);
  const { code, lines, stderr } = await runEntrypoint([...option, "migrate"], {
    cwd,
    env: { DATABASE_URL },
  });
  expect(stderr).toContain("LockNotAvailable");
  expect(code).toBe(1);
  // A slow machine has time to report who blocks it.
  const events = lines.map(({ event }) => event).filter((event) => event !== "blocked");
  expect(events).toEqual(["unstamped", "migrating", "migration-failed"]);
});

test("a command that is not Alembic's is not tried again", async () => {
  const DATABASE_URL = await createTestDatabase();
  await holdBusy(DATABASE_URL);
  const cwd = createProject([alterBusy]);
  const { code, lines } = await runEntrypoint(
    [...option, "--migrate", "sh -c 'alembic upgrade head'", "migrate"],
    { cwd, env: { DATABASE_URL } },
  );
  expect(code).toBe(75);
  expect(lines.at(-1)?.msg).toMatch(/not retried, since a shell runs it; .*nightly report, /);
});

test("an index that was not built to its end is named, and the migration not tried again", async () => {
  const DATABASE_URL = await createTestDatabase();
  const holder = await holdBusy(DATABASE_URL);
  await holder.query("insert into busy values (1)");
  const cwd = createProject([
    {
      id: "a1",
      upgrade: `with op.get_context().autocommit_block():
    op.execute("create index concurrently busy_id on busy (id)")`,
    },
  ]);
  const { code, lines } = await runEntrypoint([...option, "migrate"], {
    cwd,
    env: { DATABASE_URL },
  });
  expect(code).toBe(1);
  expect(lines.at(-1)).toMatchObject({
    invalidIndexes: [{ name: "public.busy_id", table: "public.busy" }],
    hint: "DROP INDEX CONCURRENTLY public.busy_id, and SET lock_timeout = 0 before it is created: that blocks no other session",
  });
});

test("a revision may take the lock time-out away for an index, and give it back", async () => {
  const DATABASE_URL = await createTestDatabase();
  const cwd = createProject([
    {
      id: "a1",
      upgrade: `show = lambda: print(op.get_bind().exec_driver_sql("show lock_timeout").scalar())
with op.get_context().autocommit_block():
    op.execute("SET lock_timeout = 0")
    show()
    op.execute("RESET lock_timeout")
show()`,
    },
  ]);
  const run = await runEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  expect(run.stdout).toBe("0\n500ms\n");
});

test("SIGTERM between two tries ends the boot at once", async () => {
  const DATABASE_URL = await createTestDatabase();
  await holdBusy(DATABASE_URL);
  const cwd = createProject([alterBusy]);
  const run = startEntrypoint(option, { cwd, env: { DATABASE_URL } });
  // The second pause takes a second at least.
  await run.events("lock-retry", 2);
  run.process.kill("SIGTERM");
  expect((await run.ended).code).toBe(143);
  expect(run.lines().filter(({ event }) => event === "migrating")).toHaveLength(2);
});

test("85: the loss of the migration lock between two tries ends them", async () => {
  const DATABASE_URL = await createTestDatabase();
  await holdBusy(DATABASE_URL);
  const cwd = createProject([alterBusy]);
  const run = startEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  await run.event("lock-retry");
  const client = await connectClient(DATABASE_URL);
  await client.query(
    `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and (classid::bigint << 32) | objid::bigint = ${migrationLockKey} and database = (select oid from pg_database where datname = current_database())`,
  );
  expect((await run.ended).code).toBe(85);
  expect(run.lines().filter(({ event }) => event === "migrating")).toHaveLength(1);
});

test("the options of PGOPTIONS and of the URL are kept", async () => {
  const url = await createTestDatabase();
  const cwd = createProject([printSettings]);
  const inVariable = await runEntrypoint([...option, "migrate"], {
    cwd,
    env: { DATABASE_URL: url, PGOPTIONS: "-c work_mem=7MB" },
  });
  expect(inVariable.stdout).toBe('500ms\n7MB\n"$user", public\n');
  const inUrl = await runEntrypoint([...option, "migrate"], {
    cwd,
    env: {
      DATABASE_URL: `${await createTestDatabase()}?options=-c%20search_path%3Dpublic&connect_timeout=9`,
      PGOPTIONS: "-c work_mem=7MB",
    },
  });
  expect(inUrl.stdout).toBe("500ms\n4MB\npublic\n");
  for (const { lines } of [inVariable, inUrl]) {
    expect(lines.map(({ event }) => event)).not.toContain("ddl-lock-timeout");
  }
});

test("options in the Alembic config's URL are out of reach, which is told", async () => {
  const url = `${await createTestDatabase()}?options=-csearch_path=public`;
  const cwd = createProject([printSettings], {
    ini: `[alembic]\nscript_location = migrations\nsqlalchemy.url = ${url}\n`,
    env: `from alembic import context
from sqlalchemy import engine_from_config
config = context.config
engine = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`,
  });
  const run = await runEntrypoint([...option, "migrate"], { cwd });
  expect(run.stdout).toBe("0\n4MB\npublic\n");
  const warning = run.lines.find(({ event }) => event === "ddl-lock-timeout");
  expect(warning?.msg).toContain("sqlalchemy.url in the Alembic config has options=");
  expect(warning?.["hint"]).toContain("add -c lock_timeout=2000ms to it, or: ALTER ROLE postgres");
});

test("options in a service file are out of reach, which is reported", async () => {
  const { hostname, port, username, password, pathname } = new URL(await createTestDatabase());
  const cwd = createProject([printSettings]);
  const file = join(cwd, "services.conf");
  const lines = [`host=${hostname}`, `port=${port}`, `dbname=${pathname.slice(1)}`];
  writeFileSync(file, `[blog]\n${lines.join("\n")}\noptions=-csearch_path=public\n`);
  const DATABASE_URL = `postgresql+psycopg://${username}:${password}@/?service=blog`;
  const env = { DATABASE_URL, PGSERVICEFILE: file };
  const run = await runEntrypoint([...option, "migrate"], { cwd, env });
  expect(run.stdout).toBe("0\n4MB\npublic\n");
  const warning = run.lines.find(({ event }) => event === "ddl-lock-timeout");
  expect(warning?.msg).toContain("the service file has options=, which takes the place of");
  expect(warning?.["hint"]).toContain("add -c lock_timeout=2000ms to it, or: ALTER ROLE postgres");
});

test.each([
  ["connect_args", ', connect_args={"options": "-c search_path=public"}', ""],
  [
    "a statement",
    "",
    'connection.exec_driver_sql("set lock_timeout = 0")\n    connection.commit()',
  ],
])(
  "a lock_timeout that %s of the code takes away is seen, and the cure works",
  async (_, args, line) => {
    const DATABASE_URL = await createTestDatabase();
    const holder = await holdBusy(DATABASE_URL);
    const write = (own: string, statement: string) => `import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"]${own}).connect() as connection:
    ${statement || "pass"}
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`;
    const cwd = createProject([alterBusy], { env: write(args, line) });
    const env = { DATABASE_URL };
    const deaf = startEntrypoint([...option, "migrate"], { cwd, env });
    const warning = await deaf.event("ddl-lock-timeout");
    expect(warning.msg).toMatch(
      /^--ddl-lock-timeout does not reach the migration: pid \d+ has waited for a lock for more than 0\.5 s$/,
    );
    await holder.query("commit");
    expect((await deaf.ended).code).toBe(0);
    expect(deaf.lines().filter(({ event }) => event === "ddl-lock-timeout")).toHaveLength(1);

    await holder.query("alter table busy drop column c");
    await holder.query("drop table alembic_version");
    await holder.query("begin");
    await holder.query("select from busy");
    const cure = /set (lock_timeout = '2000ms')/.exec(String(warning["hint"]))?.[1] ?? "";
    const set = `connection.exec_driver_sql("set ${cure.replace("2000", "300")}")\n    connection.commit()`;
    writeFileSync(join(cwd, "migrations", "env.py"), write(args, set));
    const run = startEntrypoint([...option, "migrate"], { cwd, env });
    await run.event("lock-retry");
    await holder.query("commit");
    expect((await run.ended).code).toBe(0);
    expect(run.lines().map(({ event }) => event)).not.toContain("ddl-lock-timeout");
  },
);

test("the victim of a deadlock retries", async () => {
  const DATABASE_URL = await createTestDatabase();
  const other = await connectClient(DATABASE_URL);
  const observer = await connectClient(DATABASE_URL);
  await other.query("create table busy (id int); create table first (id int)");
  // Who has waited for that long looks for a deadlock, and is the victim.
  await other.query("set deadlock_timeout = '1min'");
  await other.query("begin; lock table busy");
  const cwd = createProject([
    {
      id: "a1",
      upgrade: `op.execute("set local deadlock_timeout = '10ms'")
op.execute("set local lock_timeout = 0")
op.execute("lock table first")
wanted = "select from pg_locks where not granted and relation = 'first'::regclass"
held = "select from pg_locks where pid <> pg_backend_pid() and granted and relation = 'busy'::regclass"
ask = lambda sql: op.get_bind().exec_driver_sql(sql).rowcount
while ask(held) and not ask(wanted):
    time.sleep(0.01)
op.execute("alter table busy add column c int")`,
    },
  ]);
  const run = startEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  const taken = async () => {
    const { rowCount } = await observer.query(
      "select from pg_locks where relation = 'first'::regclass and granted",
    );
    return rowCount;
  };
  await expect.poll(taken).toBe(1);
  const locked = other.query("lock table first").catch((error: unknown) => error);
  const retry = await run.event("lock-retry");
  expect(retry.msg).toContain("could not get the lock");
  expect(run.stderr()).toContain("deadlock detected");
  await locked;
  await other.query("rollback");
  expect((await run.ended).code).toBe(0);
});

test.each(["asyncpg", "pg8000"])(
  "a URL of %s, which reads no PGOPTIONS, is told the cure, and the cure works",
  async (driver) => {
    const url = await createTestDatabase();
    const holder = await holdBusy(url);
    // The driver itself is not installed here: psycopg does what it does with the environment.
    const cwd = createProject([alterBusy], {
      env: `import os
from alembic import context
from sqlalchemy import create_engine
for name in ("PGOPTIONS", "PGAPPNAME"):
    os.environ.pop(name)
with create_engine(os.environ["DATABASE_URL"].replace("+${driver}", "")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`,
    });
    const env = { DATABASE_URL: url.replace("postgresql:", `postgresql+${driver}:`) };
    const deaf = startEntrypoint([...option, "migrate"], { cwd, env });
    const warning = await deaf.event("ddl-lock-timeout");
    expect(warning.msg).toContain(`${driver} does not read PGOPTIONS`);
    deaf.process.kill("SIGTERM");
    await deaf.ended;

    const cure = /ALTER ROLE .*$/.exec(String(warning["hint"]))?.[0] ?? "";
    const client = await connectClient(url);
    await client.query(cure.replace("2000ms", "500ms"));
    const run = startEntrypoint([...option, "migrate"], { cwd, env });
    const retry = await run.event("lock-retry");
    expect(retry.msg).toMatch(/could not get the lock: blocked by pid \d+ \(nightly report/);
    await holder.query("commit");
    expect((await run.ended).code).toBe(0);
    expect(run.lines().map(({ event }) => event)).not.toContain("ddl-lock-timeout");
  },
);

test("behind a transaction pooler no connection asks for what it would refuse", async () => {
  const { url: DATABASE_URL } = await startProxy(await createTestDatabase(), greetAsPooler);
  const cwd = createProject([printSettings]);
  const run = await runEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  expect(run.stdout).toBe('0\n4MB\n"$user", public\n');
  const warning = run.lines.find(({ event }) => event === "ddl-lock-timeout");
  expect(warning?.msg).toContain("a pooler");
  expect(warning?.["hint"]).toContain("use a direct URL, or: ALTER ROLE postgres IN DATABASE");
});

test("a server whose deadlock_timeout is longer is warned of", async () => {
  const DATABASE_URL = await createTestDatabase();
  const client = await connectClient(DATABASE_URL);
  const database = client.escapeIdentifier(client.database ?? "");
  await client.query(`alter database ${database} set deadlock_timeout = '3s'`);
  const cwd = createProject([{ id: "a1" }]);
  const run = await runEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  expect(run.lines.find(({ event }) => event === "ddl-lock-timeout")).toMatchObject({
    msg: "--ddl-lock-timeout is not longer than this server's deadlock_timeout, so no autovacuum will give way",
    hint: "set it to more than 3 s",
  });
});

test("without a known database it is told that the option does nothing", async () => {
  const cwd = createProject([]);
  const run = await runEntrypoint([...option, "--no-lock", "--migrate", "true", "migrate"], {
    cwd,
  });
  expect(run.code).toBe(0);
  expect(run.lines.map(({ event }) => event)).toContain("ddl-lock-timeout");
});

test("what the migration writes comes as it is, and a daemon that it leaves behind holds up nobody", async () => {
  const DATABASE_URL = await createTestDatabase();
  const cwd = createProject([
    {
      id: "a1",
      upgrade: `import subprocess
print(subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL).pid)
sys.stderr.buffer.write(b"<\\xff\\x00\\xc3" + b"x" * 300_000 + b">")`,
    },
  ]);
  const [file, ...before] = entrypointCommand();
  const child = spawn(file, [...before, ...option, "migrate"], {
    cwd,
    env: plainEnvironment({ DATABASE_URL }),
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const printed = once(child.stdout, "data");
  const chunks: Buffer[] = [];
  child.stderr.on("data", (bytes: Buffer) => chunks.push(bytes));
  const [code] = (await once(child, "close")) as [number];
  process.kill(Number(String((await printed)[0])), "SIGKILL");
  expect(code).toBe(0);
  const written = Buffer.concat([
    Buffer.from("<\xff\0\xc3", "latin1"),
    Buffer.from(`${"x".repeat(300_000)}>`),
  ]);
  expect(Buffer.concat(chunks).includes(written)).toBe(true);
});

test("an autovacuum gives way to the tries that wait long enough", async () => {
  const postgres = await startPostgres({
    settings: { autovacuum_naptime: "1s", fsync: "off" },
  });
  onTestFinished(() => postgres.stop());
  const DATABASE_URL = await postgres.createDatabase("blog");
  const client = await connectClient(DATABASE_URL);
  // A vacuum that takes minutes: one page, then a tenth of a second.
  await client.query(`
    create table busy (id int, filler text) with (fillfactor = 10, autovacuum_vacuum_threshold = 0,
      autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_cost_delay = 100)`);
  await client.query(
    "insert into busy select i, repeat('x', 500) from generate_series(1, 10000) i",
  );
  await client.query("update busy set filler = 'y'");
  const vacuum = "select from pg_stat_activity where query like 'autovacuum: VACUUM%busy%'";
  while ((await client.query(vacuum)).rows.length === 0) await sleep(50);

  const cwd = createProject([alterBusy]);
  const run = startEntrypoint([...option, "migrate"], { cwd, env: { DATABASE_URL } });
  const retries = await run.events("lock-retry", 2);
  for (const { msg } of retries) expect(msg).toContain("autovacuum: VACUUM");
  expect((await run.ended).code).toBe(0);
});
