// The same statement is dangerous, harmless or a mistake by what is around it: what the script has created, which
// server it is, how large the table is, and what the catalog knows.

import { describe, expect, test } from "vitest";
import { catalogOf, findingsOf, verdictOf } from "./harness.ts";

const columns = ["id int4 not null", "title varchar(80)", "n int4", "at timestamp"];
const live = catalogOf({ posts: { columns } });
const setNotNull = "ALTER TABLE posts ALTER COLUMN n SET NOT NULL";

describe("created by the script", () => {
  const create = "CREATE TABLE t (a int, b int REFERENCES posts)";
  const work =
    "CREATE INDEX i ON t (a); ALTER TABLE t ALTER a SET NOT NULL; ALTER TABLE t ALTER a TYPE bigint; ALTER TABLE t ADD c serial NOT NULL, ADD UNIQUE (b), ADD CHECK (a > 0), ADD FOREIGN KEY (a) REFERENCES posts; ALTER TABLE t RENAME a TO d; ALTER TABLE t RENAME TO u; DROP TABLE u";

  test("in the same transaction: nothing is unsafe", () => {
    expect(verdictOf(`BEGIN; ${create}; ${work}; COMMIT`, live)).toEqual([]);
  });

  test("in an earlier revision: it is empty, and no version of the application knows it", () => {
    expect(verdictOf(`BEGIN; ${create}; COMMIT; BEGIN; ${work}; COMMIT`, live)).toEqual([]);
  });

  test("and filled in an earlier revision: nobody knows how large it is", () => {
    const fill = "INSERT INTO t SELECT id, id FROM posts";
    const script = (sql: string) =>
      verdictOf(`BEGIN; ${create}; ${sql}; COMMIT; BEGIN; CREATE INDEX i ON t (a); COMMIT`, live);
    expect(script(fill)).toEqual(["error create-index"]);
    expect(script("INSERT INTO t VALUES (1, 2), (3, 4)")).toEqual(["note create-index"]);
    expect(verdictOf(`BEGIN; ${create}; ${fill}; CREATE INDEX i ON t (a); COMMIT`, live)).toEqual(
      [],
    );
  });

  test("only if it was not there before", () => {
    const script = "CREATE TABLE IF NOT EXISTS posts (n int); CREATE INDEX i ON posts (n)";
    expect(verdictOf(script, live)).toEqual(["error create-index"]);
    expect(verdictOf(script, catalogOf({}))).toEqual([]);
    expect(verdictOf(script)).toEqual(["error create-index"]);
  });

  test("dropped and created anew: it is new", () => {
    expect(
      verdictOf("DROP TABLE posts; CREATE TABLE posts (n int); CREATE INDEX i ON posts (n)", live),
    ).toEqual(["warning drop-table"]);
  });

  test("a new child's foreign key locks the live parent, which long work behind it then holds", () => {
    const sql = `BEGIN; ${create}; ALTER TABLE posts VALIDATE CONSTRAINT c; COMMIT`;
    expect(findingsOf(sql, live)).toMatchObject([
      { rule: "lock-held", message: expect.stringContaining("SHARE ROW EXCLUSIVE on posts") },
    ]);
  });

  test("a temporary table hides a live one", () => {
    expect(verdictOf("CREATE TEMP TABLE posts (n int); CREATE INDEX i ON posts (n)", live)).toEqual(
      [],
    );
    expect(
      verdictOf("CREATE TEMP TABLE posts (n int); CREATE INDEX i ON public.posts (n)", live),
    ).toEqual(["error create-index"]);
  });
});

