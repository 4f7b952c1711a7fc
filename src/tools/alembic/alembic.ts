// Alembic, and Flask-Migrate, which runs it: the tool behind the interface of tool.ts.

import type { MigrationCommand, Tool } from "../tool.ts";
import { readCommand, readCommandLine, type AlembicCommand } from "./command.ts";
import { createCures } from "./cures.ts";
import { readHistory } from "./history.ts";

export const alembic: Tool = {
  recognise(program, words) {
    const command = readCommand(program, words);
    return command === null || typeof command === "string" ? command : createCommand(command);
  },
  readCommandLine,
};

function createCommand(command: AlembicCommand): MigrationCommand {
  const migration: MigrationCommand = {
    words: command.words,
    toolName: "Alembic",
    toolId: "alembic",
    opaque: null,
    unrepeatable: null,
    readsOptions: true,
    usesSqlAlchemy: true,
    goal: command.target.kind === "revision" ? command.target.id : null,
    readHistory: (options) => readHistory({ alembic: command, migration }, options),
    cures: createCures(command),
    // Loaded where it is wanted: no start needs it.
    freeze: async (options, context) =>
      (await import("./frozen/freeze.ts")).freeze(
        { alembic: command, migration },
        options,
        context,
      ),
    loadSql: async () => (await import("./sql.ts")).createSql(command),
  };
  return migration;
}
