// Reads where the database is, in every form that an application's DATABASE_URL takes: SQLAlchemy's
// (`postgresql+asyncpg://`, multi-host and sockets in the query), libpq's URI and its keyword form. The grammar follows
// SQLAlchemy's, so that a password which works in the app works here; what a URL leaves out comes from where libpq takes it.

import { isIP, isIPv6 } from "node:net";
import { hide } from "../log/mask.ts";
import { readAuthenticationRules, type AuthenticationRules } from "./authentication.ts";
import {
  BadUrl,
  createLookup,
  driverParameters,
  isParameter,
  refuseParameters,
  type Lookup,
  takenByDriver,
  unreadByDriver,
  type Variables,
} from "./parameters.ts";
import { readService } from "./service-file.ts";
import { readTls, type Tls } from "./tls.ts";

export { BadUrl };

export interface Host {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** Where to connect, instead of resolving the name: libpq's `hostaddr`. */
  readonly address?: string;
  /** No setting names it. */
  readonly byDefault?: true;
}

const serverKinds = [
  "any",
  "read-write",
  "read-only",
  "primary",
  "standby",
  "prefer-standby",
] as const;
/** libpq's `target_session_attrs`. */
export type ServerKind = (typeof serverKinds)[number];

/** Where a PostgreSQL database is and who we are there. `undefined` leaves the choice to libpq's defaults. */
export interface DatabaseAddress {
  /** Tried in order. Never empty. */
  readonly hosts: readonly Host[];
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** Runs before each connection, in the place of `password`. */
  readonly getPassword?: () => Promise<string>;
  /** Read only where there is no password. Undefined: ~/.pgpass. */
  readonly passwordFile: string | undefined;
  readonly database: string | undefined;
  readonly tls: Tls;
  readonly authentication: AuthenticationRules;
  /** libpq's `options`, such as `-c search_path=blog`. */
  readonly options: string | undefined;
  /** The options stand in a service file, and take the place of PGOPTIONS. */
  readonly optionsFromService: boolean;
  /** What SQLAlchemy connects with, where the URL says it: `asyncpg` of `postgresql+asyncpg://`. */
  readonly driver: string | undefined;
  readonly serverKind: ServerKind;
  /** For one try at one host, in milliseconds; undefined: entrypoint's own limit. */
  readonly connectTimeoutMs: number | undefined;
  /** The environment's HOME. */
  readonly home: string | undefined;
}

/** `foreign`: a URL of another database system, which we can neither inspect nor lock. */
export type UrlAnswer =
  | {
      readonly kind: "postgres";
      readonly address: DatabaseAddress;
      readonly warnings: string[];
      /** Why SQLAlchemy rejects it; null where it does not. */
      readonly inSqlAlchemy: string | null;
    }
  | { readonly kind: "foreign"; readonly dialect: string };

// A raw `#` or `/` may stand in a password, and the first `@` ends it; one in the user's name (Azure's
// user@server) is part of that: SQLAlchemy reads it so.
const urlPattern =
  /^(?<scheme>[a-z][\w+.-]*):\/\/(?:(?<user>[^:/]*)(?::(?<password>[^@]*))?@)?(?<hosts>[^/?]*)(?:\/(?<database>[^?]*))?(?:\?(?<query>.*))?$/is;

