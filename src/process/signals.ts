// `trap`: from the first moment on, a termination signal ends the boot, and the application never starts. Left out on
// purpose: SIGKILL and SIGSTOP cannot be caught, and the rest keep their default action, except SIGUSR1, at which Node
// would open its debugger's port.

import { readFileSync } from "node:fs";
import { constants } from "node:os";

import type { Signals } from "../context.ts";
import { Stopped } from "../failure.ts";

const terminationSignals = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"] as const;

/** The source of signals: `process`, or an emitter in a test. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
}

/** Node's own action for these ends the process, and PID 1 survives it. */
const nodesOwn = ["SIGTERM", "SIGINT"] as const;

/**
 * The signal that came before there was any JavaScript to catch it; null where none did. Node has a handler for each of
 * `nodesOwn` by then, which the kernel takes away as it runs. Other processes than PID 1 do not live to see that.
 * @param status the text of /proc/self/status.
 */
export function findEarlySignal(status: string): NodeJS.Signals | null {
  const caught = BigInt(`0x${/^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  const gone = nodesOwn.filter(
    (signal) => (caught & (1n << BigInt(constants.signals[signal] - 1))) === 0n,
  );
  // Both are gone in a Node that has no such handlers.
  return gone.length === 1 ? (gone[0] ?? null) : null;
}

/** Empty where that is not PID 1's, or there is no /proc. */
function readOwnStatus(): string {
  try {
    return process.pid === 1 ? readFileSync("/proc/self/status", "latin1") : "";
  } catch {
    return "";
  }
}

/** Catches the signals that end a boot. */
export function catchSignals(source: SignalSource = process): Signals {
  const controller = new AbortController();
  const listeners = new Set<(signal: NodeJS.Signals) => void>();
  const receive = (signal: NodeJS.Signals) => {
    controller.abort(new Stopped(signal));
    for (const listener of listeners) listener(signal);
  };
  const ignore = () => undefined;
  // Right before: what comes in between is lost.
  const status = source === process ? readOwnStatus() : "";
  for (const signal of terminationSignals) source.on(signal, receive);
  const early = findEarlySignal(status);
  if (early !== null) receive(early);
  source.on("SIGUSR1", ignore);
  return {
    stop: controller.signal,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    release() {
      for (const signal of terminationSignals) source.off(signal, receive);
      source.off("SIGUSR1", ignore);
    },
  };
}
