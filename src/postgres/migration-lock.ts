// Step 3, which the shell script lacks: one migration at a time in a database. entrypoint polls for an advisory lock on a
// dedicated session and never waits for it inside the server: a blocked pg_advisory_lock holds a snapshot, CREATE INDEX
// CONCURRENTLY waits for that, and the two would block each other for ever.

import { ConnectionLost, type Connection } from "./connection.ts";
import { Failure } from "../failure.ts";
import { describeActivity, findActivity, type Activity } from "./activity.ts";
import {
  advisoryHolderQuery,
  isAdvisoryLock,
  describeSession,
  sessionColumns,
  type Session,
} from "./sessions.ts";
import { ownApplicationName } from "./connect.ts";
import { classify, describeError, isOutOfTime } from "./errors.ts";
import {
  configureSession,
  durableSession,
  isRefusedSetting,
  setSettings,
} from "./session-settings.ts";
import { quoteLiteral } from "./names.ts";
import { poll } from "../patience.ts";
import type { Log } from "../context.ts";

export interface MigrationLock {
  /** Aborted when the lock can no longer be counted on. */
  readonly lost: AbortSignal;
  /** When it was acquired, few of the server's connections were free. */
  readonly crowded: boolean;
  /** Releases the lock and stops watching it. The connection stays open. */
  release(): Promise<void>;
}

export type LockAnswer<Current> =
  | {
      readonly kind: "acquired";
      readonly lock: MigrationLock;
      /** To query by while the lock is held: the lock's own, unless a pooler is in between. */
      readonly connection: Connection;
    }
  | { readonly kind: "not-needed"; readonly state: Current };

/**
 * The advisory lock's key, one for each database: "entrypoi" in ASCII. It must never change, or an old image
 * and a new one would not exclude each other.
 */
const migrationLockKey = 0x65_6e_74_72_79_70_6f_69n.toString();

const shortestPauseMs = 100;
const longestPauseMs = 10_000;
/** The next look comes after this share of the time that was waited so far. */
const pauseShare = 1 / 5;
/** A full server is looked at so many times more rarely. */
const mostCrowding = 10;
/** Of a server that may be full soon. */
const fewConnections = 20;
/** A look over a connection has this long, of which a table's lock may take some. */
const lookTimeoutMs = 10_000;
/** Of a look: no table is waited for any longer. */
export const tableLockTimeout = "2s";
/** A query that a pooler with one server connection would never answer. */
const secondConnectionMs = 5_000;
const heartbeatEveryMs = 5_000;
/** A heartbeat without an answer for this long means that the server, or the way to it, is gone. */
const heartbeatTimeoutMs = 10_000;
/** Short enough for all of a start's end to take less than the ten seconds that Docker leaves a container. */
const releaseTimeoutMs = 2_000;
/** Where little is left of the time for the lock, a query may still take so long. */
const leastAnswerMs = 5_000;

const hint =
  "start again: it resumes where it came to; if it happens again, look for a proxy that ends idle connections";

/**
 * Looks until it has acquired the lock, `findCurrent` finds the database at head, or `timeoutMs` have passed (Failure
 * "lock-timeout"). Between two looks it holds no connection, and a connection that breaks is opened again. Behind a transaction
 * pooler an open transaction holds the lock instead of the session.
 */
