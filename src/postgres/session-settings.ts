// What a session of ours must be able to do: live on while it idles, and end soon when its client is gone.

import type { Log } from "../context.ts";
import type { Connection } from "./connection.ts";
import { isRefusal, sqlState } from "./errors.ts";
import { quoteLiteral } from "./names.ts";

/** The server notices within 22 s that a client's machine has vanished. */
export const keepalives = {
  tcp_keepalives_idle: "10",
  tcp_keepalives_interval: "4",
  tcp_keepalives_count: "3",
  tcp_user_timeout: "22000",
};

/** A session that outlives an idle time limit, and is noticed within 30 s when its client vanishes. */
export const durableSession: Readonly<Record<string, string>> = {
  idle_session_timeout: "0",
  statement_timeout: "0",
  lock_timeout: "0",
  ...keepalives,
  client_connection_check_interval: "10000",
};

// The value, the right, or the moment is not what the server wants: PostgreSQL on Windows, and 14 on macOS, take no other
// client_connection_check_interval than 0.
const refusals = new Set(["22023", "42501", "55P02", "0A000"]);

/** Sets for the session what the server has of these settings; one that it refuses stays as it is. */
export async function configureSession(
  connection: Connection,
  settings: Readonly<Record<string, string>>,
  log: Log | null = null,
): Promise<void> {
  const entries = Object.entries(settings);
  // In one round trip, which sets all of them or none.
  const refusal = await setAll(connection, entries);
  if (refusal === null || entries.length === 1) return report(log, refusal, entries);
  for (const entry of entries) report(log, await setAll(connection, [entry]), [entry]);
}

/** The statement that sets all of them or none. @param where a condition in SQL. */
export function setSettings(settings: Readonly<Record<string, string>>, where = "true"): string {
  const values = Object.entries(settings).map(
    ([name, value]) => `(${quoteLiteral(name)}, ${quoteLiteral(value)})`,
  );
  return `
    select set_config(name, wanted.value, false)
    from (values ${values.join(", ")}) as wanted (name, value) join pg_settings using (name)
    where ${where}`;
}

/** Whether the server refuses a setting, and not the session. */
export function isRefusedSetting(error: unknown): error is Error {
  return isRefusal(error) && refusals.has(sqlState(error) ?? "");
}

type Entries = readonly (readonly [name: string, value: string])[];

/** Why the server refuses one of them; null where it does not. */
async function setAll(connection: Connection, entries: Entries): Promise<Error | null> {
  try {
    await connection.query(setSettings(Object.fromEntries(entries)));
    return null;
  } catch (error) {
    if (isRefusedSetting(error)) return error;
    throw error;
  }
}

function report(log: Log | null, refusal: Error | null, entries: Entries): void {
  if (refusal === null) return;
  const name = entries[0]?.[0];
  log?.debug(
    { event: "session-setting", name, reason: refusal.message },
    `The server refuses ${name}, which is left as it is: ${refusal.message}`,
  );
}
