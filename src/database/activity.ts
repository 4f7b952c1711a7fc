// What a migration is at while others wait for it: who keeps it waiting in the database, and how far the index is that it
// builds. Reading only. Queries hold no parameters, for the reason given in blockers.ts.

import type pg from "pg";
import { blockersQuery, describeStatement, waitingMigration, type Session } from "./blockers.ts";

/** An index that is being built in this database, by whomever. */
interface IndexBuild {
  readonly pid: number;
  /** With its schema, quoted where SQL wants that; null where it has no name yet. */
  readonly index: string | null;
  readonly table: string;
  /** In PostgreSQL's words: `building index: scanning table`, `waiting for old snapshots`. */
  readonly phase: string;
  /** Of this phase; null where it does not count. */
  readonly percent: number | null;
}

export interface Activity {
  /** Sessions for which the migration waits. */
  readonly blockers: readonly Session[];
  readonly builds: readonly IndexBuild[];
}

const none: Activity = { blockers: [], builds: [] };

/** `versionTable`: the name of the table, without a schema. */
export async function findActivity(client: pg.Client, versionTable: string): Promise<Activity> {
  const { rows } = await client.query<Activity>(`
    select
      (select coalesce(json_agg(b), '[]')
        from (${blockersQuery(waitingMigration(client, versionTable))}) b) as blockers,
      (select coalesce(json_agg(p), '[]') from (${buildsQuery}) p) as builds`);
  return rows[0] ?? none;
}

const buildsQuery = `
  select p.pid, nullif(p.index_relid, 0)::regclass as index, p.relid::regclass as "table", p.phase,
    floor(100.0 * case
      when p.tuples_total > 0 then least(p.tuples_done::numeric / p.tuples_total, 1)
      when p.blocks_total > 0 then least(p.blocks_done::numeric / p.blocks_total, 1)
      when p.lockers_total > 0 then least(p.lockers_done::numeric / p.lockers_total, 1)
    end)::int as percent
  from pg_stat_progress_create_index p
  where p.datname = current_database() and p.relid <> 0
  order by p.pid`;

/** `it is blocked by pid 7 (…): select 1; pid 9 builds the index i on t: scanning table, 45 %`; empty where nothing is to be said. */
export function describeActivity({ blockers, builds }: Activity): string {
  const parts = builds.map(({ pid, index, table, phase, percent }) => {
    const name = index === null ? "an index" : `the index ${index}`;
    return `pid ${pid} builds ${name} on ${table}: ${phase}${percent === null ? "" : `, ${percent} %`}`;
  });
  if (blockers.length > 0)
    parts.unshift(`it is blocked by ${blockers.map(describeStatement).join(", and by ")}`);
  return parts.join("; ");
}
