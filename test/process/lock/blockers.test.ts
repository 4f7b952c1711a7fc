// Why it is stuck, said while it is: who keeps a running migration waiting, what the migration is at for which other
// replicas wait, and which backends an earlier one has left behind. Whatever the driver calls its sessions.
// @runs-on executable

import type { Client } from "pg";
import { describe, expect, test } from "vitest";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject, ownSessionName } from "../harness/project.ts";

const alterBusy = [{ id: "a1", upgrade: 'op.execute("alter table busy add column c int")' }];

/** A table that a report reads in a transaction, for which ALTER TABLE waits. */
async function keepBusy(url: string): Promise<Client> {
  const client = await connectClient(url);
  await client.query("create table busy (id int)");
  await client.query("set application_name = 'nightly report'");
  await client.query("begin");
  await client.query("select 'what', id from busy");
  return client;
}

const blocker =
  /it is blocked by pid \d+ \(nightly report, user postgres, from .*, for \d+ s\): select 'what', id from busy/;

describe("a migration that waits in the database", () => {
  test.for([
    ["is named by entrypoint", {}],
    ["has a name of its own", { env: ownSessionName }],
  ] as const)("says by whom it is blocked: its session %s", async ([, project]) => {
    const DATABASE_URL = await createTestDatabase();
    const client = await keepBusy(DATABASE_URL);
    const cwd = createProject(alterBusy, project);
    const run = startEntrypoint(["migrate"], { cwd, env: { DATABASE_URL } });
    const line = await run.event("blocked");
    expect(line.msg).toMatch(blocker);
    expect(line["blockers"]).toMatchObject([{ application: "nightly report", user: "postgres" }]);

    const status = await runEntrypoint(["status", "--json"], { cwd, env: { DATABASE_URL } });
    expect(JSON.parse(status.stdout)).toMatchObject({
      blockedBy: [{ application: "nightly report" }],
    });
    await client.query("commit");
    expect((await run.ended).code).toBe(0);
  });

  test("says how far the index is that it builds", async () => {
    const DATABASE_URL = await createTestDatabase();
    const client = await connectClient(DATABASE_URL);
    await client.query("create table busy (id int)");
    await client.query("begin");
    await client.query("insert into busy values (1)");
    const cwd = createProject([
      {
        id: "a1",
        upgrade:
          'with op.get_context().autocommit_block():\n    op.execute("create index concurrently busy_id on busy (id)")',
      },
    ]);
    const run = startEntrypoint(["migrate"], { cwd, env: { DATABASE_URL } });
    expect((await run.event("blocked")).msg).toMatch(
      /; pid \d+ builds the index busy_id on busy: waiting for writers before build, 0 %$/,
    );
    await client.query("commit");
    expect((await run.ended).code).toBe(0);
  });

  test("124: names who was in the way when its time was up", async () => {
    const DATABASE_URL = await createTestDatabase();
    const client = await keepBusy(DATABASE_URL);
    const cwd = createProject(alterBusy);
    const run = await runEntrypoint(["migrate", "--migrate-timeout", "20s"], {
      cwd,
      env: { DATABASE_URL },
    });
    expect(run.code).toBe(124);
    expect(run.lines.at(-1)?.msg).toMatch(/longer than 20 s; at the last check, it is blocked by/);
    await client.query("commit");
  });
});

