// For the replicas of which none migrates, since a job does: until the database is at head, wait; then `exec`.
// Guarantees: no lock is taken, nothing is written, the migration tool is not started, and the application starts only on
// a database at head (or ahead of it, where --on-ahead allows that).

import type { Connection } from "../postgres/connection.ts";
import type { Context } from "../context.ts";
import { Failure, Stopped } from "../failure.ts";
import { printResult } from "../log/log.ts";
import { cannotTell, decideWait } from "../migrate/decide.ts";
import {
  describeHeads,
  detailsOf,
  inspectEach,
  mostNamed,
  nameFailure,
  titled,
  versionTablesOf,
  type Inspected,
  type Migration,
} from "../migrate/migrations.ts";
import { poll } from "../patience.ts";
import { classify, explainDatabaseError, isOutOfTime } from "../postgres/errors.ts";
import {
  findHolderActivity,
  pauseBetweenLooks,
  tableLockTimeout,
  type HolderActivity,
} from "../postgres/migration-lock.ts";
import { describeAddress, type DatabaseAddress } from "../postgres/url.ts";
import type { WaitSettings } from "../settings/settings.ts";
import { describePending, type PendingState } from "../state.ts";
import { announceStart } from "./run.ts";
import { describePlan, findDatabase, openConnection, readMigrations } from "./survey.ts";

type WaitContext = Context<WaitSettings>;

const reconnectMs = 500;
/** A look without an answer for this long: the server has fallen silent, or somebody has locked the version table. */
const lookTimeoutMs = 5_000;
/** A look that begins when the time is over still gets this long. */
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
export async function waitForHead(context: WaitContext): Promise<boolean> {
  const { settings, signals } = context;
  if (settings.migrations.length === 0) return waitForAnswer(context);
  const migrations = await readMigrations(context);
  const histories = migrations.map(({ history }) => history);
  // No waiting changes the files.
  for (const { name, history } of migrations) {
    if (history.doubt === null || settings.dryRun) continue;
    throw nameFailure(name, cannotTell(history, history.doubt));
  }
  const { requireDatabase } = await import("./locate.ts");
  const address = await requireDatabase(context, histories, "to wait for");
  if (settings.dryRun) {
    const connection = await openConnection(context, address);
    try {
      printResult(await foretell(context, migrations, address, connection));
    } catch (error) {
      throw explainDatabaseError(error);
    } finally {
      if (!signals.stop.aborted) await connection.close();
    }
    return false;
  }
  const startMs = performance.now();
  await watch(context, migrations, address);
  announceArrival(context, startMs);
  return true;
}

/** What was waited for has been named, and it is not this process that has migrated. */
function announceArrival(context: WaitContext, startMs: number): void {
  const done = context.settings.app === null ? "Nothing is left to wait for." : "";
  announceStart(context, { done, steps: { waitMs: Math.round(performance.now() - startMs) } });
}

/** Without a migration command the database, where one is known, only has to answer. */
async function waitForAnswer(context: WaitContext): Promise<boolean> {
  const { settings, signals } = context;
  const address = findDatabase(context, []);
  if (settings.dryRun) {
    printResult(
      describePlan(settings.app?.words ?? null, { address, inspected: [], failure: null }, []),
    );
    return false;
  }
  const startMs = performance.now();
  if (address !== null) {
    const connection = await openConnection(context, address);
    if (!signals.stop.aborted) await connection.close();
  }
  announceArrival(context, startMs);
  return true;
}

/** Looks again and again until the database is at head. Between two looks it holds no connection. */
async function watch(
  context: WaitContext,
  migrations: readonly Migration[],
  address: DatabaseAddress,
): Promise<void> {
  const { settings, log, signals } = context;
  const { waitTimeoutMs } = settings;
  const clock = startClock(waitTimeoutMs);
  let held: Connection | null = null;
  let pending: readonly Waiting[] | null = null;
  let broken: unknown = null;
  const rest = async () => {
    const connection = held;
    held = null;
    await connection?.close();
  };
  const connect = async () => {
    const isFirst = pending === null && broken === null;
    const leastMs = pending === null ? 0 : lastLookMs;
    // The first one begins the wait: its failure names the limit that was set, and not what the clock has left of it.
    const limitMs = isFirst ? waitTimeoutMs : Math.max(clock.remainingMs(), leastMs);
    const opened = await openConnection(context, address, limitMs);
    return opened.within({ limitMs: () => patienceMs(settings, clock) });
  };
  const findHolder = (by: Connection) => findHolderActivity(by, versionTablesOf(migrations));
  try {
    await poll<true>({
      stop: signals.stop,
      timeoutMs: waitTimeoutMs,
      delayMs: (_, waitedMs) => (broken === null ? pauseBetweenLooks(waitedMs, 0) : reconnectMs),
      async look() {
        held ??= await connect();
        try {
          // A session that waits for a lock does not notice that we have gone.
          await held.query(`begin read only; set local lock_timeout = '${tableLockTimeout}'`);
          const found = await inspectEach(migrations, held);
          broken = null;
          const plan = planWait(settings, found);
          if (plan.kind === "fail") throw plan.failure;
          if (plan.kind === "go") {
            logArrival(context, { address, found }, plan.warnings);
            return true;
          }
          pending = plan.waiting;
          return null;
        } catch (error) {
          if (!mayPass(error) || clock.remainingMs() <= reconnectMs) throw error;
          broken = error;
          const { message } = error as Error;
          log.warn({ event: "connection-lost", reason: message }, `Connecting again: ${message}`);
          await rest();
          return null;
        }
      },
      async report() {
        if (pending === null || held === null) return false;
        const found = await findHolder(held);
        log.info(
          {
            event: "waiting",
            ...detailsOf(pending),
            ...found.details,
            waitedMs: Math.round(clock.elapsedMs()),
          },
          `Waiting for ${describeWaiting(pending)}; ${found.message}`,
        );
        return true;
      },
      rest,
      async expired() {
        if (held === null) throw broken;
        return notAtHead(context, pending, await findHolder(held));
      },
    });
  } catch (error) {
    throw explainDatabaseError(error);
  } finally {
    if (!signals.stop.aborted) await rest();
  }
}

