// Every connection parameter of libpq (PostgreSQL 18), the environment variable that stands in for it, and its fate here.
// Guarantees: none that says where the database is, or as whom to connect, is ignored silently.

/** What is wrong with the settings of the database; never with a password in it. */
export class BadUrl extends Error {}

export type Variables = Readonly<Record<string, string | undefined>>;

export type Fate =
  | "read"
  /** Why it makes no difference to entrypoint. */
  | { readonly ignored: string }
  /** What to do instead; `but` are the values that ask for nothing special. */
  | { readonly refused: string; readonly but?: readonly string[] };

const ownName = { ignored: "entrypoint's sessions have names of their own" };
const ownKeepalives = { ignored: "entrypoint sets its own" };
const noGss = {
  ignored: "entrypoint has no GSSAPI; a server that demands it rejects the connection",
};
const noOauth = {
  ignored: "only a server that demands OAuth needs it, and rejects the connection",
};
const ownProtocol = { ignored: "entrypoint speaks 3.0, which every server accepts" };

/** By name: the variable, and the fate of both. */
export const parameters = {
  service: ["PGSERVICE", "read"],
  servicefile: ["PGSERVICEFILE", "read"],
  host: ["PGHOST", "read"],
  hostaddr: ["PGHOSTADDR", "read"],
  port: ["PGPORT", "read"],
  dbname: ["PGDATABASE", "read"],
  user: ["PGUSER", "read"],
  password: ["PGPASSWORD", "read"],
  passfile: ["PGPASSFILE", "read"],
  options: ["PGOPTIONS", "read"],
  target_session_attrs: ["PGTARGETSESSIONATTRS", "read"],
  connect_timeout: ["PGCONNECT_TIMEOUT", "read"],
  require_auth: ["PGREQUIREAUTH", "read"],
  channel_binding: ["PGCHANNELBINDING", "read"],
  sslmode: ["PGSSLMODE", "read"],
  sslnegotiation: ["PGSSLNEGOTIATION", "read"],
  sslrootcert: ["PGSSLROOTCERT", "read"],
  sslcrl: ["PGSSLCRL", "read"],
  sslcrldir: ["PGSSLCRLDIR", "read"],
  sslcert: ["PGSSLCERT", "read"],
  sslkey: ["PGSSLKEY", "read"],
  sslpassword: [null, "read"],
  sslcertmode: [
    "PGSSLCERTMODE",
    {
      but: ["disable", "allow"],
      refused: "leave it to the server's pg_hba.conf: clientcert=verify-full",
    },
  ],
  sslsni: ["PGSSLSNI", "read"],
  ssl_min_protocol_version: ["PGSSLMINPROTOCOLVERSION", "read"],
  ssl_max_protocol_version: ["PGSSLMAXPROTOCOLVERSION", "read"],
  gssencmode: [
    "PGGSSENCMODE",
    { but: ["disable", "prefer"], refused: "encrypt by TLS: sslmode=require" },
  ],
  requirepeer: [
    "PGREQUIREPEER",
    { refused: "give --database-url without it, or connect to a TCP port by TLS" },
  ],
  replication: [
    null,
    { but: ["false", "off", "no", "0"], refused: "give a URL of ordinary sessions" },
  ],
  scram_client_key: [null, { refused: "give the password instead" }],
  scram_server_key: [null, { refused: "give the password instead" }],
  load_balance_hosts: ["PGLOADBALANCEHOSTS", { ignored: "the hosts are tried in their order" }],
  client_encoding: ["PGCLIENTENCODING", { ignored: "entrypoint's sessions are in UTF-8" }],
  application_name: ["PGAPPNAME", ownName],
  fallback_application_name: [null, ownName],
  keepalives: [null, ownKeepalives],
  keepalives_idle: [null, ownKeepalives],
  keepalives_interval: [null, ownKeepalives],
  keepalives_count: [null, ownKeepalives],
  tcp_user_timeout: [null, ownKeepalives],
  sslcompression: ["PGSSLCOMPRESSION", { ignored: "libpq ignores it too" }],
  sslkeylogfile: [null, { ignored: "it is for debugging" }],
  krbsrvname: ["PGKRBSRVNAME", noGss],
  gsslib: ["PGGSSLIB", noGss],
  gssdelegation: ["PGGSSDELEGATION", noGss],
  oauth_issuer: [null, noOauth],
  oauth_client_id: [null, noOauth],
  oauth_client_secret: [null, noOauth],
  oauth_scope: [null, noOauth],
  min_protocol_version: ["PGMINPROTOCOLVERSION", ownProtocol],
  max_protocol_version: ["PGMAXPROTOCOLVERSION", ownProtocol],
} as const satisfies Record<string, readonly [variable: string | null, fate: Fate]>;

