// What `trap` would have been: from the first moment on, a signal that asks to end ends the boot, and the
// application never starts. Left out on purpose: KILL and STOP cannot be caught, and the rest keep their
// default, except USR1, on which Node would open its debugger's port.

import { Stopped } from "../exit-codes.ts";

const endingSignals = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"] as const;

/** The source of signals: `process`, or an emitter in a test. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
}

export interface Signals {
  /** Aborted at the first signal, with a Stopped as its reason. */
  readonly stop: AbortSignal;
  /** Calls the listener at each signal from now on; returns how to end that. */
  subscribe(listener: (signal: NodeJS.Signals) => void): () => void;
  /** Gives every signal its default action back. */
  release(): void;
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
  for (const signal of endingSignals) source.on(signal, receive);
  source.on("SIGUSR1", ignore);
  return {
    stop: controller.signal,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    release() {
      for (const signal of endingSignals) source.off(signal, receive);
      source.off("SIGUSR1", ignore);
    },
  };
}

/** Waits for whichever comes first: the promise, or the signal that ends the boot, thrown as Stopped. */
export async function unlessStopped<T>(stop: AbortSignal, promise: Promise<T>): Promise<T> {
  if (stop.aborted) {
    // Nobody waits for it any more, and a rejection that nobody handles would end the process.
    promise.catch(() => undefined);
    throw stop.reason as Error;
  }
  let forget = () => undefined as void;
  const stopped = new Promise<never>((_resolve, reject) => {
    const abort = () => reject(stop.reason as Error);
    stop.addEventListener("abort", abort, { once: true });
    forget = () => stop.removeEventListener("abort", abort);
  });
  try {
    return await Promise.race([promise, stopped]);
  } finally {
    forget();
  }
}
