// `entrypoint lint`, and `--lint` at boot, with real Alembic and a real PostgreSQL: the SQL is what Alembic prints for
// exactly the pending revisions, and the sizes, columns and constraints are those of the live tables.
// @runs-on executable

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  blogDirectory,
  entrypointCommand,
  plainEnvironment,
  python,
  runEntrypoint,
  startEntrypoint,
} from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject, type RevisionFile } from "../harness/project.ts";

/** What --json prints, as far as it is looked at here. */
interface Printed {
  findings: {
    rule: string;
    severity: string;
    object: string;
    message: string;
    revision: string | null;
    file: string | null;
    line: number | null;
    certain: boolean;
    sql: string | null;
    locks: { mode: string; table: string }[];
    work: { rows: number | null; seconds: number | null } | null;
    advice: string;
    unknown: string[];
    safe: { sql: string; alembic: string; command: string | null }[];
    allowed: string | null;
  }[];
  revisions: string[];
  incomplete: boolean;
  counts: Record<string, number>;
}

async function lint(place: { cwd: string; env?: Record<string, string> }, ...args: string[]) {
  const { code, stdout, lines } = await runEntrypoint(["lint", "--json", ...args], place);
  const printed = JSON.parse(stdout) as Printed;
  const verdicts = printed.findings.map(({ rule, severity, allowed }) =>
    allowed === null ? `${severity} ${rule}` : `allowed ${rule}`,
  );
  return { code, lines, verdicts, ...printed };
}

/** A project at its first revision `a1`, which has made the tables of `setup`; the others are pending. */
async function projectAt(setup: string, pending: readonly RevisionFile[], env?: string) {
  const cwd = createProject([{ id: "a1" }, ...pending], env === undefined ? {} : { env });
  const url = await createTestDatabase();
  await stampRows(url, "a1");
  const client = await connectClient(url);
  await client.query(setup);
  return { cwd, env: { DATABASE_URL: url }, client };
}

const bigTable =
  "create table posts (id int primary key, title varchar(80), n int); insert into posts select i, 'title', 1 from generate_series(1, 20000) i; analyze posts";

