// Every safe form on a real server: as SQL, and as revisions that real Alembic runs. Both leave the table as the unsafe
// statement would have left it, whatever names, strings and expressions it has.

import type { Client } from "pg";
import { describe, expect, test } from "vitest";
import { collectNames, readCatalog } from "../../../src/lint/catalog.ts";
import { checkScript } from "../../../src/lint/check.ts";
import { readScript } from "../../../src/lint/statements.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";
import { quoteName } from "../../../src/postgres/names.ts";
import { formatStep, type Step } from "../../../src/postgres/steps.ts";
import { render } from "../../../src/tools/alembic/operations.ts";
import { alembic } from "../harness/alembic.ts";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const parser = await loadSqlParser();

interface Case {
  /** What the case is about, and a name for its table where that matters. */
  readonly about: string;
  readonly table?: string;
  /** `t` is the table, quoted; `n` makes a name of it for another object. */
  readonly setup?: (t: string, n: (end: string) => string) => string;
  readonly unsafe: (t: string, n: (end: string) => string) => string;
  /** What has to be done besides, to the table of the safe form or to the other one. */
  readonly besides?: (t: string, n: (end: string) => string) => { safe?: string; unsafe?: string };
}

const oddNames = [
  "user",
  "left",
  "authorization",
  "tablesample",
  "collation",
  "lateral",
  "values",
  'Weird "x"',
  "a:b",
  "100%",
  "$x",
  "back\\slash",
  "été",
  "it's",
];

const odd = oddNames.map(quoteName);

function addOddColumns(t: string): string {
  return [
    `ALTER TABLE ${t} ${odd.map((one) => `ADD COLUMN ${one} int`).join(", ")}`,
    `UPDATE ${t} SET ${odd.map((one) => `${one} = id`).join(", ")}`,
  ].join(";\n");
}

/** Conditions on `body`, each with what a scanner could stumble over. */
const conditions = [
  String.raw`body <> E'it\'s )' AND body <> 'a, b)'`,
  "body <> $$a ) ' , $$ AND body <> $tag$ $$ ) $tag$",
  "body <> ' :b' AND body <> ':c' AND (id::text) <> '12:30:00'",
  `body::text <> '{"a": ":b", "c": [1, ":d"]}' OR jsonb_build_object('a', ':x')::jsonb = '{"a":":x"}'::jsonb`,
  String.raw`body <> '\:x' AND body <> E'\\:y' AND body <> '\\:z' AND body <> 'C:\new\table'`,
  "body NOT LIKE '100%' AND body NOT LIKE '%s' AND body <> '%%' AND body <> '%(name)s'",
  `body <> '"""' AND body <> '''''' AND body <> '"' AND "body" <> ''`,
  "body <> 'two\nlines\n  and a third'",
  "body <> 'x' /* ) , */ AND -- )\n id > 0 -- , )\n",
  "CASE WHEN body IS NULL THEN true ELSE body <> ',' END",
  "(id, 1) <> (2, 3) AND body = ANY (ARRAY['a', 'b', ')']) OR id BETWEEN 0 AND 900",
  `body COLLATE "C" > '' AND id NOT IN (-1, -2, -3) AND U&'d\\0061t' <> body`,
];

/** Volatile defaults, with their types. */
const defaults = [
  ["uuid[]", "ARRAY[gen_random_uuid(), gen_random_uuid()]"],
  ["timestamptz[]", "ARRAY[clock_timestamp(), now()]"],
  ["text", String.raw`md5(random()::text || E'\'') || $$, ')$$`],
  ["text", "CASE WHEN random() > 2 THEN 'NOT NULL, :x' ELSE md5(random()::text) END"],
  ["interval day to second(3)", "clock_timestamp() - now() + interval '1' day"],
  ['varchar(40) COLLATE "C"', "concat(':a', ' :b', random())"],
  ["numeric(10, 2)", "(random() * 10) + 1"],
  ["timestamp(3) with time zone", "(clock_timestamp() AT TIME ZONE 'UTC')"],
  ["double precision", "random()"],
  ["character varying (60)[]", "array_fill(random()::text, ARRAY[2])"],
  ["json", `json_build_object('a', ' :b', 'c', random())`],
  ["bit varying(8)", "(random() * 3)::int::bit(8)"],
  ["char(4)", "substr(md5(random()::text), 1, 4)"],
] as const;

