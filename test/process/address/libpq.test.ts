// Held against libpq itself, and against SQLAlchemy in front of it: the parameters that there are, and which host, which
// database and which password an address means.

import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parameters } from "../../../src/postgres/parameters.ts";
import { findPassword } from "../../../src/postgres/password-file.ts";
import { BadUrl, parseDatabaseUrl } from "../../../src/postgres/url.ts";
import { plainEnvironment, python } from "../harness/entrypoint.ts";

const directory = mkdtempSync(join(tmpdir(), "entrypoint-address-"));
const file = (name: string) => join(directory, name);
afterAll(() => rmSync(directory, { recursive: true }));
mkdirSync(file("home/.postgresql"), { recursive: true });
mkdirSync(file("etc"));

const passwords = String.raw`# comment
127.0.0.1:5433:blog:me:of the port
127.0.0.1:*:a\:b:me:es\:cap\\ed\x:more
localhost:*:blog:me:of the socket
/run/pg:*:blog:me:of the directory
db.example:*:blog:me:of the name
*:*:blog:nobody:
*:*:blog:nobody:second
`;
const service = `
[blog]
host=127.0.0.1
port=5433
dbname=blog
user=me
options=-c a=b
sslmode=require

[addressed]
hostaddr=127.0.0.1
dbname=
[blog]
host=192.0.2.9
[spaced]
host = 127.0.0.1
[unknown]
hots=127.0.0.1
[nested]
service=blog
`;
const system = "[blog]\nhost=192.0.2.9\n[system]\nhost=127.0.0.2\n";
for (const [name, content, mode] of [
  ["home/.pgpass", passwords, 0o600],
  ["home/.pg_service.conf", service, 0o644],
  ["etc/pg_service.conf", system, 0o644],
  ["named.conf", "[blog]\nhost=127.0.0.3\n", 0o644],
  ["named.pgpass", "*:*:*:*:named\n", 0o600],
  ["open.pgpass", "*:*:*:*:open\n", 0o640],
] as const) {
  writeFileSync(file(name), content);
  chmodSync(file(name), mode);
}

