// A migration whose entrypoint was killed can live on inside the server, where the migration lock does not see it.
// Whoever holds the lock waits for such backends before it migrates, and reports which they are.

import type { Connection } from "./connection.ts";
import { Failure } from "../failure.ts";
import { describeSession, findOrphans, type Session } from "./sessions.ts";
import { poll } from "../patience.ts";
import type { Log } from "../context.ts";

const pollMs = 500;

/** Resolves once no earlier migration runs in this database; Failure "lock-timeout" after `timeoutMs`. */
export async function waitForOrphans(
  connection: Connection,
  options: { timeoutMs: number; stop: AbortSignal; log: Log; versionTables: readonly string[] },
): Promise<void> {
  const { timeoutMs, stop, log, versionTables } = options;
  let orphans: readonly Session[] = [];
  const names = () => orphans.map(describeSession).join("; ");
  await poll({
    stop,
    timeoutMs,
    delayMs: () => pollMs,
    async look() {
      orphans = await findOrphans(connection, versionTables);
      return orphans.length === 0 ? "none" : null;
    },
    async report() {
      log.warn(
        { event: "orphan", orphans },
        `Waiting for an earlier migration that still runs in the database: ${names()}`,
      );
      return true;
    },
    expired: async () =>
      new Failure("lock-timeout", `an earlier migration still runs in the database: ${names()}`, {
        hint: `let it end, or end it: select pg_terminate_backend(${orphans[0]?.pid})`,
        details: { orphans },
      }),
  });
}
