// Every form that an application's DATABASE_URL takes, read as SQLAlchemy and libpq read it: a password that works
// in the app works here. And none of it, however malformed, ever shows up in a message.

import { expect, test } from "vitest";
import {
  addressFromEnvironment,
  appendToOptions,
  BadUrl,
  describeAddress,
  parseDatabaseUrl,
} from "../../../src/postgres/url.ts";

import { addressOf } from "./harness.ts";

type Variables = Record<string, string>;

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
    tls: { mode: "prefer" },
  });
});

test("warns of postgres://, which SQLAlchemy rejects", () => {
  const answer = parseDatabaseUrl("postgres://blog@db/blog");
  expect(answer).toMatchObject({
    kind: "postgres",
    warnings: [],
    inSqlAlchemy: expect.stringContaining("write postgresql://") as string,
  });
  expect(parseDatabaseUrl("postgresql://blog@db/blog")).toMatchObject({ inSqlAlchemy: null });
});

test.each([
  ["sqlite:///x", "sqlite"],
  ["sqlite://", "sqlite"],
  ["mysql+pymysql://u:p@h/d", "mysql"],
  ["cockroachdb+psycopg2://u@h/d", "cockroachdb"],
])("%s is of another system", (url, dialect) => {
  expect(parseDatabaseUrl(url)).toEqual({ kind: "foreign", dialect });
});

test("ecto:// is PostgreSQL, as the configuration of Phoenix has it", () => {
  expect(parseDatabaseUrl("ecto://u:p@h/d")).toMatchObject({
    kind: "postgres",
    address: { user: "u", database: "d" },
  });
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
  expect(addressOf("host=h1,h2 port=7,").hosts.map(({ port }) => port)).toEqual([7, 5432]);
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

test.each(["any", "read-write", "read-only", "primary", "standby", "prefer-standby"])(
  "target_session_attrs may be %s",
  (word) => {
    expect(addressOf(`postgresql://h1,h2/blog?target_session_attrs=${word}`).serverKind).toBe(word);
  },
);

test("a target_session_attrs that there is not is refused, with those that there are", () => {
  expect(messageOf("postgresql://h1,h2/blog?target_session_attrs=master")).toBe(
    "target_session_attrs is master; allowed: any, read-write, read-only, primary, standby, prefer-standby",
  );
});

test.each([
  ["10", 10_000],
  // libpq's shortest.
  ["1", 2_000],
  ["0", undefined],
  ["-1", undefined],
])("connect_timeout=%s is %s ms for one try", (seconds, ms) => {
  const url = `postgresql://db/blog?connect_timeout=${seconds}`;
  expect(addressOf(url).connectTimeoutMs).toBe(ms);
});

test("a database's name may hold # and /, and spaces when encoded", () => {
  expect(addressOf("postgresql://db/a/b#c").database).toBe("a/b#c");
  expect(addressOf("postgresql://db/100%").database).toBe("100%");
});

test.each(["my%20blog", "100%25", "%2f"])(
  "the database's name %s is refused, since one SQLAlchemy decodes it and another does not",
  (name) => {
    for (const scheme of ["postgresql", "postgresql+psycopg", "postgresql+asyncpg"]) {
      expect(messageOf(`${scheme}://blog:s3cret@db/${name}`)).toMatch(
        /^the database's name holds a %, .*give --database-url in the form host=… dbname=…$/,
      );
    }
  },
);

test.each([
  ["host=db dbname=my%20blog", {}, "my%20blog"],
  ["postgresql://db", { PGDATABASE: "my%20blog" }, "my%20blog"],
  // parse_qsl decodes it in every version.
  ["postgresql+psycopg://db/?dbname=my%20blog", {}, "my blog"],
  ["postgresql+asyncpg://db/?database=my%20blog", {}, "my blog"],
] as const)("the database of %s is certain", (url, env, database) => {
  expect(addressOf(url, env).database).toBe(database);
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
    tls: { mode: "require" },
    options: "-c a=b",
    serverKind: "read-write",
  });
});

