// Each rule with what it is against, and with the nearest thing to that which is safe, on a table of a million rows.

import { describe, expect, test } from "vitest";
import { catalogOf, findingsOf, posts, verdictOf } from "../harness.ts";

const live = catalogOf({
  posts,
  users: { columns: ["id int4 not null"] },
  scores: { columns: ["n positive"] },
  guarded: { policies: true },
  tried: {
    columns: ["a int4"],
    indexes: { tried_a: ["a"], done_a: ["a"] },
    invalidIndexes: ["tried_a"],
  },
  parts: { kind: "p", columns: ["id int4"], defaultPartition: "rest", rows: 0 },
  rest: { columns: ["id int4"] },
  // Its unique constraint is what foreign keys need, and its unique index what replication finds a row by.
  keyed: {
    columns: ["id int4 not null", "code int4 not null", "mail text", "nick text"],
    constraints: [
      { name: "keyed_pkey", kind: "p", columns: ["id"] },
      { name: "keyed_code_key", kind: "u", columns: ["code"] },
      { name: "keyed_nick_key", kind: "u", columns: ["nick"] },
      { name: "keyed_check", kind: "c" },
    ],
    indexes: {
      keyed_pkey: ["id"],
      keyed_code_key: ["code"],
      keyed_mail: ["mail"],
      keyed_nick: ["nick"],
      keyed_plain: ["nick"],
      keyed_code_new: ["code"],
    },
    uniqueIndexes: ["keyed_mail", "keyed_nick"],
    identity: "keyed_mail",
    referrers: ["orders.orders_code_fkey by keyed_code_key"],
  },
  orders: {
    constraints: [{ name: "orders_code_fkey", kind: "f", columns: ["code"] }],
  },
  recent: { kind: "v", columns: ["id int4"] },
});
const long = "a".repeat(64);

