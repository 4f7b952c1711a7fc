// The script itself, in seven steps: wait, inspect, lock, inspect again, migrate, verify, and give back what is
// to be started. Whatever is wrong is thrown as a Failure with the reason and the cure; nothing is started then.

import type { Connection } from "./database/connect.ts";
import { acquireMigrationLock } from "./database/lock.ts";
import { waitForOrphans } from "./database/orphans.ts";
import type { DatabaseAddress } from "./database/url.ts";
import { printResult } from "./log.ts";
import { inspect, type History } from "./migrations/alembic/inspect.ts";
import { decide, type Plan } from "./migrations/decide.ts";
import { migrate, migrateAndVerify, runSetup, type Context } from "./migrations/migrate.ts";
import {
  stateDetails,
  usualVersionTable,
  type CurrentState,
  type State,
} from "./migrations/state.ts";
import {
  awaitAnswer,
  describePlan,
  explainDatabaseError,
  openConnection,
  readAndConnect,
  readMigrations,
} from "./survey.ts";

/** Resolves once the application may be started (or, with --dry-run, with false). */
export async function boot(context: Context): Promise<boolean> {
  const { settings, log, signals } = context;
  // 1. wait
  const { migrate: words } = settings;
  const { history, address, connection } = await readAndConnect(
    context,
    async () => (words === null ? null : readMigrations(context, words)),
    (to) => openConnection(context, to),
  );
  try {
    // 2. inspect, without a lock
    const first = await awaitAnswer(context, inspectNow(history, connection));
    const plan = decide(settings, first, history?.versionTable);
    if (settings.dryRun) {
      const failure = plan.kind === "fail" ? plan.failure : null;
      const steps = plan.kind === "go" ? describeSteps(context, address, plan.migrate) : [];
      printResult(describePlan(context, { address, state: first, failure }, steps));
      return false;
    }
    if (plan.kind === "fail") throw plan.failure;
    if (plan.warning !== null)
      log.warn({ event: plan.state, ...stateDetails(first) }, plan.warning);
    if (plan.migrate || settings.setup.length > 0) {
      if (connection === null || address === null) await runUnlocked(context, history, plan);
      else await runLocked(context, { history, address, connection, first });
    } else if (first?.state === "current") {
      logCurrent(context, first, first);
    }
  } catch (error) {
    throw explainDatabaseError(error, connection);
  } finally {
    // Told to stop, there is no time for goodbyes: the server gives the lock back when our process ends.
    if (!signals.stop.aborted) await connection?.close();
  }

  announceStart(context);
  return true;
}

/** Step 7, start: the lock is released and every connection closed. */
export function announceStart({ settings, log, signals }: Context): void {
  signals.stop.throwIfAborted();
  const done = settings.migrate === null ? "" : "Migrations complete. ";
  const message = settings.app === null ? "Migrations complete." : `${done}Starting application...`;
  log.info({ event: "starting", app: settings.app }, message);
}

/** At head: it has been all along, or another replica has migrated while we waited. */
function logCurrent({ log }: Context, first: State | null, now: CurrentState): void {
  const reason = first?.state === "current" ? "Nothing to migrate" : "Another replica has migrated";
  log.info(
    { event: "current", ...stateDetails(now) },
    `${reason}: the database is at head ${now.heads.join(", ")}`,
  );
}

async function inspectNow(
  history: History | null,
  connection: Connection | null,
): Promise<State | null> {
  return history === null ? null : inspect(history, connection?.client ?? null);
}

/** No database is known: the command is all that there is, as in the shell script. */
async function runUnlocked(
  context: Context,
  history: History | null,
  plan: Plan & { kind: "go" },
): Promise<void> {
  const { settings, log } = context;
  log.warn(
    { event: "unlocked" },
    "No PostgreSQL URL is known, so nothing keeps other replicas from migrating at the same time; set DATABASE_URL",
  );
  if (settings.ddlLockTimeoutMs !== null) {
    log.warn(
      { event: "ddl-lock-timeout", hint: "set DATABASE_URL" },
      "--ddl-lock-timeout does nothing where no PostgreSQL URL is known",
    );
  }
  if (plan.migrate && history !== null && settings.migrate !== null) {
    if (settings.lint !== "off") {
      const before = await inspect(history, null);
      const { lintBeforeMigration } = await import("./lint.ts");
      await lintBeforeMigration(context, { history, database: null, before });
    }
    await migrate(context, settings.migrate, settings.env, null);
  }
  await runSetup(context, null);
}

/** Steps 3 to 6. */
async function runLocked(
  context: Context,
  on: {
    history: History | null;
    address: DatabaseAddress;
    connection: Connection;
    first: State | null;
  },
): Promise<void> {
  const { settings, log, signals } = context;
  const { history, address, connection } = on;
  const startMs = performance.now();
  const table = history?.versionTable ?? usualVersionTable;

  // 3. lock
  const answer = await acquireMigrationLock(connection, {
    timeoutMs: settings.lockTimeoutMs,
    stop: signals.stop,
    log,
    versionTable: table.name,
    async findCurrent() {
      if (settings.setup.length > 0 || settings.alwaysMigrate || history === null) return null;
      const state = await inspect(history, connection.client);
      return state.state === "current" ? state : null;
    },
    connectAgain: () => openConnection(context, address),
  });
  if (answer.kind === "not-needed") {
    logCurrent(context, on.first, answer.state);
    return;
  }
  const { lock } = answer;
  try {
    // 4. inspect again: another replica may have been here first, and its migration may live on in the server
    const remainingMs = Math.max(settings.lockTimeoutMs - (performance.now() - startMs), 0);
    await waitForOrphans(connection, {
      timeoutMs: remainingMs,
      stop: signals.stop,
      log,
      versionTable: table.name,
    });
    const before = await awaitAnswer(context, inspectNow(history, connection));
    const plan = decide(settings, before, table);
    if (plan.kind === "fail") throw plan.failure;
    if (plan.migrate && history !== null && settings.migrate !== null && before !== null) {
      if (settings.lint !== "off") {
        const { lintBeforeMigration } = await import("./lint.ts");
        await lintBeforeMigration(context, { history, database: address, before });
      }
      // 5. migrate, 6. verify
      await migrateAndVerify(context, { ...on, history, words: settings.migrate, before, lock });
    } else if (before?.state === "current") {
      logCurrent(context, on.first, before);
    }
    await runSetup(context, lock);
  } finally {
    if (!signals.stop.aborted) await lock.release();
  }
}

/** Steps 3 to 6 as --dry-run shows them. */
function describeSteps(
  { settings }: Context,
  address: DatabaseAddress | null,
  migrating: boolean,
): string[] {
  const locked = address === null ? "without a lock" : "under the migration lock";
  return [
    ...(migrating && settings.lint !== "off"
      ? [
          `lint       would ${settings.lint === "error" ? "refuse" : "log"} what is unsafe in the pending migrations`,
        ]
      : []),
    migrating
      ? `migrate    would run ${settings.migrate?.join(" ") ?? ""} ${locked}`
      : "migrate    would run nothing",
    ...settings.setup.map((words) => `setup      would run ${words.join(" ")} ${locked}`),
  ];
}
