// `exec uvicorn …` where the runtime cannot exec: the application is a child in a session of its own, every
// signal meant for it is passed on, and its end is ours. One child, no more: orphans are not reaped here.

import { type ChildProcess, spawn } from "node:child_process";

import type { Environment } from "../environment.ts";
import { signalExitCode } from "../exit-codes.ts";
import { describeError } from "./exec.ts";
import type { Program } from "./find-program.ts";
import type { Inheritance } from "./inheritance.ts";

/**
 * The signals that somebody sends to an application. Left out: KILL and STOP cannot be caught; SEGV, BUS, FPE,
 * ILL, TRAP, SYS and ABRT tell of a fault in the process that gets them; CHLD tells of our children, PIPE and
 * XFSZ of our writes, XCPU of our own time; PROF belongs to V8's profiler, STKFLT to nobody. TTIN, TTOU and
 * HUP are uvicorn's own: a worker more, a worker less, all workers anew. Listening to USR1 also keeps Node from
 * starting its inspector. Real-time signals cannot be listened to in Node: they end entrypoint.
 */
export const forwardedSignals = [
  "SIGTERM",
  "SIGINT",
  "SIGQUIT",
  "SIGHUP",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
  "SIGCONT",
  "SIGTSTP",
  "SIGTTIN",
  "SIGTTOU",
  "SIGALRM",
  "SIGVTALRM",
  "SIGURG",
  "SIGIO",
  "SIGPWR",
] as const satisfies readonly NodeJS.Signals[];

/** What superviseProgram uses of the process: a test injects its own. */
export type SignalSource = Pick<NodeJS.Process, "on" | "off" | "kill">;

/**
 * Runs `program` with `argv` (argv[0] as the user wrote it) and `env` until it ends, on our own standard
 * descriptors and the inherited ones. It leads a session: Ctrl-C on a terminal reaches us alone, and it
 * once, through us. Signals go to its process group.
 * @returns its exit code, or 128+n if it died of signal n.
 * @throws {Failure} "not-found" (127) or "not-executable" (126), where it cannot be started.
 */
export async function superviseProgram(
  program: Program,
  argv: readonly string[],
  env: Environment,
  inheritance: Inheritance,
  source: SignalSource = process,
): Promise<number> {
  // libuv starts it with execvp, which hands to /bin/sh whatever the kernel refuses, a broken binary too.
  if (program.doubt !== undefined) throw describeError(program, "ENOEXEC");

  let child: ChildProcess | undefined;
  const forward = (signal: NodeJS.Signals): void => {
    if (child?.pid === undefined) return;
    try {
      source.kill(-child.pid, signal);
    } catch (error) {
      // ESRCH: it has ended, and its 'exit' is on the way. EPERM: it has become another user.
      if (!isSystemError(error) || !["ESRCH", "EPERM"].includes(error.code)) throw error;
    }
  };

  // Before the spawn, which is synchronous: a signal that comes meanwhile is delivered right after it.
  for (const signal of forwardedSignals) source.on(signal, forward);
  try {
    const [file, ...before] = [...program.shell, program.file];
    child = spawn(file ?? program.file, [...before, ...argv.slice(1)], {
      argv0: program.shell[0] ?? argv[0],
      detached: true,
      env: { ...env },
      stdio: passDescriptors(inheritance.descriptors),
    });
    return await waitForExit(child);
  } catch (error) {
    // Node throws some of the kernel's refusals (E2BIG, ETXTBSY), and emits the others.
    if (child?.pid === undefined && isSystemError(error)) throw describeError(program, error.code);
    throw error;
  } finally {
    for (const signal of forwardedSignals) source.off(signal, forward);
  }
}

/** The stdio of spawn that leaves 0, 1, 2 and `descriptors` open under their own numbers. */
function passDescriptors(descriptors: readonly number[]): (number | "ignore")[] {
  const length = Math.max(2, ...descriptors) + 1;
  // Above 2, "ignore" leaves a number closed.
  return Array.from({ length }, (_, fd) => (fd <= 2 || descriptors.includes(fd) ? fd : "ignore"));
}

function waitForExit(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      resolve(signal === null ? (code ?? 0) : signalExitCode(signal));
    });
  });
}

function isSystemError(error: unknown): error is Error & { code: string } {
  return (
    error instanceof Error &&
    "syscall" in error &&
    "code" in error &&
    typeof error.code === "string"
  );
}