// For each rule: what it is against, and the nearest thing to it that is safe.
const examples: Readonly<Record<string, { unsafe: readonly string[]; safe: readonly string[] }>> = {
  "alter-domain": {
    unsafe: [
      "ALTER DOMAIN positive ADD CHECK (VALUE > 0)",
      "ALTER DOMAIN positive SET NOT NULL",
      "ALTER DOMAIN positive VALIDATE CONSTRAINT c",
    ],
    safe: [
      "ALTER DOMAIN positive ADD CHECK (VALUE > 0) NOT VALID",
      "ALTER DOMAIN positive DROP CONSTRAINT c",
      "ALTER DOMAIN positive SET DEFAULT 1",
      "ALTER DOMAIN unused ADD CHECK (VALUE > 0)",
    ],
  },
  "add-column-not-null": {
    unsafe: ["ALTER TABLE posts ADD COLUMN n integer NOT NULL"],
    safe: [
      "ALTER TABLE posts ADD COLUMN n integer",
      "ALTER TABLE posts ADD COLUMN IF NOT EXISTS id integer NOT NULL",
      "ALTER TABLE IF EXISTS missing ADD COLUMN n integer NOT NULL",
      "ALTER TABLE posts ADD COLUMN n integer NOT NULL DEFAULT 0",
      "CREATE TABLE t (n integer NOT NULL)",
    ],
  },
  "add-column-rewrite": {
    unsafe: [
      "ALTER TABLE posts ADD COLUMN n uuid DEFAULT gen_random_uuid()",
      "ALTER TABLE posts ADD COLUMN n timestamptz DEFAULT clock_timestamp()",
      "ALTER TABLE posts ADD COLUMN n bigserial",
      "ALTER TABLE posts ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY",
      "ALTER TABLE posts ADD COLUMN n integer GENERATED ALWAYS AS (id * 2) STORED",
    ],
    safe: [
      "ALTER TABLE posts ADD COLUMN n timestamptz DEFAULT now()",
      "ALTER TABLE posts ADD COLUMN n timestamptz DEFAULT CURRENT_TIMESTAMP",
      "ALTER TABLE posts ADD COLUMN n integer DEFAULT 1 + 1",
      "ALTER TABLE posts ADD COLUMN n integer GENERATED ALWAYS AS (id * 2) VIRTUAL",
      "ALTER TABLE posts ADD COLUMN n uuid; ALTER TABLE posts ALTER COLUMN n SET DEFAULT gen_random_uuid()",
    ],
  },
  "add-column-constraint": {
    unsafe: [
      "ALTER TABLE posts ADD COLUMN n integer CHECK (n > 0)",
      "ALTER TABLE posts ADD COLUMN n integer UNIQUE",
    ],
    safe: ["ALTER TABLE posts ADD COLUMN n integer"],
  },
  "add-column-references": {
    unsafe: ["ALTER TABLE posts ADD COLUMN user_id integer DEFAULT 1 REFERENCES users (id)"],
    safe: ["ALTER TABLE posts ADD COLUMN user_id integer"],
  },
  "set-not-null": {
    unsafe: [
      "ALTER TABLE posts ALTER COLUMN word_count SET NOT NULL",
      "ALTER TABLE posts ADD CONSTRAINT n NOT NULL word_count",
    ],
    safe: [
      "ALTER TABLE posts ALTER COLUMN id SET NOT NULL",
      "ALTER TABLE posts ADD CONSTRAINT n NOT NULL word_count NOT VALID",
      "ALTER TABLE posts ALTER COLUMN word_count DROP NOT NULL",
    ],
  },
  "change-type": {
    unsafe: [
      "ALTER TABLE posts ALTER COLUMN id TYPE bigint",
      "ALTER TABLE posts ALTER COLUMN title TYPE varchar(40)",
      "ALTER TABLE posts ALTER COLUMN body TYPE varchar(80)",
      "ALTER TABLE posts ALTER COLUMN price TYPE numeric(10,3)",
      "ALTER TABLE posts ALTER COLUMN title TYPE text USING upper(title)",
      "ALTER TABLE posts ALTER COLUMN at TYPE timestamptz",
      "CREATE INDEX CONCURRENTLY e ON posts (lower(title)); ALTER TABLE posts ALTER COLUMN title TYPE text",
      "CREATE INDEX CONCURRENTLY e ON posts (id) WHERE title <> ''; ALTER TABLE posts ALTER COLUMN title TYPE text",
    ],
    safe: [
      "ALTER TABLE posts ALTER COLUMN title TYPE varchar(200)",
      "ALTER TABLE posts ALTER COLUMN title TYPE text",
      "ALTER TABLE posts ALTER COLUMN title TYPE text USING title::text",
      "ALTER TABLE posts ALTER COLUMN body TYPE varchar",
      "ALTER TABLE posts ALTER COLUMN price TYPE numeric(10,2)",
      "ALTER TABLE posts ALTER COLUMN id TYPE integer",
    ],
  },
  "add-foreign-key": {
    unsafe: [
      "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (word_count) REFERENCES users (id)",
      "ALTER TABLE posts ALTER CONSTRAINT f ENFORCED",
    ],
    safe: [
      "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (word_count) REFERENCES users (id) NOT VALID",
      "CREATE TABLE t (id int); ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES users (id)",
    ],
  },
  "add-check": {
    unsafe: ["ALTER TABLE posts ADD CONSTRAINT c CHECK (word_count > 0)"],
    safe: [
      "ALTER TABLE posts ADD CONSTRAINT c CHECK (word_count > 0) NOT VALID",
      "ALTER TABLE posts VALIDATE CONSTRAINT c",
    ],
  },
  "add-unique": {
    unsafe: [
      "ALTER TABLE posts ADD CONSTRAINT u UNIQUE (title)",
      "ALTER TABLE users ADD PRIMARY KEY (id)",
      "ALTER TABLE posts ADD PRIMARY KEY USING INDEX posts_at",
    ],
    safe: [
      "ALTER TABLE posts ADD CONSTRAINT u UNIQUE USING INDEX posts_at",
      "ALTER TABLE posts ADD PRIMARY KEY USING INDEX posts_pkey",
    ],
  },
  "add-exclusion": {
    unsafe: ["ALTER TABLE posts ADD CONSTRAINT e EXCLUDE USING gist (word_count WITH =)"],
    safe: ["CREATE TABLE t (a int, CONSTRAINT e EXCLUDE USING gist (a WITH =))"],
  },
  "create-index": {
    unsafe: ["CREATE INDEX i ON posts (title)"],
    safe: [
      "CREATE INDEX CONCURRENTLY i ON posts (title)",
      "CREATE INDEX IF NOT EXISTS posts_at ON posts (at)",
    ],
  },
  "drop-index": {
    unsafe: ["DROP INDEX posts_at"],
    safe: ["DROP INDEX CONCURRENTLY posts_at", "DROP INDEX IF EXISTS missing"],
  },
  "drop-key": {
    unsafe: [
      "ALTER TABLE posts DROP CONSTRAINT posts_pkey",
      "ALTER TABLE posts DROP CONSTRAINT IF EXISTS posts_pkey CASCADE",
      "ALTER TABLE posts RENAME CONSTRAINT posts_pkey TO c; ALTER TABLE posts DROP CONSTRAINT c",
      "ALTER TABLE posts DROP CONSTRAINT posts_pkey, ADD PRIMARY KEY USING INDEX posts_at",
      "ALTER TABLE posts DROP CONSTRAINT posts_pkey; ALTER TABLE posts ADD PRIMARY KEY (id)",
      // Another one keeps the same rows apart, but replication does not find them by it.
      "CREATE UNIQUE INDEX CONCURRENTLY u ON posts (id); ALTER TABLE posts DROP CONSTRAINT posts_pkey",
      "CREATE UNIQUE INDEX CONCURRENTLY u ON keyed (code) WHERE id > 0; ALTER TABLE orders DROP CONSTRAINT orders_code_fkey; ALTER TABLE keyed DROP CONSTRAINT keyed_code_key",
      "ALTER TABLE keyed DROP CONSTRAINT keyed_code_key",
      "ALTER TABLE keyed DROP CONSTRAINT keyed_code_key CASCADE",
      "ALTER TABLE orders DROP CONSTRAINT orders_code_fkey; ALTER TABLE keyed DROP CONSTRAINT keyed_code_key",
      "DROP INDEX CONCURRENTLY keyed_mail",
      "DROP INDEX keyed_mail",
      "DROP INDEX CONCURRENTLY keyed_pkey",
      "ALTER INDEX keyed_mail RENAME TO m; DROP INDEX CONCURRENTLY m",
      "ALTER TABLE keyed REPLICA IDENTITY NOTHING",
      "ALTER TABLE unknown DROP CONSTRAINT unknown_pkey",
      "ALTER TABLE unknown DROP CONSTRAINT uq_unknown_name",
    ],
    safe: [
      "ALTER TABLE posts DROP CONSTRAINT posts_pkey, ADD PRIMARY KEY USING INDEX posts_pkey",
      "BEGIN; ALTER TABLE posts DROP CONSTRAINT posts_pkey; ALTER TABLE posts ADD PRIMARY KEY (id); COMMIT",
      "CREATE UNIQUE INDEX CONCURRENTLY u ON keyed (code); ALTER TABLE orders DROP CONSTRAINT orders_code_fkey; ALTER TABLE keyed DROP CONSTRAINT keyed_code_key",
      "BEGIN; DROP TABLE orders; ALTER TABLE keyed DROP CONSTRAINT keyed_code_key; CREATE UNIQUE INDEX u ON keyed (code); COMMIT",
      "ALTER TABLE keyed DROP CONSTRAINT keyed_nick_key",
      "DROP INDEX CONCURRENTLY keyed_nick",
      "DROP INDEX CONCURRENTLY keyed_plain",
      "ALTER TABLE keyed DROP CONSTRAINT keyed_check",
      "ALTER TABLE keyed REPLICA IDENTITY FULL",
      "ALTER TABLE unknown DROP CONSTRAINT fk_unknown",
      "CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t DROP CONSTRAINT t_pkey",
      "BEGIN; DROP INDEX keyed_mail; DROP TABLE keyed; COMMIT",
      "BEGIN; ALTER TABLE posts DROP CONSTRAINT posts_pkey; DROP TABLE posts; COMMIT",
      "ALTER TABLE posts DROP CONSTRAINT IF EXISTS posts_title_key",
    ],
  },
  reindex: {
    unsafe: ["REINDEX TABLE posts", "REINDEX INDEX posts_at"],
    safe: ["REINDEX TABLE CONCURRENTLY posts"],
  },
  "concurrently-corrupt": { unsafe: [], safe: ["CREATE INDEX CONCURRENTLY i ON posts (title)"] },
  "rename-column": {
    unsafe: [
      "ALTER TABLE posts RENAME COLUMN title TO headline",
      "ALTER VIEW recent RENAME COLUMN id TO number",
    ],
    safe: [
      "ALTER TABLE posts RENAME CONSTRAINT posts_pkey TO pk",
      "ALTER TABLE posts ADD COLUMN n integer; ALTER TABLE posts RENAME COLUMN n TO m",
      "ALTER INDEX posts_at RENAME TO posts_when",
    ],
  },
  "rename-table": {
    unsafe: ["ALTER TABLE posts RENAME TO articles", "ALTER TABLE posts SET SCHEMA blog"],
    safe: [
      "BEGIN; ALTER TABLE posts RENAME TO articles; CREATE VIEW posts AS SELECT * FROM articles; COMMIT",
      "ALTER TABLE posts RENAME CONSTRAINT posts_pkey TO pk",
    ],
  },
  "drop-column": {
    unsafe: ["ALTER TABLE posts DROP COLUMN title"],
    safe: ["CREATE TABLE t (a int, b int); ALTER TABLE t DROP COLUMN a"],
  },
  "drop-table": {
    unsafe: [
      "DROP TABLE posts",
      "DROP TABLE posts CASCADE",
      "DO $$ BEGIN EXECUTE format('DROP TABLE %I', 'posts') || ' CASCADE'; END $$",
    ],
    safe: [
      "CREATE TABLE t (a int); DROP TABLE t",
      "DROP TABLE IF EXISTS missing",
      "DO $$ BEGIN EXECUTE format('SELECT %L', 'DROP TABLE posts'); END $$",
    ],
  },
  "rewrite-table": {
    unsafe: [
      "VACUUM FULL posts",
      "CLUSTER posts USING posts_at",
      "ALTER TABLE posts SET UNLOGGED",
      "REFRESH MATERIALIZED VIEW counts",
    ],
    safe: ["VACUUM posts", "REFRESH MATERIALIZED VIEW CONCURRENTLY counts"],
  },
  "attach-partition": {
    unsafe: ["ALTER TABLE users ATTACH PARTITION posts FOR VALUES FROM (1) TO (9)"],
    safe: [
      "CREATE TABLE t (id int); ALTER TABLE users ATTACH PARTITION t FOR VALUES FROM (1) TO (9)",
    ],
  },
  "create-partition": {
    unsafe: [
      "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (1) TO (9)",
    ],
    safe: [
      "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (1) TO (9)",
    ],
  },
  "detach-partition": {
    unsafe: ["ALTER TABLE users DETACH PARTITION posts"],
    safe: ["ALTER TABLE users DETACH PARTITION posts CONCURRENTLY"],
  },
  "lock-held": {
    unsafe: [
      "BEGIN; ALTER TABLE posts ADD COLUMN m int; ALTER TABLE users ADD COLUMN m int; COMMIT",
      "BEGIN; ALTER TABLE posts ADD COLUMN m int; CREATE TABLE t AS SELECT * FROM users; COMMIT",
      "BEGIN; ALTER TABLE posts ADD CONSTRAINT c CHECK (id > 0) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT c; COMMIT",
    ],
    safe: [
      "BEGIN; ALTER TABLE posts ADD CONSTRAINT c CHECK (id > 0) NOT VALID; COMMIT; BEGIN; ALTER TABLE posts VALIDATE CONSTRAINT c; COMMIT",
      "ALTER TABLE posts ADD CONSTRAINT c CHECK (id > 0) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT c",
      "BEGIN; ALTER TABLE posts ADD COLUMN m int; ALTER TABLE posts ADD COLUMN o int; COMMIT",
      "BEGIN; CREATE TABLE t (a int); ALTER TABLE t ADD COLUMN m int; ALTER TABLE users ADD COLUMN m int; COMMIT",
    ],
  },
  "ddl-and-backfill": {
    unsafe: [
      "BEGIN; ALTER TABLE posts ADD COLUMN n integer; UPDATE posts SET n = 1; COMMIT",
      "BEGIN; UPDATE posts SET word_count = 1; ALTER TABLE posts ADD COLUMN n integer, ADD COLUMN m integer; ALTER TABLE posts ADD COLUMN o integer; ALTER TABLE users ADD COLUMN o integer; COMMIT",
      "BEGIN; ALTER TABLE posts ADD COLUMN n integer; DELETE FROM users; COMMIT",
    ],
    safe: [
      "BEGIN; ALTER TABLE posts ADD COLUMN n integer; COMMIT; BEGIN; UPDATE posts SET n = 1; COMMIT",
      "BEGIN; ALTER TABLE posts ADD COLUMN n integer; UPDATE posts SET n = 1 WHERE id = 5; COMMIT",
      "BEGIN; ALTER TABLE posts ADD COLUMN n integer; UPDATE alembic_version SET version_num = 'b'; COMMIT",
      "BEGIN; CREATE TABLE t (a int); INSERT INTO t SELECT id FROM posts; COMMIT",
      "BEGIN; ALTER TABLE posts ADD COLUMN n integer; INSERT INTO users VALUES (1), (2); COMMIT",
    ],
  },
  "concurrently-in-transaction": {
    unsafe: [
      "BEGIN; CREATE INDEX CONCURRENTLY i ON posts (title); COMMIT",
      "BEGIN; DROP INDEX CONCURRENTLY posts_at; COMMIT",
    ],
    safe: ["BEGIN; COMMIT; CREATE INDEX CONCURRENTLY i ON posts (title); BEGIN; COMMIT"],
  },
  "add-enum-value": {
    unsafe: [
      "BEGIN; ALTER TYPE mood ADD VALUE 'calm'; UPDATE alembic_other SET m = 'calm'; COMMIT",
    ],
    safe: [
      "BEGIN; ALTER TYPE mood ADD VALUE 'calm'; COMMIT",
      "ALTER TYPE mood ADD VALUE 'calm'; UPDATE alembic_other SET m = 'calm'",
    ],
  },
  opaque: {
    unsafe: [
      "DO $$ BEGIN EXECUTE 'drop table ' || current_user; END $$",
      "DO $$ BEGIN EXECUTE format('drop table %I', current_user); END $$",
      "DO $$ BEGIN EXECUTE format('drop table %2$I', 'a', 'b'); END $$",
      "DO $$ BEGIN EXECUTE 'no statement'; END $$",
    ],
    safe: [
      "DO $$ BEGIN PERFORM 1; END $$",
      "DO $$ BEGIN EXECUTE 'drop table posts'; END $$",
      "DO $$ BEGIN EXECUTE 'drop table ' || 'posts'; END $$",
      "DO $$ BEGIN EXECUTE format('drop table %I.%s', 'public', 'posts'); END $$",
    ],
  },
  "invalid-index": {
    unsafe: [
      "CREATE INDEX CONCURRENTLY IF NOT EXISTS tried_a ON tried (a)",
      "CREATE INDEX IF NOT EXISTS tried_a ON tried (a)",
      "ALTER TABLE tried ADD CONSTRAINT u UNIQUE USING INDEX tried_a",
    ],
    safe: [
      "CREATE INDEX CONCURRENTLY IF NOT EXISTS done_a ON tried (a)",
      "CREATE INDEX CONCURRENTLY tried_a ON tried (a)",
      "ALTER TABLE tried ADD CONSTRAINT u UNIQUE USING INDEX done_a",
      "DROP INDEX CONCURRENTLY tried_a; CREATE INDEX CONCURRENTLY IF NOT EXISTS tried_a ON tried (a)",
    ],
  },
  "fails-in-transaction": {
    unsafe: [
      "BEGIN; VACUUM posts; COMMIT",
      "BEGIN; VACUUM ANALYZE; COMMIT",
      "BEGIN; ALTER SYSTEM SET work_mem = '8MB'; COMMIT",
      "BEGIN; CREATE DATABASE d; COMMIT",
      "BEGIN; DROP DATABASE d; COMMIT",
      "BEGIN; CREATE TABLESPACE t LOCATION '/t'; COMMIT",
      "BEGIN; DROP TABLESPACE t; COMMIT",
      "BEGIN; ALTER DATABASE d SET TABLESPACE t; COMMIT",
      "BEGIN; REINDEX SCHEMA public; COMMIT",
      "BEGIN; REINDEX TABLE parts; COMMIT",
      "BEGIN; CLUSTER; COMMIT",
      "BEGIN; CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p; COMMIT",
      "BEGIN; DROP SUBSCRIPTION s; COMMIT",
      "BEGIN; ALTER SUBSCRIPTION s REFRESH PUBLICATION; COMMIT",
      "BEGIN; DISCARD ALL; COMMIT",
      "DO $$ BEGIN EXECUTE 'VACUUM posts'; END $$",
    ],
    safe: [
      "VACUUM posts",
      "BEGIN; ANALYZE posts; COMMIT",
      "BEGIN; COMMIT; ALTER SYSTEM SET work_mem = '8MB'",
      "BEGIN; REINDEX TABLE posts; COMMIT",
      "BEGIN; ALTER DATABASE d SET work_mem = '8MB'; COMMIT",
      "BEGIN; CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false); COMMIT",
      "BEGIN; CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (create_slot = false); COMMIT",
      "BEGIN; DISCARD TEMP; COMMIT",
    ],
  },
  "drop-view": {
    unsafe: [
      "DROP VIEW recent",
      "DROP MATERIALIZED VIEW IF EXISTS recent CASCADE",
      "DROP FOREIGN TABLE recent",
      "DROP VIEW recent; CREATE VIEW recent AS SELECT 1",
    ],
    safe: [
      "BEGIN; DROP VIEW recent; CREATE VIEW recent AS SELECT 1; COMMIT",
      "BEGIN; CREATE VIEW v AS SELECT 1; DROP VIEW v; COMMIT",
      "CREATE OR REPLACE VIEW recent AS SELECT 1",
      "DROP VIEW IF EXISTS missing",
    ],
  },
  "rename-view": {
    unsafe: [
      "ALTER VIEW recent RENAME TO newest",
      "ALTER MATERIALIZED VIEW recent RENAME TO newest",
      "ALTER VIEW recent SET SCHEMA blog",
      "ALTER FOREIGN TABLE recent RENAME TO newest",
    ],
    safe: [
      "BEGIN; ALTER VIEW recent RENAME TO newest; CREATE VIEW recent AS SELECT * FROM newest; COMMIT",
      "BEGIN; CREATE VIEW v AS SELECT 1; ALTER VIEW v RENAME TO w; COMMIT",
    ],
  },
  "rename-type": {
    unsafe: [
      "ALTER TYPE mood RENAME VALUE 'a' TO 'b'",
      "ALTER TYPE mood RENAME TO feeling",
      "ALTER TYPE mood SET SCHEMA blog",
      "ALTER TYPE pair RENAME ATTRIBUTE a TO b",
      "ALTER DOMAIN positive RENAME TO whole",
    ],
    safe: [
      "BEGIN; ALTER TYPE mood RENAME TO old; CREATE TYPE mood AS ENUM ('a'); COMMIT",
      "BEGIN; CREATE TYPE new AS ENUM ('a'); ALTER TYPE new RENAME VALUE 'a' TO 'b'; ALTER TYPE new RENAME TO newer; COMMIT",
      "ALTER TYPE mood ADD VALUE 'c'",
    ],
  },
  "rename-schema": {
    unsafe: ["ALTER SCHEMA blog RENAME TO weblog"],
    safe: ["CREATE SCHEMA new; ALTER SCHEMA new RENAME TO newer"],
  },
  "drop-cascade": {
    unsafe: [
      "DROP SCHEMA blog CASCADE",
      "DROP TYPE mood CASCADE",
      "DROP DOMAIN positive CASCADE",
      "DROP EXTENSION citext CASCADE",
      "DROP FUNCTION f(integer) CASCADE",
      "DROP SEQUENCE s CASCADE",
      "ALTER TABLE posts DROP CONSTRAINT posts_pkey CASCADE",
    ],
    safe: [
      "DROP SCHEMA blog",
      "DROP TYPE mood",
      "CREATE SCHEMA new; DROP SCHEMA new CASCADE",
      "CREATE TYPE new AS ENUM (); DROP TYPE new CASCADE",
      "ALTER TABLE posts DROP CONSTRAINT posts_pkey",
    ],
  },
  "long-name": {
    unsafe: [
      `CREATE INDEX CONCURRENTLY ${long} ON posts (title)`,
      `CREATE TABLE "${"ü".repeat(32)}" (id bigint)`,
      `ALTER TABLE posts ADD COLUMN ${long} integer`,
    ],
    safe: [
      `CREATE INDEX CONCURRENTLY ${long.slice(1)} ON posts (title)`,
      `COMMENT ON TABLE posts IS '${long}'`,
      `SELECT 1 /* ${long} */`,
    ],
  },
  "change-many-rows": {
    unsafe: [
      "UPDATE posts SET title = ''",
      "UPDATE posts SET title = '' WHERE title IS NULL",
      "UPDATE posts SET title = '' WHERE id > 5",
      "DELETE FROM posts",
      "MERGE INTO posts p USING users u ON u.id = p.id WHEN MATCHED THEN DELETE",
      "WITH gone AS (DELETE FROM posts RETURNING id) SELECT * FROM gone",
    ],
    safe: [
      "UPDATE posts SET title = '' WHERE id = 5",
      "UPDATE posts SET title = '' WHERE id IN (5, 6) AND title IS NULL",
      "DELETE FROM posts WHERE id = $1",
      "INSERT INTO posts SELECT * FROM posts",
      "INSERT INTO posts (id) VALUES (1)",
      "SELECT * FROM posts",
      "UPDATE alembic_version SET version_num = 'b'",
      "BEGIN; ALTER TABLE posts ADD COLUMN n integer; UPDATE posts SET n = 1; COMMIT",
      "CREATE TABLE t (a int); UPDATE t SET a = 1",
    ],
  },
  truncate: {
    unsafe: ["TRUNCATE posts", "TRUNCATE posts CASCADE"],
    safe: ["BEGIN; CREATE TABLE t (a int); TRUNCATE t; COMMIT"],
  },
  "row-security": {
    unsafe: [
      "ALTER TABLE posts ENABLE ROW LEVEL SECURITY",
      "ALTER TABLE posts FORCE ROW LEVEL SECURITY",
      "ALTER TABLE posts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
      "ALTER TABLE posts ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON posts",
    ],
    safe: [
      "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
      "BEGIN; ALTER TABLE posts ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON posts; COMMIT",
      "CREATE POLICY p ON posts; ALTER TABLE posts ENABLE ROW LEVEL SECURITY",
      "CREATE TABLE t (a int); ALTER TABLE t ENABLE ROW LEVEL SECURITY",
      "ALTER TABLE posts DISABLE ROW LEVEL SECURITY",
    ],
  },
};