describe("the server's version", () => {
  const on = (serverVersion: number) => catalogOf({ posts: { columns } }, { serverVersion });

  test("a constant default is free since 11", () => {
    const sql = "ALTER TABLE posts ADD COLUMN m int DEFAULT 0";
    expect(verdictOf(sql, on(100_023))).toEqual(["error add-column-rewrite"]);
    expect(verdictOf(sql, on(110_000))).toEqual([]);
  });

  test("SET NOT NULL believes a CHECK since 12, and before that the CHECK is all there is", () => {
    const sql = `ALTER TABLE posts ADD CONSTRAINT k CHECK (n IS NOT NULL) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT k; ${setNotNull}`;
    expect(verdictOf(sql, on(120_000))).toEqual([]);
    const [finding] = findingsOf(sql, on(110_000));
    expect(finding?.rule).toBe("set-not-null");
    expect(finding?.safe.map((step) => step.sql).join()).not.toContain("SET NOT NULL");
  });

  test("18 has NOT NULL … NOT VALID", () => {
    const sqlOn = (version: number) =>
      findingsOf(setNotNull, on(version))
        .flatMap(({ safe }) => safe)
        .map(({ sql }) => sql)
        .join("\n");
    expect(sqlOn(180_001)).toContain("NOT NULL n NOT VALID");
    expect(sqlOn(170_000)).toContain("CHECK (n IS NOT NULL) NOT VALID");
  });

  test("14.0 to 14.3 build corrupt indexes CONCURRENTLY", () => {
    const sql = "CREATE INDEX CONCURRENTLY i ON posts (n)";
    expect(verdictOf(sql, on(140_003))).toEqual(["error concurrently-corrupt"]);
    expect(verdictOf(sql, on(140_004))).toEqual([]);
    expect(verdictOf("DROP INDEX CONCURRENTLY i", on(140_003))).toEqual([]);
  });

  test("a value is added to an enum in a transaction since 12", () => {
    const sql = "BEGIN; ALTER TYPE mood ADD VALUE 'calm'; COMMIT";
    expect(verdictOf(sql, on(110_000))).toEqual(["error add-enum-value"]);
    expect(verdictOf(sql, on(120_000))).toEqual([]);
  });
});

describe("the table's size", () => {
  const sized = (rows: number, pages?: number) =>
    catalogOf({ posts: { columns, rows, ...(pages === undefined ? {} : { pages }) } });

  test.each([
    [9_999, "note"],
    [10_000, "error"],
  ])("%i rows are a %s", (rows, severity) => {
    expect(verdictOf(setNotNull, sized(rows))).toEqual([`${severity} set-not-null`]);
  });

  test("never analysed is not empty: the pages tell what they can", () => {
    const sql = "CREATE INDEX i ON posts (n)";
    expect(verdictOf(sql, sized(-1, 0))).toEqual(["note create-index"]);
    expect(verdictOf(sql, sized(-1, 34))).toEqual(["note create-index"]);
    expect(verdictOf(sql, sized(-1, 35))).toEqual(["error create-index"]);
  });

  test("partitions are summed, and one that was never analysed counts as what its pages may hold", () => {
    const [table] = sized(1).relations;
    const of = (...leaves: { tuples: number; pages: number; bytes: number | null }[]) => {
      const relations = table === undefined ? [] : [{ ...table, leaves }];
      return findingsOf(setNotNull, { ...sized(1), relations })[0]?.work;
    };
    const known = { tuples: 6_000, pages: 60, bytes: 60 * 8192 };
    expect(of(known, known)).toMatchObject({ rows: 12_000, atMost: false, bytes: 120 * 8192 });
    // It has grown by half since.
    expect(of({ ...known, bytes: 90 * 8192 })).toMatchObject({ rows: 9_000 });
    const never = { tuples: -1, pages: 10, bytes: 10 * 8192 };
    expect(of(known, never)).toMatchObject({ rows: 8_910, atMost: true });
    // Somebody has locked it.
    expect(of(known, { ...never, bytes: null })).toMatchObject({ rows: null, bytes: null });
    expect(of({ ...known, bytes: null })).toMatchObject({ rows: 6_000, bytes: 60 * 8192 });
  });

  test("zero rows were counted once, and there may be some by now", () => {
    const sql = "ALTER TABLE posts ADD COLUMN m int NOT NULL";
    expect(verdictOf(sql, sized(0, 0))).toEqual(["note add-column-not-null"]);
    const counted = catalogOf({ posts: { columns, rows: 0, pages: 0 } });
    const [table] = counted.relations;
    const filled = {
      ...counted,
      relations:
        table === undefined ? [] : [{ ...table, leaves: [{ tuples: 0, pages: 0, bytes: 8192 }] }],
    };
    expect(verdictOf(sql, filled)).toEqual(["error add-column-not-null"]);
  });

  test("NOT NULL without a default fails on a small table too, and what breaks the old version breaks it at any size", () => {
    expect(verdictOf("ALTER TABLE posts ADD COLUMN m int NOT NULL", sized(1))).toEqual([
      "error add-column-not-null",
    ]);
    expect(verdictOf("ALTER TABLE posts RENAME n TO m", sized(1))).toEqual(["error rename-column"]);
  });

  test("it tells how long, roughly", () => {
    const [finding] = findingsOf(setNotNull, sized(100_000_000));
    expect(finding?.work).toMatchObject({ kind: "scan", rows: 100_000_000, atMost: false });
    expect(finding?.work?.seconds).toBeGreaterThan(10);
    expect(findingsOf(setNotNull)[0]?.work).toMatchObject({ rows: null, seconds: null });
  });
});

