// A server that falls silent while its connections stay open, at each step of a boot: nothing waits without a limit, and a
// signal ends it at once. The application never starts.
// @runs-on executable
// @takes long

import { expect, test } from "vitest";
import { migrationLockKey, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy } from "../harness/proxy.ts";
import { directly, steps, type Step } from "./steps.ts";

const codes = { SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 } as const;
const signals = Object.keys(codes) as (keyof typeof codes)[];
const app = ["echo", "the app was started"];

/** Boots a project up to the step; the migration itself reaches the server without the proxy. */
async function bootUntilSilent(step: Step, args: readonly string[] = []) {
  const url = await createTestDatabase();
  const proxy = await startProxy(url);
  if (step.waiting) {
    await (await connectClient(url)).query(`select pg_advisory_lock(${migrationLockKey})`);
  }
  const cwd = createProject([{ id: "a1" }], { env: directly() });
  const silent = proxy.failAt(step.query, step.nth, "silence");
  const run = startEntrypoint([...args, ...app], {
    cwd,
    env: { DATABASE_URL: proxy.url, DIRECT_URL: url },
  });
  await Promise.race([
    silent,
    run.ended.then(({ code }) => {
      throw new Error(`it ended with ${code} before the step: ${run.stderr()}`);
    }),
  ]);
  return { run, silentMs: performance.now() };
}

const limits = ["--lock-timeout", "5s", "--wait-timeout", "5s"];

// All of it is waiting for the limits: the steps wait at once.
test("a silent server ends the boot within the limit", async () => {
  const ends = steps.map(async (step) => {
    const { run, silentMs } = await bootUntilSilent(step, limits);
    const { code } = await run.ended;
    const at = `at the step: ${step.name}\n${run.stderr()}`;
    expect(code, at).toBe(step.code);
    // The least time for an answer is 5 s, or 10 s for one that the migration waits for.
    expect(performance.now() - silentMs, at).toBeLessThan(40_000);
    expect(run.stdout(), at).not.toContain("the app was started");
    expect(run.stderr()).not.toContain("    at ");
    expect(run.lines().at(-1)?.["hint"], at).toBeTruthy();
  });
  await Promise.all(ends);
});

test.each(steps)("each signal ends it at once at the step: $name", async (step) => {
  const ends = signals.map(async (signal) => {
    const { run, silentMs } = await bootUntilSilent(step);
    run.process.kill(signal);
    const { code } = await run.ended;
    expect(code, `${signal}\n${run.stderr()}`).toBe(codes[signal]);
    expect(performance.now() - silentMs).toBeLessThan(9_000);
    expect(run.stdout()).not.toContain("the app was started");
  });
  await Promise.all(ends);
});
