// `entrypoint lint`, and `--lint` at boot: which SQL is linted, and against which database.

import type { Connection } from "../postgres/connection.ts";
import type { DatabaseAddress } from "../postgres/url.ts";
import { connectAtOnce } from "../postgres/wait-for-database.ts";
import { exitCodes, Failure } from "../failure.ts";
import { readCatalog } from "../lint/catalog.ts";
import { formatText, summarise } from "../lint/describe.ts";
import { judgeReport, lintSource } from "../lint/lint.ts";
import { formatGithub, formatJson, formatSarif } from "../lint/machine-formats.ts";
import { mergeReports, refusals, type Report } from "../lint/report.ts";
import {
  emptySource,
  printSource,
  readSqlFile,
  type LintedHistory,
  type Source,
} from "../lint/source.ts";
import { hasColours, printResult } from "../log/log.ts";
import { decide, strictPolicy } from "../migrate/decide.ts";
import { inspect } from "../migrate/inspect.ts";
import { nameFailure } from "../migrate/migrations.ts";
import type { Context } from "../context.ts";
import type { LintSettings, StartSettings } from "../settings/settings.ts";
import type { State } from "../state.ts";
import type { History, SqlRange } from "../tools/tool.ts";
import { askOnce, findDatabase, readMigrations } from "./survey.ts";

type LintContext = Context<LintSettings | StartSettings>;

const connectTimeoutMs = 2_000;

/** Resolves to 0, or 65 where something is refused. */
export async function printLint(context: Context<LintSettings>): Promise<number> {
  const { settings, log } = context;
  const migrations = await readMigrations(context);
  const database = findDatabase(
    context,
    migrations.map(({ history }) => history),
  );
  const reports: Report[] = [];
  // A file of SQL is no history's.
  for (const { name, history } of settings.sqlFile === null ? migrations : migrations.slice(0, 1)) {
    try {
      const chosen = await chooseSource(context, history, database);
      reports.push(await lint(context, chosen.history, chosen.source, chosen.database));
    } catch (error) {
      throw error instanceof Failure ? nameFailure(name, error) : error;
    }
  }
  const report = mergeReports(reports);
  if (settings.format === "github") {
    // The runner parses every line of standard output; people read the log.
    log.info({ event: "linted" }, summarise(report).replaceAll("\n", "; "));
  }
  const text = format(context, report);
  if (text !== "") printResult(text);
  return refusals(report).length > 0 ? exitCodes["unsafe-migration"] : 0;
}

/** Before the migration, under its lock: logs what is found, and with `--lint error` throws Failure "unsafe-migration". */
export async function lintBeforeMigration(
  context: Context<StartSettings>,
  on: { history: History; database: DatabaseAddress | null; before: State },
): Promise<void> {
  const { settings, log } = context;
  const source = await sourceOfPending(context, on.history, on.before);
  const report = await lint(context, on.history, source, on.database);
  judgeReport(report, {
    log,
    lint: settings.lint === "error" ? "error" : "warn",
    cwd: settings.cwd,
  });
}

/** What is not known is a gap, and no failure. */
async function sourceOfPending(
  context: Context<StartSettings>,
  history: History,
  before: State,
): Promise<Source> {
  if (before.state === "current") return emptySource;
  if ("pending" in before) {
    return print(context, history, pendingRange(before.current, before.pending));
  }
  const why = before.state === "cannot-tell" ? before.reason : `the database is ${before.state}`;
  const cause = `cannot tell what is pending: ${why}`;
  return {
    ...emptySource,
    gaps: [{ id: null, cause, cure: "start with --lint warn or off", line: null }],
  };
}

/** What is to be linted: a file, a range, or what is pending; and the database that it will be run on. */
async function chooseSource(
  context: Context<LintSettings>,
  history: History,
  database: DatabaseAddress | null,
): Promise<{ source: Source; history: History; database: DatabaseAddress | null }> {
  const { sqlFile, range } = context.settings;
  if (sqlFile !== null) {
    return { source: readSqlFile(sqlFile, await withSql(history)), history, database };
  }
  if (range !== null || database === null) {
    const { from, to } = { from: range?.from ?? [], to: range?.to ?? null };
    const present =
      database !== null && (await isAt(context, history, database, from)) ? database : null;
    const withHistory = present === null && from.length > 0;
    const live = present !== null;
    const source = await print(context, history, { from, to, pending: null, withHistory, live });
    // From the beginning it is the history, and not what will run now.
    const pending = from.length === 0 ? null : (source.range ?? source.starts.map(({ id }) => id));
    return { source: { ...source, pending }, history, database: present };
  }
  const { state, history: known } = await findPending(context, history, database);
  const plan = decide(strictPolicy, state, history);
  if (plan.kind === "fail") throw plan.failure;
  if (state.state === "cannot-tell") {
    throw new Failure("cannot-tell", `cannot tell what is pending: ${state.reason}`, {
      hint: "name the migrations with --range FROM:TO, or a file with --sql",
    });
  }
  if (!("pending" in state)) return { source: emptySource, history: known, database };
  const source = await print(context, known, pendingRange(state.current, state.pending));
  return { source, history: known, database };
}

