// Step 5 with --ddl-lock-timeout: the migration is run until it gets the locks that it wants, by the policy of
// retry-policy.ts. Any other end of it is final, and each attempt that got no lock logs who blocked it.

import { setTimeout as sleep } from "node:timers/promises";
import { usualLimits, type Connection } from "../postgres/connection.ts";
import { findActivity } from "../postgres/activity.ts";
import { describeStatement, type Session } from "../postgres/sessions.ts";
import { findInvalidIndexes, type InvalidIndex } from "../postgres/health.ts";
import { createWaitWarning, planHandover, withLockTimeout, type Handover } from "./lock-timeout.ts";
import type { MigrationLock } from "../postgres/migration-lock.ts";
import type { DatabaseAddress } from "../postgres/url.ts";
import type { Environment } from "../runtime/environment.ts";
import { Failure, type FailureCode } from "../failure.ts";
import type { CommandEnd } from "../process/run-command.ts";
import type { History } from "../tools/tool.ts";
import { collectTail } from "../process/error-line.ts";
import { inspect } from "./inspect.ts";
import { endedByLockTimeout, lockTimeoutOf, pauseAfter } from "./retry-policy.ts";
import type { Context } from "../context.ts";
import type { StartSettings } from "../settings/settings.ts";
import { describeCount } from "../log/words.ts";
import { describeProgress, stateDetails, type State } from "../state.ts";
import { unlessAborted, jitter } from "../patience.ts";

/** One run of the migration command. */
interface Attempt {
  readonly env: Environment;
  readonly before: State;
  /** What is left of --migrate-timeout; 0 means no limit. */
  readonly timeoutMs: number;
  readonly watchErrors: (bytes: Buffer) => void;
}

interface Migration {
  readonly history: History;
  readonly address: DatabaseAddress;
  readonly connection: Connection;
  readonly before: State;
  readonly lock: MigrationLock;
  /** Of every attempt, but for the lock_timeout. */
  readonly env: Environment;
  readonly ddlLockTimeoutMs: number;
  readonly run: (attempt: Attempt) => Promise<void>;
  readonly describeEnd: (end: CommandEnd) => Error;
}

/** An attempt that got no lock, and the sessions that blocked it. */
interface LockedOut {
  readonly failure: Failure;
  readonly blockers: readonly Session[];
}

/** Often enough to see who blocks a statement that waits for half a second. */
const blockersEveryMs = 200;

/**
 * Runs the migration until it succeeds, and rejects as `run` does. What a lock time-out has ended is run again, until
 * that has gone on for --lock-timeout without coming any further: Failure "lock-timeout".
 */
export async function migrateInAttempts(
  context: Context<StartSettings>,
  on: Migration,
): Promise<void> {
  const { settings, log } = context;
  const { allowed, obstacle } = await explainHandover(context, on);
  const watchWaits =
    obstacle === null
      ? createWaitWarning(context, on.connection, {
          versionTables: [on.history.versionTable.name],
          longestMs: on.ddlLockTimeoutMs,
        })
      : null;
  const endMs =
    settings.migrateTimeoutMs === 0 ? Infinity : performance.now() + settings.migrateTimeoutMs;
  let { before } = on;
  // Both are reset by progress.
  let tries = 0;
  let firstFailedMs: number | null = null;
  let lastBlockers: readonly Session[] = [];
  for (;;) {
    tries++;
    const lockTimeoutMs = lockTimeoutOf(tries, on.ddlLockTimeoutMs);
    const invalidBefore = await findInvalidIndexes(on.connection);
    const attempt = {
      env: allowed ? withLockTimeout(on.env, lockTimeoutMs) : on.env,
      before,
      timeoutMs: endMs === Infinity ? 0 : Math.max(endMs - performance.now(), 1),
    };
    const run = () => runAttempt(on, attempt, lastBlockers);
    const lockedOut = await (watchWaits === null ? run() : watchWaits(lockTimeoutMs, run));
    if (lockedOut === null) return;

    const { failure, blockers } = lockedOut;
    lastBlockers = blockers;
    const after = await inspect(on.history, on.connection);
    const invalidAfter = await findInvalidIndexes(on.connection);
    if (rowsOf(after) !== rowsOf(before)) {
      tries = 1;
      firstFailedMs = null;
    }
    before = after;
    firstFailedMs ??= performance.now();
    const known = new Set(invalidBefore.map(({ name }) => name));
    refuseToRepeat(
      on,
      lockedOut,
      invalidAfter.filter(({ name }) => !known.has(name)),
    );
    const triedForMs = performance.now() - firstFailedMs;
    const limitMs = settings.lockTimeoutMs;
    const pauseMs = pauseAfter(tries, { triedForMs, limitMs }, jitter);
    if (pauseMs === null) {
      throw explain(failure, "lock-timeout", {
        why: `it could not get the lock in ${describeCount(tries, "attempt")}: ${describeBlockers(blockers)}`,
        hint: `${cureFor(blockers)}, or raise --lock-timeout, which is ${limitMs / 1000} s`,
        details: { blockers, tries },
      });
    }
    const within = obstacle === null ? ` within ${lockTimeoutMs / 1000} s` : "";
    const progress = describeProgress(on.before, after);
    log.warn(
      {
        event: "lock-retry",
        tries,
        lockTimeoutMs,
        pauseMs: Math.round(pauseMs),
        blockers,
        ...stateDetails(after),
      },
      `The migration could not get the lock${within}: ${describeBlockers(blockers)}; retrying in ${(pauseMs / 1000).toFixed(1)} s${progress === null ? "" : ` (${progress})`}`,
    );
    await pause(context, on, Math.min(pauseMs, endMs - performance.now()));
    if (performance.now() >= endMs) {
      const error = on.describeEnd({ kind: "timed-out" });
      throw error instanceof Failure ? nameBlockers(error, blockers) : error;
    }
  }
}

