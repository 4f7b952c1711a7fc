// What the catalog says before the first row is touched: which tables hold the rows and how each of them is walked, how
// many rows there are, what else an update sets in motion, and whether the whole can ever come to an end. Reads only.

import pg from "pg";
import type { Connection } from "../database/connect.ts";
import { Failure } from "../exit-codes.ts";
import { findRange } from "./batch.ts";
import { updateRange, type Assignment, type Key, type Leaf } from "./cursor.ts";
import { showPlace, type Expressions } from "./expressions.ts";
import { firstSize } from "./pace.ts";
import { formatCount, describeSeconds } from "./progress.ts";

export interface Target {
  readonly oid: number;
  readonly schema: string;
  readonly relation: string;
  /** With its schema, quoted. */
  readonly name: string;
}

export interface Plan {
  readonly target: Target;
  readonly leaves: readonly Leaf[];
  readonly assignment: Assignment;
  /** Whether the server reads a range of pages by their numbers alone. */
  readonly ctidRanges: boolean;
  /** About as many rows fulfil the condition. */
  readonly rows: number;
  /** All of the table's. */
  readonly bytes: number;
  readonly secondsExpected: number;
  readonly triggers: readonly string[];
  readonly indexes: readonly string[];
  /** Those of them that hold an assigned column, so that no update can spare any index. */
  readonly touched: readonly string[];
  readonly explain: readonly string[];
  readonly warnings: readonly string[];
}

interface Relation {
  readonly oid: number;
  readonly name: string;
  readonly kind: string;
  readonly partitionKey: readonly string[];
  readonly pages: number;
  readonly bytes: number;
  readonly key: readonly { name: string; type: string; random: boolean }[] | null;
}

interface Facts {
  readonly defaults: readonly string[];
  readonly insertTriggers: boolean;
  readonly triggers: readonly string[];
  readonly indexes: readonly { name: string; touched: boolean }[];
  readonly notValid: readonly string[];
  readonly rowSecurity: boolean;
}

/** Rows that are updated in a second where there is one index; only for the estimate before the first batch. */
const usualRate = 50_000;
/** Of a partition that has come since it was planned. */
const usualRowsPerPage = 50;
/** Pages that are read to estimate how many rows there are. */
const samplePages = 400;

/** Throws Failure "bad-settings" for a table or an expression that the server does not know. */
export async function findTarget(
  { client }: Connection,
  expressions: Expressions,
): Promise<Target> {
  const { schema, name } = expressions.table;
  const words = (schema === null ? [name] : [schema, name]).map((word) =>
    pg.escapeIdentifier(word),
  );
  const { rows } = await client.query<Target & { standby: boolean }>(
    selectTarget(`to_regclass(${pg.escapeLiteral(words.join("."))})`),
  );
  const [row] = rows;
  if (row === undefined) {
    throw new Failure("bad-settings", `--table: there is no table ${words.join(".")}`, {
      hint: "name its schema where the search path does not lead to it; after a rename give the new name, and the job's with --name",
    });
  }
  const { standby, ...target } = row;
  if (standby) {
    throw new Failure(
      "database-unavailable",
      "this server is a standby, which nobody can write to",
      {
        hint: "set DATABASE_URL to the primary",
      },
    );
  }
  return target;
}

/** The table under the name that it has by now. */
export async function findTargetAgain({ client }: Connection, target: Target): Promise<Target> {
  const { rows } = await client.query<Target>(selectTarget(String(target.oid)));
  return rows[0] ?? target;
}

const selectTarget = (oid: string) => `
  select c.oid, n.nspname as schema, c.relname as relation, format('%I.%I', n.nspname, c.relname) as name,
    pg_is_in_recovery() as standby
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid = ${oid} and c.relkind in ('r', 'p')`;