describe("the blog", () => {
  /** At its third revision, with twenty thousand posts. */
  async function blogAt(third: string, last: string | null) {
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-blog-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    cpSync(blogDirectory, directory, { recursive: true });
    const url = await createTestDatabase();
    const place = { cwd: directory, env: { DATABASE_URL: url } };
    await execa(python, ["-m", "alembic", "upgrade", third], {
      cwd: directory,
      env: plainEnvironment(place.env),
      extendEnv: false,
    });
    const client = await connectClient(url);
    if (third !== "0001_create_posts") {
      await client.query(
        "insert into posts (title, body, word_count) select 'title', 'two words', 2 from generate_series(1, 20000); analyze posts",
      );
    }
    if (last !== null) {
      const path = join(directory, "migrations/versions/0005_require_word_count.py");
      const text = readFileSync(path, "utf8");
      writeFileSync(
        path,
        text.replace(/(def upgrade.*:\n)[^]*?(?=\n\ndef downgrade)/, `$1${last}`),
      );
      rmSync(join(directory, "migrations/versions/0004_check_word_count.py"));
      writeFileSync(
        path,
        readFileSync(path, "utf8").replace('0004_check_word_count"', '0003_backfill_word_count"'),
      );
    }
    return { ...place, client };
  }
  const wrong = '    op.alter_column("posts", "word_count", nullable=False)\n';

  test("65: its third step written as SET NOT NULL alone is refused, with the three steps", async () => {
    const place = await blogAt("0003_backfill_word_count", wrong);
    const { code, stdout } = await runEntrypoint(["lint"], place);
    expect(code).toBe(65);
    expect(stdout).toContain("error[set-not-null] SET NOT NULL reads every row of posts");
    expect(stdout).toMatch(
      /--> migrations\/versions\/0005_require_word_count.py:\d+:5 \(migration 0005_require_word_count\)/,
    );
    expect(stdout).toContain('    op.alter_column("posts", "word_count", nullable=False)');
    expect(stdout).toContain(
      "ACCESS EXCLUSIVE on posts: blocks reads and writes, for less than a second (about 20,000 rows to read)",
    );
    for (const step of ["-- 1. ", "-- 2. ", "-- 3a. ", "-- 3b. "]) expect(stdout).toContain(step);
    const { findings } = await lint(place);
    expect(findings).toMatchObject([
      { rule: "set-not-null", object: "posts.word_count", certain: true, unknown: [] },
    ]);
  });

  test("as it is written, it passes", async () => {
    const place = await blogAt("0003_backfill_word_count", null);
    const { code, verdicts, revisions } = await lint(place);
    expect({ code, verdicts }).toEqual({ code: 0, verdicts: [] });
    expect(revisions).toEqual(["0004_check_word_count", "0005_require_word_count"]);
  });

  test("as it is written, it passes from the first revision on, and at head there is nothing to lint", async () => {
    const empty = { cwd: blogDirectory, env: { DATABASE_URL: await createTestDatabase() } };
    expect(await lint(empty)).toMatchObject({ code: 0, verdicts: [] });
    const place = await blogAt("head", null);
    expect(await lint(place)).toMatchObject({ code: 0, verdicts: [], revisions: [] });
  });

  test("the last step alone is free, since the live table has a valid CHECK", async () => {
    const place = await blogAt("0004_check_word_count", null);
    await place.client.query("alter table posts validate constraint posts_word_count_known");
    expect(await lint(place, "--range", "0004_check_word_count:head")).toMatchObject({
      code: 0,
      verdicts: [],
    });
    await place.client.query("alter table posts drop constraint posts_word_count_known");
    expect(await lint(place, "--range", "0004_check_word_count:head")).toMatchObject({
      code: 65,
      verdicts: ["error set-not-null"],
    });
  });

  test("without a database its whole history is linted, and tells right from wrong", async () => {
    const verdictsOf = async (last: string | null) => {
      const place = await blogAt("0001_create_posts", last);
      const env = { DATABASE_URL: "postgresql://nobody@127.0.0.1:1/none" };
      return (await lint({ cwd: place.cwd, env }, "--range", "base:head")).verdicts;
    };
    expect(await verdictsOf(wrong)).toEqual(["error set-not-null", "warning change-many-rows"]);
    // The backfill that the blog has as a migration.
    expect(await verdictsOf(null)).toEqual(["warning change-many-rows"]);
  });

  test("--lint error refuses it at boot with 65, and nothing has been touched", async () => {
    const place = await blogAt("0003_backfill_word_count", wrong);
    const { code, lines, stderr } = await runEntrypoint(
      ["--lint", "error", "uvicorn", "--version"],
      place,
    );
    expect(code).toBe(65);
    expect(lines.find(({ event }) => event === "lint")).toMatchObject({
      level: "error",
      rule: "set-not-null",
      revision: "0005_require_word_count",
      object: "posts.word_count",
    });
    expect(lines.at(-1)).toMatchObject({ event: "unsafe-migration", exitCode: 65 });
    expect(stderr).not.toContain("Running database migrations");
    const { rows } = await place.client.query("select version_num from alembic_version");
    expect(rows).toEqual([{ version_num: "0003_backfill_word_count" }]);
    const dry = await runEntrypoint(["migrate", "--dry-run", "--lint", "error"], place);
    expect(dry.stdout).toContain(
      "lint       would refuse what is unsafe in the pending migrations",
    );
  });

  test("--lint warn says so, and migrates", async () => {
    const place = await blogAt("0003_backfill_word_count", wrong);
    const env = { ...place.env, ENTRYPOINT_LINT: "warn" };
    const { code, lines } = await runEntrypoint(["migrate"], { cwd: place.cwd, env });
    expect(code).toBe(0);
    expect(lines.find(({ event }) => event === "lint")).toMatchObject({
      level: "warn",
      rule: "set-not-null",
    });
    const { rows } = await place.client.query("select version_num from alembic_version");
    expect(rows).toEqual([{ version_num: "0005_require_word_count" }]);
  });
});

