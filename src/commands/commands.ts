// What each command does before the application is started, or in its place. All that these need, PostgreSQL's client and
// the look at the migrations, is loaded with this file and for as long as it is at work: not by `supervise`, and no longer
// there when an application is supervised after a boot.

import type { Signals } from "../context.ts";
import { openPinoLog } from "../log/pino.ts";
import { runBefore } from "../migrate/steps.ts";
import type { ExecSettings, Settings, SuperviseSettings } from "../settings/settings.ts";
import { downgrade } from "./downgrade.ts";
import { freeze } from "./freeze.ts";
import { printHistory } from "./history.ts";
import { boot } from "./run.ts";
import { printStatus } from "./status.ts";
import { waitForHead } from "./wait.ts";

export { recogniseOneOff } from "../tools/one-off.ts";

/** Resolves with an exit code where nothing is to be started any more, else with null. */
export async function execute(
  settings: Exclude<Settings, SuperviseSettings | ExecSettings>,
  signals: Signals,
): Promise<number | null> {
  const log = openPinoLog(settings.logFormat, settings.logLevel);
  if ("before" in settings && settings.before.length > 0 && !settings.dryRun) {
    await runBefore({ settings, log, signals }, ["always"]);
  }
  switch (settings.command) {
    case "run":
    case "migrate":
      return (await boot({ settings, log, signals })) ? null : 0;
    case "wait":
      return (await waitForHead({ settings, log, signals })) ? null : 0;
    case "status":
      return printStatus({ settings, log, signals });
    case "current":
    case "heads":
    case "history":
      return printHistory({ settings, log, signals });
    case "downgrade":
      return downgrade({ settings, log, signals });
    case "freeze":
      return freeze({ settings, log, signals });
    case "config":
      return (await import("./config.ts")).printConfig(settings);
    // With PostgreSQL's parser and all that is done with its trees, which no other command wants.
    case "lint":
      return (await import("./lint.ts")).printLint({ settings, log, signals });
    case "backfill":
      return (await import("./backfill.ts")).backfill({ settings, log, signals });
  }
}
