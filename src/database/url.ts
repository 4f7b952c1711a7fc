// Reads where the database is, in every form that an application's DATABASE_URL takes: SQLAlchemy's
// (`postgresql+asyncpg://`, multi-host and sockets in the query), libpq's URI and its keyword form.
// The grammar follows SQLAlchemy's, so that a password which works in the app works here.

import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
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
  /** What SQLAlchemy connects with, where the URL says it: `asyncpg` of `postgresql+asyncpg://`. */
  readonly driver: string | undefined;
  /** libpq's `target_session_attrs` asks for a server that can be written to. */
  readonly writable: boolean;
}

/** `foreign`: a URL of another database system, which we can neither inspect nor lock. */
export type UrlAnswer =
  | { readonly kind: "postgres"; readonly address: DatabaseAddress; readonly warnings: string[] }
  | { readonly kind: "foreign"; readonly dialect: string };

/** What a malformed URL says; the URL itself is never in the message, since it holds a password. */
export class BadUrl extends Error {}

// A raw `#` or `/` may stand in a password, and the first `@` ends it; one in the user's name (Azure's
// user@server) is part of that: SQLAlchemy reads it so.
const urlPattern =
  /^(?<scheme>[a-z][\w+.-]*):\/\/(?:(?<user>[^:/]*)(?::(?<password>[^@]*))?@)?(?<hosts>[^/?]*)(?:\/(?<database>[^?]*))?(?:\?(?<query>.*))?$/is;

/** Reads a SQLAlchemy or libpq URL, or libpq's `host=… dbname=…`. Throws BadUrl. */
export function parseDatabaseUrl(
  text: string,
  env: Readonly<Record<string, string | undefined>> = {},
): UrlAnswer {
  const trimmed = text.trim();
  if (/^\w+\s*=/.test(trimmed)) {
    return {
      kind: "postgres",
      address: addressFrom(parseKeywords(trimmed), "", env),
      warnings: [],
    };
  }
  const parts = urlPattern.exec(trimmed)?.groups;
  if (parts === undefined) {
    throw new BadUrl("it does not have the form postgresql://user:password@host:port/database");
  }
  const scheme = (parts["scheme"] ?? "").toLowerCase();
  const [dialect = "", driver] = scheme.split("+");
  if (dialect !== "postgresql" && dialect !== "postgres") {
    // A slip of the pen must not pass for another system, which would be migrated without a lock.
    if (dialect.startsWith("post")) {
      throw new BadUrl(`the scheme is ${dialect}; SQLAlchemy's is postgresql`);
    }
    return { kind: "foreign", dialect };
  }

  const parameters = new Map<string, string>();
  for (const [name, value] of [
    ["user", parts["user"]],
    ["password", parts["password"]],
    ["dbname", parts["database"]],
  ] as const) {
    if (value !== undefined) parameters.set(name, decode(value));
  }
  // What the query says beats what stands before it, for SQLAlchemy and for libpq; `host` alone may be repeated.
  for (const [name, value] of new URLSearchParams(parts["query"] ?? "")) {
    if (value === "") continue;
    const repeated = name === "host" ? parameters.get("host") : undefined;
    parameters.set(name, repeated === undefined ? value : `${repeated},${value}`);
  }
  // pg8000's way to a socket: `unix_sock=/cloudsql/name/.s.PGSQL.5432`.
  const socket = /^(.+)\/\.s\.PGSQL\.(\d+)$/.exec(parameters.get("unix_sock") ?? "");
  if (socket !== null) parameters.set("host", socket[1] ?? "").set("port", socket[2] ?? "");
  return {
    kind: "postgres",
    address: { ...addressFrom(parameters, parts["hosts"] ?? "", env), driver },
    warnings:
      dialect === "postgres"
        ? ["SQLAlchemy 1.4 and later reject postgres:// in a URL: write postgresql://"]
        : [],
  };
}

/**
 * The same URL with `option` (`-c name=value`) at the end of its `options=`, which takes the place of PGOPTIONS; unchanged
 * where it has none.
 */
export function appendToOptions(text: string, option: string): string {
  const trimmed = text.trim();
  if (/^\w+\s*=/.test(trimmed)) {
    const options = parseKeywords(trimmed).get("options");
    if (options === undefined) return text;
    // Of a keyword that is there twice libpq takes the last one.
    return `${trimmed} options='${`${options} ${option}`.replaceAll(/['\\]/g, "\\$&")}'`;
  }
  const { scheme = "", query = "" } = urlPattern.exec(trimmed)?.groups ?? {};
  if (!/^postgres(?:ql)?(?:\+|$)/i.test(scheme)) return text;
  const merged = query.replace(/(?:^|(?<=&))options=([^&]*)/, (pair, value: string) => {
    // A raw = is understood by SQLAlchemy alone, and a URL without a % may be on its way through an ini file, where a % has
    // a meaning.
    const plain = value.includes("=") && !value.includes("%");
    return `${pair}${plain ? ` ${option}` : encodeURIComponent(` ${option}`)}`;
  });
  return merged === query ? text : `${trimmed.slice(0, -query.length)}${merged}`;
}

