// The safe forms of dangerous changes, as SQL: the only place that writes them. A migration tool that has operations of
// its own reads what a statement does from its `change`.

import { createHash } from "node:crypto";
import type { Words } from "../context.ts";
import {
  nameObject,
  quoteLiteral,
  quoteName,
  quoteNames,
  quoteRelation,
  type RelationName,
  type SqlType,
} from "./names.ts";

/** One step of a safe form: a migration of its own, with nothing else in it. */
export interface Step {
  readonly title: string;
  readonly statements: readonly StepStatement[];
  /** `outside`: the statements fail in a transaction; `between`: in one that is committed before them and begun again after. */
  readonly transaction: "inside" | "outside" | "between";
  /** A command to run instead of a migration, where `…` is left to be filled in; null for most steps. */
  readonly command: Words | null;
}

export interface StepStatement {
  /** Without the semicolon. */
  readonly sql: string;
  /** The same, for a tool that has an operation for it; null where it has to be run as SQL. */
  readonly change: Change | null;
}

/** Names are as the catalog has them, expressions and types are SQL. */
export type Change =
  | (OfTable & { readonly kind: "add-column"; readonly column: string; readonly type: SqlType })
  | (OfTable & { readonly kind: "drop-column" | "require-column"; readonly column: string })
  | (OfTable & {
      readonly kind: "set-default";
      readonly column: string;
      readonly expression: string;
    })
  /** NOT VALID. */
  | (OfTable & { readonly kind: "add-check"; readonly name: string; readonly condition: string })
  | (OfTable & { readonly kind: "add-foreign-key" } & ForeignKey)
  | (OfTable & { readonly kind: "drop-constraint"; readonly name: string })
  | (OfTable & { readonly kind: "create-index" } & PlainIndex)
  | {
      readonly kind: "drop-index";
      readonly index: RelationName;
      /** Null where it is not known. */
      readonly table: RelationName | null;
    };

interface OfTable {
  readonly table: RelationName;
}

/** NOT VALID, without any option that is not here. */
export interface ForeignKey {
  readonly name: string;
  readonly columns: readonly string[];
  readonly parent: RelationName;
  readonly referred: readonly string[];
  readonly onDelete: string | null;
  readonly onUpdate: string | null;
  readonly matchFull: boolean;
  readonly deferrable: boolean;
  readonly deferred: boolean;
}

/** Built CONCURRENTLY, on nothing but columns, without any option that is not here. */
export interface PlainIndex {
  readonly name: string;
  readonly columns: readonly string[];
  readonly unique: boolean;
  /** `gin`; null for a B-tree. */
  readonly method: string | null;
}

export function makeStep(
  title: string,
  statements: readonly StepStatement[],
  transaction: Step["transaction"] = "inside",
): Step {
  return { title, statements, transaction, command: null };
}

/** What is run between two migrations. */
export function commandStep(title: string, command: Words): Step {
  return { title, statements: [], transaction: "outside", command };
}

/** A statement for which no tool has an operation. */
export function plainStatement(sql: string): StepStatement {
  return { sql, change: null };
}

/** The step's statements; empty where it has none. */
export function formatStep({ statements, transaction }: Step): string {
  const lines = statements.map(({ sql }) => `${sql};`);
  return (transaction === "between" ? ["COMMIT;", ...lines, "BEGIN;"] : lines).join("\n");
}

const alter = (table: RelationName) => `ALTER TABLE ${quoteRelation(table)}`;

/**
 * A column that may be NULL and has no default.
 * @param definition its type and collation. @param type null where `definition` says more than a type.
 */
export function addColumn(
  table: RelationName,
  column: string,
  definition: string,
  type: SqlType | null,
): StepStatement {
  return {
    sql: `${alter(table)} ADD COLUMN ${quoteName(column)} ${definition}`,
    change: type === null ? null : { kind: "add-column", table, column, type },
  };
}

export function dropColumn(table: RelationName, column: string): StepStatement {
  return {
    sql: `${alter(table)} DROP COLUMN ${quoteName(column)}`,
    change: { kind: "drop-column", table, column },
  };
}

