// The way through the table, batch by batch, until no row is left: what is tried again and how, who is waited for, and
// when it comes to no end.

import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { describeSession, sessionColumns, type Session } from "../database/blockers.ts";
import { configureSession, jitter, type Connection } from "../database/connect.ts";
import { Failure } from "../exit-codes.ts";
import type { Context } from "../migrations/migrate.ts";
import { unlessStopped } from "../process/signals.ts";
import {
  CheckpointGone,
  findObstacle,
  findRange,
  runBatch,
  type BatchResult,
  type Obstacle,
} from "./batch.ts";
import type { Position } from "./checkpoint.ts";
import { describePlace, selectLeft, type Leaf, type Place, type Range } from "./cursor.ts";
import type { Expressions } from "./expressions.ts";
import type { BackfillOptions, Job } from "./job.ts";
import {
  backoffMs,
  describeBurden,
  halveSize,
  nextSize,
  smallestSize,
  tooMuch,
  type Burden,
} from "./pace.ts";
import { listLeaves, type Plan } from "./plan.ts";
import { formatCount, type ProgressReport } from "./progress.ts";

/** How often a replica is asked whether it has caught up. */
const pausePollMs = 500;
const reportEveryMs = 15_000;
/** What is locked for that many tries is worth a line. */
const passingTries = 3;
/** Sweeps that still find rows before it is said that they come faster than they are filled. */
const mostSweeps = 10;
/** Tries of the smallest batch where nobody's lock is in the way. */
const mostTries = 10;

/** All that a running job has at hand. */
export interface Work {
  readonly context: Context;
  readonly connection: Connection;
  readonly job: Job;
  readonly plan: Plan;
  readonly expressions: Expressions;
  readonly options: BackfillOptions;
  readonly progress: ProgressReport;
  /** Rows updated so far, in all runs. */
  rows: number;
  readonly expected: number;
  /** Of the next batch. */
  size: number;
  readonly weigh: () => Promise<readonly Burden[]>;
  burdens: readonly Burden[];
  /** When it was last said who has locked rows. */
  reportedMs: number;
  readonly statementTimeoutMs: number;
  /** Resolves as the promise does; Failure where the server is silent, Stopped at a second signal. */
  readonly answered: <T>(question: Promise<T>) => Promise<T>;
}

/**
 * Once through the table, then sweeps until no row is left: rows move, and others are locked or come anew.
 * Throws Failure "migration-failed" where that is no use, and Stopped between two batches.
 */
export async function walkUntilNoneIsLeft(work: Work, from: Position): Promise<void> {
  const { signals } = work.context;
  let position = from;
  for (let sweeps = 0; ; sweeps++) {
    const { updated, again, skipped } = await walk(work, position);
    if (position.round === 0 && again > 0) {
      work.progress.say((log) =>
        log.warn(
          { event: "unfilled", rows: again },
          `${formatCount(again)} rows fulfil --where still after they have been updated`,
        ),
      );
    }
    if (!(await isAnyLeft(work))) return;
    if (position.round > 0 && skipped === 0) {
      if (updated > 0 && updated === again) throw neverEnding(work, again);
      if (sweeps >= mostSweeps) throw tooManySweeps(work, updated);
    }
    if (sweeps > 0) await unlessStopped(signals.stop, sleep(jitter(backoffMs(sweeps))));
    position = { round: position.round + 1, leaf: null, after: null };
  }
}

/** Whether the condition holds for any row, told by one statement, from which no row can run away. It takes no lock that matters. */
async function isAnyLeft(work: Work): Promise<boolean> {
  const { connection, context, plan, statementTimeoutMs } = work;
  const { client } = connection;
  for (let attempt = 0; ; attempt++) {
    const leaves = await findLeaves(work);
    // It reads the whole table where no index helps.
    await configureSession(client, { statement_timeout: "0", enable_seqscan: "on" });
    try {
      const { rows } = await unlessStopped(
        context.signals.stop,
        client.query<{ left: boolean }>(selectLeft(leaves, plan.assignment)),
      );
      return rows[0]?.left ?? false;
    } catch (error) {
      const obstacle = connection.lost.aborted ? null : findObstacle(error);
      if (obstacle === null) throw error;
      await sayWhatStops(work, plan.target, obstacle, attempt);
    } finally {
      if (!context.signals.stop.aborted && !connection.lost.aborted) {
        await configureSession(client, {
          statement_timeout: String(statementTimeoutMs),
          enable_seqscan: "off",
        });
      }
    }
    await unlessStopped(context.signals.stop, sleep(jitter(backoffMs(attempt))));
  }
}

