// The decisions of a supervising PID 1: where a signal goes, when to kill, and when to end. It has no process and no clock:
// supervise.ts delivers the events and carries out the decisions.

import { describeDuration } from "../../log/words.ts";
import { afterKillMs } from "../groups.ts";
import { type SignalName, signalExitCode } from "../signal-table.ts";

export interface SuperviseOptions {
  /** Between SIGTERM and its forwarding, while the application continues to serve; 0 is none. */
  readonly drainDelayMs: number;
  /** Between SIGTERM and SIGKILL; 0 means no limit. */
  readonly stopTimeoutMs: number;
  /** Where a signal goes: to the application's process group, or to its leader alone. */
  readonly signalScope: "group" | "child";
  /** What a SIGTERM does that comes after the first one, and is a request of its own. */
  readonly secondTerm: "kill" | "forward";
  /** As which signal another one is forwarded; null drops it. */
  readonly mapSignals: ReadonlyMap<SignalName, SignalName | null>;
  readonly mapExits: ReadonlyMap<number, number>;
  /** Whether to wait for all descendants. */
  readonly waitAll: boolean;
  /** Whether entrypoint ends with the leader and neither terminates nor awaits its group. Not with `waitAll`. */
  readonly leaveGroup: boolean;
  /** The signal that entrypoint receives when its parent dies; null for none. */
  readonly parentDeathSignal: SignalName | null;
}

/** Who receives a signal: the application's leader, its group, all descendants, or those that have left the group. */
export type Target = "child" | "group" | "descendants" | "strays";

/** What supervise.ts does on request. */
export interface Hands {
  send(signal: SignalName, to: Target): void;
  /** Whether one of them is alive; a zombie is not. */
  isAlive(whom: "group" | "descendants"): boolean;
  /** Whether entrypoint is in a terminal's foreground: Ctrl-C is then meant for all that runs in it. */
  isInForeground(): boolean;
  /** Milliseconds of a clock that nobody sets. */
  now(): number;
  /** Calls `act` after that time; returns how to cancel it. */
  after(ms: number, act: () => void): () => void;
  report(level: "info" | "warn", event: string, message: string): void;
  /** Ends entrypoint with that exit code. */
  end(code: number): void;
}

export interface Supervision {
  /** To be called when a signal has arrived. */
  receive(signal: SignalName): void;
  /** To be called when the application's leader has ended, with its exit code or 128+n. */
  leaderEnded(code: number): void;
  /** To be called when processes have ended, the leader or others. */
  someEnded(): void;
}

/**
 * To the leader alone, whatever the scope: they order uvicorn, gunicorn, nginx and php-fpm to start or stop a worker, to restart
 * all, or to reopen the logs. Most workers do not handle them, and the default action is to stop or to die.
 */
export const leaderSignals: readonly SignalName[] = [
  "SIGHUP",
  "SIGTTIN",
  "SIGTTOU",
  "SIGUSR1",
  "SIGUSR2",
];

/** A terminal sends them to all of its foreground group, so they reach the application's group in the scope "child" too. */
const terminalSignals: readonly SignalName[] = ["SIGINT", "SIGQUIT", "SIGTSTP"];

/** A SIGTERM within this time after the first one is the same request: coreutils' timeout and many process managers send two. */
export const sameRequestMs = 1_000;

/** A member of the group need not be a child, and then nothing reports its end. */
export const pollMs = 100;

