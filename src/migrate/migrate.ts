// The line of the shell script that migrates and the `if` behind it, with what they lack: while it runs, who blocks it is
// reported; exit code 0 is not believed until the database agrees; a failure says how far it came.

import { setTimeout as sleep } from "node:timers/promises";
import { isatty } from "node:tty";
import { isPooled, usualLimits, type Connection } from "../postgres/connection.ts";
import type { Context, Log, Words } from "../context.ts";
import { Failure } from "../failure.ts";
import { standardError } from "../log/log.ts";
import { reportEveryMs } from "../patience.ts";
import { describeActivity, findActivity } from "../postgres/activity.ts";
import { shortHostname } from "../postgres/connect.ts";
import { classify, explainDatabaseError, isRefusal } from "../postgres/errors.ts";
import { findCrowd, type MigrationLock } from "../postgres/migration-lock.ts";
import { describeStatement, migrationApplicationPrefix } from "../postgres/sessions.ts";
import { keepalives } from "../postgres/session-settings.ts";
import { describeAddress, type DatabaseAddress } from "../postgres/url.ts";
import { waitForDatabase } from "../postgres/wait-for-database.ts";
import { runCommand, type CommandEnd } from "../process/run-command.ts";
import type { Environment } from "../runtime/environment.ts";
import type { DowngradeSettings, StartSettings } from "../settings/settings.ts";
import { describeProgress, describeState, stateDetails, type State } from "../state.ts";
import type { History } from "../tools/tool.ts";
import { runUntilConnected } from "./crowd.ts";
import { migrateInAttempts } from "./attempts.ts";
import { collectTail, findErrorLine } from "../process/error-line.ts";
import { inspect } from "./inspect.ts";
import { commandFor, nameFailure, titled, type Inspected } from "./migrations.ts";
import type { ReadOnly } from "./read-only.ts";
import { describeWords } from "../log/words.ts";

/** What one of several attempts is given. */
interface AttemptLimits {
  /** What is left of --migrate-timeout, in milliseconds; 0 means no limit. */
  readonly timeoutMs: number;
  /** Called with what the command writes to standard error. */
  readonly watchErrors: (bytes: Buffer) => void;
}

/** Of every command that runs a migration, or undoes one. */
type MigratingContext = Context<StartSettings | DowngradeSettings>;

const migrationFailed = "Migration failed! Aborting startup.";

const activityCheckMs = 2_000;
/** A query after the migration may take so long, however little is left of the time. */
const leastAnswerMs = 5_000;

/**
 * Steps 5 and 6, under the lock: runs the migration, then reads from the database, on a fresh connection, how far it
 * came. Throws a Failure unless that is the target (or cannot be known).
 */