/** The address that PGHOST, PGDATABASE and their kin give, or null where they name no database. */
export function addressFromEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): DatabaseAddress | null {
  if (!env["PGHOST"] && !env["PGDATABASE"]) return null;
  return addressFrom(new Map(), "", env);
}

/** `postgresql://blog@db:5432/blog`, without the password. */
export function describeAddress(address: DatabaseAddress): string {
  const hosts = address.hosts
    .map(({ host, port }) => `${isIPv6(host) ? `[${host}]` : host}:${port}`)
    .join(",");
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
  authority: string,
  env: Readonly<Record<string, string | undefined>>,
): DatabaseAddress {
  const get = (name: string, variable: string) =>
    parameters.get(name) || env[variable] || undefined;
  const named = authority.split(",").filter((word) => word !== "");
  const ports = (get("port", "PGPORT") ?? "").split(",");
  const portOf = (index: number) => ports[index] || ports[0] || "5432";
  const { PGHOSTADDR, PGHOST } = env;
  const words =
    parameters.get("hostaddr") ||
    parameters.get("host") ||
    (named.length === 0 && (PGHOSTADDR || PGHOST || "localhost"));
  const hosts = words
    ? words.split(",").map((word, index) => parseHost(word, portOf(index)))
    : named.map((word, index) => parseAuthorityHost(word, portOf(index), parameters.has("port")));
  const ca = get("sslrootcert", "PGSSLROOTCERT");
  const cert = get("sslcert", "PGSSLCERT");
  const key = get("sslkey", "PGSSLKEY");
  const session = get("target_session_attrs", "PGTARGETSESSIONATTRS");
  return {
    hosts,
    user: get("user", "PGUSER"),
    password: get("password", "PGPASSWORD"),
    database: get("dbname", "PGDATABASE"),
    tlsMode: parseTlsMode(
      parameters.get("sslmode") || parameters.get("ssl") || env["PGSSLMODE"],
      ca,
    ),
    tlsFiles: {
      // "system" means the trusted roots that Node has anyway.
      ...(ca === undefined || ca === "system" ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
    options: get("options", "PGOPTIONS"),
    driver: undefined,
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

/** A host before the path: its name is percent-encoded, and a socket's directory looks like `%2Frun`. */
function parseAuthorityHost(word: string, defaultPort: string, overridden: boolean): Host {
  // The tail of a password, which is not to be repeated as a host's name.
  if (word.includes("@")) throw new BadUrl("the password or the host holds an @: write it as %40");
  const { host, port } = parseHost(word, defaultPort);
  return { host: decode(host), port: overridden ? parsePort(defaultPort) : port };
}

function parseHost(word: string, defaultPort: string): Host {
  if (word.startsWith("/") || word.startsWith("@"))
    return { host: word, port: parsePort(defaultPort) };
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d*))?$/.exec(word);
  // A bare IPv6 address is full of colons, and libpq's host= takes it so.
  if (match === null && isIPv6(word)) return { host: word, port: parsePort(defaultPort) };
  if (match === null)
    throw new BadUrl("the host is not of the form name:port, or the port is not a number");
  return { host: match[1] ?? (match[2] || "localhost"), port: parsePort(match[3] || defaultPort) };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\s*\d+\s*$/.test(text) || port < 1 || port > 65_535) {
    // Not repeated: where the @ is forgotten, it is a password of digits.
    throw new BadUrl("the port is not a number from 1 to 65535");
  }
  return port;
}

/** As Python's unquote: a stray % stands for itself, and so it works in the app. */
function decode(text: string): string {
  return text.replaceAll(/(?:%[0-9a-f]{2})+/gi, (bytes) =>
    Buffer.from(bytes.replaceAll("%", ""), "hex").toString(),
  );
}

/** libpq's `host=db dbname='my blog'`: single quotes, backslash escapes, spaces around `=`. */
function parseKeywords(text: string): Map<string, string> {
  const parameters = new Map<string, string>();
  const pair = /\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(?!')((?:[^\s\\]|\\.)*))(?=\s|$)/gsy;
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
