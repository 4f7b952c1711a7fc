// What a transaction holds while it does something else, what cannot be in one, and what nobody can see beforehand.

import { backfilledTable, commandsOf, isConcurrent, locksOf, type Lock } from "../locks.ts";
import { sqlStep } from "../safe-forms.ts";
import { executePython, quoteRelation } from "../sql.ts";
import type { Statement } from "../statements.ts";
import type { HeldLock, Table } from "../world.ts";
import { isInUse, severityOf, weigh, type Problem, type Rule, type RuleContext } from "./rule.ts";

/** The strongest lock on a table that somebody else may use. */
function strongest({ held }: RuleContext): HeldLock | null {
  const order = ["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"] as const;
  for (const mode of order) {
    const found = held.find((one) => one.mode === mode);
    if (found !== undefined) return found;
  }
  return null;
}

/** How to come out of a transaction that holds a lock. */
function splitAdvice(first: Statement, second: Statement): string {
  return first.revision === null || first.revision === second.revision
    ? "put it into a revision of its own, with a transaction of its own (transaction_per_migration=True in env.py)"
    : "the revisions share one transaction: transaction_per_migration=True in env.py gives each its own";
}

/** The first lock on another large table that this statement has to wait for, with a large one locked already. */
function findNextLock(context: RuleContext, held: HeldLock): Lock | null {
  const { statement, world } = context;
  const waiting = (table: Table) => weigh(context, table) === "live" && isInUse(table);
  // A table of an earlier statement may be larger by now, or have another name.
  if (held.mode !== "ACCESS EXCLUSIVE" || !waiting(held.table)) return null;
  const known = new Set(context.held.map(({ table }) => table.key));
  return (
    locksOf(statement, world).find(
      ({ mode, table }) =>
        ["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"].includes(mode) &&
        waiting(table) &&
        !known.has(table.key),
    ) ?? null
  );
}

const lockHeld: Rule = {
  id: "lock-held",
  about: "Long work after a lock in the same transaction: the lock is held all along",
  check(context) {
    const { statement, world } = context;
    const lock = strongest(context);
    if (lock === null || statement.opaque) return [];
    const { node } = statement;
    const holds = `this transaction still holds ${lock.mode} on ${quoteRelation(lock.table.name)}`;
    const next = findNextLock(context, lock);
    if (next !== null) {
      return [
        {
          severity: "warning",
          object: quoteRelation(next.table.name),
          message: `waits for ${next.mode} on ${quoteRelation(next.table.name)} while ${holds}`,
          work: null,
          advice: splitAdvice(lock.statement, statement),
          safe: [],
          unknown: [],
        },
      ];
    }
    if ("CreateTableAsStmt" in node) {
      return [
        {
          severity: "warning",
          object: node.CreateTableAsStmt.into?.rel?.relname ?? "",
          message: `the query of CREATE … AS runs while ${holds}`,
          work: null,
          advice: splitAdvice(lock.statement, statement),
          safe: [],
          unknown: [],
        },
      ];
    }
    return commandsOf(node).flatMap(({ subtype, name = "" }): Problem[] => {
      if (subtype !== "AT_ValidateConstraint" || !("AlterTableStmt" in node)) return [];
      const { relation } = node.AlterTableStmt;
      if (relation === undefined) return [];
      const table = world.table(relation);
      const severity = severityOf(context, table);
      if (severity === null) return [];
      const alone = sqlStep("the next revision", statement.text);
      return [
        {
          severity,
          object: quoteRelation(table.name),
          message: `VALIDATE CONSTRAINT ${name} reads every row while ${holds}`,
          work: { kind: "scan", table },
          advice: splitAdvice(lock.statement, statement),
          safe: lock.statement.revision === statement.revision ? [alone] : [],
          unknown: [],
        },
      ];
    });
  },
};