function askLibpq(words: readonly string[], input = ""): unknown {
  const script = join(import.meta.dirname, "fixtures/libpq.py");
  const env = plainEnvironment({ HOME: file("home"), PGSYSCONFDIR: file("etc") });
  const { status, stdout, stderr } = spawnSync(python, [script, ...words], {
    input,
    env,
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout);
}

test("every parameter of libpq, and its variable, is known", () => {
  const known = Object.entries(parameters).map(([name, [variable]]) => [name, variable]);
  const listed = askLibpq(["parameters"]) as readonly (readonly [string, string | null])[];
  // PostgreSQL 18 has 51; older ones have fewer, and none that newer ones have not.
  expect(listed.length).toBeGreaterThan(35);
  expect(known).toEqual(expect.arrayContaining([...listed]));
});

const cases: readonly (readonly [address: string, env?: Readonly<Record<string, string>>])[] = [
  ["postgresql://me@127.0.0.1:5433/blog"],
  ["postgresql+psycopg2://me:secret@127.0.0.1/blog"],
  ["postgresql+psycopg2://me:p%40ss%2F@127.0.0.1/blog"],
  ["postgresql+psycopg2://me@127.0.0.1/blog", { PGPORT: "5433" }],
  ["postgresql+psycopg2:///blog?host=127.0.0.1:1&host=127.0.0.2:2"],
  ["postgresql+psycopg2:///blog?host=127.0.0.1,127.0.0.2&port=1,2"],
  ["postgresql+psycopg2://127.0.0.9/other?host=127.0.0.1&port=2&user=me&dbname=blog&password=x"],
  ["postgresql+psycopg2://127.0.0.9:5433/blog?host=127.0.0.1"],
  ["postgresql+psycopg2://127.0.0.9:5433/blog?host=127.0.0.1:5434"],
  ["postgresql+psycopg2://:5433/blog?host=127.0.0.1"],
  ["postgresql+psycopg2://127.0.0.1/?dbname=a%20b%25"],
  ["postgresql://127.0.0.1:1,127.0.0.2/blog", { PGPORT: "3" }],
  ["host=127.0.0.1,127.0.0.2 port=1 dbname=blog"],
  ["host=127.0.0.1,127.0.0.2 port=1, dbname=blog"],
  ["host=127.0.0.1,127.0.0.2 port=,2 dbname=blog"],
  ["host=127.0.0.1,127.0.0.2 port=1,2,3 dbname=blog"],
  [String.raw`host = 127.0.0.1 dbname='a\'b' user=me password=x\ y`],
  ["host=127.0.0.1 hots=127.0.0.2"],
  ["host=127.0.0.1 dbname=a%20b"],
  // What the environment adds.
  ["host=127.0.0.1", { PGDATABASE: "a%20b", PGUSER: "me", PGPASSWORD: "x", PGOPTIONS: "-c a=b" }],
  ["host=127.0.0.1 dbname='' user=me", { PGDATABASE: "other" }],
  ["host=db.example dbname=blog user=me", { PGHOSTADDR: "127.0.0.1" }],
  ["host=127.0.0.1,127.0.0.2", { PGHOSTADDR: "127.0.0.1" }],
  ["dbname=blog", { PGHOSTADDR: "127.0.0.1" }],
  ["host=127.0.0.1", { PGREQUIRESSL: "1" }],
  ["host=127.0.0.1", { PGREQUIRESSL: "1", PGSSLMODE: "allow" }],
  ["host=127.0.0.1 sslmode=bad"],
  ["host=127.0.0.1 target_session_attrs=bad"],
  ["host=127.0.0.1 require_auth=bad"],
  ["host=127.0.0.1 channel_binding=bad"],
  ["host=127.0.0.1 sslnegotiation=direct"],
  ["host=127.0.0.1 sslmode=require sslrootcert=system"],
  // Services.
  ["service=blog"],
  ["postgresql+psycopg2:///?service=blog"],
  ["postgresql+psycopg2://you@/other?service=blog", { PGOPTIONS: "-c z=z", PGSSLMODE: "disable" }],
  ["postgresql+psycopg2://127.0.0.2:1/other?service=blog"],
  ["host=127.0.0.2", { PGSERVICE: "blog" }],
  ["user=me", { PGSERVICE: "addressed", PGDATABASE: "other" }],
  ["service=system"],
  ["service=blog", { PGSERVICEFILE: file("named.conf") }],
  ["service=system", { PGSERVICEFILE: file("named.conf") }],
  ["service=system", { PGSERVICEFILE: file("missing.conf") }],
  ["service=none"],
  ["service=spaced"],
  ["service=unknown"],
  ["service=nested"],
  ["service=blog", { HOME: "/no/such/home" }],
  // Passwords.
  ["host=127.0.0.1 port=5433 dbname=blog user=me"],
  ["host=127.0.0.1 port=5433 dbname=blog user=me password=given"],
  ["host=127.0.0.1 port=5433 dbname=blog user=you"],
  ["host=127.0.0.1 dbname=a:b user=me"],
  ["host=127.0.0.1 dbname=blog user=nobody"],
  ["host=/var/run/postgresql port=1 dbname=blog user=me"],
  ["host=/run/pg port=1 dbname=blog user=me"],
  ["host=127.0.0.1 dbname=x user=x", { PGPASSFILE: file("named.pgpass") }],
  ["host=127.0.0.1 dbname=x user=x passfile=/no/such", { PGPASSFILE: file("named.pgpass") }],
  ["host=127.0.0.1 dbname=x user=x", { PGPASSFILE: file("open.pgpass") }],
];

const answers = askLibpq(
  [],
  JSON.stringify(cases.map(([address, env]) => [address, complete(env)])),
) as readonly Readonly<Record<string, string | null>>[];

test.each(cases.map(([address, env = {}], index) => [address, env, answers[index]] as const))(
  "%s with %j is what libpq takes it for",
  (address, env, answer) => {
    const found = describe(address, complete(env));
    if (answer === undefined || answer["error"] !== undefined) {
      expect(found, answer?.["error"] ?? "no answer").toBeNull();
      return;
    }
    expect(found).toEqual(readAnswer(answer));
  },
);

function complete(env: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { HOME: file("home"), PGSYSCONFDIR: file("etc"), ...env };
}

/** What is compared. The first host's password alone is libpq's to tell. */
interface Meaning {
  readonly hosts: readonly { readonly host: string; readonly port: number; address?: string }[];
  readonly database: string;
  readonly user: string;
  readonly options: string;
  readonly mode: string;
  readonly password: string;
}

function readAnswer(answer: Readonly<Record<string, string | null>>): Meaning {
  const list = (name: string) => answer[name]?.split(",") ?? [];
  const addresses = list("hostaddr");
  const names = list("host");
  const ports = list("port");
  const hosts = (names.length > 0 ? names : addresses).map((host, index) => ({
    host,
    port: Number((ports.length > 1 ? ports[index] : ports[0]) || "5432"),
    ...(names.length > 0 && addresses.length > 0 ? { address: addresses[index] ?? "" } : {}),
  }));
  return {
    hosts,
    database: answer["dbname"] ?? "",
    user: answer["user"] ?? "",
    options: answer["options"] ?? "",
    mode: answer["sslmode"] ?? "",
    password: answer["password"] ?? "",
  };
}

/** Null where it is refused. */
function describe(text: string, env: Readonly<Record<string, string>>): Meaning | null {
  try {
    const answer = parseDatabaseUrl(text, env);
    if (answer.kind !== "postgres") throw new Error("it is foreign");
    const { address } = answer;
    const user = address.user ?? userInfo().username;
    const database = address.database ?? user;
    const passwordFile = address.passwordFile ?? `${env["HOME"]}/.pgpass`;
    const [first] = address.hosts;
    if (first === undefined) throw new Error("it has no host");
    const kept = findPassword(passwordFile, { ...first, database, user });
    return {
      hosts: address.hosts,
      database,
      user,
      options: address.options ?? "",
      mode: address.tls.mode,
      password: address.password ?? (kept.kind === "found" ? kept.password : ""),
    };
  } catch (error) {
    if (error instanceof BadUrl) return null;
    throw error;
  }
}
