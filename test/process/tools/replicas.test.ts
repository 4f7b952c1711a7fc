// Several replicas at once, with tools that take no lock of their own or leave one behind.
// @runs-on executable

import { expect, test } from "vitest";

import { startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { commandOf, migrationsOf, realTools, type RealTool } from "./harness/real-tools.ts";
import { runBare, toolEnvironment, writeProject } from "./harness/tools.ts";

function start(tool: RealTool, cwd: string, url: string, ...args: readonly string[]) {
  const env = { ...toolEnvironment(url), ENTRYPOINT_MIGRATE: commandOf(tool, url) };
  return startEntrypoint(args, { cwd, env });
}

const find = (name: string) => {
  const tool = realTools.find((each) => each.name === name);
  if (tool === undefined) throw new Error(`there is no ${name}`);
  return tool;
};

for (const tool of ["drizzle", "knex", "dbmate"].map(find)) {
  test.skipIf(tool.missing !== null)(
    `${tool.name}: of eight replicas on an empty database one migrates, and eight serve`,
    async () => {
      const url = await createTestDatabase();
      const cwd = writeProject(tool, migrationsOf(1, 2, 3));
      const runs = Array.from({ length: 8 }, () =>
        start(tool, cwd, url, "run", "--", "echo", "serves"),
      );
      await Promise.all(runs.map((run) => run.ended));
      const served = runs.filter((run) => run.stdout().endsWith("serves\n"));
      expect(served).toHaveLength(8);
      const migrating = runs.filter((run) =>
        run.lines().some(({ event }) => event === "migrating"),
      );
      expect(migrating).toHaveLength(1);
    },
  );
}

const locking = [
  { tool: find("knex"), sql: "select pg_advisory_lock(1)" },
  { tool: find("golang-migrate"), sql: "select pg_advisory_lock(1);" },
];

for (const { tool, sql } of locking) {
  test.skipIf(tool.missing !== null)(
    `${tool.name}: what looks broken while another replica migrates is waited for`,
    async () => {
      const url = await createTestDatabase();
      const blocker = await connectClient(url);
      await blocker.query("select pg_advisory_lock(1)");
      const cwd = writeProject(tool, [...migrationsOf(1), { number: 2, sql }]);
      const first = start(tool, cwd, url, "migrate");
      await first.event("migrating");
      await expect
        .poll(
          async () => {
            const { rows } = await blocker.query<{ waits: boolean }>(
              "select exists (select from pg_locks where locktype = 'advisory' and not granted and objid = 1) as waits",
            );
            return rows[0]?.waits;
          },
          { timeout: 30_000 },
        )
        .toBe(true);
      const second = start(tool, cwd, url, "migrate");
      await second.event("lock-wait");
      await blocker.query("select pg_advisory_unlock(1)");
      expect((await first.ended).code, first.stderr()).toBe(0);
      expect((await second.ended).code, second.stderr()).toBe(0);
    },
  );
}

/** The keys are what the tools themselves take: else they would migrate. */
const ownLocks = [
  { tool: find("node-pg-migrate"), key: "7241865325823964", waits: false },
  { tool: find("graphile-migrate"), key: "4727445306447283", waits: false },
  { tool: find("kysely"), key: "3853314791062309107", waits: true },
];

for (const { tool, key, waits } of ownLocks) {
  test.skipIf(tool.missing !== null)(
    `${tool.name}: its own advisory lock is named where that keeps a migration waiting`,
    async () => {
      const url = await createTestDatabase();
      const holder = await connectClient(url);
      const { rows } = await holder.query<{ pid: number }>(
        `select pg_advisory_lock(${key}), pg_backend_pid() as pid`,
      );
      const pid = rows[0]?.pid ?? 0;
      const run = start(tool, writeProject(tool, migrationsOf(1)), url, "migrate");
      if (waits) {
        const { msg } = await run.event("blocked");
        expect(msg).toMatch(new RegExp(`; pid ${pid} holds Kysely's own advisory lock$`));
        await holder.query(`select pg_advisory_unlock(${key})`);
        expect((await run.ended).code, run.stderr()).toBe(0);
        return;
      }
      expect((await run.ended).code, run.stderr()).toBe(1);
      expect(run.lines().at(-1)).toMatchObject({
        msg: expect.stringContaining(`own advisory lock is held by pid ${pid} `) as string,
        hint: expect.stringContaining(`pg_terminate_backend(${pid})`) as string,
      });
    },
  );
}

const knex = find("knex");

test.skipIf(knex.missing !== null)(
  "knex: the lock of a killed migration stops no boot with nothing pending, and has its cure with something pending",
  async () => {
    const url = await createTestDatabase();
    const cwd = writeProject(knex, migrationsOf(1));
    expect(runBare(knex, cwd, url)).toMatchObject({ code: 0 });
    const client = await connectClient(url);
    await client.query("update knex_migrations_lock set is_locked = 1");
    expect(runBare(knex, cwd, url).code, "the tool itself").toBe(1);
    const boot = start(knex, cwd, url, "migrate");
    expect((await boot.ended).code, boot.stderr()).toBe(0);
    const newer = writeProject(knex, migrationsOf(1, 2));
    const refused = start(knex, newer, url, "migrate");
    expect((await refused.ended).code, refused.stderr()).toBe(87);
    expect(refused.lines().at(-1)).toMatchObject({
      hint: expect.stringContaining("knex migrate:unlock") as string,
    });
    await client.query("update knex_migrations_lock set is_locked = 0");
    const mended = start(knex, newer, url, "migrate");
    expect((await mended.ended).code, mended.stderr()).toBe(0);
  },
);
