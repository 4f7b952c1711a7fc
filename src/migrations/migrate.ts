// The line `alembic upgrade head` and the `if` behind it, with what they lack: who is in the way is said while it
// runs, exit code 0 is not believed until the database agrees, and a failure says how far it came.

import { setTimeout as sleep } from "node:timers/promises";
import { describeActivity, findActivity } from "../database/activity.ts";
import { migrationApplicationPrefix } from "../database/blockers.ts";
import { isPooled, shortHostname, waitForDatabase, type Connection } from "../database/connect.ts";
import type { MigrationLock } from "../database/lock.ts";
import type { DatabaseAddress } from "../database/url.ts";
import type { Environment } from "../environment.ts";
import { Failure } from "../exit-codes.ts";
import type { Log } from "../log.ts";
import { runCommand, type CommandEnd } from "../process/run-migration.ts";
import { unlessStopped, type Signals } from "../process/signals.ts";
import type { Settings, Words } from "../settings.ts";
import { inspect, type History } from "./alembic/inspect.ts";
import { migrateInAttempts, type Attempt } from "./lock-attempts.ts";
import { describeProgress, stateDetails, type State } from "./state.ts";

/** What every step of the boot needs. */
export interface Context {
  readonly settings: Settings;
  readonly log: Log;
  readonly signals: Signals;
}

const migrationFailed = "Migration failed! Aborting startup.";

const activityCheckMs = 2_000;
const activityReportMs = 15_000;

/**
 * Steps 5 and 6, under the lock: runs the migration, then asks the database itself, on a fresh connection, how far it
 * came. Throws a Failure unless that is the target (or nobody can tell).
 */
export async function migrateAndVerify(
  context: Context,
  on: {
    history: History;
    address: DatabaseAddress;
    connection: Connection;
    words: Words;
    before: State;
    lock: MigrationLock;
  },
): Promise<void> {
  const { settings, log, signals } = context;
  const { ddlLockTimeoutMs } = settings;
  const failure = await runReporting(context, on.connection, on.history, (env) => {
    if (ddlLockTimeoutMs === null) return migrate(context, on.words, env, on.lock.lost, on.before);
    return migrateInAttempts(context, {
      ...on,
      env,
      ddlLockTimeoutMs,
      run: (attempt) =>
        migrate(context, on.words, attempt.env, on.lock.lost, attempt.before, attempt),
      describeEnd: (end) => commandFailure(context, migrationFailed, on.words, end),
    });
  });
  const after = await inspectAfresh(context, on.history, on.address, failure);
  const progress = describeProgress(on.before, after);
  if (failure !== null) {
    throw failure.with({
      message: `${failure.message}${progress === null ? "" : `: ${progress}`}`,
      details: stateDetails(after),
    });
  }
  signals.stop.throwIfAborted();
  if (after.state === "cannot-tell") {
    log.warn(
      { event: "unverified", reason: after.reason },
      `Cannot verify the migration: ${after.reason}`,
    );
    return;
  }
  if (after.state !== "current") {
    throw new Failure(
      "not-at-head",
      `${on.words[0]} said that it succeeded, but the database is not at head: ${progress ?? `it is ${after.state}`}`,
      {
        hint: "look for sys.exit() in a revision, SQL before context.configure() in env.py, or another database than DATABASE_URL's",
        details: stateDetails(after),
      },
    );
  }
  log.info(
    { event: "migrated", ...stateDetails(after) },
    `The database is at head ${after.heads.join(", ")}`,
  );
}

/**
 * Runs `run`, the migration, and says meanwhile what keeps it waiting. Resolves to the Failure that it ends with, or null;
 * that of a migration which has taken too long names who was in the way.
 */
export async function runReporting(
  { settings, log }: Context,
  connection: Connection,
  { versionTable }: History,
  run: (env: Environment) => Promise<void>,
): Promise<Failure | null> {
  const env = await migrationEnvironment(settings.env, connection);
  const reporter = reportActivity(log, connection, versionTable.name);
  try {
    await run(env);
    return null;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const activity = reporter.last();
    if (error.code !== "migration-timeout" || activity === "") return error;
    if ("blockers" in error.details) return error;
    return error.with({ message: `${error.message}; when last looked at, ${activity}` });
  } finally {
    await reporter.stop();
  }
}

/**
 * Asks from a fresh connection: exit 0 is not success, and the lock's may be the one that was lost. After a failure nobody
 * waits long for the answer. Throws a Failure where there is none.
 */
export async function askAfresh<T>(
  { settings, log, signals }: Context,
  address: DatabaseAddress,
  failure: Failure | null,
  ask: (connection: Connection) => Promise<T>,
): Promise<T> {
  const { stop } = signals;
  const { waitTimeoutMs } = settings;
  const timeoutMs = failure === null ? waitTimeoutMs : Math.min(waitTimeoutMs, 5_000);
  const connection = await waitForDatabase(address, { timeoutMs, stop, log });
  try {
    return await unlessStopped(stop, ask(connection));
  } finally {
    await connection.close();
  }
}

async function inspectAfresh(
  context: Context,
  history: History,
  address: DatabaseAddress,
  failure: Failure | null,
): Promise<State> {
  try {
    return await askAfresh(context, address, failure, ({ client }) => inspect(history, client));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { state: "cannot-tell", reason: error.message };
  }
}