describe("the live tables", () => {
  test("a table below the threshold is a note, and one above it an error", async () => {
    const place = await projectAt(
      `${bigTable}; create table tags (id int); insert into tags select generate_series(1, 300); analyze tags;`,
      [
        {
          id: "b2",
          upgrade: 'op.create_index("i", "posts", ["n"])\nop.create_index("j", "tags", ["id"])',
        },
      ],
    );
    const { code, findings } = await lint(place);
    expect(code).toBe(65);
    expect(findings.map(({ severity, object, work }) => [severity, object, work?.rows])).toEqual([
      ["error", "i", 20000],
      ["note", "j", 300],
    ]);
    expect((await lint(place, "--lint-threshold", "100")).verdicts).toEqual([
      "error create-index",
      "error create-index",
    ]);
  });

  test("of a table that was never analysed the pages tell that it is small, or nothing tells it", async () => {
    const place = await projectAt(
      "create table few (id int) with (autovacuum_enabled = off); insert into few values (1); create table many (id int) with (autovacuum_enabled = off); insert into many select generate_series(1, 20000)",
      [
        {
          id: "b2",
          upgrade: 'op.create_index("i", "few", ["id"])\nop.create_index("j", "many", ["id"])',
        },
      ],
    );
    const { findings } = await lint(place);
    expect(findings.map(({ severity, object }) => [severity, object])).toEqual([
      ["error", "j"],
      ["note", "i"],
    ]);
    const { stdout } = await runEntrypoint(["lint"], place);
    expect(stdout).toContain("kB that were never analysed");
  });

  test("the rows of partitions are summed", async () => {
    const place = await projectAt(
      `create table events (id int, at int) partition by range (at);
       create table events_1 partition of events for values from (0) to (10) partition by range (at);
       create table events_1a partition of events_1 for values from (0) to (5);
       create table events_2 partition of events for values from (10) to (20);
       insert into events select i, i % 5 from generate_series(1, 6000) i;
       insert into events select i, 11 from generate_series(1, 6000) i;
       analyze events_1a; analyze events_2`,
      [{ id: "b2", upgrade: 'op.execute("ALTER TABLE events ADD CHECK (id > 0)")' }],
    );
    const { findings } = await lint(place);
    expect(findings).toMatchObject([
      { rule: "add-check", severity: "error", work: { rows: 12000 } },
    ]);
  });

  test("a name is looked for in the search path, and a.t is not b.t", async () => {
    const place = await projectAt(
      `create schema a; create schema b; create table a.t (id int, c int); create table b.t (id int, c int not null);
       insert into a.t select i, 1 from generate_series(1, 20000) i; insert into b.t values (1, 1); analyze a.t; analyze b.t`,
      [
        {
          id: "b2",
          upgrade: [
            'op.execute("ALTER TABLE a.t ALTER COLUMN c SET NOT NULL")',
            'op.execute("ALTER TABLE b.t ALTER COLUMN c SET NOT NULL")',
            'op.execute("SET LOCAL search_path TO b, a")',
            'op.execute("ALTER TABLE t ADD CHECK (id > 0)")',
            'op.execute("SET LOCAL search_path TO a, b")',
            'op.execute("ALTER TABLE t ADD CHECK (id > 1)")',
          ].join("\n"),
        },
      ],
    );
    const { findings } = await lint(place);
    expect(findings.map(({ rule, severity, sql }) => [rule, severity, sql])).toEqual([
      ["set-not-null", "error", "ALTER TABLE a.t ALTER COLUMN c SET NOT NULL"],
      ["add-check", "error", "ALTER TABLE t ADD CHECK (id > 1)"],
      ["add-check", "note", "ALTER TABLE t ADD CHECK (id > 0)"],
    ]);
  });

  test("types, domains, functions and indexes are those of the catalog", async () => {
    const place = await projectAt(
      `${bigTable}; create index posts_title on posts (title);
       create domain positive as int check (value > 0); create domain plain as int;
       create domain inner_one as positive;
       create function steady() returns int language sql stable as 'select 1';
       create function moody() returns int language sql volatile as 'select 1';`,
      [
        {
          id: "b2",
          upgrade: [
            "ALTER TABLE posts ALTER COLUMN title TYPE varchar(100)",
            "ALTER TABLE posts ALTER COLUMN title TYPE varchar(90)",
            "ALTER TABLE posts ADD COLUMN a positive",
            "ALTER TABLE posts ADD COLUMN b plain",
            "ALTER TABLE posts ADD COLUMN c inner_one",
            "ALTER TABLE posts ADD COLUMN d int DEFAULT steady()",
            "ALTER TABLE posts ADD COLUMN e int DEFAULT moody()",
            "DROP INDEX posts_title",
          ]
            .map((sql) => `op.execute("${sql}")`)
            .join("\n"),
        },
      ],
    );
    const { findings } = await lint(place);
    expect(findings.map(({ rule, object }) => [rule, object])).toEqual([
      ["change-type", "posts.title"],
      ["add-column-rewrite", "posts.a"],
      ["add-column-rewrite", "posts.c"],
      ["add-column-rewrite", "posts.e"],
      ["drop-index", "posts_title"],
    ]);
    expect(findings.at(-1)?.locks).toMatchObject([{ mode: "ACCESS EXCLUSIVE", table: "posts" }]);
  });

  test("a table that somebody has locked is linted all the same, and nobody is kept waiting", async () => {
    const place = await projectAt(bigTable, [
      { id: "b2", upgrade: 'op.execute("ALTER TABLE posts ADD CHECK (id > 0)")' },
    ]);
    await place.client.query("begin; lock table posts in access exclusive mode");
    const { code, findings } = await lint(place);
    expect(code).toBe(65);
    expect(findings).toMatchObject([
      { rule: "add-check", severity: "error", work: { rows: 20000 } },
    ]);
    await place.client.query("rollback");
  });
});

