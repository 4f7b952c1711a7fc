// What comes after a backfill: the column may be required now. Four statements, of which the one that reads every row
// locks nobody out; as SQL, and as a revision for Alembic.

import pg from "pg";
import type { Expressions } from "./expressions.ts";
import type { Target } from "./plan.ts";

const { escapeIdentifier } = pg;

/** PostgreSQL keeps 63 bytes of a name. */
const longestName = 63;

/** The statements that make a column NOT NULL. They can be run again after a failure. */
function requireColumn(target: Target, column: string): readonly string[] {
  const table = target.name;
  const constraint = escapeIdentifier(
    `${target.relation.slice(0, longestName - column.length - 10)}_${column}_not_null`.slice(
      -longestName,
    ),
  );
  const name = escapeIdentifier(column);
  return [
    `ALTER TABLE ${table} DROP CONSTRAINT IF EXISTS ${constraint}`,
    `ALTER TABLE ${table} ADD CONSTRAINT ${constraint} CHECK (${name} IS NOT NULL) NOT VALID`,
    `ALTER TABLE ${table} VALIDATE CONSTRAINT ${constraint}`,
    `ALTER TABLE ${table} ALTER COLUMN ${name} SET NOT NULL`,
    `ALTER TABLE ${table} DROP CONSTRAINT ${constraint}`,
  ];
}

/** A string for Python, with the quotes of SQL left readable. */
function pythonString(text: string): string {
  return /['\\]/.test(text) ? JSON.stringify(text) : `'${text}'`;
}

/**
 * SQL and a revision, to be printed; null where the condition names no column that could be required.
 * @param heads what the revision follows, where that is known.
 */
export function describeThirdStep(
  target: Target,
  { missing }: Expressions,
  heads: readonly string[],
): string | null {
  if (missing.length === 0) return null;
  const statements = missing.flatMap((column) => requireColumn(target, column));
  return [
    "-- Step three, once no running version of the application writes NULL. Each statement in a transaction of its own:",
    "-- VALIDATE alone reads every row, and locks nobody out; SET NOT NULL believes the constraint.",
    "SET lock_timeout = '2s';",
    ...statements.map((statement) => `${statement};`),
    "",
    describeRevision(target, missing, heads, statements),
  ].join("\n");
}

function describeRevision(
  { name, relation }: Target,
  columns: readonly string[],
  heads: readonly string[],
  statements: readonly string[],
): string {
  const words = `require_${relation}_${columns.join("_")}`.toLowerCase().replaceAll(/\W+/g, "_");
  const [head] = heads;
  const down =
    head !== undefined && heads.length === 1
      ? JSON.stringify(head)
      : "None  # the revision that added the column, or the head";
  return [
    `"""Require ${columns.join(", ")} of every row of ${relation}"""`,
    "",
    "from alembic import op",
    "",
    // Alembic's version table holds 32 characters.
    `revision = ${JSON.stringify(words.slice(0, 32))}`,
    `down_revision = ${down}`,
    "branch_labels = None",
    "depends_on = None",
    "",
    "",
    "def upgrade() -> None:",
    "    # Each statement in a transaction of its own, so that the first lock is not held while every row is read.",
    "    with op.get_context().autocommit_block():",
    ...statements.map((statement) => `        op.execute(${pythonString(statement)})`),
    "",
    "",
    "def downgrade() -> None:",
    ...columns.map((column) => {
      const drop = `ALTER TABLE ${name} ALTER COLUMN ${escapeIdentifier(column)} DROP NOT NULL`;
      return `    op.execute(${pythonString(drop)})`;
    }),
  ].join("\n");
}