export function createSupervision(options: SuperviseOptions, hands: Hands): Supervision {
  const { drainDelayMs, stopTimeoutMs, signalScope, mapSignals, mapExits, waitAll } = options;
  const { secondTerm, leaveGroup } = options;
  const rest = leaveGroup ? "child" : "group";
  const everyone = waitAll ? "descendants" : rest;
  /** "ending": the leader has ended by itself, and nobody has requested that yet. */
  let stage: "running" | "draining" | "ending" | "stopping" | "killing" = "running";
  /** When the last request has been acted on. */
  let requestedMs = -Infinity;
  let exitCode: number | null = null;
  let reported = false;
  let cancelDeadline = () => {};
  let cancelPoll = () => {};

  const setDeadline = (ms: number, act: () => void): void => {
    cancelDeadline();
    cancelDeadline = hands.after(ms, act);
  };
  const mapExit = (code: number): number => mapExits.get(code) ?? code;
  const finish = (code: number): void => {
    cancelDeadline();
    cancelPoll();
    hands.end(code);
  };

  const forward = (signal: SignalName): void => {
    const mapped = mapSignals.get(signal);
    if (mapped === null) return;
    const sent = mapped ?? signal;
    if (exitCode !== null) hands.send(sent, everyone);
    else hands.send(sent, chooseTarget(sent));
  };
  const chooseTarget = (sent: SignalName): Target => {
    if (leaderSignals.includes(sent)) return "child";
    return terminalSignals.includes(sent) && hands.isInForeground() ? "group" : signalScope;
  };
  /** SIGTERM, and what is mapped to it; unless it is dropped. */
  const requestsEnd = (signal: SignalName): boolean => {
    const sent = mapSignals.get(signal);
    return sent !== null && (signal === "SIGTERM" || sent === "SIGTERM");
  };

  const kill = (reason: string): void => {
    stage = "killing";
    hands.report("warn", "kill", `${reason}: sending SIGKILL`);
    hands.send("SIGKILL", everyone);
    // The kernel ends the others when it can.
    setDeadline(afterKillMs, () => finish(exitCode ?? mapExit(signalExitCode("SIGKILL"))));
    finishIfAllEnded();
  };
  const startGrace = (): void => {
    cancelDeadline();
    if (stopTimeoutMs === 0) return;
    const reason = `The application has not ended within ${describeDuration(stopTimeoutMs)}`;
    setDeadline(stopTimeoutMs, () => kill(reason));
  };
  const stop = (signal: SignalName): void => {
    stage = "stopping";
    requestedMs = hands.now();
    startGrace();
    forward(signal);
  };
  let endDrain = (): void => {};
  const drain = (signal: SignalName): void => {
    stage = "draining";
    requestedMs = hands.now();
    endDrain = () => stop(signal);
    const delay = describeDuration(drainDelayMs);
    hands.report("info", "drain", `Received ${signal}: draining for ${delay} before forwarding it`);
    setDeadline(drainDelayMs, () => {
      hands.report("info", "drained", `Forwarding ${signal}`);
      endDrain();
    });
  };
  const finishIfAllEnded = (): void => {
    if (exitCode === null) return;
    if (everyone === "child" || !hands.isAlive(everyone)) return finish(exitCode);
    if (!reported && stage !== "killing") {
      reported = true;
      const whom = waitAll ? "its descendants" : "the rest of its process group";
      hands.report("info", "leader-ended", `The application has ended, waiting for ${whom}`);
    }
    // Some may have been started while the others were listed.
    if (stage === "killing" && waitAll) hands.send("SIGKILL", "descendants");
    if (waitAll) return;
    cancelPoll();
    cancelPoll = hands.after(pollMs, finishIfAllEnded);
  };

  return {
    receive(signal) {
      if (!requestsEnd(signal)) return forward(signal);
      const isRepeated = hands.now() - requestedMs < sameRequestMs;
      switch (stage) {
        case "running":
          // Without its leader the application no longer serves.
          return drainDelayMs === 0 || exitCode !== null ? stop(signal) : drain(signal);
        case "draining":
          if (isRepeated) return;
          hands.report("info", "drained", `Received ${signal} again: forwarding it now`);
          return endDrain();
        case "ending":
          // The group has received it, and its grace period has begun.
          stage = "stopping";
          requestedMs = hands.now();
          return;
        case "stopping":
          if (isRepeated || secondTerm === "forward") return forward(signal);
          return kill(`Received ${signal} again`);
        case "killing":
          return;
      }
    },
    leaderEnded(code) {
      exitCode = mapExit(code);
      if (leaveGroup) return;
      switch (stage) {
        case "running":
          // There is no limit for them; a SIGTERM ends them.
          if (waitAll) return;
          // The group ends with its leader. Nobody has sent this signal, so it is not mapped.
          stage = "ending";
          startGrace();
          return hands.send("SIGTERM", "group");
        case "draining":
          return endDrain();
        case "stopping":
          // The group has received it once, and to many programs a second SIGTERM means "at once".
          if (signalScope === "child") return hands.send("SIGTERM", everyone);
          if (waitAll) hands.send("SIGTERM", "strays");
          return;
        case "ending":
        case "killing":
          return;
      }
    },
    someEnded: finishIfAllEnded,
  };
}
