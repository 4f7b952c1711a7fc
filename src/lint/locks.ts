// Which lock a statement takes on which table, what it blocks, and how much work is done under it.

import type { AlterTableCmd, Node, RangeVar } from "libpg-query";
import { isColumn } from "./expressions.ts";
import { hasOption, relationOf, relationOfWords, wordsOf } from "../postgres/tree.ts";
import type { Statement } from "./statements.ts";
import { isRelation, type Table, type World } from "./world.ts";

/** The table locks that block reads or writes, or one migration by another. */
export const lockModes = {
  "ACCESS EXCLUSIVE": "blocks reads and writes",
  EXCLUSIVE: "blocks writes",
  "SHARE ROW EXCLUSIVE": "blocks writes",
  SHARE: "blocks writes",
  "SHARE UPDATE EXCLUSIVE": "blocks neither reads nor writes",
  "ROW EXCLUSIVE": "blocks neither reads nor writes",
} as const;

export type LockMode = keyof typeof lockModes;

export interface Lock {
  readonly mode: LockMode;
  readonly table: Table;
}

/** A lock that a transaction holds until its end. */
export interface HeldLock extends Lock {
  readonly statement: Statement;
}

/** Work that grows with the table: reading it, reading and sorting it, rewriting it, updating its rows. */
export type WorkKind = "scan" | "index" | "rewrite" | "update";

/**
 * Rows and bytes a second, for a rough estimate: the slower of the two counts. Measured on two busy cores with the table in
 * memory: 1.2 to 5 M rows/s, 2, 0.5 and 0.16; the bytes are what a network disk delivers.
 */
const speeds: Readonly<Record<WorkKind, { rows: number; bytes: number }>> = {
  scan: { rows: 2_000_000, bytes: 300e6 },
  index: { rows: 1_000_000, bytes: 200e6 },
  rewrite: { rows: 400_000, bytes: 100e6 },
  update: { rows: 100_000, bytes: 40e6 },
};

/** In seconds; null where the size is not known. */
export function estimateSeconds(work: WorkKind, { size }: Table): number | null {
  if (size.rows === null && size.bytes === null) return null;
  const { rows, bytes } = speeds[work];
  return Math.max((size.atMost ? 0 : (size.rows ?? 0)) / rows, (size.bytes ?? 0) / bytes);
}

const sharedCommands = new Set<string>([
  "AT_ValidateConstraint",
  "AT_SetStatistics",
  "AT_SetRelOptions",
  "AT_ResetRelOptions",
  "AT_ClusterOn",
  "AT_DropCluster",
  "AT_AttachPartition",
  "AT_SetOptions",
  "AT_ResetOptions",
]);

function lockOfCommand({ subtype = "AT_AddColumn", def }: AlterTableCmd): LockMode {
  if (subtype === "AT_DetachPartition") {
    const concurrent =
      def !== undefined && "PartitionCmd" in def && def.PartitionCmd.concurrent === true;
    return concurrent ? "SHARE UPDATE EXCLUSIVE" : "ACCESS EXCLUSIVE";
  }
  // The only storage parameter that blocks readers.
  if (
    subtype.endsWith("RelOptions") &&
    JSON.stringify(def ?? null).includes('"user_catalog_table"')
  )
    return "ACCESS EXCLUSIVE";
  if (sharedCommands.has(subtype)) return "SHARE UPDATE EXCLUSIVE";
  if (/Trig/.test(subtype)) return "SHARE ROW EXCLUSIVE";
  const foreign =
    subtype === "AT_AddConstraint" &&
    def !== undefined &&
    "Constraint" in def &&
    def.Constraint.contype === "CONSTR_FOREIGN";
  return foreign ? "SHARE ROW EXCLUSIVE" : "ACCESS EXCLUSIVE";
}

