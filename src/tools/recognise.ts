// Which migration tool a command runs. A tool with a history of its own kind is a line here and a folder beside alembic/; one
// that keeps a folder of migrations and a table of the applied ones is a row of compared/rows.ts.

import type { Words } from "../context.ts";
import type { VersionTable } from "../state.ts";
import { alembic } from "./alembic/alembic.ts";
import { usualVersionTable as alembicTable } from "./alembic/history.ts";
import { describeProgram, unwrap, type Program } from "./launchers.ts";
import { opaqueCommand } from "./opaque.ts";
import { readKnownCommandLine } from "./programs.ts";
import type { MigrationCommand, Tool } from "./tool.ts";

const tools: readonly Tool[] = [alembic];

/** The table by which an unknown migration is detected in the database. */
export const usualVersionTable: VersionTable = alembicTable;

/**
 * What a migration command means. A command that is not understood is opaque: it is run as it is, and never skipped.
 * @param tool the user's word for what it runs; null: the words say. Throws Failure "bad-settings" for an unknown one.
 * @param cwd where package.json may say what the words run; null: nobody looks.
 */
export async function recognise(
  words: Words,
  tool: string | null = null,
  cwd: string | null = null,
): Promise<MigrationCommand> {
  const program = unwrap(words);
  if (tool === null) {
    if (program.kind === "opaque") return opaqueCommand(words, program.reason, usualVersionTable);
    for (const each of tools) {
      const command = each.recognise(program, words);
      if (typeof command === "string") return opaqueCommand(words, command, usualVersionTable);
      if (command !== null) return command;
    }
  }
  // Loaded where it is needed: no start of the tools above needs it.
  const { nameTool, recogniseRow } = await import("./compared/recognise.ts");
  if (tool !== null) return nameTool(tool, program, words, cwd);
  if (program.kind === "opaque") throw new Error("an opaque command is none of a tool");
  const found = recogniseRow(program, words, cwd);
  if (found !== null && typeof found !== "string") return found;
  return opaqueCommand(
    words,
    found ?? `${describeProgram(program)} is not a migration tool that entrypoint knows`,
    usualVersionTable,
  );
}

/** What a migration tool's own command line does; null where the program is none. */
export function readCommandLine(program: Program): "changes" | "reads" | null {
  for (const tool of tools) {
    const does = tool.readCommandLine(program);
    if (does !== null) return does;
  }
  return readKnownCommandLine(program);
}
