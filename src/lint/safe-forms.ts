// The safe forms that several rules share: as SQL and as Alembic operations, with the very names of the statement.

import type { SafeStep, Target } from "./rules/rule.ts";
import { executePython, quoteName, quotePython, schemaArgument } from "./sql.ts";

/** What PostgreSQL would call it, within its 63 bytes. */
export function constraintName({ name }: Target, columns: readonly string[], end: string): string {
  return [name.name, ...columns, end].join("_").slice(0, 63);
}

/** A step that is SQL alone to Alembic. */
export function sqlStep(title: string, ...statements: readonly string[]): SafeStep {
  return {
    title,
    sql: statements.map((one) => `${one};`).join("\n"),
    alembic: statements.map(executePython).join("\n"),
  };
}

/** Outside of a transaction. */
export function autocommitStep(title: string, sql: string, operation?: string): SafeStep {
  const lines = (operation ?? executePython(sql)).split("\n").map((line) => `    ${line}`);
  return {
    title,
    sql: `${sql};`,
    alembic: ["with op.get_context().autocommit_block():", ...lines].join("\n"),
  };
}

/** NOT NULL for a column that is there and filled, without reading the table under the lock. */
export function notNullSteps(
  target: Target,
  column: string,
  server: number | null,
  numbers: readonly [string, string] = ["1. ", "2. "],
): SafeStep[] {
  const name = constraintName(target, [column], "not_null");
  const [constraint, quoted] = [quoteName(name), quoteName(column)];
  const alter = `ALTER TABLE ${target.sql}`;
  const validate = `${alter} VALIDATE CONSTRAINT ${constraint}`;
  if (server !== null && server >= 18) {
    return [
      sqlStep(
        `${numbers[0]}refuse new NULLs, without reading the rows that are there`,
        `${alter} ADD CONSTRAINT ${constraint} NOT NULL ${quoted} NOT VALID`,
      ),
      sqlStep(`${numbers[1]}the next revision: read them while others read and write`, validate),
    ];
  }
  const first: SafeStep = {
    title: `${numbers[0]}refuse new NULLs, without reading the rows that are there`,
    sql: `${alter} ADD CONSTRAINT ${constraint} CHECK (${quoted} IS NOT NULL) NOT VALID;`,
    alembic: `op.create_check_constraint(${quotePython(name)}, ${quotePython(target.name.name)}, ${quotePython(`${quoted} IS NOT NULL`)}${schemaArgument(target.name)}, postgresql_not_valid=True)`,
  };
  if (server !== null && server < 12) {
    return [
      first,
      sqlStep(
        `${numbers[1]}the next revision: read them while others read and write; before PostgreSQL 12 the CHECK stays in the place of NOT NULL`,
        validate,
      ),
    ];
  }
  const schema = schemaArgument(target.name);
  return [
    first,
    {
      title: `${numbers[1]}the next revision: read them while others read and write; SET NOT NULL then believes the CHECK`,
      sql: `${validate};\n${alter} ALTER COLUMN ${quoted} SET NOT NULL;\n${alter} DROP CONSTRAINT ${constraint};`,
      alembic: [
        executePython(validate),
        `op.alter_column(${quotePython(target.name.name)}, ${quotePython(column)}, nullable=False${schema})`,
        `op.drop_constraint(${quotePython(name)}, ${quotePython(target.name.name)}${schema})`,
      ].join("\n"),
    },
  ];
}

/** The three steps: a column that may be NULL, the backfill, NOT NULL. `first` is how the column comes. */
export function threeSteps(
  target: Target,
  column: string,
  server: number | null,
  first: Pick<SafeStep, "sql" | "alembic"> | null,
): SafeStep[] {
  const quoted = quoteName(column);
  return [
    {
      title: `1. the column may be NULL${first === null ? " (as it is now)" : ""}; the new version of the application fills it`,
      sql: first?.sql ?? "",
      alembic: first?.alembic ?? "",
    },
    {
      title: `2. the backfill, in batches, outside of the migrations: UPDATE ${target.sql} SET ${quoted} = … WHERE ${quoted} IS NULL`,
      sql: "",
      alembic: "",
    },
    ...notNullSteps(target, column, server, ["3a. ", "3b. "]),
  ];
}

/** A constraint that holds for new rows at once, and for the others once they have been read. */
export function validateLaterSteps(
  target: Target,
  name: string,
  definition: string,
  operation: string,
): SafeStep[] {
  const alter = `ALTER TABLE ${target.sql}`;
  return [
    {
      title: "1. for new rows, without reading those that are there",
      sql: `${alter} ADD CONSTRAINT ${quoteName(name)} ${definition} NOT VALID;`,
      alembic: operation,
    },
    sqlStep(
      "2. the next revision: read them while others read and write",
      `${alter} VALIDATE CONSTRAINT ${quoteName(name)}`,
    ),
  ];
}

/** A unique constraint or primary key whose index is built while others read and write. */
export function usingIndexSteps(
  target: Target,
  name: string,
  kind: "UNIQUE" | "PRIMARY KEY",
  columns: readonly string[],
  suffix = "",
): SafeStep[] {
  const list = columns.map(quoteName).join(", ");
  return [
    autocommitStep(
      "1. build the index while others read and write",
      `CREATE UNIQUE INDEX CONCURRENTLY ${quoteName(name)} ON ${target.sql} (${list})${suffix}`,
      suffix === ""
        ? `op.create_index(${quotePython(name)}, ${quotePython(target.name.name)}, [${columns.map(quotePython).join(", ")}], unique=True${schemaArgument(target.name)}, postgresql_concurrently=True)`
        : undefined,
    ),
    sqlStep(
      "2. the next revision: make the constraint of it",
      `ALTER TABLE ${target.sql} ADD CONSTRAINT ${quoteName(name)} ${kind} USING INDEX ${quoteName(name)}`,
    ),
  ];
}