test("a replica that waits for the lock says what its holder's migration waits for", async () => {
  const DATABASE_URL = await createTestDatabase();
  const client = await keepBusy(DATABASE_URL);
  const options = { cwd: createProject(alterBusy), env: { DATABASE_URL } };
  const first = startEntrypoint(["migrate"], options);
  await first.event("blocked");

  const second = startEntrypoint(["migrate"], options);
  const waiting = await second.event("lock-wait");
  expect(waiting.msg).toMatch(/the migration lock is held by pid \d+ \(entrypoint /);
  expect(waiting).toMatchObject({ holder: { query: "" } });
  expect(waiting.msg).toMatch(blocker);
  const third = await runEntrypoint(["migrate", "--lock-timeout", "200ms"], options);
  expect(third).toMatchObject({ code: 75 });
  expect(third.lines.at(-1)?.msg).toMatch(blocker);
  const fourth = await runEntrypoint(["wait", "--wait-timeout", "3s"], options);
  expect(fourth).toMatchObject({ code: 3 });
  expect(fourth.lines.at(-1)?.msg).toMatch(blocker);

  await client.query("commit");
  expect((await first.ended).code).toBe(0);
  expect((await second.ended).code).toBe(0);
});

describe("what an earlier migration has left behind in the server", () => {
  test("75: is named", async () => {
    const DATABASE_URL = await createTestDatabase();
    const orphan = await connectClient(DATABASE_URL);
    await orphan.query("set application_name = 'entrypoint-migration web-2'");
    const run = await runEntrypoint(["migrate", "--lock-timeout", "300ms"], {
      cwd: createProject([{ id: "a1" }]),
      env: { DATABASE_URL },
    });
    expect(run.code).toBe(75);
    expect(run.lines.at(-1)?.msg).toContain("entrypoint-migration web-2");
  });

  test("is waited for, even where the driver has not taken its name", async () => {
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, "a1");
    const watcher = await connectClient(DATABASE_URL);
    const orphan = await connectClient(DATABASE_URL);
    const { rows } = await orphan.query<{ pid: number }>("select pg_backend_pid() as pid");
    const pid = rows[0]?.pid;
    // What Alembic does in the middle of a revision, and no client that could be told to stop.
    await orphan.query("begin");
    await orphan.query("select version_num from alembic_version");
    await orphan.query("create table half_done (id int)");
    const statement = orphan.query("select pg_sleep(600)").catch((error: Error) => error);

    const run = startEntrypoint(["migrate"], {
      cwd: createProject([{ id: "a1" }, { id: "b2" }]),
      env: { DATABASE_URL },
    });
    expect((await run.event("orphan")).msg).toContain(`pid ${pid} `);
    expect(run.lines().map(({ event }) => event)).not.toContain("migrating");
    await watcher.query(`select pg_cancel_backend(${pid})`);
    expect(await statement).toBeInstanceOf(Error);
    await orphan.query("rollback");
    expect((await run.ended).code).toBe(0);
  });

  test("and an idle session that a pooler has kept, with its name, is not waited for", async () => {
    const DATABASE_URL = await createTestDatabase();
    const kept = await connectClient(DATABASE_URL);
    await kept.query("set application_name = 'entrypoint-migration web-2'");
    const run = await runEntrypoint(["migrate"], {
      cwd: createProject([{ id: "a1" }]),
      env: { DATABASE_URL },
    });
    expect(run.code, run.stderr).toBe(0);
  });

  test("but one that idles while it holds a lock is", async () => {
    const DATABASE_URL = await createTestDatabase();
    const orphan = await connectClient(DATABASE_URL);
    await orphan.query("set application_name = 'entrypoint-migration web-2'");
    await orphan.query("select pg_advisory_lock(7)");
    const run = await runEntrypoint(["migrate", "--lock-timeout", "8s"], {
      cwd: createProject([{ id: "a1" }]),
      env: { DATABASE_URL },
    });
    expect(run.code, run.stderr).toBe(75);
  });

  test("and who only reads the version table is not waited for", async () => {
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, "a1");
    const dump = await connectClient(DATABASE_URL);
    await dump.query("begin");
    await dump.query("select version_num from alembic_version");
    const watcher = await connectClient(DATABASE_URL);
    const statement = dump.query("select pg_sleep(600)").catch((error: Error) => error);
    const run = await runEntrypoint(["migrate"], {
      cwd: createProject([{ id: "a1" }, { id: "b2" }]),
      env: { DATABASE_URL },
    });
    expect(run.code).toBe(0);
    expect(run.lines.map(({ event }) => event)).not.toContain("orphan");
    await watcher.query(
      "select pg_cancel_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)' and datname = current_database()",
    );
    expect(await statement).toBeInstanceOf(Error);
  });

  /** A statement on the table `busy`, on which another session has a transaction, and a boot beside it. */
  async function bootBeside(statement: string, name: string, as: "same" | "other") {
    const DATABASE_URL = await createTestDatabase();
    const holder = await connectClient(DATABASE_URL);
    await holder.query("create table busy (id int primary key)");
    await holder.query("create index kept on busy (id)");
    await holder.query("begin");
    await holder.query("insert into busy values (1)");
    const watcher = await connectClient(DATABASE_URL);
    const url = new URL(DATABASE_URL);
    if (as === "other") {
      const role = `other_${url.pathname.slice(1)}`;
      await watcher.query(`create role ${role} login superuser password 'secret'`);
      [url.username, url.password] = [role, "secret"];
    }
    const orphan = await connectClient(url.href);
    await orphan.query(`set application_name = '${name}'`);
    const ended = orphan.query(statement).catch((error: Error) => error);
    await expect
      .poll(async () => {
        const { rows } = await watcher.query(
          "select from pg_stat_activity where datname = current_database() and state = 'active' and pid <> pg_backend_pid() and (wait_event_type = 'Lock' or query like '%pg_sleep(600)%')",
        );
        return rows.length;
      })
      .toBe(1);
    const run = startEntrypoint(["migrate"], {
      cwd: createProject([{ id: "a1" }]),
      env: { DATABASE_URL },
    });
    const release = async () => {
      await holder.query("commit");
      await watcher.query(
        "select pg_cancel_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)%' and datname = current_database() and pid <> pg_backend_pid()",
      );
      await ended;
    };
    return { run, release };
  }

  test.each([
    "create index concurrently i on busy (id)",
    "drop index concurrently kept",
    "reindex index concurrently kept",
    "/* blog */ -- of revision b2\nCREATE INDEX CONCURRENTLY i ON busy (id)",
    "alter table busy add column c int",
  ])("DDL of a session without a name is waited for, by what it does: %s", async (statement) => {
    const { run, release } = await bootBeside(statement, "", "same");
    expect((await run.event("orphan")).msg).toContain("no application name");
    expect(run.lines().map(({ event }) => event)).not.toContain("migrating");
    await release();
    expect((await run.ended).code, run.stderr()).toBe(0);
  });

  test.each([
    { what: "psql's", statement: "create index concurrently i on busy (id)", name: "psql" },
    { what: "another role's", statement: "create index concurrently i on busy (id)", as: "other" },
    {
      what: "a table of a session's own",
      statement: "create temp table t as select pg_sleep(600)::text as v",
    },
    { what: "no DDL", statement: "lock table busy in share row exclusive mode" },
  ] as const)("but not a stranger's work: $what", async (row) => {
    const { name = "", as = "same", statement } = { name: undefined, as: undefined, ...row };
    const { run, release } = await bootBeside(
      statement.startsWith("lock") ? `begin; ${statement}` : statement,
      name,
      as,
    );
    expect((await run.ended).code, run.stderr()).toBe(0);
    expect(run.lines().map(({ event }) => event)).not.toContain("orphan");
    await release();
  });
});
