// What a migration is doing while others wait for it: who blocks it in the database, and how far the index is that it builds.
// Guarantees: it reads only. Queries have no parameters, for the reason given in sessions.ts.

import type { Connection } from "./connection.ts";
import { blockersQuery, describeStatement, waitingMigration, type Session } from "./sessions.ts";

/** An index that is being built in this database, by any session. */
interface IndexBuild {
  readonly pid: number;
  /** With its schema, quoted where SQL wants that; null where it has no name yet. */
  readonly index: string | null;
  readonly table: string;
  /** In PostgreSQL's words: `building index: scanning table`, `waiting for old snapshots`. */
  readonly phase: string;
  /** Of this phase; null where PostgreSQL does not count it. */
  readonly percent: number | null;
}

export interface Activity {
  /** The sessions that block the migration. */
  readonly blockers: readonly Session[];
  readonly builds: readonly IndexBuild[];
}

const none: Activity = { blockers: [], builds: [] };

/** `versionTables`: their names, without a schema. */
export async function findActivity(
  connection: Connection,
  versionTables: readonly string[],
): Promise<Activity> {
  const { rows } = await connection.query<Activity>(`
    select
      (select coalesce(json_agg(b), '[]')
        from (${blockersQuery(waitingMigration(versionTables))}) b) as blockers,
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

/** `it is blocked by pid 7 (…): select 1; pid 9 builds the index i on t: scanning table, 45 %`; empty where there is neither. */
export function describeActivity({ blockers, builds }: Activity): string {
  const parts = builds.map(({ pid, index, table, phase, percent }) => {
    const name = index === null ? "an index" : `the index ${index}`;
    return `pid ${pid} builds ${name} on ${table}: ${phase}${percent === null ? "" : `, ${percent} %`}`;
  });
  if (blockers.length > 0)
    parts.unshift(`it is blocked by ${blockers.map(describeStatement).join(", and by ")}`);
  return parts.join("; ");
}
