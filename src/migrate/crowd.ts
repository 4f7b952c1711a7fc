// Step 5 where the migration command gets no connection: it has applied nothing then, and is run again. Guarantees: any other
// end of it is final.

import { setTimeout as sleep } from "node:timers/promises";
import type { Context, Log } from "../context.ts";
import { Failure } from "../failure.ts";
import { jitter, unlessAborted } from "../patience.ts";
import { collectTail } from "../process/error-line.ts";
import { pauseAfter } from "./retry-policy.ts";

/** What a driver, or the server in English, says where there is no connection left, or none yet. */
const noConnection =
  /too many (?:clients|connections)|connection slots are reserved|TooManyConnections|CannotConnectNow|the database system is (?:starting up|shutting down|in recovery mode|not yet accepting connections)|'C': '(?:53300|57P03)'/;
/** No server listens: it restarts, or the migration's own code names a wrong one. */
const refused = /Connection refused|ConnectionRefusedError|Can't create a connection to host/;

export interface CrowdedRun {
  /** What is left of --migrate-timeout, in milliseconds; 0 means no limit. */
  readonly timeoutMs: number;
  readonly watchErrors: (bytes: Buffer) => void;
}

export interface CrowdOptions {
  readonly lockLost: AbortSignal;
  /** Before each run: resolves once a connection is to be had. Null where the server has enough of them. */
  readonly secure: (() => Promise<void>) | null;
  /** Whether the run that failed has applied nothing. */
  readonly appliedNothing: () => Promise<boolean>;
}

/**
 * Runs `run` until it gets a connection, for --lock-timeout at most, or for --wait-timeout where no server listens; rejects as it
 * does.
 */
export async function runUntilConnected(
  {
    settings,
    log,
    signals,
  }: Context<{
    readonly lockTimeoutMs: number;
    readonly waitTimeoutMs: number;
    readonly migrateTimeoutMs: number;
  }>,
  { lockLost, secure, appliedNothing }: CrowdOptions,
  run: (attempt: CrowdedRun) => Promise<void>,
): Promise<void> {
  const startMs = performance.now();
  const { migrateTimeoutMs, lockTimeoutMs, waitTimeoutMs } = settings;
  for (let tries = 1; ; tries++) {
    const errors = collectTail();
    if (secure !== null) await unlessAborted(AbortSignal.any([signals.stop, lockLost]), secure());
    const triedForMs = performance.now() - startMs;
    try {
      await run({
        timeoutMs: migrateTimeoutMs === 0 ? 0 : Math.max(migrateTimeoutMs - triedForMs, 1),
        watchErrors: errors.add,
      });
      return;
    } catch (error) {
      const reason = whyNoConnection(error, errors.text());
      const limitMs = reason === "refused" ? Math.min(waitTimeoutMs, lockTimeoutMs) : lockTimeoutMs;
      const limits = { triedForMs: performance.now() - startMs, limitMs };
      const pauseMs = pauseAfter(tries, limits, jitter);
      if (reason === null || pauseMs === null) throw error;
      if (!(await appliedNothing().catch(() => false))) throw error;
      report(log, tries, pauseMs);
      await unlessAborted(AbortSignal.any([signals.stop, lockLost]), sleep(pauseMs));
    }
  }
}

/** By the last exception; null where it is another reason. */
function whyNoConnection(error: unknown, errors: string): "full" | "refused" | null {
  if (!(error instanceof Failure) || error.details["commandExitCode"] === undefined) return null;
  const last = errors.slice(Math.max(errors.lastIndexOf("Traceback (most recent call last):"), 0));
  if (noConnection.test(last)) return "full";
  return refused.test(last) ? "refused" : null;
}

function report(log: Log, tries: number, pauseMs: number): void {
  log.warn(
    { event: "connection-retry", tries, pauseMs: Math.round(pauseMs) },
    `The migration got no connection to the database; retrying in ${(pauseMs / 1000).toFixed(1)} s`,
  );
}
