// For the replicas of which none migrates, since a job does: `until [ "$(alembic current)" = head ]; do sleep 1; done`,
// then `exec`. Guarantees: no lock is taken, nothing is written, no Python is started, and the application
// starts only on a database at head (or ahead of it, where --on-ahead says so).

import { setTimeout as sleep } from "node:timers/promises";
import { announceStart } from "./boot.ts";
import { classify, jitter, type Connection } from "./database/connect.ts";
import { findHolderActivity, type HolderActivity } from "./database/lock.ts";
import type { DatabaseAddress } from "./database/url.ts";
import { Failure, Stopped } from "./exit-codes.ts";
import { printResult } from "./log.ts";
import { inspect, type History } from "./migrations/alembic/inspect.ts";
import { cannotTell, decideWait } from "./migrations/decide.ts";
import type { Context } from "./migrations/migrate.ts";
import {
  describePending,
  stateDetails,
  type PendingState,
  type State,
} from "./migrations/state.ts";
import { unlessStopped } from "./process/signals.ts";
import {
  describePlan,
  explainDatabaseError,
  findDatabase,
  openConnection,
  readMigrations,
} from "./survey.ts";

const firstPollMs = 100;
const longestPollMs = 2_000;
const reportEveryMs = 15_000;
const reconnectMs = 500;
/** A look without an answer for this long: the server has fallen silent, or somebody has locked the version table. */
const lookTimeoutMs = 5_000;
/** A look that begins when the time is up gets this long all the same. */
const lastLookMs = 1_000;

/** The time that --wait-timeout gives, counted over the whole. */
interface Clock {
  elapsedMs(): number;
  remainingMs(): number;
}

/**
 * Resolves once the database is at head (or, with --dry-run, with false). Failure "database-unavailable" where it does not
 * answer within --wait-timeout, "pending" where it answers and is not at head by then.
 */
export async function waitForHead(context: Context): Promise<boolean> {
  const { settings, log, signals } = context;
  const history = await readMigrations(context, settings.migrate ?? []);
  // No waiting changes the files.
  if (history.graph.kind === "cannot-tell" && !settings.dryRun) {
    throw cannotTell(history.graph.reason);
  }
  const address = findDatabase(context, history);
  if (address === null) {
    throw new Failure("bad-settings", "entrypoint wait: no PostgreSQL URL is known", {
      hint: "set DATABASE_URL to the database that is waited for",
    });
  }
  const clock = startClock(settings.waitTimeoutMs);
  for (let leftMs = settings.waitTimeoutMs; ; leftMs = clock.remainingMs()) {
    const connection = await openConnection(context, address, leftMs);
    try {
      if (settings.dryRun) {
        printResult(await foretell(context, history, address, connection));
        return false;
      }
      await watch(context, history, connection, clock);
      break;
    } catch (error) {
      if (!isBroken(error, connection) || clock.remainingMs() <= reconnectMs) {
        throw explainDatabaseError(error, connection);
      }
      log.warn(
        { event: "connection-lost", reason: (error as Error).message },
        `The connection to the database broke (${(error as Error).message}), connecting again`,
      );
    } finally {
      if (!signals.stop.aborted) await connection.close();
    }
    await unlessStopped(signals.stop, sleep(jitter(reconnectMs)));
  }
  announceStart(context);
  return true;
}

