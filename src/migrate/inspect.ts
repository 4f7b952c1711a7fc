// Step 2, which the shell script lacks: where the database stands, without the migration tool and without a lock.

import type { Connection } from "../postgres/connection.ts";
import type { State } from "../state.ts";
import type { History } from "../tools/tool.ts";

/** Compares the files with the version table. @param client null where no database is known. */
export async function inspect(history: History, connection: Connection | null): Promise<State> {
  if (history.doubt !== null) return { state: "cannot-tell", reason: history.doubt };
  if (connection === null) return { state: "cannot-tell", reason: "no database URL is known" };
  const ledger = await history.readLedger(connection);
  if (ledger.kind === "cannot-tell") return { state: "cannot-tell", reason: ledger.reason };
  return history.resolve(ledger);
}
