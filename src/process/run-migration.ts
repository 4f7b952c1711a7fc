// `alembic upgrade head`, the line of the shell script that does the work: in a process group of its own, so
// that a signal reaches all of it, with its output passed through untouched. It ends in one of few ways, and
// none of them leaves it running behind our back.

import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import type { Environment } from "../environment.ts";
import { standardError, writeAll, type Log } from "../log.ts";
import type { Words } from "../settings.ts";
import { describeError } from "./exec.ts";
import { findProgram } from "./find-program.ts";
import type { Signals } from "./signals.ts";

export type CommandEnd =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: NodeJS.Signals }
  | { readonly kind: "timed-out" }
  | { readonly kind: "lock-lost"; readonly reason: Error }
  /** We were told to stop, and handed that on; it has ended since. */
  | { readonly kind: "stopped" };

/** Between asking the group to end and killing it, where nobody is there to send a second signal. */
const graceMs = 10_000;

/**
 * Runs a command to its end. Throws Failure "not-found" or "not-executable" when it cannot be started.
 * The first signal goes to the command's group, a second one kills that; so do, after a grace period,
 * the time limit (`timeoutMs`, 0 for none) and the loss of the lock.
 */
export async function runCommand(
  words: Words,
  options: {
    env: Environment;
    cwd: string;
    timeoutMs: number;
    signals: Signals;
    lockLost: AbortSignal | null;
    log: Log;
    /** Gets what the command writes to standard error as well, which then is a pipe for it. */
    watchErrors?: (bytes: Buffer) => void;
  },
): Promise<CommandEnd> {
  const { env, cwd, timeoutMs, signals, lockLost, log, watchErrors } = options;
  signals.stop.throwIfAborted();
  const program = findProgram(words[0], { path: env["PATH"], cwd });
  const [file, ...before] = [...program.shell, program.file];

  // Loaded here and not at start-up: most boots have nothing to migrate.
  const [{ execa }, { onExit }] = await Promise.all([import("execa"), import("signal-exit")]);
  signals.stop.throwIfAborted();

  const child = execa(file ?? program.file, [...before, ...words.slice(1)], {
    cwd,
    env: { ...env },
    extendEnv: false,
    stdio: ["inherit", "inherit", watchErrors === undefined ? "inherit" : "pipe"],
    buffer: false,
    detached: true,
    cleanup: false,
    reject: false,
  });
  if (watchErrors !== undefined && child.stderr !== null)
    passErrors(child, child.stderr, watchErrors);
  const kill = (signal: NodeJS.Signals) => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch (error) {
      // ESRCH: it has just ended, which is what we wanted.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
  const forgetLastResort = onExit(() => kill("SIGKILL"));

  let ended: CommandEnd | null = null;
  const timers: NodeJS.Timeout[] = [];
  const endIt = (end: CommandEnd) => {
    if (ended !== null) return;
    ended = end;
    kill("SIGTERM");
    timers.push(setTimeout(kill, graceMs, "SIGKILL"));
  };
  let received = 0;
  const unsubscribe = signals.subscribe((signal) => {
    received++;
    const forwarded = received === 1 ? signal : "SIGKILL";
    log.warn(
      { event: "forwarded", signal, forwarded },
      `${signal}: sending ${forwarded} to ${words[0]}`,
    );
    ended = { kind: "stopped" };
    kill(forwarded);
  });
  const onLockLost = () => endIt({ kind: "lock-lost", reason: lockLost?.reason as Error });
  lockLost?.addEventListener("abort", onLockLost, { once: true });
  if (lockLost?.aborted === true) onLockLost();
  if (timeoutMs > 0) timers.push(setTimeout(endIt, timeoutMs, { kind: "timed-out" }));

  try {
    const result = await child;
    if (ended !== null) return ended;
    if (result.exitCode !== undefined) return { kind: "exited", code: result.exitCode };
    if (result.signal !== undefined) return { kind: "killed", signal: result.signal };
    throw result.code === undefined ? result.cause : describeError(program, result.code);
  } finally {
    for (const timer of timers) clearTimeout(timer);
    lockLost?.removeEventListener("abort", onLockLost);
    unsubscribe();
    forgetLastResort();
  }
}

/** What a daemon that the command leaves behind has of our time: it holds the pipe open. */
const lateErrorsMs = 1_000;

/** Passes the command's standard error on to our own, byte by byte, and shows it to `watch`. */
function passErrors(
  child: Pick<ChildProcess, "once">,
  errors: Readable,
  watch: (bytes: Buffer) => void,
): void {
  errors.on("data", (bytes: Buffer) => {
    watch(bytes);
    writeAll(standardError, bytes);
  });
  child.once("exit", () => {
    // One turn later, so that what a blocked write has kept waiting is read first.
    const timer = setTimeout(() => setImmediate(() => errors.destroy()), lateErrorsMs);
    errors.once("close", () => clearTimeout(timer));
  });
}
