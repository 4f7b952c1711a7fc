// One try to connect: the hosts in their order, with TLS or without as sslmode says, until one is a server of the kind that
// target_session_attrs names. Guarantees: a try that fails leaves no socket open.

import { existsSync } from "node:fs";
import { hostname } from "node:os";
import type { Duplex } from "node:stream";
import pg from "pg";
import { enforceRules } from "./authentication.ts";
import {
  destroy,
  usualLimits,
  wrapClient,
  type Connection,
  type QueryLimits,
} from "./connection.ts";
import {
  cannotConnectNow,
  encryptionMayMatter,
  explainUnreadable,
  HostErrors,
  noPassword,
  sqlState,
  tryTimeout,
} from "./errors.ts";
import { findAccount, homeDirectory } from "./home.ts";
import { negotiate, type Negotiated } from "./negotiate.ts";
import { BadUrl } from "./parameters.ts";
import { findPassword, socketDirectories } from "./password-file.ts";
import { tlsOptions, type Tls } from "./tls.ts";
import { isSocket, type DatabaseAddress, type Host, type ServerKind } from "./url.ts";

interface ConnectOptions extends Pick<QueryLimits, "stop" | "log"> {
  readonly timeoutMs: number;
}

/** The end of our host's name, which tells pods apart: PostgreSQL keeps 63 bytes of an application's name. */
export function shortHostname(): string {
  return hostname().slice(-31);
}

/** How our own sessions are named in pg_stat_activity. */
export function ownApplicationName(): string {
  return `entrypoint ${shortHostname()}`;
}

/**
 * One try at each host, in order, of at most `timeoutMs`. Rejects with the errors of all of them; BadUrl at once, and so what a
 * server refuses: libpq and asyncpg try no other host then.
 */
export async function connect(
  address: DatabaseAddress,
  options: ConnectOptions,
): Promise<Connection> {
  const { serverKind } = address;
  // A standby is only preferred: without one any server will do.
  const kinds = serverKind === "prefer-standby" ? (["standby", "any"] as const) : [serverKind];
  const failures = new Map<Host, unknown>();
  for (const kind of kinds) {
    for (const host of address.hosts) {
      try {
        const connection = await connectToHost(address, host, options);
        if (await isOfKind(kind, connection, options.timeoutMs)) return connection;
        await connection.close();
        const reason = `${host.host} is not a server that target_session_attrs=${serverKind} accepts`;
        // Another one may be promoted in a moment.
        failures.set(host, Object.assign(new Error(reason), { code: cannotConnectNow }));
      } catch (error) {
        const state = sqlState(error);
        if (error instanceof BadUrl || (state !== null && state !== cannotConnectNow)) throw error;
        failures.set(host, error);
      }
    }
  }
  const [first, ...others] = failures;
  if (first === undefined) throw new Error("no host");
  if (others.length === 0) throw first[1];
  throw new HostErrors(
    [first, ...others].map(([{ host, port }, error]) => [`${host}:${port}`, error]),
  );
}