const ddlAndBackfill: Rule = {
  id: "ddl-and-backfill",
  about:
    "DDL and a backfill in one transaction: the lock, or the rows, are held until both are done",
  check(context) {
    const { statement, world, held, changed } = context;
    const table = backfilledTable(statement, world);
    if (table !== null) {
      const lock = held.find(({ mode }) => mode === "ACCESS EXCLUSIVE");
      const weight = weigh(context, table);
      if (lock === undefined || weight === "unseen" || weight === "empty") return [];
      return [
        {
          severity: weight === "small" ? "note" : "error",
          object: quoteRelation(table.name),
          message: `the rows of ${quoteRelation(table.name)} are changed while this transaction still holds ACCESS EXCLUSIVE on ${quoteRelation(lock.table.name)}`,
          work: { kind: "update", table },
          advice: `${splitAdvice(lock.statement, statement)}; better still in batches, outside of the migrations`,
          safe: [],
          unknown: [],
        },
      ];
    }
    const [before] = changed;
    if (before === undefined) return [];
    const exclusive = held.filter(({ mode }) => mode === "ACCESS EXCLUSIVE");
    // Once is enough: the first one waits with the rows in hand.
    if (exclusive.some((one) => one.statement.start > before.statement.start)) return [];
    const lock = locksOf(statement, world).find(
      (one) =>
        one.mode === "ACCESS EXCLUSIVE" &&
        isInUse(one.table) &&
        exclusive.every(({ table: { key } }) => key !== one.table.key),
    );
    if (lock === undefined) return [];
    const name = quoteRelation(before.table.name);
    return [
      {
        severity: weigh(context, before.table) === "small" ? "note" : "warning",
        object: quoteRelation(lock.table.name),
        message: `this transaction has changed the rows of ${name}, and keeps them from other writers while it waits for ACCESS EXCLUSIVE on ${quoteRelation(lock.table.name)}`,
        work: null,
        advice: splitAdvice(before.statement, statement),
        safe: [],
        unknown: [],
      },
    ];
  },
};

const concurrentlyInTransaction: Rule = {
  id: "concurrently-in-transaction",
  about: "CONCURRENTLY fails in a transaction",
  check({ statement }) {
    if (statement.opaque || statement.transaction === null || !isConcurrent(statement.node))
      return [];
    const { text } = statement;
    return [
      {
        severity: "error",
        object: text.split(/\s+/).slice(0, 2).join(" "),
        message: "CONCURRENTLY fails in a transaction",
        work: null,
        advice: "",
        safe: [
          {
            title: "outside of the migration's transaction",
            sql: `COMMIT;\n${text};\nBEGIN;`,
            alembic: `with op.get_context().autocommit_block():\n    ${executePython(text.replaceAll(/\s+/g, " "))}`,
          },
        ],
        unknown: [],
      },
    ];
  },
};

const enumValue: Rule = {
  id: "add-enum-value",
  about:
    "A new value of an enum cannot be used in the transaction that adds it, nor added in one before 12",
  check({ statement, world, newValues }) {
    const { node, text, transaction } = statement;
    if (statement.opaque || transaction === null) return [];
    const common = {
      severity: "error" as const,
      work: null,
      advice: "",
      unknown: [],
    };
    const step = (sql: string) => ({
      title: "the value by itself, outside of the migration's transaction",
      sql: `COMMIT;\n${sql};\nBEGIN;`,
      alembic: `with op.get_context().autocommit_block():\n    ${executePython(sql)}`,
    });
    if ("AlterEnumStmt" in node && node.AlterEnumStmt.oldVal === undefined) {
      if (world.serverMajor === null || world.serverMajor >= 12) return [];
      return [
        {
          ...common,
          object: node.AlterEnumStmt.newVal ?? "",
          message: "ALTER TYPE … ADD VALUE fails in a transaction before PostgreSQL 12",
          safe: [step(text)],
        },
      ];
    }
    return newValues.flatMap((before): Problem[] => {
      if (!("AlterEnumStmt" in before.node)) return [];
      const { newVal = "", oldVal } = before.node.AlterEnumStmt;
      if (oldVal !== undefined || !text.includes(`'${newVal.replaceAll("'", "''")}'`)) return [];
      return [
        {
          ...common,
          object: newVal,
          message: `the new value '${newVal}' is used in the transaction that adds it, which fails`,
          safe: [step(before.text)],
        },
      ];
    });
  },
};

const opaque: Rule = {
  id: "opaque",
  about:
    "EXECUTE in a DO block, or a DO block in another language: what it runs is not known beforehand",
  check({ statement }) {
    if (!statement.opaque) return [];
    const execute = statement.node !== undefined && statement.text.length > 0;
    return [
      {
        severity: "warning",
        object: "DO",
        message:
          `what ${execute ? `EXECUTE ${statement.text}` : "this block"} runs is not known before it runs`.replaceAll(
            /\s+/g,
            " ",
          ),
        work: null,
        advice: "read it yourself; or write the statements out",
        safe: [],
        unknown: [],
      },
    ];
  },
};

export const transactionRules: readonly Rule[] = [
  lockHeld,
  ddlAndBackfill,
  concurrentlyInTransaction,
  enumValue,
  opaque,
];
