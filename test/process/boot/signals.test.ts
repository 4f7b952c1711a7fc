// A signal at any moment before the app is started ends the boot: nothing runs on, the app never starts, and the
// exit code is 128+n.
// @runs-on bundle, executable

import { createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { migrationLockKey, startEntrypoint, type Run } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const codes = { SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 } as const;
const signals = Object.keys(codes) as (keyof typeof codes)[];
const app = ["echo", "the app was started"];

/** What "at once" may take on a busy machine, in ms. A boot that does not listen goes on for a minute. */
const atOnceMs = 10_000;

/** Sends the signal and expects the end of the boot; resolves to the milliseconds that it took. */
async function stop(run: Run, signal: keyof typeof codes): Promise<number> {
  const startMs = performance.now();
  run.process.kill(signal);
  const { code } = await run.ended;
  expect(code).toBe(codes[signal]);
  expect(run.stdout()).not.toContain("the app was started");
  return performance.now() - startMs;
}

test.each(signals)("%s while waiting for the database ends the boot at once", async (signal) => {
  const run = startEntrypoint(app, { env: { DATABASE_URL: "postgresql://127.0.0.1:1/blog" } });
  await run.event("waiting");
  expect(await stop(run, signal)).toBeLessThan(atOnceMs);
});

test("TERM while a server says nothing ends the boot at once", async () => {
  const accepted = Promise.withResolvers<void>();
  const server = createServer(() => accepted.resolve());
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const run = startEntrypoint(app, {
    env: { DATABASE_URL: `postgresql://127.0.0.1:${address.port}/blog` },
  });
  await accepted.promise;
  expect(await stop(run, "SIGTERM")).toBeLessThan(atOnceMs);
});

test.each(signals)("%s while queueing for the lock ends the boot at once", async (signal) => {
  const DATABASE_URL = await createTestDatabase();
  const holder = await connectClient(DATABASE_URL);
  await holder.query(`select pg_advisory_lock(${migrationLockKey})`);
  const run = startEntrypoint(app, { env: { DATABASE_URL } });
  await run.event("lock-wait");
  expect(await stop(run, signal)).toBeLessThan(atOnceMs);
});

test.each(signals)(
  "%s while migrating goes to the migration, and the boot ends with it",
  async (signal) => {
    const DATABASE_URL = await createTestDatabase();
    const cwd = createProject([
      { id: "a1", upgrade: 'print("asleep", os.getpid(), flush=True)\ntime.sleep(60)' },
    ]);
    const run = startEntrypoint(app, { cwd, env: { DATABASE_URL } });
    await run.printed("asleep");
    const pid = Number(/asleep (\d+)/.exec(run.stdout())?.[1]);
    await stop(run, signal);
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    const client = await connectClient(DATABASE_URL);
    const { rows } = await client.query("select from pg_class where relname = 't_a1'");
    expect(rows).toEqual([]);
  },
);

test("a second signal kills a migration that does not listen to the first", async () => {
  const DATABASE_URL = await createTestDatabase();
  const cwd = createProject([
    {
      id: "a1",
      upgrade:
        'import signal\nsignal.signal(signal.SIGTERM, lambda *_: print("ignored", flush=True))\nprint("asleep", flush=True)\nwhile True:\n    time.sleep(60)',
    },
  ]);
  const run = startEntrypoint(app, { cwd, env: { DATABASE_URL } });
  await run.printed("asleep");
  run.process.kill("SIGTERM");
  await run.printed("ignored");
  await stop(run, "SIGTERM");
});

test("the lock is free again after a boot that was stopped", async () => {
  const DATABASE_URL = await createTestDatabase();
  const cwd = createProject([{ id: "a1", upgrade: 'print("asleep", flush=True)\ntime.sleep(60)' }]);
  const run = startEntrypoint(app, { cwd, env: { DATABASE_URL } });
  await run.printed("asleep");
  await stop(run, "SIGTERM");
  const client = await connectClient(DATABASE_URL);
  // Waits inside the server: it resolves when the lock is free, and not at all when it is not.
  await client.query(`select pg_advisory_lock(${migrationLockKey})`);
});

test("USR1 opens no debugger's port and does not end the boot", async () => {
  const run = startEntrypoint(app, { env: { DATABASE_URL: "postgresql://127.0.0.1:1/blog" } });
  await run.event("waiting");
  run.process.kill("SIGUSR1");
  await stop(run, "SIGTERM");
  expect(run.stderr()).not.toContain("Debugger");
});