describe("what is linted", () => {
  test("the statements of the pending revisions alone, each with its revision, file and line", async () => {
    const place = await projectAt(bigTable, [
      {
        id: "b2",
        upgrade:
          'op.execute("""\nALTER TABLE posts\n    ADD CHECK (n > 0)\n""")\nop.create_index("i", "posts", ["n"])',
      },
      {
        id: "c3",
        upgrade: 'for name in ("x", "y"):\n    op.execute(f"CREATE INDEX {name} ON posts (n)")',
      },
    ]);
    const { findings, revisions } = await lint(place);
    expect(revisions).toEqual(["b2", "c3"]);
    const lines = findings.map(({ rule, revision, file, line, certain }) => [
      rule,
      revision,
      file,
      line,
      certain,
    ]);
    expect(lines).toEqual([
      ["add-check", "b2", "migrations/versions/b2.py", 9, true],
      ["create-index", "b2", "migrations/versions/b2.py", 12, true],
      // Computed, by a call that Alembic reports.
      ["create-index", "c3", "migrations/versions/c3.py", 9, true],
      ["create-index", "c3", "migrations/versions/c3.py", 9, true],
    ]);
  });

  test("DO blocks are looked into, and EXECUTE is reported as opaque", async () => {
    const place = await projectAt(bigTable, [
      {
        id: "b2",
        upgrade:
          'op.execute("""DO $$\nBEGIN\n  IF true THEN\n    ALTER TABLE posts ADD CHECK (n > 0);\n    EXECUTE format(\'drop table %I\', \'posts\');\n  END IF;\nEND $$""")',
      },
    ]);
    const { findings } = await lint(place);
    expect(findings.map(({ rule, severity }) => [rule, severity])).toEqual([
      ["add-check", "error"],
      ["opaque", "warning"],
    ]);
  });

  test("revisions of several branches, each from its own row", async () => {
    const cwd = createProject([
      { id: "a1", label: "left", upgrade: 'op.execute("CREATE INDEX old ON posts (n)")' },
      { id: "a2", upgrade: 'op.execute("CREATE INDEX i ON posts (n)")' },
      {
        id: "b1",
        down: null,
        label: "right",
        upgrade: 'op.execute("CREATE INDEX old2 ON posts (n)")',
      },
      { id: "b2", upgrade: 'op.execute("CREATE INDEX j ON posts (n)")' },
    ]);
    const url = await createTestDatabase();
    await stampRows(url, "a1", "b1");
    await (await connectClient(url)).query(bigTable);
    const env = { DATABASE_URL: url };
    const { findings } = await lint({ cwd, env }, "--migrate", "alembic upgrade heads");
    expect(findings.map(({ revision, object }) => `${revision} ${object}`).toSorted()).toEqual([
      "a2 i",
      "b2 j",
    ]);
  });

  test("a revision that cannot be printed is incomplete, and the others are linted", async () => {
    const place = await projectAt(bigTable, [
      { id: "b2", upgrade: 'op.execute("CREATE INDEX i ON posts (n)")' },
      {
        id: "c3",
        upgrade:
          'op.execute("CREATE INDEX j ON posts (n)")\nids = op.get_bind().exec_driver_sql("select 1").fetchall()\nop.execute("CREATE INDEX k ON posts (n)")',
      },
      { id: "d4", upgrade: 'op.execute("CREATE INDEX l ON posts (n)")' },
    ]);
    const { code, findings, incomplete } = await lint(place);
    expect(code).toBe(65);
    expect(incomplete).toBe(true);
    expect(findings.map(({ rule, object }) => [rule, object])).toEqual([
      ["create-index", "i"],
      ["create-index", "j"],
      ["create-index", "l"],
      ["incomplete", "c3"],
    ]);
    expect(findings.at(-1)?.advice).toContain("context.is_offline_mode()");
  });

  test("65: at boot what could not be linted is not taken for safe, unless somebody says why", async () => {
    const revision = {
      id: "b2",
      upgrade: 'op.get_bind().exec_driver_sql("select 1").fetchall()',
    };
    const place = await projectAt("", [revision]);
    const refused = await runEntrypoint(["migrate", "--lint", "error"], place);
    expect(refused.code).toBe(65);
    expect(refused.lines.at(-1)).toMatchObject({
      event: "unsafe-migration",
      rules: ["incomplete"],
    });
    const allowed = await projectAt("", [
      {
        ...revision,
        upgrade: `# entrypoint: allow incomplete because it only reads\n${revision.upgrade}`,
      },
    ]);
    expect((await runEntrypoint(["migrate", "--lint", "error"], allowed)).code).toBe(0);
  });

  test("65: at boot without a known database there is nothing to lint against", async () => {
    const cwd = createProject([{ id: "a1" }], {
      env: `from alembic import context
from sqlalchemy import create_engine
engine = create_engine("sqlite://")
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`,
    });
    const refused = await runEntrypoint(["migrate", "--lint", "error"], { cwd });
    expect(refused.code).toBe(65);
    const warned = await runEntrypoint(["migrate", "--lint", "warn"], { cwd });
    expect(warned.code).toBe(0);
    expect(warned.lines.find(({ event }) => event === "lint")).toMatchObject({
      level: "warn",
      rule: "incomplete",
    });
  });

  test("a file of SQL, without a database and without a project", async () => {
    const cwd = mkdtempSync(join(tmpdir(), "entrypoint-sql-"));
    onTestFinished(() => rmSync(cwd, { recursive: true }));
    writeFileSync(
      join(cwd, "up.sql"),
      "SELECT 1;\n\nALTER TABLE posts\n  ADD COLUMN n int NOT NULL;\n",
    );
    const { code, findings, lines, ...rest } = await lint({ cwd }, "--sql", "up.sql");
    expect(code).toBe(65);
    expect(lines).toEqual([]);
    expect(findings).toMatchObject([
      { rule: "add-column-not-null", file: "up.sql", line: 3, revision: null },
    ]);
    expect(rest).toMatchObject({
      serverVersion: null,
      unknown: [expect.stringContaining("without a database every table")],
    });
    const missing = await runEntrypoint(["lint", "--sql", "down.sql"], { cwd });
    expect(missing.code).toBe(64);
  });

  test("69: without a database nobody knows what is pending, but a range can be linted", async () => {
    const cwd = createProject(
      [{ id: "a1" }, { id: "b2", upgrade: 'op.execute("CREATE INDEX i ON posts (n)")' }],
      {
        env: `from alembic import context\ncontext.configure(dialect_name="postgresql")\nwith context.begin_transaction():\n    context.run_migrations()\n`,
      },
    );
    const env = { DATABASE_URL: "postgresql://nobody@127.0.0.1:1/none" };
    const refused = await runEntrypoint(["lint"], { cwd, env });
    expect(refused.code).toBe(69);
    expect(refused.lines.at(-1)?.["hint"]).toContain("--range");
    const { verdicts, lines } = await lint({ cwd, env }, "--range", "a1:b2");
    expect(verdicts).toEqual(["error create-index"]);
    expect(lines[0]).toMatchObject({ event: "no-catalog", level: "warn" });
  });
});

