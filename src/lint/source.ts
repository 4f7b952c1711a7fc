// The SQL that is linted: of the pending migrations, as their tool prints it, or of a file.
// Guarantees: what the tool could not print is a gap, and never taken for safe.

import { readFileSync } from "node:fs";
import { Failure } from "../failure.ts";
import type {
  FileSql,
  History,
  MigrationCommand,
  Place,
  PrintedSql,
  SqlRange,
} from "../tools/tool.ts";

export interface Source extends PrintedSql {
  /** The file that it comes from; null for what a tool printed. */
  readonly file: string | null;
  /** The migrations that count, and will run together; null for all that the script has. */
  readonly pending: readonly string[] | null;
}

/** What the lint needs of the migration files and their tool. */
export interface LintedHistory extends Pick<History, "describe"> {
  readonly command: Pick<MigrationCommand, "toolName" | "toolId"> & Partial<FileSql>;
}

/** Where nothing is pending, or nothing is known. */
export const emptySource: Source = {
  sql: "",
  starts: [],
  origins: [],
  range: null,
  gaps: [],
  file: null,
  pending: [],
};

/** Throws Failure "bad-settings". */
export function readSqlFile(path: string, { command }: LintedHistory): Source {
  try {
    const sql = readFileSync(path, "utf8");
    const starts = command.findStarts?.(sql) ?? [];
    return { sql, starts, origins: [], range: null, gaps: [], file: path, pending: null };
  } catch (error) {
    throw new Failure("bad-settings", `--sql ${path}: ${(error as Error).message}`, {
      hint: "name a file of SQL, such as one that the migration tool printed",
    });
  }
}

/** Throws Failure "cannot-tell" where the tool cannot print SQL. */
export async function printSource(
  { command }: LintedHistory,
  range: SqlRange,
  place: Place,
): Promise<Source> {
  if (command.printSql === undefined) {
    throw new Failure("cannot-tell", "the migration command cannot print its SQL", {
      hint: "name a file of SQL: --sql FILE",
    });
  }
  const printed = await command.printSql(range, place);
  return { ...printed, file: null, pending: range.pending ?? printed.range };
}
