// How many rows the next batch reads and updates, and whether it has to wait. Pure.

/** Rows of a batch. */
export const firstSize = 1_000;
export const smallestSize = 100;
export const largestSize = 50_000;
/** Rows that a batch reads at most, where the condition holds for few of them. */
export const largestReach = 1_000_000;

/** Of a batch: it ends behind so many rows that it updates, or behind so many that it reads. */
export interface Pace {
  /** How many rows it updates at most. */
  readonly size: number;
  /** How many it reads at most: as many as it updates, unless the last ones had few to update. */
  readonly reach: number;
}

/**
 * The pace after a batch that took `tookMs`. Where it found few rows to update, the next one reads up to twice as many and
 * updates no more than before.
 * @param full whether it ended behind as many rows as it may update, before it had read all that it may.
 */
export function nextPace(
  { size, reach }: Pace,
  {
    updated,
    full,
    tookMs,
  }: { readonly updated: number; readonly full: boolean; readonly tookMs: number },
  targetMs: number,
): Pace {
  const sparse = !full && updated < size / 2;
  const next =
    sparse && (tookMs <= targetMs || reach > size) ? size : nextSize(size, tookMs, targetMs);
  const factor = full ? 0.5 : sparse ? changeOf(tookMs, targetMs, 2) : next / size;
  return { size: next, reach: Math.round(Math.min(Math.max(reach * factor, next), largestReach)) };
}

/** The size after a batch that took `tookMs`: closer to what takes `targetMs`, at most a fifth more or half as much. */
export function nextSize(size: number, tookMs: number, targetMs: number): number {
  return clampSize(size * changeOf(tookMs, targetMs, 1.2));
}

function changeOf(tookMs: number, targetMs: number, most: number): number {
  return Math.min(Math.max(targetMs / Math.max(tookMs, 1), 0.5), most);
}

/** The size after a batch that was rolled back. */
export function halveSize(size: number): number {
  return clampSize(size / 2);
}

function clampSize(size: number): number {
  return Math.round(Math.min(Math.max(size, smallestSize), largestSize));
}

/** What may delay a batch: a replica's lag in milliseconds, or the WAL that a slot retains, in bytes. */
export interface Burden {
  /** `replica standby1`, `slot backup` */
  readonly name: string;
  readonly value: number;
  readonly limit: number;
  readonly unit: "ms" | "bytes";
}

/** Of the limit: a pause ends below that, or the next batch would cause another. */
const relief = 0.5;

/** Those that delay the next batch: above the limit or, while it is `paused`, not yet far enough below. */
export function tooMuch(burdens: readonly Burden[], paused: boolean): Burden[] {
  return burdens.filter(({ value, limit }) => value > limit * (paused ? relief : 1));
}

/** `replica standby1 is 7.2 s behind (limit 5 s)` */
export function describeBurden({ name, value, limit, unit }: Burden): string {
  if (unit === "ms") {
    return `${name} is ${(value / 1000).toFixed(1)} s behind (limit ${limit / 1000} s)`;
  }
  const megabytes = (bytes: number) => Math.round(bytes / 2 ** 20);
  return `${name} retains ${megabytes(value)} MB of WAL (limit ${megabytes(limit)} MB)`;
}

/** The pause before a retry, and before the next sweep, without jitter. */
export function backoffMs(attempt: number): number {
  return Math.min(50 * 2 ** attempt, 5_000);
}
