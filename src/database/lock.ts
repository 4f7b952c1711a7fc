// Step 3, which the shell script lacks: one migration at a time in a database. An advisory lock on a session
// of its own, taken by trying and never by waiting inside the server: a blocked pg_advisory_lock holds a
// snapshot, CREATE INDEX CONCURRENTLY waits for that, and the two would hang for ever.

import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../exit-codes.ts";
import type { Log } from "../log.ts";
import type { CurrentState } from "../migrations/state.ts";
import { unlessStopped } from "../process/signals.ts";
import type pg from "pg";
import { describeActivity, findActivity, type Activity } from "./activity.ts";
import {
  advisoryHolderQuery,
  isAdvisoryLock,
  describeSession,
  sessionColumns,
  type Session,
} from "./blockers.ts";
import {
  configureSession,
  durableSession,
  isPooled,
  jitter,
  ownApplicationName,
  type Connection,
} from "./connect.ts";

export interface MigrationLock {
  /** Aborted when the lock can no longer be counted on. */
  readonly lost: AbortSignal;
  /** Gives the lock back and stops watching it. The connection stays open. */
  release(): Promise<void>;
}

export type LockAnswer =
  | { readonly kind: "acquired"; readonly lock: MigrationLock }
  | { readonly kind: "not-needed"; readonly state: CurrentState };

/**
 * The advisory lock's key, one for each database: "entrypoi" in ASCII. It must never change, or an old image
 * and a new one would not exclude each other.
 */
const migrationLockKey = 0x65_6e_74_72_79_70_6f_69n.toString();

const firstPollMs = 100;
const longestPollMs = 1_000;
const reportEveryMs = 15_000;
const heartbeatEveryMs = 5_000;
/** A heartbeat without an answer for this long means that the server, or the way to it, is gone. */
const heartbeatTimeoutMs = 10_000;

/**
 * Tries for the lock until it is had, `findCurrent` finds the database at head, or `timeoutMs` have passed (Failure "lock-timeout").
 * Behind a transaction pooler the lock is held by an open transaction instead of the session.
 */
export async function acquireMigrationLock(
  connection: Connection,
  options: {
    timeoutMs: number;
    stop: AbortSignal;
    log: Log;
    /** The name, without a schema: by it the holder's migration is known. */
    versionTable: string;
    /** Asked while the lock is another's: the state, once nothing is left to be done under it. */
    findCurrent: () => Promise<CurrentState | null>;
    /** Opens another connection to the same database. */
    connectAgain: () => Promise<Connection>;
  },
): Promise<LockAnswer> {
  const { client } = connection;
  const { timeoutMs, stop, log } = options;
  const pooled = await unlessStopped(stop, prepareSession(connection));
  // The transaction that holds the lock must do nothing else: whatever it reads stays locked until its end.
  const own = pooled ? await options.connectAgain() : connection;
  if (pooled) {
    log.warn(
      { event: "pooler" },
      "The database is reached through a transaction pooler: the lock is held by an open transaction; a direct URL is safer",
    );
  }
  const findHolder = () => findHolderActivity(client, options.versionTable);
  const start = performance.now();
  let reportedMs = -Infinity;
  for (let attempt = 0; ; attempt++) {
    if (await unlessStopped(stop, tryLock(own, pooled))) {
      log.debug({ event: "locked" }, "Holding the migration lock");
      return { kind: "acquired", lock: keepLock(own, pooled) };
    }
    const state = await unlessStopped(stop, options.findCurrent());
    if (state !== null) {
      if (pooled) await own.close();
      return { kind: "not-needed", state };
    }

    const waitedMs = performance.now() - start;
    if (waitedMs >= timeoutMs) {
      const found = await unlessStopped(stop, findHolder());
      throw new Failure(
        "lock-timeout",
        `cannot take the migration lock within ${timeoutMs / 1000} s: ${found.message}`,
        {
          hint: "another replica is migrating; raise --lock-timeout, or look at its log",
          details: { ...found.details },
        },
      );
    }
    if (waitedMs - reportedMs >= reportEveryMs) {
      const { holder, message, details } = await unlessStopped(stop, findHolder());
      if (holder !== null) {
        reportedMs = waitedMs;
        log.info(
          { event: "lock-wait", ...details, waitedMs: Math.round(waitedMs) },
          `Waiting for another replica's migration: ${message}`,
        );
      }
    }
    const delayMs = jitter(Math.min(firstPollMs * 1.5 ** attempt, longestPollMs));
    await unlessStopped(stop, sleep(Math.min(delayMs, timeoutMs - waitedMs)));
  }
}