function pendingRange(from: readonly string[], pending: readonly string[]): SqlRange {
  return { from, to: null, pending, withHistory: false, live: true };
}

/** Whether the database is where a range begins: one that has gone further has other tables. */
async function isAt(
  context: LintContext,
  history: History,
  database: DatabaseAddress,
  from: readonly string[],
): Promise<boolean> {
  const ledger = await readDatabase(context, database, (queried) => history.readLedger(queried));
  if (ledger === null) return false;
  const newest = history.newest ?? ((known: { readonly rows: readonly string[] }) => known.rows);
  const rows = ledger.kind === "known" ? newest(ledger) : null;
  // An id may be shortened.
  const ids = from.flatMap((each) => each.split(","));
  const named = (row: string) => ids.some((id) => row.startsWith(id));
  if (rows !== null && rows.length === ids.length && rows.every(named)) return true;
  const place =
    rows === null ? "nobody knows where" : rows.length === 0 ? "empty" : `at ${rows.join(", ")}`;
  context.log.warn(
    { event: "no-catalog" },
    `Linting without a database: it is ${place}, and the range begins at ${from.length === 0 ? "the first migration" : from.join(", ")}`,
  );
  return false;
}

async function print(
  { settings, signals }: LintContext,
  history: History,
  range: SqlRange,
): Promise<Source> {
  const { cwd, env } = settings;
  return printSource(await withSql(history), range, { cwd, env, stop: signals.stop });
}

/** The history with what its tool can do with SQL. */
async function withSql(history: History): Promise<LintedHistory> {
  const { toolName, toolId, loadSql } = history.command;
  const sql = await (history.loadSql ?? loadSql)?.();
  return {
    describe: (ids) => history.describe(ids),
    command: { toolName, toolId, ...sql },
  };
}

async function findPending(
  context: Context<LintSettings>,
  history: History,
  database: DatabaseAddress,
): Promise<{ state: State; history: History }> {
  const { settings, signals } = context;
  const connection = await connectAtOnce(context, database, connectTimeoutMs).catch(
    (error: unknown) => {
      if (!(error instanceof Failure) || error.code !== "database-unavailable") throw error;
      throw error.with({
        hint: "only the database knows what is pending: name the migrations with --range FROM:TO, or a file with --sql",
      });
    },
  );
  const { state, known } = await askOnce(context, connection, async (queried) => {
    const found = await inspect(history, queried);
    const asks = found.state === "cannot-tell" && history.ask !== undefined;
    const ledger = asks ? await history.readLedger(queried) : null;
    return { state: found, known: ledger?.kind === "known" ? ledger : null };
  });
  if (state.state !== "cannot-tell" || history.ask === undefined) return { state, history };
  const { cwd, env } = settings;
  const place = { cwd, env, stop: signals.stop };
  const asked = await history.ask({ ledger: known, userTables: true }, place);
  if (asked.kind === "answered") return asked;
  return { state: { state: "cannot-tell", reason: asked.reason }, history };
}

async function lint(
  context: LintContext,
  history: History,
  source: Source,
  database: DatabaseAddress | null,
): Promise<Report> {
  return lintSource(source, await withSql(history), {
    smallRows: context.settings.lintThreshold,
    versionTable: history.versionTable.name,
    readCatalog: async (names) =>
      database === null
        ? null
        : readDatabase(context, database, (queried) => readCatalog(queried, names())),
  });
}

/** Null where the database does not answer: the SQL alone says something too. */
async function readDatabase<T>(
  context: LintContext,
  database: DatabaseAddress,
  read: (connection: Connection) => Promise<T>,
): Promise<T | null> {
  const { log } = context;
  try {
    const connection = await connectAtOnce(context, database, connectTimeoutMs);
    return await askOnce(context, connection, read);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "database-unavailable") throw error;
    log.warn({ event: "no-catalog" }, `Linting without a database: ${error.message}`);
    return null;
  }
}

function format({ settings }: Context<LintSettings>, report: Report): string {
  const { cwd, env } = settings;
  const root = { directory: env["GITHUB_WORKSPACE"] || cwd };
  switch (settings.format) {
    case "json":
      return formatJson(report, root);
    case "github":
      return formatGithub(report, root);
    case "sarif":
      return formatSarif(report, root);
    case "text":
      return formatText(report, cwd, hasColours(env));
  }
}
