// --before and --setup: each step runs when it has to, and so often, also where four replicas start at once.
// @runs-on executable

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { migrationLockKey, runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const note = (what: string) => `sh -c 'echo ${what} >> steps.log'`;

const before = [
  note("every-replica"),
  `when=locked ${note("locked")}`,
  `when=before-migration ${note("before-migration")}`,
];
const setup = [
  `when=once ${note("once")}`,
  note("every-boot"),
  `when=after-migration ${note("after-migration")}`,
  `if=SEED ${note("seed")}`,
];

test("four replicas at once: once what is once, four times what every replica does", async () => {
  const { cwd, env, steps } = await createPlace();
  const settings = { ...env, ...variables(before, setup) };
  const runs = Array.from({ length: 4 }, () => startEntrypoint(["true"], { cwd, env: settings }));
  for (const run of runs) expect((await run.ended).code, run.stderr()).toBe(0);
  const first = {
    "every-replica": 4,
    locked: 4,
    "before-migration": 1,
    once: 1,
    "every-boot": 4,
    "after-migration": 1,
  };
  expect(count(steps())).toEqual(first);

  const again = await runEntrypoint(["true"], { cwd, env: { ...settings, SEED: "yes" } });
  expect(again.code, again.stderr).toBe(0);
  expect(count(steps())).toEqual({
    ...first,
    "every-replica": 5,
    locked: 5,
    "every-boot": 5,
    seed: 1,
  });
});

test("they run in their order, around the migration", async () => {
  const { cwd, env, steps } = await createPlace(note("migration"));
  const settings = { ...env, ...variables(before, setup), SEED: "1" };
  const { code, stderr, lines } = await runEntrypoint(["migrate"], { cwd, env: settings });
  expect(code, stderr).toBe(0);
  expect(steps()).toEqual([
    "every-replica",
    "locked",
    "before-migration",
    "migration",
    "once",
    "every-boot",
    "after-migration",
    "seed",
  ]);
  const around = lines.filter(({ event }) => ["before", "migrating", "setup"].includes(event));
  expect(around.map(({ event }) => event)).toEqual([
    "before",
    "before",
    "before",
    "migrating",
    "setup",
    "setup",
    "setup",
    "setup",
  ]);
});

test("what runs once, or after a migration, takes no lock where nothing is left to do", async () => {
  const { cwd, env, url, steps } = await createPlace();
  const settings = { ...env, ...variables([], [setup[0] ?? "", setup[2] ?? ""]) };
  expect(await runEntrypoint(["true"], { cwd, env: settings })).toMatchObject({ code: 0 });
  expect(steps()).toEqual(["once", "after-migration"]);
  const holder = await connectClient(url);
  await holder.query(`select pg_advisory_lock(${migrationLockKey})`);
  const free = { cwd, env: { ...settings, ENTRYPOINT_LOCK_TIMEOUT: "0" } };
  expect(await runEntrypoint(["true"], free)).toMatchObject({ code: 0 });
  const held = { cwd, env: { ...free.env, ENTRYPOINT_SETUP: "true" } };
  expect(await runEntrypoint(["true"], held)).toMatchObject({ code: 75 });
  await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
  expect(steps()).toEqual(["once", "after-migration"]);
  // Another command has not run yet.
  const other = { ...env, ENTRYPOINT_SETUP: `when=once ${note("another")}` };
  expect(await runEntrypoint(["true"], { cwd, env: other })).toMatchObject({ code: 0 });
  expect(steps()).toEqual(["once", "after-migration", "another"]);
});

test("a step that fails ends the boot, and what runs once runs again", async () => {
  const { cwd, env, steps } = await createPlace();
  const args = ["--setup", "when=once sh -c 'echo tried >> steps.log; test -e fixed'", "true"];
  const failed = await runEntrypoint(args, { cwd, env });
  expect(failed.code).toBe(1);
  expect(failed.lines.at(-1)?.["msg"]).toContain("A setup step failed! Aborting startup.");
  const fix = ["--before", "touch fixed", ...args];
  expect(await runEntrypoint(fix, { cwd, env })).toMatchObject({ code: 0 });
  expect(await runEntrypoint(fix, { cwd, env })).toMatchObject({ code: 0 });
  expect(steps()).toEqual(["tried", "tried"]);
});

test.for(["", "when=locked ", "when=before-migration "])(
  "nothing is migrated where a step %sbefore that fails",
  async (when) => {
    const { cwd, env, url } = await createPlace();
    const { code, lines, stdout } = await runEntrypoint(
      ["--before", `${when}sh -c 'exit 7'`, "echo", "served"],
      { cwd, env },
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(lines.at(-1)).toMatchObject({ event: "migration-failed", commandExitCode: 7 });
    expect(lines.at(-1)?.["msg"]).toContain("A step before the migration failed!");
    const client = await connectClient(url);
    const { rows } = await client.query("select to_regclass('t_a1') as made");
    expect(rows).toEqual([{ made: null }]);
  },
);

test("a signal during a step before the boot is forwarded to it", async () => {
  const { cwd, env } = await createPlace();
  const step =
    "sh -c 'trap \"echo stopped >> steps.log; exit 0\" TERM; echo ready; sleep 60 & wait'";
  const run = startEntrypoint(["--before", step, "echo", "served"], { cwd, env });
  await run.printed("ready");
  run.process.kill("SIGTERM");
  expect(await run.ended).toMatchObject({ code: 143 });
  expect(readFileSync(join(cwd, "steps.log"), "utf8")).toBe("stopped\n");
  expect(run.stdout()).toBe("ready\n");
});

test("a worker that waits runs the steps of every replica, and no other", async () => {
  const { cwd, env, url, steps } = await createPlace();
  await stampRows(url, "b2");
  const settings = { ...env, ...variables(before, setup) };
  const { code, stdout } = await runEntrypoint(["wait", "--", "echo", "on"], {
    cwd,
    env: settings,
  });
  expect({ code, stdout }).toEqual({ code: 0, stdout: "on\n" });
  expect(steps()).toEqual(["every-replica"]);
});

test("a dry run lists what would run, and runs nothing", async () => {
  const { cwd, env, steps } = await createPlace();
  const settings = { ...env, ...variables(["when=locked a", "b"], ["when=once c", "if=NONE d"]) };
  const { stdout } = await runEntrypoint(["--dry-run", "true"], { cwd, env: settings });
  expect(stdout.split("\n").filter((line) => /^(?:before|setup) /.test(line))).toEqual([
    "before     would run a under the migration lock",
    "before     would run b first of all",
    "setup      would run c under the migration lock, unless it has run in this database",
  ]);
  expect(steps()).toEqual([]);
});

test("once per database needs a database, and the right to record it", async () => {
  const { cwd, env, url } = await createPlace();
  const args = ["--no-migrate", "--setup", "when=once true", "true"];
  const none = await runEntrypoint(args, { cwd });
  expect(none.code).toBe(64);
  expect(none.lines.at(-1)?.["msg"]).toContain("cannot run true once per database");
  const role = `limited_${Math.random().toString(36).slice(2)}`;
  const client = await connectClient(url);
  await client.query(`create role ${role} login password 'limited-pw'`);
  const limited = new URL(url);
  limited.username = role;
  limited.password = "limited-pw";
  const refused = await runEntrypoint(args, { cwd, env: { DATABASE_URL: limited.href } });
  expect(refused.code).toBe(69);
  expect(refused.lines.at(-1)).toMatchObject({
    hint: `as the database's owner: create schema if not exists entrypoint; grant usage, create on schema entrypoint to ${role}`,
  });
  await client.query(`drop role ${role}`);
  expect(await runEntrypoint(args, { cwd, env })).toMatchObject({ code: 0 });
});

function variables(first: readonly string[], last: readonly string[]): Record<string, string> {
  return { ENTRYPOINT_BEFORE: first.join("\n"), ENTRYPOINT_SETUP: last.join("\n") };
}

/** A project with two revisions, its database, and what its steps have noted. @param also what a migration notes. */
async function createPlace(also = "true") {
  const upgrade = `import subprocess\nsubprocess.run(${JSON.stringify(also)}, shell=True, check=True)\nop.execute("create table t_a1 ()")`;
  const cwd = createProject([{ id: "a1", upgrade }, { id: "b2" }]);
  const url = await createTestDatabase();
  const log = join(cwd, "steps.log");
  const steps = () =>
    existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n") : ([] as string[]);
  return { cwd, url, env: { DATABASE_URL: url }, steps };
}

function count(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
