// The sessions that matter to a migration: those that block it, and those that an earlier one left behind. Guarantees: it
// reads only, and cancels nobody. Queries have no parameters: behind a pooler the session of the migration lock is in an open
// transaction, where the extended protocol would keep a snapshot for which CREATE INDEX CONCURRENTLY waits.

import { quoteLiteral } from "./names.ts";
import type { Connection } from "./connection.ts";
import { ownApplicationName } from "./connect.ts";

/** A session, as people need it to find whose it is. Times are in seconds, by the server's clock. */
export interface Session {
  readonly pid: number;
  readonly application: string;
  readonly user: string;
  /** Null for a Unix socket. */
  readonly address: string | null;
  /** Since its connection, or since its transaction began where it is in one; null where this role may not see it. */
  readonly forSeconds: number | null;
  readonly state: string;
  /** The first 80 characters; empty for an entrypoint, whose looks and heartbeats say nothing of what it is at. */
  readonly query: string;
}

/** The select list that gives a Session, over `pg_stat_activity a`. */
export const sessionColumns = `
  a.pid,
  coalesce(a.application_name, '') as application,
  coalesce(a.usename, '') as "user",
  host(a.client_addr) as address,
  round(extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.backend_start)))::int as "forSeconds",
  coalesce(a.state, '') as state,
  case when a.application_name like 'entrypoint %' then ''
    else left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 80) end as query`;

/** Of the rows `l` of pg_locks, those that are an advisory lock of this database. @param key a bigint, as SQL. */
export function isAdvisoryLock(key: string): string {
  return `l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())
      and ((l.classid::bigint << 32) | l.objid::bigint) = ${key}`;
}

/** Selects the session that holds an advisory lock of this database. @param key a bigint, as SQL. */
export function advisoryHolderQuery(key: string, columns = sessionColumns): string {
  return `
    select ${columns}
    from pg_locks l join pg_stat_activity a using (pid)
    where ${isAdvisoryLock(key)}`;
}

/**
 * The sessions that hold an advisory lock of this database and are older than `olderMs`; null: only while another session waits
 * for the lock. @param key a bigint, as SQL.
 */
export async function findAdvisoryHolders(
  connection: Connection,
  key: string,
  olderMs: number | null,
): Promise<readonly Session[]> {
  const condition =
    olderMs === null
      ? `exists (select from pg_locks v where not v.granted and (v.locktype, v.database, v.classid, v.objid, v.objsubid)
          = (l.locktype, l.database, l.classid, l.objid, l.objsubid))`
      : `a.backend_start < clock_timestamp() - interval '${Math.round(olderMs)} ms'`;
  const { rows } = await connection.query<Session>(
    `${advisoryHolderQuery(key)} and ${condition} order by a.pid`,
  );
  return rows;
}

/** Selects the sessions that block others: those `m` of pg_stat_activity for which the condition `waiting` holds. */
export function blockersQuery(waiting: string): string {
  return `
    select ${sessionColumns}
    from pg_stat_activity a
    where a.pid in (
      select unnest(pg_blocking_pids(m.pid)) from pg_stat_activity m
      where m.datname = current_database() and ${waiting} and m.wait_event_type = 'Lock')
    order by a.pid`;
}

/** The table locks that only DDL takes, and the locks for which CREATE INDEX CONCURRENTLY waits. */
const ddlLock = `v.locktype in ('relation', 'virtualxid') and v.mode in ('ShareUpdateExclusiveLock',
  'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`;

/**
 * The condition by which a session `m` of pg_stat_activity that waits is a migration's: its name or, since asyncpg and
 * pg8000 ignore PGAPPNAME, what it waits for, or a table lock on the version table.
 */
export function waitingMigration(versionTables: readonly string[]): string {
  return `(${named("m")} or ${hasVersionTable(versionTables, "m")} or exists (
    select from pg_locks v where v.pid = m.pid and not v.granted and ${ddlLock}))`;
}

function named(session: string): string {
  return `${session}.application_name like '${migrationApplicationPrefix}%'`;
}

/**
 * Idle for some seconds, without a transaction and without a lock: a pooler keeps the session open, with the name that a
 * migration which has ended gave to it.
 */
const atRest = `(a.state = 'idle' and clock_timestamp() - a.state_change > '5 s'
  and not exists (select from pg_locks l where l.pid = a.pid))`;

