// What the server knows beside the version table, for who asks why a deploy is stuck: who holds the migration lock, who
// blocks the migration, which indexes a failed one has left behind. One round trip, reading only, and it waits for nobody.

import type pg from "pg";
import { checkpointsReadable } from "../backfill/checkpoint.ts";
import { blockersQuery, waitingMigration, type Session } from "./blockers.ts";
import { greetedPid, type Connection } from "./connect.ts";
import { lockHolderQuery, toHolder, type HolderRow } from "./lock.ts";
import { userTablesExist } from "./version-rows.ts";

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
  /** There are tables besides those that hold revisions. */
  readonly userTables: boolean;
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
  const answers = (await client.query(`
    begin read only;
    set local lock_timeout = '1s';
    set local statement_timeout = '2s';
    select current_database() as database, pg_backend_pid() as pid,
      (select row_to_json(h) from (${lockHolderQuery} limit 1) h) as holder,
      (select coalesce(json_agg(b), '[]')
        from (${blockersQuery(waitingMigration(client, versionTable))}) b) as "blockedBy",
      (select coalesce(json_agg(i), '[]') from (${invalidIndexesQuery}) i) as "invalidIndexes",
      ${checkpointsReadable} as backfills,
      ${userTablesExist("exists (select from pg_attribute v where v.attrelid = c.oid and v.attname = 'version_num')")} as "userTables"`)) as unknown as pg.QueryResult<
    Omit<Health, "holder"> & { pid: number; holder: HolderRow | null }
  >[];
  const row = answers.at(-1)?.rows[0];
  if (row === undefined) throw new Error("the server gave no row");
  const { pid, holder, ...rest } = row;
  return { ...rest, pooled: pid !== greetedPid(connection), holder: toHolder(holder) };
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
