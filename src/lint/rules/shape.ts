// What takes something away from the version of the application that still runs: names that change, columns and tables
// that are dropped; and what rewrites a whole table.

import type { AlterTableCmd } from "libpg-query";
import { quoteName, quoteRelation } from "../../postgres/names.ts";
import {
  attachPartition,
  makeStep,
  plainStatement,
  renameBehindView,
} from "../../postgres/steps.ts";
import { relationOf } from "../../postgres/tree.ts";
import { boundsOf, formatStatement } from "../clauses.ts";
import { droppedTables, type WorkKind } from "../locks.ts";
import { hasOption } from "../../postgres/tree.ts";
import { expandAndContract } from "../safe-forms.ts";
import { isRelation, type Table } from "../world.ts";
import {
  commandRule,
  isInUse,
  nameTable,
  severityOf,
  type NamedTable,
  type Problem,
  type Rule,
  type RuleContext,
} from "./rule.ts";

const renameColumn: Rule = {
  id: "rename-column",
  about: "RENAME COLUMN breaks the version that still runs: it knows only the old name",
  example: "ALTER TABLE posts RENAME COLUMN title TO headline",
  lock: "ACCESS EXCLUSIVE",
  on: ["RenameStmt"],
  check({ statement, world }) {
    const { node } = statement;
    if (!("RenameStmt" in node)) return [];
    const { renameType, relationType, relation, subname = "", newname = "" } = node.RenameStmt;
    const target = nameTable(world, relation);
    if (renameType !== "OBJECT_COLUMN" || !isRelation(relationType)) return [];
    if (target === null || !isInUse(target.table)) return [];
    if (target.table.columns.get(subname)?.added === true) return [];
    const ofTable = relationType === "OBJECT_TABLE";
    return [
      {
        severity: "error",
        object: `${target.sql}.${quoteName(subname)}`,
        message: `RENAME COLUMN ${quoteName(subname)} TO ${quoteName(newname)} breaks the queries of the version that still runs, and of any version that you roll back to`,
        work: null,
        advice: ofTable
          ? "keep the column's name, and map a new attribute of the application to it; or expand and contract over two deploys"
          : "let the view have both columns until the next deploy",
        safe: ofTable
          ? expandAndContract(
              target,
              { from: subname, to: newname, expression: quoteName(subname) },
              null,
            )
          : [],
        unknown: [],
      },
    ];
  },
};

const renameTable: Rule = {
  id: "rename-table",
  about: "RENAME TO and SET SCHEMA break the version that still runs",
  example: "ALTER TABLE posts RENAME TO articles",
  lock: "ACCESS EXCLUSIVE",
  on: ["RenameStmt", "AlterObjectSchemaStmt"],
  check(context) {
    const { statement, world } = context;
    const { node } = statement;
    const found =
      "RenameStmt" in node && node.RenameStmt.renameType === "OBJECT_TABLE"
        ? { relation: node.RenameStmt.relation, name: node.RenameStmt.newname, schema: undefined }
        : "AlterObjectSchemaStmt" in node &&
            node.AlterObjectSchemaStmt.objectType === "OBJECT_TABLE"
          ? {
              relation: node.AlterObjectSchemaStmt.relation,
              name: undefined,
              schema: node.AlterObjectSchemaStmt.newschema,
            }
          : null;
    const target = nameTable(world, found?.relation);
    if (found === null || target === null || !isInUse(target.table)) return [];
    const viewed = context.later.some((one) => {
      const view = "ViewStmt" in one.node ? relationOf(one.node.ViewStmt.view) : null;
      return view !== null && quoteRelation(view) === target.sql;
    });
    if (viewed) return [];
    const to = {
      schema: found.schema ?? target.name.schema,
      name: found.name ?? target.name.name,
    };
    const move =
      found.schema === undefined
        ? `RENAME TO ${quoteName(to.name)}`
        : `SET SCHEMA ${quoteName(found.schema)}`;
    return [
      {
        severity: "error",
        object: target.sql,
        message: `${move} breaks the version that still runs, which uses ${target.sql}`,
        work: null,
        advice:
          "keep the table's name, and map a new class of the application to it; or leave a view of the old name, in the same transaction",
        safe: renameBehindView(target.name, move, to),
        unknown: [],
      },
    ];
  },
};

