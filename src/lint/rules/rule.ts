// What a rule is: a pure function from a statement, and what is known before it, to what is unsafe about it. The size of
// the table decides the severity.

import type { AlterTableCmd, Node, RangeVar } from "libpg-query";
import { quoteRelation, type RelationName } from "../../postgres/names.ts";
import type { Step } from "../../postgres/steps.ts";
import { relationOf } from "../../postgres/tree.ts";
import { commandsOf, type HeldLock, type Lock, type LockMode, type WorkKind } from "../locks.ts";
import type { Statement } from "../statements.ts";
import type { Table, World } from "../world.ts";

export const severities = ["error", "warning", "note"] as const;
/** `error` is refused, `warning` is for a person to judge, `note` is harmless at the table's present size. */
export type Severity = (typeof severities)[number];

/** What a rule reports about a statement. */
export interface Problem {
  readonly severity: Severity;
  /** `posts.word_count` */
  readonly object: string;
  /** One sentence: what happens. */
  readonly message: string;
  /** What is done under the lock, and to which table. */
  readonly work: { readonly kind: WorkKind; readonly table: Table } | null;
  /** What to do instead: one sentence where there are no steps. */
  readonly advice: string;
  readonly safe: readonly Step[];
  /** What is not known, and would have mattered. */
  readonly unknown: readonly string[];
}

export interface RuleContext {
  readonly statement: Statement;
  /** As it is before the statement. */
  readonly world: World;
  /** The table locks that it takes. */
  readonly locks: readonly Lock[];
  /** The locks that this transaction holds already, each from the first statement that took it. */
  readonly held: readonly HeldLock[];
  /** The statements of this transaction that have added a value to an enum. */
  readonly newValues: readonly Statement[];
  /** The statements of this transaction after it. */
  readonly later: readonly Statement[];
  /** The tables of which this transaction has changed many rows already, each with the first statement. */
  readonly changed: readonly { readonly table: Table; readonly statement: Statement }[];
  /** The keys of the tables that this transaction drops: nobody will wait for them. */
  readonly dropped: ReadonlySet<string>;
  /** A table of fewer rows is small. */
  readonly smallRows: number;
  /** How the tool gives each migration a transaction of its own; null where that is not known. */
  readonly ownTransactions: string | null;
}

type KindOf<T> = T extends unknown ? keyof T : never;
/** The type of a statement's node; `opaque` is one that is known only at run time. */
export type StatementKind = KindOf<Node> | "opaque";

/** What documents and machines learn of a rule. */
export interface RuleFacts {
  /** `set-not-null`: its name in findings and suppressions. */
  readonly id: string;
  /** What it is about, for a list of rules. */
  readonly about: string;
  /** SQL in which it finds something, for a reader. */
  readonly example: string;
  /** The lock of the example; in words where it depends on more than the statement. */
  readonly lock: LockMode | "none" | "those of the DDL" | "those of the rows" | "not known";
}

export interface Rule extends RuleFacts {
  /** The statements that it is about; null: all but the opaque ones. */
  readonly on: readonly StatementKind[] | null;
  readonly check: (context: RuleContext) => readonly Problem[];
}

/**
 * How much work a table is: `unseen` is of this transaction, `empty` of an earlier one of the script, with nothing in it.
 */
type Weight = "unseen" | "empty" | "small" | "live";

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
export interface NamedTable {
  readonly table: Table;
  readonly name: RelationName;
  /** Quoted. */
  readonly sql: string;
}

export function nameTable(world: World, range: RangeVar | undefined): NamedTable | null {
  const name = relationOf(range);
  return name === null ? null : { table: world.table(name), name, sql: quoteRelation(name) };
}

export type CommandKind = NonNullable<AlterTableCmd["subtype"]>;

/** A rule about one command of ALTER TABLE, of these kinds. */
export function commandRule(
  { kinds, ...facts }: RuleFacts & { readonly kinds: readonly CommandKind[] },
  check: (
    context: RuleContext,
    target: NamedTable,
    command: AlterTableCmd,
    all: readonly AlterTableCmd[],
  ) => readonly Problem[],
): Rule {
  const isOfKind = ({ subtype }: AlterTableCmd) => subtype !== undefined && kinds.includes(subtype);
  return {
    ...facts,
    on: ["AlterTableStmt"],
    check(context) {
      const { node } = context.statement;
      if (!("AlterTableStmt" in node) || node.AlterTableStmt.objtype !== "OBJECT_TABLE") return [];
      const commands = commandsOf(node);
      if (!commands.some(isOfKind)) return [];
      const target = nameTable(context.world, node.AlterTableStmt.relation);
      if (target === null) return [];
      return commands
        .filter(isOfKind)
        .flatMap((command) => check(context, target, command, commands));
    },
  };
}

const blocking = ["ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"] as const;

/** Whether it blocks those who write. */
export function blocksWrites(mode: LockMode): boolean {
  return (blocking as readonly string[]).includes(mode);
}

/** The strongest lock that blocks writes to a table that somebody else may use. */
export function strongest(held: readonly HeldLock[]): HeldLock | null {
  for (const mode of blocking) {
    const found = held.find((one) => one.mode === mode);
    if (found !== undefined) return found;
  }
  return null;
}
