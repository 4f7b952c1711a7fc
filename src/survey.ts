// Steps 1 and 2 as every command takes them that looks at the database: what the files say, where the database is,
// a connection to it, and what --dry-run tells of all that. Nothing is written, and nothing is locked.

import { setImmediate } from "node:timers/promises";
import pg from "pg";
import { waitForDatabase, type Connection } from "./database/connect.ts";
import { BadUrl, describeAddress, parseDatabaseUrl, type DatabaseAddress } from "./database/url.ts";
import { Failure, Stopped } from "./exit-codes.ts";
import { readFrozen, type FrozenAnswer } from "./migrations/alembic/frozen.ts";
import { readHistory, type History } from "./migrations/alembic/inspect.ts";
import { recogniseCommand } from "./migrations/command.ts";
import type { Context } from "./migrations/migrate.ts";
import { unlessStopped } from "./process/signals.ts";
import { describeState, type State } from "./migrations/state.ts";

/** What the files say that the migration command would read, or what is frozen of it. */
export async function readMigrations(context: Context, words: readonly string[]): Promise<History> {
  const { cwd, env, versionTable, versions } = context.settings;
  const command = recogniseCommand(words);
  const frozen = command.kind === "opaque" ? none : findFrozen(context, words);
  return readHistory(command, { cwd, env, versionTable, versions, frozen });
}

const none: FrozenAnswer = { kind: "none" };

function findFrozen({ settings, log }: Context, words: readonly string[]): FrozenAnswer {
  // The user's word on the folders is the last one.
  if (settings.versions.length > 0) return none;
  const answer = readFrozen({ words, cwd: settings.cwd, env: settings.env });
  if (answer.kind === "ignored") {
    log.warn(
      {
        event: "freeze-ignored",
        reason: answer.reason,
        hint: "run entrypoint freeze again in the Dockerfile, after the last COPY",
      },
      `Ignoring ${answer.path}, since ${answer.reason}`,
    );
  }
  return answer;
}

/** The user's word, else the Alembic config's, else PGHOST and its kin; null where there is none to be had. */
export function findDatabase(
  { settings, log }: Context,
  history: History | null,
): DatabaseAddress | null {
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

/**
 * `read`s the files while the server answers, unless these have to say where it is; `open` connects. The files are read with
 * few pauses: what has been sent by then is under way meanwhile.
 */
export async function readAndConnect<H extends History | null>(
  context: Context,
  read: () => Promise<H>,
  open: (address: DatabaseAddress) => Promise<Connection>,
): Promise<{
  history: H;
  address: DatabaseAddress | null;
  connection: Connection | null;
}> {
  const { database } = context.settings;
  const early = database?.kind === "address" ? open(database.address) : null;
  // What the files say against it comes first.
  early?.catch(() => undefined);
  await setImmediate();
  const history = await read();
  const address = findDatabase(context, history);
  const connection = await (early ?? (address === null ? null : open(address)));
  return { history, address, connection };
}

/** Step 1. */
export async function openConnection(
  { settings, signals, log }: Context,
  address: DatabaseAddress,
  timeoutMs = settings.waitTimeoutMs,
): Promise<Connection> {
  return waitForDatabase(address, {
    timeoutMs,
    stop: signals.stop,
    log,
  });
}

const reportEveryMs = 15_000;
/** Where nobody is to be waited for. */
const leastPatienceMs = 5_000;

/**
 * The answer of a server that may be long in coming: a migration has locked the version table, as some do that change it. Says so
 * every 15 s, and waits no longer than for the migration lock itself: Failure "lock-timeout".
 */
export async function awaitAnswer<T>(
  { settings, signals, log }: Context,
  question: Promise<T>,
): Promise<T> {
  const startMs = performance.now();
  const seconds = () => Math.round((performance.now() - startMs) / 1000);
  const silence = () => `the database has not answered a query for ${seconds()} s`;
  const hint =
    "look for a session that has locked the version table (pg_locks, pg_stat_activity), or at the network";
  const report = setInterval(() => {
    log.warn({ event: "unanswered", waitedMs: seconds() * 1000, hint }, `Waiting: ${silence()}`);
  }, reportEveryMs);
  const patience = new AbortController();
  const end = setTimeout(
    () => patience.abort(new Failure("lock-timeout", silence(), { hint })),
    Math.max(settings.lockTimeoutMs, leastPatienceMs),
  );
  try {
    return await unlessStopped(patience.signal, unlessStopped(signals.stop, question));
  } finally {
    clearInterval(report);
    clearTimeout(end);
  }
}

/** For those who wait for nothing: how long the database has to answer. */
const answerTimeoutMs = 3_000;

/** Asks over a connection that is closed afterwards. Throws Failure "database-unavailable" where no answer comes. */
export async function askOnce<T>(
  { signals }: Context,
  connection: Connection,
  ask: (connection: Connection) => Promise<T>,
): Promise<T> {
  const patience = AbortSignal.timeout(answerTimeoutMs);
  const stop = AbortSignal.any([signals.stop, patience]);
  try {
    return await unlessStopped(stop, ask(connection));
  } catch (error) {
    if (error !== patience.reason) throw explainDatabaseError(error, connection);
    throw new Failure(
      "database-unavailable",
      `the database has not answered a query for ${answerTimeoutMs / 1000} s`,
      { hint: "look for a session that locks the version table, or at the network", cause: error },
    );
  } finally {
    if (!stop.aborted) await connection.close();
  }
}

/** What the server says against one of our own statements is for the user to mend, and no internal error. */
export function explainDatabaseError(error: unknown, connection: Connection | null): unknown {
  const lost = connection?.lost.aborted === true;
  if (!(error instanceof pg.DatabaseError || (lost && error instanceof Error))) return error;
  if (error instanceof Failure || error instanceof Stopped) return error;
  const what = lost ? "the connection to the database was lost" : "the database refuses a query";
  return new Failure("database-unavailable", `${what}: ${error.message}`, {
    cause: error,
    hint: lost ? "start again: nothing is half done" : "the role must be able to read the catalog",
  });
}

/** What --dry-run prints: what was found, then why nothing would be started, or `steps` and the end. */
export function describePlan(
  { settings }: Context,
  found: { address: DatabaseAddress | null; state: State | null; failure: Failure | null },
  steps: readonly string[],
): string {
  const { address, state, failure } = found;
  const lines = [
    `database   ${address === null ? "none known: nothing to wait for, inspect or lock" : describeAddress(address)}`,
    `state      ${state === null ? "not asked: there is no migration command" : describeState(state)}`,
  ];
  if (failure !== null) {
    lines.push(`would stop ${failure.message}`, `cure       ${failure.hint ?? ""}`);
    return lines.join("\n");
  }
  const end = settings.app === null ? "exit 0" : `become ${settings.app.join(" ")}`;
  return [...lines, ...steps, `then       would ${end}`].join("\n");
}