const dropColumn = commandRule(
  {
    id: "drop-column",
    about: "DROP COLUMN breaks the version that still runs, if that names the column",
    example: "ALTER TABLE posts DROP COLUMN title",
    lock: "ACCESS EXCLUSIVE",
    kinds: ["AT_DropColumn"],
  },
  (_context, target, { name = "", behavior }) => {
    if (!isInUse(target.table)) return [];
    if (target.table.columns.get(name)?.added === true) return [];
    return [
      {
        severity: "warning",
        object: `${target.sql}.${quoteName(name)}`,
        message: `DROP COLUMN ${quoteName(name)} breaks the version that still runs, if that names the column${behavior === "DROP_CASCADE" ? ", and drops what depends on it" : ""}`,
        work: null,
        advice:
          "use two deploys: first a version whose models lack the column (nullable, or with a default), then the one that drops it",
        safe: [],
        unknown: [],
      },
    ];
  },
);

const dropTable: Rule = {
  id: "drop-table",
  about: "DROP TABLE breaks the version that still runs, if that uses the table",
  example: "DROP TABLE posts",
  lock: "ACCESS EXCLUSIVE",
  on: ["DropStmt"],
  check({ statement: { node }, world }) {
    const cascades = "DropStmt" in node && node.DropStmt.behavior === "DROP_CASCADE";
    return droppedTables(node, world)
      .filter(isInUse)
      .map((table): Problem => {
        const sql = quoteRelation(table.name);
        return {
          severity: "warning",
          object: sql,
          message: `DROP TABLE ${sql} breaks the version that still runs, if that uses the table${cascades ? "; CASCADE drops the views and foreign keys that depend on it" : ""}`,
          work: null,
          advice:
            "use two deploys: first a version that does not use the table, then the one that drops it; its foreign keys lock the tables that they refer to",
          safe: [],
          unknown: [],
        };
      });
  },
};

const rewriting: Readonly<Record<string, string>> = {
  AT_SetLogged: "SET LOGGED",
  AT_SetUnLogged: "SET UNLOGGED",
  AT_SetTableSpace: "SET TABLESPACE",
  AT_SetAccessMethod: "SET ACCESS METHOD",
  AT_SetExpression: "SET EXPRESSION of a STORED column",
};

const rewriteTable: Rule = {
  id: "rewrite-table",
  about: "CLUSTER, VACUUM FULL, SET LOGGED and the like rewrite the table under the lock",
  example: "VACUUM FULL posts",
  lock: "ACCESS EXCLUSIVE",
  on: ["AlterTableStmt", "ClusterStmt", "VacuumStmt", "RefreshMatViewStmt"],
  check(context) {
    const everything = rewritesAll(context.statement);
    if (everything !== null) {
      return [
        {
          severity: "error",
          object: "the database",
          message: `${everything} without a table rewrites every table that it may`,
          work: null,
          advice: online,
          safe: [],
          unknown: [],
        },
      ];
    }
    const found = findRewrite(context);
    const severity = found === null ? null : severityOf(context, found.table);
    if (found === null || severity === null) return [];
    const { table, what, sql, advice } = found;
    return [
      {
        severity,
        object: sql,
        message: `${what} rewrites ${sql}`,
        work: { kind: "rewrite" satisfies WorkKind, table },
        advice,
        safe: [],
        unknown: [],
      },
    ];
  },
};

const online = "use pg_repack or pg_squeeze, which do the same while others read and write";

