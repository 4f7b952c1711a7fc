// Where a backfill is, and the statements that take it further. A table is walked in ranges: of the primary key, by
// `(a, b) > (last)`, or of pages, by `ctid`, where the key says nothing of where a row is (UUID) or is missing. A range
// ends at a row that exists, never at a number computed from ids, and there is always a next one: none is empty
// for long where ids have gaps. Pure: text in, text out.

import pg from "pg";

export interface KeyColumn {
  readonly name: string;
  readonly type: string;
}

/** How a table is walked: its primary key, or null for its pages. */
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

/** The values of the key's columns as text, or the number of a page. */
export type Place = readonly string[];

/** After `after` (null: from the beginning) up to `upTo` (null: to the end). Of pages `after` is the first one, `upTo` the first one behind. */
export interface Range {
  readonly after: Place | null;
  readonly upTo: Place | null;
}

/** What is done to each row. */
export interface Assignment {
  /** The name by which the user's texts may call the table. */
  readonly alias: string;
  readonly set: string;
  readonly where: string;
}

const { escapeIdentifier, escapeLiteral } = pg;

/** Selects `place`, the upper end of `size` rows after `after`, as text; no row where fewer are left. */
export function selectBound(
  leaf: Leaf,
  key: readonly KeyColumn[],
  after: Place | null,
  size: number,
) {
  const columns = key.map(({ name }) => escapeIdentifier(name));
  // As JSON has them, so that no setting of the session (DateStyle) changes what is written down.
  const texts = columns.map((column) => `to_jsonb(${column}) #>> '{}'`);
  const from = after === null ? "" : ` where ${compareKey(columns, key, ">", after)}`;
  return (
    `select array[${texts.join(", ")}] as place from only ${leaf.name}${from} ` +
    `order by ${columns.join(", ")} offset ${size - 1} limit 1`
  );
}

/** The range of pages that holds about `size` rows. */
export function nextPages(leaf: Leaf, after: Place | null, size: number): Range {
  const first = Number(after?.[0] ?? 0);
  const behind = first + Math.max(Math.round(size / leaf.rowsPerPage), 1);
  // What is behind the last page has been put there since, by us and by others.
  return { after: [String(first)], upTo: [String(Math.min(behind, leaf.pages))] };
}

/**
 * The UPDATE of a range. It returns for each row whether the condition holds `again` afterwards.
 * @param skipLocked leaves out the rows that somebody has locked.
 */
export function updateRange(
  leaf: Leaf,
  assignment: Assignment,
  range: Range,
  skipLocked = false,
): string {
  const alias = escapeIdentifier(assignment.alias);
  const within = describeRange(leaf, alias, range);
  const condition = `(\n${assignment.where}\n)`;
  // Another table may have got the name since we looked.
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

/** Selects `left`, whether the condition holds for a row of these tables. */
export function selectLeft(leaves: readonly Leaf[], { alias, where }: Assignment): string {
  const found = leaves.map(
    ({ name }) =>
      `exists (select from only ${name} as ${escapeIdentifier(alias)} where (\n${where}\n))`,
  );
  return `select ${found.length === 0 ? "false" : found.join(" or ")} as left`;
}

/** Selects `matching`, how many rows of a range the condition holds for. */
export function countRange(leaf: Leaf, assignment: Assignment, range: Range): string {
  const alias = escapeIdentifier(assignment.alias);
  const conditions = [...describeRange(leaf, alias, range), `(\n${assignment.where}\n)`];
  return `select count(*) as matching from only ${leaf.name} as ${alias} where ${conditions.join(" and ")}`;
}

function describeRange({ key }: Leaf, alias: string, { after, upTo }: Range): string[] {
  if (key === null) {
    return [
      ...(after === null ? [] : [`${alias}.ctid >= '(${after[0]},0)'`]),
      ...(upTo === null ? [] : [`${alias}.ctid < '(${upTo[0]},0)'`]),
    ];
  }
  const columns = key.map(({ name }) => `${alias}.${escapeIdentifier(name)}`);
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
  place: Place,
): string {
  const values = key.map(({ type }, index) => `${escapeLiteral(place[index] ?? "")}::${type}`);
  return `(${columns.join(", ")}) ${operator} (${values.join(", ")})`;
}

/** `with id after 1000 up to 2000`, for people. */
export function describePlace({ key }: Leaf, { after, upTo }: Range): string {
  const what = key === null ? "in the pages" : `with ${key.map(({ name }) => name).join(", ")}`;
  const name = (place: Place) => place.join(", ");
  const ends = [
    ...(after === null ? [] : [`${key === null ? "from" : "after"} ${name(after)}`]),
    ...(upTo === null ? [] : [`${key === null ? "before" : "up to"} ${name(upTo)}`]),
  ];
  return ends.length === 0 ? "" : `${what} ${ends.join(" ")}`;
}