/** Reads a SQLAlchemy or libpq URL, or libpq's `host=… dbname=…`. Throws BadUrl. */
export function parseDatabaseUrl(text: string, env: Variables = {}): UrlAnswer {
  const trimmed = text.trim();
  if (/^(["']).*\1$/s.test(trimmed)) {
    throw new BadUrl("it stands in quotes, which are part of the value here: remove them");
  }
  if (/^\w+\s*=/.test(trimmed)) {
    const parameters = parseKeywords(trimmed);
    const unknown = [...parameters.keys()].findIndex((name) => !isParameter(name));
    // Not repeated: it may be the tail of a password with a space.
    if (unknown !== -1) throw new BadUrl(`its keyword number ${unknown + 1} is not one of libpq's`);
    const address = readAddress(parameters, env);
    return { kind: "postgres", address, warnings: [], inSqlAlchemy: null };
  }
  const parts = urlPattern.exec(trimmed)?.groups;
  if (parts === undefined) {
    throw new BadUrl("it does not have the form postgresql://user:password@host:port/database");
  }
  const scheme = (parts["scheme"] ?? "").toLowerCase();
  const [dialect = "", driver] = scheme.split("+");
  // The last one is that of Elixir's projects.
  if (!["postgresql", "postgres", "ecto"].includes(dialect)) {
    // A slip of the pen must not pass for another system, which would be migrated without the migration lock.
    if (dialect.startsWith("post")) {
      throw new BadUrl(`the scheme is ${dialect}; SQLAlchemy's is postgresql`);
    }
    return { kind: "foreign", dialect };
  }

  const database = parts["database"] ?? "";
  const parameters = new Map<string, string>();
  for (const [name, value] of [
    ["user", decode(parts["user"] ?? "")],
    ["password", decode(parts["password"] ?? "")],
    ["dbname", database],
  ] as const) {
    if (value !== "") parameters.set(name, value);
  }
  // What the query says beats what stands before it, for SQLAlchemy and for libpq; `host` alone may be repeated.
  const query = new URLSearchParams(parts["query"] ?? "");
  for (const [name, value] of query) {
    if (value === "") continue;
    const repeated = name === "host" ? parameters.get("host") : undefined;
    parameters.set(name, repeated === undefined ? value : `${repeated},${value}`);
  }
  readDriverParameters(parameters, driver);
  if (parameters.get("dbname") === database && decode(database) !== database) {
    throw new BadUrl(
      "the database's name holds a %, which SQLAlchemy 2.1 and libpq decode and SQLAlchemy 1.4 and 2.0 do not: rename the database, or give --database-url in the form host=… dbname=…",
    );
  }
  addAuthority(parameters, splitAuthority(parts["hosts"] ?? ""));
  return {
    kind: "postgres",
    address: readAddress(parameters, env, driver),
    warnings: warnOfParameters(query, driver),
    inSqlAlchemy:
      dialect === "postgres"
        ? "SQLAlchemy 1.4 and later reject postgres:// in a URL: write postgresql://"
        : null,
  };
}

/** What the application's driver will fail at, although entrypoint reads it. */
function warnOfParameters(query: URLSearchParams, driver: string | undefined): string[] {
  const taken = takenByDriver[driver ?? ""];
  if (taken === undefined) return [];
  const names = new Set(query.keys());
  const unknown = [...names].filter((name) => isParameter(name) && !taken.includes(name));
  const warnings = unknown.map((name) => {
    const own = name === "dbname" ? "database" : name === "sslmode" ? "ssl" : null;
    const cure =
      own === null || (own === "ssl" && driver !== "asyncpg") ? "leave it out" : `write ${own}=`;
    return `${driver} fails at ${name}= in a URL, which is not one of its own: ${cure}`;
  });
  if (driver === "asyncpg" && /^(?:true|false|on|off|[01])$/i.test(query.get("ssl") ?? "")) {
    warnings.push(
      "asyncpg fails at ssl= with a boolean in a URL: write ssl=require or ssl=disable",
    );
  }
  return warnings;
}

/** Writes what a driver has its own words for in libpq's. */
function readDriverParameters(parameters: Map<string, string>, driver: string | undefined): void {
  for (const [name, fate] of Object.entries(driverParameters)) {
    if (typeof fate !== "string" && parameters.has(name)) {
      throw new BadUrl(`entrypoint does not read ${name} in a URL: ${fate.refused}`);
    }
  }
  if (parameters.has("service") && unreadByDriver[driver ?? ""]?.includes("service") === true) {
    throw new BadUrl(
      `${driver} ignores service= as SQLAlchemy hands it over: write the host and the database into the URL`,
    );
  }
  // The socket itself, and not its directory, in pg8000's words and in asyncpg's: `/cloudsql/name/.s.PGSQL.5432`.
  const socket =
    parameters.get("unix_sock") ?? (driver === "asyncpg" ? parameters.get("host") : "");
  const [, directory, port] = /^(\/[^,]*)\/\.s\.PGSQL\.(\d+)$/.exec(socket ?? "") ?? [];
  if (directory !== undefined && port !== undefined) {
    parameters.set("host", directory).set("port", port);
  }
  const database = parameters.get("database");
  if (database !== undefined) parameters.set("dbname", database);
  // asyncpg writes `ssl=`, with libpq's words or a boolean.
  const ssl = parameters.get("ssl");
  if (ssl !== undefined && !parameters.has("sslmode")) {
    const word = ssl.toLowerCase();
    const on = ["true", "1", "on"].includes(word);
    const off = ["false", "0", "off"].includes(word);
    // asyncpg takes its own names of the modes too: verify_full.
    const mode = word.replaceAll("_", "-");
    parameters.set("sslmode", on ? "verify-full" : off ? "disable" : mode);
  }
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

/** The address that PGHOST, PGDATABASE and their kin give, or null where they name no database. Throws BadUrl. */
export function addressFromEnvironment(env: Variables): DatabaseAddress | null {
  const { PGHOST, PGHOSTADDR, PGDATABASE, PGSERVICE } = env;
  if (!PGHOST && !PGHOSTADDR && !PGDATABASE && !PGSERVICE) return null;
  return readAddress(new Map(), env);
}

/** `postgresql://blog@db:5432/blog`, without the password. */
export function describeAddress(address: DatabaseAddress): string {
  const hosts = address.hosts
    .map(({ host, address: at, port }) => {
      const resolved = at === undefined ? "" : `(${at})`;
      // The first look of isIPv6 takes 3 ms of every start, and no name of a host holds a colon.
      const bare = host.includes(":") && isIPv6(host);
      return `${bare ? `[${host}]` : host}${resolved}:${port}`;
    })
    .join(",");
  return `postgresql://${address.user ?? ""}${address.user ? "@" : ""}${hosts}/${address.database ?? ""}`;
}

/** Whether it is a Unix socket's directory, or an abstract socket. */
export function isSocket({ host, address }: Host): boolean {
  return address === undefined && /^[/@]/.test(host);
}

/** @param given what the URL says. */
function readAddress(
  given: ReadonlyMap<string, string>,
  env: Variables,
  driver?: string,
): DatabaseAddress {
  const getOwn = createLookup([given], env, driver);
  const name = getOwn("service");
  const service = name === undefined ? new Map() : readService(name, getOwn("servicefile"), env);
  const get = createLookup([given, service], env, driver);
  const hosts = readHosts(get, given.has("port"), driver);
  refuseParameters(
    get,
    hosts.some((host) => isSocket(host) || host.byDefault === true),
  );
  const serverKind = serverKinds.find((kind) => kind === (get("target_session_attrs") ?? "any"));
  if (serverKind === undefined) {
    throw new BadUrl(
      `target_session_attrs is ${get("target_session_attrs")}; allowed: ${serverKinds.join(", ")}`,
    );
  }
  const [user, password, database] = [get("user"), get("password"), get("dbname")];
  hide(password ?? "", [user, database, ...hosts.map(({ host }) => host)]);
  hide(get("sslpassword") ?? "");
  return {
    hosts,
    user,
    password,
    passwordFile: get("passfile"),
    database,
    tls: readTls(get, env["PGREQUIRESSL"]),
    authentication: readAuthenticationRules(get),
    options: get("options"),
    optionsFromService: service.has("options") && !given.has("options"),
    driver,
    serverKind,
    connectTimeoutMs: parseConnectTimeout(get("connect_timeout")),
    home: env["HOME"],
  };
}

/** As it is written; the port is empty where there is none. */
interface WrittenHost {
  readonly host: string;
  readonly port: string;
}

const defaultPort = "5432";

/** @param portGiven the URL's port= beats those that are written behind the hosts. */
function readHosts(get: Lookup, portGiven: boolean, driver: string | undefined): readonly Host[] {
  const list = (text: string | undefined) => text?.split(",") ?? [];
  const addresses = list(get("hostaddr"));
  // libpq takes no name there, and no port.
  if (addresses.some((one) => one !== "" && isIP(one) === 0)) {
    throw new BadUrl(
      "hostaddr is not an IP address: the port belongs behind the host, or in port=",
    );
  }
  const named = list(get("host")).map(splitHost);
  const hosts = named.length > 0 ? named : addresses.map((host) => ({ host, port: "" }));
  const ports = list(get("port"));
  if (hosts.length === 0) {
    const host = { host: "localhost", port: parsePort(ports.join(",") || defaultPort) };
    // pg8000 connects there, libpq and asyncpg to a socket.
    return [driver === "pg8000" ? host : { ...host, byDefault: true }];
  }
  for (const [what, { length }] of Object.entries({ hostaddr: addresses, ports })) {
    // One port counts for every host.
    if (length === 0 || length === hosts.length || (length === 1 && what === "ports")) continue;
    throw new BadUrl(`it has ${hosts.length} hosts and ${length} ${what}: give one for each host`);
  }
  return hosts.map(({ host, port }, index) => {
    const common = ports.length > 1 ? ports[index] : ports[0];
    const address = named.length > 0 ? addresses[index] : undefined;
    return {
      host: host || address || "localhost",
      port: parsePort((!portGiven && port) || common || defaultPort),
      ...(address === undefined ? {} : { address }),
    };
  });
}

/** A host or a port in the query beats those before the path; a host without a port takes the one from there. */
function addAuthority(parameters: Map<string, string>, authority: readonly WrittenHost[]): void {
  const written = parameters.get("host");
  const own = written?.split(",").some((word) => splitHost(word).port !== "") ?? false;
  const ports = authority.map(({ port }) => port).join(",");
  if (!own && !parameters.has("port") && /\d/.test(ports)) parameters.set("port", ports);
  const hosts = authority.map(({ host }) => host).join(",");
  if (written === undefined && hosts !== "") parameters.set("host", hosts);
}

/** The hosts before the path: a name is percent-encoded, and a socket's directory looks like `%2Frun`. */
function splitAuthority(authority: string): readonly WrittenHost[] {
  const words = authority.split(",").filter((word) => word !== "");
  return words.map((word) => {
    // The tail of a password, which is not to be repeated as a host's name.
    if (word.includes("@")) {
      throw new BadUrl("the password or the host holds an @: write it as %40");
    }
    const { host, port } = splitHost(word);
    return { host: decode(host), port };
  });
}

function splitHost(word: string): WrittenHost {
  if (word.startsWith("/") || word.startsWith("@")) return { host: word, port: "" };
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d*))?$/.exec(word);
  // A bare IPv6 address is full of colons, and libpq's host= takes it so.
  if (match === null && isIPv6(word)) return { host: word, port: "" };
  if (match === null)
    throw new BadUrl("the host is not of the form name:port, or the port is not a number");
  return { host: match[1] ?? match[2] ?? "", port: match[3] ?? "" };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\s*\d+\s*$/.test(text) || port < 1 || port > 65_535) {
    // Not repeated: where the @ is forgotten, it is a password of digits.
    throw new BadUrl("the port is not a number from 1 to 65535");
  }
  return port;
}

/** From seconds, of which libpq takes two at least; 0 is no limit of the user's. */
function parseConnectTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\s*[-+]?\d+\s*$/.test(text))
    throw new BadUrl("connect_timeout is not a number of seconds");
  const seconds = Number(text);
  return seconds > 0 ? Math.max(seconds, 2) * 1000 : undefined;
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
