// Every form that an application's DATABASE_URL takes, read as SQLAlchemy and libpq read it: a password that works
// in the app works here. And none of it, however malformed, ever shows up in a message.

import { expect, test } from "vitest";
import {
  addressFromEnvironment,
  appendToOptions,
  BadUrl,
  describeAddress,
  parseDatabaseUrl,
  tlsOptions,
  type DatabaseAddress,
} from "../../src/database/url.ts";

type Variables = Record<string, string>;

function addressOf(url: string, env: Variables = {}): DatabaseAddress {
  const answer = parseDatabaseUrl(url, env);
  if (answer.kind !== "postgres") throw new Error(`${url} is foreign`);
  return answer.address;
}

function messageOf(url: string, env: Variables = {}): string {
  try {
    addressOf(url, env);
  } catch (error) {
    if (error instanceof BadUrl) return error.message;
    throw error;
  }
  throw new Error(`${url} is accepted`);
}

test.each([
  "postgresql",
  "postgresql+psycopg",
  "postgresql+psycopg2",
  "postgresql+psycopg_async",
  "postgresql+asyncpg",
  "postgresql+pg8000",
  "POSTGRESQL",
])("reads %s://", (scheme) => {
  expect(addressOf(`${scheme}://blog:secret@db:5433/blog`)).toMatchObject({
    hosts: [{ host: "db", port: 5433 }],
    user: "blog",
    password: "secret",
    database: "blog",
    tlsMode: "prefer",
  });
});

test("warns of postgres://, which SQLAlchemy rejects", () => {
  const answer = parseDatabaseUrl("postgres://blog@db/blog");
  expect(answer).toMatchObject({
    kind: "postgres",
    warnings: [expect.stringContaining("write postgresql://")],
  });
  expect(parseDatabaseUrl("postgresql://blog@db/blog")).toMatchObject({ warnings: [] });
});

test.each([
  ["sqlite:///x", "sqlite"],
  ["sqlite://", "sqlite"],
  ["mysql+pymysql://u:p@h/d", "mysql"],
  ["cockroachdb+psycopg2://u@h/d", "cockroachdb"],
])("%s is of another system", (url, dialect) => {
  expect(parseDatabaseUrl(url)).toEqual({ kind: "foreign", dialect });
});

test.each(["postgressql://u@h/d", "postgre://u@h/d", "postgresq+asyncpg://u@h/d"])(
  "%s is a slip of the pen, and no other system",
  (url) => {
    expect(() => parseDatabaseUrl(url)).toThrow(BadUrl);
  },
);

// Each as SQLAlchemy's make_url reads it.
test.each([
  ["p#a", "p#a"],
  ["p/a", "p/a"],
  ["p?a", "p?a"],
  ["p:a", "p:a"],
  ["p a", "p a"],
  ["p+a", "p+a"],
  ["p%40a", "p@a"],
  ["p%2Fa%23", "p/a#"],
  ["p%C3%A9", "pé"],
  ["100%", "100%"],
  ["%zz", "%zz"],
  ["p%40%zz", "p@%zz"],
  ["#/?:[]", "#/?:[]"],
])("the password %s is %s", (written, password) => {
  expect(addressOf(`postgresql://blog:${written}@db:5432/blog`)).toMatchObject({
    hosts: [{ host: "db", port: 5432 }],
    user: "blog",
    password,
    database: "blog",
  });
});

test("an @ in the user's name is part of it, as Azure writes it", () => {
  expect(addressOf("postgresql://blog@server:secret@db/blog")).toMatchObject({
    hosts: [{ host: "db", port: 5432 }],
    user: "blog@server",
    password: "secret",
  });
});

test.each([
  ["postgresql://[::1]:5433/blog", "::1", 5433],
  ["postgresql://[fe80::1]/blog", "fe80::1", 5432],
  ["postgresql:///blog?host=::1", "::1", 5432],
  ["postgresql:///blog?host=[::1]:5433", "::1", 5433],
  ["host=fe80::1%eth0 dbname=blog", "fe80::1%eth0", 5432],
])("%s is an IPv6 address", (url, host, port) => {
  expect(addressOf(url).hosts).toEqual([{ host, port }]);
});

