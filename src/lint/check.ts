// The lint itself: every statement of a script against every rule, with what is known before it. The same statements
// and the same catalog give the same answer; nothing is read here, and nothing is written.

import type { RangeVar } from "libpg-query";
import type { SqlParser } from "../sql/parser.ts";
import type { Catalog } from "./catalog.ts";
import {
  backfilledTable,
  estimateSeconds,
  lockModes,
  locksOf,
  type Lock,
  type LockMode,
  type Work,
} from "./locks.ts";
import {
  weigh,
  type Problem,
  type RuleContext,
  type SafeStep,
  type Severity,
} from "./rules/rule.ts";
import { rules } from "./rules/table.ts";
import { quoteRelation, relationOfWords, wordsOf } from "./sql.ts";
import type { Script, Statement } from "./statements.ts";
import { World, type HeldLock, type Table } from "./world.ts";

/** What a rule has found: plain facts, as they were before the statement. */
export interface Finding {
  readonly rule: string;
  readonly severity: Severity;
  readonly object: string;
  readonly message: string;
  readonly statement: Statement;
  readonly locks: readonly {
    readonly mode: LockMode;
    readonly table: string;
    readonly blocks: string;
  }[];
  readonly work: WorkFacts | null;
  readonly advice: string;
  readonly safe: readonly SafeStep[];
  readonly unknown: readonly string[];
}

/** How much is done under the lock. */
export interface WorkFacts {
  readonly kind: Work;
  readonly table: string;
  /** An estimate; null where it is not known. */
  readonly rows: number | null;
  /** `rows` is what the table's pages could hold at most. */
  readonly atMost: boolean;
  readonly bytes: number | null;
  /** Roughly, on a small machine; null where the size is not known. */
  readonly seconds: number | null;
}

export interface CheckOptions {
  /** Null: nothing is known but the script. */
  readonly catalog: Catalog | null;
  /** A table of fewer rows is small: what reads or writes all of it is a note. */
  readonly smallRows: number;
  /** All of the script runs at once, unless false: what an earlier transaction has created is still new. */
  readonly together?: boolean;
  /** Tables whose rows are the migrations' own business: the version table. */
  readonly ownTables: readonly string[];
}

/** What is unsafe in a script, in the order of its statements. */
export function checkScript(
  parser: SqlParser,
  { statements }: Script,
  { catalog, smallRows, together = true, ownTables }: CheckOptions,
): Finding[] {
  const world = new World(catalog, parser);
  const found: Finding[] = [];
  let held: HeldLock[] = [];
  let changed: { table: Table; statement: Statement }[] = [];
  let newValues: Statement[] = [];
  let transaction: number | null = null;
  for (const [index, statement] of statements.entries()) {
    if (statement.transaction === null || statement.transaction !== transaction) {
      [held, changed, newValues] = [[], [], []];
      ({ transaction } = statement);
      world.endTransaction();
      // An autocommit_block is in the middle of its revision.
      const before = statements[index - 1]?.revision ?? null;
      if (!together && (before === null || before !== statement.revision)) world.forgetCreation();
    }
    const context: RuleContext = {
      statement,
      world,
      held,
      newValues,
      get later() {
        return findLater(statements, index);
      },
      changed,
      smallRows,
    };
    const changes = backfilledTable(statement, world);
    const own = changes !== null && ownTables.includes(changes.name.name);
    const locks = locksOf(statement, world);
    if (!own && !changesNothing(statement, world)) {
      for (const rule of rules) {
        for (const problem of rule.check(context))
          found.push(toFinding(rule.id, problem, statement, locks));
      }
    }
    // A table that is new to everybody else is locked against nobody.
    for (const lock of locks) {
      const known = held.some(
        ({ mode, table }) => mode === lock.mode && table.key === lock.table.key,
      );
      if (!known && weigh(context, lock.table) !== "unseen")
        held.push({ ...lock, table: { ...lock.table }, statement });
    }
    if (changes !== null && !own && weigh(context, changes) !== "unseen") {
      if (changed.every(({ table }) => table.key !== changes.key))
        changed.push({ table: { ...changes }, statement });
    }
    if ("AlterEnumStmt" in statement.node) newValues.push(statement);
    world.apply(statement);
  }
  return found;
}

/** ALTER or DROP … IF EXISTS of what the catalog does not have. */
function changesNothing({ node }: Statement, world: World): boolean {
  if (world.catalog === null) return false;
  const absent = (range: RangeVar | undefined) =>
    range !== undefined && world.table(range).kind === "unknown";
  if ("AlterTableStmt" in node)
    return node.AlterTableStmt.missing_ok === true && absent(node.AlterTableStmt.relation);
  if ("RenameStmt" in node)
    return node.RenameStmt.missing_ok === true && absent(node.RenameStmt.relation);
  if (!("DropStmt" in node) || node.DropStmt.missing_ok !== true) return false;
  return (node.DropStmt.objects ?? []).every((object) => {
    const name = "List" in object ? relationOfWords(wordsOf(object.List.items)) : null;
    if (name === null) return false;
    if (node.DropStmt.removeType === "OBJECT_INDEX") return world.tableOfIndex(name) === null;
    return world.table(name).kind === "unknown";
  });
}

/** The rest of the statement's transaction. */
function findLater(statements: readonly Statement[], index: number): readonly Statement[] {
  const transaction = statements[index]?.transaction ?? null;
  if (transaction === null) return [];
  let end = index + 1;
  while (statements[end]?.transaction === transaction) end++;
  return statements.slice(index + 1, end);
}

function toFinding(
  rule: string,
  problem: Problem,
  statement: Statement,
  locks: readonly Lock[],
): Finding {
  const { work, ...rest } = problem;
  return {
    ...rest,
    rule,
    statement,
    locks: locks.map(({ mode, table }) => ({
      mode,
      table: quoteRelation(table.name),
      blocks: lockModes[mode],
    })),
    work:
      work === null
        ? null
        : {
            kind: work.kind,
            table: quoteRelation(work.table.name),
            ...work.table.size,
            seconds: estimateSeconds(work.kind, work.table),
          },
  };
}