/** A migration that has read the version table keeps a table lock on it until its transaction ends. Entrypoints read it too. */
function hasVersionTable(versionTables: readonly string[], session: string): string {
  return `(${session}.application_name not like 'entrypoint %' and exists (
    select from pg_locks v join pg_class c on c.oid = v.relation
    where v.pid = ${session}.pid and v.database = ${session}.datid
      and c.relname in (${versionTables.map(quoteLiteral).join(", ")})))`;
}

/**
 * A session without a name, as asyncpg and pg8000 leave it, of our own role, whose DDL holds a table lock or waits for one. In
 * an autocommit block that may be all that is seen of a migration: CREATE INDEX CONCURRENTLY changes nothing for minutes. A
 * table of its own (pg_temp) is nobody else's business.
 */
const unnamedDdl = `(a.state = 'active' and a.application_name = '' and a.usename = session_user
  and a.query ~* '^([[:space:]]|/[*].*?[*]/|--[^\\n]*\\n)*(create|drop|alter|reindex)[[:>:]]' and exists (
    select from pg_locks v join pg_class c on c.oid = v.relation
    where v.pid = a.pid and v.database = a.datid and c.relpersistence <> 't' and ${ddlLock}))`;

/**
 * The backends of a migration, wherever its client is now: to whoever holds the migration lock they are orphans. One without
 * a name counts if it has changed something and runs a statement: a session whose client is gone does not idle in a
 * transaction for long, and one that only reads (pg_dump) blocks nobody. `versionTables`: their names, without a schema.
 */
export async function findOrphans(
  connection: Connection,
  versionTables: readonly string[],
): Promise<Session[]> {
  const { rows } = await connection.query<Session>(`
    select ${sessionColumns}
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid()
      and ((${named("a")} and not ${atRest}) or (a.state = 'active' and a.backend_xid is not null
        and ${hasVersionTable(versionTables, "a")}) or ${unnamedDdl})
    order by a.pid`);
  return rows;
}

/** Who is connected to the database besides ourselves. */
export interface Clients {
  /** Our own role. */
  readonly role: string;
  /** Sessions of that role, and other replicas' entrypoints, which would migrate up again. */
  readonly own: readonly Session[];
  /** Sessions of other roles. */
  readonly others: readonly Session[];
}

/** The sessions that may need what a downgrade takes away, and those that are not taken for that. */
export async function findClients(connection: Connection): Promise<Clients> {
  const ours = quoteLiteral(`${ownApplicationName()}%`);
  // A role that may not see another one's sessions sees whose they are, and no more.
  const { rows } = await connection.query<Session & { own: boolean }>(`
    select ${sessionColumns},
      a.usename = current_user or coalesce(a.application_name, '') like 'entrypoint %' as own
    from pg_stat_activity a
    where a.datname = current_database() and a.usename is not null
      and coalesce(a.backend_type, 'client backend') = 'client backend'
      and a.pid <> pg_backend_pid() and coalesce(a.application_name, '') not like ${ours}
    order by a.pid`);
  const { rows: roles } = await connection.query<{ role: string }>("select current_user as role");
  const found = { own: [] as Session[], others: [] as Session[] };
  for (const { own, ...session } of rows) found[own ? "own" : "others"].push(session);
  return { role: roles[0]?.role ?? "", ...found };
}

/** How a migration's sessions are named: PGAPPNAME. PostgreSQL keeps 63 bytes. */
export const migrationApplicationPrefix = "entrypoint-migration ";

/** `pid 4242 (entrypoint web-3, user blog, from 10.0.0.7, for 312 s)` */
export function describeSession(session: Session): string {
  if (session.forSeconds === null) {
    return `pid ${session.pid} (user ${session.user}, the rest is not visible to this role: grant pg_monitor to it)`;
  }
  const from = session.address === null ? "a local socket" : session.address;
  const application = session.application === "" ? "no application name" : session.application;
  return `pid ${session.pid} (${application}, user ${session.user}, from ${from}, for ${session.forSeconds} s)`;
}

/** The same with what it does: `pid 4242 (…): select 1` */
export function describeStatement(session: Session): string {
  const { forSeconds, query } = session;
  return `${describeSession(session)}${forSeconds === null || query === "" ? "" : `: ${query}`}`;
}
