// The script itself, in seven steps: wait, inspect, lock, inspect again, migrate, verify, and give back what is
// to be started. Whatever is wrong is thrown as a Failure with the reason and the cure; nothing is started then.

import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import {
  describeSession,
  findBlockers,
  findOrphans,
  migrationApplicationPrefix,
} from "./database/blockers.ts";
import { waitForDatabase, type Connection } from "./database/connect.ts";
import { acquireMigrationLock, type MigrationLock } from "./database/lock.ts";
import { BadUrl, describeAddress, parseDatabaseUrl, type DatabaseAddress } from "./database/url.ts";
import { Failure } from "./exit-codes.ts";
import { printResult, type Log } from "./log.ts";
import { inspect, readHistory, type History } from "./migrations/alembic/inspect.ts";
import { recogniseCommand } from "./migrations/command.ts";
import type { State } from "./migrations/state.ts";
import { runCommand, type CommandEnd } from "./process/run-migration.ts";
import { unlessStopped, type Signals } from "./process/signals.ts";
import type { Environment, Settings, Words } from "./settings.ts";

/** What every step needs. */
interface Context {
  readonly settings: Settings;
  readonly log: Log;
  readonly signals: Signals;
}

const blockerCheckMs = 5_000;
const blockerReportMs = 15_000;
const orphanPollMs = 500;

