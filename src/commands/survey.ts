// Steps 1 and 2 as every command takes them that looks at the database: what the files say, where the database is, a
// connection to it, and an answer within a limit. Nothing is written, and nothing is locked.

import { setImmediate } from "node:timers/promises";
import type { Connection } from "../postgres/connection.ts";
import type { Context, Words } from "../context.ts";
import { Failure } from "../failure.ts";
import { titled, type Inspected, type Migration } from "../migrate/migrations.ts";
import { requireOneDatabase } from "../migrate/one-database.ts";
import { classify, describeError, explainDatabaseError } from "../postgres/errors.ts";
import { captureOutput } from "../process/capture-output.ts";
import { waitForDatabase } from "../postgres/wait-for-database.ts";
import {
  BadUrl,
  describeAddress,
  parseDatabaseUrl,
  type DatabaseAddress,
} from "../postgres/url.ts";
import type {
  CommonSettings,
  DatabaseSettings,
  DatabaseSetting,
  HistorySettings,
  MigrationSetting,
  MissingDatabase,
} from "../settings/settings.ts";
import { describeState } from "../state.ts";
import { recognise } from "../tools/recognise.ts";
import type { History } from "../tools/tool.ts";
import { describeWords } from "../log/words.ts";

type ReadContext = Context<CommonSettings & HistorySettings>;

/** What the files say that the migration commands would read, or what is frozen of them. */
export async function readMigrations(context: ReadContext): Promise<readonly Migration[]> {
  const memo = new Map<string, unknown>();
  const ignored = new Set<string>();
  const migrations: Migration[] = [];
  for (const setting of context.settings.migrations) {
    const { name, words, whenEmpty, tenant } = setting;
    const history = await readHistory(context, setting, memo);
    reportIgnored(context, history, ignored);
    migrations.push({ name, words, whenEmpty, tenant, history });
  }
  return migrations;
}

/** The history of a command that has exactly one. */
export async function readMigration(context: ReadContext): Promise<History> {
  const [migration] = await readMigrations(context);
  if (migration === undefined) throw new Error("there is no migration command");
  return migration.history;
}

async function readHistory(
  { settings }: ReadContext,
  { words, inspectAs, tool, versionTable, versions, tenant }: MigrationSetting,
  memo: Map<string, unknown>,
): Promise<History> {
  const { cwd, env } = settings;
  const command = await recognise(inspectAs ?? words, tool, cwd);
  return command.readHistory({ cwd, env, versionTable, versions, tenant, memo });
}

/** Each reason is reported once. */
function reportIgnored({ log }: ReadContext, { ignored }: History, reported: Set<string>): void {
  if (ignored !== null && !reported.has(ignored.reason)) {
    reported.add(ignored.reason);
    log.warn(
      {
        event: "freeze-ignored",
        reason: ignored.reason,
        hint: "run entrypoint freeze again in the Dockerfile, after the last COPY",
      },
      `Ignoring ${ignored.path}: ${ignored.reason}`,
    );
  }
}

type SurveyContext = Context<CommonSettings & DatabaseSettings>;

/** The database that is certain to be the project's; null where none is. */
export function findDatabase(
  context: SurveyContext,
  histories: readonly History[],
): DatabaseAddress | null {
  const located = locateDatabase(context, histories);
  return located.kind === "address" ? located.address : null;
}

/** Where the project's database is. */
export type Located =
  | { readonly kind: "address"; readonly address: DatabaseAddress }
  /** Of another system: there is nothing to wait for, to inspect or to lock. */
  | { readonly kind: "foreign" }
  | { readonly kind: "unknown" };

/**
 * The user's setting, else the migration tool's configuration, else libpq's variables, else those that the project's own code
 * is seen to read. All histories are of one database, since one lock is for all of them.
 */