/** Throws Failure "bad-settings" where the server refuses the expressions, or the table cannot be walked. */
export async function makePlan(
  connection: Connection,
  target: Target,
  expressions: Expressions,
): Promise<Plan> {
  const { client } = connection;
  const assignment: Assignment = {
    alias: expressions.table.name,
    set: expressions.set,
    where: expressions.where,
  };
  await checkExpressions(client, target, assignment);
  const relations = await listRelations(client, target);
  const partitionKey = relations.flatMap((relation) => relation.partitionKey);
  const moving = expressions.columns.find((column) => partitionKey.includes(column));
  if (moving !== undefined) {
    throw new Failure("bad-settings", `--set: ${moving} decides in which partition a row is`, {
      hint: "a backfill goes from partition to partition and moves no row; that needs an UPDATE of its own",
    });
  }
  const version = await serverVersion(client);
  const leaves: Leaf[] = [];
  let rows = 0;
  const bases = relations.filter(({ kind }) => kind === "r");
  for (const relation of bases) {
    const leaf = describeLeaf(relation, expressions.columns, version);
    const sample = await sampleLeaf(client, leaf, assignment, samplePages / bases.length);
    rows += sample.matching;
    leaves.push({ ...leaf, rowsPerPage: sample.rowsPerPage });
  }
  const facts = await readFacts(client, relations, target, expressions.columns);
  const [first] = leaves;
  return Object.freeze({
    target,
    leaves,
    assignment,
    ctidRanges: version >= ctidRangesSince,
    rows,
    bytes: relations.reduce((sum, { bytes }) => sum + bytes, 0),
    secondsExpected: (rows * Math.max(facts.indexes.length, 1)) / usualRate,
    triggers: facts.triggers,
    indexes: facts.indexes.map(({ name }) => name),
    touched: facts.indexes.filter(({ touched }) => touched).map(({ name }) => name),
    explain: first === undefined ? [] : await explainBatch(client, first, assignment),
    warnings: [
      ...describeFilling(facts, expressions),
      ...facts.notValid.map(
        (name) =>
          `the constraint ${name} is NOT VALID, but it holds for every row that is updated, by whomever: validate it or drop it first`,
      ),
      ...(facts.rowSecurity
        ? ["row security hides rows from this role: those are not filled"]
        : []),
      ...relations
        .filter(({ kind }) => kind === "f")
        .map(({ name }) => `${name} is a foreign table: its rows are not filled`),
    ],
  });
}

/** The plan as lines for people, each with its heading. */
export function describePlan(plan: Plan): string[] {
  const { leaves, target, indexes, touched, triggers, explain } = plan;
  const [first] = leaves;
  const walked =
    first === undefined
      ? "it has no partition yet"
      : first.key === null
        ? "by pages"
        : `by its primary key (${first.key.map(({ name }) => name).join(", ")})`;
  const partitions = leaves.length > 1 ? `, ${leaves.length} partitions one after the other` : "";
  const spared =
    touched.length > 0
      ? `: each update writes to all of them, since ${touched.join(", ")} holds an assigned column`
      : ": an update writes to all of them, unless the new version of the row finds room in its page";
  const rows: (readonly [string, readonly string[]])[] = [
    [
      "table",
      [`${target.name}, ${formatCount(plan.bytes / 2 ** 20)} MB, walked ${walked}${partitions}`],
    ],
    ["rows", [`about ${formatCount(plan.rows)}, roughly ${describeSeconds(plan.secondsExpected)}`]],
    ["triggers", [triggers.length === 0 ? "none fires" : triggers.join(", ")]],
    ["indexes", [indexes.length === 0 ? "none" : `${indexes.join(", ")}${spared}`]],
    ["batch", explain],
  ];
  return rows.flatMap(([name, lines]) =>
    lines.map((line, index) => `${(index === 0 ? name : "").padEnd(10)} ${line}`),
  );
}

/** The tables that hold rows at this moment, for another round. */
export async function listLeaves(
  { client }: Connection,
  plan: Plan,
  columns: readonly string[],
): Promise<Leaf[]> {
  const relations = await listRelations(client, plan.target);
  const version = await serverVersion(client);
  return relations
    .filter(({ kind }) => kind === "r")
    .map((relation) => {
      const known = plan.leaves.find(({ oid }) => oid === relation.oid);
      return {
        ...describeLeaf(relation, columns, version),
        rowsPerPage: known?.rowsPerPage ?? usualRowsPerPage,
      };
    });
}

