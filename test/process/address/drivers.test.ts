// The table of connections: what the drivers themselves connect to, form by form, beside what entrypoint does. The chapter in
// src/postgres/README.md is made of these rows.

import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { findPassword } from "../../../src/postgres/password-file.ts";
import { BadUrl, isSocket, parseDatabaseUrl, type Host } from "../../../src/postgres/url.ts";
import { readDocument, readTable } from "../../harness/documents.ts";
import { certificate } from "../boot/fixtures/tls.ts";
import { plainEnvironment, python } from "../harness/entrypoint.ts";

const drivers = join(import.meta.dirname, "../../../.cache/drivers");
const directory = mkdtempSync(join(tmpdir(), "entrypoint-drivers-"));
const file = (name: string) => join(directory, name);
afterAll(() => rmSync(directory, { recursive: true }));
mkdirSync(file(".postgresql"));
writeFileSync(file(".postgresql/root.crt"), certificate);
writeFileSync(file("services.conf"), "[s]\nhost=127.0.0.2\nport=7\ndbname=d2\nuser=u\n");
writeFileSync(file("pass"), "*:*:*:*:kept\n");
chmodSync(file("pass"), 0o600);

type Row = readonly [form: string, driver: string, env?: string];

/** `~` is the home directory. A form without a scheme is libpq's own. */
const rows: readonly Row[] = [
  ["//u:p@127.0.0.1:5433/d", "psycopg"],
  ["//u:p@127.0.0.1:5433/d", "asyncpg"],
  ["//u:p@127.0.0.1:5433/d", "pg8000"],
  ["host=127.0.0.1 port=5433 dbname=d user=u", "psycopg"],
  ["//u:p@/d?host=/dir", "psycopg"],
  ["//u:p@/d?host=/dir", "asyncpg"],
  ["//u:p@/d?host=/dir/.s.PGSQL.5434", "asyncpg"],
  ["//u:p@/d?unix_sock=/dir/.s.PGSQL.5434", "pg8000"],
  ["//u@/d?host=127.0.0.1:1&host=127.0.0.2:2", "psycopg"],
  ["//u@/d?host=127.0.0.1:1&host=127.0.0.2:2", "asyncpg"],
  ["//u@/d?host=127.0.0.1,127.0.0.2&port=1,2", "asyncpg"],
  ["//u@127.0.0.1/d?sslmode=require", "psycopg"],
  ["//u@127.0.0.1/d?sslmode=require", "asyncpg"],
  ["//u@127.0.0.1/d?sslmode=require", "pg8000"],
  ["//u@127.0.0.1/d?ssl=require", "asyncpg"],
  ["//u@127.0.0.1/d?ssl=verify_full", "asyncpg"],
  ["//u@127.0.0.1/d?ssl=true", "asyncpg"],
  ["//u@127.0.0.1/d", "psycopg", "PGSSLMODE=require"],
  ["//u@127.0.0.1/d", "asyncpg", "PGSSLMODE=require"],
  ["//u@127.0.0.1/d?passfile=~/pass", "psycopg"],
  ["//u@127.0.0.1/d?passfile=~/pass", "asyncpg"],
  ["//u@127.0.0.1/d", "asyncpg", "PGPASSFILE=~/pass"],
  ["///?service=s", "psycopg", "PGSERVICEFILE=~/services.conf"],
  ["//u@127.0.0.1/d", "asyncpg", "PGSERVICE=s PGSERVICEFILE=~/services.conf"],
  ["//u@127.0.0.1/d?service=s", "asyncpg", "PGSERVICEFILE=~/services.conf"],
  ["//u@127.0.0.1/d?service=s", "pg8000"],
  ["//u@/", "psycopg", "PGHOST=127.0.0.1 PGPORT=7 PGDATABASE=d"],
  ["//u@/", "asyncpg", "PGHOST=127.0.0.1 PGPORT=7 PGDATABASE=d"],
  ["//u@/d", "pg8000", "PGHOST=127.0.0.1 PGPORT=7"],
  ["//u@127.0.0.1/d?options=-csearch_path%3Dx", "asyncpg"],
  ["//u@127.0.0.1/d?options=-csearch_path%3Dx", "pg8000"],
  ["//u@127.0.0.1/d?database=x", "asyncpg"],
  ["//u@127.0.0.1/d?dbname=x", "asyncpg"],
  ["//u@127.0.0.1/d?target_session_attrs=read-write", "asyncpg"],
];

const expand = (text: string) => text.replaceAll("~", directory);

function addressOf([form, driver]: Row): string {
  return expand(form.startsWith("//") ? `postgresql+${driver}:${form}` : form);
}

function environmentOf([, , env = ""]: Row): Record<string, string> {
  const pairs = env.split(" ").filter((pair) => pair !== "");
  return { HOME: directory, ...Object.fromEntries(pairs.map((pair) => expand(pair).split("="))) };
}

interface Answer {
  readonly error?: string;
  readonly hosts: readonly ([host: string, port: number] | string)[];
  readonly database: string;
  readonly user: string;
  readonly password: string | null;
  readonly tls: string | null;
}