describe("a range", () => {
  const offline = `from alembic import context
context.configure(dialect_name="postgresql", transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
`;
  const history = (extra: string): RevisionFile[] => [
    {
      id: "a1",
      upgrade: `op.execute("CREATE TABLE posts (id int PRIMARY KEY, title varchar(40), n int)")\nop.execute("ALTER TABLE posts ADD CONSTRAINT known CHECK (n IS NOT NULL) NOT VALID")`,
    },
    { id: "b2", upgrade: `op.execute("ALTER TABLE posts VALIDATE CONSTRAINT known")\n${extra}` },
    {
      id: "c3",
      upgrade:
        'op.execute("ALTER TABLE posts ALTER COLUMN n SET NOT NULL")\nop.execute("ALTER TABLE posts ALTER COLUMN title TYPE varchar(80)")',
    },
    { id: "d4", upgrade: 'op.execute("CREATE INDEX i ON posts (n)")' },
  ];

  test.for([
    ["what earlier revisions of it have done is known without a database", "", ["create-index"]],
    [
      "one that cannot be printed leaves what it touches in doubt",
      "op.get_bind().exec_driver_sql('select 1').fetchall()",
      ["change-type", "create-index", "set-not-null"],
    ],
    [
      "so does one that runs what is known only at run time",
      `op.execute("DO $$ BEGIN EXECUTE 'x' || 'y'; END $$")`,
      ["change-type", "create-index", "set-not-null"],
    ],
  ] as const)("%s", async ([, extra, expected]) => {
    const cwd = createProject(history(extra), { env: offline });
    const { findings, revisions } = await lint({ cwd }, "--range", "b2:head");
    expect(revisions).toEqual(["c3", "d4"]);
    expect(findings.map(({ rule }) => rule).toSorted()).toEqual(expected);
    const alone = await lint({ cwd }, "--range", "b2:c3");
    expect(alone.revisions).toEqual(["c3"]);
  });

  test("a database that is not where it begins says nothing of it", async () => {
    const url = await createTestDatabase();
    const env = { DATABASE_URL: url };
    const cwd = createProject(
      [
        { id: "a1", upgrade: 'op.execute("CREATE TABLE other (id int)")' },
        { id: "b2", upgrade: 'op.execute("ALTER TABLE posts ALTER COLUMN title TYPE text")' },
        {
          id: "c3",
          upgrade: 'op.execute("ALTER TABLE posts ALTER COLUMN title TYPE bigint USING 1")',
        },
      ],
      { env: offline },
    );
    const client = await connectClient(url);
    // As it is at b2, where the column has its later type.
    await client.query(
      "create table posts (id int, title text); insert into posts select generate_series(1, 20000); analyze posts",
    );
    await stampRows(url, "b2");
    const past = await lint({ cwd, env }, "--range", "a1:b2");
    expect(past.verdicts).toEqual(["error change-type"]);
    expect(past.lines).toMatchObject([
      {
        event: "no-catalog",
        msg: "Linting without a database: it is at b2, and the range begins at a1",
      },
    ]);
    const exact = await lint({ cwd, env }, "--range", "b2:c3");
    expect(exact).toMatchObject({ lines: [], verdicts: ["error change-type"] });
    expect(exact.findings[0]?.work).toMatchObject({ rows: 20000 });
  });
});