const cases: readonly Case[] = [
  ...conditions.map((condition, index) => ({
    about: condition,
    unsafe: (t: string, n: (end: string) => string) =>
      index % 2 === 0
        ? `ALTER TABLE ${t} ADD CONSTRAINT ${n("check")} CHECK (${condition}), ADD COLUMN more int`
        : `ALTER TABLE ${t} ADD COLUMN more int CONSTRAINT ${n("check")} CHECK (${condition})`,
  })),
  ...defaults.map(([type, expression], index) => ({
    about: `${type} DEFAULT ${expression}`,
    unsafe: (t: string) =>
      `ALTER TABLE ${t} ADD COLUMN fresh ${type} ${index % 2 === 0 ? "" : "CONSTRAINT d "}DEFAULT ${expression}${["", " NULL", " /* , */", ", ADD COLUMN more int"][index % 4]}`,
  })),
  ...oddNames.map((name) => ({
    about: `a table named ${name}`,
    table: name,
    unsafe: (t: string, n: (end: string) => string) =>
      `ALTER TABLE ${t} ADD CONSTRAINT ${n("key")} UNIQUE (id)`,
  })),
  {
    about: "SET NOT NULL of columns with odd names",
    setup: addOddColumns,
    unsafe: (t) =>
      `ALTER TABLE ${t} ${odd.map((one) => `ALTER COLUMN ${one} SET NOT NULL`).join(", ")}`,
  },
  {
    about: "foreign keys of columns with odd names",
    setup: (t) => `${addOddColumns(t)}; ALTER TABLE ${t} ADD UNIQUE (${odd.join(", ")})`,
    unsafe: (t, n) =>
      `ALTER TABLE ${t} ADD CONSTRAINT ${n("fkey")} FOREIGN KEY (${odd.join(", ")}) REFERENCES ${t} (${odd.join(", ")}) ON DELETE SET NULL (${odd[1]})`,
  },
  ...odd.map((column, index) => ({
    about: `${column} in an index, a key and a new column`,
    setup: (t: string, n: (end: string) => string) =>
      `${addOddColumns(t)}; CREATE INDEX ${n(`old ${oddNames[index]}`)} ON ${t} (${column})`,
    unsafe: (t: string, n: (end: string) => string) =>
      [
        `ALTER TABLE ${t} ADD CONSTRAINT ${n(`key ${oddNames[index]}`)} UNIQUE (${column})`,
        `CREATE INDEX ${n("new")} ON ${t} (${column})`,
        `DROP INDEX ${n(`old ${oddNames[index]}`)}`,
      ].join(";\n"),
  })),
  {
    about: "new columns with odd names",
    unsafe: (t) =>
      `ALTER TABLE ${t} ${odd.map((one) => `ADD COLUMN ${one} text DEFAULT md5(random()::text)`).join(", ")}`,
  },
  {
    about: "a foreign key to a table whose primary key is not id",
    setup: (t, n) =>
      `CREATE TABLE ${n("parent")} (code int PRIMARY KEY); INSERT INTO ${n("parent")} SELECT generate_series(1, 300)`,
    unsafe: (t, n) =>
      `ALTER TABLE ${t} ADD CONSTRAINT ${n("fkey")} FOREIGN KEY (id) REFERENCES ${n("parent")} ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED`,
  },
  {
    about: "REFERENCES with a default, before other clauses",
    setup: (t, n) =>
      `CREATE TABLE ${n("parent")} (code int PRIMARY KEY); INSERT INTO ${n("parent")} VALUES (1)`,
    unsafe: (t, n) =>
      `ALTER TABLE ${t} ADD COLUMN code int DEFAULT 1 CONSTRAINT ${n("fkey")} REFERENCES ${n("parent")} (code) MATCH FULL ON DELETE CASCADE DEFERRABLE NOT NULL, ADD COLUMN more int`,
  },
  {
    about: "UNIQUE with all that it can have",
    unsafe: (t, n) =>
      `ALTER TABLE ${t} ADD CONSTRAINT ${n("include")} UNIQUE NULLS NOT DISTINCT (id) INCLUDE (body) WITH (fillfactor = 70) DEFERRABLE INITIALLY DEFERRED, ADD COLUMN more int`,
  },
  {
    about: "a primary key of a column that may be NULL",
    unsafe: (t, n) => `ALTER TABLE ${t} ADD CONSTRAINT ${n("pkey")} PRIMARY KEY (id)`,
  },
  {
    about: "an index on an expression, after a comment that has the word",
    unsafe: (t, n) =>
      `CREATE /* INDEX */ UNIQUE INDEX ${n("index")} ON ${t} (lower(body || ' INDEX :a'), id) WHERE body <> ' :b' -- c`,
  },
  {
    about: "an index with a method of its own",
    unsafe: (t, n) => `CREATE INDEX ${n("index")} ON ${t} USING hash (body)`,
  },
  {
    about: "REINDEX with options",
    setup: (t, n) => `CREATE INDEX ${n("index")} ON ${t} (id)`,
    unsafe: (t) => `REINDEX (VERBOSE false) TABLE ${t} -- all of them`,
  },
  {
    about: "serial",
    unsafe: (t) => `ALTER TABLE ${t} ADD COLUMN number bigserial`,
    besides: (t) => ({
      safe: `UPDATE ${t} SET number = DEFAULT WHERE number IS NULL; ALTER TABLE ${t} ALTER COLUMN number SET NOT NULL`,
    }),
  },
  {
    about: "a table that is renamed behind a view",
    unsafe: (t, n) => `ALTER TABLE ${t} RENAME TO ${n("renamed")}`,
  },
  {
    about: "a partition that is partitioned itself",
    setup: (t, n) =>
      `CREATE TABLE ${n("whole")} (id int NOT NULL, "on" text) PARTITION BY LIST ("on")`,
    unsafe: (t, n) =>
      `CREATE TABLE ${n("part")} PARTITION OF ${n("whole")} FOR VALUES IN ('a (', ' :b') PARTITION BY RANGE (id)`,
  },
  {
    about: "a partition of a range, with storage parameters",
    setup: (t, n) =>
      `CREATE TABLE ${n("whole")} (id int NOT NULL, at date) PARTITION BY RANGE (id, at)`,
    unsafe: (t, n) =>
      `CREATE TABLE ${n("part")} PARTITION OF ${n("whole")} FOR VALUES FROM (1, MINVALUE) TO (9, '2020-01-01') WITH (fillfactor = 70)`,
  },
  {
    about: "DETACH PARTITION",
    setup: (t, n) =>
      `CREATE TABLE ${n("whole")} (id int) PARTITION BY LIST (id); CREATE TABLE ${n("part")} PARTITION OF ${n("whole")} FOR VALUES IN (1)`,
    unsafe: (t, n) => `ALTER TABLE ${n("whole")} DETACH PARTITION ${n("part")} -- for good`,
    besides: (t, n) => ({
      unsafe: `ALTER TABLE ${n("part")} ADD CHECK (id IS NOT NULL AND id = 1)`,
    }),
  },
  {
    about: "a value of an enum that is used at once",
    setup: (t, n) =>
      `CREATE TYPE ${n("mood")} AS ENUM ('glad'); ALTER TABLE ${t} ADD COLUMN mood ${n("mood")}`,
    unsafe: (t, n) =>
      `ALTER TYPE ${n("mood")} ADD VALUE ':b''s %'; UPDATE ${t} SET mood = ':b''s %' WHERE id = 1`,
  },
];

