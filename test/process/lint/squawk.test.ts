// The lint beside squawk, over SQL of our own: what one of them finds and the other does not is listed here, with the
// reason. squawk sees the SQL alone, the lint a catalog too: `posts` and `users` with a million rows, `tags` with ten.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { rules } from "../../../src/lint/rules/table.ts";
import { squawkRules } from "../../../src/lint/suppressions.ts";
import { readDocument, readTable } from "../../harness/documents.ts";
import { catalogOf, findingsOf, posts } from "../../unit/lint/harness.ts";
import manifest from "./oracles/package.json" with { type: "json" };

const pinned = `squawk-${process.arch}`;
const squawk = join(import.meta.dirname, `oracles/node_modules/${pinned}/bin/squawk`);
const runs = pinned in manifest.optionalDependencies;

/** What has nothing to do with a lock or with the version that still runs. */
const leftOut: Readonly<Record<string, string>> = {
  "prefer-bigint-over-int": "taste in types",
  "prefer-identity": "taste in types",
  "prefer-text-field": "taste in types",
  "prefer-timestamp-tz": "taste in types",
  "prefer-robust-stmts": "Alembic's transaction is what makes a migration repeatable",
  "require-enum-value-ordering": "taste in enums",
  "require-lock-timeout": "--ddl-lock-timeout sets it for all of them",
  "require-statement-timeout": "--migrate-timeout limits all of them",
};

/** Rules that are about the same as one of ours, and are not compared here. */
const unasked: Readonly<Record<string, string>> = {
  "ban-drop-database": "ours is about a transaction",
  "ban-uncommitted-transaction": "ours is about a file",
  "prefer-repack": "it has to be asked for",
};

/** On these both are of one opinion: both have something against them, or neither has. */
const agreed = [
  "ALTER TABLE posts ADD COLUMN n integer NOT NULL",
  "ALTER TABLE posts ADD COLUMN n integer",
  "ALTER TABLE posts ADD COLUMN n integer NOT NULL DEFAULT 0",
  "ALTER TABLE posts ADD COLUMN n timestamptz DEFAULT now()",
  "ALTER TABLE posts ADD COLUMN n uuid DEFAULT gen_random_uuid()",
  "ALTER TABLE posts ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY",
  "ALTER TABLE posts ADD COLUMN n integer GENERATED ALWAYS AS (id * 2) STORED",
  "ALTER TABLE posts ADD COLUMN n integer UNIQUE",
  "ALTER TABLE posts ADD COLUMN n integer REFERENCES users (id)",
  "ALTER TABLE posts ADD COLUMN n integer DEFAULT 1 REFERENCES users (id)",
  "ALTER TABLE posts ALTER COLUMN word_count SET NOT NULL",
  "ALTER TABLE posts ADD CONSTRAINT c CHECK (word_count IS NOT NULL) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT c; ALTER TABLE posts ALTER COLUMN word_count SET NOT NULL",
  "ALTER TABLE posts ALTER COLUMN id TYPE bigint",
  "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (word_count) REFERENCES users (id)",
  "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (word_count) REFERENCES users (id) NOT VALID",
  "ALTER TABLE posts ADD CONSTRAINT c CHECK (word_count > 0)",
  "ALTER TABLE posts ADD CONSTRAINT c CHECK (word_count > 0) NOT VALID",
  "ALTER TABLE posts VALIDATE CONSTRAINT c",
  "BEGIN; ALTER TABLE posts ADD CONSTRAINT c CHECK (word_count > 0) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT c; COMMIT",
  "ALTER TABLE posts ADD CONSTRAINT u UNIQUE (title)",
  "ALTER TABLE posts ADD CONSTRAINT u UNIQUE USING INDEX posts_at",
  "ALTER TABLE users ADD PRIMARY KEY (id)",
  "ALTER TABLE posts ADD CONSTRAINT e EXCLUDE USING gist (word_count WITH =)",
  "CREATE INDEX i ON posts (title)",
  "CREATE INDEX CONCURRENTLY i ON posts (title)",
  "CREATE INDEX i ON tags (id)",
  "DROP INDEX posts_at",
  "DROP INDEX CONCURRENTLY posts_at",
  "REINDEX TABLE posts",
  "REINDEX TABLE CONCURRENTLY posts",
  "ALTER TABLE posts RENAME COLUMN title TO headline",
  "ALTER TABLE posts RENAME TO articles",
  "ALTER TABLE posts DROP COLUMN title",
  "DROP TABLE posts",
  "ALTER TABLE users DETACH PARTITION posts",
  "ALTER TABLE users DETACH PARTITION posts CONCURRENTLY",
  "BEGIN; CREATE INDEX CONCURRENTLY i ON posts (title); COMMIT",
  "BEGIN; CREATE TABLE t (id bigint); CREATE INDEX i ON t (id); COMMIT",
  "BEGIN; CREATE TABLE t (id bigint); ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES users (id); COMMIT",
  "CREATE TABLE t (id bigint REFERENCES users (id))",
  "REFRESH MATERIALIZED VIEW CONCURRENTLY counts",
  "TRUNCATE posts CASCADE",
  "CREATE INDEX CONCURRENTLY the_index_that_lets_readers_find_posts_by_their_title_in_every_language ON posts (title)",
];

