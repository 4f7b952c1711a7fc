// A migration command that is not understood: nothing can be read of it, so it is run at every start, under the lock.

import type { Words } from "../context.ts";
import type { VersionTable } from "../state.ts";
import type { History, Ledger, MigrationCommand } from "./tool.ts";

/**
 * @param reason why it is not understood.
 * @param usual the table by which its work is detected in the database, unless the user names another one.
 */
export function opaqueCommand(words: Words, reason: string, usual: VersionTable): MigrationCommand {
  const doubt: Extract<Ledger, { kind: "cannot-tell" }> = { kind: "cannot-tell", reason };
  const command: MigrationCommand = {
    words,
    toolName: words[0],
    toolId: "command",
    opaque: reason,
    unrepeatable: reason,
    readsOptions: true,
    usesSqlAlchemy: words.some((word) =>
      /(?:^|\/)(?:python[\d.]*|uv|poetry|pdm)$|\.py$/.test(word),
    ),
    goal: null,
    async readHistory({ versionTable, tenant }): Promise<History> {
      return {
        command,
        doubt: reason,
        source: "files",
        versionTable: versionTable ?? { ...usual, schema: tenant },
        versionTableCertain: versionTable !== null,
        configured: null,
        ignored: null,
        heads: [],
        readLedger: () => Promise.resolve(doubt),
        findUserTables: () => Promise.resolve(false),
        resolve: () => ({ state: "cannot-tell", reason }),
        describe: () => [],
      };
    },
    cures: {
      stamp: () => "mark the migrations as applied with the command's own option",
      notAtHead: () =>
        "look at the command's output; it may have migrated another database than DATABASE_URL's",
      cannotTell:
        "name the migration tool's own command with --inspect-as; or use entrypoint run, which runs the command to be sure",
    },
  };
  return command;
}
