// The safe forms that take a backfill between two migrations. The SQL of the migrations is in src/postgres/steps.ts.

import { backfillWords } from "../backfill/job.ts";
import { quoteName, quoteRelation } from "../postgres/names.ts";
import {
  commandStep,
  dropColumn,
  makeStep,
  notNullSteps,
  type Step,
  type StepStatement,
} from "../postgres/steps.ts";
import { updateOf } from "./clauses.ts";
import { findVolatile, hasColumn, isNullTest } from "./expressions.ts";
import type { NamedTable } from "./rules/rule.ts";
import type { Statement } from "./statements.ts";
import type { Table, World } from "./world.ts";

/** In place of an expression that only the application's authors know. */
const unknownExpression = "…";

/** Fills the column where it is NULL. @param from a column whose value the new one takes over. */
export function backfillStep(
  number: number,
  { table }: NamedTable,
  column: string,
  expression: string,
  from: string | null = null,
): Step {
  const name = quoteName(column);
  const nullable = from !== null && table.columns.get(from)?.notNull !== true;
  const value = expression === quoteName(from ?? "") ? expression : `(${expression})`;
  return commandStep(
    `${number}. the backfill, in batches, between two deploys`,
    backfillWords({
      table: quoteRelation(table.name),
      set: `${name} = ${expression}`,
      // A row that has nothing to take over would never be filled.
      where: nullable ? `${name} IS NULL AND ${value} IS NOT NULL` : `${name} IS NULL`,
    }),
  );
}

/** An UPDATE of one column as a backfill; null where it is not known which rows are left to update. */
export function updateInBatches(statement: Statement, world: World, table: Table): Step | null {
  const { node } = statement;
  if (!("UpdateStmt" in node)) return null;
  const { relation, targetList = [], whereClause, fromClause, withClause } = node.UpdateStmt;
  const [first, ...others] = targetList.flatMap((one) =>
    "ResTarget" in one ? [one.ResTarget] : [],
  );
  const plain =
    relation?.alias === undefined && fromClause === undefined && withClause === undefined;
  if (!plain || first?.name === undefined || others.length > 0) return null;
  const { name, val, indirection, location = 0 } = first;
  const { set, expression, where } = updateOf(statement, location);
  const fills = where !== null && isNullTest(whereClause, name);
  // Another value each time, or one that depends on the value before: no row would ever be done.
  const repeats = hasColumn(val, name) || findVolatile(val, world) !== null;
  if (indirection !== undefined || (repeats && !fills)) return null;
  const differs = `${quoteName(name)} IS DISTINCT FROM (${expression})`;
  return commandStep(
    "between two deploys, in batches",
    backfillWords({
      table: quoteRelation(table.name),
      set,
      where: fills ? where : where === null ? differs : `${differs} AND (${where})`,
    }),
  );
}

/** A column that may be NULL, the backfill, NOT NULL. @param added adds the column; null where it exists. */
export function threeSteps(
  target: NamedTable,
  column: string,
  major: number | null,
  added: StepStatement | null,
): Step[] {
  const first = `1. the column may be NULL${added === null ? " (as now)" : ""}; the new version of the application fills it`;
  return [
    makeStep(first, added === null ? [] : [added]),
    backfillStep(2, target, column, unknownExpression),
    ...notNullSteps(target.name, column, major, ["3a. ", "3b. "]),
  ];
}

/** Another column in the place of `from`, over two deploys. @param added null: it has the type of the old one. */
export function expandAndContract(
  target: NamedTable,
  { from, to, expression }: { from: string; to: string; expression: string },
  added: StepStatement | null,
): Step[] {
  const same = added === null ? ` ${quoteName(to)}, of the same type` : "";
  return [
    makeStep(
      `1. expand: another column${same}, which the new version of the application writes as well`,
      added === null ? [] : [added],
    ),
    backfillStep(2, target, to, expression, from),
    makeStep("3. contract: in the next deploy, whose version knows only the new column", [
      dropColumn(target.name, from),
    ]),
  ];
}