export async function migrateAndVerify(
  context: Context<StartSettings>,
  {
    migration,
    ...locked
  }: {
    migration: Inspected;
    address: DatabaseAddress;
    connection: Connection;
    lock: MigrationLock;
  },
): Promise<State> {
  const { settings, log, signals } = context;
  const { name, history, state: before } = migration;
  const words = commandFor(migration);
  const creating = words !== migration.words;
  const on = { ...locked, history, words, before };
  const { ddlLockTimeoutMs } = settings;
  const failure = await runReporting(context, on.connection, on.history, (env) => {
    const { lost } = on.lock;
    if (creating) return create(context, words, env, lost);
    if (ddlLockTimeoutMs === null) {
      const run = async (attempt: AttemptLimits | null) =>
        migrate(context, on.words, env, lost, on.before, attempt);
      const crowd = {
        lockLost: lost,
        secure: on.lock.crowded ? async () => secureConnection(context, on.address) : null,
        appliedNothing: async () => hasAppliedNothing(on),
      };
      // What it writes to standard error passes through a pipe there, which it does anyway unless that is a terminal.
      if (on.lock.crowded || !isatty(standardError)) return runUntilConnected(context, crowd, run);
      return run(null).catch(async (error: unknown) => {
        if (!(await mayHaveGotNoConnection(on, error).catch(() => false))) throw error;
        log.warn({ event: "connection-retry" }, `${(error as Error).message}; retrying once`);
        return runUntilConnected(context, crowd, run);
      });
    }
    return migrateInAttempts(context, {
      ...on,
      env,
      ddlLockTimeoutMs,
      run: (attempt) => migrate(context, on.words, attempt.env, lost, attempt.before, attempt),
      describeEnd: (end) => commandFailure(context, migrationFailed, on.words, end),
    });
  });
  const found = await inspectAfresh(context, on.history, on.address, on.before, failure);
  if (found instanceof Failure) throw nameFailure(name, unverified(on.before, failure, found));
  const { after, readOnly } = found;
  const progress = describeProgress(on.before, after);
  const obstacle = readOnly === null ? "" : `; ${readOnly.reason}`;
  const cure = readOnly === null ? {} : { hint: readOnly.hint };
  if (failure !== null) {
    const { reason } = failure.details;
    const { repair } = on.history.command.cures;
    const told = nameReason(
      failure.with({
        ...(after.state === "broken" && repair !== undefined ? { hint: repair(after.broken) } : {}),
        message: `${failure.message}${progress === null ? "" : `: ${progress}`}${obstacle}`,
        details: { ...stateDetails(after), ...(reason === undefined ? {} : { reason }) },
        ...cure,
      }),
    );
    throw nameFailure(name, told);
  }
  signals.stop.throwIfAborted();
  if (after.state === "cannot-tell" && on.before.state === "cannot-tell") {
    // Of a command of the project's own that has been said before it ran.
    log[on.history.command.opaque === null ? "warn" : "info"](
      { event: "unverified", reason: after.reason },
      titled(name, `Cannot verify the migration: ${after.reason}`),
    );
    return after;
  }
  // What it has created may be older than head.
  if (creating && after.state === "behind" && after.current.length > 0) return after;
  if (after.state === "behind" && after.covered === true) {
    log.warn(
      { event: "unverified", reason: describeState(after) },
      titled(
        name,
        `${on.history.command.toolName} reports success, and ${after.pending.join(", ")} of what it has applied is not recorded: every boot runs the migration command`,
      ),
    );
    return after;
  }
  if (after.state !== "current") {
    const notAtHead = new Failure(
      "not-at-head",
      `${describeWords(on.words)} exited with 0, but the database at ${describeAddress(on.address)} is not at head: ${progress ?? describeState(after)}${obstacle}`,
      {
        hint: creating
          ? describeStamp(on.history, after)
          : on.history.command.cures.notAtHead(after),
        ...cure,
        details: stateDetails(after),
      },
    );
    throw nameFailure(name, notAtHead);
  }
  await remember(context, on);
  log.info(
    {
      event: "migrated",
      ...(name === null ? {} : { history: name }),
      ...stateDetails(after),
      database: describeAddress(on.address),
    },
    titled(
      name,
      `The database is at head ${after.heads.join(", ")} (${describeAddress(on.address)})`,
    ),
  );
  return after;
}

/** On an empty database: no lock of a table is waited for, and nothing that fails half-way may be repeated. */
async function create(
  context: Context<StartSettings>,
  words: Words,
  env: Environment,
  lockLost: AbortSignal,
): Promise<void> {
  const message = `The database is empty, so what --when-empty names runs: ${describeWords(words)}`;
  context.log.info({ event: "migrating", command: words, pending: null }, message);
  await runStep(context, words, env, lockLost, migrationFailed);
}

function describeStamp({ command }: History, after: State): string {
  const heads = "heads" in after ? after.heads : [];
  return `the command of --when-empty must record what it has created: ${command.cures.stamp(heads)}`;
}

/** Where the tool's table does not say all that is applied, that is kept for the next boot. */
async function remember(
  context: Context<StartSettings>,
  { history, address }: { history: History; address: DatabaseAddress },
): Promise<void> {
  const { remember: keep } = history;
  if (keep === undefined) return;
  try {
    await queryAfresh(context, address, null, keep);
  } catch (error) {
    if (!(error instanceof Failure) && !isRefusal(error)) throw error;
    const { message } = error as Error;
    context.log.warn(
      { event: "not-remembered", reason: message },
      `Cannot keep what is applied, so a later boot cannot see what ${history.command.toolName} skips: ${message}`,
    );
  }
}

interface Standing {
  readonly history: History;
  readonly connection: Connection;
  readonly before: State;
}

/** A command that failed and applied nothing, on a server that has become full since it was started. */
async function mayHaveGotNoConnection(on: Standing, error: unknown): Promise<boolean> {
  if (!(error instanceof Failure) || error.details["commandExitCode"] === undefined) return false;
  return (await findCrowd(on.connection)) && (await hasAppliedNothing(on));
}

async function hasAppliedNothing({ history, connection, before }: Standing): Promise<boolean> {
  return JSON.stringify(await inspect(history, connection)) === JSON.stringify(before);
}

/** On a server that is nearly full: waits until it has a connection for the migration, which is given back for that. */
async function secureConnection(
  { settings, log, signals }: Context<StartSettings>,
  address: DatabaseAddress,
): Promise<void> {
  const timeoutMs = settings.lockTimeoutMs;
  const connection = await waitForDatabase(address, { timeoutMs, stop: signals.stop, log });
  await connection.close();
}