function describeFilling(facts: Facts, { columns }: Expressions): string[] {
  const bare = columns.filter((column) => !facts.defaults.includes(column));
  if (bare.length === 0 || facts.insertTriggers) return [];
  return [
    `nothing in the database fills ${bare.join(", ")} for new rows, neither a default nor a trigger: ` +
      "unless every running version of the application does, the backfill comes to no end",
  ];
}

/** What the server has against the expressions comes with the place in the user's own text. */
async function checkExpressions(
  client: pg.Client,
  target: Target,
  { alias, set, where }: Assignment,
): Promise<void> {
  const before = `explain update ${target.name} as ${pg.escapeIdentifier(alias)} set\n`;
  const between = "\nwhere (\n";
  try {
    await client.query(`${before}${set}${between}${where}\n)`);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    // Privileges are no mistake of the text.
    if (error.code === "42501") throw error;
    // The server counts characters, from 1.
    const characters = Number(error.position ?? 0) - 1;
    const script = Array.from(`${before}${set}${between}${where}\n)`);
    const index = script.slice(0, Math.max(characters, 0)).join("").length - before.length;
    const inWhere = index - set.length - between.length;
    const place =
      characters < 0
        ? ""
        : inWhere >= 0
          ? ` in --where, ${showPlace(where, inWhere)}`
          : ` in --set, ${showPlace(set, Math.max(index, 0))}`;
    throw new Failure(
      "bad-settings",
      `the database refuses the backfill: ${error.message}${place}`,
      {
        hint: "mend the expression; --dry-run shows what would be done",
        cause: error,
        details: { sqlState: error.code },
      },
    );
  }
}

async function listRelations(client: pg.Client, target: Target): Promise<Relation[]> {
  const { rows } = await client.query<Relation>(`
    with recursive tree as (
      select ${target.oid}::oid as oid
      union
      select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.oid
    )
    select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind as kind,
      coalesce((
        select json_agg(a.attname)
        from pg_partitioned_table p join pg_attribute a on a.attrelid = p.partrelid
        where p.partrelid = c.oid and a.attnum = any(p.partattrs)
      ), '[]') as "partitionKey",
      case c.relkind when 'r' then
        (pg_relation_size(c.oid) / current_setting('block_size')::int)::int else 0 end as pages,
      case c.relkind when 'r' then pg_table_size(c.oid) else 0 end::float8 as bytes,
      (
        select json_agg(json_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'random', coalesce(nullif(t.typbasetype, 0), t.oid) = 'uuid'::regtype
          ) order by k.place)
        from pg_index x
          cross join lateral unnest(x.indkey) with ordinality as k (attnum, place)
          join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
          join pg_type t on t.oid = a.atttypid
        where x.indrelid = c.oid and x.indisprimary and x.indisvalid and k.place <= x.indnkeyatts
      ) as key
    from tree join pg_class c using (oid) join pg_namespace n on n.oid = c.relnamespace
    order by c.oid`);
  return rows;
}

async function serverVersion(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ version: number }>(
    "select current_setting('server_version_num')::int as version",
  );
  return rows[0]?.version ?? 0;
}

/** Since PostgreSQL 14 a condition on ctid reads those pages alone. */
const ctidRangesSince = 14_00_00;

function describeLeaf(
  { oid, name, pages, key }: Relation,
  columns: readonly string[],
  version: number,
): Leaf {
  // A key that is assigned would run away from the cursor.
  const usable = key !== null && !key.some((column) => columns.includes(column.name)) ? key : null;
  const random = usable?.some((column) => column.random) ?? true;
  if (random && version < ctidRangesSince && usable === null) {
    throw new Failure("bad-settings", `${name} has no primary key to go along`, {
      hint: "PostgreSQL 14 and newer can go along the pages instead",
    });
  }
  const keyColumns: Key =
    usable === null || (random && version >= ctidRangesSince)
      ? null
      : usable.map((column) => ({ name: column.name, type: column.type }));
  return { oid, name, key: keyColumns, pages, rowsPerPage: 1 };
}

