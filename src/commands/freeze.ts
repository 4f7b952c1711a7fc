// `RUN entrypoint freeze` at image build: the migration tool itself reports its history once, for every start to read.

import type { Context } from "../context.ts";
import { Failure } from "../failure.ts";
import { printResult } from "../log/log.ts";
import type { FreezeSettings } from "../settings/settings.ts";
import { recognise } from "../tools/recognise.ts";
import type { HistoryOptions, MigrationCommand } from "../tools/tool.ts";

/** Resolves to 0. Of several migration commands each is frozen. Failure "cannot-tell" where the tool does not answer or refuses its files, "cannot-write". */
export async function freeze(context: Context<FreezeSettings>): Promise<number> {
  const { migrations, cwd, env } = context.settings;
  const memo = new Map<string, unknown>();
  for (const { words, inspectAs, tool, versionTable } of migrations) {
    const options = { cwd, env, versionTable, versions: [], tenant: null, memo };
    const command = await recognise(inspectAs ?? words, tool);
    printResult(await freezeOne(context, command, options));
  }
  return 0;
}

/** Returns the text to print. */
async function freezeOne(
  context: Context<FreezeSettings>,
  command: MigrationCommand,
  options: HistoryOptions,
): Promise<string> {
  if (command.freeze === undefined) {
    const reason = command.opaque ?? `${command.toolName} cannot report its history`;
    throw new Failure("cannot-tell", `cannot freeze the migration history: ${reason}`, {
      hint: "name the migration tool's own command with --inspect-as",
    });
  }
  return command.freeze(options, context);
}