export async function acquireMigrationLock<Current extends object>(
  first: Connection,
  options: {
    timeoutMs: number;
    stop: AbortSignal;
    log: Log;
    /** The names, without a schema: by them the holder's migration is known. */
    versionTables: readonly string[];
    /** Called while another session holds the lock: the state, once nothing is left to be done under it. */
    findCurrent: (connection: Connection) => Promise<Current | null>;
    /** Opens another connection to the same database, within `timeoutMs`. */
    connect: (timeoutMs: number) => Promise<Connection>;
  },
): Promise<LockAnswer<Current>> {
  const { timeoutMs, stop, log, versionTables } = options;
  const endMs = performance.now() + timeoutMs;
  const remainingMs = () => Math.max(endMs - performance.now(), leastAnswerMs);
  const limits = {
    limitMs: () => Math.min(remainingMs(), lookTimeoutMs),
    code: "database-unavailable",
  } as const;
  let held: Connection | null = first;
  let share = 0;
  let pooled = false;
  let crowded = false;
  let known = "the database does not answer";
  const rest = async () => {
    const connection = held;
    held = null;
    await connection?.close();
  };
  /** Null where the connection breaks. */
  const unlessBroken = async <T>(query: Promise<T>): Promise<T | null> => {
    try {
      return await query;
    } catch (error) {
      if (stop.aborted || classify(error) === "refused") throw error;
      const reason = describeError(error);
      log.warn({ event: "connection-lost", reason }, `Connecting again: ${reason}`);
      await rest();
      return null;
    }
  };
  try {
    const found = await poll<Current | "acquired">({
      stop,
      timeoutMs,
      delayMs: (_, waitedMs) => pauseBetweenLooks(waitedMs, share),
      async look() {
        held ??= await options.connect(remainingMs());
        const connection = held.within(limits);
        return unlessBroken(
          (async () => {
            const attempt = await tryLock(connection, log);
            share = attempt.share;
            if (attempt.pooled && !pooled) {
              log.warn(
                { event: "pooler" },
                "The database is reached through a pooler: an open transaction holds the migration lock, since a session's may not last; a direct URL is safer",
              );
            }
            ({ pooled, crowded } = attempt);
            return attempt.taken ? "acquired" : findUnlessLocked(connection, options.findCurrent);
          })(),
        );
      },
      async report(waitedMs) {
        if (held === null) return false;
        const seen = await unlessBroken(findHolderActivity(held.within(limits), versionTables));
        if (seen === null) return false;
        known = seen.message;
        if (seen.holder === null) return false;
        log.info(
          { event: "lock-wait", ...seen.details, waitedMs: Math.round(waitedMs) },
          `Waiting for another replica's migration: ${known}`,
        );
        return true;
      },
      rest,
      async expired() {
        const query = held === null ? null : findHolderActivity(held.within(limits), versionTables);
        const seen = query === null ? null : await unlessBroken(query);
        return new Failure(
          "lock-timeout",
          `cannot acquire the migration lock within ${timeoutMs / 1000} s: ${seen?.message ?? known}`,
          {
            hint: "another replica is migrating; raise --lock-timeout, or look at its log",
            details: { ...seen?.details },
          },
        );
      },
    });
    if (found !== "acquired") return { kind: "not-needed", state: found };
    const own: Connection = held;
    const connection = pooled ? await connectBeside(options.connect, remainingMs()) : own;
    held = null;
    log.debug({ event: "locked" }, "Holding the migration lock");
    return { kind: "acquired", lock: keepLock(own, pooled, crowded), connection };
  } finally {
    if (!stop.aborted) await rest();
  }
}

/**
 * How long a replica pauses until it looks again, in milliseconds, before jitter.
 * @param share of the server's connections that are in use, from 0 to 1.
 */
export function pauseBetweenLooks(waitedMs: number, share: number): number {
  const crowding = Math.min(1 / Math.max(1 - share, 1 / mostCrowding), mostCrowding);
  const pauseMs = Math.max(waitedMs * pauseShare, shortestPauseMs) * crowding;
  return Math.min(pauseMs, longestPauseMs);
}

/** A version table that a migration has locked is as good as one that is behind. */
async function findUnlessLocked<T>(
  connection: Connection,
  find: (connection: Connection) => Promise<T | null>,
): Promise<T | null> {
  try {
    return await find(connection);
  } catch (error) {
    if (isOutOfTime(error)) return null;
    throw error;
  }
}

/**
 * The transaction that holds the lock must do nothing else: whatever it reads stays locked until its end. The migration needs
 * a third connection of the pooler's while these two are open.
 */