/** From the position to the end of the last table. */
async function walk(work: Work, position: Position): Promise<BatchResult> {
  const { plan } = work;
  const sum = { updated: 0, again: 0, skipped: 0 };
  const leaves = await findLeaves(work);
  if (leaves.length === 0 && plan.leaves.length > 0) {
    throw new Failure("migration-failed", `the table ${plan.target.name} has been dropped`, {
      hint: `give the backfill up: delete from entrypoint.backfill where name = ${pg.escapeLiteral(work.job.name)}`,
    });
  }
  for (const found of leaves.filter(({ oid }) => oid >= (position.leaf ?? 0))) {
    // There is little to find in a sweep, and pages are read fastest.
    let leaf = position.round > 0 && plan.ctidRanges ? { ...found, key: null } : found;
    let after = leaf.oid === position.leaf ? position.after : null;
    for (let last = false; !last;) {
      const batch = await takeBatch(work, leaf, after, position.round);
      sum.updated += batch.result.updated;
      sum.again += batch.result.again;
      sum.skipped += batch.result.skipped;
      ({ leaf, last } = batch);
      after = batch.range.upTo;
    }
  }
  return sum;
}

/** The tables that hold rows at this moment. */
async function findLeaves(work: Work): Promise<Leaf[]> {
  const { connection, plan, expressions } = work;
  return askPatiently(work, () => listLeaves(connection, plan, expressions.columns));
}

/** The catalog's answer has to wait as well where somebody has the table for himself, or the server is busy. */
async function askPatiently<T>(work: Work, question: () => Promise<T>): Promise<T> {
  const { context, connection, plan } = work;
  for (let attempt = 0; ; attempt++) {
    context.signals.stop.throwIfAborted();
    try {
      return await work.answered(question());
    } catch (error) {
      const obstacle = connection.lost.aborted ? null : findObstacle(error);
      if (obstacle === null) throw error;
      await sayWhatStops(work, plan.target, obstacle, attempt);
      await unlessStopped(context.signals.stop, sleep(jitter(backoffMs(attempt))));
    }
  }
}

/** One batch, tried until it is done: with half as many rows each time, in the end without those that are locked. */
async function takeBatch(
  work: Work,
  given: Leaf,
  after: Place | null,
  round: number,
): Promise<{ leaf: Leaf; range: Range; result: BatchResult; last: boolean }> {
  const { context, connection, options, job, plan } = work;
  const { client } = connection;
  let leaf = given;
  let range: Range = { after, upTo: null };
  let skipLocked = false;
  let tries = 0;
  for (let attempt = 0; ; attempt++) {
    await waitForOthers(work);
    try {
      range = await work.answered(findRange(client, leaf, after, work.size));
      const last = isLast(leaf, range);
      const position = { round, leaf: leaf.oid, after: range.upTo };
      const on = { job, leaf, assignment: plan.assignment, range, position };
      const startMs = performance.now();
      const result = await work.answered(runBatch(client, on, skipLocked));
      work.rows += result.updated;
      const tookMs = performance.now() - startMs;
      debug(
        work,
        { event: "batch", rows: result.updated, size: work.size, ms: Math.round(tookMs) },
        `Updated ${result.updated} rows ${describePlace(leaf, range)}`,
      );
      if (!skipLocked) work.size = nextSize(work.size, tookMs, options.batchTimeMs);
      report(work, []);
      return { leaf, range, result, last };
    } catch (error) {
      const obstacle = connection.lost.aborted ? null : findObstacle(error);
      if (obstacle === null) throw explainBatch(work, leaf, range, error);
      await sayWhatStops(work, leaf, obstacle, attempt);
      if (obstacle === "renamed") {
        const found = await findAgain(work, leaf);
        // It is another table that is missing.
        if (found.name === leaf.name) throw explainBatch(work, leaf, range, error);
        leaf = found;
      } else if (work.size === smallestSize) {
        skipLocked = obstacle === "locked";
        if (!skipLocked && ++tries >= mostTries) throw explainBatch(work, leaf, range, error);
      } else work.size = halveSize(work.size);
      await unlessStopped(context.signals.stop, sleep(jitter(backoffMs(attempt))));
    }
  }
}

/** Of a table's pages the last ones are known, of its keys that nothing follows. */
function isLast(leaf: Leaf, { upTo }: Range): boolean {
  return leaf.key === null ? Number(upTo?.[0] ?? 0) >= leaf.pages : upTo === null;
}

/** Resolves once nobody is too far behind; with the reason in the log. Throws Stopped. */
async function waitForOthers(work: Work): Promise<void> {
  const { context, progress } = work;
  const { signals } = context;
  for (let paused = false; ;) {
    signals.stop.throwIfAborted();
    work.burdens = await askPatiently(work, work.weigh);
    const heavy = tooMuch(work.burdens, paused);
    if (heavy.length > 0 && !paused) {
      progress.say((log) =>
        log.warn(
          { event: "paused", burdens: heavy },
          `Paused: ${heavy.map(describeBurden).join("; ")}`,
        ),
      );
    }
    if (heavy.length === 0) {
      if (paused) progress.say((log) => log.info({ event: "continued" }, "Going on"));
      return;
    }
    paused = true;
    report(work, heavy);
    await unlessStopped(signals.stop, sleep(jitter(pausePollMs)));
  }
}

