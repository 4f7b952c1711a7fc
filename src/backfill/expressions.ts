// What the user gave as SQL, read by PostgreSQL's own parser: the name of a table, one list of assignments, one
// condition. Guarantees that each text stays what it is wherever it is put: no clause, no second statement, no
// parameter gets in with it. Whether the columns exist is the server's to say.

import type { Node, SelectStmt, UpdateStmt } from "libpg-query";
import { Failure } from "../exit-codes.ts";
import { loadSqlParser, SqlSyntaxError, type SqlParser } from "../sql/parser.ts";

interface TableName {
  /** Null: the search path decides. */
  readonly schema: string | null;
  readonly name: string;
}

export interface Expressions {
  readonly table: TableName;
  /** The columns that are assigned, in their order. */
  readonly columns: readonly string[];
  /** Those of them that the condition wants to be NULL: the ones that have no NULL left in the end. */
  readonly missing: readonly string[];
  readonly set: string;
  readonly where: string;
}

/** A place in one of the user's texts that is wrong. */
class NotAllowed extends Error {
  readonly index: number;
  constructor(message: string, index: number) {
    super(message);
    this.index = index;
  }
}

/** Throws Failure "bad-settings" with the place in each text that is wrong. */
export async function parseExpressions(given: {
  readonly table: string;
  readonly set: string;
  readonly where: string;
}): Promise<Expressions> {
  const parser = await loadSqlParser();
  const problems: string[] = [];
  const read = <T>(flag: string, text: string, parse: (parser: SqlParser, text: string) => T) => {
    try {
      return parse(parser, text);
    } catch (error) {
      if (!(error instanceof NotAllowed)) throw error;
      problems.push(`${flag}: ${error.message}: ${showPlace(text, error.index)}`);
      return null;
    }
  };
  const table = read("--table", given.table, parseTable);
  const columns = read("--set", given.set, parseAssignments);
  const tested = read("--where", given.where, parseCondition);
  if (table === null || columns === null || tested === null) {
    throw new Failure("bad-settings", `cannot read the backfill: ${problems.join("; ")}`, {
      hint: "--table SCHEMA.NAME, --set 'COLUMN = EXPRESSION, …' and --where 'CONDITION', each as SQL has it in an UPDATE",
      details: { problems },
    });
  }
  return Object.freeze({
    table,
    columns,
    missing: columns.filter((column) => tested.includes(column)),
    set: given.set.trim(),
    where: given.where.trim(),
  });
}

/** `character 9: word_count → form posts`: the arrow is where the parser stopped. */
export function showPlace(text: string, index: number): string {
  const shown = 40;
  const before = text.slice(0, index);
  const after = text.slice(index);
  const head = before.length > shown ? `…${before.slice(-shown)}` : before;
  const tail = after.length > shown ? `${after.slice(0, shown)}…` : after;
  return `character ${Array.from(before).length + 1}: ${`${head} → ${tail}`.replaceAll(/\s+/g, " ").trim()}`;
}

function parseTable(parser: SqlParser, text: string): TableName {
  const node = parseWithin(parser, "lock table\n", text, "\n");
  // With the options of LOCK behind it there can be none in it.
  parseWithin(parser, "lock table\n", text, "\nin share mode nowait");
  const { relations = [] } = "LockStmt" in node ? node.LockStmt : {};
  const [first, ...more] = relations;
  const range = first !== undefined && "RangeVar" in first ? first.RangeVar : null;
  const { relname, schemaname = null, catalogname, inh } = range ?? {};
  if (relname === undefined || catalogname !== undefined || inh !== true || more.length > 0) {
    throw new NotAllowed("allowed is NAME or SCHEMA.NAME", 0);
  }
  return { schema: schemaname, name: relname };
}

/** The names of the columns. */
function parseAssignments(parser: SqlParser, text: string): string[] {
  const update = parseWithin(parser, "update t set\n", text, "\n") as { UpdateStmt: UpdateStmt };
  // In a MERGE nothing but assignments can stand at this place, so that the parser stops at what is too much.
  parseWithin(
    parser,
    "merge into t using t on true when matched then update set\n",
    text,
    "\nwhen not matched then do nothing",
  );
  return (update.UpdateStmt.targetList ?? []).map((target) => {
    const { name, indirection, location = 0 } = "ResTarget" in target ? target.ResTarget : {};
    if (name === undefined || indirection !== undefined) {
      const index = indexOf("update t set\n", text, location);
      throw new NotAllowed("a whole column is assigned, no element and no field of one", index);
    }
    return name;
  });
}

/** The columns of which the condition says that they are NULL, whatever else it says. */
function parseCondition(parser: SqlParser, text: string): string[] {
  // Between parentheses the parser stops at any clause that follows; without them, at one that is closed too many.
  parseWithin(parser, "select (\n", text, "\n)");
  const select = parseWithin(parser, "select where\n", text, "\n") as { SelectStmt: SelectStmt };
  return select.SelectStmt.whereClause === undefined
    ? []
    : nullTests(select.SelectStmt.whereClause);
}

function nullTests(node: Node): string[] {
  if ("BoolExpr" in node && node.BoolExpr.boolop === "AND_EXPR") {
    return (node.BoolExpr.args ?? []).flatMap(nullTests);
  }
  if (!("NullTest" in node) || node.NullTest.nulltesttype !== "IS_NULL") return [];
  const { arg } = node.NullTest;
  const last = arg !== undefined && "ColumnRef" in arg ? arg.ColumnRef.fields?.at(-1) : undefined;
  const name = last !== undefined && "String" in last ? last.String.sval : undefined;
  return name === undefined ? [] : [name];
}

/** The one statement that `before`, the text and `after` make together. */
function parseWithin(parser: SqlParser, before: string, text: string, after: string): Node {
  if (text.trim() === "") throw new NotAllowed("nothing is given", 0);
  try {
    const script = `${before}${text}${after}`;
    const [statement] = parser.parse(script);
    if (statement === undefined) throw new NotAllowed("nothing is given", 0);
    if (statement.end !== script.trimEnd().length) {
      throw new NotAllowed('syntax error at or near ";"', statement.end - before.length);
    }
    const parameter = findParameter(statement.node);
    if (parameter !== null) {
      throw new NotAllowed("there are no parameters", indexOf(before, text, parameter));
    }
    return statement.node;
  } catch (error) {
    if (!(error instanceof SqlSyntaxError)) throw error;
    const index = error.index - before.length;
    if (index >= text.length) throw new NotAllowed("syntax error at the end", text.length);
    // What the parser quotes may go on behind the text.
    const [message = ""] = error.message.split("\n");
    throw new NotAllowed(message.replace(/ at or near "[^"]*$/, ""), Math.max(index, 0));
  }
}

/** The parser counts bytes in its tree. `before` is ASCII. */
function indexOf(before: string, text: string, location: number): number {
  return Buffer.from(text)
    .subarray(0, location - before.length)
    .toString().length;
}

/** The place of the first `$1`. */
function findParameter(tree: unknown): number | null {
  if (typeof tree !== "object" || tree === null) return null;
  for (const [name, value] of Object.entries(tree)) {
    if (name === "ParamRef") return (value as { location?: number }).location ?? 0;
    const found = findParameter(value);
    if (found !== null) return found;
  }
  return null;
}