describe.each(Object.entries(examples))("%s", (rule, { unsafe, safe }) => {
  test.each(unsafe)("is found in %s", (sql) => {
    const found = findingsOf(sql, live).filter((finding) => finding.rule === rule);
    expect(found).toHaveLength(1);
    expect(found[0]?.severity).not.toBe("note");
  });
  test.each(safe)("is not found in %s", (sql) => {
    expect(verdictOf(sql, live).filter((verdict) => verdict.endsWith(` ${rule}`))).toEqual([]);
  });
});

test.each([
  [
    "ALTER TABLE keyed DROP CONSTRAINT keyed_code_key",
    "error",
    "DROP CONSTRAINT keyed_code_key fails: the foreign key orders_code_fkey of orders needs it",
  ],
  [
    "DROP INDEX CONCURRENTLY keyed_pkey",
    "error",
    "DROP INDEX CONCURRENTLY keyed_pkey fails: the constraint of that name needs it",
  ],
  [
    "ALTER TABLE keyed DROP CONSTRAINT keyed_pkey",
    "warning",
    "after DROP CONSTRAINT keyed_pkey nothing keeps duplicates out any more, and the version that still runs fails where it says ON CONFLICT (id)",
  ],
  [
    "CREATE UNIQUE INDEX CONCURRENTLY u ON keyed (mail); DROP INDEX CONCURRENTLY keyed_mail",
    "warning",
    "after DROP INDEX CONCURRENTLY keyed_mail every UPDATE and DELETE of keyed fails while it is in a publication",
  ],
])("%s: what comes of it", (sql, severity, message) => {
  const found = findingsOf(sql, live).filter(({ rule }) => rule === "drop-key");
  expect(found.map((one) => [one.severity, one.message])).toEqual([[severity, message]]);
});