/** Of each statement that has been asked about: every rule about ALTER TABLE asks. */
const knownCommands = new WeakMap<Node, readonly AlterTableCmd[]>();
const noCommands: readonly AlterTableCmd[] = [];

export function commandsOf(node: Node): readonly AlterTableCmd[] {
  if (!("AlterTableStmt" in node)) return noCommands;
  const known = knownCommands.get(node);
  if (known !== undefined) return known;
  const found = (node.AlterTableStmt.cmds ?? []).flatMap((one) =>
    "AlterTableCmd" in one ? [one.AlterTableCmd] : [],
  );
  knownCommands.set(node, found);
  return found;
}

/** The tables of a DROP TABLE. */
export function droppedTables(node: Node, world: World): Table[] {
  if (!("DropStmt" in node) || node.DropStmt.removeType !== "OBJECT_TABLE") return [];
  return (node.DropStmt.objects ?? []).flatMap((object) => {
    const name = "List" in object ? relationOfWords(wordsOf(object.List.items)) : null;
    return name === null ? [] : [world.table(name)];
  });
}

/** The table locks that a statement of DDL takes, by PostgreSQL 14 to 18; those on a table that it creates are left out. */
export function locksOf({ node, opaque }: Statement, world: World): Lock[] {
  if (opaque) return [];
  const lock = (range: RangeVar | undefined, mode: LockMode): Lock[] =>
    range === undefined ? [] : [{ mode, table: world.table(range) }];
  if ("AlterTableStmt" in node) return locksOfAlter(node, world);
  if ("CreateStmt" in node) {
    const { tableElts = [], inhRelations = [], partbound } = node.CreateStmt;
    const parents = inhRelations.flatMap((one) =>
      "RangeVar" in one
        ? lock(
            one.RangeVar,
            partbound === undefined ? "SHARE UPDATE EXCLUSIVE" : "ACCESS EXCLUSIVE",
          ).flatMap((own) => (partbound === undefined ? own : [own, ...locksOfDefault(own, world)]))
        : [],
    );
    return [...parents, ...tableElts.flatMap((element) => locksOfReferences(element, world))];
  }
  if ("DropStmt" in node) return locksOfDrop(node, world);
  if ("IndexStmt" in node) {
    const { relation, concurrent } = node.IndexStmt;
    return lock(relation, concurrent === true ? "SHARE UPDATE EXCLUSIVE" : "SHARE");
  }
  if ("RenameStmt" in node) {
    const { renameType, relation, relationType } = node.RenameStmt;
    const ofTable =
      isRelation(renameType) ||
      renameType === "OBJECT_TABCONSTRAINT" ||
      renameType === "OBJECT_TRIGGER" ||
      renameType === "OBJECT_POLICY" ||
      renameType === "OBJECT_RULE" ||
      (renameType === "OBJECT_COLUMN" && isRelation(relationType));
    return ofTable ? lock(relation, "ACCESS EXCLUSIVE") : [];
  }
  if ("AlterObjectSchemaStmt" in node) {
    const { objectType, relation } = node.AlterObjectSchemaStmt;
    return isRelation(objectType) ? lock(relation, "ACCESS EXCLUSIVE") : [];
  }
  if ("CreateTrigStmt" in node) return lock(node.CreateTrigStmt.relation, "SHARE ROW EXCLUSIVE");
  if ("CreatePolicyStmt" in node) return lock(node.CreatePolicyStmt.table, "ACCESS EXCLUSIVE");
  if ("AlterPolicyStmt" in node) return lock(node.AlterPolicyStmt.table, "ACCESS EXCLUSIVE");
  if ("RuleStmt" in node) return lock(node.RuleStmt.relation, "ACCESS EXCLUSIVE");
  if ("ClusterStmt" in node) return lock(node.ClusterStmt.relation, "ACCESS EXCLUSIVE");
  if ("RefreshMatViewStmt" in node) {
    const { relation, concurrent } = node.RefreshMatViewStmt;
    return lock(relation, concurrent === true ? "EXCLUSIVE" : "ACCESS EXCLUSIVE");
  }
  if ("ReindexStmt" in node) {
    const { kind, relation } = node.ReindexStmt;
    const mode = isConcurrent(node) ? "SHARE UPDATE EXCLUSIVE" : "SHARE";
    if (kind === "REINDEX_OBJECT_TABLE") return lock(relation, mode);
    const name = kind === "REINDEX_OBJECT_INDEX" ? relationOf(relation) : null;
    const table = name === null ? null : world.tableOfIndex(name);
    return table === null ? [] : [{ mode, table }];
  }
  if ("AlterDomainStmt" in node) {
    if (verifiesDomain(node) === null) return [];
    const name = wordsOf(node.AlterDomainStmt.typeName).at(-1) ?? "";
    return world.tablesOfDomain(name).map((table) => ({ mode: "SHARE", table }));
  }
  const relations = tablesListed(node);
  const mode = "LockStmt" in node ? lockNumbers[(node.LockStmt.mode ?? 8) - 1] : "ACCESS EXCLUSIVE";
  return mode === undefined ? [] : relations.flatMap((range) => lock(range, mode));
}

