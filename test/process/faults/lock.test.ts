// The connection at the migration lock: a replica that waits holds none between its looks, opens another one where that
// breaks, and at the end of a start a silent server delays nobody for long.
// @runs-on executable

import { expect, test } from "vitest";
import { migrationLockKey, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy } from "../harness/proxy.ts";
import { directly } from "./steps.ts";

const app = ["echo", "the app was started"];
const lookQuery = "pg_try_advisory_lock";

/** A replica behind a proxy that queues for the lock, which the client holds. */
async function queue(args: readonly string[] = []) {
  const url = await createTestDatabase();
  const holder = await connectClient(url);
  await holder.query(`select pg_advisory_lock(${migrationLockKey})`);
  const proxy = await startProxy(url);
  const cwd = createProject([{ id: "a1" }], { env: directly() });
  const run = startEntrypoint([...args, ...app], {
    cwd,
    env: { DATABASE_URL: proxy.url, DIRECT_URL: url },
  });
  return { run, holder, proxy, url };
}

test("between two looks a replica that waits holds no connection", async () => {
  const { run, holder, proxy } = await queue();
  await run.event("lock-wait");
  const countSessions = async () => {
    const { rows } = await holder.query<{ count: number }>(
      "select count(*)::int as count from pg_stat_activity where application_name like 'entrypoint %' and datname = current_database()",
    );
    return rows[0]?.count;
  };
  await expect.poll(countSessions).toBe(0);
  await expect.poll(() => proxy.traffic().connections).toBeGreaterThan(3);
  await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
  expect((await run.ended).code, run.stderr()).toBe(0);
  expect(run.stdout()).toContain("the app was started");
});

test.each(["cut", "down"] as const)("a connection that breaks at a look: %s", async (fault) => {
  const { run, holder, proxy } = await queue(["--wait-timeout", "30s"]);
  await proxy.failAt(lookQuery, 3, fault);
  await run.event("connection-lost");
  if (fault === "down") {
    await run.event("waiting");
    proxy.recover();
  }
  await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
  expect((await run.ended).code, run.stderr()).toBe(0);
  expect(run.stdout()).toContain("the app was started");
});

test("69: a server that is gone for longer than --wait-timeout", async () => {
  const { run, proxy } = await queue(["--wait-timeout", "2s"]);
  await proxy.failAt(lookQuery, 2, "down");
  const { code } = await run.ended;
  expect(code, run.stderr()).toBe(69);
  expect(run.lines().at(-1)?.msg).toContain("cannot connect to");
});

test("a version table that stays locked is no reason to stop looking", async () => {
  const { run, holder, url } = await queue();
  const watcher = await connectClient(url);
  await run.event("lock-wait");
  await holder.query("create table alembic_version (version_num varchar(32))");
  await holder.query("begin");
  await holder.query("lock table alembic_version");
  const waits = async () => {
    const { rows } = await watcher.query(
      "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    );
    return rows.length;
  };
  await expect.poll(waits).toBe(1);
  await expect.poll(waits).toBe(0);
  await holder.query("commit");
  await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
  expect((await run.ended).code, run.stderr()).toBe(0);
});

test("a silent server delays the start by less than Docker's ten seconds at the lock's release", async () => {
  const { run, holder, proxy } = await queue();
  const silent = proxy.failAt("pg_advisory_unlock", 1, "silence");
  await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
  await silent;
  const startMs = performance.now();
  expect((await run.ended).code, run.stderr()).toBe(0);
  expect(performance.now() - startMs).toBeLessThan(10_000);
  expect(run.stdout()).toContain("the app was started");
});

test("143: TERM at the lock's release, with a silent server", async () => {
  const { run, holder, proxy } = await queue();
  const silent = proxy.failAt("pg_advisory_unlock", 1, "silence");
  await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
  await silent;
  run.process.kill("SIGTERM");
  const startMs = performance.now();
  expect((await run.ended).code, run.stderr()).toBe(143);
  expect(performance.now() - startMs).toBeLessThan(10_000);
  expect(run.stdout()).not.toContain("the app was started");
});