test.each([
  ["ALTER TABLE parts ATTACH PARTITION users FOR VALUES IN (1)", "attach-partition"],
  ["CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)", "create-partition"],
])("%s reads the default partition", (sql, rule) => {
  const found = findingsOf(sql, live).filter((finding) => finding.object === "rest");
  expect(found.map((one) => [one.rule, one.severity, one.work?.table])).toEqual([
    [rule, "error", "rest"],
  ]);
  expect(found[0]?.locks).toContainEqual(
    expect.objectContaining({ mode: "ACCESS EXCLUSIVE", table: "rest" }),
  );
});

test("a small table may change as a whole, and a known large one may not", () => {
  const tables = catalogOf({ posts: { rows: 100 }, users: {} });
  expect(verdictOf("UPDATE posts SET a = 1", tables)).toEqual([]);
  expect(verdictOf("UPDATE users SET a = 1", tables)).toEqual(["error change-many-rows"]);
  expect(verdictOf("UPDATE users SET a = 1 WHERE a > 1", tables)).toEqual([
    "warning change-many-rows",
  ]);
  expect(verdictOf("UPDATE users SET a = 1")).toEqual(["warning change-many-rows"]);
  const [found] = findingsOf("UPDATE users SET a = 1 WHERE a IS NULL", tables);
  expect(found?.safe[0]?.command).toContain("backfill");
});

test("an UPDATE whose rows have their own key is no change of many, with or without a database", () => {
  expect(verdictOf("UPDATE settings SET value = 'a' WHERE id = 1")).toEqual([]);
  expect(verdictOf("UPDATE settings SET value = 'a' WHERE other = 1")).not.toEqual([]);
});