/** Runs the migration command to its end; anything but exit code 0 is a Failure. */
export async function migrate(
  context: Context,
  words: Words,
  env: Environment,
  lockLost: AbortSignal | null,
  before: State | null = null,
  attempt: Pick<Attempt, "timeoutMs" | "watchErrors"> | null = null,
): Promise<void> {
  const { log } = context;
  const pending = before !== null && "pending" in before ? before.pending : null;
  log.info({ event: "migrating", command: words, pending }, "Running database migrations...");
  await runStep(context, words, env, lockLost, migrationFailed, attempt);
}

/** Runs a command that migrates to its end; anything but exit code 0 is a Failure, which begins with `headline`. */
export async function runStep(
  context: Context,
  words: Words,
  env: Environment,
  lockLost: AbortSignal | null,
  headline: string,
  attempt: Pick<Attempt, "timeoutMs" | "watchErrors"> | null = null,
): Promise<void> {
  const { settings, log, signals } = context;
  const startMs = performance.now();
  const end = await runCommand(words, {
    env,
    cwd: settings.cwd,
    timeoutMs: attempt?.timeoutMs ?? settings.migrateTimeoutMs,
    signals,
    lockLost,
    log,
    ...(attempt === null ? {} : { watchErrors: attempt.watchErrors }),
  });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  if (end.kind !== "exited" || end.code !== 0) throw commandFailure(context, headline, words, end);
  log.info(
    { event: "command-done", command: words, seconds: Number(seconds) },
    `${words[0]} took ${seconds} s`,
  );
}

/** Runs the setup steps in their order; each must exit with code 0. */
export async function runSetup(context: Context, lock: MigrationLock | null): Promise<void> {
  const { settings, log, signals } = context;
  for (const words of settings.setup) {
    log.info({ event: "setup", command: words }, `Running ${words.join(" ")}`);
    const end = await runCommand(words, {
      env: settings.env,
      cwd: settings.cwd,
      timeoutMs: 0,
      signals,
      lockLost: lock?.lost ?? null,
      log,
    });
    if (end.kind === "exited" && end.code === 0) continue;
    throw commandFailure(context, "A setup step failed! Aborting startup.", words, end);
  }
}

function commandFailure(
  { settings, signals }: Context,
  headline: string,
  words: Words,
  end: CommandEnd,
): Error {
  const command = words.join(" ");
  switch (end.kind) {
    case "stopped":
      return signals.stop.reason as Error;
    case "exited":
      return new Failure(
        "migration-failed",
        `${headline} ${command} exited with code ${end.code}`,
        {
          details: { command: words, exitCode: end.code },
        },
      );
    case "killed":
      return new Failure("migration-failed", `${headline} ${command} was killed by ${end.signal}`, {
        ...(end.signal === "SIGKILL"
          ? { hint: "a SIGKILL from nowhere is mostly the kernel's, for want of memory" }
          : {}),
        details: { command: words, signal: end.signal },
      });
    case "timed-out":
      return new Failure(
        "migration-timeout",
        `${headline} ${command} took longer than ${settings.migrateTimeoutMs / 1000} s`,
        {
          hint: "raise --migrate-timeout, or look at what it waited for",
          details: { command: words },
        },
      );
    case "lock-lost":
      return new Failure(
        "lock-lost",
        `${headline} The migration lock was lost while ${command} ran (${end.reason.message}), so it was stopped`,
        {
          hint: "the connection to the database broke; the next start goes on from where it came",
          details: { command: words },
        },
      );
  }
}

/**
 * PGAPPNAME names the migration's sessions, so that blockers and orphans can be told. On PostgreSQL 14 and later
 * PGOPTIONS makes the server notice within a second that a killed migration's client has gone. asyncpg ignores both.
 */
async function migrationEnvironment(
  env: Environment,
  connection: Connection,
): Promise<Environment> {
  const { rows } = await connection.client.query<{ known: boolean }>(
    "select current_setting('server_version_num')::int >= 140000 as known",
  );
  // A pooler refuses start-up options that it does not know.
  const checked = rows[0]?.known === true && !(await isPooled(connection));
  const options = [
    env["PGOPTIONS"],
    checked ? "-c client_connection_check_interval=1000" : undefined,
  ];
  const merged = options.filter(Boolean).join(" ");
  return {
    ...env,
    PGAPPNAME: `${migrationApplicationPrefix}${shortHostname()}`,
    ...(merged === "" ? {} : { PGOPTIONS: merged }),
  };
}

interface Reporter {
  /** What the migration was at when it was last looked at; empty where it was not waiting. */
  last(): string;
  /** Resolves once it is quiet. */
  stop(): Promise<void>;
}

/** While the migration runs, says who keeps it waiting and how far the index is that it builds. */
function reportActivity(log: Log, { client }: Connection, versionTable: string): Reporter {
  let reportedMs = -Infinity;
  let last = "";
  let asking: Promise<void> = Promise.resolve();
  const ask = async () => {
    const activity = await findActivity(client, versionTable);
    last = describeActivity(activity);
    const nowMs = performance.now();
    if (last === "" || nowMs - reportedMs < activityReportMs) return;
    reportedMs = nowMs;
    const blocked = activity.blockers.length > 0;
    log[blocked ? "warn" : "info"](
      { event: blocked ? "blocked" : "progress", ...activity },
      `The migration still runs: ${last}`,
    );
  };
  const timer = setInterval(() => {
    // A lost connection is the lock's business.
    asking = ask().catch(() => undefined);
  }, activityCheckMs);
  return {
    last: () => last,
    async stop() {
      clearInterval(timer);
      await Promise.race([asking, sleep(1_000, undefined, { ref: false })]);
    },
  };
}