interface Difference {
  readonly sql: string;
  /** Rules of ours alone, or of squawk's alone. */
  readonly ours?: readonly string[];
  readonly theirs?: readonly string[];
  readonly reason: string;
}

const differences: readonly Difference[] = [
  {
    sql: "ALTER TABLE posts ADD COLUMN n bigserial",
    ours: ["add-column-rewrite"],
    reason: "the sequence gives every row a number: the server rewrites the table",
  },
  {
    sql: "ALTER TABLE posts ADD COLUMN n serial UNIQUE",
    ours: ["add-column-rewrite"],
    reason: "both that it is rewritten and that an index is built",
  },
  {
    sql: "ALTER TABLE posts ADD COLUMN n integer CHECK (n > 0)",
    ours: ["add-column-constraint"],
    reason: "the server reads the whole table, although the new column is NULL everywhere",
  },
  {
    sql: "ALTER TABLE posts ALTER COLUMN id SET NOT NULL",
    theirs: ["adding-not-nullable-field"],
    reason: "the catalog says that it is NOT NULL already",
  },
  {
    sql: "ALTER TABLE posts ADD CONSTRAINT c CHECK (id > 0) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT c; ALTER TABLE posts ALTER COLUMN word_count SET NOT NULL",
    ours: ["set-not-null"],
    reason: "the CHECK says nothing of the column: the server reads the whole table",
  },
  {
    sql: "ALTER TABLE posts ALTER COLUMN word_count DROP NOT NULL",
    theirs: ["ban-drop-not-null"],
    reason: "no lock that lasts; whether a NULL upsets the old version is not in the SQL",
  },
  ...["title TYPE varchar(200)", "title TYPE text", "price TYPE numeric(10, 2)"].map((change) => ({
    sql: `ALTER TABLE posts ALTER COLUMN ${change}`,
    theirs: ["changing-column-type"],
    reason: "the catalog has the old type, from which this one is no rewrite",
  })),
  {
    sql: "BEGIN; ALTER TABLE posts ADD COLUMN n integer; ALTER TABLE posts VALIDATE CONSTRAINT c; COMMIT",
    ours: ["lock-held"],
    reason: "any lock is held while VALIDATE reads, not just that of the constraint itself",
  },
  {
    sql: "ALTER TABLE posts ADD PRIMARY KEY USING INDEX posts_at",
    ours: ["add-unique"],
    reason: "the catalog says that the column may be NULL: the server reads the whole table",
  },
  {
    sql: "ALTER TABLE posts SET SCHEMA blog",
    ours: ["rename-table"],
    reason: "the old version looks for the table where it was, as after RENAME",
  },
  {
    sql: "TRUNCATE posts",
    ours: ["truncate"],
    reason: "the rows are gone without CASCADE too",
  },
  ...[
    ["UPDATE posts SET word_count = 0", "change-many-rows"],
    ["DELETE FROM posts", "change-many-rows"],
  ].map(([sql = "", rule = ""]) => ({
    sql,
    ours: [rule],
    reason: "every row stays locked until the last one is done",
  })),
  ...[
    ["DROP VIEW recent", "drop-view"],
    ["ALTER VIEW recent RENAME TO newest", "rename-view"],
    ["ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'", "rename-type"],
    ["ALTER SCHEMA blog RENAME TO weblog", "rename-schema"],
    ["DROP TYPE mood CASCADE", "drop-cascade"],
    ["ALTER TABLE posts ENABLE ROW LEVEL SECURITY", "row-security"],
  ].map(([sql = "", rule = ""]) => ({
    sql,
    ours: [rule],
    reason: "the version that still runs may use what is no longer there",
  })),
  {
    sql: "BEGIN; VACUUM posts; COMMIT",
    ours: ["fails-in-transaction"],
    reason: "the server refuses it",
  },
  {
    sql: "DROP DATABASE blog",
    theirs: ["ban-drop-database"],
    reason: "it fails in Alembic's transaction, and on the database that is connected to",
  },
  ...[
    "VACUUM FULL posts",
    "CLUSTER posts USING posts_at",
    "ALTER TABLE posts SET UNLOGGED",
    "REFRESH MATERIALIZED VIEW counts",
  ].map((sql) => ({
    sql,
    ours: ["rewrite-table"],
    reason: "all of it is written anew while nobody reads",
  })),
  {
    sql: "ALTER TABLE users ATTACH PARTITION posts FOR VALUES IN (1)",
    ours: ["attach-partition"],
    reason: "the server reads all of it under ACCESS EXCLUSIVE",
  },
  {
    sql: "CREATE TABLE posts_1 PARTITION OF posts FOR VALUES IN (1)",
    ours: ["create-partition"],
    reason: "ACCESS EXCLUSIVE on the parent, which ATTACH PARTITION does without",
  },
  {
    sql: "BEGIN; DROP INDEX CONCURRENTLY posts_at; COMMIT",
    ours: ["concurrently-in-transaction"],
    reason: "it fails as CREATE INDEX CONCURRENTLY does",
  },
  {
    sql: "BEGIN; ALTER TABLE posts ADD COLUMN n integer; UPDATE posts SET n = 1; COMMIT",
    ours: ["ddl-and-backfill"],
    reason: "ACCESS EXCLUSIVE is held until the last row is changed",
  },
  {
    sql: "BEGIN; ALTER TABLE posts ADD COLUMN n integer; ALTER TABLE users ADD COLUMN n integer; COMMIT",
    ours: ["lock-held"],
    reason: "the second ALTER may wait for its lock while the first one's is held",
  },
  {
    sql: "BEGIN; ALTER TYPE mood ADD VALUE 'calm'; SELECT 'calm'::mood; COMMIT",
    ours: ["add-enum-value"],
    reason: "the server refuses the new value until it is committed",
  },
  {
    sql: "DO $$ BEGIN ALTER TABLE posts ALTER COLUMN id TYPE bigint; END $$",
    ours: ["change-type"],
    reason: "squawk does not look into a DO block",
  },
  {
    sql: "DO $$ BEGIN EXECUTE 'DROP TABLE posts'; END $$",
    ours: ["drop-table"],
    reason: "squawk does not look into a DO block",
  },
  {
    sql: "BEGIN; CREATE TABLE a.posts (id bigint); CREATE INDEX i ON posts (title); COMMIT",
    ours: ["create-index"],
    reason: "squawk takes the one for the other: `a.posts` is new, `posts` is not",
  },
  ...[
    ["ALTER TABLE t ALTER COLUMN id SET NOT NULL", "adding-not-nullable-field"],
    ["ALTER TABLE t ADD PRIMARY KEY (id)", "adding-serial-primary-key-field"],
    ["ALTER TABLE t ALTER COLUMN id TYPE text", "changing-column-type"],
    ["DROP TABLE t", "ban-drop-table"],
  ].map(([sql = "", rule = ""]) => ({
    sql: `BEGIN; CREATE TABLE t (id bigint); ${sql}; COMMIT`,
    theirs: [rule],
    reason: "the table is of the same transaction: nobody else knows it, and it has no rows",
  })),
  {
    sql: "BEGIN; ALTER TABLE posts RENAME TO articles; CREATE VIEW posts AS SELECT * FROM articles; COMMIT",
    theirs: ["renaming-table"],
    reason: "the old version goes on with the view",
  },
  {
    sql: "ALTER DOMAIN d ADD CHECK (VALUE > 0)",
    theirs: ["ban-alter-domain-with-add-constraint"],
    reason: "which columns have the domain is not asked: no rule of ours",
  },
  {
    sql: "CREATE DOMAIN d AS integer CHECK (VALUE > 0)",
    theirs: ["ban-create-domain-with-constraint"],
    reason: "a type that nobody has yet costs nothing; add-column-rewrite is about its use",
  },
];