/** For new rows only. */
export function setDefault(table: RelationName, column: string, expression: string): StepStatement {
  return {
    sql: `${alter(table)} ALTER COLUMN ${quoteName(column)} SET DEFAULT ${expression}`,
    change: { kind: "set-default", table, column, expression },
  };
}

/** The sequence of a serial column. */
export function createSequence(
  sequence: RelationName,
  type: string,
  table: RelationName,
  column: string,
): StepStatement {
  return plainStatement(
    `CREATE SEQUENCE ${quoteRelation(sequence)} AS ${type} OWNED BY ${quoteRelation(table)}.${quoteName(column)}`,
  );
}

export function nextValue(sequence: RelationName): string {
  return `nextval(${quoteLiteral(quoteRelation(sequence))})`;
}

function requireColumn(table: RelationName, column: string): StepStatement {
  return {
    sql: `${alter(table)} ALTER COLUMN ${quoteName(column)} SET NOT NULL`,
    change: { kind: "require-column", table, column },
  };
}

function dropConstraint(table: RelationName, name: string): StepStatement {
  return {
    sql: `${alter(table)} DROP CONSTRAINT ${quoteName(name)}`,
    change: { kind: "drop-constraint", table, name },
  };
}

/** @param definition without NOT VALID. */
function addNotValid(
  table: RelationName,
  name: string,
  definition: string,
  change: Change | null,
): StepStatement {
  const sql = `${alter(table)} ADD CONSTRAINT ${quoteName(name)} ${definition} NOT VALID`;
  return { sql, change };
}

export function addCheck(table: RelationName, name: string, condition: string): StepStatement {
  const change: Change = { kind: "add-check", table, name, condition };
  return addNotValid(table, name, `CHECK (${condition})`, change);
}

/** @param key null where `definition` says more than it can. */
export function addForeignKey(
  table: RelationName,
  name: string,
  definition: string,
  key: Omit<ForeignKey, "name"> | null,
): StepStatement {
  const change: Change | null =
    key === null ? null : { kind: "add-foreign-key", table, name, ...key };
  return addNotValid(table, name, definition, change);
}

function validateConstraint(table: RelationName, name: string): StepStatement {
  return plainStatement(`${alter(table)} VALIDATE CONSTRAINT ${quoteName(name)}`);
}

const later = "the next migration: validate it while others read and write";

/** A constraint that holds for new rows at once, and for the others once they have been read. */
export function validateLaterSteps(
  table: RelationName,
  name: string,
  added: StepStatement,
): Step[] {
  return [
    makeStep("1. for new rows, without reading the existing ones", [added]),
    makeStep(`2. ${later}`, [validateConstraint(table, name)]),
  ];
}

/** Where a constraint that rejects NULL exists, and only has to be validated. */
export function validateFirstStep(
  table: RelationName,
  constraint: { readonly name: string; readonly check: boolean },
  column: string,
): Step {
  return makeStep(
    `before it, validate ${constraint.name}, which exists: that reads the rows while others read and write`,
    [
      validateConstraint(table, constraint.name),
      ...(constraint.check ? [requireColumn(table, column)] : []),
    ],
  );
}

/** The name of the constraint by which `notNullSteps` requires a column; never that of another column. */
function notNullName({ name }: RelationName, column: string): string {
  const plain = nameObject(name, [column], "not_null");
  if (plain === `${name}_${column}_not_null`) return plain;
  const digest = createHash("sha256").update(column).digest("hex").slice(0, 8);
  return nameObject(name, [digest], "not_null");
}

/**
 * NOT NULL for a column that has no NULL left, without reading the table under an exclusive lock.
 * @param major the server's major version; null where it is not known.
 */
