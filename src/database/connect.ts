// Step 1, which the shell script lacks: wait for PostgreSQL by connecting for real. A port that is open is
// not a database that is ready. What passes by itself is waited for; wrong credentials and a missing
// database are given five seconds, since a fresh server creates both a moment after it answers.

import { hostname, userInfo } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { Failure } from "../exit-codes.ts";
import type { Log } from "../log.ts";
import { unlessStopped } from "../process/signals.ts";
import { negotiate, type Negotiated } from "./negotiate.ts";
import { BadUrl, describeAddress, tlsOptions, type DatabaseAddress, type Host } from "./url.ts";

export interface WaitOptions {
  /** 0 is a single try. */
  readonly timeoutMs: number;
  readonly stop: AbortSignal;
  readonly log: Log;
}

export interface Connection {
  readonly client: pg.Client;
  /** Aborted when the connection is gone without our having ended it. */
  readonly lost: AbortSignal;
  /** Ends the connection, in the time of one round trip at most. */
  close(): Promise<void>;
}

/** The end of our host's name, which tells pods apart: PostgreSQL keeps 63 bytes of an application's name. */
export function shortHostname(): string {
  return hostname().slice(-31);
}

/** How our own sessions are named in pg_stat_activity. */
export function ownApplicationName(): string {
  return `entrypoint ${shortHostname()}`;
}

const firstDelayMs = 50;
const longestDelayMs = 2_000;
/** One try: a host that swallows packets must not eat up the whole wait. */
const tryTimeoutMs = 5_000;
/** What pg says when a try has taken too long. */
const tryTimeout = "timeout expired";
/** How long a refusal that a person has to mend must be seen before it is believed. */
const refusalPatienceMs = 5_000;

// What passes by itself: the server is starting, restarting or full, or the network is not there yet.
const passingErrnos = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "EPIPE",
  "EAI_AGAIN",
  "EAI_FAIL",
  "ENOTFOUND",
  // The directory of a Unix socket before the server has made it.
  "ENOENT",
]);

/** Up to half of it less, so that replicas do not ask in step. */
export function jitter(delayMs: number): number {
  return delayMs * (0.5 + Math.random() / 2);
}

/** Connects within `timeoutMs`, trying again with exponential backoff and jitter. Throws Failure("database-unavailable"). */
export async function waitForDatabase(
  address: DatabaseAddress,
  options: WaitOptions,
): Promise<Connection> {
  const { timeoutMs, stop, log } = options;
  const start = performance.now();
  const elapsedMs = () => performance.now() - start;
  let refusedSinceMs: number | null = null;
  let told: unknown = null;
  for (let attempt = 1; ; attempt++) {
    const remainingMs = Math.max(timeoutMs - elapsedMs(), 1);
    const tryMs =
      attempt === 1 && timeoutMs === 0 ? tryTimeoutMs : Math.min(tryTimeoutMs, remainingMs);
    try {
      const connection = await unlessStopped(stop, connect(address, { timeoutMs: tryMs }));
      if (attempt > 1) {
        log.info(
          { event: "database-ready", waitedMs: Math.round(elapsedMs()) },
          "The database answers",
        );
      }
      return connection;
    } catch (error) {
      if (stop.aborted) throw stop.reason;
      if (error instanceof BadUrl) {
        throw new Failure("bad-settings", `the database URL: ${error.message}`, { cause: error });
      }
      // The last try is cut short by the limit: what the one before was told says more than "timeout expired".
      const cut = tryMs < tryTimeoutMs && error instanceof Error && error.message === tryTimeout;
      if (!cut || told === null) told = error;
      const kind = classify(told);
      if (kind === "refused") refusedSinceMs ??= elapsedMs();
      else refusedSinceMs = null;
      const reason = describeError(told);
      const refusedForMs = refusedSinceMs === null ? 0 : elapsedMs() - refusedSinceMs;
      const limit = `within ${timeoutMs / 1000} s`;
      if (kind === "refused" && (refusedForMs >= refusalPatienceMs || elapsedMs() >= timeoutMs)) {
        throw unavailable(
          address,
          `the server refuses: ${reason}`,
          told,
          "check the user, the password and the database's name in the URL",
        );
      }
      if (elapsedMs() >= timeoutMs) {
        throw unavailable(
          address,
          `${limit}: ${reason}`,
          told,
          "check that the database is started, or raise --wait-timeout",
        );
      }
      const delayMs = jitter(Math.min(firstDelayMs * 2 ** (attempt - 1), longestDelayMs));
      if (attempt === 1) {
        log.info(
          { event: "waiting", database: describeAddress(address), reason, timeoutMs },
          `Waiting for the database at ${describeAddress(address)}: ${reason}`,
        );
      } else {
        log.debug(
          { event: "waiting", attempt, reason, delayMs: Math.round(delayMs) },
          "Still waiting for the database",
        );
      }
      await unlessStopped(stop, sleep(Math.min(delayMs, Math.max(timeoutMs - elapsedMs(), 0))));
    }
  }
}

