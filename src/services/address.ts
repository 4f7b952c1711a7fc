// What --wait-for names: a service besides the database, by its URL. Guarantees: `name` has no password.

export interface Service {
  readonly protocol: "tcp" | "redis" | "http" | "amqp";
  /** What messages call it. */
  readonly name: string;
  readonly at: { readonly host: string; readonly port: number } | { readonly path: string };
  /** Null: no TLS. */
  readonly tls: { readonly verified: boolean; readonly caFile: string | null } | null;
  readonly user: string;
  readonly password: string;
  /** Of HTTP: the path and the query. */
  readonly resource: string;
}

interface Scheme {
  readonly protocol: Service["protocol"];
  readonly tls: boolean;
  /** Null: it has to be given. */
  readonly port: number | null;
}

const schemes: Readonly<Record<string, Scheme>> = {
  tcp: { protocol: "tcp", tls: false, port: null },
  redis: { protocol: "redis", tls: false, port: 6379 },
  rediss: { protocol: "redis", tls: true, port: 6379 },
  valkey: { protocol: "redis", tls: false, port: 6379 },
  valkeys: { protocol: "redis", tls: true, port: 6379 },
  http: { protocol: "http", tls: false, port: 80 },
  https: { protocol: "http", tls: true, port: 443 },
  amqp: { protocol: "amqp", tls: false, port: 5672 },
  amqps: { protocol: "amqp", tls: true, port: 5671 },
  // Celery's name.
  pyamqp: { protocol: "amqp", tls: false, port: 5672 },
};

export const serviceForms =
  "tcp://HOST:PORT, HOST:PORT, redis://HOST, amqp://HOST, http://HOST, https://HOST, unix:/PATH";

/** Null where it is none of the forms. */
export function parseService(text: string): Service | null {
  const [, path] = /^unix:(?:\/\/)?(\/.+)$/.exec(text) ?? [];
  if (path !== undefined) {
    const plain = { tls: null, user: "", password: "", resource: "" };
    return { protocol: "tcp", name: `unix:${path}`, at: { path }, ...plain };
  }
  const [, scheme = "tcp", rest = text] = /^([a-z]+):\/\/(.*)$/is.exec(text) ?? [];
  const known = Object.hasOwn(schemes, scheme) ? schemes[scheme] : undefined;
  if (known === undefined) return null;
  // A scheme that URL knows by heart has its own default port, which it drops.
  const url = parseUrl(`entrypoint://${rest}`);
  if (url === null || !/^(?:[\w.-]+|\[[\da-f:.]+\])$/i.test(url.hostname)) return null;
  const { protocol } = known;
  const port = url.port === "" ? known.port : Number(url.port);
  const isPlace = protocol === "tcp" && !/^\/?$/.test(url.pathname + url.search + url.username);
  if (port === null || port === 0 || isPlace) return null;
  const parameter = (...names: string[]) =>
    names.map((name) => url.searchParams.get(name)).find((value) => value !== null) ?? null;
  const check = parameter("ssl_cert_reqs", "verify") ?? "";
  const user = decode(url.username);
  const password = decode(url.password);
  if (user === null || password === null) return null;
  const named = user === "" ? "" : `${url.username}@`;
  const shownPort = protocol === "http" && port === known.port ? "" : `:${port}`;
  const shownPath = protocol === "http" ? url.pathname : "";
  return {
    protocol,
    name: `${scheme}://${named}${url.hostname}${shownPort}${shownPath}`,
    at: { host: url.hostname.replaceAll(/^\[|\]$/g, ""), port },
    tls: known.tls
      ? {
          verified: protocol === "http" || !/none$/i.test(check),
          caFile: protocol === "http" ? null : parameter("ssl_ca_certs", "cacertfile"),
        }
      : null,
    user,
    password,
    resource: `${url.pathname === "" ? "/" : url.pathname}${url.search}`,
  };
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null;
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
