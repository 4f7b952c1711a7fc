// What a revision says is what the server receives: strings with all that Python, SQLAlchemy and a driver read something
// into, and names that one of them quotes and another does not. Through real Alembic, as it runs and as it prints SQL.

import fc from "fast-check";
import type { Client } from "pg";
import { describe, expect, test } from "vitest";
import { readScript } from "../../../src/lint/statements.ts";
import { quoteLiteral, quoteName } from "../../../src/postgres/names.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";
import {
  addCheck,
  dropColumn,
  dropIndex,
  makeStep,
  notNullSteps,
  plainStatement,
  setDefault,
  usingIndexSteps,
  type Step,
} from "../../../src/postgres/steps.ts";
import { render } from "../../../src/tools/alembic/operations.ts";
import { alembic, type Place } from "../harness/alembic.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const parser = await loadSqlParser();

const environment = `import os
from alembic import context
from sqlalchemy import create_engine

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
`;

async function prepare(setup: string, steps: readonly Step[]): Promise<Place & { client: Client }> {
  const url = await createTestDatabase();
  const client = await connectClient(url);
  await client.query(setup);
  const upgrade = ["import sqlalchemy as sa", ...steps.map((step) => render.renderStep(step))];
  const cwd = createProject([{ id: "a1", upgrade: upgrade.join("\n") }], { env: environment });
  return { cwd, env: { DATABASE_URL: url }, client };
}

const ways = [
  ["runs", (place: Place) => alembic(place, "upgrade", "head")],
  [
    "prints",
    async (place: Place & { client: Client }) => {
      const printed = await alembic(place, "upgrade", "head", "--sql");
      for (const { text } of readScript(parser, printed).statements) await place.client.query(text);
    },
  ],
] as const;

/** A colon begins a parameter, a backslash takes that back, a percent sign is one of the driver's. */
const texts = [
  " :b",
  ":b",
  "a:b",
  "::",
  " ::b",
  ":b:",
  "\\:b",
  "\\\\:b",
  " \\ :b",
  "12:30",
  ":1",
  "é:é",
  '{"a": ":b", "c":[":d"]}',
  "%",
  "%%",
  "%s",
  "%(name)s",
  ":%s",
  '"""',
  "'''",
  "\\",
  "\\\\",

  "C:\\new\\table",
  "line\nline\n  indented\n",
  "\r\n",
  "\\n",
  "\\x41",
  "\\N{DASH}",
  "{}",
  "$x",
  "🐘",
  "\u2028",
  "\u007F",
  "r'''",
  "\\'",
  '\\"',
  "#",
  ";",
  "-- no comment",
  "/* */",
  ...fc.sample(
    fc.string({ unit: fc.constantFrom(...Array.from("::\\\\%'\"ab1 \né(")), maxLength: 10 }),
    300,
  ),
];

describe.for(ways)("Alembic %s it", ([, run]) => {
  test("a string is the same in op.execute(), in a default and in a condition", async () => {
    const column = (index: number) => `c${index}`;
    const name = { schema: null, name: "t" };
    const steps = texts.map((text, index) =>
      makeStep("", [
        plainStatement(`COMMENT ON COLUMN t.${column(index)} IS ${quoteLiteral(text)}`),
        setDefault(name, column(index), `${quoteLiteral(text)}::text`),
        addCheck(name, column(index), `${column(index)} <> ${quoteLiteral(text)}`),
      ]),
    );
    const columns = texts.map((_, index) => `${column(index)} text`).join(", ");
    const place = await prepare(`CREATE TABLE t (${columns})`, steps);
    await run(place);
    const { client } = place;
    const { rows } = await client.query<{ comment: string | null; check: string }>(`
      SELECT col_description(attrelid, attnum) AS comment,
        (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = attrelid AND conname = attname) AS check
      FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum`);
    // PostgreSQL has no empty comment.
    expect(rows.map(({ comment }) => comment ?? "")).toEqual(texts);
    const defaults = await client.query<{ text: string }>(`
      SELECT pg_get_expr(adbin, adrelid) AS text FROM pg_attrdef WHERE adrelid = 't'::regclass ORDER BY adnum`);
    const values = await client.query<{ texts: string[] }>(
      `SELECT array[${defaults.rows.map(({ text }) => text).join(", ")}] AS texts`,
    );
    expect(values.rows[0]?.texts).toEqual(texts);
    const literals = rows.map(({ check }) => /<> (.*)::text\)\)(?: NOT VALID)?$/s.exec(check)?.[1]);
    const checked = await client.query<{ texts: string[] }>(
      `SELECT array[${literals.join(", ")}]::text[] AS texts`,
    );
    expect(checked.rows[0]?.texts).toEqual(texts);
  });

  test("a name is the same in every operation, whichever keyword it is", async () => {
    const client = await connectClient(await createTestDatabase());
    const { rows: keywords } = await client.query<{ word: string }>(
      "SELECT word FROM pg_get_keywords() WHERE catcode <> 'U' ORDER BY word",
    );
    const words = [...keywords.map(({ word }) => word), 'a"b', "a:b", "100%", "%s", "$x", "Été"];
    const setup = words.map((word) => {
      const [table, column, index] = [word, word, `${word} old`].map(quoteName);
      return `CREATE TABLE ${table} (${column} int, other int, gone int); CREATE INDEX ${index} ON ${table} (${column})`;
    });
    const steps = words.flatMap((word) => {
      const table = { schema: "public", name: word };
      return [
        makeStep("", [dropColumn(table, "gone")]),
        ...notNullSteps(table, word, 17),
        ...usingIndexSteps(table, `${word} key`, "UNIQUE", [word]),
        makeStep("", [dropIndex({ schema: "public", name: `${word} old` }, table)], "outside"),
      ];
    });
    const place = await prepare(setup.join(";\n"), steps);
    await run(place);
    const { rows } = await place.client.query<{
      word: string;
      columns: string;
      indexes: string[];
    }>(`
      SELECT c.relname AS word,
        (SELECT string_agg(attname || ' ' || attnotnull, ', ' ORDER BY attnum) FROM pg_attribute
          WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
        (SELECT json_agg(indexrelid::regclass::text) FROM pg_index WHERE indrelid = c.oid) AS indexes
      FROM pg_class c
      WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'`);
    expect(rows.map(({ word }) => word).toSorted()).toEqual(words.toSorted());
    for (const { word, columns, indexes } of rows) {
      expect([columns, indexes]).toEqual([`${word} true, other false`, [quoteName(`${word} key`)]]);
    }
  });
});
