// What the server knows beside the version table about a deploy that is stuck: who holds the migration lock, who blocks the
// migration, which indexes a failed one has left behind. Guarantees: it reads only, and waits for nobody; one round trip
// where there is none of that, else two.

import type { Connection } from "./connection.ts";
import { blockersQuery, waitingMigration, type Session } from "./sessions.ts";
import { lockHolderQuery, migrationLocks, toHolder, type HolderRow } from "./migration-lock.ts";

export interface Health {
  readonly database: string;
  /** A pooler is in between. */
  readonly pooled: boolean;
  /** Who holds the migration lock. */
  readonly holder: Session | null;
  /** The sessions that block a migration which runs now. */
  readonly blockedBy: readonly Session[];
  readonly invalidIndexes: readonly InvalidIndex[];
  /** Of backfills: there are none, they may be read, or this role may not. */
  readonly checkpoints: "none" | "readable" | "hidden";
}

/** Left behind by a CREATE or REINDEX INDEX CONCURRENTLY that failed: PostgreSQL keeps it up to date, and never uses it. */
export interface InvalidIndex {
  /** With its schema, quoted where SQL wants that. */
  readonly name: string;
  readonly table: string;
}

/** A transaction that only reads, and in which no statement takes longer than two seconds. */
export const beginReading = `begin read only;
    set local lock_timeout = '1s';
    set local statement_timeout = '2s'`;

/**
 * Begins a read-only transaction in which no statement takes longer than two seconds, and reads all that. Queries that
 * follow are in it too: a setting of the session would stay behind in a pooler.
 * @param versionTables their names, without a schema.
 * @param checkpoints an expression in SQL with that answer.
 */
export async function readHealth(
  connection: Connection,
  versionTables: readonly string[],
  checkpoints: string,
): Promise<Health> {
  // The views that say more take a backend that has just started 7 ms; mostly all is well.
  const { rows: glances } = await connection.query<
    Pick<Health, "database" | "checkpoints"> & { pid: number; more: boolean }
  >(`
    ${beginReading};
    select current_database() as database, pg_backend_pid() as pid, ${checkpoints} as checkpoints,
      exists (select from pg_lock_status() l where ${migrationLocks})
        or exists (
          select from pg_stat_get_activity(null) a
          where a.wait_event_type = 'Lock'
            and a.datid = (select oid from pg_database where datname = current_database()))
        or exists (select from pg_index where not indisvalid) as more`);
  const [glance] = glances;
  if (glance === undefined) throw new Error("the server gave no row");
  const seen = {
    database: glance.database,
    checkpoints: glance.checkpoints,
    pooled: glance.pid !== connection.greetedPid,
  };
  if (!glance.more) return { ...seen, holder: null, blockedBy: [], invalidIndexes: [] };
  const { rows } = await connection.query<
    Pick<Health, "blockedBy" | "invalidIndexes"> & { holder: HolderRow | null }
  >(`
    select
      (select row_to_json(h) from (${lockHolderQuery} limit 1) h) as holder,
      (select coalesce(json_agg(b), '[]')
        from (${blockersQuery(waitingMigration(versionTables))}) b) as "blockedBy",
      (select coalesce(json_agg(i), '[]') from (${invalidIndexesQuery}) i) as "invalidIndexes"`);
  const [row] = rows;
  if (row === undefined) throw new Error("the server gave no row");
  return { ...seen, ...row, holder: toHolder(row.holder) };
}

/** The invalid indexes, but for those that are being built. */
export async function findInvalidIndexes(connection: Connection): Promise<InvalidIndex[]> {
  const { rows } = await connection.query<InvalidIndex>(invalidIndexesQuery);
  return rows;
}

/** One that is being built now is not valid either. A partitioned index may stay so for good reasons. */
const invalidIndexesQuery = `
  select format('%I.%I', n.nspname, c.relname) as name, format('%I.%I', tn.nspname, t.relname) as "table"
  from pg_index x
    join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
    join pg_class t on t.oid = x.indrelid join pg_namespace tn on tn.oid = t.relnamespace
  where not x.indisvalid and c.relkind = 'i'
    and not exists (select from pg_stat_progress_create_index p where p.index_relid = x.indexrelid)
  order by 1`;
