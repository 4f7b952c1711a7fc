// The lint itself: it checks every statement of a script against every rule, with what is known before it. Pure: the
// same statements and the same catalog give the same findings.

import type { RangeVar } from "libpg-query";
import { quoteRelation } from "../postgres/names.ts";
import type { SqlParser } from "../postgres/parser.ts";
import type { Step } from "../postgres/steps.ts";
import { relationOfWords, wordsOf } from "../postgres/tree.ts";
import type { Catalog } from "./catalog.ts";
import {
  backfilledTable,
  droppedTables,
  estimateSeconds,
  lockModes,
  locksOf,
  type HeldLock,
  type Lock,
  type LockMode,
  type WorkKind,
} from "./locks.ts";
import {
  weigh,
  type Problem,
  type RuleContext,
  type Severity,
  type StatementKind,
} from "./rules/rule.ts";
import { rulesFor } from "./rules/table.ts";
import type { Script, Statement } from "./statements.ts";
import { World, type Table } from "./world.ts";

/** What a rule found: facts as they are before the statement. */
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
  readonly safe: readonly Step[];
  readonly unknown: readonly string[];
}

/** How much is done under the lock. */
export interface WorkFacts {
  readonly kind: WorkKind;
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
  /** Whether all of the script runs at once, so that what an earlier transaction created is still new. */
  readonly together?: boolean;
  /** What ran before the script: it is not judged. `doubtful` is of a migration that is not known to its end. */
  readonly earlier?: readonly { readonly statement: Statement; readonly doubtful: boolean }[];
  /** Tables whose rows only the migrations change: the version table. */
  readonly ownTables: readonly string[];
  /** How the tool gives each migration a transaction of its own; null where that is not known. */
  readonly ownTransactions?: string | null;
}

/** What is unsafe in a script, in the order of its statements. */
export function checkScript(
  parser: SqlParser,
  { statements }: Script,
  {
    catalog,
    smallRows,
    together = true,
    earlier = [],
    ownTables,
    ownTransactions = null,
  }: CheckOptions,
): Finding[] {
  const world = new World(catalog, parser);
  for (const { statement, doubtful } of earlier) {
    if (statement.opaque || doubtful) world.forget();
    else world.apply(statement);
  }
  world.endTransaction();
  world.forgetCreation();
  const found: Finding[] = [];
  let held: HeldLock[] = [];
  let changed: { table: Table; statement: Statement }[] = [];
  let newValues: Statement[] = [];
  const newEnums = new Set<string>();
  const drops = findDrops(statements);
  let dropped: ReadonlySet<string> = new Set();
  let transaction: number | null = null;
  for (const [index, statement] of statements.entries()) {
    if (statement.transaction === null || statement.transaction !== transaction) {
      [held, changed, newValues] = [[], [], []];
      newEnums.clear();
      const mine = statement.transaction;
      const own = mine === null ? [statement] : (drops.get(mine) ?? []);
      dropped = new Set(
        own.flatMap(({ node }) => droppedTables(node, world)).map(({ key }) => key),
      );
      ({ transaction } = statement);
      world.endTransaction();
      // A statement outside of a transaction may be in the middle of its migration.
      const before = statements[index - 1]?.revision ?? null;
      if (!together && (before === null || before !== statement.revision)) world.forgetCreation();
    }
    const locks = locksOf(statement, world);
    const context: RuleContext = {
      statement,
      world,
      locks,
      held,
      newValues,
      get later() {
        return findLater(statements, index);
      },
      changed,
      dropped,
      smallRows,
      ownTransactions,
    };
    const changes = backfilledTable(statement, world);
    const own = changes !== null && ownTables.includes(changes.name.name);
    if (!own && !changesNothing(statement, world)) {
      for (const rule of rulesFor(kindOf(statement))) {
        for (const problem of rule.check(context))
          found.push(toFinding(rule.id, problem, statement, locks));
      }
    }
    // A lock on a table that nobody else sees yet blocks nobody.
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
    // The values of an enum that the transaction itself creates can be used at once.
    if ("CreateEnumStmt" in statement.node)
      newEnums.add(wordsOf(statement.node.CreateEnumStmt.typeName).at(-1) ?? "");
    if ("AlterEnumStmt" in statement.node) {
      const name = wordsOf(statement.node.AlterEnumStmt.typeName).at(-1) ?? "";
      if (!newEnums.has(name)) newValues.push(statement);
    }
    world.apply(statement);
  }
  return found;
}

function kindOf({ node, opaque }: Statement): StatementKind {
  return opaque ? "opaque" : (Object.keys(node)[0] as StatementKind);
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

/** The statements that drop tables, by their transactions. */
function findDrops(statements: readonly Statement[]): ReadonlyMap<number, readonly Statement[]> {
  const found = new Map<number, Statement[]>();
  for (const statement of statements) {
    const { node, transaction, opaque } = statement;
    if (transaction === null || opaque || !("DropStmt" in node)) continue;
    const known = found.get(transaction);
    if (known === undefined) found.set(transaction, [statement]);
    else known.push(statement);
  }
  return found;
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
