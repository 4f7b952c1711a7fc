// What a transaction holds while it does something else, what cannot be in one, and what is known only at run time.

import type { Node } from "libpg-query";
import { quoteLiteral, quoteName, quoteRelation } from "../../postgres/names.ts";
import { makeStep, plainStatement } from "../../postgres/steps.ts";
import { hasOption } from "../../postgres/tree.ts";
import { formatStatement } from "../clauses.ts";
import { backfilledTable, commandsOf, isConcurrent, type HeldLock, type Lock } from "../locks.ts";
import { updateInBatches } from "../safe-forms.ts";
import type { Statement } from "../statements.ts";
import type { Table, World } from "../world.ts";
import {
  blocksWrites,
  isInUse,
  severityOf,
  strongest,
  weigh,
  type Problem,
  type Rule,
  type RuleContext,
} from "./rule.ts";

/** How to leave the transaction that holds a lock. */
function splitAdvice({ ownTransactions: how, statement }: RuleContext, first: Statement): string {
  if (first.revision === null || first.revision === statement.revision) {
    return `put it into a migration of its own, with a transaction of its own${how === null ? "" : ` (${how})`}`;
  }
  return `the migrations share one transaction: give each its own${how === null ? "" : ` (${how})`}`;
}

/** The first lock on another large table that this statement has to wait for, with a large one locked already. */
function findNextLock(context: RuleContext, held: HeldLock): Lock | null {
  const waiting = (table: Table) => weigh(context, table) === "live" && isInUse(table);
  // A table of an earlier statement may be larger by now, or have another name.
  if (held.mode !== "ACCESS EXCLUSIVE" || !waiting(held.table)) return null;
  const known = new Set([...context.held.map(({ table }) => table.key), ...context.dropped]);
  return (
    context.locks.find(
      ({ mode, table }) => blocksWrites(mode) && waiting(table) && !known.has(table.key),
    ) ?? null
  );
}

