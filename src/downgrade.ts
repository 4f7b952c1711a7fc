// `alembic downgrade -1`, typed at three in the morning: under the migration lock, what will be undone said first,
// what could not be undone refused, and the end believed only when the database agrees.

import { describeSession, findClients } from "./database/blockers.ts";
import type { Connection } from "./database/connect.ts";
import { acquireMigrationLock, type MigrationLock } from "./database/lock.ts";
import { waitForOrphans } from "./database/orphans.ts";
import { describeAddress, type DatabaseAddress } from "./database/url.ts";
import { readVersionRows } from "./database/version-rows.ts";
import { Failure } from "./exit-codes.ts";
import { printResult } from "./log.ts";
import { askState } from "./migrations/alembic/ask.ts";
import type { Graph } from "./migrations/alembic/graph.ts";
import type { History } from "./migrations/alembic/inspect.ts";
import {
  describeRevisions,
  findApplied,
  findIrreversible,
  planDowngrade,
  type Undo,
} from "./migrations/alembic/undo.ts";
import { askAlembic, recogniseCommand } from "./migrations/command.ts";
import { askAfresh, runReporting, runStep, type Context } from "./migrations/migrate.ts";
import type { DowngradeTarget } from "./migrations/state.ts";
import { unlessStopped } from "./process/signals.ts";
import type { Settings, Words } from "./settings.ts";
import { explainDatabaseError, findDatabase, openConnection, readMigrations } from "./survey.ts";

/** Where the database is among the revisions, by the files' word or Alembic's. */
interface Position {
  readonly graph: Graph;
  readonly rows: readonly string[];
}

/** What is to be undone, and what speaks against it. */
interface Plan extends Undo {
  readonly graph: Graph;
  readonly objections: readonly string[];
}

/** Resolves to the exit code once the database is where it was told to go (or, with --dry-run, at once). */
export async function downgrade(context: Context): Promise<number> {
  const { settings, signals, log } = context;
  const { downgradeTo } = settings;
  if (downgradeTo === null) throw new Error("the settings name no revision");
  const history = await readMigrations(context, settings.migrate ?? []);
  const words = findWords(settings, downgradeTo);
  const address = findDatabase(context, history);
  if (address === null) {
    throw new Failure("bad-settings", "entrypoint downgrade: no PostgreSQL URL is known", {
      hint: "set DATABASE_URL to the database that is to go back",
    });
  }
  const connection = await openConnection(context, address);
  const planNow = () =>
    unlessStopped(signals.stop, makePlan(context, downgradeTo, history, connection));
  try {
    // A mistake is told at once, not after a wait for the lock.
    const first = await planNow();
    if (settings.dryRun) {
      printResult(describeDryRun(settings, address, first, words));
      return 0;
    }
    const startMs = performance.now();
    const answer = await acquireMigrationLock(connection, {
      timeoutMs: settings.lockTimeoutMs,
      stop: signals.stop,
      log,
      versionTable: history.versionTable.name,
      findCurrent: () => Promise.resolve(null),
      connectAgain: () => openConnection(context, address),
    });
    if (answer.kind === "not-needed") throw new Error("the lock is always needed");
    const { lock } = answer;
    try {
      await waitForOrphans(connection, {
        timeoutMs: Math.max(settings.lockTimeoutMs - (performance.now() - startMs), 0),
        stop: signals.stop,
        log,
        versionTable: history.versionTable.name,
      });
      await carryOut(context, { history, address, connection, lock, words, plan: await planNow() });
    } finally {
      if (!signals.stop.aborted) await lock.release();
    }
    return 0;
  } catch (error) {
    throw explainDatabaseError(error, connection);
  } finally {
    if (!signals.stop.aborted) await connection.close();
  }
}

/** The migration command, told to go back instead. */
function findWords({ migrate }: Settings, target: DowngradeTarget): Words {
  const command = recogniseCommand(migrate ?? []);
  // click would take -1 for an option.
  const separator = command.kind === "alembic" && command.layout === "flask" ? ["--"] : [];
  const words = askAlembic(migrate ?? [], "downgrade", [...separator, describeTarget(target)]);
  if (words !== null) return words;
  throw new Failure(
    "bad-settings",
    `entrypoint downgrade: the migration command is not understood: ${migrate?.join(" ")}`,
    {
      hint: "name Alembic's, --migrate 'alembic -c FILE upgrade head', or run the downgrade of your own command",
    },
  );
}

/** As Alembic takes it. */
function describeTarget(target: DowngradeTarget): string {
  switch (target.kind) {
    case "base":
      return "base";
    case "relative":
      return `-${target.steps}`;
    case "revision":
      return target.name;
  }
}

async function makePlan(
  context: Context,
  target: DowngradeTarget,
  history: History,
  connection: Connection,
): Promise<Plan> {
  const position = await locate(context, history, connection);
  const { graph } = position;
  const plan = planDowngrade(graph, target, position.rows, history.versionTable);
  const objections = findIrreversible(graph, plan.undone).map(
    (id) => `the downgrade() of ${describeRevisions(graph, [id])} does nothing`,
  );
  const clients = plan.undone.length === 0 ? [] : await findClients(connection.client);
  if (clients.length > 0) {
    const names = clients.map(describeSession).join("; ");
    objections.push(
      `an application may be running that needs ${plan.from.join(", ")}, since somebody is connected: ${names}`,
    );
  }
  return { ...plan, graph, objections };
}

