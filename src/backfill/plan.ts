// What the catalog says before the first row is updated: which tables hold the rows and how each of them is walked, how
// many rows there are, which triggers and indexes an update involves, and whether the backfill can end. Reads only.

import { isRefusal } from "../postgres/errors.ts";
import type { Connection } from "../postgres/connection.ts";
import { quoteLiteral, quoteName, quoteRelation } from "../postgres/names.ts";
import { Failure } from "../failure.ts";
import { findRange } from "./batch.ts";
import { updateRange, type Assignment, type Key, type Leaf } from "./cursor.ts";
import { showPosition, type Expressions } from "./expressions.ts";
import { firstSize } from "./pace.ts";
import { formatCount, describeSeconds } from "../log/words.ts";

/** The table that is backfilled. */
export interface TargetTable {
  readonly oid: number;
  readonly schema: string;
  readonly relation: string;
  /** With its schema, quoted. */
  readonly name: string;
}

export interface Plan {
  readonly target: TargetTable;
  readonly leaves: readonly Leaf[];
  readonly assignment: Assignment;
  readonly serverMajor: number;
  /** Whether the server reads only the pages of a range of pages. */
  readonly ctidRanges: boolean;
  /** How many rows fulfil the condition, as an estimate. */
  readonly rows: number;
  /** How many there are to read, as an estimate. */
  readonly rowsRead: number;
  /** Of the whole table. */
  readonly bytes: number;
  readonly secondsExpected: number;
  readonly triggers: readonly string[];
  readonly indexes: readonly string[];
  /** Those of them that contain an assigned column: each update then writes to every index. */
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
  /** The columns that are never left NULL by an INSERT that does not name them. */
  readonly defaults: readonly string[];
  readonly insertTriggers: boolean;
  readonly triggers: readonly string[];
  readonly indexes: readonly { name: string; touched: boolean }[];
  readonly notValid: readonly string[];
}

/** Rows a second with one index; only for the estimate before the first batch. */
const usualRate = 50_000;
/** Rows read a second, once by the batches and once by the last look for a row that is left. */
const usualReadRate = 1_000_000;
/** Of a partition that was created after the plan. */
const usualRowsPerPage = 50;
/** Pages that are read to estimate how many rows there are. */
const samplePages = 400;

/** Throws Failure "bad-settings" for a table or an expression that the server does not know. */
export async function findTarget(
  connection: Connection,
  expressions: Expressions,
): Promise<TargetTable> {
  const name = quoteRelation(expressions.table);
  const { rows } = await connection.query<TargetTable & { standby: boolean; hidden: boolean }>(
    selectTarget(`to_regclass(${quoteLiteral(name)})`),
  );
  const [row] = rows;
  if (row === undefined) throw await explainMissing(connection, name);
  const { standby, hidden, ...target } = row;
  if (standby) {
    throw new Failure("database-unavailable", "this server is a standby: it is read-only", {
      hint: "set DATABASE_URL to the primary",
    });
  }
  if (hidden) {
    throw new Failure(
      "bad-settings",
      `row security may hide rows of ${target.name} from this role: they would not be filled`,
      {
        hint: "run it as a role that has BYPASSRLS, or as the table's owner without FORCE ROW LEVEL SECURITY",
      },
    );
  }
  return target;
}

const kinds: Readonly<Record<string, string>> = {
  v: "a view",
  m: "a materialized view",
  f: "a foreign table",
};

async function explainMissing(connection: Connection, name: string): Promise<Failure> {
  const { rows } = await connection.query<{ kind: string }>(
    `select relkind as kind from pg_class where oid = to_regclass(${quoteLiteral(name)})`,
  );
  const kind = kinds[rows[0]?.kind ?? ""];
  if (kind !== undefined) {
    return new Failure("bad-settings", `--table: ${name} is ${kind}`, {
      hint: "name the table that holds its rows, in the database that holds it",
    });
  }
  return new Failure("bad-settings", `--table: there is no table ${name}`, {
    hint: "give its schema if it is not in the search path; after a rename give the new name, and the name of the job with --name",
  });
}

/** The table under its present name. */
export async function findTargetAgain(
  connection: Connection,
  target: TargetTable,
): Promise<TargetTable> {
  const { rows } = await connection.query<TargetTable>(selectTarget(String(target.oid)));
  return rows[0] ?? target;
}

const selectTarget = (oid: string) => `
  select c.oid, n.nspname as schema, c.relname as relation, format('%I.%I', n.nspname, c.relname) as name,
    pg_is_in_recovery() as standby,
    exists (
      with recursive tree as (
        select c.oid union select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.oid
      )
      select from tree where row_security_active(tree.oid)) as hidden
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid = ${oid} and c.relkind in ('r', 'p')`;

