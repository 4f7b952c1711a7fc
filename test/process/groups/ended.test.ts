// A command that entrypoint ends is over when its process group is: the migration lock is not released while a member of the
// group is at work.

import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { startEntrypoint, type Run } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { testUnless } from "../supervise/harness/supervised.ts";
import { findMember, isAlive, isAliveAtRelease } from "./harness/processes.ts";

const app = ["echo", "the app was started"];

/** A revision whose process dies of SIGTERM, with a member of its group that runs `code` and then never ends by itself. */
const member = (code: string) => `import signal
pid = os.fork()
if pid == 0:
${code.replaceAll(/^/gm, "    ")}
    print("member", os.getpid(), flush=True)
    while True:
        time.sleep(60)
time.sleep(60)`;
const ignoresTerm = member("signal.signal(signal.SIGTERM, signal.SIG_IGN)");
const isStopped = member("pass").replace("time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)");
const endsLater = member(`def end(*_):
    time.sleep(2)
    os._exit(0)
signal.signal(signal.SIGTERM, end)`);

const endLockSession = async (url: string) => {
  const client = await connectClient(url);
  await client.query(`
    select pg_terminate_backend(pid) from pg_locks
    where locktype = 'advisory' and granted
      and database = (select oid from pg_database where datname = current_database())`);
};

test.for([
  ["a signal", ignoresTerm, [], (run: Run) => run.process.kill("SIGTERM"), 143],
  ["--migrate-timeout", isStopped, ["--migrate-timeout", "20s"], () => undefined, 124],
  ["a lost lock", ignoresTerm, [], (_: Run, url: string) => endLockSession(url), 85],
] as const)(
  "after %s, a member that outlives its leader is killed before the lock is released",
  async ([, upgrade, options, end, code]) => {
    const url = await createTestDatabase();
    const cwd = createProject([{ id: "a1", upgrade }]);
    const run = startEntrypoint([...options, ...app], { cwd, env: { DATABASE_URL: url } });
    const pid = await findMember(run);
    await end(run, url);
    // After the loss of the lock it is free, and the end of the boot is what counts.
    const aliveAtRelease =
      code === 85 ? run.ended.then(() => isAlive(pid)) : isAliveAtRelease(url, pid);
    expect(await aliveAtRelease).toBe(false);
    expect((await run.ended).code).toBe(code);
    expect(run.stdout()).not.toContain("the app was started");
    const events = run.lines().map(({ event }) => event);
    expect(events).toContain("leader-ended");
    expect(events).toContain("kill");
    expect(run.lines().find(({ event }) => event === "kill")?.msg).toContain(`(pid ${pid})`);
  },
);

test("a member that needs time to end after SIGTERM has it", async () => {
  const url = await createTestDatabase();
  const cwd = createProject([{ id: "a1", upgrade: endsLater }]);
  const run = startEntrypoint(app, { cwd, env: { DATABASE_URL: url } });
  const pid = await findMember(run);
  run.process.kill("SIGTERM");
  expect(await isAliveAtRelease(url, pid)).toBe(false);
  expect((await run.ended).code).toBe(143);
  expect(run.lines().map(({ event }) => event)).not.toContain("kill");
});

test("a second signal kills a member that outlives its leader", async () => {
  const url = await createTestDatabase();
  const cwd = createProject([{ id: "a1", upgrade: ignoresTerm }]);
  const run = startEntrypoint(app, { cwd, env: { DATABASE_URL: url } });
  const pid = await findMember(run);
  run.process.kill("SIGTERM");
  await run.event("leader-ended");
  const startMs = performance.now();
  run.process.kill("SIGTERM");
  expect((await run.ended).code).toBe(143);
  expect(performance.now() - startMs).toBeLessThan(9_000);
  expect(isAlive(pid)).toBe(false);
});

const directory = mkdtempSync(join(tmpdir(), "entrypoint-setuid-"));
afterAll(() => rmSync(directory, { recursive: true }));
/** Perl that can become root. */
const perl = join(directory, "perl");

function findObstacle(): string | null {
  if (process.getuid?.() !== 0) return "only root can make a setuid program";
  chmodSync(directory, 0o755);
  copyFileSync("/usr/bin/perl", perl);
  chmodSync(perl, 0o4755);
  const { stdout } = spawnSync(perl, ["-e", "$< = $> = 0; print $<"], { uid: 54321, gid: 54321 });
  return String(stdout) === "0" ? null : "setuid programs have no effect here";
}

testUnless(findObstacle())(
  "a command that has become another user is named, and waited for within limits",
  async () => {
    const script = `${perl} -e "$< = $> = 0; $| = 1; print qq(member $$\\n); close STDOUT; close STDERR; sleep 60"`;
    const options = ["--user", "54321:54321", "--migrate-timeout", "3s", "--no-lock"];
    const run = startEntrypoint([...options, "--migrate", script, "--", ...app], {
      cwd: directory,
    });
    const pid = await findMember(run);
    const { code } = await run.ended;
    expect(code).toBe(124);
    expect(isAlive(pid)).toBe(true);
    const refused = run.lines().filter(({ event }) => event === "refused");
    expect(refused.map(({ signal }) => signal)).toEqual(["SIGTERM", "SIGKILL"]);
    const line = run.lines().find(({ event }) => event === "left-running");
    expect(line?.msg).toBe(`Cannot end what ${perl} has started: perl (pid ${pid})`);
  },
);
