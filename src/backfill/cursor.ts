// How far a backfill is, and the statements that continue it. It walks a table in ranges: of the primary key, by
// `(a, b) > (last)`, or of pages, by `ctid`, where there is no key or its order is random (UUID). A range ends at a row
// that exists, never at a number computed from ids: gaps between ids make no empty ranges. Pure: text in, text out.

import { quoteLiteral, quoteName } from "../postgres/names.ts";

export interface KeyColumn {
  readonly name: string;
  readonly type: string;
}

/** The primary key along which a table is walked, or null for its pages. */
export type Key = readonly KeyColumn[] | null;

/** A table that holds rows itself: the table, or one of its partitions. */
export interface Leaf {
  readonly oid: number;
  /** With its schema, quoted. It may be another one at the next look. */
  readonly name: string;
  readonly key: Key;
  readonly pages: number;
  /** Of a page, as an estimate; never below 1. */
  readonly rowsPerPage: number;
}

/** An end of a range: the values of the key's columns as text, or the number of a page. */
export type Bound = readonly string[];

/** After `after` (null: from the beginning) up to `upTo` (null: to the end). Of pages `after` is the first one, `upTo` the first one behind. */
export interface Range {
  readonly after: Bound | null;
  readonly upTo: Bound | null;
}

/** What is done to each row. */
export interface Assignment {
  /** The name by which the user's texts may call the table. */
  readonly alias: string;
  readonly set: string;
  readonly where: string;
}

/** Selects `bound`, the upper end of `size` rows after `after`, as text; no row where fewer are left. */
export function selectBound(
  leaf: Leaf,
  key: readonly KeyColumn[],
  after: Bound | null,
  size: number,
) {
  const columns = key.map(({ name }) => quoteName(name));
  // As in JSON: no setting of the session (DateStyle) changes what is saved.
  const texts = columns.map((column) => `to_jsonb(${column}) #>> '{}'`);
  const from = after === null ? "" : ` where ${compareKey(columns, key, ">", after)}`;
  return (
    `select array[${texts.join(", ")}] as bound from only ${leaf.name}${from} ` +
    `order by ${columns.join(", ")} offset ${size - 1} limit 1`
  );
}

/**
 * Selects `bound`, the end of the range behind its first `size` rows for which the condition holds; no row where it holds for
 * fewer.
 */
export function selectFullBound(
  leaf: Leaf,
  { alias: name, where }: Assignment,
  range: Range,
  size: number,
): string {
  const alias = quoteName(name);
  const conditions = [...conditionsOf(leaf, alias, range), `(\n${where}\n)`].join(" and ");
  const columns = (leaf.key ?? []).map((column) => `${alias}.${quoteName(column.name)}`);
  const bound =
    leaf.key === null
      ? `((${alias}.ctid::text::point)[0]::bigint + 1)::text`
      : columns.map((column) => `to_jsonb(${column}) #>> '{}'`).join(", ");
  const order = leaf.key === null ? "" : ` order by ${columns.join(", ")}`;
  return (
    `select array[${bound}] as bound from only ${leaf.name} as ${alias} where ${conditions}${order} ` +
    `offset ${size - 1} limit 1`
  );
}

/** The range of pages that holds about `size` rows. */
export function nextPages(leaf: Leaf, after: Bound | null, size: number): Range {
  const first = Number(after?.[0] ?? 0);
  const behind = first + Math.max(Math.round(size / leaf.rowsPerPage), 1);
  // What is behind the last page was added since, by us and by others.
  return { after: [String(first)], upTo: [String(Math.min(behind, leaf.pages))] };
}

/**
 * The UPDATE of a range. It returns for each row whether the condition holds `again` afterwards.
 * @param skipLocked skips the rows that another session has locked.
 */
export function updateRange(
  leaf: Leaf,
  assignment: Assignment,
  range: Range,
  skipLocked = false,
): string {
  const alias = quoteName(assignment.alias);
  const within = conditionsOf(leaf, alias, range);
  const condition = `(\n${assignment.where}\n)`;
  // Another table may have taken the name since.
  const identity = `${alias}.tableoid = ${leaf.oid}`;
  const chosen = skipLocked
    ? `${alias}.ctid = any(array(select ${alias}.ctid from only ${leaf.name} as ${alias} ` +
      `where ${[identity, ...within, condition].join(" and ")} for no key update skip locked))`
    : within.join(" and ");
  const conditions = [identity, ...(chosen === "" ? [] : [chosen]), condition];
  return (
    `update only ${leaf.name} as ${alias} set\n${assignment.set}\n` +
    `where ${conditions.join(" and ")} returning ${condition} as again`
  );
}

/** Selects `left`, for how many rows of these tables the condition holds. @param all false: 1 for any number. */
export function selectLeft(
  leaves: readonly Leaf[],
  { alias, where }: Assignment,
  all: boolean,
): string {
  if (leaves.length === 0) return "select 0 as left";
  const found = leaves.map(({ name }) => {
    const rows = `from only ${name} as ${quoteName(alias)} where (\n${where}\n)`;
    return all ? `(select count(*) ${rows})` : `exists (select ${rows})`;
  });
  return all
    ? `select (${found.join(" + ")})::float8 as left`
    : `select (${found.join(" or ")})::int as left`;
}

/** Selects `matching`, how many rows of a range the condition holds for. */
export function countRange(leaf: Leaf, assignment: Assignment, range: Range): string {
  const alias = quoteName(assignment.alias);
  const conditions = [...conditionsOf(leaf, alias, range), `(\n${assignment.where}\n)`];
  return `select count(*) as matching from only ${leaf.name} as ${alias} where ${conditions.join(" and ")}`;
}

function conditionsOf({ key }: Leaf, alias: string, { after, upTo }: Range): string[] {
  if (key === null) {
    return [
      ...(after === null ? [] : [`${alias}.ctid >= '(${after[0]},0)'`]),
      ...(upTo === null ? [] : [`${alias}.ctid < '(${upTo[0]},0)'`]),
    ];
  }
  const columns = key.map(({ name }) => `${alias}.${quoteName(name)}`);
  return [
    ...(after === null ? [] : [compareKey(columns, key, ">", after)]),
    ...(upTo === null ? [] : [compareKey(columns, key, "<=", upTo)]),
  ];
}

/** `(a, b) > ('1'::integer, 'x'::text)` */
function compareKey(
  columns: readonly string[],
  key: readonly KeyColumn[],
  operator: ">" | "<=",
  bound: Bound,
): string {
  const values = key.map(({ type }, index) => `${quoteLiteral(bound[index] ?? "")}::${type}`);
  return `(${columns.join(", ")}) ${operator} (${values.join(", ")})`;
}

/** `with id after 1000 up to 2000`, for people. */
export function describeRange({ key }: Leaf, { after, upTo }: Range): string {
  const what = key === null ? "in the pages" : `with ${key.map(({ name }) => name).join(", ")}`;
  const name = (bound: Bound) => bound.join(", ");
  const ends = [
    ...(after === null ? [] : [`${key === null ? "from" : "after"} ${name(after)}`]),
    ...(upTo === null ? [] : [`${key === null ? "before" : "up to"} ${name(upTo)}`]),
  ];
  return ends.length === 0 ? "" : `${what} ${ends.join(" ")}`;
}
