// The only way to query the server. Guarantees: no query waits for ever, none waits in silence, and each ends at a signal; it
// rejects with the server's own refusal, or with a Failure that says how long it has waited or what became of the connection.

import pg from "pg";
import type { Log } from "../context.ts";
import { Failure, type FailureCode } from "../failure.ts";
import { unlessAborted, waitFor } from "../patience.ts";
import { isRefusal } from "./errors.ts";

/** What every query over a connection may be ended by. */
export interface QueryLimits {
  /** Aborted by a signal, or where the answer is no longer wanted: its reason is thrown. */
  readonly stop: AbortSignal;
  /** Gets a line every 15 s while the server does not answer. */
  readonly log: Log;
  /** How long a query that is sent now may take, in milliseconds; Infinity: as long as the connection lives. */
  readonly limitMs: () => number;
  /** What it means that no answer has come by then. */
  readonly code: FailureCode;
  readonly hint: string;
}

export interface Connection {
  /**
   * Runs one statement, or several without `values`, and resolves to the last one's rows. Throws pg.DatabaseError where the
   * server refuses it, the reason of `stop`, a Failure of the limit's code, after which the connection is lost, or ConnectionLost
   * ("database-unavailable") where the connection broke.
   */
  query<Row extends pg.QueryResultRow>(
    sql: string,
    values?: readonly unknown[],
  ): Promise<Pick<pg.QueryResult<Row>, "rows" | "rowCount">>;
  /** Whether a query waits for its answer. */
  busy(): boolean;
  /** The same connection, with other limits for what is queried by it. */
  within(limits: Partial<QueryLimits>): Connection;
  /** Aborted when the connection is gone without our having ended it. */
  readonly lost: AbortSignal;
  /** The process id with which the server, or what is in front of it, has greeted. */
  readonly greetedPid: number | null;
  /** The role that the server was given. */
  readonly user: string;
  /** Ends the connection, in the time of one round trip at most. */
  close(): Promise<void>;
}

/** A server that has not confirmed the end of a connection by then will not. */
const closeLimitMs = 1_000;

export const usualLimits: Omit<QueryLimits, "stop" | "log"> = {
  limitMs: () => 10_000,
  code: "database-unavailable",
  hint: "look for a session that has locked the version table (pg_locks, pg_stat_activity), or at the network",
};

/** Whatever `client` was told so far, from now on it is used by the Connection alone. To be called before client.connect(). */
export function wrapClient(client: pg.Client, user: string, given: QueryLimits): Connection {
  const lost = new AbortController();
  let closing = false;
  let waiting = 0;
  const lose = (error?: Error) => {
    if (!closing) lost.abort(error ?? new Error("the server closed the connection"));
  };
  client.on("error", lose);
  client.on("end", () => lose());
  const withLimits = (limits: QueryLimits): Connection => ({
    async query(sql, values) {
      const { stop, log, limitMs, code, hint } = limits;
      stop.throwIfAborted();
      const describe = (waitedMs: number) =>
        `the database has not answered a query for ${Math.round(waitedMs / 1000)} s`;
      waiting += 1;
      const answer = send(client, sql, values)
        .catch((error: unknown) => {
          throw isRefusal(error) ? error : describeLoss(error);
        })
        .finally(() => (waiting -= 1));
      return waitFor(answer, {
        stop,
        limitMs: limitMs(),
        expired(waitedMs) {
          const failure = new Failure(code, describe(waitedMs), { hint });
          // Every later query would wait behind this one.
          lose(failure);
          destroy(client);
          return failure;
        },
        report: (waitedMs) =>
          log.warn({ event: "unanswered", waitedMs, hint }, `Waiting: ${describe(waitedMs)}`),
      });
    },
    busy: () => waiting > 0,
    within: (other) => withLimits({ ...limits, ...other }),
    lost: lost.signal,
    get greetedPid() {
      return (client as unknown as { processID: number | null }).processID;
    },
    user,
    async close() {
      if (closing) return;
      closing = true;
      if (!lost.signal.aborted) {
        await unlessAborted(AbortSignal.timeout(closeLimitMs), client.end()).catch(() => undefined);
      }
      destroy(client);
    },
  });
  return withLimits(given);
}

async function send(
  client: pg.Client,
  sql: string,
  values: readonly unknown[] | undefined,
): Promise<pg.QueryResult<never>> {
  const result = await (values === undefined ? client.query(sql) : client.query(sql, [...values]));
  const last: unknown = Array.isArray(result) ? result.at(-1) : result;
  return last as pg.QueryResult<never>;
}

/** The connection broke. Thrown as it is only where nothing was under way by it: who has begun nothing may start over. */
export class ConnectionLost extends Failure {}

/** What PgBouncer says, and hangs up, where a transaction begins. */
const statementPooling = /transaction blocks not allowed in statement pooling mode/;

function describeLoss(error: unknown): Failure {
  const { message } = error as Error;
  if (statementPooling.test(message)) {
    return new Failure(
      "bad-settings",
      "the database is reached through a pooler in statement mode, which allows no transaction",
      {
        cause: error,
        hint: "use a direct URL, or let the pooler's pool_mode be transaction or session",
      },
    );
  }
  return new ConnectionLost(
    "database-unavailable",
    `the connection to the database was lost: ${message}`,
    { cause: error, hint: "start again: nothing is half done" },
  );
}

/** Without a word to the server, which may not be there any more. */
export function destroy(client: pg.Client): void {
  const { connection } = client as unknown as { connection: { stream: { destroy(): void } } };
  connection.stream.destroy();
}

/**
 * Whether a pooler is in between: PgBouncer greets with a process id of its own making. Nobody can be certain whether it pools
 * sessions or transactions: a transaction pooler may give the same server connection again, and another process of it may
 * serve the next client.
 */
export async function isPooled(connection: Connection): Promise<boolean> {
  const { rows } = await connection.query<{ pid: number }>("select pg_backend_pid() as pid");
  return rows[0]?.pid !== connection.greetedPid;
}
