// What no shell script ever asked: whether the pending migrations lock the application out. `entrypoint lint` says it
// in review; `--lint error` refuses them at boot, before anything runs.
// Guarantees: only the catalog is read; what could not be had is not taken for safe.

import { connectAtOnce } from "./database/connect.ts";
import type { DatabaseAddress } from "./database/url.ts";
import { exitCodes, Failure } from "./exit-codes.ts";
import { collectNames, readCatalog, type Catalog, type Names } from "./lint/catalog.ts";
import { describeInShort, formatText, summarise } from "./lint/describe.ts";
import { formatGithub, formatJson, formatSarif } from "./lint/machine-formats.ts";
import { refusals, reportOn, selectStatements, type Report } from "./lint/report.ts";
import { askSql, readSqlFile, targetWord, type Source } from "./lint/source.ts";
import { readRevisions, readScript } from "./lint/statements.ts";
import { hasColours, printResult } from "./log.ts";
import { askState } from "./migrations/alembic/ask.ts";
import type { Graph } from "./migrations/alembic/graph.ts";
import { inspect, type History } from "./migrations/alembic/inspect.ts";
import { decide } from "./migrations/decide.ts";
import type { Context } from "./migrations/migrate.ts";
import type { State } from "./migrations/state.ts";
import { loadSqlParser } from "./sql/parser.ts";
import { askOnce, findDatabase, readMigrations } from "./survey.ts";

const connectTimeoutMs = 2_000;

/** Resolves to 0, or 65 where something is refused. */
export async function printLint(context: Context): Promise<number> {
  const { settings, log } = context;
  const history = await readMigrations(context, settings.migrate ?? []);
  const database = findDatabase(context, history);
  const source = await chooseSource(context, history, database);
  const report = await lint(context, history, source, database);
  if (settings.format === "github") {
    // A runner takes every line of standard output for itself; people read the other one.
    log.info({ event: "linted" }, summarise(report).replaceAll("\n", "; "));
  }
  const text = format(context, report);
  if (text !== "") printResult(text);
  return refusals(report).length > 0 ? exitCodes["unsafe-migration"] : 0;
}

/** Before the migration, under its lock: logs what is found, and with `--lint error` throws Failure "unsafe-migration". */
export async function lintBeforeMigration(
  context: Context,
  on: { history: History; database: DatabaseAddress | null; before: State },
): Promise<void> {
  const { settings, log } = context;
  const { history, database, before } = on;
  const source = await sourceOfPending(context, history, before);
  const report = await lint(context, history, source, database);
  const refused = refusals(report);
  for (const finding of report.findings) {
    const { rule, severity, revision, object, allowed, place } = finding;
    const level =
      allowed !== null || severity === "note" ? "info" : severity === "error" ? "error" : "warn";
    log[settings.lint === "warn" && level === "error" ? "warn" : level](
      {
        event: "lint",
        rule,
        severity,
        revision,
        object,
        file: place?.file ?? null,
        line: place?.line ?? null,
        ...(allowed === null ? {} : { allowed }),
      },
      `${describeInShort(finding, settings.cwd)}${allowed === null ? "" : ` (allowed because ${allowed})`}`,
    );
  }
  log.info({ event: "linted", revisions: report.revisions }, `Lint: ${summarise(report)}`);
  const [first] = refused;
  if (settings.lint !== "error" || first === undefined) return;
  const list = [...new Set(refused.map(({ rule }) => rule))].join(", ");
  throw new Failure(
    "unsafe-migration",
    `the pending migrations are unsafe (${list}), so none has been run: ${describeInShort(first, settings.cwd)}`,
    {
      hint: "entrypoint lint shows the safe form; to run them as they are, say why in the revision (# entrypoint: allow RULE because …), or start with --lint warn",
      details: { rules: refused.map(({ rule }) => rule) },
    },
  );
}

