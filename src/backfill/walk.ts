// The walk through the table, batch by batch, until no row is left: what is retried and how, which sessions and replicas
// it waits for, and when it gives up.

import { setTimeout as sleep } from "node:timers/promises";
import { isRefusal } from "../postgres/errors.ts";
import type { Connection } from "../postgres/connection.ts";
import { describeSession, sessionColumns, type Session } from "../postgres/sessions.ts";
import { Failure } from "../failure.ts";
import type { Signals } from "../context.ts";
import {
  CheckpointGone,
  findFullRange,
  findObstacle,
  findRange,
  runBatch,
  type BatchResult,
  type Obstacle,
} from "./batch.ts";
import { abandonStatement, type Position } from "./checkpoint.ts";
import { describeRange, selectLeft, type Bound, type Leaf, type Range } from "./cursor.ts";
import type { Expressions } from "./expressions.ts";
import type { BackfillOptions } from "../settings/settings.ts";
import type { Job } from "./job.ts";
import {
  backoffMs,
  describeBurden,
  halveSize,
  nextPace,
  smallestSize,
  tooMuch,
  type Burden,
  type Pace,
} from "./pace.ts";
import { listLeaves, type Plan } from "./plan.ts";
import { formatCount } from "../log/words.ts";
import type { ProgressReport } from "./progress.ts";
import type { BackfillSession } from "./session.ts";
import { jitter, reportEveryMs, unlessAborted } from "../patience.ts";

/** How often the lag of a replica is queried during a pause. */
const pausePollMs = 500;
/** A lock is reported after so many retries. */
const quietRetries = 3;
/** Sweeps that still find rows before it gives up. */
const mostSweeps = 10;
/** Retries of the smallest batch where no lock is the reason. */
const mostRetries = 10;

/** All that a running job needs. */
export interface RunningJob extends Pick<BackfillSession, "configure" | "requireLock"> {
  readonly signals: Signals;
  /** Whether the log has lines of the level `debug`. */
  readonly debugging: boolean;
  /** Ends a query at a second signal, and where the server does not answer. */
  readonly connection: Connection;
  readonly job: Job;
  readonly plan: Plan;
  readonly expressions: Expressions;
  readonly options: BackfillOptions;
  readonly progress: ProgressReport;
  /** Rows updated so far, in all runs. */
  rows: number;
  readonly expected: number;
  /** About how many rows have been read in this round, in all runs. */
  read: number;
  /** 0 for the first pass over the table, then the number of the sweep. */
  round: number;
  /** Of the next batch. */
  pace: Pace;
  /** Queries what may delay the next batch. */
  readonly weigh: () => Promise<readonly Burden[]>;
  burdens: readonly Burden[];
  /** When locked rows were last reported. */
  reportedMs: number;
  readonly statementTimeoutMs: number;
}

/**
 * One pass over the table, then sweeps until no row is left: rows move, are locked, or are inserted meanwhile.
 * Throws Failure "backfill-failed" where that cannot help, and Stopped between two batches.
 */
export async function walkUntilNoneIsLeft(running: RunningJob, from: Position): Promise<void> {
  const { signals } = running;
  let position = from;
  /** Sweeps one after the other that have changed nothing, although rows were left. */
  let idleSweeps = 0;
  for (let sweeps = 0; ; sweeps++) {
    const { updated, again, skipped } = await walk(running, position);
    const left = await countLeft(running, again > 0);
    if (position.round === 0 && again > 0 && left > 0) {
      running.progress.log((log) =>
        log.warn(
          { event: "unfilled", rows: left },
          `${formatCount(left)} rows still fulfil --where after the first pass`,
        ),
      );
    }
    if (left === 0) return;
    if (position.round > 0 && skipped === 0) {
      if (updated > 0 && updated === again) throw neverEnding(running, left);
      // What is inserted behind a sweep is updated by the next one.
      idleSweeps = updated === 0 ? idleSweeps + 1 : 0;
      if (idleSweeps > 1) throw suppressed(running);
      if (sweeps >= mostSweeps) throw tooManySweeps(running, updated);
    }
    if (sweeps > 0) await unlessAborted(signals.stop, sleep(jitter(backoffMs(sweeps))));
    position = { round: position.round + 1, leaf: null, after: null };
    running.read = 0;
    running.round = position.round;
  }
}