/** What --dry-run prints. */
async function foretell(
  context: WaitContext,
  migrations: readonly Migration[],
  address: DatabaseAddress,
  connection: Connection,
): Promise<string> {
  const { settings } = context;
  const inspected = await inspectEach(migrations, connection);
  const plan = planWait(settings, inspected);
  const failure = plan.kind === "fail" ? plan.failure : null;
  const targets = plan.kind === "wait" ? plan.waiting.map(describeTarget) : [];
  const what =
    targets.length > 0
      ? `up to ${settings.waitTimeoutMs / 1000} s for ${targets.join(", ")}`
      : "for nothing";
  return describePlan(settings.app?.words ?? null, { address, inspected, failure }, [
    `wait       would wait ${what}`,
  ]);
}

/** A history for whose migration it waits. */
interface Waiting extends Inspected {
  readonly state: PendingState;
}

type WaitPlan =
  | { readonly kind: "go"; readonly warnings: readonly string[] }
  | { readonly kind: "wait"; readonly waiting: readonly Waiting[] }
  | { readonly kind: "fail"; readonly failure: Failure };

/** What the states mean together: one that no waiting changes ends the wait. */
function planWait(settings: WaitSettings, inspected: readonly Inspected[]): WaitPlan {
  const warnings: string[] = [];
  const waiting: Waiting[] = [];
  for (const one of inspected) {
    const plan = decideWait(settings, one.state, one.history);
    if (plan.kind === "fail") {
      return { kind: "fail", failure: nameFailure(one.name, plan.failure) };
    }
    if (plan.kind === "wait") waiting.push({ ...one, state: plan.state });
    else if (plan.warning !== null) warnings.push(titled(one.name, plan.warning));
  }
  return waiting.length > 0 ? { kind: "wait", waiting } : { kind: "go", warnings };
}

function logArrival(
  { log }: WaitContext,
  { address, found }: { readonly address: DatabaseAddress; readonly found: readonly Inspected[] },
  warnings: readonly string[],
): void {
  const database = describeAddress(address);
  const warned = found.find(({ state }) => state.state !== "current");
  const event = (warned ?? found[0])?.state.state ?? "current";
  const details = { event, ...detailsOf(found), database };
  for (const warning of warnings) log.warn(details, warning);
  if (warned !== undefined) return;
  const targets = found.length > mostNamed ? describeHeads(found) : found.map(describeTarget);
  log.info(details, `The database has reached ${[targets].flat().join(", ")} (${database})`);
}

function notAtHead(
  { settings }: WaitContext,
  waiting: readonly Waiting[] | null,
  found: HolderActivity,
): Failure {
  const { waitTimeoutMs } = settings;
  const [first] = waiting ?? [];
  if (waiting === null || first === undefined) {
    throw new Error("the database has not been looked at");
  }
  const after = waitTimeoutMs === 0 ? "" : ` after ${waitTimeoutMs / 1000} s`;
  return new Failure(
    "pending",
    `the database is not at ${describeTarget(first)}${after}: it is ${describePending(first.state)}${describeOthers(waiting)}; ${found.message}`,
    {
      hint: "check whether the migration was started and how it ended, or raise --wait-timeout",
      details: { ...detailsOf(waiting), ...found.details },
    },
  );
}

/** `the migration to head c3: the database is at a1; pending: b2, c3` */
function describeWaiting(waiting: readonly Waiting[]): string {
  const [first] = waiting;
  if (first === undefined) return "nothing";
  return `the migration to ${describeTarget(first)}: the database is ${describePending(first.state)}${describeOthers(waiting)}`;
}

function describeOthers(waiting: readonly Waiting[]): string {
  const others = waiting.length - 1;
  if (others === 0) return "";
  return `, and ${others} more ${others === 1 ? "history is" : "histories are"} pending`;
}

/** `head c3`, or the revision that the migration command names; with the name of one of several histories. */
function describeTarget({ name, history, state }: Inspected): string {
  const { goal } = history.command;
  const heads = "heads" in state ? state.heads.join(", ") : "";
  const target = goal === null ? `head ${heads}` : `revision ${goal}`;
  return name === null ? target : `${target} of ${name}`;
}

function startClock(limitMs: number): Clock {
  const startMs = performance.now();
  const elapsedMs = () => performance.now() - startMs;
  return { elapsedMs, remainingMs: () => Math.max(Math.round(limitMs - elapsedMs()), 0) };
}

/** How long one query may take, in milliseconds. */
function patienceMs({ waitTimeoutMs }: WaitSettings, clock: Clock): number {
  const leftMs = waitTimeoutMs === 0 ? lookTimeoutMs : Math.max(clock.remainingMs(), lastLookMs);
  return Math.min(leftMs, lookTimeoutMs);
}

/** Whether another look may do better: the connection is broken, or the version table locked. */
function mayPass(error: unknown): boolean {
  return !(error instanceof Stopped) && (classify(error) === "passing" || isOutOfTime(error));
}
