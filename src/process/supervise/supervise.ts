// `exec uvicorn …` where exec is not wanted or not possible: the application is a child, every signal is forwarded to it, and
// entrypoint ends with it. As PID 1 or as a subreaper it reaps all orphans, where the runtime has `node:ffi`.

import { closeSync } from "node:fs";

import type { Environment } from "../../runtime/environment.ts";
import { isGroupAlive, listDescendants, sendSignal } from "../groups.ts";
import type { Program } from "../become/find-program.ts";
import type { Inheritance } from "../become/inheritance.ts";
import { createReapingChildren } from "./reaping.ts";
import { loadLibc } from "../libc.ts";
import { releaseMemory } from "./memory.ts";
import { createPlainChildren } from "./plain-child.ts";
import { isInForeground } from "./terminal.ts";
import { catchRealTimeSignals } from "./real-time-signals.ts";
import { forwardedSignals, nameSignal, signalNumber } from "../signal-table.ts";
import { createSupervision, type SuperviseOptions, type Target } from "./supervision.ts";
import type { Log } from "../../context.ts";

/** linux/prctl.h */
const PR_SET_PDEATHSIG = 1;

/**
 * Runs `program` with `argv` (argv[0] as the user wrote it) and `env`, until it and its group, or all descendants, have ended.
 * @returns its exit code, or 128+n if signal n killed it, mapped as in the options.
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
  const children = libc === undefined ? createPlainChildren() : createReapingChildren(libc);
  if (libc === undefined) {
    log.warn(
      { event: "no-reaping" },
      `Node ${process.versions.node} cannot reap orphans, wait for all of them, forward real-time signals or detect the death of its parent: use Node 26.9 or newer, or the single executable`,
    );
  }
  let leader = 0;
  let end: (code: number) => void;
  const ended = new Promise<number>((resolve) => (end = resolve));
  let reporting = false;
  const report = (level: "info" | "warn", event: string, message: string): void => {
    // A log without a reader sends a SIGPIPE to this process, within the next turn of the event loop.
    reporting = true;
    setImmediate(() => setImmediate(() => (reporting = false)));
    const write = (): void => log[level]({ event }, message);
    // The application has the terminal: after `stty tostop` a line would cause SIGTTOU again and again.
    if (libc === undefined) write();
    else libc.withSignalsBlocked(write);
  };
  const supervision = createSupervision(
    { ...options, waitAll: options.waitAll && libc !== undefined },
    {
      send(signal, to) {
        // To kill(2), 0 is this process's own group.
        if (leader === 0) return;
        const deliveries = listTargets(leader, to).map((pid) => sendSignal(pid, signal));
        if (!deliveries.includes("refused")) return;
        report(
          "warn",
          "refused",
          `Cannot send ${signal} to the application: it runs as another user`,
        );
      },
      isAlive: (whom) => (whom === "group" ? isGroupAlive(leader) : children.hasDescendants()),
      isInForeground,
      now: () => performance.now(),
      after(ms, act) {
        const timer = setTimeout(act, ms);
        return () => clearTimeout(timer);
      },
      report,
      end: (code) => end(code),
    },
  );

  // Before the child is started: a signal that arrives meanwhile is forwarded right after.
  const receive = (signal: NodeJS.Signals): void => {
    if (signal === "SIGCONT" && children.continued()) return;
    if (signal !== "SIGPIPE" || !reporting) supervision.receive(signal);
  };
  for (const signal of forwardedSignals) process.on(signal, receive);
  if (libc !== undefined) {
    catchRealTimeSignals((number) => supervision.receive(nameSignal(number) ?? "SIGRTMIN+0"));
    const { parentDeathSignal } = options;
    if (parentDeathSignal !== null) {
      libc.prctl(PR_SET_PDEATHSIG, signalNumber(parentDeathSignal));
      // The kernel does not report an earlier death.
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
    // They are the child's now: a pipe has to end when the child closes it.
    for (const fd of [...inheritance.descriptors, ...inheritance.unmarked]) closeSync(fd);
    // This process must not keep a file system from being unmounted.
    process.chdir("/");
    if (libc !== undefined) void releaseMemory(libc);
    return await ended;
  } finally {
    // The handlers stay: a signal that comes now must not change the exit code.
    children.end();
  }
}

/** As kill(2) takes them. */
function listTargets(leader: number, to: Target): number[] {
  switch (to) {
    case "child":
      return [leader];
    case "group":
      return [-leader];
    case "descendants": {
      const found = listDescendants().map(({ pid }) => pid);
      // Without /proc the group is all that is known of them.
      return found.length === 0 ? [-leader] : found;
    }
    case "strays":
      return listDescendants()
        .filter(({ group }) => group !== leader)
        .map(({ pid }) => pid);
  }
}
