// One batch: find where it ends, update its rows and save the checkpoint, in one statement and so in one transaction,
// which holds row locks for as long as it runs. It tells transient errors, which are retried, from others.

import { isRefusal } from "../postgres/errors.ts";
import type { Connection } from "../postgres/connection.ts";
import { writeWithCheckpoint, type Position } from "./checkpoint.ts";
import {
  countRange,
  nextPages,
  selectBound,
  selectFullBound,
  updateRange,
  type Assignment,
  type Bound,
  type Leaf,
  type Range,
} from "./cursor.ts";
import type { Job } from "./job.ts";

/** The range of about `size` rows after `after`, whatever the condition says of them. */
export async function findRange(
  connection: Connection,
  leaf: Leaf,
  after: Bound | null,
  size: number,
): Promise<Range> {
  if (leaf.key === null) return nextPages(leaf, after, size);
  const { rows } = await connection.query<{ bound: string[] }>(
    selectBound(leaf, leaf.key, after, size),
  );
  return { after, upTo: rows[0]?.bound ?? null };
}

/** The beginning of the range in which the condition holds for `size` rows; null where it holds for fewer in all of it. */
export async function findFullRange(
  connection: Connection,
  leaf: Leaf,
  assignment: Assignment,
  range: Range,
  size: number,
): Promise<Range | null> {
  const { rows } = await connection.query<{ bound: string[] }>(
    selectFullBound(leaf, assignment, range, size),
  );
  const bound = rows[0]?.bound;
  return bound === undefined ? null : { ...range, upTo: bound };
}

export interface BatchResult {
  readonly updated: number;
  /** Of those: the rows for which the condition still holds. */
  readonly again: number;
  /** Rows that another session had locked. */
  readonly skipped: number;
}

/** Updates the rows of a range; `position` is that of the job afterwards. */
export async function runBatch(
  connection: Connection,
  on: { job: Job; leaf: Leaf; assignment: Assignment; range: Range; position: Position },
  skipLocked: boolean,
): Promise<BatchResult> {
  const { job, leaf, assignment, range, position } = on;
  const { rows } = await connection.query<{
    updated: number;
    again: number;
    matching: number | null;
  }>(
    writeWithCheckpoint(
      job,
      updateRange(leaf, assignment, range, skipLocked),
      position,
      skipLocked ? countRange(leaf, assignment, range) : null,
    ),
  );
  const [row] = rows;
  if (row === undefined) throw new CheckpointGone();
  const { updated, again, matching } = row;
  return { updated, again, skipped: Math.max((matching ?? updated) - updated, 0) };
}

/** Somebody deleted the job's checkpoint. */
export class CheckpointGone extends Error {
  override readonly name = "CheckpointGone";
}

/** The SQLSTATEs that are retried, with fewer rows, and why. */
const transientStates: ReadonlyMap<string, Obstacle> = new Map([
  ["55P03", "locked"], // lock_not_available: our lock_timeout
  ["40P01", "conflict"], // deadlock_detected
  ["40001", "conflict"], // serialization_failure
  ["57014", "slow"], // query_canceled: our statement_timeout, or somebody's pg_cancel_backend
  ["42P01", "renamed"], // undefined_table: it has another name now
]);

export type Obstacle = "locked" | "conflict" | "slow" | "renamed";

/** Why a batch was rolled back; null where a retry cannot help. */
export function findObstacle(error: unknown): Obstacle | null {
  return isRefusal(error) ? (transientStates.get(error.code ?? "") ?? null) : null;
}
