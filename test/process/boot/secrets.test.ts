// No password in anything that entrypoint writes, whatever the way by which it came: words of commands, URLs, files of
// secrets, other sessions' statements. The harness looks for the URLs' passwords in the output of every other test as well.
// @runs-on executable

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const secret = "S3CRET/of-the-shop";
const otherUrl = `postgresql://shop:${secret}@db/shop`;

/** The ways into the log: the command of the migration, of a setup step, and of the application. */
async function place() {
  const cwd = createProject([{ id: "a1" }]);
  const file = join(cwd, "secret");
  writeFileSync(file, `${secret}\n`);
  const url = await createTestDatabase();
  return { cwd, env: { DATABASE_URL: url, API_KEY_FILE: file, ENTRYPOINT_SECRETS: "API_KEY" } };
}

const quiet = ["sh", "-c", "exit 0", "x", otherUrl, "--key", secret];
const spelled = quiet.map((word) => `'${word}'`).join(" ");

test.each(["json", "text", "pretty"])("a whole boot in %s, and what it runs", async (format) => {
  const words = ["--log-format", format, "--log-level", "trace"];
  const setup = ["--setup", spelled, "--setup", `sh -c 'exit 7' x ${otherUrl}`];
  const migrated = await runEntrypoint([...words, ...setup], await place());
  expect(migrated.code).toBe(1);
  expect(migrated.stderr).toContain("postgresql://shop:***@db/shop");
  expect(migrated.stderr).not.toContain(secret);
  const started = await runEntrypoint([...words, ...quiet], await place());
  expect(started.code, started.stderr).toBe(0);
  expect(started.stderr).not.toContain(secret);
});

test.each([
  ["that succeeds", "0", 0],
  ["that fails", "3", 1],
])("a migration %s", async (_, code, exit) => {
  const words = ["--migrate", `sh -c 'exit ${code}' x ${otherUrl} ${secret}`, "--", "true"];
  const run = await runEntrypoint(words, await place());
  expect(run.code).toBe(exit);
  expect(run.stderr).toContain("postgresql://shop:***@db/shop");
  expect(run.stderr).not.toContain(secret);
});

test("--dry-run", async () => {
  const words = ["--dry-run", "--setup", spelled, "--migrate", `x ${otherUrl} ${secret}`];
  const { stdout, stderr } = await runEntrypoint([...words, ...quiet], await place());
  expect(stdout).toContain("would run x postgresql://shop:***@db/shop ***");
  expect(stdout + stderr).not.toContain(secret);
});

test("settings that are refused, and options that do not exist", async () => {
  const { cwd } = await place();
  for (const words of [
    ["--database-url", `postgresql//shop:${secret}@db/shop`],
    ["--setup", `x '${otherUrl}`],
    [`--databse-url=${otherUrl}`],
    ["--wait-timeout", otherUrl],
    ["migrate", "x", otherUrl],
  ]) {
    const { code, stdout, stderr } = await runEntrypoint(words, { cwd });
    expect(code).toBe(64);
    expect(stdout + stderr, words.join(" ")).not.toContain(secret);
  }
});

test("what another session runs, in the JSON of status", async () => {
  const { cwd, env } = await place();
  await runEntrypoint(["migrate"], { cwd, env });
  const client = await connectClient(env.DATABASE_URL);
  const { rows } = await client.query("select pg_backend_pid() as pid");
  await client.query("begin; lock table alembic_version in share mode");
  await client.query(`create role "shop of ${cwd}" password '${secret}'`);
  const waiting = await connectClient(env.DATABASE_URL);
  const blocked = waiting.query("alter table alembic_version add column x int").catch(() => null);
  await expect
    .poll(async () => {
      const { stdout } = await runEntrypoint(["status", "--json"], { cwd, env });
      return JSON.parse(stdout).blockedBy.map(({ pid, query }: { pid: number; query: string }) => ({
        pid,
        query,
      }));
    })
    .toEqual([
      { pid: rows[0].pid, query: `create role "shop of ${cwd}" password ***`.slice(0, 80) },
    ]);
  await client.query("rollback");
  await blocked;
});

test("a supervisor's own lines", async () => {
  const run = startEntrypoint(
    ["supervise", "--", "sh", "-c", "exit 5", "x", otherUrl],
    await place(),
  );
  expect((await run.ended).code).toBe(5);
  expect(run.stderr()).not.toContain(secret);
});
