// The signals and which of them are forwarded, by the names that people use: TERM, SIGTERM, 15, RTMIN+3.

import { constants } from "node:os";

/** Node's name of a signal, or that of a real-time one: `SIGRTMIN+3`. */
export type SignalName = NodeJS.Signals | `SIGRTMIN+${number}`;

/**
 * Every signal that Node can handle and that may be meant for an application. To uvicorn SIGTTIN, SIGTTOU and SIGHUP mean:
 * one worker more, one less, restart all. The handler for SIGUSR1 also keeps Node from starting its inspector.
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

/** Whether that signal, sent to entrypoint, reaches the application. */
export function canBeForwarded(name: SignalName): boolean {
  return name.startsWith("SIGRTMIN") || forwardedSignals.some((one) => one === name);
}

/** The others, each with the reason why it is not forwarded. */
export const unforwardedSignals = {
  SIGKILL: "it cannot be caught",
  SIGSTOP: "it cannot be caught",
  SIGSEGV: "the kernel sends it to a process that has crashed",
  SIGBUS: "the kernel sends it to a process that has crashed",
  SIGFPE: "the kernel sends it to a process that has crashed",
  SIGILL: "the kernel sends it to a process that has crashed",
  SIGTRAP: "the kernel sends it to a process that has crashed",
  SIGSYS: "the kernel sends it to a process that has crashed",
  SIGABRT: "a process sends it to itself",
  SIGCHLD: "it reports the end of entrypoint's own children",
  SIGXCPU: "it reports entrypoint's own use of the processor",
  SIGXFSZ: "it reports the size of entrypoint's own files",
  SIGPROF: "V8's profiler uses it",
  SIGSTKFLT: "unused",
} as const satisfies Partial<Record<NodeJS.Signals, string>>;

/** Linux has 31 of them; glibc reserves 32 and 33, musl 34 too. */
export const firstRealTimeSignal = 34;
export const lastRealTimeSignal = 64;

/** `SIGRTMIN+3` for 37, `SIGTERM` for 15; null for a number that is no signal. */
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

/** Parses `TERM`, `sigterm`, `15`, `RTMIN`, `RTMIN+3`, `RTMAX-1`, `37`; null for other texts. */
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

/** The one name of a signal that has two. */
function canonical(name: NodeJS.Signals): NodeJS.Signals {
  const doubles: Partial<Record<NodeJS.Signals, NodeJS.Signals>> = {
    SIGPOLL: "SIGIO",
    SIGIOT: "SIGABRT",
    SIGUNUSED: "SIGSYS",
  };
  return doubles[name] ?? name;
}

/** 128+n, with which a shell reports a child that signal n killed. */
export function signalExitCode(signal: SignalName): number {
  return 128 + signalNumber(signal);
}
