// Names and types out of PostgreSQL's parse trees.

import type { Node, RangeVar, TypeName } from "libpg-query";
import type { RelationName, SqlType } from "./names.ts";

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

/** Whether an option of VACUUM or REINDEX is on: without a value it is. */
export function hasOption(options: readonly Node[] | undefined, name: string): boolean {
  // The last one of a name counts.
  const given = (options ?? []).findLast((one) => "DefElem" in one && one.DefElem.defname === name);
  if (given === undefined || !("DefElem" in given)) return false;
  const { arg } = given.DefElem;
  if (arg === undefined) return true;
  if ("Integer" in arg) return arg.Integer.ival === 1;
  return "String" in arg && /^(?:true|on|1)$/i.test(arg.String.sval ?? "");
}

/** A relation's name out of DROP's list of words. */
export function relationOfWords(words: readonly string[]): RelationName | null {
  const name = words.at(-1);
  return name === undefined ? null : { schema: words.at(-2) ?? null, name };
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
      "A_Const" in node && node.A_Const.ival !== undefined ? [node.A_Const.ival.ival ?? 0] : [-1],
    ),
    array: (type.arrayBounds ?? []).length > 0,
  };
}