/**
 * For how many rows the condition holds, by one statement: no row can escape its snapshot. It blocks nobody.
 * @param all false: 1 stands for any number.
 */
async function countLeft(running: RunningJob, all: boolean): Promise<number> {
  const { connection, configure, signals, plan, statementTimeoutMs } = running;
  for (let attempt = 0; ; attempt++) {
    const leaves = await findLeaves(running);
    // It reads the whole table where no index helps.
    await configure({ statement_timeout: "0", enable_seqscan: "on" });
    try {
      const { rows } = await connection
        .within({ stop: signals.stop, limitMs: () => Infinity })
        .query<{ left: number }>(selectLeft(leaves, plan.assignment, all));
      return rows[0]?.left ?? 0;
    } catch (error) {
      const obstacle = connection.lost.aborted ? null : findObstacle(error);
      if (obstacle === null) throw error;
      await reportObstacle(running, plan.target, obstacle, attempt);
    } finally {
      if (!signals.stop.aborted && !connection.lost.aborted) {
        await configure({
          statement_timeout: String(statementTimeoutMs),
          enable_seqscan: "off",
        });
      }
    }
    await unlessAborted(signals.stop, sleep(jitter(backoffMs(attempt))));
  }
}

/** From the position to the end of the last table. */
async function walk(running: RunningJob, position: Position): Promise<BatchResult> {
  const { plan } = running;
  const sum = { updated: 0, again: 0, skipped: 0 };
  const leaves = await findLeaves(running);
  if (leaves.length === 0 && plan.leaves.length > 0) {
    throw new Failure("backfill-failed", `the table ${plan.target.name} was dropped`, {
      hint: `abandon the backfill: ${abandonStatement(running.job)}`,
    });
  }
  for (const found of leaves.filter(({ oid }) => oid >= (position.leaf ?? 0))) {
    // A sweep finds few rows, and pages are read fastest.
    let leaf = position.round > 0 && plan.ctidRanges ? { ...found, key: null } : found;
    let after = leaf.oid === position.leaf ? position.after : null;
    for (let last = false; !last;) {
      const batch = await takeBatch(running, leaf, after, position.round);
      sum.updated += batch.result.updated;
      sum.again += batch.result.again;
      sum.skipped += batch.result.skipped;
      ({ leaf, last } = batch);
      after = batch.range.upTo;
    }
  }
  return sum;
}

/** The tables that hold rows now. */
async function findLeaves(running: RunningJob): Promise<Leaf[]> {
  const { connection, plan, expressions } = running;
  return queryPatiently(running, () => listLeaves(connection, plan, expressions.columns));
}

/** Retries a query of the catalog: an exclusive lock on the table blocks it too, and a busy server delays it. */
async function queryPatiently<T>(running: RunningJob, query: () => Promise<T>): Promise<T> {
  const { signals, connection, plan } = running;
  for (let attempt = 0; ; attempt++) {
    signals.stop.throwIfAborted();
    try {
      return await query();
    } catch (error) {
      const obstacle = connection.lost.aborted ? null : findObstacle(error);
      if (obstacle === null) throw error;
      await reportObstacle(running, plan.target, obstacle, attempt);
      await unlessAborted(signals.stop, sleep(jitter(backoffMs(attempt))));
    }
  }
}