describe("what the catalog knows", () => {
  const checked = (definition: string, valid = true) =>
    catalogOf({
      posts: { columns, constraints: [{ name: "k", definition, valid, columns: ["n"] }] },
    });

  test.each([
    "CHECK ((n IS NOT NULL))",
    "CHECK (((n IS NOT NULL) AND (n > 0)))",
    "CHECK ((NOT (n IS NULL)))",
    "CHECK ((n IS DISTINCT FROM NULL))",
  ])("SET NOT NULL is free by a valid %s", (definition) => {
    expect(verdictOf(setNotNull, checked(definition))).toEqual([]);
    expect(verdictOf(setNotNull, checked(definition, false))).toEqual(["error set-not-null"]);
  });

  test.each([
    "CHECK ((n > 0))",
    "CHECK ((num_nulls(n) = 0))",
    "CHECK (((n IS NOT NULL) OR (id > 0)))",
    "CHECK ((id IS NOT NULL))",
    "CHECK ((n IS NULL))",
  ])("but not by %s", (definition) => {
    expect(verdictOf(setNotNull, checked(definition))).toEqual(["error set-not-null"]);
  });

  test("an invalid one has only to be validated", () => {
    const [finding] = findingsOf(setNotNull, checked("CHECK ((n IS NOT NULL))", false));
    expect(finding?.safe).toHaveLength(1);
    expect(finding?.safe[0]?.sql).toContain("VALIDATE CONSTRAINT k;");
  });

  test("a CHECK that the same command drops proves nothing", () => {
    const sql = "ALTER TABLE posts DROP CONSTRAINT k, ALTER COLUMN n SET NOT NULL";
    expect(verdictOf(sql, checked("CHECK ((n IS NOT NULL))"))).toEqual(["error set-not-null"]);
  });

  test("a CHECK of an earlier pending revision counts once it is validated", () => {
    const add = "ALTER TABLE posts ADD CONSTRAINT k CHECK (n IS NOT NULL) NOT VALID";
    const validate = "ALTER TABLE posts VALIDATE CONSTRAINT k";
    const revisions = (...all: string[]) => all.map((one) => `BEGIN; ${one}; COMMIT;`).join("\n");
    expect(verdictOf(revisions(add, `${validate}; ${setNotNull}`), live)).toEqual([]);
    expect(verdictOf(revisions(add, setNotNull), live)).toEqual(["error set-not-null"]);
    expect(
      verdictOf(revisions(add, "ALTER TABLE posts VALIDATE CONSTRAINT other", setNotNull), live),
    ).toEqual(["error set-not-null"]);
    expect(
      verdictOf(
        revisions(
          add,
          validate,
          "ALTER TABLE posts RENAME COLUMN n TO m",
          "ALTER TABLE posts ALTER COLUMN m SET NOT NULL",
        ),
        live,
      ),
    ).toEqual(["error rename-column"]);
  });

  test("a CHECK of another table of that name proves nothing", () => {
    const both = catalogOf({
      "a.posts": { schema: "a", columns, constraints: [{ definition: "CHECK ((n IS NOT NULL))" }] },
      "b.posts": { schema: "b", columns },
    });
    expect(verdictOf("ALTER TABLE a.posts ALTER n SET NOT NULL", both)).toEqual([]);
    expect(verdictOf("ALTER TABLE b.posts ALTER n SET NOT NULL", both)).toEqual([
      "error set-not-null",
    ]);
    expect(verdictOf(`SET search_path TO b, a; ${setNotNull}`, both)).toEqual([
      "error set-not-null",
    ]);
    expect(verdictOf(`SET search_path TO a, b; ${setNotNull}`, both)).toEqual([]);
    expect(verdictOf("CREATE TABLE a.new (n int); CREATE INDEX i ON b.new (n)", both)).toEqual([
      "error create-index",
    ]);
  });

  test("timestamp becomes timestamptz for nothing where the session's time zone is UTC, but for its indexes", () => {
    const sql = "ALTER TABLE posts ALTER COLUMN at TYPE timestamptz";
    const on = (timeZone: string, indexes = {}) =>
      catalogOf({ posts: { columns, indexes } }, { timeZone });
    expect(verdictOf(sql, on("UTC"))).toEqual([]);
    expect(verdictOf(sql, on("Europe/Berlin"))).toEqual(["error change-type"]);
    expect(verdictOf(`SET TimeZone TO 'UTC'; ${sql}`, on("Europe/Berlin"))).toEqual([]);
    expect(findingsOf(sql, on("UTC", { posts_at: ["at"] }))).toMatchObject([
      { rule: "change-type", work: { kind: "index" } },
    ]);
  });

  test("a longer varchar is free, but a CHECK on it is verified", () => {
    const sql = "ALTER TABLE posts ALTER COLUMN title TYPE varchar(90)";
    const constraints = [{ definition: "CHECK ((title <> ''))", columns: ["title"] }];
    expect(verdictOf(sql, live)).toEqual([]);
    expect(findingsOf(sql, catalogOf({ posts: { columns, constraints } }))).toMatchObject([
      { rule: "change-type", work: { kind: "scan" } },
    ]);
  });

  test("the type that an earlier statement gave counts, not the catalog's", () => {
    const sql = "ALTER TABLE posts ALTER COLUMN title TYPE varchar(90)";
    expect(verdictOf(`ALTER TABLE posts ALTER COLUMN title TYPE text; ${sql}`, live)).toEqual([
      "error change-type",
    ]);
  });

  test("a function is as volatile as the catalog says, or as the script creates it", () => {
    const sql = "ALTER TABLE posts ADD COLUMN m int DEFAULT next_one()";
    const as = (volatility: "i" | "s" | "v") =>
      catalogOf({ posts: { columns } }, { volatilities: { next_one: volatility } });
    expect(verdictOf(sql, as("s"))).toEqual([]);
    expect(verdictOf(sql, as("v"))).toEqual(["error add-column-rewrite"]);
    const create = (word: string) =>
      `CREATE FUNCTION next_one() RETURNS int LANGUAGE sql ${word} AS 'select 1'; ${sql}`;
    expect(verdictOf(create("STABLE"), live)).toEqual([]);
    expect(verdictOf(create(""), live)).toEqual(["error add-column-rewrite"]);
    expect(findingsOf(sql, live)[0]?.unknown).toEqual(["whether next_one() is volatile"]);
  });

  test("a partitioned table's index is not built CONCURRENTLY", () => {
    const parent = catalogOf({ posts: { columns, kind: "p" } });
    const [finding] = findingsOf("CREATE INDEX i ON posts (n)", parent);
    expect(finding).toMatchObject({ rule: "create-index", safe: [] });
    expect(finding?.advice).toContain("ON ONLY posts");
    expect(verdictOf("CREATE INDEX i ON ONLY posts (n)", parent)).toEqual([]);
    expect(verdictOf("CREATE INDEX CONCURRENTLY i ON posts (n)", parent)).toEqual([
      "error create-index",
    ]);
  });
});

