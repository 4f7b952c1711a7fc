// What the server concludes from an expression: that a check rejects NULL, that a default is volatile.

import type { Node } from "libpg-query";
import { wordsOf } from "../postgres/tree.ts";
import type { TableConstraint, World } from "./world.ts";

/** Whether the server skips the scan of SET NOT NULL: so much it concludes from a valid CHECK, and no more. */
export function provesNotNull(constraint: TableConstraint, column: string): boolean {
  return constraint.kind === "check" && constraint.expression !== null
    ? impliesNotNull(constraint.expression, column)
    : false;
}

function impliesNotNull(expression: Node, column: string): boolean {
  if ("NullTest" in expression) {
    const { arg, nulltesttype } = expression.NullTest;
    if (nulltesttype !== "IS_NOT_NULL" || arg === undefined) return false;
    // A row is NOT NULL when each of its columns is.
    return "RowExpr" in arg
      ? (arg.RowExpr.args ?? []).some((one) => isColumn(one, column))
      : isColumn(arg, column);
  }
  if ("BoolExpr" in expression) {
    const { boolop, args = [] } = expression.BoolExpr;
    if (boolop === "AND_EXPR") return args.some((one) => impliesNotNull(one, column));
    return boolop === "NOT_EXPR" && args.some((one) => isTrueOfNull(one, column));
  }
  if ("A_Expr" in expression && expression.A_Expr.kind === "AEXPR_DISTINCT") {
    const { lexpr, rexpr } = expression.A_Expr;
    return (isColumn(lexpr, column) && isNull(rexpr)) || (isNull(lexpr) && isColumn(rexpr, column));
  }
  return false;
}

/** Whether a NULL makes the condition true, so that its opposite leaves none. */
function isTrueOfNull(expression: Node, column: string): boolean {
  if (isNullTest(expression, column)) return true;
  if (!("BoolExpr" in expression)) return false;
  const { boolop, args = [] } = expression.BoolExpr;
  return boolop === "OR_EXPR" && args.some((one) => isTrueOfNull(one, column));
}

export function isColumn(node: Node | undefined, column: string): boolean {
  return (
    node !== undefined && "ColumnRef" in node && wordsOf(node.ColumnRef.fields).at(-1) === column
  );
}

/** `column IS NULL` and nothing else. */
export function isNullTest(node: Node | undefined, column: string): boolean {
  return (
    node !== undefined &&
    "NullTest" in node &&
    node.NullTest.nulltesttype === "IS_NULL" &&
    isColumn(node.NullTest.arg, column)
  );
}

/** Whether the column occurs anywhere in the expression. */
export function hasColumn(tree: unknown, column: string): boolean {
  if (typeof tree !== "object" || tree === null) return false;
  return (
    isColumn(tree as Node, column) || Object.values(tree).some((inner) => hasColumn(inner, column))
  );
}

export function isNull(node: Node | undefined): boolean {
  if (node === undefined) return false;
  if ("TypeCast" in node) return isNull(node.TypeCast.arg);
  return "A_Const" in node && node.A_Const.isnull === true;
}

/** PostgreSQL's own functions that occur in defaults, where there is no catalog. */
const volatileFunctions = new Set([
  "nextval",
  "random",
  "clock_timestamp",
  "timeofday",
  "gen_random_uuid",
  "gen_random_bytes",
  "uuidv4",
  "uuidv7",
  "uuid_generate_v1",
  "uuid_generate_v1mc",
  "uuid_generate_v4",
  "setval",
  "currval",
  "pg_sleep",
]);
const steadyFunctions = new Set(
  "now transaction_timestamp statement_timestamp timezone date_trunc lower upper concat coalesce to_char to_timestamp to_date md5 length json_build_object jsonb_build_object json_build_array jsonb_build_array to_json to_jsonb to_tsvector array_length date_part round floor ceil abs current_setting left right btrim make_interval make_date array_fill int4range numrange tstzrange daterange txid_current pg_current_xact_id".split(
    " ",
  ),
);

/** The first function of an expression that returns another value at each call, or may do so. */
export function findVolatile(
  expression: Node | undefined,
  world: World,
): { name: string; certain: boolean } | null {
  let doubtful: string | null = null;
  const walk = (value: unknown): string | null => {
    if (Array.isArray(value)) {
      for (const each of value) {
        const found = walk(each);
        if (found !== null) return found;
      }
      return null;
    }
    if (typeof value !== "object" || value === null) return null;
    for (const [key, inner] of Object.entries(value)) {
      if (key === "FuncCall") {
        const name = wordsOf((inner as { funcname?: Node[] }).funcname).at(-1) ?? "";
        const known = world.volatilityOf(name);
        if (known === "v" || (known === null && volatileFunctions.has(name))) return name;
        if (known === null && !steadyFunctions.has(name)) doubtful ??= name;
      }
      const found = walk(inner);
      if (found !== null) return found;
    }
    return null;
  };
  const certain = walk(expression);
  if (certain !== null) return { name: certain, certain: true };
  return doubtful === null ? null : { name: doubtful, certain: false };
}
