// Reads where the database is, in every form that an application's DATABASE_URL takes: SQLAlchemy's
// (`postgresql+asyncpg://`, multi-host and sockets in the query), libpq's URI and its keyword form.
// The grammar follows SQLAlchemy's, so that a password which works in the app works here.

import { readFileSync } from "node:fs";
import type { ConnectionOptions as TlsOptions } from "node:tls";

const tlsModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
type TlsMode = (typeof tlsModes)[number];

export interface Host {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
}

/** Where a PostgreSQL database is and who we are there. `undefined` leaves the choice to libpq's defaults. */
export interface DatabaseAddress {
  /** Tried in order. Never empty. */
  readonly hosts: readonly Host[];
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string | undefined;
  readonly tlsMode: TlsMode;
  readonly tlsFiles: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** libpq's `options`, such as `-c search_path=blog`. */
  readonly options: string | undefined;
  /** libpq's `target_session_attrs` asks for a server that can be written to. */
  readonly writable: boolean;
}

/** `foreign`: a URL of another database system, which we can neither inspect nor lock. */
export type UrlAnswer =
  | { readonly kind: "postgres"; readonly address: DatabaseAddress; readonly warnings: string[] }
  | { readonly kind: "foreign"; readonly dialect: string };

/** What a malformed URL says; the URL itself is never in the message, since it holds a password. */
export class BadUrl extends Error {}

// A raw `#` or `/` may stand in a password, and the first `@` ends it: SQLAlchemy reads it so.
const urlPattern =
  /^(?<scheme>[a-z][\w+.-]*):\/\/(?:(?<user>[^:/?@]*)(?::(?<password>[^@]*))?@)?(?<hosts>[^/?]*)(?:\/(?<database>[^?]*))?(?:\?(?<query>.*))?$/is;

/** Reads a SQLAlchemy or libpq URL, or libpq's `host=… dbname=…`. Throws BadUrl. */
export function parseDatabaseUrl(
  text: string,
  env: Readonly<Record<string, string | undefined>> = {},
): UrlAnswer {
  const trimmed = text.trim();
  if (!trimmed.includes("://") && /^\w+\s*=/.test(trimmed)) {
    return {
      kind: "postgres",
      address: addressFrom(parseKeywords(trimmed), [], env),
      warnings: [],
    };
  }
  const parts = urlPattern.exec(trimmed)?.groups;
  if (parts === undefined) {
    throw new BadUrl("it does not have the form postgresql://user:password@host:port/database");
  }
  const scheme = (parts["scheme"] ?? "").toLowerCase();
  const dialect = scheme.split("+")[0] ?? "";
  if (dialect !== "postgresql" && dialect !== "postgres") return { kind: "foreign", dialect };

  const parameters = new Map<string, string>();
  const hosts: string[] = [];
  for (const [name, value] of new URLSearchParams((parts["query"] ?? "").replaceAll("+", "%2B"))) {
    if (name === "host") hosts.push(...value.split(","));
    else parameters.set(name, value);
  }
  for (const [name, value] of [
    ["user", parts["user"]],
    ["password", parts["password"]],
    ["dbname", parts["database"]],
  ] as const) {
    if (value !== undefined && value !== "") parameters.set(name, decode(value, name));
  }
  const fromAuthority = (parts["hosts"] ?? "").split(",").filter((host) => host !== "");
  return {
    kind: "postgres",
    address: addressFrom(
      parameters,
      [...fromAuthority.map((host) => decode(host, "host")), ...hosts],
      env,
    ),
    warnings:
      dialect === "postgres"
        ? ["SQLAlchemy 1.4 and later reject postgres:// in a URL: write postgresql://"]
        : [],
  };
}

/** The address that PGHOST, PGDATABASE and their kin give, or null where they name no database. */
export function addressFromEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): DatabaseAddress | null {
  if (!env["PGHOST"] && !env["PGDATABASE"]) return null;
  return addressFrom(new Map(), [], env);
}

/** `postgresql://blog@db:5432/blog`, without the password. */
export function describeAddress(address: DatabaseAddress): string {
  const hosts = address.hosts.map(({ host, port }) => `${host}:${port}`).join(",");
  return `postgresql://${address.user ?? ""}${address.user ? "@" : ""}${hosts}/${address.database ?? ""}`;
}

