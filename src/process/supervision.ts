// The decisions of a supervising PID 1: what becomes of a signal, when the end is near, and when it has come. No process
// and no clock of its own: supervise.ts hands in the events and carries out what is decided.

import { signalExitCode } from "../exit-codes.ts";
import type { SignalName } from "./signal-table.ts";

export interface SuperviseOptions {
  /** Between a TERM and its being passed on, while the application goes on serving; 0 is none. */
  readonly drainDelayMs: number;
  /** Between TERM and KILL; 0 means no limit. */
  readonly stopTimeoutMs: number;
  /** Whom a signal goes to: the application's process group, or its leader alone. */
  readonly signalScope: "group" | "child";
  /** What a signal is passed on as; null drops it. */
  readonly mapSignals: ReadonlyMap<SignalName, SignalName | null>;
  readonly mapExits: ReadonlyMap<number, number>;
  /** Not to end before every descendant has. */
  readonly waitAll: boolean;
  /** What we get when our parent dies; null for nothing. */
  readonly parentDeathSignal: SignalName | null;
}

/**
 * Those that a signal can be meant for: the application's leader, its group, all that descends from us, or what of
 * the latter has left the group (`setsid`).
 */
export type Target = "child" | "group" | "descendants" | "strays";

/** What supervise.ts can do. */
export interface Hands {
  /** To whoever is left of the target. */
  send(signal: SignalName, to: Target): void;
  /** Whether anybody is left, zombies not counted. */
  left(of: "group" | "descendants"): boolean;
  /** Calls back after that time; returns how to prevent it. */
  after(ms: number, act: () => void): () => void;
  tell(level: "info" | "warn", event: string, message: string): void;
  /** The end, with entrypoint's exit code. */
  end(code: number): void;
}

export interface Supervision {
  /** A signal has arrived. */
  receive(signal: SignalName): void;
  /** The application's leader has ended: its exit code, or 128+n. */
  leaderEnded(code: number): void;
  /** One or several have ended, the leader or others. */
  someEnded(): void;
}

/**
 * For the leader alone whatever the scope, since they are orders to a server with workers: uvicorn and gunicorn start or
 * stop a worker, or restart them all. The workers do not know them, and their default is to stop or to die.
 */
export const leaderSignals: readonly SignalName[] = ["SIGHUP", "SIGTTIN", "SIGTTOU"];

/** KILL is sure, but not instant. */
export const afterKillMs = 1_000;
/** Who is in the group need not be our child, and then nobody tells us of its end. */
export const lookAgainMs = 100;

export function superviseBy(options: SuperviseOptions, hands: Hands): Supervision {
  const { drainDelayMs, stopTimeoutMs, signalScope, mapSignals, mapExits, waitAll } = options;
  const everyone = waitAll ? "descendants" : "group";
  let stage: "running" | "draining" | "stopping" | "killing" = "running";
  let exitCode: number | null = null;
  let told = false;
  let forgetDeadline = () => {};
  let forgetLook = () => {};

  const setDeadline = (ms: number, act: () => void): void => {
    forgetDeadline();
    forgetDeadline = hands.after(ms, act);
  };
  const mapExit = (code: number): number => mapExits.get(code) ?? code;
  const finish = (code: number): void => {
    forgetDeadline();
    forgetLook();
    hands.end(code);
  };

  const passOn = (signal: SignalName): void => {
    const mapped = mapSignals.get(signal);
    if (mapped === null) return;
    const sent = mapped ?? signal;
    if (exitCode !== null) hands.send(sent, everyone);
    else hands.send(sent, leaderSignals.includes(sent) ? "child" : signalScope);
  };
  /** TERM, and what the user lets stand for it; unless TERM is dropped. */
  const asksForTheEnd = (signal: SignalName): boolean => {
    const sent = mapSignals.get(signal);
    return sent !== null && (signal === "SIGTERM" || sent === "SIGTERM");
  };

  const kill = (why: string): void => {
    stage = "killing";
    hands.tell("warn", "kill", `${why}: sending SIGKILL`);
    hands.send("SIGKILL", everyone);
    // Whoever is left then is in the kernel's hands.
    setDeadline(afterKillMs, () => finish(exitCode ?? mapExit(signalExitCode("SIGKILL"))));
    finishWhenAllHaveGone();
  };
  const startGrace = (): void => {
    stage = "stopping";
    forgetDeadline();
    if (stopTimeoutMs === 0) return;
    setDeadline(stopTimeoutMs, () => kill(`Not ended within ${stopTimeoutMs / 1000} s`));
  };
  const stop = (signal: SignalName): void => {
    startGrace();
    passOn(signal);
  };
  let drained = (): void => {};
  const drain = (signal: SignalName): void => {
    stage = "draining";
    drained = () => stop(signal);
    const seconds = `${drainDelayMs / 1000} s`;
    hands.tell("info", "drain", `${signal}: to be passed on in ${seconds}, serving until then`);
    setDeadline(drainDelayMs, () => {
      hands.tell("info", "drained", `Passing ${signal} on`);
      drained();
    });
  };
  const finishWhenAllHaveGone = (): void => {
    if (exitCode === null) return;
    if (!hands.left(everyone)) return finish(exitCode);
    if (!told && stage !== "killing") {
      told = true;
      hands.tell("info", "leader-ended", "The application has ended: waiting for what it left");
    }
    // Those that were started while we looked for whom to kill.
    if (stage === "killing" && waitAll) hands.send("SIGKILL", "descendants");
    if (waitAll) return;
    forgetLook();
    forgetLook = hands.after(lookAgainMs, finishWhenAllHaveGone);
  };

  return {
    receive(signal) {
      if (!asksForTheEnd(signal)) return passOn(signal);
      switch (stage) {
        case "running":
          // With the leader gone nobody serves any more.
          return drainDelayMs === 0 || exitCode !== null ? stop(signal) : drain(signal);
        case "draining":
          hands.tell("info", "drained", `${signal} once more: passing it on at once`);
          return drained();
        case "stopping":
          return kill(`${signal} once more`);
        case "killing":
          return;
      }
    },
    leaderEnded(code) {
      exitCode = mapExit(code);
      switch (stage) {
        case "running":
          // All the time they want; a TERM is the way to end them.
          if (waitAll) return;
          // What the leader leaves behind ends with it: no signal of anybody's, so it is not mapped.
          startGrace();
          return hands.send("SIGTERM", "group");
        case "draining":
          return drained();
        case "stopping":
          // The group has been told once, and a second TERM means "at once" to many.
          if (signalScope === "child") return hands.send("SIGTERM", everyone);
          if (waitAll) hands.send("SIGTERM", "strays");
          return;
        case "killing":
          return;
      }
    },
    someEnded: finishWhenAllHaveGone,
  };
}
