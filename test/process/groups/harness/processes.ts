// A process that a command has started, and whether it is still there.

import { readFileSync } from "node:fs";
import { expect, onTestFinished } from "vitest";

import { migrationLockKey } from "../../harness/entrypoint.ts";
import { connectClient } from "../../harness/postgres.ts";

/** Whether it is alive; a zombie is not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** The process that a command has printed as `member PID`, now or later. It is killed when the test ends. */
export async function findMember(run: { stdout(): string }): Promise<number> {
  const find = () => Number(/^member (\d+)$/m.exec(run.stdout())?.[1] ?? 0);
  await expect.poll(find).toBeGreaterThan(0);
  const pid = find();
  onTestFinished(() => {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });
  return pid;
}

/** Resolves, once the migration lock is free, to whether the process is alive at that moment. */
export async function isAliveAtRelease(url: string, pid: number): Promise<boolean> {
  const client = await connectClient(url);
  // Waits inside the server.
  await client.query(`select pg_advisory_lock(${migrationLockKey})`);
  return isAlive(pid);
}