const catalog = catalogOf({
  posts,
  users: { columns: ["id int4 not null"] },
  tags: { columns: ["id int4"], rows: 10 },
});

/** squawk's rules that find something in the script, without those that are left out. */
function askSquawk(sql: string): string[] {
  const words = ["--reporter=json", "--pg-version=16", "--stdin-filepath=script.sql"];
  const { stdout, error } = spawnSync(squawk, words, { input: `${sql};\n`, encoding: "utf8" });
  if (error !== undefined)
    throw new Error(`cannot run ${squawk}: scripts/setup --tests`, { cause: error });
  const found = (JSON.parse(stdout) as { rule_name: string }[]).map((one) => one.rule_name);
  return [...new Set(found)].filter((rule) => !(rule in leftOut)).toSorted();
}

/** What only one of the two has found. */
function compare(sql: string): { ours: string[]; theirs: string[] } {
  const ours = [...new Set(findingsOf(sql, catalog).map(({ rule }) => rule))].toSorted();
  const theirs = askSquawk(sql);
  const shared = new Set(theirs.flatMap((rule) => squawkRules[rule] ?? []));
  return {
    ours: ours.filter((rule) => !shared.has(rule)),
    theirs: theirs.filter((rule) => !squawkRules[rule]?.some((one) => ours.includes(one))),
  };
}

