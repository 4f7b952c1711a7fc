// What each command does before the application is started, or in its place. All that these need, PostgreSQL's client and
// the look at the migrations, is loaded with this file and for as long as it is at work: not by `supervise`, and no longer
// there when an application is supervised after a boot.

import { boot } from "./boot.ts";
import { downgrade } from "./downgrade.ts";
import { freeze } from "./freeze.ts";
import { printCurrent, printHeads, printHistory } from "./history.ts";
import type { Context } from "./migrations/migrate.ts";
import { openPinoLog } from "./pino-log.ts";
import type { Signals } from "./process/signals.ts";
import type { Command, Settings } from "./settings.ts";
import { printStatus } from "./status.ts";
import { waitForHead } from "./wait.ts";

export { forget, rehearse } from "./rehearsal.ts";

type Commands<T> = Partial<Record<Command, (context: Context) => Promise<T>>>;

/** What comes before the application; false where none is to be started. */
const preparations: Commands<boolean> = { run: boot, migrate: boot, wait: waitForHead };

/** What starts no application; the exit code. */
const reports: Commands<number> = {
  status: printStatus,
  current: printCurrent,
  heads: printHeads,
  history: printHistory,
  downgrade,
  freeze,
  // With PostgreSQL's parser and all that is done with its trees, which no other command wants.
  lint: async (context) => (await import("./lint.ts")).printLint(context),
  backfill: async (context) => (await import("./backfill/run.ts")).backfill(context),
};

/** Resolves with an exit code where nothing is to be started any more, else with null. */
export async function runCommand(settings: Settings, signals: Signals): Promise<number | null> {
  const { command, logFormat, logLevel } = settings;
  const context = { settings, signals, log: await openPinoLog(logFormat, logLevel) };
  const report = reports[command];
  if (report !== undefined) return await report(context);
  return (await preparations[command]?.(context)) === false ? 0 : null;
}