/** Asks Alembic where the files leave doubt. Throws Failure "cannot-tell" where that does not help. */
async function locate(
  { settings, signals, log }: Context,
  history: History,
  { client }: Connection,
): Promise<Position> {
  const graph = history.graph.kind === "known" ? history.graph.graph : null;
  const answer = await readVersionRows(client, history.versionTable);
  const rows = answer.kind === "known" ? answer.rows : null;
  if (graph !== null && rows !== null) return { graph, rows };
  const doubt = [history.graph, answer].find(({ kind }) => kind === "cannot-tell");
  const reason = doubt !== undefined && "reason" in doubt ? doubt.reason : "";
  log.info({ event: "asking", reason }, `Asking Alembic, since ${reason}`);
  const asked = await askState(
    settings,
    history,
    {
      graph,
      rows: history.versionTableCertain ? rows : null,
      doubtfulRows: rows ?? [],
      userTables: false,
    },
    signals.stop,
  );
  if (asked.kind === "no-answer") {
    throw new Failure(
      "cannot-tell",
      `cannot tell what a downgrade would undo: ${reason}; ${asked.reason}`,
      { hint: asked.cure },
    );
  }
  return { graph: asked.graph, rows: asked.state.current };
}

/** Under the lock: says what will be undone, undoes it, and asks the database. */
async function carryOut(
  context: Context,
  on: {
    history: History;
    address: DatabaseAddress;
    connection: Connection;
    lock: MigrationLock;
    words: Words;
    plan: Plan;
  },
): Promise<void> {
  const { settings, log, signals } = context;
  const { graph, from, undone, to, objections } = on.plan;
  if (undone.length === 0) {
    log.info(
      { event: "current", current: from },
      `Nothing to undo: the database is at ${at(from)}`,
    );
    return;
  }
  if (objections.length > 0 && !settings.force) throw refusal(objections);
  for (const objection of objections)
    log.warn({ event: "forced" }, `Going on all the same: ${objection}`);
  log.info(
    { event: "downgrading", command: on.words, from, undone, to },
    `Undoing ${describeRevisions(graph, undone)}: the database goes from ${at(from)} back to ${at(to)}`,
  );
  const failure = await runReporting(context, on.connection, on.history, (env) =>
    runStep(context, on.words, env, on.lock.lost, "Downgrade failed!"),
  );
  const rows = await askAfresh(context, on.address, failure, async (connection) =>
    locate(context, on.history, connection),
  ).then(
    (position) => position.rows,
    (error: unknown) => {
      if (error instanceof Failure) return null;
      throw error;
    },
  );
  const progress = rows === null ? null : describeUndone(graph, on.plan, rows);
  const details = { from, undone, to, current: rows };
  if (failure !== null) {
    throw failure.with({
      message: `${failure.message}${progress === null ? "" : `: ${progress}`}`,
      details,
    });
  }
  signals.stop.throwIfAborted();
  if (rows === null) {
    log.warn({ event: "unverified", ...details }, "Cannot verify the downgrade");
  } else if (countUndone(graph, on.plan, rows) < undone.length) {
    throw new Failure(
      "not-at-head",
      `${on.words[0]} said that it succeeded, but the database is not at ${at(to)}: ${progress}`,
      {
        hint: "look for sys.exit() in a revision, SQL before context.configure() in env.py, or another database than DATABASE_URL's",
        details,
      },
    );
  } else {
    log.info({ event: "downgraded", ...details }, `The database is at ${at(rows)}`);
  }
}

function refusal(objections: readonly string[]): Failure {
  return new Failure("unsafe-migration", `the downgrade is refused: ${objections.join("; ")}`, {
    hint: "stop the application and write what is missing, or insist with --force",
    details: { objections },
  });
}

/** How many of those that were to be undone are not applied any more. */
function countUndone(graph: Graph, { undone }: Undo, rows: readonly string[]): number {
  const left = findApplied(graph, rows);
  return undone.filter((id) => !left.has(id)).length;
}

/** `of 3 revisions 1 was undone: the database is at c3, between d4 and b2` */
function describeUndone(graph: Graph, plan: Plan, rows: readonly string[]): string {
  const count = countUndone(graph, plan, rows);
  const total = plan.undone.length;
  return `of ${total} ${total === 1 ? "revision" : "revisions"} ${count} ${count === 1 ? "was" : "were"} undone: the database is at ${at(rows)}, between ${at(plan.from)} and ${at(plan.to)}`;
}

function at(rows: readonly string[]): string {
  return rows.length === 0 ? "base" : rows.join(", ");
}

/** What --dry-run prints. */
function describeDryRun(
  { force }: Settings,
  address: DatabaseAddress,
  { graph, from, undone, to, objections }: Plan,
  words: Words,
): string {
  const lines = [`database   ${describeAddress(address)}`, `current    ${at(from)}`];
  if (undone.length === 0) return [...lines, "downgrade  would undo nothing"].join("\n");
  const { message, hint } = refusal(objections);
  if (objections.length > 0 && !force) lines.push(`would stop ${message}`, `cure       ${hint}`);
  lines.push(
    `downgrade  would undo ${describeRevisions(graph, undone)}`,
    `           would run ${words.join(" ")} under the migration lock`,
    `then       would be at ${at(to)}`,
  );
  return lines.join("\n");
}