test("without a database, what an earlier transaction has created may be in use by now", () => {
  const script =
    "BEGIN; CREATE TABLE t (a int); CREATE INDEX i ON t (a); COMMIT; BEGIN; CREATE INDEX j ON t (a); COMMIT";
  expect(findingsOf(script)).toMatchObject([{ object: "j", severity: "error" }]);
  expect(verdictOf(script, live)).toEqual([]);
  const revision = `-- Running upgrade  -> a1\n${script}`;
  expect(verdictOf(revision)).toEqual([]);
});

test("a table outside of the search path is the one of that name, if there is one", () => {
  const one = catalogOf({ "blog.posts": { schema: "blog", columns, rows: 5 } });
  expect(verdictOf(setNotNull, one)).toEqual(["note set-not-null"]);
  const two = catalogOf({
    "blog.posts": { schema: "blog", columns, rows: 5 },
    "shop.posts": { schema: "shop", columns, rows: 5 },
  });
  expect(verdictOf(setNotNull, two)).toEqual(["error set-not-null"]);
});

test("a colon in a condition is no parameter to SQLAlchemy", () => {
  const sql = "ALTER TABLE posts ADD CONSTRAINT k CHECK (title <> ' :x' AND id::text <> '12:30')";
  const [first] = findingsOf(sql, live)[0]?.safe ?? [];
  expect(first?.sql).toContain("' :x'");
  expect(first?.alembic).toContain(String.raw`' \\:x' AND id::text <> '12:30'`);
});

