// What survives a SIGKILL: how far each job has come, in a table of a schema of our own, entrypoint.backfill. It is
// written by the statement that updates the rows, so that both are there or neither is. The last job that ends takes
// table and schema away; the application's own schemas are never touched.

import pg from "pg";
import { advisoryHolderQuery, type Session } from "../database/blockers.ts";
import { Failure } from "../exit-codes.ts";
import type { Place } from "./cursor.ts";
import type { BackfillOptions, Job } from "./job.ts";
import type { Plan } from "./plan.ts";

/** Where a job is: in which round, in which table, and behind what there. */
export interface Position {
  /** 0 for the first time through the table; the sweeps after it count on. */
  readonly round: number;
  /** The table's oid; null before the first one. */
  readonly leaf: number | null;
  readonly after: Place | null;
}

export interface Checkpoint {
  readonly position: Position;
  /** Rows that have been updated so far, in all runs. */
  readonly rows: number;
  /** How many there were to be, as it was estimated at the beginning. */
  readonly expected: number;
  /** Whether an earlier run has left it. */
  readonly resumed: boolean;
}

const start: Position = { round: 0, leaf: null, after: null };

const schema = "entrypoint";
const table = `${schema}.backfill`;
/** Held while table and schema are made or taken away: "entrybak" in ASCII. */
const tableLockKey = 0x65_6e_74_72_79_62_61_6bn.toString();

const { escapeLiteral } = pg;

/** Finds the job's checkpoint or makes one. Throws Failure "bad-settings" where another job has the name. */
export async function openCheckpoint(
  client: pg.Client,
  job: Job,
  plan: Plan,
  options: BackfillOptions,
): Promise<Checkpoint> {
  const name = escapeLiteral(job.name);
  try {
    await client.query("begin");
    await client.query(`select pg_advisory_xact_lock(${tableLockKey})`);
    const { rows: found } = await client.query<{ there: boolean }>(
      `select to_regnamespace('${schema}') is not null as there`,
    );
    // With IF NOT EXISTS the privilege would be wanted all the same.
    if (found[0]?.there !== true) await client.query(`create schema ${schema}`);
    await client.query(`
      create table if not exists ${table} (
        name text primary key,
        digest text not null,
        lock_key bigint not null,
        table_name text not null,
        set_list text not null,
        condition text not null,
        position jsonb not null,
        rows bigint not null default 0,
        expected bigint not null,
        started_at timestamptz not null default clock_timestamp(),
        updated_at timestamptz not null default clock_timestamp()
      )`);
    const { rowCount: made } = await client.query(`
      insert into ${table} (name, digest, lock_key, table_name, set_list, condition, position, expected)
      values (${[
        name,
        escapeLiteral(job.digest),
        job.lockKey,
        ...[options.table, options.set, options.where].map((text) => escapeLiteral(text)),
        escapeLiteral(JSON.stringify(start)),
        String(plan.rows),
      ].join(", ")})
      on conflict do nothing`);
    const { rows } = await client.query<{
      digest: string;
      set: string;
      where: string;
      position: Position;
      rows: number;
      expected: number;
    }>(`
      select digest, set_list as set, condition as where, position, rows::float8, expected::float8
      from ${table} where name = ${name}`);
    await client.query("commit");
    const [row] = rows;
    if (row === undefined) throw new Error("the checkpoint that was written is not there");
    const { digest, position, expected } = row;
    if (digest !== job.digest) {
      throw new Failure(
        "bad-settings",
        `another backfill has the name ${job.name}: --set ${row.set} --where ${row.where}`,
        {
          hint: `finish that one, give this one a --name, or give that one up: delete from ${table} where name = ${name}`,
        },
      );
    }
    return { position, rows: row.rows, expected, resumed: made === 0 };
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    await client.query("rollback");
    if (error.code !== "42501") throw error;
    throw new Failure(
      "database-unavailable",
      `cannot keep the backfill's checkpoint in ${table}: ${error.message}`,
      {
        hint: `as the database's owner: create schema if not exists ${schema}; grant usage, create on schema ${schema} to ${client.escapeIdentifier(client.user ?? "public")}`,
        cause: error,
      },
    );
  }
}

/**
 * `update` and the checkpoint behind it, in one statement. It returns `updated` rows, in how many of them the condition
 * holds `again`, and `matching` rows before, where that is asked for.
 * @param matching selects that number.
 */
export function writeWithCheckpoint(
  job: Job,
  update: string,
  position: Position,
  matching: string | null,
): string {
  return (
    `with batch as (${update}), done as (select count(*) as updated, count(*) filter (where again) as again from batch) ` +
    `update ${table} set position = ${escapeLiteral(JSON.stringify(position))}, ` +
    `rows = rows + done.updated, updated_at = clock_timestamp() ` +
    `from done where name = ${escapeLiteral(job.name)} ` +
    `returning done.updated::int, done.again::int, ${matching === null ? "null::int" : `(${matching})::int`} as matching`
  );
}

/** Takes the job's checkpoint away, and the last one table and schema, where they are ours. */
export async function removeCheckpoint(client: pg.Client, job: Job): Promise<void> {
  await client.query(`
    begin;
    select pg_advisory_xact_lock(${tableLockKey});
    delete from ${table} where name = ${escapeLiteral(job.name)};
    do $$
    begin
      if exists (select from ${table}) then return; end if;
      if pg_has_role((select relowner from pg_class where oid = '${table}'::regclass), 'usage') then
        drop table ${table};
      end if;
      if pg_has_role((select nspowner from pg_namespace where nspname = '${schema}'), 'usage')
        and not exists (select from pg_class where relnamespace = '${schema}'::regnamespace) then
        drop schema ${schema};
      end if;
    end $$;
    commit`);
}

/** A backfill that has begun and not ended. */
export interface KnownBackfill {
  readonly name: string;
  readonly table: string;
  readonly set: string;
  readonly where: string;
  /** Rows updated so far, and how many there were to be, as an estimate. */
  readonly rows: number;
  readonly expected: number;
  readonly round: number;
  /** Since the last batch, by the server's clock. */
  readonly idleSeconds: number;
  /** Who is at work on it; null where nobody is. */
  readonly session: Session | null;
}

/** Selects whether there are checkpoints that this role may read. */
export const checkpointsReadable = `
  coalesce(has_table_privilege(to_regclass('${table}'), 'select')
    and has_schema_privilege(to_regnamespace('${schema}'), 'usage'), false)`;

/** Ask only where `checkpointsReadable`, and nothing after it in the same transaction. */
export async function listBackfills(client: pg.Client): Promise<KnownBackfill[]> {
  const answer = client.query<KnownBackfill>(`
    select b.name, b.table_name as "table", b.set_list as set, b.condition as where, b.rows::float8, b.expected::float8,
      (b.position ->> 'round')::int as round,
      round(extract(epoch from clock_timestamp() - b.updated_at))::int as "idleSeconds",
      (
        select row_to_json(s) from (
          ${advisoryHolderQuery("b.lock_key")} limit 1
        ) s
      ) as session
    from ${table} b order by b.name`);
  // The last one may have ended a moment ago, and the table with it (undefined_table, lock_not_available), or what was
  // asked before has failed (in_failed_sql_transaction).
  const { rows } = await answer.catch((error: unknown) => {
    if (["42P01", "55P03", "25P02"].includes((error as { code?: string }).code ?? ""))
      return { rows: [] };
    throw error;
  });
  return rows;
}
