// What follows a backfill: its columns can be NOT NULL now. As SQL, and as a migration where the tool has files for that.

import { notNullStatements } from "../postgres/steps.ts";
import type { RenderCapability } from "../tools/tool.ts";
import type { Expressions } from "./expressions.ts";
import type { TargetTable } from "./plan.ts";

/** What decides the form of the migration. */
export interface Surroundings {
  /** The server's major version. */
  readonly major: number;
  readonly render: RenderCapability | null;
  /** The migration that it follows; null where that is not known. */
  readonly head: string | null;
}

/** SQL and a migration, to be printed; null where the condition names no column that could be required. */
export function describeThirdStep(
  { schema, relation }: TargetTable,
  { missing }: Expressions,
  { major, render, head }: Surroundings,
): string | null {
  if (missing.length === 0) return null;
  const all = missing.map((column) => notNullStatements({ schema, name: relation }, column, major));
  const statements = all.flatMap(({ run }) => run);
  const lines = [
    "-- Step three, once no running version of the application writes NULL. Run each statement in a transaction of its own:",
    "-- VALIDATE reads every row, and blocks neither reads nor writes; all others take a moment.",
    "SET lock_timeout = '2s';",
    ...statements.map((statement) => `${statement};`),
  ];
  if (render === null) return lines.join("\n");
  const migration = render.renderMigration({
    id: `require_${relation}_${missing.join("_")}`,
    title: `Require ${missing.join(", ")} of every row of ${relation}`,
    after: head,
    statements,
    undo: all.flatMap(({ undo }) => undo),
  });
  return [...lines, "", migration].join("\n");
}