test("the URL beats PG* variables", () => {
  const env = {
    PGHOST: "other",
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

test("hostaddr, and PGHOSTADDR, say where the named host is, as libpq has it", () => {
  const hosts = [{ host: "db", address: "192.0.2.1", port: 5432 }];
  expect(addressOf("postgresql://db/blog?hostaddr=192.0.2.1").hosts).toEqual(hosts);
  expect(addressOf("postgresql://db/blog", { PGHOSTADDR: "192.0.2.1" }).hosts).toEqual(hosts);
  expect(describeAddress(addressOf("host=db hostaddr=192.0.2.1"))).toBe(
    "postgresql://db(192.0.2.1):5432/",
  );
  expect(addressOf("hostaddr=192.0.2.1 dbname=blog").hosts).toEqual([
    { host: "192.0.2.1", port: 5432 },
  ]);
});

test.each([
  ["host=h1,h2 hostaddr=192.0.2.1", "it has 2 hosts and 1 hostaddr: give one for each host"],
  ["host=h1,h2 port=1,2,3", "it has 2 hosts and 3 ports: give one for each host"],
])("%s is refused, as by libpq", (url, message) => {
  expect(messageOf(url)).toBe(message);
});

test("a port without a host is that of PGHOST", () => {
  expect(addressOf("postgresql://blog:x@:5433/blog", { PGHOST: "db" }).hosts).toEqual([
    { host: "db", port: 5433 },
  ]);
});

test("empty parameters of a URL, and empty variables, count as absent", () => {
  expect(
    addressOf("postgresql:///blog?host=&sslmode=", { PGHOST: "db", PGSSLMODE: "require" }),
  ).toMatchObject({ hosts: [{ host: "db", port: 5432 }], tls: { mode: "require" } });
  const empty = { PGHOST: "", PGPORT: "", PGSSLMODE: "" };
  expect(addressOf("postgresql:///blog", empty)).toEqual(addressOf("postgresql:///blog"));
});

test("an empty keyword of libpq's keeps the variable away", () => {
  const env = { PGDATABASE: "other", PGHOST: "other" };
  expect(addressOf("host='' dbname='' user=me", env)).toMatchObject({
    hosts: [{ host: "localhost", byDefault: true }],
    database: undefined,
  });
});

test.each([
  ["postgresql+psycopg:///blog", true],
  ["postgresql+asyncpg:///blog", true],
  // It knows no sockets but those that are named.
  ["postgresql+pg8000:///blog", undefined],
])("without a host, %s may mean libpq's socket: %s", (url, byDefault) => {
  const [host] = addressOf(url).hosts;
  expect(host).toEqual({ host: "localhost", port: 5432, ...(byDefault && { byDefault }) });
});

test("a driver's own variables are read, and none that it does not read", () => {
  const env = {
    PGHOST: "other",
    PGHOSTADDR: "192.0.2.1",
    PGPORT: "5433",
    PGDATABASE: "other",
    PGSERVICE: "none",
    PGOPTIONS: "-c a=b",
    PGUSER: "me",
    PGPASSWORD: "secret",
  };
  expect(addressOf("postgresql+asyncpg://", env)).toMatchObject({
    hosts: [{ host: "other", port: 5433 }],
    database: "other",
    options: undefined,
    user: "me",
  });
  expect(addressOf("postgresql+pg8000://", env)).toMatchObject({
    hosts: [{ host: "localhost", port: 5432 }],
    database: undefined,
    options: undefined,
    user: "me",
    password: "secret",
  });
});

test("service= is refused for asyncpg, which ignores it", () => {
  expect(messageOf("postgresql+asyncpg:///?service=blog")).toBe(
    "asyncpg ignores service= as SQLAlchemy hands it over: write the host and the database into the URL",
  );
});

test.each(["dsn", "conninfo"])("%s=, a URL within the URL, is refused", (name) => {
  expect(messageOf(`postgresql+psycopg://?${name}=host%3Ddb`)).toBe(
    `entrypoint does not read ${name} in a URL: write what it says into the URL itself`,
  );
});

test("a keyword that libpq does not have is refused, and not repeated", () => {
  expect(messageOf("host=db password=my s3cret=x")).toBe(
    "its keyword number 3 is not one of libpq's",
  );
});

test("the environment alone is an address only where it names a host, a database or a service", () => {
  expect(addressFromEnvironment({ PGUSER: "me", PGPASSWORD: "x", PGHOST: "" })).toBeNull();
  expect(() => addressFromEnvironment({ PGSERVICE: "s", PGSERVICEFILE: "/no/such" })).toThrow(
    "/no/such",
  );
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
  "postgresql://blog:s3cret@db/blog?connect_timeout=s3cret",
  "postgresql://blog:s3cret@db/blog?scram_client_key=s3cret",
  "postgresql://blog:s3cret@db/my%20blog",
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

test.each([`"postgresql://blog:s3cret@db/blog"`, `'host=db password=s3cret'`])(
  "%s is refused for its quotes",
  (url) => {
    expect(messageOf(url)).toBe(
      "it stands in quotes, which are part of the value here: remove them",
    );
  },
);

test.each([
  [
    "asyncpg",
    "sslmode=require",
    "asyncpg fails at sslmode= in a URL, which is not one of its own: write ssl=",
  ],
  [
    "asyncpg",
    "dbname=x",
    "asyncpg fails at dbname= in a URL, which is not one of its own: write database=",
  ],
  [
    "asyncpg",
    "ssl=true",
    "asyncpg fails at ssl= with a boolean in a URL: write ssl=require or ssl=disable",
  ],
  [
    "pg8000",
    "sslmode=require",
    "pg8000 fails at sslmode= in a URL, which is not one of its own: leave it out",
  ],
])("%s with %s is warned of", (driver, query, warning) => {
  expect(parseDatabaseUrl(`postgresql+${driver}://blog@db/blog?${query}`)).toMatchObject({
    warnings: [warning],
  });
});

test.each([
  ["asyncpg", "ssl=require&passfile=/x&target_session_attrs=any&timeout=3&command_timeout=3"],
  ["pg8000", "application_name=x&timeout=3"],
  ["psycopg", "sslmode=require&options=-cx&application_name=x&dbname=x"],
])("%s with %s is not", (driver, query) => {
  expect(parseDatabaseUrl(`postgresql+${driver}://blog@db/blog?${query}`)).toMatchObject({
    warnings: [],
  });
});
