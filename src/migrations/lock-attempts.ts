// Step 5 with --ddl-lock-timeout: the migration is run until it gets the locks that it wants, by the policy of
// lock-retry.ts. What ends it otherwise ends it here too, and each try that got no lock says who was in the way.

import { setTimeout as sleep } from "node:timers/promises";
import { findActivity } from "../database/activity.ts";
import { describeStatement, type Session } from "../database/blockers.ts";
import { jitter, type Connection } from "../database/connect.ts";
import { findInvalidIndexes, type InvalidIndex } from "../database/health.ts";
import { planHandover, withLockTimeout, type Handover } from "../database/lock-timeout.ts";
import type { MigrationLock } from "../database/lock.ts";
import type { DatabaseAddress } from "../database/url.ts";
import type { Environment } from "../environment.ts";
import { Failure, type FailureCode } from "../exit-codes.ts";
import type { CommandEnd } from "../process/run-migration.ts";
import { unlessStopped } from "../process/signals.ts";
import { inspect, type History } from "./alembic/inspect.ts";
import { endedByLockTimeout, lockTimeoutOf, pauseAfter } from "./lock-retry.ts";
import type { Context } from "./migrate.ts";
import { describeProgress, stateDetails, type State } from "./state.ts";

/** One run of the migration command. */
export interface Attempt {
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

/** An attempt that got no lock, and for whom it has waited. */
interface LockedOut {
  readonly failure: Failure;
  readonly blockers: readonly Session[];
}

/** Often enough to see who is in the way of a statement that waits for half a second. */
const blockersEveryMs = 200;
/** Room for a traceback with its SQL. */
const errorsKept = 65_536;

/**
 * Runs the migration until it succeeds, and rejects as `run` does. What a lock time-out has ended is run again, until
 * that has gone on for --lock-timeout without coming any further: Failure "lock-timeout".
 */
export async function migrateInAttempts(context: Context, on: Migration): Promise<void> {
  const { settings, log, signals } = context;
  const { client } = on.connection;
  const { allowed, obstacle } = await explainHandover(context, on);
  const endMs =
    settings.migrateTimeoutMs === 0 ? Infinity : performance.now() + settings.migrateTimeoutMs;
  let { before } = on;
  // Both count from where it has last come to.
  let tries = 0;
  let firstFailedMs: number | null = null;
  let lastBlockers: readonly Session[] = [];
  for (;;) {
    tries++;
    const lockTimeoutMs = lockTimeoutOf(tries, on.ddlLockTimeoutMs);
    const invalidBefore = await unlessStopped(signals.stop, findInvalidIndexes(client));
    const attempt = {
      env: allowed ? withLockTimeout(on.env, lockTimeoutMs) : on.env,
      before,
      timeoutMs: endMs === Infinity ? 0 : Math.max(endMs - performance.now(), 1),
    };
    const lockedOut = await runAttempt(on, attempt, lastBlockers);
    if (lockedOut === null) return;

    const { failure, blockers } = lockedOut;
    lastBlockers = blockers;
    const after = await unlessStopped(signals.stop, inspect(on.history, client));
    const invalidAfter = await unlessStopped(signals.stop, findInvalidIndexes(client));
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
        why: `it got no lock in ${tries} ${tries === 1 ? "try" : "tries"}; ${describeBlockers(blockers)}`,
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
      `The migration got no lock${within}; ${describeBlockers(blockers)}; trying again in ${(pauseMs / 1000).toFixed(1)} s${progress === null ? "" : ` (${progress})`}`,
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
  let errors: Buffer = Buffer.alloc(0);
  const watchErrors = (bytes: Buffer) => {
    errors = Buffer.concat([errors, bytes]).subarray(-errorsKept);
  };
  const watch = watchBlockers(on.connection, on.history.versionTable.name);
  try {
    await on.run({ ...attempt, watchErrors });
    return null;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const blockers = watch.lastSeen();
    if (error.code === "migration-timeout") {
      // It may have been stopped before it came to the lock.
      throw nameBlockers(error, blockers.length > 0 ? blockers : lastBlockers);
    }
    const exited = error.details["exitCode"] !== undefined;
    if (!exited || !endedByLockTimeout(errors.toString())) throw error;
    return { failure: error, blockers };
  } finally {
    watch.end();
  }
}

/** Says why the migration may have no lock_timeout. */
async function explainHandover(
  { settings, log, signals }: Context,
  on: Migration,
): Promise<Handover> {
  const handover = await unlessStopped(
    signals.stop,
    planHandover(on.connection, {
      address: on.address,
      fromConfig: settings.database === null && on.history.url !== null,
      env: settings.env,
      lockTimeoutMs: on.ddlLockTimeoutMs,
    }),
  );
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

/** The retry is right only where the migration goes on from what the failed try has left. */
function refuseToRepeat(
  { history }: Migration,
  { failure, blockers }: LockedOut,
  invalid: readonly InvalidIndex[],
): void {
  const [index] = invalid;
  if (index !== undefined) {
    throw explain(failure, "migration-failed", {
      why: `it got no lock, and CREATE INDEX CONCURRENTLY has left ${index.name} on ${index.table} invalid; ${describeBlockers(blockers)}`,
      hint: `DROP INDEX CONCURRENTLY ${index.name}, and SET lock_timeout = 0 before it is created: it keeps nobody waiting`,
      details: { blockers, invalidIndexes: invalid },
    });
  }
  if (history.command.kind === "opaque") {
    throw explain(failure, "lock-timeout", {
      why: `it got no lock, and is not tried again, since ${history.command.reason}; ${describeBlockers(blockers)}`,
      hint: `${cureFor(blockers)}, or let --migrate be Alembic's own command`,
      details: { blockers },
    });
  }
}

/** Ends early by a signal, as Stopped, and by the loss of the lock, as its Failure. */
async function pause({ signals }: Context, on: Migration, pauseMs: number): Promise<void> {
  const { lost } = on.lock;
  try {
    await unlessStopped(AbortSignal.any([signals.stop, lost]), sleep(Math.max(pauseMs, 0)));
  } catch (error) {
    signals.stop.throwIfAborted();
    throw on.describeEnd({ kind: "lock-lost", reason: error as Error });
  }
}

/** Looks all the time for whom the migration waits, and remembers the last ones. */
function watchBlockers({ client, lost }: Connection, versionTable: string) {
  const ended = new AbortController();
  let lastSeen: readonly Session[] = [];
  const look = async () => {
    while (!ended.signal.aborted && !lost.aborted) {
      const { blockers } = await findActivity(client, versionTable);
      if (blockers.length > 0) lastSeen = blockers;
      await sleep(blockersEveryMs, undefined, { signal: ended.signal });
    }
  };
  // A lost connection is the lock's business.
  look().catch(() => undefined);
  return { lastSeen: () => lastSeen, end: () => ended.abort() };
}

/** The rows of the version table, to tell whether an attempt has come any further. */
function rowsOf(state: State): string | null {
  return "current" in state ? state.current.join(" ") : null;
}

function describeBlockers(blockers: readonly Session[]): string {
  if (blockers.length === 0) return "who was in the way could not be seen";
  return `in the way was ${blockers.map(describeStatement).join("; ")}`;
}

function cureFor([blocker]: readonly Session[]): string {
  if (blocker === undefined) return "migrate when fewer transactions are open";
  return `let it end, or end it: select pg_terminate_backend(${blocker.pid})`;
}

function nameBlockers(failure: Failure, blockers: readonly Session[]): Failure {
  if (blockers.length === 0) return failure;
  return explain(failure, failure.code, {
    why: `it has waited for a lock; ${describeBlockers(blockers)}`,
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
