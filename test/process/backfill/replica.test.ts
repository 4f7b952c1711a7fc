// `entrypoint backfill` waits for those who fall behind because of it: a real streaming replica that replays nothing for
// a while, a slot for which WAL is kept.

import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { startPostgres, type Postgres } from "../../../scripts/postgres.ts";
import { connectClient } from "../harness/postgres.ts";

let primary: Postgres;
let standby: Postgres;
beforeAll(async () => {
  const settings = {
    max_wal_size: "32MB",
    min_wal_size: "32MB",
    archive_mode: "on",
    archive_library: "",
  };
  primary = await startPostgres({
    settings: { fsync: "off", shared_buffers: "32MB", ...settings },
  });
  standby = await primary.startStandby("slowpoke");
});
afterAll(async () => {
  await standby.stop();
  await primary.stop();
});

async function createPosts(rows: number) {
  const url = primary.url("postgres");
  const client = await connectClient(url);
  await client.query(`
    drop table if exists posts;
    create table posts (id int primary key, body text, length int);
    insert into posts select i, repeat('a word ', 40) from generate_series(1, ${rows}) i`);
  return { url, client };
}

async function catchUp(client: Client, replica: Client): Promise<void> {
  const { rows } = await client.query<{ lsn: string }>("select pg_current_wal_lsn() as lsn");
  await expect
    .poll(() => replica.query(`select pg_last_wal_replay_lsn() >= '${rows[0]?.lsn}' as there`), {
      timeout: 30_000,
    })
    .toMatchObject({ rows: [{ there: true }] });
}

const words = "backfill --table posts --log-level debug --batch-time 50ms --set".split(" ");
const job = [...words, "length = length(body)", "--where", "length is null"];

test("a replica that stands still is waited for, and nothing is updated meanwhile", async () => {
  const { url, client } = await createPosts(40_000);
  const replica = await connectClient(standby.url("postgres"));
  await catchUp(client, replica);
  await replica.query("select pg_wal_replay_pause()");

  const running = startEntrypoint([...job, "--max-lag", "200ms"], { env: { DATABASE_URL: url } });
  const paused = await running.event("paused");
  expect(paused.msg).toMatch(/replica slowpoke is \d+\.\d s behind \(limit 0\.2 s\)/);
  const filled = () =>
    client.query("select count(*)::int as n from posts where length is not null");
  const before = await filled();
  await replica.query("select pg_wal_replay_resume()");
  const { code } = await running.ended;
  expect(code).toBe(0);

  const events = running.lines().map(({ event }) => event);
  const pause = events.slice(events.indexOf("paused"), events.indexOf("continued"));
  expect(pause).not.toContain("batch");
  expect(before.rows[0]).not.toEqual({ n: 40_000 });
  expect((await filled()).rows).toEqual([{ n: 40_000 }]);
});

test("a slot for which more WAL is kept than the server would keep is waited for", async () => {
  const { url, client } = await createPosts(60_000);
  await client.query("select pg_create_physical_replication_slot('idle', true)");
  const running = startEntrypoint(job, { env: { DATABASE_URL: url } });
  const paused = await running.event("paused");
  expect(paused.msg).toMatch(/slot idle retains \d+ MB of WAL \(limit 32 MB\)/);
  await client.query("select pg_drop_replication_slot('idle')");
  expect((await running.ended).code).toBe(0);
});

test("an archive that takes nothing more is waited for", async () => {
  const { url, client } = await createPosts(60_000);
  const archive = async (command: string) => {
    await client.query(`alter system set archive_command = '${command}'`);
    await client.query("select pg_reload_conf()");
  };
  await archive("/bin/true");
  await client.query("select pg_switch_wal()");
  await expect
    .poll(
      () => client.query("select failed_count, archived_count > 0 as some from pg_stat_archiver"),
      {
        timeout: 30_000,
      },
    )
    .toMatchObject({ rows: [{ some: true }] });
  await archive("/bin/false");
  const running = startEntrypoint(job, { env: { DATABASE_URL: url } });
  expect((await running.event("paused")).msg).toMatch(/the archive retains \d+ MB of WAL/);
  await archive("/bin/true");
  expect((await running.ended).code).toBe(0);
});

test("without a limit nobody is waited for", async () => {
  const { url, client } = await createPosts(20_000);
  await client.query("select pg_create_physical_replication_slot('idle', true)");
  await client.query("update posts set body = body || ''; update posts set body = body || ''");
  const { code, lines } = await runEntrypoint([...job, "--max-lag", "0"], {
    env: { DATABASE_URL: url },
  });
  await client.query("select pg_drop_replication_slot('idle')");
  expect(code).toBe(0);
  expect(lines.map(({ event }) => event)).not.toContain("paused");
});

test("a replica is no place for it", async () => {
  const { client } = await createPosts(10);
  const replica = await connectClient(standby.url("postgres"));
  await catchUp(client, replica);
  const env = { DATABASE_URL: standby.url("postgres") };
  const { code, lines } = await runEntrypoint(job, { env });
  expect(code).toBe(69);
  expect(lines.at(-1)?.msg).toContain("is a standby");
});