const lockHeld: Rule = {
  id: "lock-held",
  about: "Long work after a lock in the same transaction: the lock is held until it is done",
  example:
    "BEGIN; ALTER TABLE posts ADD CHECK (id > 0) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT c",
  lock: "SHARE UPDATE EXCLUSIVE",
  on: null,
  check(context) {
    const { statement, world } = context;
    if (context.held.length === 0) return [];
    const lock = strongest(context.held.filter(({ table }) => !context.dropped.has(table.key)));
    if (lock === null) return [];
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
          advice: splitAdvice(context, lock.statement),
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
          advice: splitAdvice(context, lock.statement),
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
      const alone = makeStep("the next migration", [plainStatement(formatStatement(statement))]);
      return [
        {
          severity,
          object: quoteRelation(table.name),
          message: `VALIDATE CONSTRAINT ${quoteName(name)} reads every row while ${holds}`,
          work: { kind: "scan", table },
          advice: splitAdvice(context, lock.statement),
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
    "DDL and a backfill in one transaction: the table, or its rows, stay locked until both are done",
  example: "BEGIN; ALTER TABLE posts ADD COLUMN n integer; UPDATE posts SET n = 1",
  lock: "those of the DDL",
  on: null,
  check(context) {
    const { statement, world, held, changed } = context;
    const table = backfilledTable(statement, world);
    if (table !== null) {
      const lock = strongest(held);
      const weight = weigh(context, table);
      if (lock === null || weight === "unseen" || weight === "empty") return [];
      const batches = updateInBatches(statement, world, table);
      return [
        {
          severity: weight === "small" ? "note" : "error",
          object: quoteRelation(table.name),
          message: `this transaction updates the rows of ${quoteRelation(table.name)} while it still holds ${lock.mode} on ${quoteRelation(lock.table.name)}`,
          work: { kind: "update", table },
          advice: `${splitAdvice(context, lock.statement)}; better, update them in batches between two deploys`,
          safe: batches === null ? [] : [batches],
          unknown: [],
        },
      ];
    }
    const [before] = changed;
    if (before === undefined) return [];
    const exclusive = held.filter(({ mode }) => mode === "ACCESS EXCLUSIVE");
    // Once is enough: the first one waits while the rows are locked.
    if (exclusive.some((one) => one.statement.start > before.statement.start)) return [];
    const lock = context.locks.find(
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
        message: `this transaction has updated rows of ${name}, and locks them while it waits for ACCESS EXCLUSIVE on ${quoteRelation(lock.table.name)}`,
        work: null,
        advice: splitAdvice(context, before.statement),
        safe: [],
        unknown: [],
      },
    ];
  },
};

const concurrentlyInTransaction: Rule = {
  id: "concurrently-in-transaction",
  about: "CONCURRENTLY fails in a transaction",
  example: "BEGIN; CREATE INDEX CONCURRENTLY i ON posts (title)",
  lock: "SHARE UPDATE EXCLUSIVE",
  on: ["IndexStmt", "DropStmt", "AlterTableStmt", "ReindexStmt"],
  check({ statement }) {
    if (statement.transaction === null || !isConcurrent(statement.node)) return [];
    const text = formatStatement(statement);
    return [
      {
        severity: "error",
        object: text.split(/\s+/).slice(0, 2).join(" "),
        message: "CONCURRENTLY fails in a transaction",
        work: null,
        advice: "",
        safe: [
          makeStep("outside of the migration's transaction", [plainStatement(text)], "between"),
        ],
        unknown: [],
      },
    ];
  },
};

const failsInTransaction: Rule = {
  id: "fails-in-transaction",
  about: "VACUUM, ALTER SYSTEM, CREATE DATABASE and the like fail in a transaction",
  example: "BEGIN; VACUUM posts",
  lock: "none",
  on: [
    "VacuumStmt",
    "AlterSystemStmt",
    "CreatedbStmt",
    "DropdbStmt",
    "AlterDatabaseStmt",
    "CreateTableSpaceStmt",
    "DropTableSpaceStmt",
    "ReindexStmt",
    "ClusterStmt",
    "CreateSubscriptionStmt",
    "DropSubscriptionStmt",
    "AlterSubscriptionStmt",
    "DiscardStmt",
  ],
  check({ statement, world }) {
    const what =
      statement.transaction === null ? null : refusedInTransaction(statement.node, world);
    if (what === null) return [];
    const unless = what === "DROP SUBSCRIPTION" ? ", if the subscription has a slot" : "";
    return [
      {
        severity: unless === "" ? "error" : "warning",
        object: what,
        message: `${what} fails in a transaction${unless}`,
        work: null,
        advice: "",
        safe: [
          makeStep(
            "outside of the migration's transaction",
            [plainStatement(formatStatement(statement))],
            "between",
          ),
        ],
        unknown: [],
      },
    ];
  },
};

/** What the server refuses to do in a transaction; null for all else. */
function refusedInTransaction(node: Node, world: World): string | null {
  if ("VacuumStmt" in node) return node.VacuumStmt.is_vacuumcmd === true ? "VACUUM" : null;
  if ("AlterSystemStmt" in node) return "ALTER SYSTEM";
  if ("CreatedbStmt" in node) return "CREATE DATABASE";
  if ("DropdbStmt" in node) return "DROP DATABASE";
  if ("CreateTableSpaceStmt" in node) return "CREATE TABLESPACE";
  if ("DropTableSpaceStmt" in node) return "DROP TABLESPACE";
  if ("AlterDatabaseStmt" in node) {
    const moves = (node.AlterDatabaseStmt.options ?? []).some(
      (one) => "DefElem" in one && one.DefElem.defname === "tablespace",
    );
    return moves ? "ALTER DATABASE … SET TABLESPACE" : null;
  }
  if ("ReindexStmt" in node) {
    const { kind, relation } = node.ReindexStmt;
    // CONCURRENTLY has a rule of its own.
    if (isConcurrent(node)) return null;
    if (relation === undefined) return "REINDEX of many tables";
    return kind === "REINDEX_OBJECT_TABLE" && world.table(relation).kind === "p"
      ? "REINDEX of a partitioned table"
      : null;
  }
  if ("ClusterStmt" in node) {
    const { relation } = node.ClusterStmt;
    if (relation === undefined) return "CLUSTER of all tables";
    return world.table(relation).kind === "p" ? "CLUSTER of a partitioned table" : null;
  }
  if ("CreateSubscriptionStmt" in node) {
    const { options } = node.CreateSubscriptionStmt;
    const given = (name: string) =>
      (options ?? []).some((one) => "DefElem" in one && one.DefElem.defname === name);
    const makesSlot =
      (!given("connect") || hasOption(options, "connect")) &&
      (!given("create_slot") || hasOption(options, "create_slot"));
    return makesSlot ? "CREATE SUBSCRIPTION with a slot" : null;
  }
  if ("DropSubscriptionStmt" in node) return "DROP SUBSCRIPTION";
  if ("AlterSubscriptionStmt" in node) {
    const refreshes = String(node.AlterSubscriptionStmt.kind).startsWith(
      "ALTER_SUBSCRIPTION_REFRESH",
    );
    return refreshes ? "ALTER SUBSCRIPTION … REFRESH" : null;
  }
  return "DiscardStmt" in node && node.DiscardStmt.target === "DISCARD_ALL" ? "DISCARD ALL" : null;
}

const enumValue: Rule = {
  id: "add-enum-value",
  about:
    "A new value of an enum cannot be used in the transaction that adds it, nor added in one before 12",
  example: "BEGIN; ALTER TYPE mood ADD VALUE 'calm'; UPDATE posts SET title = 'calm'",
  lock: "none",
  on: null,
  check({ statement, world, newValues }) {
    const { node, transaction } = statement;
    if (transaction === null) return [];
    const common = {
      severity: "error" as const,
      work: null,
      advice: "",
      unknown: [],
    };
    const step = (adding: Statement) =>
      makeStep(
        "the value by itself, outside of the migration's transaction",
        [plainStatement(formatStatement(adding))],
        "between",
      );
    if ("AlterEnumStmt" in node && node.AlterEnumStmt.oldVal === undefined) {
      if (world.serverMajor === null || world.serverMajor >= 12) return [];
      return [
        {
          ...common,
          object: node.AlterEnumStmt.newVal ?? "",
          message: "ALTER TYPE … ADD VALUE fails in a transaction before PostgreSQL 12",
          safe: [step(statement)],
        },
      ];
    }
    return newValues.flatMap((before): Problem[] => {
      if (!("AlterEnumStmt" in before.node)) return [];
      const { newVal = "", oldVal } = before.node.AlterEnumStmt;
      if (oldVal !== undefined || !hasString(node, newVal)) return [];
      return [
        {
          ...common,
          object: newVal,
          message: `the transaction that adds the value ${quoteLiteral(newVal)} uses it, which fails`,
          safe: [step(before)],
        },
      ];
    });
  },
};

/** Whether a string literal of the statement is just that. */
function hasString(tree: unknown, text: string): boolean {
  if (typeof tree !== "object" || tree === null) return false;
  return Object.entries(tree).some(([key, inner]) =>
    key === "A_Const"
      ? (inner as { sval?: { sval?: string } }).sval?.sval === text
      : hasString(inner, text),
  );
}

const opaque: Rule = {
  id: "opaque",
  about:
    "EXECUTE in a DO block, or a DO block in another language: what it runs is known only at run time",
  example: "DO $$ BEGIN EXECUTE format('DROP TABLE %I', current_user); END $$",
  lock: "not known",
  on: ["opaque"],
  check({ statement }) {
    if (!statement.opaque) return [];
    const execute = statement.node !== undefined && statement.text.length > 0;
    return [
      {
        severity: "warning",
        object: "DO",
        message:
          `what ${execute ? `EXECUTE ${statement.text}` : "this block"} runs is known only at run time`.replaceAll(
            /\s+/g,
            " ",
          ),
        work: null,
        advice: "review it by hand, or write the statements out",
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
  failsInTransaction,
  enumValue,
  opaque,
];
