// PostgreSQL's names as SQL text: what goes into the safe forms. A name is quoted where the server would quote it, a
// type has the name that people give it.

import type { Node, RangeVar, TypeName } from "libpg-query";

/** A relation as a statement names it. */
export interface RelationName {
  readonly schema: string | null;
  readonly name: string;
}

/** Words that would be something else, unquoted, where a name of a table, column or constraint may be. */
const reserved = new Set(
  "all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create current_date current_role current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign from grant group having in initially intersect into lateral leading limit localtime localtimestamp not null offset on only or order placing primary references returning select session_user some symmetric table then to trailing true union unique user using variadic when where window with".split(
    " ",
  ),
);

export function quoteName(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) && !reserved.has(name)
    ? name
    : `"${name.replaceAll('"', '""')}"`;
}

export function quoteRelation({ schema, name }: RelationName): string {
  return schema === null ? quoteName(name) : `${quoteName(schema)}.${quoteName(name)}`;
}

/** A Python string literal. */
export function quotePython(text: string): string {
  return JSON.stringify(text);
}

/** What SQLAlchemy would take for a bound parameter is escaped. */
export function escapeParameters(sql: string): string {
  return sql.replaceAll(/(?<![:\w\\]):(?=\w)/g, "\\:");
}

/** `schema="x"` as a further argument of an Alembic operation. */
export function schemaArgument({ schema }: RelationName): string {
  return schema === null ? "" : `, schema=${quotePython(schema)}`;
}

/** `op.execute(…)` of one statement. */
export function executePython(sql: string): string {
  const text = escapeParameters(sql);
  if (!text.includes("\n")) return `op.execute(${quotePython(text)})`;
  return `op.execute(\n    r"""\n${text
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n")}\n    """\n)`;
}

export function relationOf(range: RangeVar | undefined): RelationName | null {
  if (range?.relname === undefined) return null;
  return { schema: range.schemaname ?? null, name: range.relname };
}

/** The words of a list of String nodes: `a.b` of a qualified name. */
export function wordsOf(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).flatMap((node) =>
    "String" in node && node.String.sval !== undefined ? [node.String.sval] : [],
  );
}

/** A relation's name out of DROP's list of words. */
export function relationOfWords(words: readonly string[]): RelationName | null {
  const name = words.at(-1);
  return name === undefined ? null : { schema: words.at(-2) ?? null, name };
}

/** A type, as the catalog names it: `int4`, `varchar`, with what its parentheses hold. */
export interface SqlType {
  readonly name: string;
  /** Null for a type of pg_catalog or one that the search path finds. */
  readonly schema: string | null;
  readonly modifiers: readonly number[];
  readonly array: boolean;
}

export function typeOf(type: TypeName | undefined): SqlType | null {
  const words = wordsOf(type?.names);
  const name = words.at(-1);
  if (type === undefined || name === undefined) return null;
  const schema = words.at(-2) ?? null;
  return {
    name,
    schema: schema === "pg_catalog" ? null : schema,
    modifiers: (type.typmods ?? []).flatMap((node) =>
      "A_Const" in node && node.A_Const.ival !== undefined ? [node.A_Const.ival.ival ?? 0] : [],
    ),
    array: (type.arrayBounds ?? []).length > 0,
  };
}

const typeNames: Readonly<Record<string, string>> = {
  int2: "smallint",
  int4: "integer",
  int8: "bigint",
  float4: "real",
  float8: "double precision",
  bool: "boolean",
  bpchar: "char",
  timestamptz: "timestamptz",
};

export function formatType(type: SqlType): string {
  const { name, schema, modifiers, array } = type;
  const known = schema === null ? typeNames[name] : undefined;
  const plain = known ?? quoteRelation({ schema, name });
  // An interval's fields are a bit mask, which nobody would recognise.
  const shown = modifiers.length > 0 && name !== "interval" ? `(${modifiers.join(", ")})` : "";
  return `${plain}${shown}${array ? "[]" : ""}`;
}

/** The type as SQLAlchemy names it, or null where there is no telling. */
export function formatSqlalchemyType(type: SqlType): string | null {
  const { name, schema, modifiers, array } = type;
  if (schema !== null || array) return null;
  const [first, second] = modifiers;
  switch (name) {
    case "int2":
      return "sa.SmallInteger()";
    case "int4":
      return "sa.Integer()";
    case "int8":
      return "sa.BigInteger()";
    case "text":
      return "sa.Text()";
    case "bool":
      return "sa.Boolean()";
    case "date":
      return "sa.Date()";
    case "varchar":
      return first === undefined ? "sa.String()" : `sa.String(${first})`;
    case "timestamp":
      return first === undefined ? "sa.DateTime()" : null;
    case "timestamptz":
      return first === undefined ? "sa.DateTime(timezone=True)" : null;
    case "numeric":
      return first === undefined ? "sa.Numeric()" : `sa.Numeric(${first}, ${second ?? 0})`;
    case "float8":
      return "sa.Double()";
    case "uuid":
      return "sa.Uuid()";
    default:
      return null;
  }
}