/** Null is success. Rejects as `run` does, unless it was a lock time-out that ended it. */
async function runAttempt(
  on: Migration,
  attempt: Omit<Attempt, "watchErrors">,
  lastBlockers: readonly Session[],
): Promise<LockedOut | null> {
  const errors = collectTail();
  const watch = watchBlockers(on.connection, on.history.versionTable.name);
  try {
    await on.run({ ...attempt, watchErrors: errors.add });
    return null;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const blockers = watch.lastSeen();
    if (error.code === "migration-timeout") {
      // It may have been stopped before it came to the lock.
      throw nameBlockers(error, blockers.length > 0 ? blockers : lastBlockers);
    }
    const exited = error.details["commandExitCode"] !== undefined;
    if (!exited || !endedByLockTimeout(errors.text())) throw error;
    return { failure: error, blockers };
  } finally {
    watch.end();
  }
}

/** Says why the migration may have no lock_timeout. */
async function explainHandover(
  { settings, log }: Context<StartSettings>,
  on: Migration,
): Promise<Handover> {
  const handover = await planHandover(on.connection, {
    address: on.address,
    configured: settings.database === null ? on.history.configured : null,
    command: on.history.command,
    env: settings.env,
    lockTimeoutMs: on.ddlLockTimeoutMs,
  });
  const { obstacle, roleHasOne, deadlockTimeoutMs } = handover;
  if (obstacle !== null && !roleHasOne) {
    const { reason, hint } = obstacle;
    log.warn(
      { event: "ddl-lock-timeout", hint },
      `--ddl-lock-timeout cannot set the migration's lock_timeout: ${reason}`,
    );
  }
  if (on.ddlLockTimeoutMs <= deadlockTimeoutMs) {
    log.warn(
      { event: "ddl-lock-timeout", hint: `set it to more than ${deadlockTimeoutMs / 1000} s` },
      `--ddl-lock-timeout is not longer than this server's deadlock_timeout, so no autovacuum will give way`,
    );
  }
  return handover;
}

/** A retry is right only where the migration resumes from what the failed attempt has left. */
function refuseToRepeat(
  { history }: Migration,
  { failure, blockers }: LockedOut,
  invalid: readonly InvalidIndex[],
): void {
  const [index] = invalid;
  if (index !== undefined) {
    throw explain(failure, "migration-failed", {
      why: `it could not get the lock, and CREATE INDEX CONCURRENTLY has left ${index.name} on ${index.table} invalid; ${describeBlockers(blockers)}`,
      hint: `DROP INDEX CONCURRENTLY ${index.name}, and SET lock_timeout = 0 before it is created: that blocks no other session`,
      details: { blockers, invalidIndexes: invalid },
    });
  }
  const { unrepeatable } = history.command;
  if (unrepeatable !== null) {
    throw explain(failure, "lock-timeout", {
      why: `it could not get the lock, and it is not retried, since ${unrepeatable}; ${describeBlockers(blockers)}`,
      hint: `${cureFor(blockers)}, or set --migrate to the migration tool's own command`,
      details: { blockers },
    });
  }
}

/** Ends early by a signal, as Stopped, and by the loss of the lock, as its Failure. */
async function pause({ signals }: Context<unknown>, on: Migration, pauseMs: number): Promise<void> {
  const { lost } = on.lock;
  try {
    await unlessAborted(AbortSignal.any([signals.stop, lost]), sleep(Math.max(pauseMs, 0)));
  } catch (error) {
    signals.stop.throwIfAborted();
    throw on.describeEnd({ kind: "lock-lost", reason: error as Error });
  }
}

/** Polls for the sessions that block the migration, and keeps the last ones. */
function watchBlockers(connection: Connection, versionTable: string) {
  const ended = new AbortController();
  let lastSeen: readonly Session[] = [];
  const watched = connection.within(usualLimits);
  const look = async () => {
    while (!ended.signal.aborted) {
      const { blockers } = await findActivity(watched, [versionTable]);
      if (blockers.length > 0) lastSeen = blockers;
      await sleep(blockersEveryMs, undefined, { signal: ended.signal });
    }
  };
  // A lost connection is the lock's business.
  look().catch(() => undefined);
  return { lastSeen: () => lastSeen, end: () => ended.abort() };
}

/** The rows of the version table and what is pending: whether an attempt has made progress. */
function rowsOf(state: State): string | null {
  if (!("current" in state)) return null;
  return JSON.stringify([state.current, "pending" in state ? state.pending : []]);
}

function describeBlockers(blockers: readonly Session[]): string {
  if (blockers.length === 0) return "no blocking session was found";
  return `blocked by ${blockers.map(describeStatement).join("; ")}`;
}

function cureFor([blocker]: readonly Session[]): string {
  if (blocker === undefined) return "migrate when fewer transactions are open";
  return `let it end, or end it: select pg_terminate_backend(${blocker.pid})`;
}

function nameBlockers(failure: Failure, blockers: readonly Session[]): Failure {
  if (blockers.length === 0) return failure;
  return explain(failure, failure.code, {
    why: `it waited for a lock; ${describeBlockers(blockers)}`,
    hint: `${cureFor(blockers)}, or raise --migrate-timeout`,
    details: { blockers },
  });
}

function explain(
  failure: Failure,
  code: FailureCode,
  more: { why: string; hint: string; details: Record<string, unknown> },
): Failure {
  const { why, hint, details } = more;
  return failure.with({ code, message: `${failure.message}: ${why}`, hint, details });
}