async function connectBeside(
  connect: (timeoutMs: number) => Promise<Connection>,
  timeoutMs: number,
): Promise<Connection> {
  const connection = await connectThroughPooler(connect, timeoutMs, "a second");
  try {
    await (await connectThroughPooler(connect, timeoutMs, "a third")).close();
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

async function connectThroughPooler(
  connect: (timeoutMs: number) => Promise<Connection>,
  timeoutMs: number,
  which: string,
): Promise<Connection> {
  const lacking = (reason: string, cause?: unknown) =>
    new Failure(
      "database-unavailable",
      `the pooler gives no ${which.slice(2)} server connection beside the one whose transaction holds the migration lock: ${reason}`,
      {
        cause,
        hint: "raise the pooler's pool size (default_pool_size, pool_size) to 3 or more, or use a direct URL",
      },
    );
  const connection = await connect(timeoutMs);
  try {
    await connection
      .within({ limitMs: () => secondConnectionMs, code: "lock-timeout" })
      .query("select 1");
    return connection;
  } catch (error) {
    await connection.close();
    if (!(error instanceof Failure)) throw error;
    throw lacking(
      error.code === "lock-timeout" ? `none in ${secondConnectionMs / 1000} s` : error.message,
      error,
    );
  }
}

/** Who holds the migration lock, and what that migration is doing. */
export interface HolderActivity {
  readonly holder: Session | null;
  /** `the migration lock is held by pid 7 (…); it is blocked by …` */
  readonly message: string;
  /** For the log. */
  readonly details: { readonly holder: Session | null } & Activity;
}

/** `versionTables`: their names, without a schema. */
export async function findHolderActivity(
  connection: Connection,
  versionTables: readonly string[],
): Promise<HolderActivity> {
  const holder = await findLockHolder(connection);
  const activity = await findActivity(connection, versionTables);
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
async function findLockHolder(connection: Connection): Promise<Session | null> {
  const { rows } = await connection.query<HolderRow>(lockHolderQuery);
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

interface Attempt {
  readonly taken: boolean;
  /** A pooler is in between. */
  readonly pooled: boolean;
  /** Of the connections that the role may use: those in use. */
  readonly share: number;
  /** So few are free that the migration may get none. */
  readonly crowded: boolean;
}

/** Connections: in use, and allowed to a role that is no superuser. */
interface Crowd {
  readonly used: number;
  readonly allowed: number;
}

/**
 * Selects one row: of the limits of the server, of the role and of the database the one that leaves least. The kind of a backend
 * of another role is not visible without pg_monitor; one in a database is a client's, or nearly as good.
 */
const crowdQuery = `
    select l.used::int as used, l.allowed::int as allowed
    from (
      select count(*) as total, count(*) filter (where a.usesysid = r.oid) as own,
        count(*) filter (where a.datid = d.oid) as here, r.rolconnlimit, d.datconnlimit
      from pg_stat_get_activity(null) a, pg_roles r, pg_database d
      where r.rolname = session_user and d.datname = current_database()
        and (a.backend_type = 'client backend' or (a.backend_type is null and a.datid is not null))
      group by r.rolconnlimit, d.datconnlimit) c,
      lateral (values
        (c.total, greatest(current_setting('max_connections')::int
          - current_setting('superuser_reserved_connections')::int
          - coalesce(current_setting('reserved_connections', true)::int, 0), 1)),
        (c.own, c.rolconnlimit), (c.here, c.datconnlimit)) l (used, allowed)
    where l.allowed > 0
    order by l.allowed - l.used limit 1`;

function isCrowded({ used, allowed }: Crowd): boolean {
  return used > allowed / 2 || allowed - used < fewConnections;
}

/** Whether so few connections are free now that a migration may have got none. */
export async function findCrowd(connection: Connection): Promise<boolean> {
  const { rows } = await connection.query<Crowd>(crowdQuery);
  const [crowd] = rows;
  return crowd !== undefined && isCrowded(crowd);
}

/** One round trip where the lock is not free: the session must be a durable one before it may hold it. */
async function tryLock(connection: Connection, log: Log): Promise<Attempt> {
  const direct = `pg_backend_pid() = ${connection.greetedPid ?? 0}`;
  const settings = { ...durableSession, lock_timeout: tableLockTimeout };
  const attempt = `
    select case when ${direct} then pg_try_advisory_lock(${migrationLockKey}) end as taken,
      crowd.used, crowd.allowed
    from (${crowdQuery}) crowd`;
  type Row = { taken: boolean | null } & Crowd;
  const { rows } = await connection
    .query<Row>(`${setSettings(settings, direct)}; ${attempt}`)
    .catch(async (error: unknown) => {
      if (!isRefusedSetting(error)) throw error;
      await configureSession(connection, settings, log);
      return connection.query<Row>(attempt);
    });
  const { taken = null, used = 0, allowed = 1 } = rows[0] ?? {};
  const pooled = taken === null;
  const acquired = taken ?? (await tryLockByTransaction(connection));
  if (acquired) {
    // Who, and since when by the server's clock, for those who will wait.
    await connection.query(
      `select set_config('application_name', ${quoteLiteral(`${ownApplicationName()} `)} ||
         to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ${pooled}),
         set_config('lock_timeout', '0', ${pooled})`,
    );
  }
  return { taken: acquired, pooled, share: used / allowed, crowded: isCrowded({ used, allowed }) };
}

async function tryLockByTransaction(connection: Connection): Promise<boolean> {
  const { rows } = await connection.query<{ taken: boolean }>(`
    begin isolation level read committed;
    select set_config(name, '0', true) from pg_settings
    where name in ('idle_in_transaction_session_timeout', 'transaction_timeout', 'statement_timeout');
    select pg_try_advisory_xact_lock(${migrationLockKey}) as taken`);
  const taken = rows[0]?.taken === true;
  if (!taken) await connection.query("rollback");
  return taken;
}

function keepLock(connection: Connection, pooled: boolean, crowded: boolean): MigrationLock {
  const lost = new AbortController();
  const lose = () => {
    const { message } = connection.lost.reason as Error;
    lost.abort(
      new ConnectionLost("lock-lost", `the migration lock was lost: ${message}`, { hint }),
    );
  };
  connection.lost.addEventListener("abort", lose, { once: true });
  const watched = connection.within({ limitMs: () => heartbeatTimeoutMs });
  const timer = setInterval(() => {
    // A query that waits for its answer has a limit of its own, and a heartbeat would wait behind it.
    if (!connection.busy()) watched.query("select 1").catch(() => undefined);
  }, heartbeatEveryMs);
  return {
    lost: lost.signal,
    crowded,
    async release() {
      clearInterval(timer);
      connection.lost.removeEventListener("abort", lose);
      if (lost.signal.aborted) return;
      // A server that does not answer releases the lock when it notices that we have gone.
      await connection
        .within({ limitMs: () => releaseTimeoutMs })
        .query(pooled ? "commit" : `select pg_advisory_unlock(${migrationLockKey})`)
        .catch(() => undefined);
      if (pooled) await connection.close();
    },
  };
}
