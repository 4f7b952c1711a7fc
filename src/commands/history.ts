// What the migration tool's own commands `current`, `heads` and `history` print, from the files and without starting it.
// Where the files leave doubt the tool's command is run, and its output passes through.

import type { Context } from "../context.ts";
import { Failure } from "../failure.ts";
import { printResult } from "../log/log.ts";
import { describeAddress } from "../postgres/url.ts";
import { connectAtOnce } from "../postgres/wait-for-database.ts";
import { runCommand } from "../process/run-command.ts";
import type { ListSettings } from "../settings/settings.ts";
import type { History, ListCapability, Listed } from "../tools/tool.ts";
import { askOnce, findDatabase, readMigrations } from "./survey.ts";
import { describeWords } from "../log/words.ts";

const connectTimeoutMs = 2_000;

/** Resolves to 0. Each of several histories stands below its name. Failure "cannot-tell" where neither the files nor the tool say, "ahead", "database-unavailable". */
export async function printHistory(context: Context<ListSettings>): Promise<number> {
  for (const { name, history } of await readMigrations(context)) {
    if (name !== null) printResult(`# ${name}`);
    await printOne(context, history);
  }
  return 0;
}

async function printOne(context: Context<ListSettings>, history: History): Promise<void> {
  const { command, verbose } = context.settings;
  const { list } = history;
  const listed: Listed =
    list === undefined
      ? { kind: "cannot-tell", reason: history.doubt ?? "the tool has no such command" }
      : list.needsRows.includes(command)
        ? await listApplied(context, history, list)
        : list.print(command, { verbose, ledger: null, database: "" });
  switch (listed.kind) {
    case "known":
      if (listed.text !== "") printResult(listed.text);
      break;
    case "ahead":
      throw new Failure(
        "ahead",
        `the database is at ${listed.rows.join(", ")}, which no migration file has`,
        { hint: "use the image that has it" },
      );
    case "cannot-tell":
      await passThrough(context, list, listed.reason);
  }
}

async function listApplied(
  context: Context<ListSettings>,
  history: History,
  list: ListCapability,
): Promise<Listed> {
  if (history.doubt !== null) return { kind: "cannot-tell", reason: history.doubt };
  const address = findDatabase(context, [history]);
  if (address === null) return { kind: "cannot-tell", reason: "no database URL is known" };
  const connection = await connectAtOnce(context, address, connectTimeoutMs);
  const ledger = await askOnce(context, connection, (queried) => history.readLedger(queried));
  if (ledger.kind === "cannot-tell") return ledger;
  const { command, verbose } = context.settings;
  return list.print(command, { verbose, ledger, database: describeAddress(address) });
}

/** Runs the tool's own command of that name. */
async function passThrough(
  { settings, log, signals }: Context<ListSettings>,
  list: ListCapability | undefined,
  reason: string,
): Promise<void> {
  const { command: verb, env, cwd, verbose } = settings;
  const cannot = (message: string) => new Failure("cannot-tell", message, { details: { reason } });
  if (list?.own === undefined) throw cannot(`cannot list the migrations: ${reason}`);
  const words = list.own.words(verb, { verbose });
  const command = describeWords(words);
  log.info({ event: "asking", command: words, reason }, `Running ${command}: ${reason}`);
  const options = { cwd, timeoutMs: 0, signals, lockLost: null, log };
  const end = await list.own.readOnly(env, (readOnly) =>
    runCommand(words, { ...options, env: readOnly }),
  );
  if (end.kind === "stopped") throw signals.stop.reason;
  if (end.kind !== "exited" || end.code !== 0) {
    throw cannot(`${command} ${end.kind === "exited" ? `exited with code ${end.code}` : end.kind}`);
  }
}
