// What takes something away from the version of the application that still runs: names that change, columns and tables
// that go; and what writes a whole table anew.

import { droppedTables, type Work } from "../locks.ts";
import {
  executePython,
  quoteName,
  quotePython,
  quoteRelation,
  relationOf,
  schemaArgument,
  type RelationName,
} from "../sql.ts";
import { autocommitStep } from "../safe-forms.ts";
import type { Table } from "../world.ts";
import {
  commandRule,
  isInUse,
  severityOf,
  targetOf,
  type Problem,
  type Rule,
  type RuleContext,
  type SafeStep,
} from "./rule.ts";

const renameColumn: Rule = {
  id: "rename-column",
  about: "RENAME COLUMN breaks the version that still runs: it knows the old name alone",
  check({ statement, world }) {
    const { node } = statement;
    if (statement.opaque || !("RenameStmt" in node)) return [];
    const { renameType, relationType, relation, subname = "", newname = "" } = node.RenameStmt;
    const target = targetOf(world, relation);
    if (renameType !== "OBJECT_COLUMN" || relationType !== "OBJECT_TABLE") return [];
    if (target === null || !isInUse(target.table)) return [];
    if (target.table.columns.get(subname)?.added === true) return [];
    return [
      {
        severity: "error",
        object: `${target.sql}.${quoteName(subname)}`,
        message: `RENAME COLUMN ${quoteName(subname)} TO ${quoteName(newname)} breaks every query of the version that still runs, and of the one before where this is rolled back`,
        work: null,
        advice:
          "keep the column's name and change the application's: Column(\"old_name\") under a new attribute; or expand and contract over two deploys",
        safe: expandAndContract(target.sql, target.name, subname, newname),
        unknown: [],
      },
    ];
  },
};

function expandAndContract(sql: string, table: RelationName, from: string, to: string): SafeStep[] {
  const [before, after] = [quoteName(from), quoteName(to)];
  return [
    {
      title: `1. a new column ${after} beside it, of the same type, which the new version writes as well; then the backfill, in batches: UPDATE ${sql} SET ${after} = ${before} WHERE ${after} IS NULL`,
      sql: "",
      alembic: "",
    },
    {
      title: "2. in the next deploy, whose version knows the new column alone",
      sql: `ALTER TABLE ${sql} DROP COLUMN ${before};`,
      alembic: `op.drop_column(${quotePython(table.name)}, ${quotePython(from)}${schemaArgument(table)})`,
    },
  ];
}

const renameTable: Rule = {
  id: "rename-table",
  about: "RENAME TO and SET SCHEMA break the version that still runs",
  check(context) {
    const { statement, world } = context;
    const { node } = statement;
    if (statement.opaque) return [];
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
    const target = targetOf(world, found?.relation);
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
    const statements = [
      `ALTER TABLE ${target.sql} ${move}`,
      `CREATE VIEW ${target.sql} AS SELECT * FROM ${quoteRelation(to)}`,
    ];
    return [
      {
        severity: "error",
        object: target.sql,
        message: `${move} takes ${target.sql} away from the version that still runs`,
        work: null,
        advice:
          "leave the table's name, and change the application's (__tablename__ may stay under a new class name); or leave a view of the old name, in the same transaction",
        safe: [
          {
            title:
              "1. a view of the old name in the same transaction, through which the old version reads and writes",
            sql: statements.map((one) => `${one};`).join("\n"),
            alembic: statements.map((one) => `op.execute(${quotePython(one)})`).join("\n"),
          },
          {
            title: "2. in the next deploy, whose version knows the new name alone",
            sql: `DROP VIEW ${target.sql};`,
            alembic: `op.execute(${quotePython(`DROP VIEW ${target.sql}`)})`,
          },
        ],
        unknown: [],
      },
    ];
  },
};

const dropColumn = commandRule(
  "drop-column",
  "DROP COLUMN breaks the version that still runs, if that still names the column",
  (_context, target, { subtype, name = "" }) => {
    if (subtype !== "AT_DropColumn" || !isInUse(target.table)) return [];
    if (target.table.columns.get(name)?.added === true) return [];
    return [
      {
        severity: "warning",
        object: `${target.sql}.${quoteName(name)}`,
        message: `DROP COLUMN ${quoteName(name)} breaks the version that still runs, unless it names the column no more`,
        work: null,
        advice:
          "two deploys: first one whose models lack the column (nullable, or with a default), then the one that drops it",
        safe: [],
        unknown: [],
      },
    ];
  },
);