/**
 * Runs `run`, the migration, and reports meanwhile what blocks it. Resolves to the Failure that it ends with, or null;
 * that of a migration that took too long names the blocking sessions.
 */
export async function runReporting(
  { settings, log }: MigratingContext,
  connection: Connection,
  history: History,
  run: (env: Environment) => Promise<void>,
): Promise<Failure | null> {
  const env = await migrationEnvironment(settings.env, connection);
  const startMs = performance.now();
  const reporter = reportActivity(log, connection, history, startMs);
  try {
    await run(env);
    return null;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.details["commandExitCode"] !== undefined) {
      return await nameOwnLock(connection, history, startMs, error);
    }
    const activity = reporter.last();
    if (error.code !== "migration-timeout" || activity === "") return error;
    if ("blockers" in error.details) return error;
    return error.with({ message: `${error.message}; at the last check, ${activity}` });
  } finally {
    await reporter.stop();
  }
}

/** A tool that fails where its own lock is taken says at most that it is. */
async function nameOwnLock(
  connection: Connection,
  { command, findOwnLock }: History,
  startMs: number,
  failure: Failure,
): Promise<Failure> {
  // The migration's own session began later.
  const agoMs = performance.now() - startMs;
  const find = findOwnLock?.(connection.within(usualLimits), agoMs, false);
  const [holder, ...others] = (await find?.catch(() => [])) ?? [];
  if (holder === undefined) return failure;
  return failure.with({
    message: `${failure.message}: ${command.toolName}'s own advisory lock is held by ${describeStatement(holder)}`,
    hint: `let that session end, or end it: select pg_terminate_backend(${holder.pid})`,
    details: { blockers: [holder, ...others] },
  });
}

/**
 * Queries by a fresh connection: exit 0 is not success, and the lock's may be the one that was lost. Another one is opened
 * where that breaks, within --wait-timeout, or for 5 s after a failure. Throws a Failure where there is no answer.
 */
export async function queryAfresh<T>(
  { settings, log, signals }: MigratingContext,
  address: DatabaseAddress,
  failure: Failure | null,
  query: (connection: Connection) => Promise<T>,
): Promise<T> {
  const { stop } = signals;
  const { waitTimeoutMs } = settings;
  const limitMs = failure === null ? waitTimeoutMs : Math.min(waitTimeoutMs, leastAnswerMs);
  const endMs = performance.now() + limitMs;
  const remainingMs = () => Math.max(endMs - performance.now(), 0);
  for (;;) {
    const timeoutMs = Math.round(remainingMs());
    const opened = await waitForDatabase(address, { timeoutMs, stop, log });
    const connection = opened.within({ limitMs: () => Math.max(remainingMs(), leastAnswerMs) });
    try {
      return await query(connection);
    } catch (error) {
      if (classify(error) === "refused" || remainingMs() === 0) throw explainDatabaseError(error);
      const { message } = error as Error;
      log.warn({ event: "connection-lost", reason: message }, `Connecting again: ${message}`);
    } finally {
      if (!stop.aborted) await connection.close();
    }
  }
}

/** The state after the migration and, where nothing was applied, what may have kept it from that. */
async function inspectAfresh(
  context: MigratingContext,
  history: History,
  address: DatabaseAddress,
  before: State,
  failure: Failure | null,
): Promise<{ readonly after: State; readonly readOnly: ReadOnly | null } | Failure> {
  try {
    return await queryAfresh(context, address, failure, async (connection) => {
      const after = await inspect(history, connection);
      const inVain = after.state !== "current" && JSON.stringify(after) === JSON.stringify(before);
      if (!inVain) return { after, readOnly: null };
      const { findReadOnly } = await import("./read-only.ts");
      return { after, readOnly: await findReadOnly(connection) };
    });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return error;
  }
}

/** The failure of a migration of which nobody knows how far it came. @param failure its own; null: it reported success. */
function unverified(before: State, failure: Failure | null, cause: Failure): Failure {
  const known = `it is not known how far it came: ${cause.message}; before it ran, the database was ${describeState(before)}`;
  if (failure !== null) return failure.with({ message: `${failure.message}; ${known}` });
  return cause.with({ message: `the migration exited with 0, but ${known}` });
}

/** Runs the migration command to its end; anything but exit code 0 is a Failure. */
export async function migrate(
  context: Context<StartSettings>,
  words: Words,
  env: Environment,
  lockLost: AbortSignal | null,
  before: State | null = null,
  attempt: AttemptLimits | null = null,
): Promise<void> {
  const { log } = context;
  const pending = before !== null && "pending" in before ? before.pending : null;
  log.info({ event: "migrating", command: words, pending }, "Running database migrations...");
  await runStep(context, words, env, lockLost, migrationFailed, attempt);
}