export type ParameterName = keyof typeof parameters;

const entries = Object.entries(parameters) as readonly (readonly [
  ParameterName,
  readonly [variable: string | null, fate: Fate],
])[];

const ownSettings = { ignored: "entrypoint's statements do not depend on it" };

/** The variables that stand in for no parameter. */
export const otherVariables = {
  PGSYSCONFDIR: "read",
  PGREQUIRESSL: "read",
  PGDATESTYLE: ownSettings,
  PGTZ: ownSettings,
  PGGEQO: ownSettings,
  PGLOCALEDIR: { ignored: "it is for libpq's messages" },
} as const satisfies Record<string, Fate>;

/** What a driver of SQLAlchemy takes besides, in a URL, to say where the database is. Others of its own are ignored. */
export const driverParameters = {
  database: "read",
  ssl: "read",
  unix_sock: "read",
  dsn: { refused: "write what it says into the URL itself" },
  conninfo: { refused: "write what it says into the URL itself" },
} as const satisfies Record<string, Fate>;

/** The drivers that are not libpq's: the parameters whose variables they do not look at, and entrypoint neither. */
export const unreadByDriver: Readonly<Record<string, readonly ParameterName[]>> = {
  asyncpg: ["service", "hostaddr", "options"],
  pg8000: ["service", "host", "hostaddr", "port", "dbname", "options", "target_session_attrs"],
};

/** What they take of libpq's parameters in a URL's query; SQLAlchemy hands all others over too, and the driver fails. */
export const takenByDriver: Readonly<Record<string, readonly ParameterName[]>> = {
  asyncpg: [
    "host",
    "port",
    "user",
    "password",
    "passfile",
    "target_session_attrs",
    "krbsrvname",
    "gsslib",
  ],
  pg8000: ["host", "port", "user", "password", "application_name", "replication"],
};

/** The value of a parameter, wherever it comes from; undefined where there is none. */
export type Lookup = (name: ParameterName) => string | undefined;

export function isParameter(name: string): name is ParameterName {
  return Object.hasOwn(parameters, name);
}

/** Looks in `layers` first, where an empty value ends the search, and then in the environment. */
export function createLookup(
  layers: readonly ReadonlyMap<string, string>[],
  env: Variables,
  driver: string | undefined,
): Lookup {
  const unread = unreadByDriver[driver ?? ""] ?? [];
  return (name) => {
    const layer = layers.find((one) => one.has(name));
    if (layer !== undefined) return layer.get(name) || undefined;
    const [variable] = parameters[name];
    return (variable !== null && !unread.includes(name) && env[variable]) || undefined;
  };
}

/** Throws BadUrl where a parameter asks for what entrypoint cannot do. @param sockets whether a host may be a Unix socket. */
export function refuseParameters(get: Lookup, sockets: boolean): void {
  for (const [name, [variable, fate]] of entries) {
    if (fate === "read" || !("refused" in fate)) continue;
    const value = get(name);
    if (value === undefined) continue;
    // A TCP connection has no peer to look at: libpq ignores it there.
    if (fate.but?.includes(value) || (name === "requirepeer" && !sockets)) continue;
    const names = variable === null ? name : `${name} (${variable})`;
    throw new BadUrl(`entrypoint cannot do what ${names} asks for: ${fate.refused}`);
  }
}
