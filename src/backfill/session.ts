// What a backfill needs besides a connection: settings, and a lock that lasts. With the server itself they are the session's.
// Behind a pooler nobody can be certain to get the same session again, so each statement brings its settings along, and a
// transaction on a connection of its own holds the lock: that is right whatever the pooler pools.

import { ConnectionLost, isPooled, type Connection } from "../postgres/connection.ts";
import { Failure } from "../failure.ts";
import type { Log } from "../context.ts";
import { isRefusal } from "../postgres/errors.ts";
import { quoteLiteral } from "../postgres/names.ts";
import { configureSession, keepalives } from "../postgres/session-settings.ts";

type Settings = Readonly<Record<string, string>>;

export interface BackfillSession {
  readonly connection: Connection;
  /** Sets for each statement from now on what the server has of these settings. */
  readonly configure: (settings: Settings) => Promise<void>;
  /** Whether it has the lock now. @param name by which a session can be seen that holds nothing but the lock. */
  readonly tryLock: (key: string, name: string) => Promise<boolean>;
  /** Throws ConnectionLost where the lock is gone. */
  readonly requireLock: () => void;
  close(): Promise<void>;
}

/** @param open opens a connection, the first one and, behind a pooler, another one for the lock. */
export async function openSession(
  open: () => Promise<Connection>,
  log: Log,
): Promise<BackfillSession> {
  const connection = await open();
  if (await isPooled(connection)) {
    log.warn(
      { event: "pooler" },
      "The database is reached through a pooler: an open transaction holds the backfill's lock, on a connection of its own; a direct URL is safer",
    );
    return openPooledSession(connection, open);
  }
  return {
    connection,
    configure: (settings) => configureSession(connection, settings),
    async tryLock(key) {
      const { rows } = await connection.query<{ acquired: boolean }>(
        `select pg_try_advisory_lock(${key}) as acquired`,
      );
      return rows[0]?.acquired === true;
    },
    // It is the connection's own.
    requireLock: () => undefined,
    close: () => connection.close(),
  };
}

/** A pooler that has no second connection by then has none. */
const secondConnectionMs = 5_000;
/** A pooler may end a transaction that idles. */
const heartbeatEveryMs = 5_000;
const heartbeatTimeoutMs = 10_000;

/** What is about a session, and nothing to a transaction. */
const ofSession = [
  ...Object.keys(keepalives),
  "client_connection_check_interval",
  "idle_session_timeout",
  "application_name",
  "default_transaction_isolation",
];

function openPooledSession(
  connection: Connection,
  open: () => Promise<Connection>,
): BackfillSession {
  const settings = new Map<string, string>();
  let holder: Connection | null = null;
  let heartbeat: NodeJS.Timeout | undefined;
  return {
    connection: bringSettings(connection, settings),
    async configure(given) {
      const names = Object.keys(given)
        .filter((name) => !ofSession.includes(name))
        .map((name) => quoteLiteral(name));
      const { rows } = await connection.query<{ name: string }>(
        `select name from pg_settings where name in (${names.join(", ")}) and context = 'user'`,
      );
      for (const { name } of rows) settings.set(name, given[name] ?? "");
    },
    async tryLock(key, name) {
      holder ??= await open();
      // A pool of sessions may have none for it, and one of transactions none for what is beside it.
      await requireSecond(holder);
      const { rows } = await holder.query<{ acquired: boolean }>(`
        begin isolation level read committed;
        select set_config(name, '0', true) from pg_settings
        where name in ('idle_in_transaction_session_timeout', 'transaction_timeout', 'statement_timeout');
        select set_config('application_name', ${quoteLiteral(name)}, true);
        select pg_try_advisory_xact_lock(${key}) as acquired`);
      const acquired = rows[0]?.acquired === true;
      if (!acquired) {
        await holder.query("rollback");
        return false;
      }
      await requireSecond(connection);
      const watched = holder.within({ limitMs: () => heartbeatTimeoutMs });
      heartbeat = setInterval(() => {
        // Where it fails, the connection is lost.
        if (!watched.busy()) watched.query("select 1").catch(() => undefined);
      }, heartbeatEveryMs).unref();
      return true;
    },
    requireLock() {
      if (holder === null || !holder.lost.aborted) return;
      const reason = holder.lost.reason as Error;
      throw new ConnectionLost(
        "database-unavailable",
        `the connection that holds the backfill's lock was lost: ${reason.message}`,
        { cause: reason, hint: "run the same command again: it continues from the last batch" },
      );
    },
    async close() {
      clearInterval(heartbeat);
      await holder?.close();
      await connection.close();
    },
  };
}

/** Throws Failure "database-unavailable" where the pooler has no server connection for this one. */
async function requireSecond(connection: Connection): Promise<void> {
  try {
    await connection
      .within({ limitMs: () => secondConnectionMs, code: "lock-timeout" })
      .query("select 1");
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "lock-timeout") throw error;
    throw new Failure(
      "database-unavailable",
      `the pooler gives no second server connection beside the one whose transaction holds the backfill's lock: none in ${secondConnectionMs / 1000} s`,
      {
        cause: error,
        hint: "raise the pooler's pool size (default_pool_size, pool_size) to 2 or more, or use a direct URL",
      },
    );
  }
}

/** Each statement is a transaction of its own with these settings, unless it is in one that `begin` has begun. */
function bringSettings(connection: Connection, settings: ReadonlyMap<string, string>): Connection {
  let begun = false;
  const wrap = (inner: Connection): Connection => ({
    async query(sql, values) {
      if (values !== undefined) throw new Error("behind a pooler a statement has no parameters");
      const [word = ""] = /^\s*(?:begin|commit|rollback)(?=\s*$)/.exec(sql) ?? [];
      if (word !== "") {
        begun = word.trim() === "begin";
        return inner.query(sql);
      }
      const local = [...settings].map(
        ([name, value]) => `set local ${name} = ${quoteLiteral(value)}; `,
      );
      const isolation = begun ? "" : "set transaction isolation level read committed; ";
      const before = `${isolation}${local.join("")}`;
      try {
        return await inner.query(`${before}${sql}`);
      } catch (error) {
        if (isRefusal(error) && error.position !== undefined)
          error.position = String(Number(error.position) - before.length);
        throw error;
      }
    },
    busy: () => inner.busy(),
    within: (limits) => wrap(inner.within(limits)),
    lost: inner.lost,
    greetedPid: inner.greetedPid,
    user: inner.user,
    close: () => inner.close(),
  });
  return wrap(connection);
}