/** What cannot be had is a gap, and no failure. */
async function sourceOfPending(context: Context, history: History, before: State): Promise<Source> {
  const graph = graphOf(history);
  const nothing: Source = { sql: "", file: null, pending: [], graph, gaps: [] };
  if (before.state === "current") return nothing;
  if ("pending" in before) {
    const range = { from: before.current, to: targetWord(history.command) };
    return askSql(context, range, before.pending, graph);
  }
  const why = before.state === "cannot-tell" ? before.reason : `the database is ${before.state}`;
  const cause = `nobody can tell what is pending: ${why}`;
  return { ...nothing, gaps: [{ revision: null, cause, cure: "start with --lint warn or off" }] };
}

/** What is to be linted: a file, a range, or what is pending. */
async function chooseSource(
  context: Context,
  history: History,
  database: DatabaseAddress | null,
): Promise<Source> {
  const { settings } = context;
  const graph = graphOf(history);
  if (settings.sqlFile !== null) return readSqlFile(settings.sqlFile, graph);
  const to = targetWord(history.command);
  if (settings.range !== null) {
    const source = await askSql(context, settings.range, null, graph);
    // From the beginning it is the history, and not what will run now.
    if (settings.range.from.length === 0) return source;
    return { ...source, pending: readRevisions(source.sql) };
  }
  if (database === null) return askSql(context, { from: [], to }, null, graph);
  const { state, graph: known } = await findPending(context, history, database);
  const plan = decide(
    { onAhead: "abort", alwaysMigrate: false, migrate: settings.migrate },
    state,
    history.versionTable,
  );
  if (plan.kind === "fail") throw plan.failure;
  if (state.state === "cannot-tell") {
    throw new Failure("cannot-tell", `cannot tell what is pending: ${state.reason}`, {
      hint: "name the revisions with --range FROM:TO, or a file with --sql",
    });
  }
  if (!("pending" in state)) return { sql: "", file: null, pending: [], graph: known, gaps: [] };
  return askSql(context, { from: state.current, to }, state.pending, known);
}

async function findPending(
  context: Context,
  history: History,
  database: DatabaseAddress,
): Promise<{ state: State; graph: Graph | null }> {
  const { settings, signals } = context;
  const connection = await connectAtOnce(database, {
    timeoutMs: connectTimeoutMs,
    stop: signals.stop,
  }).catch((error: unknown) => {
    if (!(error instanceof Failure) || error.code !== "database-unavailable") throw error;
    throw new Failure(error.code, error.message, {
      hint: "without it nobody knows what is pending: name the revisions with --range FROM:TO, or a file with --sql",
      cause: error,
    });
  });
  const state = await askOnce(context, connection, ({ client }) => inspect(history, client));
  const graph = graphOf(history);
  if (state.state !== "cannot-tell") return { state, graph };
  const certain = { graph, rows: null, doubtfulRows: [], userTables: true };
  const asked = await askState(settings, history, certain, signals.stop);
  if (asked.kind === "told") return asked;
  return { state: { state: "cannot-tell", reason: asked.reason }, graph };
}

function graphOf({ graph }: History): Graph | null {
  return graph.kind === "known" ? graph.graph : null;
}

async function lint(
  context: Context,
  { versionTable }: History,
  source: Source,
  database: DatabaseAddress | null,
): Promise<Report> {
  const parser = await loadSqlParser();
  const script = selectStatements(readScript(parser, source.sql), source);
  const catalog =
    database === null || script.statements.length === 0
      ? null
      : await askCatalog(context, database, collectNames(script.statements));
  return reportOn(parser, source, script, {
    catalog,
    smallRows: context.settings.lintThreshold,
    ownTables: [versionTable.name],
  });
}

/** Null where the database does not answer: the SQL alone says something too. */
async function askCatalog(
  context: Context,
  database: DatabaseAddress,
  names: Names,
): Promise<Catalog | null> {
  const { signals, log } = context;
  try {
    const connection = await connectAtOnce(database, {
      timeoutMs: connectTimeoutMs,
      stop: signals.stop,
    });
    return await askOnce(context, connection, ({ client }) => readCatalog(client, names));
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "database-unavailable") throw error;
    log.warn({ event: "no-catalog" }, `Linting the SQL alone: ${error.message}`);
    return null;
  }
}

function format({ settings }: Context, report: Report): string {
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
