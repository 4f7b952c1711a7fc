// What a rule is: a pure function from a statement, and what is known before it, to what is unsafe about it. The size of
// the table decides how bad that is.

import type { AlterTableCmd, RangeVar } from "libpg-query";
import type { Work } from "../locks.ts";
import { quoteRelation, relationOf, type RelationName } from "../sql.ts";
import type { Statement } from "../statements.ts";
import type { HeldLock, Table, World } from "../world.ts";

export const severities = ["error", "warning", "note"] as const;
/** `error` is refused, `warning` is for a person to judge, `note` is harmless at the table's present size. */
export type Severity = (typeof severities)[number];

/** One step of the safe form: a revision of its own, in which nothing else stands. */
export interface SafeStep {
  readonly title: string;
  readonly sql: string;
  /** The lines for upgrade(). */
  readonly alembic: string;
}

/** What a rule has against a statement. */
export interface Problem {
  readonly severity: Severity;
  /** `posts.word_count` */
  readonly object: string;
  /** One sentence: what happens. */
  readonly message: string;
  /** What is done under the lock, and to which table. */
  readonly work: { readonly kind: Work; readonly table: Table } | null;
  /** How else: one sentence where there are no steps. */
  readonly advice: string;
  readonly safe: readonly SafeStep[];
  /** What could not be known, and would have mattered. */
  readonly unknown: readonly string[];
}

export interface RuleContext {
  readonly statement: Statement;
  /** As it is before the statement. */
  readonly world: World;
  /** The locks that this transaction holds already, each from the first statement that took it. */
  readonly held: readonly HeldLock[];
  /** The statements of this transaction that have added a value to an enum. */
  readonly newValues: readonly Statement[];
  /** The statements of this transaction after it. */
  readonly later: readonly Statement[];
  /** The tables of which this transaction has changed many rows already, each with the first statement. */
  readonly changed: readonly { readonly table: Table; readonly statement: Statement }[];
  /** A table of fewer rows is small. */
  readonly smallRows: number;
}

export interface Rule {
  /** `set-not-null`: its name in findings and suppressions. */
  readonly id: string;
  /** What it is about, for a list of rules. */
  readonly about: string;
  readonly check: (context: RuleContext) => readonly Problem[];
}

/**
 * How much work a table is: `unseen` is of this transaction, `empty` of an earlier one of the script, with nothing in it.
 */
export type Weight = "unseen" | "empty" | "small" | "live";

export function weigh({ statement, smallRows }: RuleContext, table: Table): Weight {
  const { createdBy, size } = table;
  if (createdBy !== null && createdBy.transaction !== null) {
    if (createdBy.transaction === statement.transaction) return "unseen";
  }
  if (size.rows === 0 && createdBy !== null) return "empty";
  return size.rows !== null && size.rows < smallRows ? "small" : "live";
}

/** How bad work in proportion to the table is; null where it is none. */
export function severityOf(context: RuleContext, table: Table): Severity | null {
  switch (weigh(context, table)) {
    case "unseen":
    case "empty":
      return null;
    case "small":
      return "note";
    case "live":
      return "error";
  }
}

/** Whether the application may know the table: it was there before these migrations. */
export function isInUse(table: Table): boolean {
  return table.createdBy === null;
}

/** A table as the statement names it. */
export interface Target {
  readonly table: Table;
  readonly name: RelationName;
  /** Quoted. */
  readonly sql: string;
}

export function targetOf(world: World, range: RangeVar | undefined): Target | null {
  const name = relationOf(range);
  return name === null ? null : { table: world.table(name), name, sql: quoteRelation(name) };
}

/** A rule about one command of ALTER TABLE. */
export function commandRule(
  id: string,
  about: string,
  check: (
    context: RuleContext,
    target: Target,
    command: AlterTableCmd,
    all: readonly AlterTableCmd[],
  ) => readonly Problem[],
): Rule {
  return {
    id,
    about,
    check(context) {
      const { node, opaque } = context.statement;
      if (opaque || !("AlterTableStmt" in node)) return [];
      const { relation, objtype, cmds = [] } = node.AlterTableStmt;
      const target = targetOf(context.world, relation);
      if (target === null || objtype !== "OBJECT_TABLE") return [];
      const commands = cmds.flatMap((one) => ("AlterTableCmd" in one ? [one.AlterTableCmd] : []));
      return commands.flatMap((command) => check(context, target, command, commands));
    },
  };
}
