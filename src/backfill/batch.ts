// One batch: find where it ends, update its rows and write the checkpoint down, in one statement and so in one
// transaction, which holds row locks for as long as it runs. What passes by itself is told apart from what does not.

import pg from "pg";
import { writeWithCheckpoint, type Position } from "./checkpoint.ts";
import {
  countRange,
  nextPages,
  selectBound,
  updateRange,
  type Assignment,
  type Leaf,
  type Place,
  type Range,
} from "./cursor.ts";
import type { Job } from "./job.ts";

/** The range of about `size` rows after `after`. */
export async function findRange(
  client: pg.Client,
  leaf: Leaf,
  after: Place | null,
  size: number,
): Promise<Range> {
  if (leaf.key === null) return nextPages(leaf, after, size);
  const { rows } = await client.query<{ place: string[] }>(
    selectBound(leaf, leaf.key, after, size),
  );
  return { after, upTo: rows[0]?.place ?? null };
}

export interface BatchResult {
  readonly updated: number;
  /** Of those: the rows for which the condition holds still. */
  readonly again: number;
  /** Rows that somebody had locked. */
  readonly skipped: number;
}

/** Updates the rows of a range; `position` is where the job is afterwards. */
export async function runBatch(
  client: pg.Client,
  on: { job: Job; leaf: Leaf; assignment: Assignment; range: Range; position: Position },
  skipLocked: boolean,
): Promise<BatchResult> {
  const { job, leaf, assignment, range, position } = on;
  const { rows } = await client.query<{
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

/** Somebody has deleted the job's checkpoint. */
export class CheckpointGone extends Error {
  override readonly name = "CheckpointGone";
}

/** What is tried again, with fewer rows, and why. */
const passingStates: ReadonlyMap<string, Obstacle> = new Map([
  ["55P03", "locked"], // lock_not_available: our lock_timeout
  ["40P01", "conflict"], // deadlock_detected
  ["40001", "conflict"], // serialization_failure
  ["57014", "slow"], // query_canceled: our statement_timeout, or somebody's pg_cancel_backend
  ["42P01", "renamed"], // undefined_table: the name is another one now
]);

export type Obstacle = "locked" | "conflict" | "slow" | "renamed";

/** Why a batch has been rolled back; null for what no other try can help. */
export function findObstacle(error: unknown): Obstacle | null {
  return error instanceof pg.DatabaseError ? (passingStates.get(error.code ?? "") ?? null) : null;
}
