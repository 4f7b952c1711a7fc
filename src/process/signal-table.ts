// What signals there are and which of them are passed on, by the names that people use: TERM, SIGTERM, 15, RTMIN+3.

import { constants } from "node:os";

/** The name of a signal as Node has it, or of a real-time one: `SIGRTMIN+3`. */
export type SignalName = NodeJS.Signals | `SIGRTMIN+${number}`;

/**
 * All that Node can listen to and somebody may send to an application. TTIN, TTOU and HUP are uvicorn's own: a worker
 * more, a worker less, all workers anew. Listening to USR1 also keeps Node from starting its inspector.
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
  "SIGPIPE",
  "SIGURG",
  "SIGIO",
  "SIGPWR",
] as const satisfies readonly NodeJS.Signals[];

/** Whether somebody's `kill` of that signal reaches the application. */
export function canBeForwarded(name: SignalName): boolean {
  return name.startsWith("SIGRTMIN") || forwardedSignals.some((one) => one === name);
}

/** The rest, each with the reason why it is not passed on. */
export const unforwardedSignals = {
  SIGKILL: "nobody can catch it",
  SIGSTOP: "nobody can catch it",
  SIGSEGV: "the kernel's, for a fault of the process that gets it",
  SIGBUS: "the kernel's, for a fault of the process that gets it",
  SIGFPE: "the kernel's, for a fault of the process that gets it",
  SIGILL: "the kernel's, for a fault of the process that gets it",
  SIGTRAP: "the kernel's, for a fault of the process that gets it",
  SIGSYS: "the kernel's, for a fault of the process that gets it",
  SIGABRT: "a process sends it to itself",
  SIGCHLD: "tells of our own children",
  SIGXCPU: "tells of our own processor time",
  SIGXFSZ: "tells of our own files",
  SIGPROF: "the timer of V8's profiler",
  SIGSTKFLT: "unused",
} as const satisfies Partial<Record<NodeJS.Signals, string>>;

/** Linux has 31 of them to give; glibc keeps 32 and 33 to itself, musl 34 too. */
export const firstRealTimeSignal = 34;
export const lastRealTimeSignal = 64;

/** `SIGRTMIN+3` for 37, `SIGTERM` for 15. */
export function nameSignal(number: number): SignalName | null {
  if (number >= firstRealTimeSignal && number <= lastRealTimeSignal) {
    return `SIGRTMIN+${number - firstRealTimeSignal}`;
  }
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found === undefined ? null : canonical(found[0] as NodeJS.Signals);
}

export function signalNumber(name: SignalName): number {
  const offset = /^SIGRTMIN\+(\d+)$/.exec(name)?.[1];
  if (offset !== undefined) return firstRealTimeSignal + Number(offset);
  return constants.signals[name as NodeJS.Signals];
}

/** `TERM`, `sigterm`, `15`, `RTMIN`, `RTMIN+3`, `RTMAX-1`, `37`; null for what is no signal. */
export function parseSignal(text: string): SignalName | null {
  const word = text.trim().toUpperCase();
  if (/^\d+$/.test(word)) return nameSignal(Number(word));
  const realTime = /^(?:SIG)?RT(MIN(?:\+(\d+))?|MAX(?:-(\d+))?)$/.exec(word);
  if (realTime !== null) {
    const [, from = "", up = "0", down = "0"] = realTime;
    const number = from.startsWith("MIN")
      ? firstRealTimeSignal + Number(up)
      : lastRealTimeSignal - Number(down);
    return number < firstRealTimeSignal || number > lastRealTimeSignal ? null : nameSignal(number);
  }
  const name = word.startsWith("SIG") ? word : `SIG${word}`;
  return Object.hasOwn(constants.signals, name) ? canonical(name as NodeJS.Signals) : null;
}

/** Some have two names. */
function canonical(name: NodeJS.Signals): NodeJS.Signals {
  const doubles: Partial<Record<NodeJS.Signals, NodeJS.Signals>> = {
    SIGPOLL: "SIGIO",
    SIGIOT: "SIGABRT",
    SIGUNUSED: "SIGSYS",
  };
  return doubles[name] ?? name;
}
