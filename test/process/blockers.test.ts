// Why it is stuck, said while it is: who keeps a running migration waiting, what the migration is at for which other
// replicas wait, and which backends an earlier one has left behind. Whatever the driver calls its sessions.

import type { Client } from "pg";
import { describe, expect, test } from "vitest";
import { runEntrypoint, startEntrypoint } from "./entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "./postgres.ts";
import { createProject, ownSessionName } from "./project.ts";

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
    const run = await runEntrypoint(["migrate", "--migrate-timeout", "5s"], {
      cwd,
      env: { DATABASE_URL },
    });
    expect(run.code).toBe(124);
    expect(run.lines.at(-1)?.msg).toMatch(/longer than 5 s; when last looked at, it is blocked by/);
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
  expect(waiting.msg).toMatch(blocker);
  const third = await runEntrypoint(["migrate", "--lock-timeout", "200ms"], options);
  expect(third).toMatchObject({ code: 75 });
  expect(third.lines.at(-1)?.msg).toMatch(blocker);
  const fourth = await runEntrypoint(["wait", "--wait-timeout", "1s"], options);
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
});