/** The name of a statement that is about no table, and so about all. */
function rewritesAll({ node }: RuleContext["statement"]): string | null {
  if ("ClusterStmt" in node) return node.ClusterStmt.relation === undefined ? "CLUSTER" : null;
  if (!("VacuumStmt" in node) || node.VacuumStmt.rels !== undefined) return null;
  return hasOption(node.VacuumStmt.options, "full") ? "VACUUM FULL" : null;
}

/** Whether the table is stored as the command wants it. */
function isStoredSo({ storage }: Table, { subtype, name }: AlterTableCmd): boolean {
  if (storage === null) return false;
  switch (String(subtype)) {
    case "AT_SetLogged":
      return storage.logged;
    case "AT_SetUnLogged":
      return !storage.logged;
    case "AT_SetAccessMethod":
      return storage.accessMethod === name;
    case "AT_SetTableSpace":
      return storage.tablespace === name;
    default:
      return false;
  }
}

function findRewrite({
  statement,
  world,
}: RuleContext): { table: Table; what: string; sql: string; advice: string } | null {
  const { node } = statement;
  if ("AlterTableStmt" in node) {
    const target = nameTable(world, node.AlterTableStmt.relation);
    for (const one of node.AlterTableStmt.cmds ?? []) {
      const what = "AlterTableCmd" in one ? rewriting[one.AlterTableCmd.subtype ?? ""] : undefined;
      if (what === undefined || target === null || !("AlterTableCmd" in one)) continue;
      if (!isStoredSo(target.table, one.AlterTableCmd)) return { ...target, what, advice: online };
    }
    return null;
  }
  if ("ClusterStmt" in node) {
    const target = nameTable(world, node.ClusterStmt.relation);
    return target === null ? null : { ...target, what: "CLUSTER", advice: online };
  }
  if ("VacuumStmt" in node) {
    const full = hasOption(node.VacuumStmt.options, "full");
    const [first] = node.VacuumStmt.rels ?? [];
    const target =
      first !== undefined && "VacuumRelation" in first
        ? nameTable(world, first.VacuumRelation.relation)
        : null;
    return !full || target === null ? null : { ...target, what: "VACUUM FULL", advice: online };
  }
  if ("RefreshMatViewStmt" in node && node.RefreshMatViewStmt.concurrent !== true) {
    if (node.RefreshMatViewStmt.skipData === true) return null;
    const target = nameTable(world, node.RefreshMatViewStmt.relation);
    const advice = "use REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index";
    return target === null ? null : { ...target, what: "REFRESH MATERIALIZED VIEW", advice };
  }
  return null;
}

const attachPartitionRule = commandRule(
  {
    id: "attach-partition",
    about:
      "ATTACH PARTITION reads the table that is attached, unless a valid CHECK implies the bounds",
    example: "ALTER TABLE users ATTACH PARTITION posts FOR VALUES IN (1)",
    lock: "ACCESS EXCLUSIVE",
    kinds: ["AT_AttachPartition"],
  },
  (context, target, { def }) => {
    if (def === undefined || !("PartitionCmd" in def)) return [];
    const child = nameTable(context.world, def.PartitionCmd.name);
    const severity = child === null ? null : severityOf(context, child.table);
    if (child === null || severity === null) return scanOfDefault(context, target);
    // Only the server knows whether a CHECK implies the bounds; that there is one shows that somebody thought of it.
    const checked = child.table.constraints.some(({ kind, valid }) => kind === "check" && valid);
    return [
      ...scanOfDefault(context, target),
      {
        severity: checked ? "note" : severity,
        object: child.sql,
        message: `ATTACH PARTITION ${child.sql} reads every row of it${checked ? ", unless its CHECK implies the bounds" : ""}`,
        work: { kind: "scan", table: child.table },
        advice: `first add a CHECK to ${child.sql} that implies the bounds: ADD CONSTRAINT … CHECK (…) NOT VALID, VALIDATE CONSTRAINT in the next migration, ATTACH PARTITION in the one after`,
        safe: [],
        unknown: [],
      },
    ];
  },
);

