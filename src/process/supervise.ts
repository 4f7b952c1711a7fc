// `exec uvicorn …` where exec is not wanted or not possible: the application is a child, every signal meant for it is
// passed on, and its end is ours. As PID 1 or as a subreaper all orphans are reaped, where the runtime has `node:ffi`.

import { closeSync } from "node:fs";

import type { Environment } from "../environment.ts";
import type { Log } from "../log.ts";
import { isGroupAlive, listDescendants, sendSignal } from "./children.ts";
import type { Program } from "./find-program.ts";
import type { Inheritance } from "./inheritance.ts";
import { createInit } from "./init.ts";
import { loadLibc } from "./libc.ts";
import { releaseMemory } from "./memory.ts";
import { createPlainChildren } from "./plain-child.ts";
import { catchRealTimeSignals } from "./real-time-signals.ts";
import { forwardedSignals, nameSignal, signalNumber } from "./signal-table.ts";
import { superviseBy, type SuperviseOptions, type Target } from "./supervision.ts";

/** linux/prctl.h */
const PR_SET_PDEATHSIG = 1;

/**
 * Runs `program` with `argv` (argv[0] as the user wrote it) and `env` until it ends, and what else is to be waited for.
 * @returns its exit code, or 128+n if it died of signal n, mapped as the options say.
 * @throws {Failure} "not-found" (127) or "not-executable" (126), where it cannot be started.
 */
export async function superviseProgram(
  program: Program,
  argv: readonly string[],
  env: Environment,
  inheritance: Inheritance,
  options: SuperviseOptions,
  log: Log,
): Promise<number> {
  const libc = loadLibc();
  const children = libc === undefined ? createPlainChildren() : createInit(libc);
  if (libc === undefined) {
    log.warn(
      { event: "no-reaping" },
      `Node ${process.versions.node} cannot reap orphans, wait for all of them, pass on real-time signals or notice its parent's death: use Node 26.9 or newer, or the single executable`,
    );
  }
  let leader = 0;
  let end: (code: number) => void;
  const ended = new Promise<number>((resolve) => (end = resolve));
  let telling = false;
  const tell = (level: "info" | "warn", event: string, message: string): void => {
    // A log that nobody reads any more gives us a SIGPIPE of our own, within the next turn of the event loop.
    telling = true;
    setImmediate(() => setImmediate(() => (telling = false)));
    const write = (): void => log[level]({ event }, message);
    // The application has the terminal, and after `stty tostop` a line of ours would be a SIGTTOU without end.
    if (libc === undefined) write();
    else libc.withSignalsBlocked(write);
  };
  const supervision = superviseBy(
    { ...options, waitAll: options.waitAll && libc !== undefined },
    {
      send(signal, to) {
        // To kill(2) it would be our own group.
        if (leader === 0) return;
        const answers = listTargets(leader, to).map((pid) => sendSignal(pid, signal));
        if (!answers.includes("refused")) return;
        tell("warn", "refused", `${signal} may not be sent: it runs as another user now`);
      },
      left: (of) => (of === "group" ? isGroupAlive(leader) : children.descendantsLeft()),
      after(ms, act) {
        const timer = setTimeout(act, ms);
        return () => clearTimeout(timer);
      },
      tell,
      end: (code) => end(code),
    },
  );

  // Before the child is started: a signal that comes meanwhile is delivered right after.
  const receive = (signal: NodeJS.Signals): void => {
    if (signal === "SIGCONT" && children.continued()) return;
    if (signal !== "SIGPIPE" || !telling) supervision.receive(signal);
  };
  for (const signal of forwardedSignals) process.on(signal, receive);
  if (libc !== undefined) {
    catchRealTimeSignals((number) => supervision.receive(nameSignal(number) ?? "SIGRTMIN+0"));
    const { parentDeathSignal } = options;
    if (parentDeathSignal !== null) {
      libc.prctl(PR_SET_PDEATHSIG, signalNumber(parentDeathSignal));
      // The kernel does not tell of what has been before.
      if (process.ppid !== inheritance.parent) sendSignal(process.pid, parentDeathSignal);
    }
  }
  children.watch(
    (pid, code) => {
      if (pid === leader) supervision.leaderEnded(code);
    },
    () => supervision.someEnded(),
  );
  try {
    leader = await children.start(program, argv, env, inheritance);
    // They are the child's now: a pipe has to end when the child lets go of it.
    for (const fd of [...inheritance.descriptors, ...inheritance.unmarked]) closeSync(fd);
    // The child has its working directory; ours must not keep a file system from being unmounted.
    process.chdir("/");
    if (libc !== undefined) releaseMemory(libc);
    return await ended;
  } finally {
    children.end();
    for (const signal of forwardedSignals) process.off(signal, receive);
  }
}

/** As kill(2) takes them. */
function listTargets(leader: number, to: Target): number[] {
  switch (to) {
    case "child":
      return [leader];
    case "group":
      return [-leader];
    case "descendants":
      return listDescendants().map(({ pid }) => pid);
    case "strays":
      return listDescendants()
        .filter(({ group }) => group !== leader)
        .map(({ pid }) => pid);
  }
}