describe.skipIf(!runs)(`squawk (${runs ? "pinned" : `there is none for ${process.arch}`})`, () => {
  test.for(agreed)("agrees on %s", (sql) => {
    expect(compare(sql)).toEqual({ ours: [], theirs: [] });
  });

  test.for(differences.map((one) => [one.sql, one] as const))("differs on %s", ([sql, one]) => {
    const { ours = [], theirs = [] } = one;
    expect(compare(sql)).toEqual({ ours, theirs });
  });

  test("each of its rules that is named here has found something", () => {
    const scripts = [...agreed, ...differences.map(({ sql }) => sql)];
    const found = new Set(scripts.flatMap(askSquawk));
    const named = Object.keys(squawkRules).filter((rule) => !found.has(rule) && !(rule in unasked));
    expect(named).toEqual([]);
  });

  test("the lint's README says which of our rules it has", () => {
    const table = readTable(readDocument("src/lint/README.md"), "Rule here");
    const rows = table.flatMap(([id = "", says = ""]) => {
      const { example } = rules.find((rule) => rule.id === id) ?? { example: "" };
      return /^(?:yes|no)\b/.test(says) ? [{ id, has: says.startsWith("yes"), example }] : [];
    });
    expect(rows.length).toBeGreaterThan(20);
    const measured = rows.map(({ id, example }) => ({
      id,
      example,
      has: askSquawk(example).some((rule) => squawkRules[rule]?.includes(id)),
    }));
    expect(rows).toEqual(measured);
  });
});