describe("suppressions", () => {
  const index = 'op.execute("CREATE INDEX i ON posts (n)")';

  test("in the file and in the SQL, each for its own operation, with the reason", async () => {
    const place = await projectAt(bigTable, [
      {
        id: "b2",
        upgrade: [
          `# entrypoint: allow create-index because nobody writes at night`,
          index,
          'op.execute("""',
          "-- entrypoint: allow create-index because nobody reads either",
          'CREATE INDEX j ON posts (title)""")',
          'op.execute("CREATE INDEX k ON posts (title)")',
          "# entrypoint: allow create-index",
          'op.execute("CREATE INDEX l ON posts (title)")',
        ].join("\n"),
      },
    ]);
    const { code, findings } = await lint(place);
    expect(code).toBe(65);
    expect(
      findings.map(({ rule, object, line, allowed }) => [rule, object, line, allowed]),
    ).toEqual([
      ["bad-suppression", "create-index", 14, null],
      ["create-index", "i", 9, "nobody writes at night"],
      ["create-index", "j", 12, "nobody reads either"],
      ["create-index", "k", 13, null],
      ["create-index", "l", 15, null],
    ]);
  });

  test("at boot it lets the migration run, and the log has the reason", async () => {
    const place = await projectAt(bigTable, [
      {
        id: "b2",
        upgrade: `# entrypoint: allow create-index because nobody writes at night\n${index}`,
      },
    ]);
    const { code, lines } = await runEntrypoint(["migrate", "--lint", "error"], place);
    expect(code).toBe(0);
    expect(lines.find(({ event }) => event === "lint")).toMatchObject({
      level: "info",
      allowed: "nobody writes at night",
    });
  });
});