/** Resolves once the application may be started (or, with --dry-run, with false). */
export async function boot(context: Context): Promise<boolean> {
  const { settings, log, signals } = context;
  const history =
    settings.migrate === null ? null : await readMigrations(context, settings.migrate);
  const address = findDatabase(context, history);

  // 1. wait
  const connection = address === null ? null : await waitForIt(context, address);
  try {
    // 2. inspect, without a lock
    const first = await unlessStopped(signals.stop, inspectNow(history, connection));
    const plan = decide(context, first);
    if (settings.dryRun) {
      printResult(describePlan(context, address, first, plan));
      return false;
    }
    if (plan.kind === "fail") throw plan.failure;
    if (plan.warning !== null)
      log.warn({ event: plan.state, ...stateDetails(first) }, plan.warning);
    if (plan.migrate || settings.setup.length > 0) {
      if (connection === null || address === null) await runUnlocked(context, plan);
      else await runLocked(context, { history, address, connection });
    } else if (first?.state === "current") {
      log.info(
        { event: "current", ...stateDetails(first) },
        `Nothing to migrate: the database is at head ${first.heads.join(", ")}`,
      );
    }
  } finally {
    await connection?.close();
  }

  // 7. start: the lock is released and every connection closed
  signals.stop.throwIfAborted();
  const done = settings.migrate === null ? "" : "Migrations complete. ";
  const message = settings.app === null ? "Migrations complete." : `${done}Starting application...`;
  log.info({ event: "starting", app: settings.app }, message);
  return true;
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

async function waitForIt(
  { settings, log, signals }: Context,
  address: DatabaseAddress,
): Promise<Connection> {
  return waitForDatabase(address, {
    timeoutMs: settings.waitTimeoutMs,
    applicationName: `entrypoint ${shortHostname}`,
    stop: signals.stop,
    log,
  });
}

async function inspectNow(
  history: History | null,
  connection: Connection | null,
): Promise<State | null> {
  return history === null ? null : inspect(history, connection?.client ?? null);
}

type Plan =
  | {
      readonly kind: "go";
      readonly migrate: boolean;
      readonly warning: string | null;
      readonly state: string;
    }
  | { readonly kind: "fail"; readonly failure: Failure };

/** What the state means for this boot. `null` is a boot without a migration command. */
function decide({ settings }: Context, state: State | null): Plan {
  const go = (migrate: boolean, warning: string | null = null): Plan => ({
    kind: "go",
    migrate: migrate || settings.alwaysMigrate,
    warning,
    state: state?.state ?? "none",
  });
  if (state === null) return { kind: "go", migrate: false, warning: null, state: "none" };
  switch (state.state) {
    case "current":
      return go(false);
    case "behind":
      return go(true);
    case "unstamped":
      return go(
        true,
        `The database has tables, but no revision is recorded in it; migrating from the first one on (alembic stamp records what is there already)`,
      );
    case "cannot-tell":
      return go(
        true,
        `Cannot tell what is pending, so the migration command is run: ${state.reason}`,
      );
    case "ahead": {
      const unknown = state.unknown.join(", ");
      if (settings.onAhead === "start") {
        return {
          kind: "go",
          migrate: false,
          state: "ahead",
          warning: `The database is ahead of this image, which does not know ${unknown}; starting all the same`,
        };
      }
      return fail(
        "ahead",
        `the database is ahead of this image: it is at ${unknown}, which no revision file has`,
        {
          hint: "deploy the image that has it, or start this one all the same with --on-ahead start",
          details: stateDetails(state),
        },
      );
    }
    case "overlapping": {
      const [ancestor, descendant] = state.overlap;
      return fail(
        "overlapping",
        `the version table holds both ${ancestor} and ${descendant}, which comes after it; Alembic refuses that`,
        {
          hint: `delete the row ${ancestor} from the version table, since ${descendant} includes it`,
          details: stateDetails(state),
        },
      );
    }
    case "multiple-heads":
      return fail(
        "multiple-heads",
        `there are ${state.heads.length} heads (${state.heads.join(", ")}), and the target is one head`,
        {
          hint: "join them with: alembic merge heads, or migrate all of them with --migrate 'alembic upgrade heads'",
          details: stateDetails(state),
        },
      );
  }
}

function fail(...[code, message, options]: ConstructorParameters<typeof Failure>): Plan {
  return { kind: "fail", failure: new Failure(code, message, options) };
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
  on: { history: History | null; address: DatabaseAddress; connection: Connection },
): Promise<void> {
  const { settings, log, signals } = context;
  const { history, connection } = on;
  const startMs = performance.now();

  // 3. lock
  const answer = await acquireMigrationLock(connection, {
    timeoutMs: settings.lockTimeoutMs,
    holderName: `entrypoint ${shortHostname}`,
    stop: signals.stop,
    log,
    async stillNeeded() {
      if (settings.setup.length > 0 || settings.alwaysMigrate || history === null) return true;
      return (await inspect(history, connection.client)).state !== "current";
    },
  });
  if (answer.kind === "not-needed") {
    log.info({ event: "current" }, "Another replica has migrated: the database is at head");
    return;
  }
  const { lock } = answer;
  try {
    // 4. inspect again: another replica may have been here first, and its migration may live on in the server
    const remainingMs = Math.max(settings.lockTimeoutMs - (performance.now() - startMs), 0);
    await waitForOrphans(context, connection, remainingMs);
    const before = await unlessStopped(signals.stop, inspectNow(history, connection));
    const plan = decide(context, before);
    if (plan.kind === "fail") throw plan.failure;
    if (plan.migrate && history !== null && settings.migrate !== null && before !== null) {
      // 5. migrate, 6. verify
      await migrateAndVerify(context, { ...on, history, words: settings.migrate, before, lock });
    }
    await runSetup(context, lock);
  } finally {
    await lock.release();
  }
}

async function waitForOrphans(
  { log, signals }: Context,
  { client }: Connection,
  timeoutMs: number,
): Promise<void> {
  const start = performance.now();
  let reportedMs = -Infinity;
  for (;;) {
    const orphans = await unlessStopped(signals.stop, findOrphans(client));
    if (orphans.length === 0) return;
    const waitedMs = performance.now() - start;
    const names = orphans.map(describeSession).join("; ");
    if (waitedMs >= timeoutMs) {
      throw new Failure(
        "lock-timeout",
        `an earlier migration still runs in the database: ${names}`,
        {
          hint: `let it end, or end it: select pg_terminate_backend(${orphans[0]?.pid})`,
          details: { orphans },
        },
      );
    }
    if (waitedMs - reportedMs >= blockerReportMs) {
      reportedMs = waitedMs;
      log.warn(
        { event: "orphan", orphans },
        `Waiting for an earlier migration that still runs in the database: ${names}`,
      );
    }
    await unlessStopped(signals.stop, sleep(Math.min(orphanPollMs, timeoutMs - waitedMs)));
  }
}

async function migrateAndVerify(
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
  const { client } = on.connection;
  const env = await migrationEnvironment(settings.env, on.connection);
  const stopReporting = reportBlockers(context, on.connection, env["PGAPPNAME"] ?? "");
  let failure: Failure | null = null;
  try {
    await migrate(context, on.words, env, on.lock.lost, on.before);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    failure = error;
  } finally {
    await stopReporting();
  }

  // From a fresh connection: exit 0 is not success, and ours may be the one that was lost.
  const after = await inspectAfresh(context, on.history, on.address);
  const progress = describeProgress(on.before, after);
  if (failure !== null) {
    const { code, message, hint, cause, details } = failure;
    throw new Failure(code, `${message}${progress === null ? "" : `: ${progress}`}`, {
      ...(hint === undefined ? {} : { hint }),
      cause,
      details: { ...details, ...stateDetails(after) },
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
  void client;
  log.info(
    { event: "migrated", ...stateDetails(after) },
    `The database is at head ${after.heads.join(", ")}`,
  );
}

async function inspectAfresh(
  context: Context,
  history: History,
  address: DatabaseAddress,
): Promise<State> {
  try {
    const connection = await waitForIt(context, address);
    try {
      return await inspect(history, connection.client);
    } finally {
      await connection.close();
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { state: "cannot-tell", reason: error.message };
  }
}

/** Runs the migration command to its end; anything but exit code 0 is a Failure. */
async function migrate(
  context: Context,
  words: Words,
  env: Environment,
  lockLost: AbortSignal | null,
  before: State | null = null,
): Promise<void> {
  const { settings, log, signals } = context;
  const pending = before !== null && "pending" in before ? before.pending : null;
  log.info({ event: "migrating", command: words, pending }, "Running database migrations...");
  const startMs = performance.now();
  const end = await runCommand(words, {
    env,
    cwd: settings.cwd,
    timeoutMs: settings.migrateTimeoutMs,
    signals,
    lockLost,
    log,
  });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  if (end.kind === "exited" && end.code === 0) {
    log.info(
      { event: "command-done", command: words, seconds: Number(seconds) },
      `${words[0]} took ${seconds} s`,
    );
    return;
  }
  throw commandFailure(context, "Migration failed! Aborting startup.", words, end);
}

async function runSetup(context: Context, lock: MigrationLock | null): Promise<void> {
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
  { client }: Connection,
): Promise<Environment> {
  const { rows } = await client.query<{ direct: boolean; pid: number; known: boolean }>(
    "select pg_backend_pid() as pid, current_setting('server_version_num')::int >= 140000 as known",
  );
  // A pooler refuses start-up options that it does not know.
  const direct = rows[0]?.pid === (client as unknown as { processID: number | null }).processID;
  const options = [
    env["PGOPTIONS"],
    direct && rows[0]?.known ? "-c client_connection_check_interval=1000" : undefined,
  ];
  const merged = options.filter(Boolean).join(" ");
  return {
    ...env,
    PGAPPNAME: `${migrationApplicationPrefix}${shortHostname}`,
    ...(merged === "" ? {} : { PGOPTIONS: merged }),
  };
}

/** While the migration runs, says who keeps it waiting; resolves the returned function once it is quiet. */
function reportBlockers(
  { log }: Context,
  { client }: Connection,
  application: string,
): () => Promise<void> {
  let reportedMs = -Infinity;
  let asking: Promise<void> = Promise.resolve();
  const ask = async () => {
    const blockers = await findBlockers(client, application);
    const nowMs = performance.now();
    if (blockers.length === 0 || nowMs - reportedMs < blockerReportMs) return;
    reportedMs = nowMs;
    log.warn(
      { event: "blocked", blockers },
      `The migration is blocked by ${blockers.map((one) => `${describeSession(one)}: ${one.query}`).join("; ")}`,
    );
  };
  const timer = setInterval(() => {
    // A lost connection is the lock's business.
    asking = ask().catch(() => undefined);
  }, blockerCheckMs);
  return async () => {
    clearInterval(timer);
    await Promise.race([asking, sleep(1_000, undefined, { ref: false })]);
  };
}

/** `3 were pending, 1 was applied: the database is at X, between A and head B` */
function describeProgress(before: State, after: State): string | null {
  if (!("pending" in before) || after.state === "cannot-tell") return null;
  const total = before.pending.length;
  const left = "pending" in after ? after.pending : [];
  const applied = total - (after.state === "current" ? 0 : left.length);
  const at = after.current.length === 0 ? "still empty" : `at ${after.current.join(", ")}`;
  const from = before.current.length === 0 ? "the beginning" : before.current.join(", ");
  return `${total} ${total === 1 ? "was" : "were"} pending, ${applied} ${applied === 1 ? "was" : "were"} applied: the database is ${at}, between ${from} and head ${after.heads.join(", ")}`;
}

function stateDetails(state: State | null): Record<string, unknown> {
  return state === null ? {} : { ...state };
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

function describeState(state: State): string {
  if (state.state === "cannot-tell") return `cannot tell: ${state.reason}`;
  const at = state.current.length === 0 ? "no revision" : state.current.join(", ");
  const pending = "pending" in state ? `; pending: ${state.pending.join(", ")}` : "";
  return `${state.state}: at ${at}, head ${state.heads.join(", ")}${pending}`;
}

// PostgreSQL keeps 63 bytes of a name, and the lock's holder adds its time. The end of a pod's name tells it apart.
const shortHostname = hostname().slice(-31);