/** The tables of a case, with all that it may change. */
const objects = `
  SELECT json_build_object(
    'columns', (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid), a.attcollation) ORDER BY a.attname)
      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'constraints', (SELECT json_agg(json_build_array(conname, pg_get_constraintdef(oid), convalidated) ORDER BY conname)
      FROM pg_constraint WHERE conrelid = c.oid AND contype <> 'n'),
    'indexes', (SELECT json_agg(json_build_array(pg_get_indexdef(indexrelid), indisvalid) ORDER BY 1)
      FROM (SELECT * FROM pg_index WHERE indrelid = c.oid ORDER BY indexrelid::regclass::text) x),
    'partition', (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = c.oid),
    'bounds', pg_get_expr(c.relpartbound, c.oid), 'kind', c.relkind, 'options', c.reloptions) AS facts,
    c.relname AS name
  FROM pg_class c
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname <> 'alembic_version'
  ORDER BY c.relname`;

async function describeObjects(client: Client): Promise<Map<string, unknown>> {
  const { rows } = await client.query<{ name: string; facts: unknown }>(objects);
  return new Map(rows.map(({ name, facts }) => [name, facts]));
}

interface Prepared {
  readonly about: string;
  readonly setupSql: string;
  readonly unsafeSql: string;
  readonly safeBesides: string;
  readonly unsafeBesides: string;
}

const more = ", ADD COLUMN more int";