/** Whether ALTER DOMAIN reads the tables that use the domain: for a new constraint, or for one that it validates. */
export function verifiesDomain(node: Node): "add" | "validate" | null {
  if (!("AlterDomainStmt" in node)) return null;
  const { subtype, def } = node.AlterDomainStmt;
  if (String(subtype) === "V") return "validate";
  if (String(subtype) === "O") return "add";
  const added = def !== undefined && "Constraint" in def ? def.Constraint : null;
  return String(subtype) === "C" && added?.skip_validation !== true ? "add" : null;
}

/** The modes of `pg_locks` by the parser's numbers for them, from 1; those that block nobody are left out. */
const lockNumbers: readonly (LockMode | undefined)[] = [
  undefined,
  undefined,
  "ROW EXCLUSIVE",
  "SHARE UPDATE EXCLUSIVE",
  "SHARE",
  "SHARE ROW EXCLUSIVE",
  "EXCLUSIVE",
  "ACCESS EXCLUSIVE",
];

/** TRUNCATE, VACUUM FULL and LOCK. */
function tablesListed(node: Node): RangeVar[] {
  if ("VacuumStmt" in node) {
    const full = hasOption(node.VacuumStmt.options, "full");
    return (node.VacuumStmt.rels ?? []).flatMap((one) =>
      full && "VacuumRelation" in one && one.VacuumRelation.relation !== undefined
        ? [one.VacuumRelation.relation]
        : [],
    );
  }
  const listed =
    "TruncateStmt" in node
      ? node.TruncateStmt.relations
      : "LockStmt" in node
        ? node.LockStmt.relations
        : undefined;
  return (listed ?? []).flatMap((one) => ("RangeVar" in one ? [one.RangeVar] : []));
}