/** Closes the connection where the answer does not come. */
async function isOfKind(
  kind: Exclude<ServerKind, "prefer-standby">,
  connection: Connection,
  timeoutMs: number,
): Promise<boolean> {
  if (kind === "any") return true;
  try {
    const { rows } = await connection
      .within({ limitMs: () => timeoutMs })
      .query<{ standby: boolean; readOnly: boolean }>(
        `select pg_is_in_recovery() as standby,
        current_setting('transaction_read_only')::boolean as "readOnly"`,
      );
    const { standby = false, readOnly = false } = rows[0] ?? {};
    return { primary: !standby, standby, "read-write": !readOnly, "read-only": readOnly }[kind];
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** `offered`: TLS where the server speaks it. */
type Encryption = "none" | "offered" | "required";

const encryptionTries: Readonly<Record<Tls["mode"], readonly Encryption[]>> = {
  disable: ["none"],
  allow: ["none", "required"],
  prefer: ["offered", "none"],
  require: ["required"],
  "verify-ca": ["required"],
  "verify-full": ["required"],
};

async function connectToHost(
  address: DatabaseAddress,
  named: Host,
  options: ConnectOptions,
): Promise<Connection> {
  const host = named.byDefault === true ? findDefaultHost(named) : named;
  const { tls } = address;
  // libpq never encrypts a Unix socket.
  const tries = encryptionTries[isSocket(host) ? "disable" : tls.mode];
  let failure: unknown;
  for (const encryption of tries) {
    const startMs = performance.now();
    let negotiated: Negotiated | null = null;
    try {
      if (encryption !== "none") {
        const required = encryption === "required";
        const read = () => tlsOptions(tls, address.home);
        // A file that is missing is no reason to wait.
        const known = required ? read() : null;
        const wish = { ...tls, host, required, options: () => known ?? read() };
        const limit = { timeoutMs: options.timeoutMs, timedOut: tryTimeout };
        negotiated = await negotiate(wish, limit);
      }
      const remainingMs = Math.max(options.timeoutMs - (performance.now() - startMs), 1);
      const limits = { ...options, timeoutMs: remainingMs };
      return await openClient(address, host, negotiated?.socket, limits);
    } catch (error) {
      failure = error;
      // Where the server has said that it speaks no TLS, it has been tried without.
      const over = error instanceof BadUrl || negotiated?.encrypted === false;
      if (over || !encryptionMayMatter(error)) throw error;
    }
  }
  throw failure;
}

/** libpq's own socket where it exists, since the application connects to that; else localhost. */
function findDefaultHost({ host, port }: Host): Host {
  const directory = socketDirectories.find((path) => existsSync(`${path}/.s.PGSQL.${port}`));
  return { host: directory ?? host, port };
}

async function openClient(
  address: DatabaseAddress,
  host: Host,
  socket: Negotiated["socket"] | undefined,
  { timeoutMs, stop, log }: ConnectOptions,
): Promise<Connection> {
  const user = address.user ?? findAccount()?.username;
  if (user === undefined) {
    throw new BadUrl(
      "it names no user, and the account that entrypoint runs as has no name: add user@ to the URL",
    );
  }
  const database = address.database ?? user;
  const password = (await address.getPassword?.()) ?? address.password;
  // Nothing is left open, so that pg does not read the environment, or files, in its own way.
  const client = new pg.Client({
    host: host.address ?? host.host,
    port: host.port,
    user,
    password: () => password ?? readPassword(address, { ...host, database, user }),
    database,
    options: address.options,
    ssl: false,
    sslnegotiation: "postgres",
    ...(socket === undefined ? {} : { stream: () => socket }),
    enableChannelBinding: address.authentication.bound,
    connectionTimeoutMillis: Math.ceil(timeoutMs),
    application_name: ownApplicationName(),
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  const connection = wrapClient(client, user, { ...usualLimits, stop, log });
  const throwIfBroken = enforceRules(client, address.authentication);
  try {
    const connected = client.connect();
    catchUnreadable(client);
    await connected;
    throwIfBroken();
  } catch (error) {
    // pg leaves it open unless it is the server that refuses.
    destroy(client);
    throw error;
  }
  return connection;
}

/** pg reads in an event of the stream, where nobody would catch what it throws. */
function catchUnreadable(client: pg.Client): void {
  const { stream } = (client as unknown as { connection: { stream: Duplex } }).connection;
  const readers = stream.listeners("data") as ((data: Buffer) => void)[];
  stream.removeAllListeners("data");
  stream.on("data", (data: Buffer) => {
    try {
      for (const read of readers) read(data);
    } catch (error) {
      stream.destroy(explainUnreadable(error as Error));
    }
  });
}

/** From the password file. Throws an Error that says why there is none. */
function readPassword(
  { passwordFile, home }: DatabaseAddress,
  wanted: { host: string; port: number; database: string; user: string },
): string {
  const file = passwordFile ?? `${homeDirectory(home) ?? ""}/.pgpass`;
  const answer = findPassword(file, wanted);
  if (answer.kind === "found") return answer.password;
  throw Object.assign(
    new Error(`the server requires a password, and none is given: ${answer.reason}`),
    { code: noPassword },
  );
}