export function notNullSteps(
  table: RelationName,
  column: string,
  major: number | null,
  numbers: readonly [string, string] = ["1. ", "2. "],
): Step[] {
  const name = notNullName(table, column);
  const first = `${numbers[0]}reject new NULLs, without reading the existing rows`;
  const second = `${numbers[1]}${later}`;
  const validate = validateConstraint(table, name);
  if (major !== null && major >= 18) {
    const added = addNotValid(table, name, `NOT NULL ${quoteName(column)}`, null);
    return [makeStep(first, [added]), makeStep(second, [validate])];
  }
  const added = makeStep(first, [addCheck(table, name, `${quoteName(column)} IS NOT NULL`)]);
  if (major !== null && major < 12) {
    const title = `${second}; before PostgreSQL 12 the CHECK stays instead of NOT NULL`;
    return [added, makeStep(title, [validate])];
  }
  return [
    added,
    makeStep(`${second}; then SET NOT NULL relies on the CHECK`, [
      validate,
      requireColumn(table, column),
      dropConstraint(table, name),
    ]),
  ];
}

/** The statements of `notNullSteps`, which can be run again after a failure, and how to undo them. */
export function notNullStatements(
  table: RelationName,
  column: string,
  major: number | null,
): { readonly run: readonly string[]; readonly undo: readonly string[] } {
  const again = `${alter(table)} DROP CONSTRAINT IF EXISTS ${quoteName(notNullName(table, column))}`;
  const steps = notNullSteps(table, column, major);
  const undo = `${alter(table)} ALTER COLUMN ${quoteName(column)} DROP NOT NULL`;
  return {
    run: [again, ...steps.flatMap(({ statements }) => statements.map(({ sql }) => sql))],
    undo: [major !== null && major < 12 ? again : undo],
  };
}

/**
 * A unique constraint or primary key whose index is built while others read and write.
 * @param parameters of the index: what stands behind its columns. @param attributes of the constraint: DEFERRABLE.
 */
export function usingIndexSteps(
  table: RelationName,
  name: string,
  kind: "UNIQUE" | "PRIMARY KEY",
  columns: readonly string[],
  parameters = "",
  attributes = "",
): Step[] {
  const quoted = quoteName(name);
  const index: PlainIndex = { name, columns, unique: true, method: null };
  return [
    makeStep(
      "1. build the index while others read and write",
      [
        {
          sql: `CREATE UNIQUE INDEX CONCURRENTLY ${quoted} ON ${quoteRelation(table)} (${quoteNames(columns)})${parameters}`,
          change: parameters === "" ? { kind: "create-index", table, ...index } : null,
        },
      ],
      "outside",
    ),
    makeStep("2. the next migration: make the constraint of it", [
      plainStatement(
        `${alter(table)} ADD CONSTRAINT ${quoted} ${kind} USING INDEX ${quoted}${attributes}`,
      ),
    ]),
  ];
}

/** @param sql the whole statement. @param index null where that says more. */
export function createIndex(
  sql: string,
  table: RelationName,
  index: PlainIndex | null,
): StepStatement {
  return { sql, change: index === null ? null : { kind: "create-index", table, ...index } };
}

export function dropIndex(index: RelationName, table: RelationName | null): StepStatement {
  return {
    sql: `DROP INDEX CONCURRENTLY ${quoteRelation(index)}`,
    change: { kind: "drop-index", index, table },
  };
}

/** @param move `RENAME TO articles` */
export function renameBehindView(table: RelationName, move: string, to: RelationName): Step[] {
  const name = quoteRelation(table);
  return [
    makeStep(
      "1. a view of the old name in the same transaction, through which the old version reads and writes",
      [
        plainStatement(`${alter(table)} ${move}`),
        plainStatement(`CREATE VIEW ${name} AS SELECT * FROM ${quoteRelation(to)}`),
      ],
    ),
    makeStep("2. in the next deploy, whose version knows only the new name", [
      plainStatement(`DROP VIEW ${name}`),
    ]),
  ];
}

/** @param bounds `FOR VALUES IN (1)`. @param storage what stands behind them: `PARTITION BY LIST (id)`. */
export function attachPartition(
  parent: RelationName,
  partition: RelationName,
  bounds: string,
  storage: string,
): Step {
  const [name, whole] = [quoteRelation(partition), quoteRelation(parent)];
  return makeStep("create the table by itself, then attach it", [
    plainStatement(
      `CREATE TABLE ${name} (LIKE ${whole} INCLUDING ALL)${storage === "" ? "" : ` ${storage}`}`,
    ),
    plainStatement(`${alter(parent)} ATTACH PARTITION ${name} ${bounds}`),
  ]);
}