test("a stop while Alembic is asked ends it at once", async () => {
  const place = await projectAt("", [
    {
      id: "b2",
      upgrade:
        'print("asked", file=sys.stderr, flush=True)\nopen("asked", "w").close()\ntime.sleep(60)',
    },
  ]);
  const run = startEntrypoint(["lint"], place);
  await expect.poll(() => readFileSync(join(place.cwd, "asked"), "utf8")).toBe("");
  run.process.kill("SIGTERM");
  expect(await run.ended).toMatchObject({ code: 143 });
});

test("the backfills of the safe forms are commands that a shell runs as they are printed", async () => {
  const url = await createTestDatabase();
  const client = await connectClient(url);
  await client.query(`
    create schema "my Blog";
    create table "my Blog"."user" (id int primary key, "left" text not null, "it's" text, n int);
    insert into "my Blog"."user"
      select i, 'a ''b'' $HOME', case when i % 3 = 0 then null else i::text end, i from generate_series(1, 3000) i`);
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-shell-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const words = entrypointCommand().map((word) => `'${word}'`);
  writeFileSync(join(directory, "entrypoint"), `#!/bin/sh\nexec ${words.join(" ")} "$@"\n`, {
    mode: 0o755,
  });
  const table = '"my Blog"."user"';
  writeFileSync(
    join(directory, "up.sql"),
    [
      `ALTER TABLE ${table} ADD COLUMN "values" text DEFAULT md5(random()::text || E'\\'' || '$HOME')`,
      `ALTER TABLE ${table} ALTER COLUMN "it's" TYPE bigint USING ("it's" || '0')::bigint`,
      `ALTER TABLE ${table} RENAME COLUMN "left" TO "right"`,
      `ALTER TABLE ${table} ALTER COLUMN n SET NOT NULL`,
      `BEGIN; ALTER TABLE ${table} ADD COLUMN twice int`,
      `UPDATE ${table} SET twice = n * 2 /* , WHERE */ WHERE id > 1000 AND "left" <> 'WHERE'; COMMIT`,
    ].join(";\n"),
  );
  const env = { DATABASE_URL: url };
  const { findings } = await lint(
    { cwd: directory, env },
    "--sql",
    "up.sql",
    "--lint-threshold",
    "1",
  );
  const commands = findings.flatMap(({ safe }) => safe.flatMap(({ command }) => command ?? []));
  expect(commands).toHaveLength(5);
  expect(commands.slice(2, 4)).toEqual([
    `entrypoint backfill --table '"my Blog"."user"' --set '"right" = "left"' --where '"right" IS NULL'`,
    `entrypoint backfill --table '"my Blog"."user"' --set 'n = …' --where 'n IS NULL'`,
  ]);
  await client.query(
    `alter table ${table} add column "values" text, add column "it's_new" bigint,
       add column "right" text, add column twice int;
     update ${table} set n = null where id > 2000`,
  );
  for (const command of commands) {
    await execa("sh", ["-c", command.replace("…", "id")], {
      cwd: directory,
      env: plainEnvironment({ ...env, PATH: `${directory}:${plainEnvironment()["PATH"]}` }),
      extendEnv: false,
    });
  }
  const { rows } = await client.query(
    `select count("values")::int as random, count("it's_new")::int as converted, count(n)::int as filled,
      count(*) filter (where twice = n * 2)::int as doubled,
      bool_and("right" = "left") as copied, max("it's_new")::int as largest from ${table}`,
  );
  expect(rows).toEqual([
    { random: 3000, converted: 2000, filled: 3000, doubled: 2000, copied: true, largest: 29990 },
  ]);
});