test.each([
  ["postgresql://h1:1,h2:2/blog"],
  ["postgresql:///blog?host=h1:1&host=h2:2"],
  ["postgresql:///blog?host=h1,h2&port=1,2"],
  ["postgresql://h1,h2/blog?port=1,2"],
  ["host=h1,h2 port=1,2 dbname=blog"],
])("%s names two hosts in their order", (url) => {
  expect(addressOf(url).hosts).toEqual([
    { host: "h1", port: 1 },
    { host: "h2", port: 2 },
  ]);
});

test("one port counts for every host, and an empty one in the list is the default", () => {
  expect(addressOf("host=h1,h2 port=7").hosts.map(({ port }) => port)).toEqual([7, 7]);
  expect(addressOf("host=h1,h2 port=7,").hosts.map(({ port }) => port)).toEqual([7, 7]);
  expect(addressOf("host=h1,h2 port=,7").hosts.map(({ port }) => port)).toEqual([5432, 7]);
});

test.each([
  ["postgresql:///blog?host=/run/pg", 5432],
  ["postgresql://%2Frun%2Fpg/blog", 5432],
  ["postgresql://%2Frun%2Fpg:5433/blog", 5433],
  ["postgresql://blog:x@/blog?host=/run/pg&port=5433", 5433],
  ["postgresql+pg8000://blog:x@/blog?unix_sock=/run/pg/.s.PGSQL.5433", 5433],
  ["host=/run/pg dbname=blog", 5432],
])("%s is a socket", (url, port) => {
  expect(addressOf(url)).toMatchObject({ hosts: [{ host: "/run/pg", port }], database: "blog" });
});

test("the query beats what stands before it, for SQLAlchemy and for libpq", () => {
  expect(
    addressOf("postgresql://u:p@h:1/d?host=h2&port=2&user=u2&password=p2&dbname=d2"),
  ).toMatchObject({
    hosts: [{ host: "h2", port: 2 }],
    user: "u2",
    password: "p2",
    database: "d2",
  });
  expect(addressOf("postgresql://h:1/d?port=2").hosts).toEqual([{ host: "h", port: 2 }]);
});

test.each([
  ["?sslmode=disable", "disable"],
  ["?sslmode=allow", "allow"],
  ["?sslmode=prefer", "prefer"],
  ["?sslmode=require", "require"],
  ["?sslmode=verify-ca", "verify-ca"],
  ["?sslmode=verify-full", "verify-full"],
  ["?ssl=require", "require"],
  ["?ssl=true", "verify-full"],
  ["?ssl=false", "disable"],
  ["?sslmode=&ssl=require", "require"],
  ["?sslrootcert=system", "verify-full"],
  ["", "prefer"],
])("TLS by %s is %s", (query, tlsMode) => {
  expect(addressOf(`postgresql://db/blog${query}`).tlsMode).toBe(tlsMode);
});

test("an sslmode that there is not is refused, with those that there are", () => {
  expect(messageOf("postgresql://db/blog?sslmode=on-demand")).toBe(
    "sslmode is on-demand; allowed: disable, allow, prefer, require, verify-ca, verify-full",
  );
});

test("verify-full checks the host's name, and require checks nothing", () => {
  expect(tlsOptions(addressOf("postgresql://db/blog?sslmode=verify-full"))).toEqual({
    rejectUnauthorized: true,
  });
  expect(tlsOptions(addressOf("postgresql://db/blog?sslmode=require"))).toMatchObject({
    rejectUnauthorized: false,
  });
});

test("a TLS file that cannot be read is named", () => {
  const address = addressOf("postgresql://db/blog?sslmode=verify-full&sslrootcert=/no/such/ca.pem");
  expect(() => tlsOptions(address)).toThrow("the TLS file /no/such/ca.pem cannot be read");
});

test("parameters that are the driver's own change nothing", () => {
  expect(
    addressOf("postgresql+asyncpg://blog@db/blog?prepared_statement_cache_size=0&x=y"),
  ).toEqual({ ...addressOf("postgresql://blog@db/blog"), driver: "asyncpg" });
});