/** Options for TLS as libpq means the mode: "require" does not check names or issuers unless a root is given. */
export function tlsOptions(address: DatabaseAddress): TlsOptions {
  const { ca, cert, key } = address.tlsFiles;
  const verified =
    address.tlsMode === "verify-full" || address.tlsMode === "verify-ca" || ca !== undefined;
  return {
    rejectUnauthorized: verified,
    ...(ca === undefined ? {} : { ca: readTlsFile(ca) }),
    ...(cert === undefined ? {} : { cert: readTlsFile(cert) }),
    ...(key === undefined ? {} : { key: readTlsFile(key) }),
    ...(address.tlsMode === "verify-full" ? {} : { checkServerIdentity: () => undefined }),
  };
}

function readTlsFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new BadUrl(`the TLS file ${path} cannot be read`, { cause });
  }
}

function addressFrom(
  parameters: ReadonlyMap<string, string>,
  hostWords: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): DatabaseAddress {
  const get = (name: string, variable: string) =>
    parameters.get(name) || env[variable] || undefined;
  const words =
    hostWords.length > 0
      ? hostWords
      : (get("hostaddr", "PGHOSTADDR") ?? get("host", "PGHOST") ?? "localhost").split(",");
  const ports = (get("port", "PGPORT") ?? "5432").split(",");
  const hosts = words.map((word, index) => parseHost(word, ports[index] ?? ports[0] ?? "5432"));
  const ca = get("sslrootcert", "PGSSLROOTCERT");
  const cert = get("sslcert", "PGSSLCERT");
  const key = get("sslkey", "PGSSLKEY");
  const session = parameters.get("target_session_attrs") ?? env["PGTARGETSESSIONATTRS"] ?? "any";
  return {
    hosts,
    user: get("user", "PGUSER"),
    password: get("password", "PGPASSWORD"),
    database: get("dbname", "PGDATABASE"),
    tlsMode: parseTlsMode(
      parameters.get("sslmode") ?? parameters.get("ssl") ?? env["PGSSLMODE"],
      ca,
    ),
    tlsFiles: {
      // "system" means the trusted roots that Node has anyway.
      ...(ca === undefined || ca === "system" ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
    options: get("options", "PGOPTIONS"),
    writable: session === "read-write" || session === "primary",
  };
}

/** asyncpg writes `ssl=`, with libpq's words or a boolean. */
function parseTlsMode(text: string | undefined, ca: string | undefined): TlsMode {
  if (text === undefined || text === "") return ca === "system" ? "verify-full" : "prefer";
  const word = text.toLowerCase();
  if (word === "true" || word === "1" || word === "on") return "verify-full";
  if (word === "false" || word === "0" || word === "off") return "disable";
  const mode = tlsModes.find((known) => known === word);
  if (mode === undefined) throw new BadUrl(`sslmode is ${text}; allowed: ${tlsModes.join(", ")}`);
  return mode;
}

function parseHost(word: string, defaultPort: string): Host {
  if (word.startsWith("/") || word.startsWith("@"))
    return { host: word, port: parsePort(defaultPort) };
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d*))?$/.exec(word);
  // A bare IPv6 address is full of colons, and libpq's host= takes it so.
  if (match === null && /^[0-9a-f:.]+$/i.test(word))
    return { host: word, port: parsePort(defaultPort) };
  if (match === null)
    throw new BadUrl("the host is not of the form name:port, or the port is not a number");
  return { host: match[1] ?? (match[2] || "localhost"), port: parsePort(match[3] || defaultPort) };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new BadUrl(`the port is ${text}; allowed: 1 to 65535`);
  }
  return port;
}

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // SQLAlchemy leaves a stray % as it stands, and so it works in the app.
    if (what === "password" || what === "user") return text;
    throw new BadUrl(`the ${what} holds a % that is not followed by two hexadecimal digits`);
  }
}

/** libpq's `host=db dbname='my blog'`: single quotes, backslash escapes, spaces around `=`. */
function parseKeywords(text: string): Map<string, string> {
  const parameters = new Map<string, string>();
  const pair = /\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\']|\\.)*))(?=\s|$)/gsy;
  let end = 0;
  for (let match = pair.exec(text); match !== null; match = pair.exec(text)) {
    parameters.set(match[1] ?? "", (match[2] ?? match[3] ?? "").replaceAll(/\\(.)/gs, "$1"));
    end = pair.lastIndex;
  }
  if (text.slice(end).trim() !== "") {
    throw new BadUrl(`it does not have libpq's form keyword=value from character ${end + 1} on`);
  }
  return parameters;
}