export function locateDatabase(context: SurveyContext, histories: readonly History[]): Located {
  const { settings, log } = context;
  const { database, fallbackDatabase, guess } = settings;
  const at = (address: DatabaseAddress): Located => ({
    kind: "address",
    address: withPassword(context, address),
  });
  const [configured = null, ...others] = histories
    .map((history) => history.configured)
    .filter((one) => one !== null);
  const requireOne = (setting: DatabaseSetting, list: typeof others) => {
    for (const one of list) requireOneDatabase({ log, env: settings.env }, setting, one);
  };
  if (database !== null) requireOne(database, configured === null ? [] : [configured, ...others]);
  if (database?.kind === "address") {
    const { inSqlAlchemy } = database;
    if (inSqlAlchemy !== undefined && histories.some(({ command }) => command.usesSqlAlchemy)) {
      log.warn({ event: "settings" }, inSqlAlchemy);
    }
    return at(database.address);
  }
  if (database?.kind === "foreign") return reportForeign(context, database.from, database.dialect);
  if (configured !== null) {
    const located = locateUrl(context, configured.url, configured.from);
    if (located.kind === "address") {
      const from = "that of the first migration command";
      requireOne({ kind: "address", address: located.address, from }, others);
    }
    return located;
  }
  if (fallbackDatabase !== null) return at(fallbackDatabase);
  if (guess === null || guess.reader === null) return { kind: "unknown" };
  log.info(
    { event: "database-found", variables: guess.names, file: guess.reader },
    `Using the database ${describeAddress(guess.address)} of ${guess.names.join(", ")}, which ${guess.reader} reads`,
  );
  return at(guess.address);
}

/** A URL of SQLAlchemy's. Throws Failure "bad-settings". @param from what a message calls the place that names it. */
export function locateUrl(context: SurveyContext, url: string, from: string): Located {
  try {
    const answer = parseDatabaseUrl(url, context.settings.env);
    if (answer.kind === "foreign") return reportForeign(context, from, answer.dialect);
    return { kind: "address", address: withPassword(context, answer.address) };
  } catch (error) {
    if (!(error instanceof BadUrl)) throw error;
    throw new Failure("bad-settings", `${from}: ${error.message}`, {
      hint: "set DATABASE_URL, or correct that configuration",
    });
  }
}

export function reportForeign({ log }: SurveyContext, from: string, dialect: string): Located {
  log.warn(
    { event: "no-database", dialect },
    `${from} names a ${dialect} database: only PostgreSQL can be waited for, inspected and locked`,
  );
  return { kind: "foreign" };
}

/** How long --database-password-command may take. */
const passwordTimeoutMs = 20_000;

/** The address with the command that prints its password, if there is one. */
export function withPassword(
  { settings, signals }: SurveyContext,
  address: DatabaseAddress,
): DatabaseAddress {
  const { passwordCommand: words, env, cwd } = settings;
  if (words === null) return address;
  const place = { env, cwd, stop: signals.stop, timeoutMs: passwordTimeoutMs };
  return {
    ...address,
    async getPassword() {
      const { stdout, end } = await captureOutput(words, place);
      const password = stdout.trimEnd().split("\n").at(-1)?.trim() ?? "";
      if (end === "succeeded" && password !== "") return password;
      const what =
        end === "timed-out"
          ? `has taken longer than ${passwordTimeoutMs / 1000} s`
          : end === "failed"
            ? "has failed"
            : "has printed nothing";
      throw new Error(`--database-password-command: ${words[0]} ${what}`);
    },
  };
}

/**
 * Reads the files while the server answers, unless only they say where it is; `open` connects. The files are read with few
 * pauses, so that what has been sent by then is under way meanwhile.
 */
export async function readAndConnect(
  context: Context<CommonSettings & DatabaseSettings & HistorySettings>,
  open: (address: DatabaseAddress) => Promise<Connection>,
): Promise<{
  migrations: readonly Migration[];
  located: Located;
  address: DatabaseAddress | null;
  connection: Connection | null;
}> {
  const { database } = context.settings;
  const early = database?.kind === "address" ? open(withPassword(context, database.address)) : null;
  early?.catch(() => undefined);
  await setImmediate();
  try {
    const migrations = await readMigrations(context);
    const located = locateDatabase(
      context,
      migrations.map(({ history }) => history),
    );
    const address = located.kind === "address" ? located.address : null;
    const connection = await (early ?? (address === null ? null : open(address)));
    return { migrations, located, address, connection };
  } catch (error) {
    // A failure of the files is reported first; a connection that is made later is closed.
    early?.then(
      (connection) => connection.close(),
      () => undefined,
    );
    throw error;
  }
}

