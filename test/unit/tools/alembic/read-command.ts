// A command of Alembic's from one line.

import type { Words } from "../../../../src/context.ts";
import { readCommand, type AlembicCommand } from "../../../../src/tools/alembic/command.ts";
import { unwrap } from "../../../../src/tools/launchers.ts";

export function readAlembicCommand(line: string): AlembicCommand {
  const words = line.split(" ") as [string, ...string[]] satisfies Words;
  const program = unwrap(words);
  const command = program.kind === "opaque" ? program.reason : readCommand(program, words);
  if (command === null || typeof command === "string") throw new Error(`${line}: ${command}`);
  return command;
}
