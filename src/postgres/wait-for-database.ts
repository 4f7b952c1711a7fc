// Step 1, which the shell script lacks: wait for PostgreSQL by connecting for real, since a port that is open is not a
// database that is ready. It waits out transient conditions; wrong credentials and a missing database get five seconds,
// since a fresh server creates both a moment after it answers.

import { Failure } from "../failure.ts";
import { poll, waitFor } from "../patience.ts";
import type { Context, Log } from "../context.ts";
import { connect } from "./connect.ts";
import type { Connection } from "./connection.ts";
import { cureOf } from "./cures.ts";
import {
  classify,
  describeError,
  isMissingDatabase,
  sqlState,
  tooManyConnections,
  isTryTimeout,
  tryTimeout,
} from "./errors.ts";
import { BadUrl } from "./parameters.ts";
import { describeAddress, type DatabaseAddress } from "./url.ts";

export interface WaitOptions {
  /** 0 is a single try. */
  readonly timeoutMs: number;
  readonly stop: AbortSignal;
  readonly log: Log;
  /** Called where the server has no such database, which is then waited for like a server that starts; without it that is a refusal. */
  readonly onMissing?: () => Promise<void>;
}

const firstDelayMs = 50;
const longestDelayMs = 2_000;
/** Where all of the server's connections are in use: many replicas may be waiting for one. */
const longestDelayWhenFullMs = 5_000;
/** One try, unless connect_timeout says otherwise: a host that swallows packets must not eat up the whole wait. */
const tryTimeoutMs = 5_000;
/** How long a refusal that a person has to mend must be seen before it is believed. */
const refusalPatienceMs = 5_000;

/** Connects within `timeoutMs`, retrying with exponential backoff and jitter. Throws Failure("database-unavailable"). */
export async function waitForDatabase(
  address: DatabaseAddress,
  { timeoutMs, stop, log, onMissing }: WaitOptions,
): Promise<Connection> {
  const longestTryMs = address.connectTimeoutMs ?? tryTimeoutMs;
  const startMs = performance.now();
  const elapsedMs = () => performance.now() - startMs;
  let attempts = 0;
  let refusedSinceMs: number | null = null;
  let last: unknown = null;
  const reported = new Set<string>();
  const report = (waitedMs: number) => {
    const database = describeAddress(address);
    const reason = describeError(last);
    reported.add(reason);
    log.info(
      { event: "waiting", database, reason, waitedMs: Math.round(waitedMs), timeoutMs },
      `Waiting for the database at ${database} (${Math.round(waitedMs / 1000)} s of ${timeoutMs / 1000} s): ${reason}`,
    );
  };
  const refuse = () =>
    unavailable(address, `the server refuses: ${describeError(last)}`, last, cureOf(last, address));

  const connection = await poll({
    stop,
    timeoutMs,
    delayMs: (attempt) =>
      Math.min(
        firstDelayMs * 2 ** attempt,
        last !== null && sqlState(last) === tooManyConnections
          ? longestDelayWhenFullMs
          : longestDelayMs,
      ),
    async look(waitedMs) {
      attempts += 1;
      const remainingMs = timeoutMs === 0 ? longestTryMs : Math.max(timeoutMs - waitedMs, 1);
      const tryMs = Math.min(longestTryMs, remainingMs);
      const tryOnce = async () => connect(address, { timeoutMs: tryMs, stop, log });
      let making = false;
      try {
        return await tryOnce().catch(async (error: unknown) => {
          if (onMissing === undefined || !isMissingDatabase(error)) throw error;
          making = true;
          await onMissing();
          making = false;
          return tryOnce();
        });
      } catch (error) {
        if (making) throw error;
        if (error instanceof BadUrl) throw badUrl(error);
        // The last try is cut short by the limit: what the one before was told says more than "timeout expired".
        const cut = tryMs < longestTryMs && isTryTimeout(error);
        if (!cut || last === null) last = error;
        const awaited = onMissing !== undefined && isMissingDatabase(last);
        refusedSinceMs =
          classify(last) === "refused" && !awaited ? (refusedSinceMs ?? elapsedMs()) : null;
        if (refusedSinceMs !== null && elapsedMs() - refusedSinceMs >= refusalPatienceMs) {
          throw refuse();
        }
        const reason = describeError(last);
        if (attempts > 1) {
          log.debug({ event: "waiting", attempt: attempts, reason }, "The database is not ready");
          if (!reported.has(reason) && elapsedMs() < timeoutMs) report(elapsedMs());
        }
        return null;
      }
    },
    report: async (waitedMs) => {
      report(waitedMs);
      return true;
    },
    expired: async () =>
      refusedSinceMs === null
        ? unavailable(
            address,
            `within ${timeoutMs / 1000} s: ${describeError(last)}`,
            last,
            sqlState(last) === tooManyConnections
              ? cureOf(last, address)
              : "check that the database is started, or raise --wait-timeout",
          )
        : refuse(),
    discard: (late) => late?.close(),
  });
  if (attempts > 1) {
    log.info(
      { event: "database-ready", waitedMs: Math.round(elapsedMs()) },
      "The database answers",
    );
  }
  return connection;
}

/** A single try in `timeoutMs`, for commands that do not wait. Throws Failure("database-unavailable"). */
export async function connectAtOnce(
  { signals: { stop }, log }: Omit<Context<unknown>, "settings">,
  address: DatabaseAddress,
  timeoutMs: number,
): Promise<Connection> {
  const hint = "check that the database is started, and the URL";
  const password = await address.getPassword?.();
  const { getPassword: _, ...at } = { ...address, password: password ?? address.password };
  // Several hosts, or a try with TLS and one without, may each take that long: the whole may not.
  const expired = () =>
    unavailable(address, `no answer in ${timeoutMs / 1000} s`, new Error(tryTimeout), hint);
  try {
    return await waitFor(
      connect(at, { timeoutMs, stop, log }),
      { stop, limitMs: timeoutMs, expired },
      (late) => late.close(),
    );
  } catch (error) {
    stop.throwIfAborted();
    if (error instanceof Failure) throw error;
    if (error instanceof BadUrl) throw badUrl(error);
    const refused = classify(error) === "refused";
    throw unavailable(
      address,
      describeError(error),
      error,
      refused ? cureOf(error, address) : hint,
    );
  }
}

function badUrl(error: BadUrl): Failure {
  return new Failure("bad-settings", `the database URL: ${error.message}`, { cause: error });
}

function unavailable(
  address: DatabaseAddress,
  what: string,
  cause: unknown,
  hint: string,
): Failure {
  return new Failure(
    "database-unavailable",
    `cannot connect to ${describeAddress(address)}: ${what}`,
    {
      cause,
      hint,
      details: { database: describeAddress(address), sqlState: sqlState(cause) },
    },
  );
}