/** Step 1. */
export async function openConnection(
  { settings, signals, log }: Context<WaitingSettings>,
  address: DatabaseAddress,
  timeoutMs = settings.waitTimeoutMs,
): Promise<Connection> {
  const options = { timeoutMs, stop: signals.stop, log };
  const { missingDatabase } = settings;
  if (missingDatabase === undefined || missingDatabase === "refuse" || settings.dryRun === true) {
    return waitForDatabase(address, options);
  }
  const onMissing = async () => {
    if (missingDatabase === "wait") return;
    // Loaded here: most databases exist.
    const { createDatabase } = await import("../postgres/create-database.ts");
    await createDatabase(address, options);
  };
  return waitForDatabase(address, { ...options, onMissing });
}

/** Of commands that wait for the database to answer. */
interface WaitingSettings {
  readonly waitTimeoutMs: number;
  readonly missingDatabase?: MissingDatabase;
  readonly dryRun?: boolean;
}

/** How long a server is waited for that has to answer, where there is no longer limit. */
const leastPatienceMs = 5_000;

/**
 * Step 1, and then the patience of a start: some migrations lock the version table, so a query may take as long as the wait
 * for the migration lock itself. Failure "lock-timeout".
 */
export async function openPatiently(
  context: Context<WaitingSettings & { readonly lockTimeoutMs: number }>,
  address: DatabaseAddress,
  timeoutMs = Infinity,
): Promise<Connection> {
  const { lockTimeoutMs, waitTimeoutMs } = context.settings;
  const limitMs = Math.max(lockTimeoutMs, leastPatienceMs);
  const connection = await openConnection(context, address, Math.min(waitTimeoutMs, timeoutMs));
  return connection.within({ limitMs: () => limitMs, code: "lock-timeout" });
}

/**
 * Step 2: queries, and by another connection where this one breaks, which is opened within --wait-timeout, counted from
 * `startMs`. `adopt` gets every connection that takes the place of another.
 */
export async function queryPatiently<T>(
  context: Context<{ readonly waitTimeoutMs: number; readonly lockTimeoutMs: number }>,
  on: {
    readonly address: DatabaseAddress;
    readonly connection: Connection;
    readonly startMs: number;
    readonly adopt: (connection: Connection) => void;
  },
  query: (connection: Connection) => Promise<T>,
): Promise<T> {
  const { settings, log, signals } = context;
  for (let { connection } = on; ;) {
    try {
      return await query(connection);
    } catch (error) {
      const remainingMs = settings.waitTimeoutMs - (performance.now() - on.startMs);
      if (signals.stop.aborted || classify(error) === "refused" || remainingMs <= 0) throw error;
      const reason = describeError(error);
      log.warn({ event: "connection-lost", reason }, `Connecting again: ${reason}`);
      await connection.close();
      connection = await openPatiently(context, on.address, Math.ceil(remainingMs));
      on.adopt(connection);
    }
  }
}

/** How long the database has to answer those who wait for nothing. */
const answerTimeoutMs = 3_000;

/** Queries over a connection that is closed afterwards. Throws Failure "database-unavailable" where no answer comes. */
export async function askOnce<T>(
  { signals }: Context<unknown>,
  connection: Connection,
  ask: (connection: Connection) => Promise<T>,
): Promise<T> {
  try {
    return await ask(connection.within({ limitMs: () => answerTimeoutMs }));
  } catch (error) {
    throw explainDatabaseError(error);
  } finally {
    if (!signals.stop.aborted) await connection.close();
  }
}

/** What --dry-run prints: what was found, then why nothing would be started, or `steps` and the end. */
export function describePlan(
  app: Words | null,
  found: {
    address: DatabaseAddress | null;
    inspected: readonly Inspected[];
    failure: Failure | null;
  },
  steps: readonly string[],
): string {
  const { address, inspected, failure } = found;
  const lines = [
    `database   ${address === null ? "none known: nothing to wait for, inspect or lock" : describeAddress(address)}`,
    ...(inspected.length === 0 ? ["state      not read: there is no migration command"] : []),
    ...inspected.map(({ name, state }) => `state      ${titled(name, describeState(state))}`),
  ];
  if (failure !== null) {
    lines.push(`would stop ${failure.message}`, `cure       ${failure.hint ?? ""}`);
    return lines.join("\n");
  }
  const end = app === null ? "exit 0" : `become ${describeWords(app)}`;
  return [...lines, ...steps, `then       would ${end}`].join("\n");
}
