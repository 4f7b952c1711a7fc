// Names, types and strings as SQL text: the only place that quotes them.
// Guarantees: a name is quoted exactly where the server's own quote_ident() quotes it.

/** A relation as a statement names it. */
export interface RelationName {
  /** Null: the search path decides. */
  readonly schema: string | null;
  readonly name: string;
}

/** The words of pg_get_keywords() that are not unreserved, in PostgreSQL 14 to 18. */
const keywords = new Set(
  (
    "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast " +
    "char character check coalesce collate collation column concurrently constraint create cross current_catalog " +
    "current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable " +
    "desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group " +
    "grouping having ilike in initially inner inout int integer intersect interval into is isnull join json json_array " +
    "json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table json_value " +
    "lateral leading least left like limit localtime localtimestamp merge_action national natural nchar none normalize " +
    "not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision " +
    "primary real references returning right row select session_user setof similar smallint some substring symmetric " +
    "system_user table tablesample then time timestamp to trailing treat trim true union unique user using values " +
    "varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest " +
    "xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable"
  ).split(" "),
);

export function quoteName(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && !keywords.has(name)
    ? name
    : `"${name.replaceAll('"', '""')}"`;
}

export function quoteRelation({ schema, name }: RelationName): string {
  return schema === null ? quoteName(name) : `${quoteName(schema)}.${quoteName(name)}`;
}

/** `id, "user"` */
export function quoteNames(names: readonly string[]): string {
  return names.map(quoteName).join(", ");
}

/** A string literal that means the same whatever standard_conforming_strings is. */
export function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll("\\", "\\\\")}'`;
  return text.includes("\\") ? `E${quoted}` : quoted;
}

/** PostgreSQL keeps as many bytes of a name. */
const longestName = 63;

/** `posts_n_check`: the server's name for a constraint, an index or a sequence of a table, unless that is taken. */
export function nameObject(table: string, columns: readonly string[], label: string): string {
  const rest = columns.length === 0 ? null : truncate(columns.join("_"), longestName);
  const available = longestName - Buffer.byteLength(label) - (rest === null ? 1 : 2);
  let [first, second] = [Buffer.byteLength(table), Buffer.byteLength(rest ?? "")];
  // The longer one loses a byte at a time.
  while (first + second > available) {
    if (first > second) first--;
    else second--;
  }
  return [truncate(table, first), ...(rest === null ? [] : [truncate(rest, second)]), label].join(
    "_",
  );
}

/** At most so many bytes, and no part of a character. */
function truncate(text: string, bytes: number): string {
  let length = 0;
  let kept = "";
  for (const character of text) {
    length += Buffer.byteLength(character);
    if (length > bytes) break;
    kept += character;
  }
  return kept;
}

/** A type, as the catalog names it: `int4`, `varchar`, with what its parentheses hold. */
export interface SqlType {
  readonly name: string;
  /** Null for a type of pg_catalog or one that the search path finds. */
  readonly schema: string | null;
  /** An interval's are the mask of its fields and its precision. −1 is a word, as in `geometry(Point)`. */
  readonly modifiers: readonly number[];
  readonly array: boolean;
}

/** What people call the types of pg_catalog whose own names are keywords or abbreviations. */
const typeNames: Readonly<Record<string, string>> = {
  int2: "smallint",
  int4: "integer",
  int8: "bigint",
  float4: "real",
  float8: "double precision",
  bool: "boolean",
  bpchar: "char",
  varchar: "varchar",
  numeric: "numeric",
  bit: "bit",
  varbit: "bit varying",
  time: "time",
  timestamp: "timestamp",
  interval: "interval",
  json: "json",
};

export function formatType({ name, schema, modifiers, array }: SqlType): string {
  const known = schema === null ? typeNames[name] : undefined;
  const plain = known ?? quoteRelation({ schema, name });
  const words = name === "interval" ? formatInterval(modifiers) : `(${modifiers.join(", ")})`;
  const shown = modifiers.length > 0 && !modifiers.includes(-1) ? words : "";
  return `${plain}${shown}${array ? "[]" : ""}`;
}

/** The bits of an interval's fields. */
const intervalFields = [
  [4, "year"],
  [2, "month"],
  [8, "day"],
  [1024, "hour"],
  [2048, "minute"],
  [4096, "second"],
] as const;
export const allIntervalFields = 0x7fff;

function formatInterval([mask = allIntervalFields, precision = 6]: readonly number[]): string {
  const set = intervalFields.flatMap(([bit, name]) => ((mask & bit) === 0 ? [] : [name]));
  const [first, last] = [set[0], set.at(-1)];
  const fields =
    mask === allIntervalFields ? "" : first === last ? ` ${first}` : ` ${first} to ${last}`;
  return `${fields}${precision < 6 ? `(${precision})` : ""}`;
}
