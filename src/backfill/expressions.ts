// What the user gave as SQL, read by PostgreSQL's own parser: the name of a table, one list of assignments, one
// condition. Guarantees: each text is that and nothing else wherever it is inserted, without another clause, a second
// statement or a parameter. Whether the columns exist only the server knows.

import type { Node, SelectStmt, UpdateStmt } from "libpg-query";
import { Failure } from "../failure.ts";
import type { RelationName } from "../postgres/names.ts";
import { SqlSyntaxError } from "../postgres/errors.ts";
import { loadSqlParser, type SqlParser } from "../postgres/parser.ts";

export interface Expressions {
  readonly table: RelationName;
  /** The columns that are assigned, in their order. */
  readonly columns: readonly string[];
  /** Those of them that the condition requires to be NULL: they have no NULL left in the end. */
  readonly missing: readonly string[];
  /** Those of which it requires a value: a row that is inserted without one is none to fill. */
  readonly valued: readonly string[];
  readonly set: string;
  readonly where: string;
}

/** An error at a position of one of the user's texts. */
class NotAllowed extends Error {
  readonly index: number;
  constructor(message: string, index: number) {
    super(message);
    this.index = index;
  }
}

/** Throws Failure "bad-settings" with the position of the error in each text. */
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
      problems.push(`${flag}: ${error.message}: ${showPosition(text, error.index)}`);
      return null;
    }
  };
  const table = read("--table", given.table, parseTable);
  const columns = read("--set", given.set, parseAssignments);
  const tested = read("--where", given.where, parseCondition);
  if (table === null || columns === null || tested === null) {
    throw new Failure("bad-settings", `cannot read the backfill: ${problems.join("; ")}`, {
      hint: "write --table SCHEMA.NAME, --set 'COLUMN = EXPRESSION, …' and --where 'CONDITION', each as in an UPDATE",
      details: { problems },
    });
  }
  return Object.freeze({
    table,
    columns,
    missing: columns.filter((column) => tested.nulls.includes(column)),
    valued: columns.filter((column) => tested.values.includes(column)),
    set: given.set.trim(),
    where: given.where.trim(),
  });
}

/** `character 9: word_count → form posts`: the parser stopped at the arrow. */
export function showPosition(text: string, index: number): string {
  const shown = 40;
  const before = text.slice(0, index);
  const after = text.slice(index);
  const head = before.length > shown ? `…${before.slice(-shown)}` : before;
  const tail = after.length > shown ? `${after.slice(0, shown)}…` : after;
  return `character ${Array.from(before).length + 1}: ${`${head} → ${tail}`.replaceAll(/\s+/g, " ").trim()}`;
}

function parseTable(parser: SqlParser, text: string): RelationName {
  const node = parseWithin(parser, "lock table\n", text, "\n");
  // With the options of LOCK behind it the text cannot contain any.
  parseWithin(parser, "lock table\n", text, "\nin share mode nowait");
  const { relations = [] } = "LockStmt" in node ? node.LockStmt : {};
  const [first, ...more] = relations;
  const range = first !== undefined && "RangeVar" in first ? first.RangeVar : null;
  const { relname, schemaname = null, catalogname, inh } = range ?? {};
  if (relname === undefined || catalogname !== undefined || inh !== true || more.length > 0) {
    throw new NotAllowed("only NAME or SCHEMA.NAME is allowed", 0);
  }
  return { schema: schemaname, name: relname };
}

/** The names of the columns. */
function parseAssignments(parser: SqlParser, text: string): string[] {
  const update = parseWithin(parser, "update t set\n", text, "\n") as { UpdateStmt: UpdateStmt };
  // In a MERGE only assignments are allowed here: the parser stops at anything else.
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
      throw new NotAllowed(
        "only a whole column can be assigned, no element or field of one",
        index,
      );
    }
    return name;
  });
}

/** The columns that the condition requires to be NULL, whatever else it says. */
/** The columns that must be NULL, and those that must not, for the condition to be true. */
interface Tested {
  readonly nulls: readonly string[];
  readonly values: readonly string[];
}

function parseCondition(parser: SqlParser, text: string): Tested {
  // In parentheses the parser stops at any further clause; without them, at an unmatched closing one.
  parseWithin(parser, "select (\n", text, "\n)");
  const select = parseWithin(parser, "select where\n", text, "\n") as { SelectStmt: SelectStmt };
  const parts = conjunctsOf(select.SelectStmt.whereClause);
  return { nulls: parts.flatMap(nullTest), values: parts.flatMap(valueTests) };
}

function conjunctsOf(node: Node | undefined): readonly Node[] {
  if (node === undefined) return [];
  return "BoolExpr" in node && node.BoolExpr.boolop === "AND_EXPR"
    ? (node.BoolExpr.args ?? []).flatMap(conjunctsOf)
    : [node];
}

function nullTest(node: Node): readonly string[] {
  if (!("NullTest" in node) || node.NullTest.nulltesttype !== "IS_NULL") return [];
  return columnOf(node.NullTest.arg);
}

/** Operators that are not true of a NULL. */
const strict = new Set(["=", "<>", "<", ">", "<=", ">="]);

function valueTests(node: Node): readonly string[] {
  if ("NullTest" in node)
    return node.NullTest.nulltesttype === "IS_NOT_NULL" ? columnOf(node.NullTest.arg) : [];
  if (!("A_Expr" in node)) return [];
  const { kind, name = [], lexpr, rexpr } = node.A_Expr;
  const [operator] = name;
  const known =
    operator !== undefined && "String" in operator && strict.has(operator.String.sval ?? "");
  if (kind === "AEXPR_IN" || kind === "AEXPR_BETWEEN" || kind === "AEXPR_LIKE")
    return columnOf(lexpr);
  return kind === "AEXPR_OP" && known ? [...columnOf(lexpr), ...columnOf(rexpr)] : [];
}

function columnOf(node: Node | undefined): readonly string[] {
  const last =
    node !== undefined && "ColumnRef" in node ? node.ColumnRef.fields?.at(-1) : undefined;
  const name = last !== undefined && "String" in last ? last.String.sval : undefined;
  return name === undefined ? [] : [name];
}

/** The one statement that `before`, the text and `after` make together. */
function parseWithin(parser: SqlParser, before: string, text: string, after: string): Node {
  if (text.trim() === "") throw new NotAllowed("it is empty", 0);
  try {
    const script = `${before}${text}${after}`;
    const [statement] = parser.parse(script);
    if (statement === undefined) throw new NotAllowed("it is empty", 0);
    if (statement.end !== script.trimEnd().length) {
      throw new NotAllowed('syntax error at or near ";"', statement.end - before.length);
    }
    const parameter = findParameter(statement.node);
    if (parameter !== null) {
      throw new NotAllowed("a parameter is not allowed", indexOf(before, text, parameter));
    }
    return statement.node;
  } catch (error) {
    if (!(error instanceof SqlSyntaxError)) throw error;
    const index = error.index - before.length;
    if (index >= text.length) throw new NotAllowed("syntax error at the end", text.length);
    // What the parser quotes may extend beyond the text.
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

/** The location of the first `$1`. */
function findParameter(tree: unknown): number | null {
  if (typeof tree !== "object" || tree === null) return null;
  for (const [name, value] of Object.entries(tree)) {
    if (name === "ParamRef") return (value as { location?: number }).location ?? 0;
    const found = findParameter(value);
    if (found !== null) return found;
  }
  return null;
}