test("SET LOCAL ends with its transaction", () => {
  const both = catalogOf({
    "a.posts": { schema: "a", columns, rows: 5 },
    "public.posts": { columns },
  });
  const script = `BEGIN; SET LOCAL search_path TO a; ${setNotNull}; COMMIT; BEGIN; ${setNotNull}; COMMIT`;
  expect(verdictOf(script, both)).toEqual(["note set-not-null", "error set-not-null"]);
});

test("without a database it says what it could not know", () => {
  expect(findingsOf(setNotNull)[0]?.unknown).toEqual([
    "whether a valid CHECK on posts makes it free",
  ]);
  expect(findingsOf("ALTER TABLE posts ALTER COLUMN n TYPE bigint")[0]?.unknown).toEqual([
    "the present type of n",
  ]);
  expect(findingsOf("DROP INDEX i")[0]?.unknown).toEqual(["the table of i"]);
});

test("revisions that share a transaction are separated by env.py, statements of one revision by hand", () => {
  const add = "ALTER TABLE posts ADD CONSTRAINT k CHECK (n > 0) NOT VALID;";
  const validate = "ALTER TABLE posts VALIDATE CONSTRAINT k;";
  const [shared] = findingsOf(
    `BEGIN;\n-- Running upgrade  -> a1\n${add}\n-- Running upgrade a1 -> b2\n${validate}\nCOMMIT;`,
    live,
  );
  expect(shared).toMatchObject({ rule: "lock-held", statement: { revision: "b2" }, safe: [] });
  expect(shared?.advice).toMatch(
    /^the migrations share one transaction: .* \(transaction_per_migration=True in env\.py\)$/,
  );
  const [alone] = findingsOf(
    `BEGIN;\n-- Running upgrade  -> a1\n${add}\n${validate}\nCOMMIT;`,
    live,
  );
  expect(alone?.advice).toMatch(/^put it into a migration of its own/);
  expect(alone?.safe).toHaveLength(1);
});

test("the locks are those of the statement, on the other table too", () => {
  const sql = "ALTER TABLE posts ADD FOREIGN KEY (n) REFERENCES users (id)";
  expect(findingsOf(sql, live)[0]?.locks).toEqual([
    { mode: "SHARE ROW EXCLUSIVE", table: "posts", blocks: "blocks writes" },
    { mode: "SHARE ROW EXCLUSIVE", table: "users", blocks: "blocks writes" },
  ]);
});