const dropTable: Rule = {
  id: "drop-table",
  about: "DROP TABLE breaks the version that still runs, if that still uses the table",
  check({ statement, world }) {
    if (statement.opaque) return [];
    return droppedTables(statement.node, world)
      .filter(isInUse)
      .map((table): Problem => {
        const sql = quoteRelation(table.name);
        return {
          severity: "warning",
          object: sql,
          message: `DROP TABLE ${sql} breaks the version that still runs, unless it uses the table no more`,
          work: null,
          advice:
            "two deploys: first one that leaves the table alone, then the one that drops it; its foreign keys lock the tables that they refer to",
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
  about: "CLUSTER, VACUUM FULL, SET LOGGED and their like write the table anew under the lock",
  check(context) {
    const found = findRewrite(context);
    const severity = found === null ? null : severityOf(context, found.table);
    if (found === null || severity === null) return [];
    const { table, what, sql, advice } = found;
    return [
      {
        severity,
        object: sql,
        message: `${what} writes the whole of ${sql} anew`,
        work: { kind: "rewrite" satisfies Work, table },
        advice,
        safe: [],
        unknown: [],
      },
    ];
  },
};

function findRewrite({
  statement,
  world,
}: RuleContext): { table: Table; what: string; sql: string; advice: string } | null {
  const { node, opaque } = statement;
  if (opaque) return null;
  const online = "pg_repack or pg_squeeze does the same while others read and write";
  if ("AlterTableStmt" in node) {
    const target = targetOf(world, node.AlterTableStmt.relation);
    for (const one of node.AlterTableStmt.cmds ?? []) {
      const what = "AlterTableCmd" in one ? rewriting[one.AlterTableCmd.subtype ?? ""] : undefined;
      if (what !== undefined && target !== null) return { ...target, what, advice: online };
    }
    return null;
  }
  if ("ClusterStmt" in node) {
    const target = targetOf(world, node.ClusterStmt.relation);
    return target === null ? null : { ...target, what: "CLUSTER", advice: online };
  }
  if ("VacuumStmt" in node) {
    const full = (node.VacuumStmt.options ?? []).some(
      (one) => "DefElem" in one && one.DefElem.defname === "full",
    );
    const [first] = node.VacuumStmt.rels ?? [];
    const target =
      first !== undefined && "VacuumRelation" in first
        ? targetOf(world, first.VacuumRelation.relation)
        : null;
    return !full || target === null ? null : { ...target, what: "VACUUM FULL", advice: online };
  }
  if ("RefreshMatViewStmt" in node && node.RefreshMatViewStmt.concurrent !== true) {
    if (node.RefreshMatViewStmt.skipData === true) return null;
    const target = targetOf(world, node.RefreshMatViewStmt.relation);
    const advice = "REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index";
    return target === null ? null : { ...target, what: "REFRESH MATERIALIZED VIEW", advice };
  }
  return null;
}

const attachPartition = commandRule(
  "attach-partition",
  "ATTACH PARTITION reads the table that is attached, unless a valid CHECK says that all of it belongs there",
  (context, target, { subtype, def }) => {
    if (subtype !== "AT_AttachPartition" || def === undefined || !("PartitionCmd" in def))
      return [];
    const child = targetOf(context.world, def.PartitionCmd.name);
    const severity = child === null ? null : severityOf(context, child.table);
    if (child === null || severity === null) return [];
    // Whether a CHECK implies the bounds is the server's to say; that there is one shows that somebody thought of it.
    const checked = child.table.constraints.some(({ kind, valid }) => kind === "check" && valid);
    return [
      {
        severity: checked ? "note" : severity,
        object: child.sql,
        message: `ATTACH PARTITION ${child.sql} ${checked ? `reads every row of it, unless its CHECK implies the bounds` : "reads every row of it"}`,
        work: { kind: "scan", table: child.table },
        advice: `before it, a CHECK on ${child.sql} that says what the bounds say: ADD CONSTRAINT … CHECK (…) NOT VALID, VALIDATE CONSTRAINT in the next revision, ATTACH PARTITION in the one after; a default partition of ${target.sql} is read too, and wants the opposite CHECK`,
        safe: [],
        unknown: [],
      },
    ];
  },
);

const createPartition: Rule = {
  id: "create-partition",
  about: "CREATE TABLE … PARTITION OF locks the partitioned table; ATTACH PARTITION does not",
  check(context) {
    const { node, opaque } = context.statement;
    if (opaque || !("CreateStmt" in node) || node.CreateStmt.partbound === undefined) return [];
    const [parent] = node.CreateStmt.inhRelations ?? [];
    const range = parent !== undefined && "RangeVar" in parent ? parent.RangeVar : undefined;
    const target = targetOf(context.world, range);
    const child = relationOf(node.CreateStmt.relation);
    if (target === null || child === null || !isInUse(target.table)) return [];
    const name = quoteRelation(child);
    const bounds = /\bPARTITION\s+OF\s+\S+([^]*)$/i.exec(context.statement.text)?.[1]?.trim() ?? "";
    const statements = [
      `CREATE TABLE ${name} (LIKE ${target.sql} INCLUDING ALL)`,
      `ALTER TABLE ${target.sql} ATTACH PARTITION ${name} ${bounds}`,
    ];
    return [
      {
        severity: "warning",
        object: name,
        message: `CREATE TABLE ${name} PARTITION OF ${target.sql} locks ${target.sql} until the transaction ends`,
        work: null,
        advice: "where there is a default partition, its rows are read too",
        safe: [
          {
            title: "a table by itself, which is then attached",
            sql: statements.map((one) => `${one};`).join("\n"),
            alembic: statements.map(executePython).join("\n"),
          },
        ],
        unknown: [],
      },
    ];
  },
};

const detachPartition = commandRule(
  "detach-partition",
  "DETACH PARTITION locks the partitioned table, unless it is CONCURRENTLY",
  ({ world, statement }, target, { subtype, def }) => {
    if (subtype !== "AT_DetachPartition" || def === undefined || !("PartitionCmd" in def))
      return [];
    const child = targetOf(world, def.PartitionCmd.name);
    if (child === null || def.PartitionCmd.concurrent === true || !isInUse(target.table)) return [];
    const known = world.serverMajor === null || world.serverMajor >= 14;
    return [
      {
        severity: "warning",
        object: child.sql,
        message: `DETACH PARTITION ${child.sql} locks ${target.sql} until the transaction ends`,
        work: null,
        advice: known ? "" : "alone in its transaction, with a lock timeout",
        safe: known
          ? [autocommitStep("a revision of its own", `${statement.text} CONCURRENTLY`)]
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
  attachPartition,
  createPartition,
  detachPartition,
];
