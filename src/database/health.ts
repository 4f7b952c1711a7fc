// What the server knows beside the version table, for who asks why a deploy is stuck: who holds the migration lock, who
// blocks the migration, which indexes a failed one has left behind. One round trip where there is none of that, else two;
// reading only, and it waits for nobody.

import type pg from "pg";
import { checkpointsReadable } from "../backfill/checkpoint.ts";
import { blockersQuery, waitingMigration, type Session } from "./blockers.ts";
import { greetedPid, type Connection } from "./connect.ts";
import { lockHolderQuery, migrationLocks, toHolder, type HolderRow } from "./lock.ts";

export interface Health {
  readonly database: string;
  /** A transaction pooler is in between. */
  readonly pooled: boolean;
  /** Who holds the migration lock. */
  readonly holder: Session | null;
  /** For whom a migration waits that runs now. */
  readonly blockedBy: readonly Session[];
  readonly invalidIndexes: readonly InvalidIndex[];
  /** There are checkpoints of backfills. */
  readonly backfills: boolean;
}

/** A CREATE or REINDEX INDEX CONCURRENTLY that failed has left it: it is kept up to date, and never used. */
export interface InvalidIndex {
  /** With its schema, quoted where SQL wants that. */
  readonly name: string;
  readonly table: string;
}

/**
 * Begins a read-only transaction in which no statement takes longer than two seconds, and reads all that. Queries that
 * follow are in it too: a setting of the session would stay behind in a pooler. `versionTable` is without a schema.
 */
export async function readHealth(connection: Connection, versionTable: string): Promise<Health> {
  const { client } = connection;
  // The views that tell more take a backend that has just started 7 ms; mostly all is well.
  const glances = (await client.query(`
    begin read only;
    set local lock_timeout = '1s';
    set local statement_timeout = '2s';
    select current_database() as database, pg_backend_pid() as pid, ${checkpointsReadable} as backfills,
      exists (select from pg_lock_status() l where ${migrationLocks})
        or exists (
          select from pg_stat_get_activity(null) a
          where a.wait_event_type = 'Lock'
            and a.datid = (select oid from pg_database where datname = current_database()))
        or exists (select from pg_index where not indisvalid) as more`)) as unknown as pg.QueryResult<
    Pick<Health, "database" | "backfills"> & { pid: number; more: boolean }
  >[];
  const glance = glances.at(-1)?.rows[0];
  if (glance === undefined) throw new Error("the server gave no row");
  const { database, backfills } = glance;
  const seen = { database, backfills, pooled: glance.pid !== greetedPid(connection) };
  if (!glance.more) return { ...seen, holder: null, blockedBy: [], invalidIndexes: [] };
  const { rows } = await client.query<
    Pick<Health, "blockedBy" | "invalidIndexes"> & { holder: HolderRow | null }
  >(`
    select
      (select row_to_json(h) from (${lockHolderQuery} limit 1) h) as holder,
      (select coalesce(json_agg(b), '[]')
        from (${blockersQuery(waitingMigration(client, versionTable))}) b) as "blockedBy",
      (select coalesce(json_agg(i), '[]') from (${invalidIndexesQuery}) i) as "invalidIndexes"`);
  const [row] = rows;
  if (row === undefined) throw new Error("the server gave no row");
  return { ...seen, ...row, holder: toHolder(row.holder) };
}

/** The indexes that PostgreSQL keeps up to date and never uses, save one that is being built. */
export async function findInvalidIndexes(client: pg.Client): Promise<InvalidIndex[]> {
  const { rows } = await client.query<InvalidIndex>(invalidIndexesQuery);
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