/** A single try in `timeoutMs`, for who waits for nothing. Throws Failure("database-unavailable"). */
export async function connectAtOnce(
  address: DatabaseAddress,
  { timeoutMs, stop }: { timeoutMs: number; stop: AbortSignal },
): Promise<Connection> {
  // Several hosts, or a try with TLS and one without, may each take that long: the whole may not.
  const patience = AbortSignal.timeout(timeoutMs);
  try {
    const tries = connect(address, { timeoutMs });
    return await unlessStopped(AbortSignal.any([stop, patience]), tries);
  } catch (error) {
    if (stop.aborted) throw stop.reason;
    if (error instanceof BadUrl) {
      throw new Failure("bad-settings", `the database URL: ${error.message}`, { cause: error });
    }
    const reason = error === patience.reason ? `no answer in ${timeoutMs / 1000} s` : null;
    throw unavailable(
      address,
      reason ?? describeError(error),
      error,
      "check that the database is started, and the URL",
    );
  }
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

/** One try at each host, in order. Rejects with the last host's error. */
export async function connect(
  address: DatabaseAddress,
  options: { timeoutMs: number },
): Promise<Connection> {
  let failure: unknown = new Error("no host");
  for (const host of address.hosts) {
    try {
      const connection = await connectToHost(address, host, options);
      const standby =
        address.writable &&
        (await isStandby(connection.client).catch(async (error: unknown) => {
          await connection.close();
          throw error;
        }));
      if (!standby) return connection;
      await connection.close();
      failure = Object.assign(
        new Error(`${host.host} is a standby, and the URL asks for a primary`),
        {
          // "cannot connect now": another server may be promoted in a moment.
          code: "57P03",
        },
      );
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function connectToHost(
  address: DatabaseAddress,
  host: Host,
  options: { timeoutMs: number },
): Promise<Connection> {
  const socket = host.host.startsWith("/") || host.host.startsWith("@");
  // libpq never encrypts a Unix socket.
  const mode = socket ? "disable" : address.tlsMode;
  let failure: unknown;
  for (const encryption of encryptionTries[mode]) {
    const startMs = performance.now();
    let negotiated: Negotiated | null = null;
    try {
      if (encryption === "offered") {
        const limit = { timeoutMs: options.timeoutMs, timedOut: tryTimeout };
        negotiated = await negotiate(host, tlsOptions(address), limit);
      }
      const stream = negotiated?.socket;
      const timeoutMs = Math.max(options.timeoutMs - (performance.now() - startMs), 1);
      return await openClient(address, host, {
        ssl: encryption === "asked" ? tlsOptions(address) : false,
        ...(stream === undefined ? {} : { stream: () => stream }),
        connectionTimeoutMillis: Math.ceil(timeoutMs),
      });
    } catch (error) {
      failure = error;
      // Where the server has said that it speaks no TLS, it has been tried without.
      if (!encryptionMayMatter(error) || negotiated?.encrypted === false) throw error;
    }
  }
  throw failure;
}

/** `offered`: TLS where the server speaks it. */
type Encryption = "none" | "offered" | "asked";

const encryptionTries: Readonly<Record<DatabaseAddress["tlsMode"], readonly Encryption[]>> = {
  disable: ["none"],
  allow: ["none", "asked"],
  prefer: ["offered", "none"],
  require: ["asked"],
  "verify-ca": ["asked"],
  "verify-full": ["asked"],
};

/** The server speaks no TLS, fails at it, or pg_hba.conf wants the other kind of connection. */
function encryptionMayMatter(error: unknown): boolean {
  const message = error instanceof Error ? error.message : "";
  return (
    sqlState(error) === "28000" ||
    /does not support SSL|SSL connection|ssl3?_|tls|wrong version number/i.test(message)
  );
}

async function openClient(
  address: DatabaseAddress,
  host: Host,
  transport: Pick<pg.ClientConfig, "ssl" | "stream" | "connectionTimeoutMillis">,
): Promise<Connection> {
  const client = new pg.Client({
    host: host.host,
    port: host.port,
    user: address.user ?? accountName(),
    password: address.password,
    database: address.database,
    options: address.options,
    ...transport,
    application_name: ownApplicationName(),
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  const lost = new AbortController();
  let closing = false;
  const lose = (error?: Error) => {
    if (!closing) lost.abort(error ?? new Error("the server closed the connection"));
  };
  client.on("error", lose);
  client.on("end", () => lose());
  await client.connect();
  return {
    client,
    lost: lost.signal,
    async close() {
      closing = true;
      // A connection whose other end has vanished never confirms: do not wait for that.
      const goodbye = client.end().catch(() => undefined);
      const impatience = new AbortController();
      await Promise.race([
        goodbye,
        sleep(1_000, undefined, { signal: impatience.signal }).catch(() => undefined),
      ]);
      impatience.abort();
    },
  };
}

/** Whom libpq takes where nobody is named: the account that we run as. A container's may have no name. */
function accountName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

async function isStandby(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ standby: boolean }>(
    "select pg_is_in_recovery() as standby",
  );
  return rows[0]?.standby ?? false;
}

/** Whether a transaction pooler is in between: PgBouncer greets with a process id of its own making. */
export async function isPooled(connection: Connection): Promise<boolean> {
  const { rows } = await connection.client.query<{ pid: number }>("select pg_backend_pid() as pid");
  return rows[0]?.pid !== greetedPid(connection);
}

/** A session that outlives an idle time limit, and is noticed within 30 s when its client vanishes. */
export const durableSession: Readonly<Record<string, string>> = {
  idle_session_timeout: "0",
  statement_timeout: "0",
  lock_timeout: "0",
  tcp_keepalives_idle: "10",
  tcp_keepalives_interval: "5",
  tcp_keepalives_count: "3",
  tcp_user_timeout: "25000",
  client_connection_check_interval: "10000",
};

/** Sets what the server has of these settings, for the session. */
export async function configureSession(
  client: pg.Client,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  const values = Object.entries(settings).map(
    ([name, value]) => `(${pg.escapeLiteral(name)}, ${pg.escapeLiteral(value)})`,
  );
  await client.query(`
    select set_config(name, wanted.value, false)
    from (values ${values.join(", ")}) as wanted (name, value) join pg_settings using (name)`);
}

/** The process id with which the server, or what is in front of it, has greeted. */
export function greetedPid({ client }: Connection): number | null {
  return (client as unknown as { processID: number | null }).processID;
}

/** `passing` is waited for; `refused` has to be mended by somebody. */
export function classify(error: unknown): "passing" | "refused" {
  const state = sqlState(error);
  if (state !== null) {
    // 57P01/02/03 shutting down, crashed, starting up; 53300 too many connections; class 08 connection exceptions.
    return /^(57P0[123]|53...|08...)$/.test(state) ? "passing" : "refused";
  }
  const errors = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  const passing = errors.some((one) => {
    const { code, message } = one as NodeJS.ErrnoException;
    // pg has no code for these two: its own time limit, and a server that hangs up during the greeting.
    return (
      passingErrnos.has(code ?? "") || /timeout expired|\b(?:terminated|ended)\b/i.test(message)
    );
  });
  return passing ? "passing" : "refused";
}

/** A statement has not got its lock in time, or has taken too long: lock_not_available, query_canceled. */
export function isOutOfTime(error: unknown): boolean {
  return ["55P03", "57014"].includes((error as { code?: string }).code ?? "");
}

function sqlState(error: unknown): string | null {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return typeof code === "string" && (severity !== undefined || /^57P03$/.test(code)) ? code : null;
}

function describeError(error: unknown): string {
  if (error instanceof AggregateError) return describeError(error.errors[0]);
  const message = error instanceof Error ? error.message : String(error);
  const state = sqlState(error);
  return state === null ? message : `${message} (SQLSTATE ${state})`;
}
