// Steps 3 and 4, which the shell script lacks: nobody else migrates while `work` does, and no earlier migration lives on in
// the server.

import type { Connection } from "../postgres/connection.ts";
import type { Context } from "../context.ts";
import { acquireMigrationLock, type MigrationLock } from "../postgres/migration-lock.ts";
import { waitForOrphans } from "../postgres/orphans.ts";

/**
 * Runs `work` under the migration lock. The connection that it is given is closed by then. Resolves to the state instead where `findCurrent` finds the database at head while
 * another replica holds the lock. Throws Failure "lock-timeout" where lock and orphans together take longer than lockTimeoutMs.
 */
export async function runUnderLock<T extends object>(
  { settings, log, signals }: Context<{ readonly lockTimeoutMs: number }>,
  on: {
    connection: Connection;
    /** The names, without a schema: by them migrations are detected in the server. */
    versionTables: readonly string[];
    findCurrent: (connection: Connection) => Promise<T | null>;
    /** Opens another connection to the same database, within `timeoutMs`. */
    connect: (timeoutMs: number) => Promise<Connection>;
  },
  work: (lock: MigrationLock, connection: Connection) => Promise<void>,
): Promise<T | null> {
  const { lockTimeoutMs } = settings;
  const { stop } = signals;
  const { versionTables } = on;
  const startMs = performance.now();
  const answer = await acquireMigrationLock(on.connection, {
    timeoutMs: lockTimeoutMs,
    stop,
    log,
    versionTables,
    findCurrent: on.findCurrent,
    connect: on.connect,
  });
  if (answer.kind === "not-needed") return answer.state;
  const { lock, connection } = answer;
  try {
    const remainingMs = Math.max(lockTimeoutMs - (performance.now() - startMs), 0);
    const locked = connection.within({ stop: AbortSignal.any([stop, lock.lost]) });
    await waitForOrphans(locked, { timeoutMs: remainingMs, stop, log, versionTables });
    await work(lock, locked);
    return null;
  } finally {
    // After a signal nothing is released here: the server does that when our process ends.
    if (!stop.aborted) {
      await lock.release();
      await connection.close();
    }
  }
}
