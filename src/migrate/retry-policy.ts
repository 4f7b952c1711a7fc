// The migration command in a loop, for --ddl-lock-timeout: while a statement waits for a table's lock, all that come after
// it wait too, so it gives up soon, lets them pass, and tries again. This file holds the policy alone: how long a try may
// wait, how long to pause, when to give up, and what a lock time-out looks like.

/** The first attempts hurt no one. Then it is the user's time, long enough for an autovacuum to give way. */
const firstLockTimeoutsMs = [500, 500, 1_000];
const firstPauseMs = 1_000;
const longestPauseMs = 30_000;

/** How long a statement of the nth try may wait for a lock, in milliseconds; the first one is 1. */
export function lockTimeoutOf(attempt: number, longestMs: number): number {
  return firstLockTimeoutsMs[attempt - 1] ?? longestMs;
}

/**
 * How long to pause after the nth try, in milliseconds, or null where the limit would be passed by then.
 * @param triedForMs since the first attempt failed that made no progress.
 * @param limitMs on that; 0 is a single try.
 */
export function pauseAfter(
  attempt: number,
  { triedForMs, limitMs }: { triedForMs: number; limitMs: number },
  jitter: (delayMs: number) => number,
): number | null {
  const pauseMs = jitter(Math.min(firstPauseMs * 2 ** (attempt - 1), longestPauseMs));
  return triedForMs + pauseMs > limitMs ? null : pauseMs;
}

/**
 * The class of psycopg, psycopg2 and asyncpg; the SQLSTATE as pg8000 and psql print it; the server's message in English. The
 * victim of a deadlock has not got its lock either, and its transaction is rolled back.
 */
const lockTimeout =
  /\b(?:LockNotAvailable|DeadlockDetected)|'C': '(?:55P03|40P01)'|\bERROR:\s+(?:55P03|40P01|deadlock detected)|canceling statement due to lock timeout/;

const traceback = "Traceback (most recent call last):";
const causedTraceback =
  /The above exception was the direct cause of the following exception:\s+Traceback \(most recent call last\):/g;

/**
 * Whether a lock time-out or a deadlock is what ended the command, by the end of what it wrote to standard error. Of several
 * exceptions the last one counts, with those that it names as its cause: the others were dealt with.
 */
export function endedByLockTimeout(errors: string): boolean {
  const chained = errors.replaceAll(causedTraceback, "");
  return lockTimeout.test(chained.slice(Math.max(chained.lastIndexOf(traceback), 0)));
}