/** Each row of a default partition could belong to a new one. */
function scanOfDefault(context: RuleContext, { table, sql }: NamedTable): Problem[] {
  const { defaultPartition } = table;
  if (defaultPartition === null) return [];
  const rest = context.world.table(defaultPartition);
  const severity = severityOf(context, rest);
  if (severity === null || rest.size.bytes === 0) return [];
  const name = quoteRelation(rest.name);
  const checked = rest.constraints.some(({ kind, valid }) => kind === "check" && valid);
  return [
    {
      severity: checked ? "note" : severity,
      object: name,
      message: `a new partition of ${sql} reads every row of its default partition ${name}${checked ? ", unless a CHECK excludes the bounds" : ""}`,
      work: { kind: "scan", table: rest },
      advice: `first add a CHECK to ${name} that excludes the bounds: ADD CONSTRAINT … CHECK (…) NOT VALID, and VALIDATE CONSTRAINT in the next migration`,
      safe: [],
      unknown: [],
    },
  ];
}

const createPartition: Rule = {
  id: "create-partition",
  about: "CREATE TABLE … PARTITION OF locks the partitioned table; ATTACH PARTITION does not",
  example: "CREATE TABLE posts_1 PARTITION OF posts FOR VALUES IN (1)",
  lock: "ACCESS EXCLUSIVE",
  on: ["CreateStmt"],
  check(context) {
    const { node } = context.statement;
    if (!("CreateStmt" in node) || node.CreateStmt.partbound === undefined) return [];
    const [parent] = node.CreateStmt.inhRelations ?? [];
    const range = parent !== undefined && "RangeVar" in parent ? parent.RangeVar : undefined;
    const target = nameTable(context.world, range);
    const child = relationOf(node.CreateStmt.relation);
    if (target === null || child === null || !isInUse(target.table)) return [];
    const name = quoteRelation(child);
    const { partbound, tableElts = [] } = node.CreateStmt;
    const { bounds, storage } = boundsOf(context.statement, partbound.location ?? 0);
    // Columns that differ from the parent's would have to be changed by hand.
    const plain = tableElts.length === 0;
    return [
      ...scanOfDefault(context, target),
      {
        severity: "warning",
        object: name,
        message: `CREATE TABLE ${name} PARTITION OF ${target.sql} locks ${target.sql} until the transaction ends`,
        work: null,
        advice: plain ? "" : "create the table by itself, then ATTACH PARTITION",
        safe: plain ? [attachPartition(target.name, child, bounds, storage)] : [],
        unknown: [],
      },
    ];
  },
};

const detachPartition = commandRule(
  {
    id: "detach-partition",
    about: "DETACH PARTITION locks the partitioned table, unless it is CONCURRENTLY",
    example: "ALTER TABLE users DETACH PARTITION posts",
    lock: "ACCESS EXCLUSIVE",
    kinds: ["AT_DetachPartition"],
  },
  ({ world, statement }, target, { def }) => {
    if (def === undefined || !("PartitionCmd" in def)) return [];
    const child = nameTable(world, def.PartitionCmd.name);
    if (child === null || def.PartitionCmd.concurrent === true || !isInUse(target.table)) return [];
    const known = world.serverMajor === null || world.serverMajor >= 14;
    return [
      {
        severity: "warning",
        object: child.sql,
        message: `DETACH PARTITION ${child.sql} locks ${target.sql} until the transaction ends`,
        work: null,
        advice: known ? "" : "run it with a lock timeout, in a transaction of its own",
        safe: known
          ? [
              makeStep(
                "a migration of its own; it leaves a CHECK of the bounds on the partition",
                [plainStatement(`${formatStatement(statement)} CONCURRENTLY`)],
                "outside",
              ),
            ]
          : [],
        unknown: [],
      },
    ];
  },
);

export const shapeRules: readonly Rule[] = [
  renameColumn,
  renameTable,
  dropColumn,
  dropTable,
  rewriteTable,
  attachPartitionRule,
  createPartition,
  detachPartition,
];