test("the safe forms are safe themselves: each step, in a transaction of its own, has no error", () => {
  const unsafe = [
    setNotNull,
    "ALTER TABLE posts ADD COLUMN m int NOT NULL",
    "ALTER TABLE posts ADD COLUMN m uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE posts ADD COLUMN m bigserial",
    "ALTER TABLE posts ADD COLUMN m int CHECK (m > 0) UNIQUE",
    "ALTER TABLE posts ADD COLUMN m int DEFAULT 1 REFERENCES posts (id)",
    "ALTER TABLE posts ALTER COLUMN n TYPE bigint",
    "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES posts (id) ON DELETE CASCADE",
    "ALTER TABLE posts ADD CHECK (n > 0 AND title <> '(')",
    "ALTER TABLE posts ADD UNIQUE (n, title)",
    'ALTER TABLE posts ADD CONSTRAINT "Pk" PRIMARY KEY (id)',
    "ALTER TABLE posts ADD PRIMARY KEY (n)",
    "CREATE UNIQUE INDEX i ON posts (n) WHERE n > 0",
    "DROP INDEX posts_n",
    "REINDEX TABLE posts",
    "ALTER TABLE posts RENAME TO articles",
    "BEGIN; CREATE INDEX CONCURRENTLY i ON posts (n); COMMIT",
    "BEGIN; ALTER TABLE posts ADD CONSTRAINT k CHECK (n > 0) NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT k; COMMIT",
  ];
  const catalog = catalogOf({ posts: { columns, indexes: { posts_n: ["n"] } } });
  for (const sql of unsafe) {
    const findings = findingsOf(sql, catalog);
    expect(findings, sql).not.toEqual([]);
    for (const { safe } of findings) {
      expect(safe.length, sql).toBeGreaterThan(0);
      const script = safe
        .map((step) => {
          const alone = /CONCURRENTLY/.test(step.sql) || step.sql === "";
          return alone ? step.sql : `BEGIN; ${step.sql} COMMIT;`;
        })
        .join("\n");
      const errors = verdictOf(script, catalog).filter((one) => one.startsWith("error"));
      expect(errors, script).toEqual([]);
    }
  }
});

test.each([
  ["SET n = 1", "n IS DISTINCT FROM (1)"],
  ["SET n = length(title) WHERE id > 5", "n IS DISTINCT FROM (length(title)) AND (id > 5)"],
  ["SET n = n + 1 WHERE n IS NULL", "n IS NULL"],
  ["SET n = random() WHERE n IS NULL", "n IS NULL"],
  ["SET n = random()", null],
  ["SET n = n + 1", null],
  ["SET n = 1, title = 'x'", null],
  ["SET n = 1 FROM users WHERE users.id = posts.id", null],
  ["AS p SET n = p.id", null],
])(
  "UPDATE posts %s is advised as a backfill where it says which rows are left",
  (update, where) => {
    const sql = `BEGIN; ALTER TABLE posts ADD COLUMN m int; UPDATE posts ${update}; COMMIT`;
    const [finding] = findingsOf(sql, live).filter(({ rule }) => rule === "ddl-and-backfill");
    const command = finding?.safe[0]?.command ?? null;
    expect(command?.[command.indexOf("--where") + 1] ?? null).toBe(where);
  },
);

describe("long work behind a lock that keeps writers out", () => {
  const nothing = "FOR EACH ROW EXECUTE FUNCTION f()";
  test.for([
    ["a trigger", `CREATE TRIGGER t BEFORE UPDATE ON posts ${nothing}`, "SHARE ROW EXCLUSIVE"],
    [
      "a foreign key",
      "ALTER TABLE posts ADD FOREIGN KEY (n) REFERENCES posts NOT VALID",
      "SHARE ROW EXCLUSIVE",
    ],
    ["an explicit lock", "LOCK TABLE posts IN EXCLUSIVE MODE", "EXCLUSIVE"],
    ["a column", "ALTER TABLE posts ADD COLUMN m int", "ACCESS EXCLUSIVE"],
  ] as const)("%s, then a backfill", ([, first, mode]) => {
    const found = findingsOf(`BEGIN; ${first}; UPDATE posts SET n = 1; COMMIT`, live);
    expect(found.map(({ severity, rule }) => [severity, rule])).toEqual([
      ["error", "ddl-and-backfill"],
    ]);
    expect(found[0]?.message).toContain(`still holds ${mode} on posts`);
  });

  test("one that keeps nobody out is none", () => {
    expect(
      verdictOf("BEGIN; ALTER TABLE posts SET (fillfactor = 90); UPDATE posts SET n = 1", live),
    ).toEqual(["error change-many-rows"]);
  });
});

