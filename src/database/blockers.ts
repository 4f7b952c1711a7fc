// Who stands in the way: the sessions that a running migration waits for, and the backends that an earlier
// one left behind. Reading only; nobody is cancelled. Queries hold no parameters: behind a pooler the lock's
// session is in an open transaction, where the extended protocol would keep a snapshot for which
// CREATE INDEX CONCURRENTLY waits.

import type pg from "pg";
import { ownApplicationName } from "./connect.ts";

/** One session as people need it to find the culprit. Times are in seconds, by the server's clock. */
export interface Session {
  readonly pid: number;
  readonly application: string;
  readonly user: string;
  /** Null for a Unix socket. */
  readonly address: string | null;
  /** Since its connection, or since its transaction began where it is in one. */
  readonly forSeconds: number;
  readonly state: string;
  /** The first 80 characters. */
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
  left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 80) as query`;

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

/** Selects the sessions for which others wait, those `m` of pg_stat_activity that are `waiting`. */
export function blockersQuery(waiting: string): string {
  return `
    select ${sessionColumns}
    from pg_stat_activity a
    where a.pid in (
      select unnest(pg_blocking_pids(m.pid)) from pg_stat_activity m
      where m.datname = current_database() and ${waiting} and m.wait_event_type = 'Lock')
    order by a.pid`;
}

/** Locks of tables that only DDL takes, and those for which CREATE INDEX CONCURRENTLY waits. */
const ddlLock = `v.locktype in ('relation', 'virtualxid') and v.mode in ('ShareUpdateExclusiveLock',
  'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`;

/**
 * The condition by which a session `m` of pg_stat_activity that waits is a migration's: by its name or, since asyncpg and
 * pg8000 ignore PGAPPNAME, by what it waits for, or by a lock on the version table.
 */
export function waitingMigration(client: pg.Client, versionTable: string): string {
  return `(${named("m")} or ${hasVersionTable(client, versionTable, "m")} or exists (
    select from pg_locks v where v.pid = m.pid and not v.granted and ${ddlLock}))`;
}

function named(session: string): string {
  return `${session}.application_name like '${migrationApplicationPrefix}%'`;
}

/** Alembic locks the table from its first look at it to the end of the transaction. Entrypoints look at it too. */
function hasVersionTable(client: pg.Client, versionTable: string, session: string): string {
  return `(${session}.application_name not like 'entrypoint %' and exists (
    select from pg_locks v join pg_class c on c.oid = v.relation
    where v.pid = ${session}.pid and v.database = ${session}.datid
      and c.relname = ${client.escapeLiteral(versionTable)}))`;
}

/**
 * Backends of a migration, wherever its client is now. Ask while holding the lock: then they are orphans. Of those without a
 * name it must have changed something, and run a statement: a session whose client has gone is not idle in a transaction
 * for long, and who only reads (pg_dump) is in nobody's way. `versionTable`: its name, without a schema.
 */
export async function findOrphans(client: pg.Client, versionTable: string): Promise<Session[]> {
  const { rows } = await client.query<Session>(`
    select ${sessionColumns}
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid()
      and (${named("a")} or (a.state = 'active' and a.backend_xid is not null
        and ${hasVersionTable(client, versionTable, "a")}))
    order by a.pid`);
  return rows;
}

/**
 * Who else is connected and may be in need of what a downgrade takes away: sessions of our own role, and other replicas'
 * entrypoints, which would migrate up again.
 */
export async function findClients(client: pg.Client): Promise<Session[]> {
  const own = client.escapeLiteral(`${ownApplicationName()}%`);
  const { rows } = await client.query<Session>(`
    select ${sessionColumns}
    from pg_stat_activity a
    where a.datname = current_database() and a.backend_type = 'client backend'
      and (a.usename = current_user or a.application_name like 'entrypoint %')
      and a.pid <> pg_backend_pid() and a.application_name not like ${own}
    order by a.pid`);
  return rows;
}

/** How a migration's sessions are named: PGAPPNAME. PostgreSQL keeps 63 bytes. */
export const migrationApplicationPrefix = "entrypoint-migration ";

/** `pid 4242 (entrypoint web-3, user blog, from 10.0.0.7, for 312 s)` */
export function describeSession(session: Session): string {
  const from = session.address === null ? "a local socket" : session.address;
  const application = session.application === "" ? "no application name" : session.application;
  return `pid ${session.pid} (${application}, user ${session.user}, from ${from}, for ${session.forSeconds} s)`;
}

/** The same with what it does: `pid 4242 (…): select 1` */
export function describeStatement(session: Session): string {
  return `${describeSession(session)}: ${session.query}`;
}
