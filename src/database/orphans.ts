// A migration whose entrypoint was killed can live on inside the server, where the advisory lock does not see it.
// Whoever holds the lock waits for such backends before it migrates, and says which they are.

import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../exit-codes.ts";
import type { Log } from "../log.ts";
import { unlessStopped } from "../process/signals.ts";
import { describeSession, findOrphans } from "./blockers.ts";
import type { Connection } from "./connect.ts";

const pollMs = 500;
const reportEveryMs = 15_000;

/** Resolves once no earlier migration runs in this database; Failure "lock-timeout" after `timeoutMs`. */
export async function waitForOrphans(
  { client }: Connection,
  options: { timeoutMs: number; stop: AbortSignal; log: Log; versionTable: string },
): Promise<void> {
  const { timeoutMs, stop, log, versionTable } = options;
  const start = performance.now();
  let reportedMs = -Infinity;
  for (;;) {
    const orphans = await unlessStopped(stop, findOrphans(client, versionTable));
    if (orphans.length === 0) return;
    const waitedMs = performance.now() - start;
    const names = orphans.map(describeSession).join("; ");
    if (waitedMs >= timeoutMs) {
      throw new Failure(
        "lock-timeout",
        `an earlier migration still runs in the database: ${names}`,
        {
          hint: `let it end, or end it: select pg_terminate_backend(${orphans[0]?.pid})`,
          details: { orphans },
        },
      );
    }
    if (waitedMs - reportedMs >= reportEveryMs) {
      reportedMs = waitedMs;
      log.warn(
        { event: "orphan", orphans },
        `Waiting for an earlier migration that still runs in the database: ${names}`,
      );
    }
    await unlessStopped(stop, sleep(Math.min(pollMs, timeoutMs - waitedMs)));
  }
}
