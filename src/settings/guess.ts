// Where no setting names the database: the variables that public projects make its address of, POSTGRES_HOST and its like, or a
// URL under another name. Guarantees: only what is complete is taken, and of several databases none.

import { BadUrl, parseDatabaseUrl, type DatabaseAddress } from "../postgres/url.ts";
import type { Environment } from "../runtime/environment.ts";

/** A database that the environment seems to name. */
export interface DatabaseGuess {
  readonly address: DatabaseAddress;
  /** The variables that it is made of. */
  readonly names: readonly string[];
  /** Of the variable in which its port would be, which is not set: a regular expression. Null where nothing is a default. */
  readonly port: string | null;
  /** It may be another system's: only code that reads these variables, and speaks of PostgreSQL, makes it a guess. */
  readonly likely: boolean;
}

const parts = {
  host: ["HOST", "SERVER", "HOSTNAME"],
  port: ["PORT"],
  user: ["USER", "USERNAME"],
  password: ["PASSWORD", "PASS", "PASSWD", "PWD"],
  dbname: ["DB", "DATABASE", "NAME", "DBNAME", "DB_NAME", "DATABASE_NAME"],
  sslmode: ["SSLMODE", "SSL_MODE"],
  engine: ["ENGINE", "CONNECTION", "TYPE", "DIALECT", "DRIVER"],
} as const;

type Part = keyof typeof parts;

const families = ["POSTGRES", "POSTGRESQL", "PSQL", "PGSQL", "PG", "DB", "DATABASE", "SQL", "RDS"];
/** Ports of other systems. */
const otherPorts = ["3306", "33060", "1433", "1521", "27017"];
const urlPattern = /(?:URL|URI|DSN|CONN|CONNECTION|CONNECTION_STRING)$/;
/** Those of another database on purpose. */
const others = /(?:^|_)(?:TEST|TESTS|TESTING|SHADOW|REPLICA|READ|READONLY|RO|ADMIN|ROOT)(?:_|$)/;

type Family = Map<Part, { readonly name: string; readonly value: string }[]>;

/** `several`: variables that name different databases. */
export type GuessAnswer =
  | { readonly kind: "guess"; readonly guess: DatabaseGuess }
  | { readonly kind: "several"; readonly names: readonly string[] }
  | { readonly kind: "none" };

export function guessDatabase(env: Environment): GuessAnswer {
  const all = [...guessFromUrls(env), ...guessFromParts(env)];
  const certain = all.filter(({ likely }) => !likely);
  const guesses = certain.length > 0 ? certain : all;
  const [first, ...rest] = guesses;
  if (first === undefined) return { kind: "none" };
  const differs = rest.some(({ address }) => keyOf(address) !== keyOf(first.address));
  if (differs) return { kind: "several", names: guesses.flatMap(({ names }) => names) };
  return { kind: "guess", guess: first };
}

function keyOf({ hosts, user, database }: DatabaseAddress): string {
  return JSON.stringify([hosts.map(({ host, port }) => [host, port]), user, database]);
}

function guessFromUrls(env: Environment): DatabaseGuess[] {
  return Object.entries(env).flatMap(([name, value = ""]) => {
    if (!urlPattern.test(name) || others.test(name)) return [];
    if (name.startsWith("ENTRYPOINT_") || !/^postgres(?:ql)?(?:\+\w+)?:\/\//.test(value)) return [];
    const address = parse(value, env);
    return address?.database === undefined
      ? []
      : [{ address, names: [name], port: null, likely: false }];
  });
}

function guessFromParts(env: Environment): DatabaseGuess[] {
  const found = new Map<string, Family>();
  const isFamily = new RegExp(`^(?:[A-Z0-9_]+_)?(?:${families.join("|")})$`);
  const words = (Object.keys(parts) as Part[]).flatMap((part) =>
    parts[part].map((word) => ({ part, word })),
  );
  for (const [name, value = ""] of Object.entries(env)) {
    if (value.trim() === "" || others.test(name)) continue;
    for (const { part, word } of words) {
      if (!name.endsWith(word)) continue;
      const rest = name.slice(0, -word.length);
      const prefix = rest.endsWith("_") ? rest.slice(0, -1) : rest;
      // `DBHOST`
      if (!isFamily.test(prefix) || (prefix === rest && !/(?:^|_)DB$/.test(prefix))) continue;
      // What Docker and Kubernetes set for a service of that name.
      if (part === "port" && value.startsWith("tcp://")) continue;
      const family: Family = found.get(rest) ?? new Map();
      found.set(rest, family.set(part, [...(family.get(part) ?? []), { name, value }]));
    }
  }
  return [...found].flatMap(([prefix, family]) => {
    const guess = guessFromFamily(prefix, family, env);
    return guess === null ? [] : [guess];
  });
}

function guessFromFamily(prefix: string, family: Family, env: Environment): DatabaseGuess | null {
  const keywords: string[] = [];
  const names: string[] = [];
  for (const part of ["host", "port", "user", "password", "dbname", "sslmode"] as const) {
    const given = family.get(part) ?? [];
    const [one] = given;
    // `POSTGRES_HOST` and `POSTGRES_SERVER`.
    if (given.some(({ value }) => value !== one?.value)) return null;
    if (one === undefined) {
      if (part === "port" || part === "sslmode") continue;
      return null;
    }
    if (part === "host" && one.value.includes("://")) return null;
    names.push(one.name);
    keywords.push(`${part}='${one.value.replaceAll(/['\\]/g, String.raw`\$&`)}'`);
  }
  const [database] = family.get("dbname") ?? [];
  // `DB_NAME_MIGRATIONS`
  if (Object.keys(env).some((name) => name.startsWith(`${database?.name ?? ""}_`))) return null;
  const system = findSystem(prefix, family);
  if (system === "other") return null;
  const address = parse(keywords.join(" "), env);
  if (address === null) return null;
  const port = family.has("port") ? null : `${prefix}PORT`;
  return { address, names, port, likely: system === "likely" };
}

/** `DB_HOST` may be that of any database system. */
function findSystem(prefix: string, family: Family): "postgres" | "likely" | "other" {
  if (/POSTGRES|PSQL|PGSQL|(?:^|_)PG(?:_|$)/.test(prefix)) return "postgres";
  const engines = family.get("engine") ?? [];
  if (engines.length > 0) {
    const all = engines.every(({ value }) => /postgres|psycopg|pgsql/i.test(value));
    return all ? "postgres" : "other";
  }
  const port = family.get("port")?.[0]?.value ?? "";
  if (port === "5432") return "postgres";
  return otherPorts.includes(port) ? "other" : "likely";
}

function parse(text: string, env: Environment): DatabaseAddress | null {
  try {
    const answer = parseDatabaseUrl(text, env);
    return answer.kind === "postgres" ? answer.address : null;
  } catch (error) {
    if (error instanceof BadUrl) return null;
    throw error;
  }
}
