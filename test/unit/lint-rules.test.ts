// Each rule with what it is against, and with the nearest thing to that which is safe, on a table of a million rows.

import { describe, expect, test } from "vitest";
import { catalogOf, findingsOf, posts, verdictOf } from "./lint.ts";

const live = catalogOf({ posts, users: { columns: ["id int4 not null"] } });

// For each rule: what it is against, and the nearest thing to it that is safe.
const examples: Readonly<Record<string, { unsafe: readonly string[]; safe: readonly string[] }>> = {
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
  reindex: {
    unsafe: ["REINDEX TABLE posts", "REINDEX INDEX posts_at"],
    safe: ["REINDEX TABLE CONCURRENTLY posts"],
  },
  "concurrently-corrupt": { unsafe: [], safe: ["CREATE INDEX CONCURRENTLY i ON posts (title)"] },
  "rename-column": {
    unsafe: ["ALTER TABLE posts RENAME COLUMN title TO headline"],
    safe: [
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
    unsafe: ["DROP TABLE posts"],
    safe: ["CREATE TABLE t (a int); DROP TABLE t", "DROP TABLE IF EXISTS missing"],
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
    unsafe: ["DO $$ BEGIN EXECUTE 'drop table ' || 'posts'; END $$"],
    safe: ["DO $$ BEGIN PERFORM 1; END $$"],
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