// parse_qsl, with which SQLAlchemy reads the query, takes a plus for a space.
test.each([
  ["-c search_path=blog", "-c search_path=blog"],
  ["-c%20search_path%3Dblog", "-c search_path=blog"],
  ["-csearch_path%3Da+-cb%3Dc", "-csearch_path=a -cb=c"],
  ["-ctimezone=GMT%2B3", "-ctimezone=GMT+3"],
])("the options %s are %s", (written, options) => {
  expect(addressOf(`postgresql://db/blog?options=${written}`).options).toBe(options);
});

test.each([
  ["read-write", true],
  ["primary", true],
  ["any", false],
  ["standby", false],
])("target_session_attrs=%s asks for a server to write to: %s", (word, writable) => {
  expect(addressOf(`postgresql://h1,h2/blog?target_session_attrs=${word}`).writable).toBe(writable);
});

test("a database's name may hold # and /, and spaces when encoded", () => {
  expect(addressOf("postgresql://db/a/b#c").database).toBe("a/b#c");
  expect(addressOf("postgresql://db/my%20blog").database).toBe("my blog");
});

test("spaces and a newline around the URL do no harm", () => {
  expect(addressOf(" postgresql://db/blog\n")).toEqual(addressOf("postgresql://db/blog"));
});

test("libpq's keywords may be quoted, escaped and spaced", () => {
  expect(
    addressOf(String.raw`host = db port=5433 dbname='my blog' user=me password='it\'s \\ here'`),
  ).toMatchObject({
    hosts: [{ host: "db", port: 5433 }],
    user: "me",
    password: String.raw`it's \ here`,
    database: "my blog",
  });
});

test.each([
  ["password=it's", "it's"],
  ["password=a://b", "a://b"],
  [String.raw`password=a\ b`, "a b"],
  ["password=''", undefined],
])("libpq's keyword %s", (written, password) => {
  expect(addressOf(`host=db ${written} dbname=blog`)).toMatchObject({ password, database: "blog" });
});

test("PG* variables fill in what the URL leaves out", () => {
  const env = {
    PGHOST: "other",
    PGPORT: "5433",
    PGUSER: "me",
    PGPASSWORD: "secret",
    PGDATABASE: "mine",
    PGSSLMODE: "require",
    PGOPTIONS: "-c a=b",
    PGTARGETSESSIONATTRS: "read-write",
  };
  expect(addressOf("postgresql://", env)).toMatchObject({
    hosts: [{ host: "other", port: 5433 }],
    user: "me",
    password: "secret",
    database: "mine",
    tlsMode: "require",
    options: "-c a=b",
    writable: true,
  });
});

test("the URL beats PG* variables", () => {
  const env = {
    PGHOST: "other",
    PGHOSTADDR: "192.0.2.1",
    PGPORT: "5433",
    PGUSER: "me",
    PGPASSWORD: "mine",
    PGDATABASE: "mine",
    PGSSLMODE: "require",
    PGOPTIONS: "-c a=b",
  };
  const url = "blog:secret@db:5432/blog?sslmode=disable&options=-c%20c=d";
  expect(addressOf(`postgresql://${url}`, env)).toEqual(addressOf(`postgresql://${url}`));
  expect(addressOf("postgresql:///blog?host=db", env).hosts).toEqual([{ host: "db", port: 5433 }]);
});

test("empty parameters and empty variables count as absent", () => {
  expect(
    addressOf("postgresql:///blog?host=&sslmode=", { PGHOST: "db", PGSSLMODE: "require" }),
  ).toMatchObject({ hosts: [{ host: "db", port: 5432 }], tlsMode: "require" });
  expect(addressOf("postgresql:///blog", { PGHOST: "", PGPORT: "", PGSSLMODE: "" })).toEqual(
    addressOf("postgresql://localhost/blog"),
  );
});

