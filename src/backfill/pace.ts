// How many rows the next batch takes, and whether there is one now. Pure: what was measured goes in, what to do comes
// out.

/** Rows of a batch. */
export const firstSize = 1_000;
export const smallestSize = 100;
export const largestSize = 50_000;

/** The size after a batch that took `tookMs`: towards what takes `targetMs`, a fifth more or half as much at most. */
export function nextSize(size: number, tookMs: number, targetMs: number): number {
  const factor = Math.min(Math.max(targetMs / Math.max(tookMs, 1), 0.5), 1.2);
  return clampSize(size * factor);
}

/** The size after a batch that had to be rolled back. */
export function halveSize(size: number): number {
  return clampSize(size / 2);
}

function clampSize(size: number): number {
  return Math.round(Math.min(Math.max(size, smallestSize), largestSize));
}

/** What may hold a batch back: a replica's lag in milliseconds, or the WAL that somebody retains, in bytes. */
export interface Burden {
  /** `replica standby1`, `slot backup` */
  readonly name: string;
  readonly value: number;
  readonly limit: number;
  readonly unit: "ms" | "bytes";
}

/** Of the limit: once paused, it goes on below that, or it would stop again after a batch. */
const relief = 0.5;

/** Those that hold the next batch back: above the limit, or, while it is `paused`, not yet far enough below. */
export function tooMuch(burdens: readonly Burden[], paused: boolean): Burden[] {
  return burdens.filter(({ value, limit }) => value > limit * (paused ? relief : 1));
}

/** `replica standby1 is 7.2 s behind (limit 5 s)` */
export function describeBurden({ name, value, limit, unit }: Burden): string {
  if (unit === "ms") {
    return `${name} is ${(value / 1000).toFixed(1)} s behind (limit ${limit / 1000} s)`;
  }
  const megabytes = (bytes: number) => Math.round(bytes / 2 ** 20);
  return `${name} holds back ${megabytes(value)} MB of WAL (limit ${megabytes(limit)} MB)`;
}

/** The pause before the same rows are tried again, and before the next sweep; jitter comes on top. */
export function backoffMs(attempt: number): number {
  return Math.min(50 * 2 ** attempt, 5_000);
}