/** Throws Failure "bad-settings" where the server refuses the expressions, or the table cannot be walked. */
export async function makePlan(
  connection: Connection,
  target: TargetTable,
  expressions: Expressions,
): Promise<Plan> {
  const assignment: Assignment = {
    alias: expressions.table.name,
    set: expressions.set,
    where: expressions.where,
  };
  await checkExpressions(connection, target, assignment);
  const relations = await listRelations(connection, target);
  const partitionKey = relations.flatMap((relation) => relation.partitionKey);
  const moving = expressions.columns.find((column) => partitionKey.includes(column));
  if (moving !== undefined) {
    throw new Failure("bad-settings", `--set: ${moving} is part of the partition key`, {
      hint: "a backfill walks one partition after the other and moves no rows between them: use an UPDATE of its own",
    });
  }
  const version = await serverVersion(connection);
  const leaves: Leaf[] = [];
  let rows = 0;
  const bases = relations.filter(({ kind }) => kind === "r");
  for (const relation of bases) {
    const leaf = describeLeaf(relation, expressions.columns, version);
    const sample = await sampleLeaf(connection, leaf, assignment, samplePages / bases.length);
    rows += sample.matching;
    leaves.push({ ...leaf, rowsPerPage: sample.rowsPerPage });
  }
  const rowsRead = Math.round(
    leaves.reduce((sum, { pages, rowsPerPage }) => sum + pages * rowsPerPage, 0),
  );
  const facts = await readFacts(connection, relations, target, expressions.columns);
  const [first] = leaves;
  return Object.freeze({
    target,
    leaves,
    assignment,
    serverMajor: Math.floor(version / 10_000),
    ctidRanges: version >= ctidRangesSince,
    rows,
    rowsRead,
    bytes: relations.reduce((sum, { bytes }) => sum + bytes, 0),
    secondsExpected:
      (rows * Math.max(facts.indexes.length, 1)) / usualRate + (2 * rowsRead) / usualReadRate,
    triggers: facts.triggers,
    indexes: facts.indexes.map(({ name }) => name),
    touched: facts.indexes.filter(({ touched }) => touched).map(({ name }) => name),
    explain: first === undefined ? [] : await explainBatch(connection, first, assignment),
    warnings: [
      ...describeFilling(facts, expressions),
      ...facts.notValid.map(
        (name) =>
          `the constraint ${name} is NOT VALID, but every updated row has to fulfil it: validate it or drop it first`,
      ),
      ...relations
        .filter(({ kind }) => kind === "f")
        .map(({ name }) => `${name} is a foreign table: its rows are not filled`),
    ],
  });
}

/** The plan as lines for people, with headings. */
export function describePlan(plan: Plan): string[] {
  const { leaves, target, indexes, touched, triggers, explain } = plan;
  const [first] = leaves;
  const walked =
    first === undefined
      ? "and it has no partition yet"
      : first.key === null
        ? "walked by pages"
        : `walked by its primary key (${first.key.map(({ name }) => name).join(", ")})`;
  const partitions = leaves.length > 1 ? `, ${leaves.length} partitions one after the other` : "";
  const spared =
    touched.length > 0
      ? `: each update writes to all of them, since ${touched.join(", ")} contains an assigned column`
      : ": an update writes to all of them, unless the new version of the row fits into its page";
  const rows: (readonly [string, readonly string[]])[] = [
    ["table", [`${target.name}, ${formatCount(plan.bytes / 2 ** 20)} MB, ${walked}${partitions}`]],
    [
      "rows",
      [
        `about ${formatCount(plan.rows)} of ${formatCount(plan.rowsRead)}, roughly ${describeSeconds(plan.secondsExpected)}`,
      ],
    ],
    ["triggers", [triggers.length === 0 ? "none" : triggers.join(", ")]],
    ["indexes", [indexes.length === 0 ? "none" : `${indexes.join(", ")}${spared}`]],
    ["batch", explain],
  ];
  return rows.flatMap(([name, lines]) =>
    lines.map((line, index) => `${(index === 0 ? name : "").padEnd(10)} ${line}`),
  );
}

