// TERM and INT at PID 1 before any JavaScript runs: Node's own handler stands by then, does nothing that counts there, and is
// taken away. The signal is sent once the kernel shows that handler, however long that takes.
// @runs-on bundle, executable

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { setImmediate } from "node:timers/promises";
import { expect, onTestFinished } from "vitest";
import { entrypointCommand, plainEnvironment } from "../harness/entrypoint.ts";
import { firstProcess, testUnless } from "./harness/supervised.ts";

const testAsFirst = testUnless(firstProcess.missing);

/** Whether it catches the signal; false while there is no such process. */
function catches(pid: number, signal: NodeJS.Signals): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const caught = BigInt(`0x${/^SigCgt:\s*(\S+)$/m.exec(status)?.[1] ?? "0"}`);
    return (caught & (1n << BigInt(constants.signals[signal] - 1))) !== 0n;
  } catch {
    return false;
  }
}

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim());
}

testAsFirst.each(["SIGTERM", "SIGINT"] as const)(
  "%s before anything of entrypoint runs keeps the application from starting",
  async (signal) => {
    const words = [...firstProcess.words, ...entrypointCommand(), "--no-migrate"];
    const [file, ...args] = [...words, "--", "echo", "the app was started"];
    // It waits for a database that is not there: a signal that comes later, on a busy machine, still comes to a boot.
    const env = plainEnvironment({ DATABASE_URL: "postgresql://127.0.0.1:1/blog" });
    const child = spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    let printed = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data: Buffer) => (printed += data.toString()));
    }
    const ended = once(child, "close");
    // unshare itself catches none.
    while (childOf(child.pid ?? 0) === 0) await setImmediate();
    const first = childOf(child.pid ?? 0);
    while (!catches(first, signal)) await setImmediate();
    process.kill(first, signal);
    expect(await ended).toEqual([128 + constants.signals[signal], null]);
    expect(printed).toContain(`Stopped by ${signal}`);
    expect(printed).not.toContain("the app was started");
  },
);