function locksOfAlter(node: Node, world: World): Lock[] {
  if (!("AlterTableStmt" in node)) return [];
  const { relation, objtype } = node.AlterTableStmt;
  if (relation === undefined || objtype !== "OBJECT_TABLE") return [];
  const table = world.table(relation);
  const commands = commandsOf(node);
  const modes = commands.map(lockOfCommand);
  const strongest = (Object.keys(lockModes) as LockMode[]).find((mode) => modes.includes(mode));
  const others = commands.flatMap(({ subtype, name, def }): Lock[] => {
    if (def !== undefined && "PartitionCmd" in def && def.PartitionCmd.name !== undefined) {
      // The partition itself.
      const partition: Lock = {
        mode: "ACCESS EXCLUSIVE",
        table: world.table(def.PartitionCmd.name),
      };
      const attaches = subtype === "AT_AttachPartition";
      return [partition, ...(attaches ? locksOfDefault({ table }, world) : [])];
    }
    if (def !== undefined && "ATAlterConstraint" in def) {
      const { conname, alterEnforceability: alters, is_enforced: enforced } = def.ATAlterConstraint;
      return table.constraints.flatMap((one): Lock[] =>
        alters === true && enforced === true && one.name === conname && one.references !== null
          ? [{ mode: "SHARE ROW EXCLUSIVE", table: world.table(one.references) }]
          : [],
      );
    }
    // Another type drops the column's constraints too, and creates them again.
    const drops =
      subtype === "AT_DropConstraint" ||
      subtype === "AT_DropColumn" ||
      subtype === "AT_AlterColumnType";
    if (!drops) return def === undefined ? [] : locksOfReferences(def, world);
    // The triggers at the other end of a foreign key are dropped with it.
    return table.constraints.flatMap((one): Lock[] =>
      one.references !== null &&
      (subtype === "AT_DropConstraint" ? one.name === name : one.columns.includes(name ?? ""))
        ? [{ mode: "ACCESS EXCLUSIVE", table: world.table(one.references) }]
        : [],
    );
  });
  return [...(strongest === undefined ? [] : [{ mode: strongest, table }]), ...others];
}

/** The rows of a default partition could belong to a new one. */
function locksOfDefault({ table }: Pick<Lock, "table">, world: World): Lock[] {
  const { defaultPartition } = table;
  if (defaultPartition === null) return [];
  return [{ mode: "ACCESS EXCLUSIVE", table: world.table(defaultPartition) }];
}

/** The tables that a new column or constraint refers to. */
function locksOfReferences(element: Node, world: World): Lock[] {
  const constraints =
    "Constraint" in element
      ? [element]
      : "ColumnDef" in element
        ? (element.ColumnDef.constraints ?? [])
        : [];
  return constraints.flatMap((one): Lock[] =>
    "Constraint" in one && one.Constraint.pktable !== undefined
      ? [{ mode: "SHARE ROW EXCLUSIVE", table: world.table(one.Constraint.pktable) }]
      : [],
  );
}

function locksOfDrop(node: Node, world: World): Lock[] {
  if (!("DropStmt" in node)) return [];
  const { objects = [], concurrent } = node.DropStmt;
  // Most of the fifty lock no table.
  const removeType: string = node.DropStmt.removeType ?? "";
  const exclusive = (table: Table): Lock => ({ mode: "ACCESS EXCLUSIVE", table });
  const words = objects.flatMap((object) => ("List" in object ? [wordsOf(object.List.items)] : []));
  switch (removeType) {
    case "OBJECT_TABLE":
      return droppedTables(node, world).flatMap((table) => [
        exclusive(table),
        ...table.constraints.flatMap(({ references }) =>
          references === null ? [] : [exclusive(world.table(references))],
        ),
      ]);
    case "OBJECT_VIEW":
    case "OBJECT_MATVIEW":
    case "OBJECT_FOREIGN_TABLE":
      return words.flatMap((one) => {
        const name = relationOfWords(one);
        return name === null ? [] : [exclusive(world.table(name))];
      });
    case "OBJECT_INDEX":
      return words.flatMap((one): Lock[] => {
        const name = relationOfWords(one);
        const table = name === null ? null : world.tableOfIndex(name);
        if (table === null) return [];
        return [concurrent === true ? { mode: "SHARE UPDATE EXCLUSIVE", table } : exclusive(table)];
      });
    case "OBJECT_TRIGGER":
    case "OBJECT_POLICY":
    case "OBJECT_RULE":
      // The table's name, then that of what is dropped.
      return words.flatMap((one) => {
        const name = relationOfWords(one.slice(0, -1));
        return name === null ? [] : [exclusive(world.table(name))];
      });
    default:
      return [];
  }
}

