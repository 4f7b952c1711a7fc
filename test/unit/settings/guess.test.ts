// The sets of variables are those of public projects.

import { expect, test } from "vitest";
import { guessDatabase } from "../../../src/settings/guess.ts";

const fastapi = {
  POSTGRES_SERVER: "db",
  POSTGRES_PORT: "5432",
  POSTGRES_USER: "me",
  POSTGRES_PASSWORD: "a b'\\",
  POSTGRES_DB: "blog",
};

function family(prefix: string, more: Record<string, string> = {}) {
  return {
    [`${prefix}_HOST`]: "db",
    [`${prefix}_USER`]: "me",
    [`${prefix}_PASSWORD`]: "a b'\\",
    [`${prefix}_NAME`]: "blog",
    ...more,
  };
}

const found = {
  kind: "guess",
  guess: {
    address: {
      hosts: [{ host: "db", port: 5432 }],
      user: "me",
      password: "a b'\\",
      database: "blog",
    },
  },
};

/** `complete`: its port is given. */
test.each<[string, Record<string, string>, boolean]>([
  ["POSTGRES_SERVER and the like", fastapi, true],
  ["POSTGRES_* without a port", family("POSTGRES"), false],
  ["a prefix of the project's", family("BLOG_POSTGRES", { BLOG_POSTGRES_PORT: "5432" }), true],
  ["PG_*", family("PG", { PG_PORT: "5432" }), true],
  ["DB_* with PostgreSQL's port", family("DB", { DB_PORT: "5432" }), true],
  ["DB_* with an engine", family("DB", { DB_ENGINE: "postgresql" }), false],
  ["DATABASE_*", family("DATABASE", { DATABASE_PORT: "5432" }), true],
  [
    "what Kubernetes sets for a service",
    family("POSTGRES", { POSTGRES_PORT: "tcp://1.2.3.4:5433" }),
    false,
  ],
  ["PGSQL_*", family("PGSQL", { PGSQL_PORT: "5432" }), true],
  ["POSTGRES_DB_NAME", { ...fastapi, POSTGRES_DB: "", POSTGRES_DB_NAME: "blog" }, true],
  ["one beside DB_* of any system", { ...fastapi, ...family("DB", { DB_NAME: "shop" }) }, true],
  ["two that agree", { ...fastapi, ...family("DB", { DB_PORT: "5432" }) }, true],
  [
    "a test's own beside it",
    { ...fastapi, ...family("TEST_POSTGRES", { TEST_POSTGRES_NAME: "test" }) },
    true,
  ],
  [
    "a URL under another name",
    { SQLALCHEMY_DATABASE_URI: "postgresql+asyncpg://me:a b'\\@db/blog" },
    true,
  ],
])("%s", (_, env, complete) => {
  expect(guessDatabase(env)).toMatchObject(found);
  const port = complete ? null : expect.stringMatching(/_PORT$/);
  expect(guessDatabase(env)).toMatchObject({ guess: { port, likely: false } });
});

test.each<[string, Record<string, string>]>([
  ["DB_* that may be MySQL's", family("DB")],
  ["with a port of no system's", family("DB", { DB_PORT: "6432" })],
  ["SQL_*", family("SQL", { SQL_PORT: "15432" })],
  ["RDS_*", { RDS_HOSTNAME: "db", RDS_USERNAME: "me", RDS_PASSWORD: "x", RDS_DB_NAME: "blog" }],
  ["DBHOST", { DBHOST: "db", DBUSER: "me", DBPASS: "x", DBNAME: "blog" }],
])("only code that speaks of PostgreSQL makes it one: %s", (_, env) => {
  expect(guessDatabase(env)).toMatchObject({ kind: "guess", guess: { likely: true } });
});

test.each<[string, Record<string, string>]>([
  ["no password", { ...fastapi, POSTGRES_PASSWORD: "" }],
  ["no user", family("POSTGRES", { POSTGRES_USER: "" })],
  ["DB_* with MySQL's port", family("DB", { DB_PORT: "3306" })],
  ["DB_* of another engine", family("DB", { DB_PORT: "5432", DB_CONNECTION: "mysql" })],
  ["two names that differ", { ...fastapi, POSTGRES_HOST: "other" }],
  ["another database for migrations", { ...fastapi, POSTGRES_DB_MIGRATIONS: "other" }],
  ["a test's own", family("TEST_POSTGRES")],
  ["a port that is none", { ...fastapi, POSTGRES_PORT: "none" }],
  ["another system's URL", { DB_URL: "mysql://me@db/blog" }],
  ["a broker", { CELERY_RESULT_BACKEND: "db+postgresql://me@db/blog" }],
])("none: %s", (_, env) => {
  expect(guessDatabase(env)).toEqual({ kind: "none" });
});

test("several that differ are none, and are named", () => {
  const env = { ...fastapi, ANALYTICS_DB_URL: "postgresql://me@dwh/blog" };
  expect(guessDatabase(env)).toEqual({
    kind: "several",
    names: [
      "ANALYTICS_DB_URL",
      "POSTGRES_SERVER",
      "POSTGRES_PORT",
      "POSTGRES_USER",
      "POSTGRES_PASSWORD",
      "POSTGRES_DB",
    ],
  });
});