test("the safe forms are Alembic's: each step is a revision that is not refused and runs", async () => {
  const columns = "a int, b int, c int, d varchar(20), e int";
  const setup = `create table users (id int primary key); create table posts (id int, ${columns});
    insert into users values (1); insert into posts select i, 1, 1, i, 'd' || i, 1 from generate_series(1, 20000) i; analyze posts; create index posts_x on posts (b)`;
  const unsafe = [
    'op.alter_column("posts", "a", nullable=False)',
    'op.add_column("posts", sa.Column("f", sa.Integer(), nullable=False))',
    'op.add_column("posts", sa.Column("g", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))',
    'op.execute("ALTER TABLE posts ADD COLUMN h bigserial")',
    'op.create_foreign_key("posts_b", "posts", "users", ["b"], ["id"], ondelete="CASCADE")',
    'op.create_check_constraint("posts_c", "posts", "c > 0 AND c <> 77777")',
    'op.create_unique_constraint("posts_d", "posts", ["d"])',
    'op.create_primary_key("posts_pkey", "posts", ["id"])',
    'op.create_index("posts_i", "posts", ["b", "c"])',
    'op.create_index("posts_j", "posts", [sa.text("lower(d)")], postgresql_where=sa.text("c > 5"))',
    'op.drop_index("posts_x", table_name="posts")',
    'op.alter_column("posts", "e", type_=sa.BigInteger())',
  ];
  const { findings } = await lint(
    await projectAt(
      setup,
      unsafe.map((operation, index) => ({
        id: `b${index}`,
        upgrade: `import sqlalchemy as sa\n${operation}`,
      })),
    ),
  );
  expect(findings.filter(({ safe }) => safe.length > 0)).toHaveLength(unsafe.length);
  const steps = findings.flatMap(({ safe }) => safe.map(({ alembic }) => alembic));
  // The backfill of the column that came without a default is the user's.
  const filled = steps.flatMap((step) =>
    step.includes('"f"') ? [step, 'op.execute("UPDATE posts SET f = 1 WHERE id > 0")'] : [step],
  );
  const revisions = filled
    .filter((step) => step !== "")
    .map((step, index) => ({ id: `c${index}`, upgrade: `import sqlalchemy as sa\n${step}` }));
  const place = await projectAt(setup, revisions);
  const { code, lines, stderr } = await runEntrypoint(["migrate", "--lint", "error"], place);
  expect(lines.filter(({ event, level }) => event === "lint" && level === "error")).toEqual([]);
  expect(code, stderr).toBe(0);
  const { rows } = await place.client.query(
    "select attname from pg_attribute where attrelid = 'posts'::regclass and attnotnull and attnum > 0 order by 1",
  );
  expect(rows.map((row: { attname: string }) => row.attname)).toEqual(["a", "f", "id"]);
});