function ask(script: string, asked: readonly Row[]): unknown[] {
  const { status, stdout, stderr } = spawnSync(python, [join(import.meta.dirname, script)], {
    input: JSON.stringify(asked.map((row) => [addressOf(row), environmentOf(row)])),
    env: plainEnvironment({ HOME: directory, PYTHONPATH: drivers }),
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout);
}

/** libpq's options are lists of one entry for each host. */
function readLibpq(answer: Readonly<Record<string, string | null>>): Answer {
  const list = (name: string) => answer[name]?.split(",") ?? [];
  const ports = list("port");
  return {
    ...(typeof answer["error"] === "string" ? { error: answer["error"] } : {}),
    hosts: list("host").map((host, index) => {
      const port = Number((ports.length > 1 ? ports[index] : ports[0]) || "5432");
      return host.startsWith("/") ? `${host}/.s.PGSQL.${port}` : [host, port];
    }),
    database: answer["dbname"] ?? "",
    user: answer["user"] ?? "",
    password: answer["password"] ?? null,
    tls: answer["sslmode"] ?? null,
  };
}

/** What entrypoint connects to, its warnings, or why it refuses. */
function askEntrypoint(row: Row): Answer & { readonly warning?: string } {
  const nothing = { hosts: [], database: "", user: "", password: null, tls: null };
  try {
    const answer = parseDatabaseUrl(addressOf(row), environmentOf(row));
    if (answer.kind === "foreign") throw new Error("it is foreign");
    const { address, warnings } = answer;
    const user = address.user ?? userInfo().username;
    const database = address.database ?? user;
    const [first] = address.hosts;
    if (first === undefined) throw new Error("it has no host");
    const kept = findPassword(address.passwordFile ?? "", { ...first, database, user });
    return {
      hosts: address.hosts.map(place),
      database,
      user,
      password: address.password ?? (kept.kind === "found" ? kept.password : null),
      tls: address.tls.mode,
      ...(warnings[0] === undefined ? {} : { warning: warnings[0] }),
    };
  } catch (error) {
    if (error instanceof BadUrl) return { ...nothing, error: error.message };
    throw error;
  }
}

function place(host: Host): [string, number] | string {
  return isSocket(host) ? `${host.host}/.s.PGSQL.${host.port}` : [host.host, host.port];
}

/** `h:5433, d as u, TLS require`; the mode of TLS where it is not the usual one. */
function describe({ error, hosts, database, user, password, tls }: Answer): string {
  if (error !== undefined) {
    if (error.includes("`sslmode` parameter must be one of")) return "fails: no mode of TLS";
    return `fails: ${/unexpected keyword argument '\w+'/.exec(error)?.[0] ?? error}`;
  }
  const list = hosts.map((host) => (typeof host === "string" ? host : host.join(":"))).join(" ");
  const kept = password === "kept" ? ", the file's password" : "";
  const plain = tls === null || tls === "prefer" || tls === "disable";
  return `${list}, ${database} as ${user}${kept}${plain ? "" : `, TLS ${tls}`}`;
}

function isLibpq([, driver]: Row): boolean {
  return driver === "psycopg";
}

function answerAll(): Map<Row, Answer> {
  const libpq = rows.filter((row) => isLibpq(row));
  const others = rows.filter((row) => !isLibpq(row));
  return new Map([
    ...ask("fixtures/libpq.py", libpq).map(
      (answer, index) =>
        [libpq[index] as Row, readLibpq(answer as Record<string, string>)] as const,
    ),
    ...ask("fixtures/drivers.py", others).map(
      (answer, index) => [others[index] as Row, answer as Answer] as const,
    ),
  ]);
}

/** Debian's Python has no pip to install them with. */
const answers = existsSync(join(drivers, "asyncpg")) ? answerAll() : null;

test.skipIf(answers === null)(
  "the document's table is what the drivers do, and what entrypoint does",
  () => {
    const made = rows.map((row) => {
      const [form, driver, env = ""] = row;
      const answer = answers?.get(row) as Answer;
      const own = askEntrypoint(row);
      const [theirs, ours] = [answer, own].map(describe);
      const warned = own.warning === undefined ? "" : `; warns: ${own.warning}`;
      const does =
        own.error !== undefined
          ? `refuses: ${own.error}`
          : `${theirs === ours ? "the same" : ours}${warned}`;
      // Never another database, and no silence where the application will fail.
      if (own.error === undefined && answer.error === undefined) expect(ours, form).toBe(theirs);
      if (answer.error !== undefined) expect(own.error ?? own.warning, form).toBeDefined();
      return [`${form}${env === "" ? "" : `, ${env}`}`, driver, theirs, does];
    });
    const text = made.map(
      (cells) =>
        `| ${cells.map((cell, index) => (index === 0 ? `\`${cell}\`` : cell)).join(" | ")} |`,
    );
    const table = readTable(
      readDocument("src/postgres/README.md", "What the drivers connect to"),
      "Form",
    );
    expect(table, text.join("\n")).toEqual(made);
  },
);