const prepared = cases.map((one, index): Prepared => {
  const name = `${one.table ?? "t"} ${index}`;
  const t = quoteName(name);
  const n = (end: string) => quoteName(`${name} ${end}`);
  const unsafeSql = one.unsafe(t, n);
  const { safe = "", unsafe = "" } = one.besides?.(t, n) ?? {};
  return {
    about: one.about,
    setupSql: [
      `CREATE TABLE ${t} (id int, body text)`,
      `INSERT INTO ${t} SELECT i, 'body ' || i FROM generate_series(1, 300) i`,
      one.setup?.(t, n) ?? "",
    ].join(";\n"),
    unsafeSql,
    // The column that the same statement adds.
    safeBesides: unsafeSql.includes(more) ? `ALTER TABLE ${t} ${more.slice(2)}` : safe,
    unsafeBesides: unsafe,
  };
});

/** What the lint of a live database has as the safe form. */
async function findSteps(client: Client, { unsafeSql }: Prepared): Promise<Step[]> {
  const script = readScript(parser, `BEGIN;\n${unsafeSql};\nCOMMIT;`);
  const catalog = await readCatalog(client, collectNames(script.statements));
  return checkScript(parser, script, { catalog, smallRows: 0, ownTables: [] }).flatMap(
    ({ safe }) => [...safe],
  );
}

/** A database in which the statements ran as they are. */
async function runUnsafe(all: readonly Prepared[]): Promise<Client> {
  const client = await connectClient(await createTestDatabase());
  for (const { setupSql, unsafeSql, unsafeBesides } of all) {
    await client.query(setupSql);
    for (const { text } of readScript(parser, unsafeSql).statements) await client.query(text);
    await client.query(unsafeBesides);
  }
  return client;
}

async function expectEqual(safe: Client, unsafe: Client): Promise<void> {
  const found = await describeObjects(safe);
  for (const [name, facts] of await describeObjects(unsafe)) {
    expect([name, found.get(name)]).toEqual([name, facts]);
  }
}

/** With a convention by which Alembic would change a name that is not final. */
const environment = `import os
from alembic import context
from sqlalchemy import MetaData, create_engine

names = {"ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s"}
options = dict(target_metadata=MetaData(naming_convention=names), transaction_per_migration=True)
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(os.environ["DATABASE_URL"])
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
`;

test.for(prepared.map((one) => [one.about, one] as const))("as SQL: %s", async ([, one]) => {
  const url = await createTestDatabase();
  const client = await connectClient(url);
  await client.query(one.setupSql);
  const steps = await findSteps(client, one);
  expect(steps.length).toBeGreaterThan(0);
  for (const step of steps) {
    if (step.command !== null) {
      // What only a person knows.
      const words = step.command.slice(1).map((word) => word.replace("…", "id"));
      const { code, stderr } = await runEntrypoint(words, { env: { DATABASE_URL: url } });
      expect(code, stderr).toBe(0);
    } else if (step.transaction === "inside") {
      await client.query(`BEGIN; ${formatStep(step)}\nCOMMIT`);
    } else {
      for (const { sql } of step.statements) await client.query(sql);
    }
  }
  await client.query(one.safeBesides);
  await expectEqual(client, await runUnsafe([one]));
});

describe("as revisions", () => {
  /** The safe forms of all cases, and a database in which they can run. */
  async function createRevisions() {
    const url = await createTestDatabase();
    const client = await connectClient(url);
    const revisions: { id: string; upgrade: string }[] = [];
    for (const [index, one] of prepared.entries()) {
      await client.query(one.setupSql);
      for (const [number, step] of (await findSteps(client, one)).entries()) {
        const upgrade = render.renderStep(step);
        if (upgrade === "") continue;
        revisions.push({
          id: `r${index}_${number}`,
          upgrade: `import sqlalchemy as sa\n${upgrade}`,
        });
      }
    }
    const cwd = createProject(revisions, { env: environment });
    return { client, place: { cwd, env: { DATABASE_URL: url } } };
  }
  const finish = async (client: Client) => {
    for (const { safeBesides } of prepared) await client.query(safeBesides);
    await expectEqual(client, await runUnsafe(prepared));
  };

  test("Alembic runs them", async () => {
    const { client, place } = await createRevisions();
    await alembic(place, "upgrade", "head");
    await finish(client);
  });

  test("the server runs what Alembic prints of them", async () => {
    const { client, place } = await createRevisions();
    const printed = await alembic(place, "upgrade", "head", "--sql");
    for (const { text } of readScript(parser, printed).statements) await client.query(text);
    await finish(client);
  });
});