describe("options that are off", () => {
  test.for([
    ["REINDEX (CONCURRENTLY FALSE) TABLE posts", ["error reindex"]],
    ["REINDEX (CONCURRENTLY) TABLE posts", []],
    ["BEGIN; REINDEX (CONCURRENTLY off) TABLE posts", ["error reindex"]],
    ["VACUUM (FULL FALSE) posts", []],
    ["VACUUM (FULL 0) posts", []],
    ["VACUUM (FULL TRUE, ANALYZE) posts", ["error rewrite-table"]],
    ["VACUUM FULL", ["error rewrite-table"]],
    ["VACUUM", []],
    ["CLUSTER", ["error rewrite-table"]],
  ] as const)("%s", ([sql, expected]) => {
    expect(verdictOf(sql, live)).toEqual(expected);
  });
});

describe("enums", () => {
  const use = "ALTER TYPE mood ADD VALUE 'calm'; SELECT 'calm'::mood";
  test("a value of one that the transaction creates can be used in it", () => {
    expect(verdictOf(`BEGIN; CREATE TYPE mood AS ENUM ('a'); ${use}; COMMIT`, live)).toEqual([]);
  });
  test("one of an earlier transaction's cannot", () => {
    expect(
      verdictOf(`BEGIN; CREATE TYPE mood AS ENUM ('a'); COMMIT; BEGIN; ${use}; COMMIT`, live),
    ).toEqual(["error add-enum-value"]);
  });
});

describe("constraints without a name have the server's", () => {
  const validated = (added: string, name: string) =>
    verdictOf(
      `ALTER TABLE posts ADD ${added} NOT VALID; ALTER TABLE posts VALIDATE CONSTRAINT ${name}; ALTER TABLE posts ALTER n SET NOT NULL`,
      live,
    );
  test("of one column, of several, and of the second of a name", () => {
    expect(validated("CHECK (n IS NOT NULL)", "posts_n_check")).toEqual([]);
    expect(validated("CHECK (n IS NOT NULL AND id > 0)", "posts_check")).toEqual([]);
    expect(
      validated("CHECK (n > 0) NOT VALID, ADD CHECK (n IS NOT NULL)", "posts_n_check1"),
    ).toEqual([]);
    expect(validated("CHECK (n IS NOT NULL)", "posts_check")).toEqual(["error set-not-null"]);
  });
});

describe("what the same transaction drops", () => {
  const others = catalogOf({
    posts: { columns, indexes: { posts_at: ["at"] } },
    users: { columns: ["id int4 not null"], indexes: { users_id: ["id"] } },
  });
  test("its indexes, and the order of its locks, are nobody's trouble", () => {
    expect(verdictOf("BEGIN; DROP INDEX posts_at; DROP TABLE posts; COMMIT", others)).toEqual([
      "warning drop-table",
    ]);
    expect(verdictOf("BEGIN; DROP TABLE posts; DROP TABLE users; COMMIT", others)).toEqual([
      "warning drop-table",
      "warning drop-table",
    ]);
    expect(verdictOf("BEGIN; DROP INDEX posts_at; COMMIT; DROP TABLE posts", others)).toEqual([
      "warning drop-index",
      "warning drop-table",
    ]);
    expect(
      verdictOf("BEGIN; ALTER TABLE users ADD COLUMN a int; DROP INDEX posts_at; COMMIT", others),
    ).toEqual(["warning drop-index", "warning lock-held"]);
  });
});