/** Looks again and again, over one connection, until the database is at head. */
async function watch(
  context: Context,
  history: History,
  { client }: Connection,
  clock: Clock,
): Promise<void> {
  const { settings, log, signals } = context;
  let reportedMs = -Infinity;
  for (let attempt = 0; ; attempt++) {
    const state = await answerTo(context, clock, inspect(history, client));
    const plan = decideWait(settings, state, history.versionTable);
    if (plan.kind === "fail") throw plan.failure;
    if (plan.kind === "go") {
      logArrival(context, history, state, plan.warning);
      return;
    }
    const waitedMs = clock.elapsedMs();
    const over = waitedMs >= settings.waitTimeoutMs;
    if (over || waitedMs - reportedMs >= reportEveryMs) {
      const found = await answerTo(
        context,
        clock,
        findHolderActivity(client, history.versionTable.name),
      );
      if (over) throw notAtHead(context, history, plan.state, found);
      reportedMs = waitedMs;
      log.info(
        {
          event: "waiting",
          ...stateDetails(state),
          ...found.details,
          waitedMs: Math.round(waitedMs),
        },
        `Waiting for the migration to ${describeTarget(history, plan.state)}: the database is ${describePending(plan.state)}; ${found.message}`,
      );
    }
    const delayMs = jitter(Math.min(firstPollMs * 2 ** attempt, longestPollMs));
    await unlessStopped(signals.stop, sleep(Math.min(delayMs, clock.remainingMs())));
  }
}

/** What --dry-run prints. */
async function foretell(
  context: Context,
  history: History,
  address: DatabaseAddress,
  { client }: Connection,
): Promise<string> {
  const { settings, signals } = context;
  const state = await unlessStopped(signals.stop, inspect(history, client));
  const plan = decideWait(settings, state, history.versionTable);
  const failure = plan.kind === "fail" ? plan.failure : null;
  const what =
    plan.kind === "wait"
      ? `up to ${settings.waitTimeoutMs / 1000} s for ${describeTarget(history, plan.state)}`
      : "for nothing";
  return describePlan(context, { address, state, failure }, [`wait       would wait ${what}`]);
}

function logArrival(
  { log }: Context,
  history: History,
  state: State,
  warning: string | null,
): void {
  const details = { event: state.state, ...stateDetails(state) };
  if (warning !== null) log.warn(details, warning);
  else if (state.state === "current")
    log.info(details, `The database has reached ${describeTarget(history, state)}`);
}

function notAtHead(
  { settings }: Context,
  history: History,
  state: PendingState,
  found: HolderActivity,
): Failure {
  const { waitTimeoutMs } = settings;
  const after = waitTimeoutMs === 0 ? "" : ` after ${waitTimeoutMs / 1000} s`;
  return new Failure(
    "pending",
    `the database is not at ${describeTarget(history, state)}${after}: it is ${describePending(state)}; ${found.message}`,
    {
      hint: "look whether the migration was started and how it ended, or raise --wait-timeout",
      details: { ...stateDetails(state), ...found.details },
    },
  );
}

/** `head c3`, or the revision that the migration command names. */
function describeTarget(
  { command }: History,
  { heads }: { readonly heads: readonly string[] },
): string {
  if (command.kind === "alembic" && command.target.kind === "revision") {
    return `revision ${command.target.id}`;
  }
  return `head ${heads.join(", ")}`;
}

function startClock(limitMs: number): Clock {
  const startMs = performance.now();
  const elapsedMs = () => performance.now() - startMs;
  return { elapsedMs, remainingMs: () => Math.max(Math.round(limitMs - elapsedMs()), 0) };
}

/** The answer to a query, unless a signal comes first or the patience ends: a server can fall silent without a word. */
async function answerTo<T>(
  { settings, signals }: Context,
  clock: Clock,
  question: Promise<T>,
): Promise<T> {
  const leftMs =
    settings.waitTimeoutMs === 0 ? lookTimeoutMs : Math.max(clock.remainingMs(), lastLookMs);
  const patienceMs = Math.min(leftMs, lookTimeoutMs);
  const patience = AbortSignal.timeout(patienceMs);
  try {
    return await unlessStopped(AbortSignal.any([signals.stop, patience]), question);
  } catch (error) {
    if (error !== patience.reason) throw error;
    throw new Failure(
      "database-unavailable",
      `the database has not answered a query for ${patienceMs / 1000} s`,
      { hint: "look for a session that locks the version table, or at the network", cause: error },
    );
  }
}

/** Whether another connection may do better. */
function isBroken(error: unknown, { lost }: Connection): boolean {
  if (error instanceof Stopped) return false;
  if (error instanceof Failure) return error.code === "database-unavailable";
  return lost.aborted || classify(error) === "passing";
}
