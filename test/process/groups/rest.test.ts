// What a command leaves in its process group when it ends by itself: after a success it is waited for and then named, after a
// failure it is ended, and the migration lock is not released before that.

import { expect, test } from "vitest";
import { startEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { findMember, isAlive, isAliveAtRelease } from "./harness/processes.ts";

const app = ["echo", "the app was started"];

/** Boots with a command of the shell's in place of Alembic's, or as a setup step. */
async function startScript(script: string, options: readonly string[] = []) {
  const url = await createTestDatabase();
  const words = [...options, `sh -c '${script}'`, ...app];
  const run = startEntrypoint(words, {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: url },
  });
  return { run, url, pid: await findMember(run) };
}

const quiet = "> /dev/null 2>&1 &";

test.for([["--migrate"], ["--setup"]] as const)(
  "a member that ends soon after a command that succeeded is waited for (%s)",
  async (options) => {
    const { run, url, pid } = await startScript(`sleep 2 ${quiet} echo member $!`, options);
    expect(await isAliveAtRelease(url, pid)).toBe(false);
    expect((await run.ended).code).toBe(0);
    expect(run.stdout()).toContain("the app was started");
    expect(run.lines().map(({ event }) => event)).not.toContain("left-running");
  },
);

test("a daemon that a command leaves behind is named, and lives on", async () => {
  const { run, pid } = await startScript(`sleep 60 ${quiet} echo member $!`, ["--migrate"]);
  const { code } = await run.ended;
  expect(code).toBe(0);
  expect(run.stdout()).toContain("the app was started");
  const line = run.lines().find(({ event }) => event === "left-running");
  expect(line).toMatchObject({
    level: "warn",
    msg: `sh has succeeded and left running: sleep (pid ${pid})`,
  });
  expect(isAlive(pid)).toBe(true);
});

test("a daemon in a session of its own is not waited for", async () => {
  const { run, pid } = await startScript(`setsid sleep 60 ${quiet} echo member $!`, ["--migrate"]);
  const { code, ms } = await run.ended;
  expect(code).toBe(0);
  expect(ms).toBeLessThan(9_000);
  expect(isAlive(pid)).toBe(true);
});

test.for([
  ["exits with 3", "exit 3"],
  ["is killed", "kill -KILL $$"],
])("what a command that %s leaves behind is ended at once", async ([, last]) => {
  const { run, url, pid } = await startScript(`sleep 60 ${quiet} echo member $!; ${last}`, [
    "--migrate",
  ]);
  expect(await isAliveAtRelease(url, pid)).toBe(false);
  const { code, ms } = await run.ended;
  expect(code).toBe(1);
  expect(ms).toBeLessThan(9_000);
});

test("what a shell starts with & ignores SIGINT, and is ended by SIGTERM", async () => {
  const { run, pid } = await startScript(`sleep 60 ${quiet} echo member $!; wait`, ["--migrate"]);
  const startMs = performance.now();
  run.process.kill("SIGINT");
  expect((await run.ended).code).toBe(130);
  expect(performance.now() - startMs).toBeLessThan(9_000);
  expect(isAlive(pid)).toBe(false);
});

test("entrypoint's own end by a signal that it does not handle kills the group", async () => {
  const { run, pid } = await startScript(`sleep 60 ${quiet} echo member $!; wait`, ["--migrate"]);
  run.process.kill("SIGALRM");
  expect((await run.ended).signal).toBe("SIGALRM");
  await expect.poll(() => isAlive(pid)).toBe(false);
});