/** CREATE INDEX, DROP INDEX, REINDEX or DETACH PARTITION with CONCURRENTLY. */
export function isConcurrent(node: Node): boolean {
  if ("IndexStmt" in node) return node.IndexStmt.concurrent === true;
  if ("DropStmt" in node) return node.DropStmt.concurrent === true;
  if ("AlterTableStmt" in node) {
    return commandsOf(node).some(
      ({ def }) =>
        def !== undefined && "PartitionCmd" in def && def.PartitionCmd.concurrent === true,
    );
  }
  if (!("ReindexStmt" in node)) return false;
  return hasOption(node.ReindexStmt.params, "concurrently");
}

/** The table whose rows an UPDATE, DELETE, MERGE or INSERT … SELECT changes; null for another statement, or for a few rows. */
export function backfilledTable({ node, opaque }: Statement, world: World): Table | null {
  if (opaque) return null;
  for (const change of changesIn(node)) {
    const table = changedTable(change, world);
    if (table !== null && !changesFewRows(change, table)) return table;
  }
  return null;
}

/** The statement, and those in its WITH. */
export function changesIn(node: Node): Node[] {
  const [body] = Object.values(node) as [{ withClause?: { ctes?: Node[] } }];
  const inner = (body.withClause?.ctes ?? []).flatMap((one) =>
    "CommonTableExpr" in one && one.CommonTableExpr.ctequery !== undefined
      ? [one.CommonTableExpr.ctequery]
      : [],
  );
  return [...inner, node];
}

export function conditionOfChange(node: Node): Node | undefined {
  if ("UpdateStmt" in node) return node.UpdateStmt.whereClause;
  return "DeleteStmt" in node ? node.DeleteStmt.whereClause : undefined;
}

/** `WHERE id = 5` and `WHERE id IN (5, 6)` change few rows, whatever else they ask for. */
function changesFewRows(node: Node, table: Table): boolean {
  const where = conditionOfChange(node);
  if (where === undefined) return false;
  if ("BoolExpr" in where && where.BoolExpr.boolop === "AND_EXPR")
    return (where.BoolExpr.args ?? []).some((one) => isOfFewRows(one, table));
  return isOfFewRows(where, table);
}

function isOfFewRows(condition: Node, table: Table): boolean {
  if (!("A_Expr" in condition)) return false;
  const { kind, name, lexpr, rexpr } = condition.A_Expr;
  if ((kind !== "AEXPR_OP" && kind !== "AEXPR_IN") || wordsOf(name).at(-1) !== "=") return false;
  const isValue = (one: Node | undefined) =>
    one !== undefined && ("A_Const" in one || "ParamRef" in one);
  const values =
    rexpr !== undefined && "List" in rexpr ? (rexpr.List.items ?? []) : [rexpr ?? { A_Star: {} }];
  return (
    values.every(isValue) &&
    (table.constraints.some(
      ({ kind: of, columns: [column, ...others] }) =>
        (of === "primary" || of === "unique") &&
        column !== undefined &&
        others.length === 0 &&
        isColumn(lexpr, column),
    ) ||
      (!table.complete && isColumn(lexpr, "id")))
  );
}

function changedTable(node: Node, world: World): Table | null {
  if ("UpdateStmt" in node && node.UpdateStmt.relation !== undefined)
    return world.table(node.UpdateStmt.relation);
  if ("DeleteStmt" in node && node.DeleteStmt.relation !== undefined)
    return world.table(node.DeleteStmt.relation);
  if ("MergeStmt" in node && node.MergeStmt.relation !== undefined)
    return world.table(node.MergeStmt.relation);
  if ("InsertStmt" in node && node.InsertStmt.relation !== undefined) {
    const { selectStmt } = node.InsertStmt;
    const values =
      selectStmt === undefined ||
      ("SelectStmt" in selectStmt && selectStmt.SelectStmt.valuesLists !== undefined);
    return values ? null : world.table(node.InsertStmt.relation);
  }
  return null;
}