/** Who holds the migration lock, and what that migration is at. */
export interface HolderActivity {
  readonly holder: Session | null;
  /** `the migration lock is held by pid 7 (…); it is blocked by …` */
  readonly message: string;
  /** For the log. */
  readonly details: { readonly holder: Session | null } & Activity;
}

/** `versionTable`: its name, without a schema. */
export async function findHolderActivity(
  client: pg.Client,
  versionTable: string,
): Promise<HolderActivity> {
  const holder = await findLockHolder(client);
  const activity = await findActivity(client, versionTable);
  const parts = [
    holder === null
      ? "nobody holds the migration lock"
      : `the migration lock is held by ${describeSession(holder)}`,
    describeActivity(activity),
  ];
  const message = parts.filter((part) => part !== "").join("; ");
  return { holder, message, details: { holder, ...activity } };
}

/** Who holds the migration lock of this database, and since when, or null. */
async function findLockHolder(client: pg.Client): Promise<Session | null> {
  const { rows } = await client.query<HolderRow>(lockHolderQuery);
  return toHolder(rows[0]);
}

/** Of the rows `l` of pg_locks, that of the migration lock while somebody holds it. */
export const migrationLocks = isAdvisoryLock(migrationLockKey);

/** Selects the row of the migration lock's holder. */
export const lockHolderQuery = advisoryHolderQuery(
  migrationLockKey,
  `${sessionColumns},
      round(extract(epoch from clock_timestamp()
        - substring(a.application_name from '[0-9-]{10}T[0-9:]{8}Z$')::timestamptz))::int as "lockedForSeconds"`,
);

export type HolderRow = Session & { readonly lockedForSeconds: number | null };

export function toHolder(row: HolderRow | null | undefined): Session | null {
  if (row === undefined || row === null) return null;
  const { lockedForSeconds, ...session } = row;
  return { ...session, forSeconds: lockedForSeconds ?? session.forSeconds };
}

/** Makes the session a durable one. Resolves to whether a transaction pooler is in between, where there is no such thing. */
async function prepareSession(connection: Connection): Promise<boolean> {
  const { client } = connection;
  if (await isPooled(connection)) return true;
  await configureSession(client, durableSession);
  return false;
}

async function tryLock({ client }: Connection, pooled: boolean): Promise<boolean> {
  if (pooled) {
    await client.query("begin isolation level read committed");
    await client.query(`
      select set_config(name, '0', true) from pg_settings
      where name in ('idle_in_transaction_session_timeout', 'transaction_timeout', 'statement_timeout')`);
  }
  const take = pooled ? "pg_try_advisory_xact_lock" : "pg_try_advisory_lock";
  const { rows } = await client.query<{ taken: boolean }>(
    `select ${take}(${migrationLockKey}) as taken`,
  );
  const taken = rows[0]?.taken ?? false;
  if (!taken && pooled) await client.query("rollback");
  if (taken) {
    // Who, and since when by the server's clock, for those who will wait.
    await client.query(
      `select set_config('application_name', ${client.escapeLiteral(`${ownApplicationName()} `)} ||
         to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ${pooled})`,
    );
  }
  return taken;
}

function keepLock(connection: Connection, pooled: boolean): MigrationLock {
  const { client } = connection;
  const lost = new AbortController();
  const lose = () => lost.abort(connection.lost.reason);
  connection.lost.addEventListener("abort", lose, { once: true });
  const timer = setInterval(() => {
    const silence = setTimeout(() => {
      lost.abort(new Error(`the server has not answered for ${heartbeatTimeoutMs / 1000} s`));
    }, heartbeatTimeoutMs);
    void client
      .query("select 1")
      .catch((error: unknown) => lost.abort(error))
      .finally(() => clearTimeout(silence));
  }, heartbeatEveryMs);
  return {
    lost: lost.signal,
    async release() {
      clearInterval(timer);
      connection.lost.removeEventListener("abort", lose);
      if (lost.signal.aborted) return;
      const unlock = client.query(
        pooled ? "commit" : `select pg_advisory_unlock(${migrationLockKey})`,
      );
      // A server that does not answer gives the lock back when it notices that we have gone.
      const patience = sleep(heartbeatTimeoutMs, undefined, { ref: false });
      await Promise.race([unlock.catch(() => undefined), patience]);
      if (pooled) await connection.close();
    },
  };
}
