// What survives a SIGKILL: the progress of each job, in a table of its own schema, entrypoint.backfill. The statement
// that updates the rows writes it too: both are committed or neither is. The last job that ends drops the table and the
// schema; the application's schemas are never touched.

import { isRefusal } from "../postgres/errors.ts";
import type { Connection } from "../postgres/connection.ts";
import { advisoryHolderQuery, type Session } from "../postgres/sessions.ts";
import { Failure } from "../failure.ts";
import { quoteLiteral, quoteName } from "../postgres/names.ts";
import type { Bound } from "./cursor.ts";
import type { BackfillOptions } from "../settings/settings.ts";
import type { Job } from "./job.ts";

/** Where a job is: in which round, in which table, and behind what there. */
export interface Position {
  /** 0 for the first pass over the table, then the number of the sweep. */
  readonly round: number;
  /** The table's oid; null before the first one. */
  readonly leaf: number | null;
  readonly after: Bound | null;
  /** About how many rows have been read in this round; earlier versions did not count them. */
  readonly read?: number;
}

export interface Checkpoint {
  readonly position: Position;
  /** Rows that have been updated so far, in all runs. */
  readonly rows: number;
  /** How many there would be, as it was estimated at the beginning. */
  readonly expected: number;
  /** Whether an earlier run left it. */
  readonly resumed: boolean;
}

const start: Position = { round: 0, leaf: null, after: null };

const schema = "entrypoint";
const tableName = "backfill";
const table = `${schema}.${tableName}`;
/** Held while table and schema are created or dropped: "entrybak" in ASCII. */
const tableLockKey = 0x65_6e_74_72_79_62_61_6bn.toString();

/**
 * Finds the job's checkpoint or creates one.
 * @param expected how many rows there are to update. Throws Failure "bad-settings" where another job has the name.
 */
export async function openCheckpoint(
  connection: Connection,
  job: Job,
  expected: number,
  options: BackfillOptions,
): Promise<Checkpoint> {
  const name = quoteLiteral(job.name);
  try {
    await connection.query("begin");
    await connection.query(`select pg_advisory_xact_lock(${tableLockKey})`);
    const { rows: found } = await connection.query<{ there: boolean }>(
      `select to_regnamespace('${schema}') is not null as there`,
    );
    // IF NOT EXISTS would need the privilege even where the schema exists.
    if (found[0]?.there !== true) await connection.query(`create schema ${schema}`);
    await connection.query(`
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
    const { rowCount: made } = await connection.query(`
      insert into ${table} (name, digest, lock_key, table_name, set_list, condition, position, expected)
      values (${[
        name,
        quoteLiteral(job.digest),
        job.lockKey,
        ...[options.table, options.set, options.where].map((text) => quoteLiteral(text)),
        quoteLiteral(JSON.stringify(start)),
        String(expected),
      ].join(", ")})
      on conflict do nothing`);
    const { rows } = await connection.query<{
      digest: string;
      set: string;
      where: string;
      position: Position;
      rows: number;
      expected: number;
    }>(`
      select digest, set_list as set, condition as where, position, rows::float8, expected::float8
      from ${table} where name = ${name}`);
    await connection.query("commit");
    const [row] = rows;
    if (row === undefined) throw new Error("the checkpoint that was written is missing");
    const { digest, position } = row;
    if (digest !== job.digest) {
      throw new Failure(
        "bad-settings",
        `another backfill has the name ${job.name}: --set ${row.set} --where ${row.where}`,
        {
          hint: `finish that one, give this one a --name, or abandon that one: ${abandonStatement(job)}`,
        },
      );
    }
    return { position, rows: row.rows, expected: row.expected, resumed: made === 0 };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    await connection.query("rollback");
    if (error.code !== "42501") throw error;
    throw new Failure(
      "database-unavailable",
      `cannot save the backfill's checkpoint in ${table}: ${error.message}`,
      {
        hint: `as the database's owner: create schema if not exists ${schema}; grant usage, create on schema ${schema} to ${quoteName(connection.user)}`,
        cause: error,
      },
    );
  }
}

/** SQL that gives a backfill up. */
export function abandonStatement({ name }: Job): string {
  return `delete from ${table} where name = ${quoteLiteral(name)}`;
}

/**
 * `update` and the checkpoint behind it, in one statement. It returns how many rows were `updated`, in how many of them
 * the condition holds `again`, and how many were `matching` before.
 * @param matching selects that number; null: it is not needed.
 */
export function writeWithCheckpoint(
  job: Job,
  update: string,
  position: Position,
  matching: string | null,
): string {
  return (
    `with batch as (${update}), done as (select count(*) as updated, count(*) filter (where again) as again from batch) ` +
    `update ${table} set position = ${quoteLiteral(JSON.stringify(position))}, ` +
    `rows = rows + done.updated, updated_at = clock_timestamp() ` +
    `from done where name = ${quoteLiteral(job.name)} ` +
    `returning done.updated::int, done.again::int, ${matching === null ? "null::int" : `(${matching})::int`} as matching`
  );
}

/** Deletes the job's checkpoint and, after the last one, table and schema, where this role owns them. */
export async function removeCheckpoint(connection: Connection, job: Job): Promise<void> {
  await connection.query(`
    begin;
    select pg_advisory_xact_lock(${tableLockKey});
    ${abandonStatement(job)};
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

/** A backfill that began and has not ended. */
export interface KnownBackfill {
  readonly name: string;
  readonly table: string;
  readonly set: string;
  readonly where: string;
  /** Rows updated so far, and the estimate of all. */
  readonly rows: number;
  readonly expected: number;
  readonly round: number;
  /** Since the last batch, by the server's clock. */
  readonly idleSeconds: number;
  /** The session that runs it; null where none does. */
  readonly session: Session | null;
}

/** An expression: whether there are checkpoints, and whether this role may read them. */
export const checkpointsFound = `
  coalesce((
    select case when has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') then 'readable' else 'hidden' end
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = '${schema}' and c.relname = '${tableName}'
  ), 'none')`;

/** Only where they are readable, and as the last query of its transaction. Null where they cannot be read now. */
export async function listBackfills(
  connection: Connection,
): Promise<readonly KnownBackfill[] | null> {
  const query = connection.query<KnownBackfill>(`
    select b.name, b.table_name as "table", b.set_list as set, b.condition as where, b.rows::float8, b.expected::float8,
      (b.position ->> 'round')::int as round,
      round(extract(epoch from clock_timestamp() - b.updated_at))::int as "idleSeconds",
      (
        select row_to_json(s) from (
          ${advisoryHolderQuery("b.lock_key")} limit 1
        ) s
      ) as session
    from ${table} b order by b.name`);
  const { rows } = await query.catch((error: unknown) => {
    const { code = "" } = error as { code?: string };
    // The last one has ended a moment ago, and the table with it (undefined_table).
    if (code === "42P01") return { rows: [] };
    // It is being dropped (lock_not_available), or an earlier query failed (in_failed_sql_transaction).
    if (["55P03", "25P02"].includes(code)) return { rows: null };
    throw error;
  });
  return rows;
}