/** One batch, retried until it is done: with half as many rows each time, in the end without those that are locked. */
async function takeBatch(
  running: RunningJob,
  given: Leaf,
  after: Bound | null,
  round: number,
): Promise<{ leaf: Leaf; range: Range; result: BatchResult; last: boolean }> {
  const { signals, connection, options, job, plan } = running;
  let leaf = given;
  let range: Range = { after, upTo: null };
  let skipLocked = false;
  let retries = 0;
  for (let attempt = 0; ; attempt++) {
    await waitForOthers(running);
    try {
      const { size, reach } = running.pace;
      range = await findRange(connection, leaf, after, reach);
      const full =
        reach > size ? await findFullRange(connection, leaf, plan.assignment, range, size) : null;
      range = full ?? range;
      const last = isLast(leaf, range);
      const read = running.read + estimateRead(running, leaf, range, full !== null);
      const position = { round, leaf: leaf.oid, after: range.upTo, read };
      const on = { job, leaf, assignment: plan.assignment, range, position };
      const startMs = performance.now();
      const result = await runBatch(connection, on, skipLocked);
      running.rows += result.updated;
      running.read = read;
      const tookMs = performance.now() - startMs;
      debug(
        running,
        { event: "batch", rows: result.updated, size, reach, ms: Math.round(tookMs) },
        `Updated ${result.updated} rows ${describeRange(leaf, range)}`,
      );
      if (!skipLocked) {
        const batch = { updated: result.updated, full: full !== null, tookMs };
        running.pace = nextPace(running.pace, batch, options.batchTimeMs);
      }
      report(running, []);
      return { leaf, range, result, last };
    } catch (error) {
      const obstacle = connection.lost.aborted ? null : findObstacle(error);
      if (obstacle === null) throw explainBatch(running, leaf, range, error);
      await reportObstacle(running, leaf, obstacle, attempt);
      if (obstacle === "renamed") {
        const found = await findAgain(running, leaf);
        // Another table is missing.
        if (found.name === leaf.name) throw explainBatch(running, leaf, range, error);
        leaf = found;
      } else if (running.pace.size === smallestSize) {
        skipLocked = obstacle === "locked";
        if (!skipLocked && ++retries >= mostRetries)
          throw explainBatch(running, leaf, range, error);
      } else {
        const size = halveSize(running.pace.size);
        running.pace = { size, reach: size };
      }
      await unlessAborted(signals.stop, sleep(jitter(backoffMs(attempt))));
    }
  }
}

/** About how many rows a batch reads. */
function estimateRead(
  { plan, expected, pace: { size, reach } }: RunningJob,
  leaf: Leaf,
  { after, upTo }: Range,
  full: boolean,
): number {
  if (leaf.key === null)
    return Math.round((Number(upTo?.[0] ?? 0) - Number(after?.[0] ?? 0)) * leaf.rowsPerPage);
  return full ? Math.min(Math.round((size * plan.rowsRead) / Math.max(expected, 1)), reach) : reach;
}

/** The number of the last page is known; behind the last key nothing follows. */
function isLast(leaf: Leaf, { upTo }: Range): boolean {
  return leaf.key === null ? Number(upTo?.[0] ?? 0) >= leaf.pages : upTo === null;
}

/** Resolves once no burden is too heavy; the log has the reason. Throws Stopped. */
async function waitForOthers(running: RunningJob): Promise<void> {
  const { signals, progress } = running;
  for (let paused = false; ;) {
    signals.stop.throwIfAborted();
    running.requireLock();
    running.burdens = await queryPatiently(running, running.weigh);
    const heavy = tooMuch(running.burdens, paused);
    if (heavy.length > 0 && !paused) {
      progress.log((log) =>
        log.warn(
          { event: "paused", burdens: heavy },
          `Paused: ${heavy.map(describeBurden).join("; ")}`,
        ),
      );
    }
    if (heavy.length === 0) {
      if (paused) progress.log((log) => log.info({ event: "continued" }, "Continuing"));
      return;
    }
    paused = true;
    report(running, heavy);
    await unlessAborted(signals.stop, sleep(jitter(pausePollMs)));
  }
}

function report(
  { progress, plan, rows, expected, read, round, pace, burdens }: RunningJob,
  paused: readonly Burden[],
): void {
  const lags = burdens.filter(({ unit }) => unit === "ms").map(({ value }) => value);
  const lagMs = lags.length === 0 ? null : Math.max(...lags);
  const reading = round > 0 ? null : { read, toRead: plan.rowsRead };
  progress.update({ rows, expected, reading, size: pace.size, lagMs, paused });
}

/** The table under its present name. */
async function findAgain(running: RunningJob, leaf: Leaf): Promise<Leaf> {
  const leaves = await findLeaves(running);
  const found = leaves.find(({ oid }) => oid === leaf.oid);
  if (found === undefined) {
    throw new Failure("backfill-failed", `the table ${leaf.name} was dropped`, {
      hint: "run the same command again: it continues with the rest of the table",
    });
  }
  if (found.name !== leaf.name) {
    running.progress.log((log) =>
      log.warn(
        { event: "renamed", from: leaf.name, to: found.name },
        `${leaf.name} was renamed: continuing with ${found.name}`,
      ),
    );
  }
  return { ...leaf, name: found.name };
}

