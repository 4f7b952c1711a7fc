// A command that is run for its output alone: nothing of it is left when the answer is there, or nobody waits for it.

import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { captureOutput } from "../../../src/process/capture-output.ts";
import { plainEnvironment, startEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { findMember, isAlive } from "./harness/processes.ts";

const { signal: never } = new AbortController();

async function capture(script: string, { stop = never, timeoutMs = 30_000 } = {}) {
  const startMs = performance.now();
  const place = { env: plainEnvironment(), cwd: "/tmp" };
  const output = await captureOutput(["sh", "-c", script], { ...place, stop, timeoutMs });
  return { ...output, ms: performance.now() - startMs };
}

test("what it prints, and how it ends", async () => {
  const { stdout, stderr, end } = await capture(
    "echo out; echo err >&2; read line || echo no input",
  );
  expect({ stdout, stderr, end }).toEqual({
    stdout: "out\nno input\n",
    stderr: "err\n",
    end: "succeeded",
  });
  expect(await capture("echo out; exit 3")).toMatchObject({ stdout: "out\n", end: "failed" });
  expect(await capture("kill -KILL $$")).toMatchObject({ end: "failed" });
});

test("ten megabytes arrive", async () => {
  const { stdout } = await capture("yes entrypoint | head -n 1000000");
  expect(stdout).toBe("entrypoint\n".repeat(1_000_000));
});

test("more than 256 MiB are a failure", async () => {
  const { end, stdout } = await capture("head -c 268435457 /dev/zero; sleep 60");
  expect(end).toBe("failed");
  expect(stdout.length).toBeLessThanOrEqual(2 ** 28);
});

test("the time limit ends the whole group", async () => {
  const script = "trap '' TERM; sleep 60 & echo member $!; wait";
  const { stdout, end, ms } = await capture(script, { timeoutMs: 500 });
  expect(end).toBe("timed-out");
  expect(ms).toBeLessThan(9_000);
  expect(isAlive(await findMember({ stdout: () => stdout }))).toBe(false);
});

test("its end is that of its group, and of what holds its output open", async () => {
  const { stdout, end, ms } = await capture("sleep 60 & echo member $!");
  expect(end).toBe("succeeded");
  expect(ms).toBeLessThan(9_000);
  expect(isAlive(await findMember({ stdout: () => stdout }))).toBe(false);
});

test("a daemon in a session of its own has a second to close its output", async () => {
  const { stdout, end, ms } = await capture(`setsid sleep 60 & member=$!
    until [ "$(ps -o pgid= "$member" | tr -d " ")" = "$member" ]; do :; done; echo member "$member"`);
  expect(end).toBe("succeeded");
  expect(ms).toBeLessThan(9_000);
  expect(isAlive(await findMember({ stdout: () => stdout }))).toBe(true);
});

test("a stop kills the group in the same moment, and its reason is thrown", async () => {
  const controller = new AbortController();
  const reason = new Error("stopped");
  const captured = capture("sleep 60", { stop: controller.signal });
  setImmediate(() => controller.abort(reason));
  await expect(captured).rejects.toBe(reason);
});

test("a command that cannot be started", async () => {
  const place = { env: plainEnvironment(), cwd: "/tmp", stop: never, timeoutMs: 1_000 };
  await expect(captureOutput(["no-such-program"], place)).rejects.toMatchObject({
    code: "not-found",
  });
  const words = ["true", "x".repeat(200_000)] as const;
  await expect(captureOutput(words, place)).rejects.toMatchObject({ code: "not-executable" });
});

// In downgrade nobody waits for the end of the query once a signal has come.
test.for([["status"], ["downgrade", "base"]])(
  "a signal ends Alembic behind its launcher: %j",
  async (words) => {
    const env = `import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(os.environ["MEMBER"], "w") as file: print("member", os.getpid(), file=file)
time.sleep(60)
version_table = 1
`;
    const cwd = createProject([{ id: "a1" }], { env });
    // As the real one: the command is its child, and it dies of SIGTERM before that.
    mkdirSync(join(cwd, "bin"));
    writeFileSync(join(cwd, "bin", "uv"), '#!/bin/sh\nshift\n"$@"\n');
    chmodSync(join(cwd, "bin", "uv"), 0o755);
    const MEMBER = join(cwd, "member");
    const { PATH } = plainEnvironment();
    const run = startEntrypoint([...words, "--migrate", "uv run alembic upgrade head"], {
      cwd,
      env: { DATABASE_URL: await createTestDatabase(), MEMBER, PATH: `${cwd}/bin:${PATH}` },
    });
    const pid = await findMember({
      stdout: () => (existsSync(MEMBER) ? readFileSync(MEMBER, "utf8") : ""),
    });
    run.process.kill("SIGTERM");
    const { code } = await run.ended;
    expect(code, run.stderr()).toBe(143);
    await expect.poll(() => isAlive(pid)).toBe(false);
  },
);