/** The tables that hold rows now, for another round. */
export async function listLeaves(
  connection: Connection,
  plan: Plan,
  columns: readonly string[],
): Promise<Leaf[]> {
  const relations = await listRelations(connection, plan.target);
  const version = await serverVersion(connection);
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

function describeFilling(facts: Facts, { columns, valued }: Expressions): string[] {
  const bare = columns.filter(
    (column) => !facts.defaults.includes(column) && !valued.includes(column),
  );
  if (bare.length === 0 || facts.insertTriggers) return [];
  return [
    `nothing in the database fills ${bare.join(", ")} for new rows, neither a default nor a trigger: ` +
      "unless every running version of the application does, the backfill never ends",
  ];
}

/** The server's error comes with the position in the user's own text. */
async function checkExpressions(
  connection: Connection,
  target: TargetTable,
  { alias, set, where }: Assignment,
): Promise<void> {
  const before = `explain update ${target.name} as ${quoteName(alias)} set\n`;
  const between = "\nwhere (\n";
  try {
    await connection.query(`${before}${set}${between}${where}\n)`);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    // A missing privilege is no error of the text.
    if (error.code === "42501") throw error;
    // The server counts characters, from 1.
    const characters = Number(error.position ?? 0) - 1;
    const script = Array.from(`${before}${set}${between}${where}\n)`);
    const index = script.slice(0, Math.max(characters, 0)).join("").length - before.length;
    const inWhere = index - set.length - between.length;
    const position =
      characters < 0
        ? ""
        : inWhere >= 0
          ? ` in --where, ${showPosition(where, inWhere)}`
          : ` in --set, ${showPosition(set, Math.max(index, 0))}`;
    throw new Failure(
      "bad-settings",
      `the database rejects the backfill: ${error.message}${position}`,
      {
        hint: "correct the expression; --dry-run checks it without updating a row",
        cause: error,
        details: { sqlState: error.code },
      },
    );
  }
}

async function listRelations(connection: Connection, target: TargetTable): Promise<Relation[]> {
  const { rows } = await connection.query<Relation>(`
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

async function serverVersion(connection: Connection): Promise<number> {
  const { rows } = await connection.query<{ version: number }>(
    "select current_setting('server_version_num')::int as version",
  );
  return rows[0]?.version ?? 0;
}

/** Since PostgreSQL 14 a condition on ctid reads only those pages. */
const ctidRangesSince = 14_00_00;

function describeLeaf(
  { oid, name, pages, key }: Relation,
  columns: readonly string[],
  version: number,
): Leaf {
  // A row whose key is assigned would move behind the cursor, or ahead of it.
  const usable = key !== null && !key.some((column) => columns.includes(column.name)) ? key : null;
  const random = usable?.some((column) => column.random) ?? true;
  if (random && version < ctidRangesSince && usable === null) {
    throw new Failure("bad-settings", `${name} has no primary key to walk along`, {
      hint: "PostgreSQL 14 and newer can walk along the pages instead",
    });
  }
  const keyColumns: Key =
    usable === null || (random && version >= ctidRangesSince)
      ? null
      : usable.map((column) => ({ name: column.name, type: column.type }));
  return { oid, name, key: keyColumns, pages, rowsPerPage: 1 };
}

/** Reads some pages: there are no statistics on a new column. */
async function sampleLeaf(
  connection: Connection,
  leaf: Leaf,
  { alias, where }: Assignment,
  pages: number,
): Promise<{ matching: number; rowsPerPage: number }> {
  if (leaf.pages === 0) return { matching: 0, rowsPerPage: 1 };
  const share = Math.min(Math.max(pages, 1) / leaf.pages, 1);
  const { rows } = await connection.query<{ matching: number; all: number; filled: number }>(`
    select count(*)::int as all, (count(*) filter (where (\n${where}\n)))::int as matching,
      count(distinct (ctid::text::point)[0])::int as filled
    from only ${leaf.name} as ${quoteName(alias)} tablesample system (${share * 100})`);
  const { matching = 0, all = 0, filled = 0 } = rows[0] ?? {};
  // The number of pages in a sample is random: the table's own number counts, unless many of them seem to be empty.
  const pagesFilled = filled < share * leaf.pages * 0.8 ? filled / share : leaf.pages;
  const times = filled === 0 ? 0 : pagesFilled / filled;
  return {
    matching: Math.round(matching * times),
    rowsPerPage: Math.max((all * times) / leaf.pages, 1),
  };
}

async function readFacts(
  connection: Connection,
  relations: readonly Relation[],
  target: TargetTable,
  columns: readonly string[],
): Promise<Facts> {
  const oids = `array[${relations.map(({ oid }) => oid).join(", ")}]::oid[]`;
  const leaves = `array[${relations.flatMap(({ oid, kind }) => (kind === "r" ? [oid] : [])).join(", ")}]::oid[]`;
  const names = `array[${columns.map((column) => quoteLiteral(column)).join(", ")}]::name[]`;
  const assigned = (relation: string) =>
    `coalesce((select array_agg(a.attnum::int) from pg_attribute a where a.attrelid = ${relation} and a.attname = any(${names})), '{}')`;
  const { rows } = await connection.query<Facts>(`
    select
      coalesce((
        select json_agg(a.attname) from pg_attribute a
        where a.attrelid = ${target.oid} and a.attname = any(${names}) and (a.atthasdef or a.attidentity <> '' or a.attnotnull)
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
      ), '[]') as "notValid"`);
  const [facts] = rows;
  if (facts === undefined) throw new Error("the server gave no row");
  return facts;
}

async function explainBatch(
  connection: Connection,
  leaf: Leaf,
  assignment: Assignment,
): Promise<string[]> {
  const range = await findRange(connection, leaf, null, firstSize);
  const { rows } = await connection.query<{ "QUERY PLAN": string }>(
    `explain ${updateRange(leaf, assignment, range)}`,
  );
  return rows.map((row) => row["QUERY PLAN"]);
}