/** Logs each retry at the level `debug`; where a lock lasts, the sessions that hold it, every 15 s. */
async function reportObstacle(
  running: RunningJob,
  table: { readonly oid: number; readonly name: string },
  obstacle: Obstacle,
  attempt: number,
): Promise<void> {
  const { connection, progress, pace } = running;
  debug(running, { event: "retry", obstacle, size: pace.size }, `Retrying: ${obstacle}`);
  const nowMs = performance.now();
  if (obstacle !== "locked" || attempt < quietRetries) return;
  if (nowMs - running.reportedMs < reportEveryMs) return;
  running.reportedMs = nowMs;
  const { rows } = await connection.query<Session>(`
      select ${sessionColumns} from pg_stat_activity a
      where a.pid <> pg_backend_pid() and a.pid in (
        select l.pid from pg_locks l
        where l.relation = ${table.oid} and l.granted and l.mode <> 'AccessShareLock')
      order by a.xact_start limit 3`);
  const names = rows.map(describeSession).join("; ") || "no session any more";
  progress.log((log) =>
    log.warn(
      { event: "blocked", blockers: rows },
      `Waiting for locked rows of ${table.name}: blocked by ${names}`,
    ),
  );
}

/** Redraws the bar only where the line is written. */
function debug(
  { debugging, progress }: RunningJob,
  details: { readonly event: string; readonly [name: string]: unknown },
  message: string,
): void {
  if (!debugging) return;
  progress.log((log) => log.debug(details, message));
}

function neverEnding({ job }: RunningJob, rows: number): Failure {
  return new Failure(
    "backfill-failed",
    `the backfill ${job.name} cannot end: ${formatCount(rows)} rows fulfil --where however often they are updated`,
    {
      hint: "the expression is NULL for them: wrap it in coalesce(…, …), or exclude them in --where",
    },
  );
}

function suppressed({ job, plan }: RunningJob): Failure {
  const triggers = plan.triggers.length === 0 ? "" : ` (${plan.triggers.join(", ")})`;
  return new Failure(
    "backfill-failed",
    `the backfill ${job.name} cannot end: rows fulfil --where, and the server updates none of them`,
    {
      hint: `a BEFORE UPDATE trigger${triggers} that returns NULL, or a rule, suppresses the update: disable it for this role, or exclude those rows in --where`,
    },
  );
}

function tooManySweeps({ job }: RunningJob, rows: number): Failure {
  return new Failure(
    "backfill-failed",
    `the backfill ${job.name} cannot end: after ${mostSweeps} sweeps there are still ${formatCount(rows)} new rows`,
    {
      hint: "let the new version of the application, a default or a trigger fill the column, then run the same command again",
    },
  );
}

/** Why a batch failed for good. */
function explainBatch(
  { job, rows }: RunningJob,
  leaf: Leaf,
  range: Range,
  error: unknown,
): unknown {
  if (error instanceof CheckpointGone) {
    return new Failure(
      "backfill-failed",
      `the checkpoint of the backfill ${job.name} was deleted`,
      {
        hint: "somebody abandoned the backfill; run the command again to start from the beginning",
      },
    );
  }
  // A broken connection is no error of the batch.
  if (!isRefusal(error)) return error;
  const state = error.code ?? "";
  const hint = /^(22|23)/.test(state)
    ? "correct that row, or the expression (another --set or --where is another backfill: give it a --name)"
    : state === "42703"
      ? "a column was dropped or renamed since the backfill began"
      : state === "57014"
        ? "raise --batch-time"
        : "correct the cause, then run the same command again: it continues from there";
  return new Failure(
    "backfill-failed",
    `the backfill ${job.name} failed after ${formatCount(rows)} rows, in ${leaf.name} ${describeRange(leaf, range)}: ${error.message}`,
    { hint, cause: error, details: { sqlState: state, rows } },
  );
}
