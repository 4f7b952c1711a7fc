// The script itself, in seven steps: wait, inspect, lock, inspect again, migrate, verify, and give back what is
// to be started. Whatever is wrong is thrown as a Failure with the reason and the cure; nothing is started then.

import pg from "pg";
import { waitForDatabase, type Connection } from "./database/connect.ts";
import { acquireMigrationLock } from "./database/lock.ts";
import { waitForOrphans } from "./database/orphans.ts";
import { BadUrl, describeAddress, parseDatabaseUrl, type DatabaseAddress } from "./database/url.ts";
import { Failure, Stopped } from "./exit-codes.ts";
import { printResult } from "./log.ts";
import { inspect, readHistory, type History } from "./migrations/alembic/inspect.ts";
import { recogniseCommand } from "./migrations/command.ts";
import { decide, type Plan } from "./migrations/decide.ts";
import { migrate, migrateAndVerify, runSetup, type Context } from "./migrations/migrate.ts";
import { describeState, stateDetails, type CurrentState, type State } from "./migrations/state.ts";
import { unlessStopped } from "./process/signals.ts";
import type { Words } from "./settings.ts";

/** Resolves once the application may be started (or, with --dry-run, with false). */
export async function boot(context: Context): Promise<boolean> {
  const { settings, log, signals } = context;
  const history =
    settings.migrate === null ? null : await readMigrations(context, settings.migrate);
  const address = findDatabase(context, history);

  // 1. wait
  const connection = address === null ? null : await openConnection(context, address);
  try {
    // 2. inspect, without a lock
    const first = await unlessStopped(signals.stop, inspectNow(history, connection));
    const plan = decide(settings, first);
    if (settings.dryRun) {
      printResult(describePlan(context, address, first, plan));
      return false;
    }
    if (plan.kind === "fail") throw plan.failure;
    if (plan.warning !== null)
      log.warn({ event: plan.state, ...stateDetails(first) }, plan.warning);
    if (plan.migrate || settings.setup.length > 0) {
      if (connection === null || address === null) await runUnlocked(context, plan);
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

  // 7. start: the lock is released and every connection closed
  signals.stop.throwIfAborted();
  const done = settings.migrate === null ? "" : "Migrations complete. ";
  const message = settings.app === null ? "Migrations complete." : `${done}Starting application...`;
  log.info({ event: "starting", app: settings.app }, message);
  return true;
}

/** At head: it has been all along, or another replica has migrated while we waited. */
function logCurrent({ log }: Context, first: State | null, now: CurrentState): void {
  const reason = first?.state === "current" ? "Nothing to migrate" : "Another replica has migrated";
  log.info(
    { event: "current", ...stateDetails(now) },
    `${reason}: the database is at head ${now.heads.join(", ")}`,
  );
}

async function readMigrations({ settings }: Context, words: Words): Promise<History> {
  return readHistory(recogniseCommand(words), {
    cwd: settings.cwd,
    env: settings.env,
    versionTable: settings.versionTable,
    versions: settings.versions,
  });
}

/** The user's word, else the Alembic config's, else PGHOST and its kin; null where there is none to be had. */
function findDatabase({ settings, log }: Context, history: History | null): DatabaseAddress | null {
  const { database } = settings;
  if (database?.kind === "address") return database.address;
  if (database?.kind === "foreign") {
    log.warn(
      { event: "no-database", dialect: database.dialect },
      `${database.from} names a ${database.dialect} database: only PostgreSQL can be waited for, inspected and locked`,
    );
    return null;
  }
  if (history?.url) {
    try {
      const answer = parseDatabaseUrl(history.url, settings.env);
      return answer.kind === "postgres" ? answer.address : null;
    } catch (error) {
      if (!(error instanceof BadUrl)) throw error;
      throw new Failure("bad-settings", `sqlalchemy.url in the Alembic config: ${error.message}`, {
        hint: "set DATABASE_URL, or mend the Alembic config",
      });
    }
  }
  return settings.fallbackDatabase;
}

async function openConnection(
  { settings, signals, log }: Context,
  address: DatabaseAddress,
): Promise<Connection> {
  return waitForDatabase(address, {
    timeoutMs: settings.waitTimeoutMs,
    stop: signals.stop,
    log,
  });
}

/** What the server says against one of our own statements is for the user to mend, and no internal error. */
function explainDatabaseError(error: unknown, connection: Connection | null): unknown {
  const lost = connection?.lost.aborted === true;
  if (!(error instanceof pg.DatabaseError || (lost && error instanceof Error))) return error;
  if (error instanceof Failure || error instanceof Stopped) return error;
  const what = lost ? "the connection to the database was lost" : "the database refuses a query";
  return new Failure("database-unavailable", `${what}: ${error.message}`, {
    cause: error,
    hint: lost ? "start again: nothing is half done" : "the role must be able to read the catalog",
  });
}

async function inspectNow(
  history: History | null,
  connection: Connection | null,
): Promise<State | null> {
  return history === null ? null : inspect(history, connection?.client ?? null);
}

/** No database is known: the command is all that there is, as in the shell script. */
async function runUnlocked(context: Context, plan: Plan & { kind: "go" }): Promise<void> {
  const { settings, log } = context;
  log.warn(
    { event: "unlocked" },
    "No PostgreSQL URL is known, so nothing keeps other replicas from migrating at the same time; set DATABASE_URL",
  );
  if (plan.migrate && settings.migrate !== null)
    await migrate(context, settings.migrate, settings.env, null);
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

  // 3. lock
  const answer = await acquireMigrationLock(connection, {
    timeoutMs: settings.lockTimeoutMs,
    stop: signals.stop,
    log,
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
    await waitForOrphans(connection, { timeoutMs: remainingMs, stop: signals.stop, log });
    const before = await unlessStopped(signals.stop, inspectNow(history, connection));
    const plan = decide(settings, before);
    if (plan.kind === "fail") throw plan.failure;
    if (plan.migrate && history !== null && settings.migrate !== null && before !== null) {
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

function describePlan(
  { settings }: Context,
  address: DatabaseAddress | null,
  state: State | null,
  plan: Plan,
): string {
  const lines = [
    `database   ${address === null ? "none known: nothing to wait for, inspect or lock" : describeAddress(address)}`,
    `state      ${state === null ? "not asked: there is no migration command" : describeState(state)}`,
  ];
  if (plan.kind === "fail") {
    lines.push(`would stop ${plan.failure.message}`, `cure       ${plan.failure.hint ?? ""}`);
    return lines.join("\n");
  }
  const locked = address === null ? "without a lock" : "under the migration lock";
  lines.push(
    plan.migrate
      ? `migrate    would run ${settings.migrate?.join(" ") ?? ""} ${locked}`
      : "migrate    would run nothing",
  );
  for (const words of settings.setup)
    lines.push(`setup      would run ${words.join(" ")} ${locked}`);
  lines.push(
    settings.app === null
      ? "then       would exit 0"
      : `then       would become ${settings.app.join(" ")}`,
  );
  return lines.join("\n");
}
