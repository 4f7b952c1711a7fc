// Which row a command belongs to, or the user names.

import { join } from "node:path";
import type { Words } from "../../context.ts";
import { Failure } from "../../failure.ts";
import type { Launched, Program } from "../launchers.ts";
import type { MigrationCommand } from "../tool.ts";
import { readText } from "./folder.ts";
import { readFolderTool } from "./folder-tool.ts";
import { createCommand } from "./history.ts";
import { unwrapMore } from "./launchers.ts";
import { rows } from "./rows.ts";
import { readWords } from "./words.ts";

/** Null where no row's program is run; a reason where the words are not understood. */
export function recogniseRow(
  program: Program,
  words: Words,
  cwd: string | null,
): MigrationCommand | string | null {
  const launched = unwrapMore(program, () => readScripts(cwd));
  if (launched.kind === "opaque") return launched.reason;
  let reason: string | null = null;
  for (const row of rows) {
    const reading = readWords(row, launched);
    if (reading === null) continue;
    if (typeof reading !== "string") return createCommand(row, words, reading);
    reason ??= reading;
  }
  return reason;
}

/** The row that the user names: what the words do not say, it says. Throws Failure "bad-settings" for an unknown one. */
export function nameTool(
  name: string,
  program: Launched,
  words: Words,
  cwd: string | null,
): MigrationCommand {
  const row = readFolderTool(name) ?? rows.find(({ id }) => id === name);
  if (row === undefined) {
    const names = [...rows.map(({ id }) => id), "folder:COLUMN[:PATTERN]"].join(", ");
    throw new Failure("bad-settings", `--tool: given ${JSON.stringify(name)}; allowed: ${names}`, {
      hint: "name one of these, and leave --tool out for any other",
    });
  }
  const launched =
    program.kind === "opaque" ? program : unwrapMore(program, () => readScripts(cwd));
  const reading = launched.kind === "opaque" ? null : readWords(row, launched);
  return createCommand(row, words, typeof reading === "string" ? null : reading);
}

/** Of package.json. */
function readScripts(cwd: string | null): Readonly<Record<string, string>> | null {
  if (cwd === null) return null;
  try {
    const manifest: unknown = JSON.parse(readText(join(cwd, "package.json")) ?? "null");
    const { scripts } = Object(manifest) as { scripts?: unknown };
    return Object.fromEntries(
      Object.entries(Object(scripts) as object).filter(
        (entry): entry is [string, string] => typeof entry[1] === "string",
      ),
    );
  } catch (error) {
    // One that cannot be read tells nothing.
    if (error instanceof SyntaxError || (error instanceof Error && "syscall" in error)) return null;
    throw error;
  }
}