function report(
  { progress, rows, expected, size, burdens }: Work,
  paused: readonly Burden[],
): void {
  const lags = burdens.filter(({ unit }) => unit === "ms").map(({ value }) => value);
  const lagMs = lags.length === 0 ? null : Math.max(...lags);
  progress.update({ rows, expected, size, lagMs, paused });
}

/** The table under its new name. */
async function findAgain(work: Work, leaf: Leaf): Promise<Leaf> {
  const leaves = await findLeaves(work);
  const found = leaves.find(({ oid }) => oid === leaf.oid);
  if (found === undefined) {
    throw new Failure("migration-failed", `the table ${leaf.name} has been dropped`, {
      hint: "run the same command again, for what is left of the table",
    });
  }
  if (found.name !== leaf.name) {
    work.progress.say((log) =>
      log.warn(
        { event: "renamed", from: leaf.name, to: found.name },
        `${leaf.name} is ${found.name} now: going on there`,
      ),
    );
  }
  return { ...leaf, name: found.name };
}

/** In the log at once for who debugs; and where it lasts, who it is that has locked something, every 15 s. */
async function sayWhatStops(
  work: Work,
  table: { readonly oid: number; readonly name: string },
  obstacle: Obstacle,
  attempt: number,
): Promise<void> {
  const { connection, progress, answered, size } = work;
  debug(work, { event: "retry", obstacle, size }, `Trying again: ${obstacle}`);
  const nowMs = performance.now();
  if (obstacle !== "locked" || attempt < passingTries) return;
  if (nowMs - work.reportedMs < reportEveryMs) return;
  work.reportedMs = nowMs;
  const { rows } = await answered(
    connection.client.query<Session>(`
      select ${sessionColumns} from pg_stat_activity a
      where a.pid <> pg_backend_pid() and a.pid in (
        select l.pid from pg_locks l
        where l.relation = ${table.oid} and l.granted and l.mode <> 'AccessShareLock')
      order by a.xact_start limit 3`),
  );
  const names = rows.map(describeSession).join("; ") || "nobody any more";
  progress.say((log) =>
    log.warn(
      { event: "blocked", blockers: rows },
      `Waiting for rows of ${table.name} that are locked: by ${names}`,
    ),
  );
}

/** The bar is moved out of the way only where somebody wants to know it that exactly. */
function debug(
  { context, progress }: Work,
  details: { readonly event: string; readonly [name: string]: unknown },
  message: string,
): void {
  if (!["debug", "trace"].includes(context.settings.logLevel)) return;
  progress.say((log) => log.debug(details, message));
}

function neverEnding({ job }: Work, rows: number): Failure {
  return new Failure(
    "migration-failed",
    `the backfill ${job.name} comes to no end: ${formatCount(rows)} rows fulfil --where however often they are updated`,
    {
      hint: "the expression gives NULL for them: wrap it in coalesce(…, …), or leave them out by --where",
    },
  );
}

function tooManySweeps({ job }: Work, rows: number): Failure {
  return new Failure(
    "migration-failed",
    `the backfill ${job.name} comes to no end: after ${mostSweeps} sweeps there were ${formatCount(rows)} new rows again`,
    {
      hint: "let the new version of the application, a default or a trigger fill the column, then run the same command again",
    },
  );
}

/** Why a batch failed for good. */
function explainBatch({ job, rows }: Work, leaf: Leaf, range: Range, error: unknown): unknown {
  if (error instanceof CheckpointGone) {
    return new Failure("migration-failed", `the checkpoint of the backfill ${job.name} is gone`, {
      hint: "somebody has given the backfill up; run the command again to start anew",
    });
  }
  // A connection that broke is no fault of the batch's.
  if (!(error instanceof pg.DatabaseError) || /^(57P|08)/.test(error.code ?? "")) return error;
  const state = error.code ?? "";
  const hint = /^(22|23)/.test(state)
    ? "mend that row, or the expression (another --set or --where is another backfill: give it a --name)"
    : state === "42703"
      ? "a column has been dropped or renamed since the backfill began"
      : state === "57014"
        ? "raise --batch-time"
        : "run the same command again once that is mended: it goes on from there";
  return new Failure(
    "migration-failed",
    `the backfill ${job.name} failed after ${formatCount(rows)} rows, in ${leaf.name} ${describePlace(leaf, range)}: ${error.message}`,
    { hint, cause: error, details: { sqlState: state, rows } },
  );
}