/** Reads some pages: statistics know nothing of a column that is new. */
async function sampleLeaf(
  client: pg.Client,
  leaf: Leaf,
  { alias, where }: Assignment,
  pages: number,
): Promise<{ matching: number; rowsPerPage: number }> {
  if (leaf.pages === 0) return { matching: 0, rowsPerPage: 1 };
  const share = Math.min(Math.max(pages, 1) / leaf.pages, 1);
  const { rows } = await client.query<{ matching: number; all: number; filled: number }>(`
    select count(*)::int as all, (count(*) filter (where (\n${where}\n)))::int as matching,
      count(distinct (ctid::text::point)[0])::int as filled
    from only ${leaf.name} as ${pg.escapeIdentifier(alias)} tablesample system (${share * 100})`);
  const { matching = 0, all = 0, filled = 0 } = rows[0] ?? {};
  // How many pages a sample has is chance: the table's own number counts, unless many of them seem to be empty.
  const pagesFilled = filled < share * leaf.pages * 0.8 ? filled / share : leaf.pages;
  const times = filled === 0 ? 0 : pagesFilled / filled;
  return {
    matching: Math.round(matching * times),
    rowsPerPage: Math.max((all * times) / leaf.pages, 1),
  };
}

async function readFacts(
  client: pg.Client,
  relations: readonly Relation[],
  target: Target,
  columns: readonly string[],
): Promise<Facts> {
  const oids = `array[${relations.map(({ oid }) => oid).join(", ")}]::oid[]`;
  const leaves = `array[${relations.flatMap(({ oid, kind }) => (kind === "r" ? [oid] : [])).join(", ")}]::oid[]`;
  const names = `array[${columns.map((column) => pg.escapeLiteral(column)).join(", ")}]::name[]`;
  const assigned = (relation: string) =>
    `coalesce((select array_agg(a.attnum::int) from pg_attribute a where a.attrelid = ${relation} and a.attname = any(${names})), '{}')`;
  const { rows } = await client.query<Facts>(`
    select
      coalesce((
        select json_agg(a.attname) from pg_attribute a
        where a.attrelid = ${target.oid} and a.attname = any(${names}) and (a.atthasdef or a.attidentity <> '')
      ), '[]') as defaults,
      exists (
        select from pg_trigger t
        where t.tgrelid = any(${oids}) and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & 7 = 7
      ) as "insertTriggers",
      coalesce((
        select json_agg(distinct t.tgname) from pg_trigger t
        where t.tgrelid = any(${leaves}) and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & 16 = 16
          and (t.tgattr::text = '' or t.tgattr::int2[]::int[] && ${assigned("t.tgrelid")})
      ), '[]') as triggers,
      coalesce((
        select json_agg(json_build_object('name', i.relname, 'touched', am.amname <> 'brin' and (
            x.indkey::int2[]::int[] && ${assigned("x.indrelid")}
            or exists (
              select from pg_depend d
              where d.classid = 'pg_class'::regclass and d.objid = i.oid and d.refobjid = x.indrelid
                and d.refobjsubid = any(${assigned("x.indrelid")})
            )
          )) order by i.relname)
        from pg_index x join pg_class i on i.oid = x.indexrelid join pg_am am on am.oid = i.relam
        where x.indrelid = any(${oids})
          and not exists (select from pg_inherits h where h.inhrelid = i.oid)
      ), '[]') as indexes,
      coalesce((
        select json_agg(distinct k.conname) from pg_constraint k
        where k.conrelid = any(${oids}) and k.contype in ('c', 'n') and not k.convalidated
      ), '[]') as "notValid",
      (select coalesce(bool_or(row_security_active(o)), false) from unnest(${leaves}) o) as "rowSecurity"`);
  const [facts] = rows;
  if (facts === undefined) throw new Error("the server gave no row");
  return facts;
}

async function explainBatch(
  client: pg.Client,
  leaf: Leaf,
  assignment: Assignment,
): Promise<string[]> {
  const range = await findRange(client, leaf, null, firstSize);
  const { rows } = await client.query<{ "QUERY PLAN": string }>(
    `explain ${updateRange(leaf, assignment, range)}`,
  );
  return rows.map((row) => row["QUERY PLAN"]);
}
