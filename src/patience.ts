// How everything here waits: with a limit, with a line every 15 seconds, and until a signal ends it.

import { setTimeout as sleep } from "node:timers/promises";
import type { Failure } from "./failure.ts";

/** How often a wait is reported, in milliseconds. */
export const reportEveryMs = 15_000;

const longestTimeoutMs = 2 ** 31 - 1;

/** Up to half of `delayMs` less, so that replicas do not poll in step. */
export function jitter(delayMs: number): number {
  return delayMs * (0.5 + Math.random() / 2);
}

/**
 * The result of `promise`, unless `signal` is aborted first: then its reason is thrown, and `discard` gets a result that
 * comes too late, to close what nobody else would.
 */
export async function unlessAborted<T>(
  signal: AbortSignal,
  promise: Promise<T>,
  discard: (late: T) => unknown = () => undefined,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let late = false;
    const abort = () => {
      late = true;
      reject(signal.reason as Error);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    void promise
      .then((result) => (late ? discard(result) : resolve(result)))
      .catch(reject)
      .finally(() => signal.removeEventListener("abort", abort));
  });
}

/** What limits the wait for one answer. */
export interface Patience {
  /** Aborted by a signal: its reason is thrown. */
  readonly stop: AbortSignal;
  /** How long to wait, in milliseconds. */
  readonly limitMs: number;
  /** The failure once that time is over. */
  readonly expired: (waitedMs: number) => Failure;
  /** Called every 15 s meanwhile. */
  readonly report?: (waitedMs: number) => void;
}

/** The result of `promise` within the limit; one that comes later is for `discard`. Throws the reason of `stop`, or `expired()`. */
export async function waitFor<T>(
  promise: Promise<T>,
  patience: Patience,
  discard?: (late: T) => unknown,
): Promise<T> {
  const { stop, limitMs, expired, report } = patience;
  const startMs = performance.now();
  const waitedMs = () => Math.round(performance.now() - startMs);
  const limit = new AbortController();
  // A timer that is set for longer fires at once.
  const timeoutMs = Math.min(limitMs, longestTimeoutMs);
  const end = setTimeout(() => limit.abort(expired(waitedMs())), timeoutMs);
  const reporter =
    report === undefined ? undefined : setInterval(() => report(waitedMs()), reportEveryMs);
  try {
    return await unlessAborted(limit.signal, unlessAborted(stop, promise, discard), discard);
  } finally {
    clearTimeout(end);
    clearInterval(reporter);
  }
}

/** A condition that is looked at again and again until it holds. */
export interface Polling<T> {
  readonly stop: AbortSignal;
  /** For how long, in milliseconds; 0 is a single look. */
  readonly timeoutMs: number;
  /** The pause after the nth look, from 0, in milliseconds, before jitter. */
  readonly delayMs: (attempt: number, waitedMs: number) => number;
  /** Resolves to null while the condition does not hold. */
  readonly look: (waitedMs: number) => Promise<T | null>;
  /** Called after the first look in vain, and then every 15 s; resolves to false where it had nothing to report yet. */
  readonly report: (waitedMs: number) => Promise<boolean>;
  /** The failure once the time is over. */
  readonly expired: (waitedMs: number) => Promise<Failure>;
  /** Called before each pause: releases what the look has held. */
  readonly rest?: () => Promise<void>;
  /** Closes what `look` finds when `stop` is aborted already. */
  readonly discard?: (late: T | null) => unknown;
}

/** The first result of `look` that is not null. Throws the reason of `stop`, or `expired()`. */
export async function poll<T>(polling: Polling<T>): Promise<T> {
  const { stop, timeoutMs, delayMs, look, report, expired, discard } = polling;
  const startMs = performance.now();
  let reportedMs = -Infinity;
  for (let attempt = 0; ; attempt++) {
    const found = await unlessAborted(stop, look(performance.now() - startMs), discard);
    if (found !== null) return found;
    const waitedMs = performance.now() - startMs;
    if (waitedMs >= timeoutMs) throw await unlessAborted(stop, expired(waitedMs));
    if (waitedMs - reportedMs >= reportEveryMs && (await unlessAborted(stop, report(waitedMs)))) {
      reportedMs = waitedMs;
    }
    if (polling.rest !== undefined) await unlessAborted(stop, polling.rest());
    const remainingMs = Math.max(timeoutMs - (performance.now() - startMs), 0);
    const pauseMs = jitter(delayMs(attempt, waitedMs));
    await unlessAborted(stop, sleep(Math.min(pauseMs, remainingMs)));
  }
}