/** Runs a command that migrates to its end; anything but exit code 0 is a Failure, which begins with `headline`. */
export async function runStep(
  context: MigratingContext,
  words: Words,
  env: Environment,
  lockLost: AbortSignal | null,
  headline: string,
  attempt: AttemptLimits | null = null,
): Promise<void> {
  const { settings, log, signals } = context;
  const startMs = performance.now();
  const errors = collectTail();
  // On a terminal the command gets that itself, and its last line stands right above.
  const watched = attempt !== null || !isatty(standardError);
  const watchErrors = (bytes: Buffer) => {
    errors.add(bytes);
    attempt?.watchErrors(bytes);
  };
  const end = await runCommand(words, {
    env,
    cwd: settings.cwd,
    timeoutMs: attempt?.timeoutMs ?? settings.migrateTimeoutMs,
    signals,
    lockLost,
    log,
    ...(watched ? { watchErrors } : {}),
  });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  if (end.kind !== "exited" || end.code !== 0) {
    const failure = commandFailure(context, headline, words, end);
    const reason = findErrorLine(errors.text());
    throw failure instanceof Failure && reason !== null
      ? failure.with({ details: { reason } })
      : failure;
  }
  log.info(
    { event: "command-done", command: words, seconds: Number(seconds) },
    `${describeWords(words)} took ${seconds} s`,
  );
}

/** The failure with the last error of the command's output at the end of its message. */
function nameReason(failure: Failure): Failure {
  const { reason } = failure.details;
  if (typeof reason !== "string") return failure;
  const full = failure.hint === undefined && /No space left on device|DiskFull/.test(reason);
  return failure.with({
    message: `${failure.message}; its last error: ${reason}`,
    ...(full ? { hint: "free space on the server's disk, and start again" } : {}),
  });
}

/** Why a command has failed that was run to its end. */
export function commandFailure(
  { settings, signals }: Omit<Context<{ readonly migrateTimeoutMs: number }>, "log">,
  headline: string,
  words: Words,
  end: CommandEnd,
): Error {
  const command = describeWords(words);
  switch (end.kind) {
    case "stopped":
      return signals.stop.reason as Error;
    case "exited":
      return new Failure(
        "migration-failed",
        `${headline} ${command} exited with code ${end.code}`,
        {
          details: { command: words, commandExitCode: end.code },
        },
      );
    case "killed":
      return new Failure("migration-failed", `${headline} ${command} was killed by ${end.signal}`, {
        ...(end.signal === "SIGKILL"
          ? { hint: "an unexpected SIGKILL usually comes from the kernel's OOM killer" }
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
      return new Failure("lock-lost", `${headline} ${command} was stopped: ${end.reason.message}`, {
        hint: "the connection to the database broke; the next start resumes after the last migration that was applied",
        details: { command: words },
      });
  }
}

/**
 * PGAPPNAME names the migration's sessions, so that blockers and orphans can be detected. PGOPTIONS makes the server notice
 * within 22 s that the migration's machine has vanished and, where the lock's session has been allowed that, within a second
 * that a killed migration's client has gone. asyncpg and pg8000 ignore both.
 */
async function migrationEnvironment(
  env: Environment,
  connection: Connection,
): Promise<Environment> {
  const { rows } = await connection.query<{ known: boolean }>(
    "select coalesce(current_setting('client_connection_check_interval', true), '0') <> '0' as known",
  );
  // A pooler refuses start-up options that it does not know.
  const direct = !(await isPooled(connection));
  const checked = direct && rows[0]?.known === true;
  const options = [
    ...(direct ? Object.entries(keepalives).map(([name, value]) => `-c ${name}=${value}`) : []),
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

/** While the migration runs, reports who blocks it and the progress of the index that it builds. */
function reportActivity(
  log: Log,
  connection: Connection,
  history: History,
  startMs: number,
): Reporter {
  let reportedMs = -Infinity;
  let last = "";
  let asking: Promise<void> = Promise.resolve();
  const watched = connection.within(usualLimits);
  const ask = async () => {
    const found = await findActivity(watched, [history.versionTable.name]);
    const holders = (await history.findOwnLock?.(watched, performance.now() - startMs, true)) ?? [];
    const pids = holders.map(({ pid }) => pid);
    const others = found.blockers.filter(({ pid }) => !pids.includes(pid));
    const activity = { ...found, blockers: [...holders, ...others] };
    last = `${describeActivity(activity)}${pids.length === 0 ? "" : `; pid ${pids.join(" and ")} holds ${history.command.toolName}'s own advisory lock`}`;
    const nowMs = performance.now();
    if (last === "" || nowMs - reportedMs < reportEveryMs) return;
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