test("the environment alone is an address only where it names a host or a database", () => {
  expect(addressFromEnvironment({ PGUSER: "me", PGPASSWORD: "x", PGHOST: "" })).toBeNull();
  expect(addressFromEnvironment({ PGDATABASE: "blog" })).toMatchObject({
    hosts: [{ host: "localhost", port: 5432 }],
    database: "blog",
  });
  expect(addressFromEnvironment({ PGHOST: "db" })?.hosts).toEqual([{ host: "db", port: 5432 }]);
});

test.each([
  ["postgresql://blog:secret@db:5432/blog?password=secret", "postgresql://blog@db:5432/blog"],
  ["postgresql://blog:secret@h1:1,h2:2/blog", "postgresql://blog@h1:1,h2:2/blog"],
  ["postgresql://blog:secret@[::1]/blog", "postgresql://blog@[::1]:5432/blog"],
  ["host=/run/pg password=secret", "postgresql:///run/pg:5432/"],
])("%s is described without its password", (url, description) => {
  expect(describeAddress(addressOf(url))).toBe(description);
});

test.each([
  ["postgresql+asyncpg://db/blog", "asyncpg"],
  ["POSTGRESQL+PG8000://db/blog", "pg8000"],
  ["postgresql://db/blog", undefined],
  ["host=db dbname=blog", undefined],
])("the driver of %s is %s", (url, driver) => {
  expect(addressOf(url).driver).toBe(driver);
});

test.each([
  ["postgresql://db/blog?options=-csearch_path%3Da", "-csearch_path=a -c b=1"],
  ["postgresql://db/blog?options=-csearch_path=a&sslmode=disable", "-csearch_path=a -c b=1"],
  ["postgresql+psycopg://db/blog?a=b&options=-c+search_path%3Da&c=d", "-c search_path=a -c b=1"],
  ["postgresql://blog:p?options=x@db/blog?options=", " -c b=1"],
  [" postgresql://db/blog?options=-ca=%25 ", "-ca=% -c b=1"],
  ["host=db options='-c a=it\\'s' dbname=blog", "-c a=it's -c b=1"],
])("the options of %s are kept where one is added", (url, options) => {
  const appended = appendToOptions(url, "-c b=1");
  expect(addressOf(appended)).toEqual({ ...addressOf(url), options });
});

test.each([
  "postgresql://db/blog",
  "postgresql://blog:p?options=x@db/blog?a_options=b",
  "host=db",
  "mysql://db/blog?options=x",
  "junk",
])("%s, which has no options of PostgreSQL's, stays as it is", (url) => {
  expect(appendToOptions(url, "-c b=1")).toBe(url);
});

test("a URL without a percent sign gets none, which an ini file would stumble over", () => {
  expect(appendToOptions("postgresql://db/blog?options=-ca=b", "-c c=1")).not.toContain("%");
});

const malformed = [
  "s3cret",
  "",
  "//blog:s3cret@db/blog",
  "jdbc:postgresql://blog:s3cret@db/blog",
  "postgresql:/blog:s3cret@db/blog",
  "postgresql://blog:s3cret@s3cret@db/blog",
  "postgresql://blog:x@s3cret@db:5432/blog",
  "postgresql://blog:s3cret/blog",
  "postgresql://blog:99123/s3cret",
  "postgresql://blog:s3cret@db:0/blog",
  "postgresql://blog:s3cret@db:65536/blog",
  "postgresql://blog:s3cret@db:port/blog",
  "postgresql://blog:s3cret@db:1:2/blog",
  "postgresql://blog:s3cret@db/blog?port=0x1538",
  "postgresql://blog:s3cret@db/blog?port=1.5",
  "postgresql://blog:s3cret@db/blog?sslmode=yes",
  "host=db password='s3cret",
  "host=db password s3cret",
  "password=s3cret host",
];

test.each(malformed)("%s is refused, and its password is not repeated", (url) => {
  expect(messageOf(url)).not.toMatch(/s3cret|99123/);
});

test("an @ in a password is refused with its cure, since the first one ends the password", () => {
  expect(messageOf("postgresql://blog:a@b@db/blog")).toBe(
    "the password or the host holds an @: write it as %40",
  );
});
