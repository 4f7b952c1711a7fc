// How names and strings are quoted, held against a real server: its keywords, its quote_ident() and quote_literal(), and
// the names that it makes itself. The keywords of older versions are held against the table in lint/oracle.test.ts.

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  formatType,
  nameObject,
  quoteLiteral,
  quoteName,
  quoteRelation,
  type SqlType,
} from "../../../src/postgres/names.ts";
import { loadSqlParser, type SqlParser } from "../../../src/postgres/parser.ts";
import { typeOf } from "../../../src/postgres/tree.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";

const connect = async () => connectClient(await createTestDatabase());

/** The answers to a query of one parameter, an array. */
async function ask(query: string, values: readonly string[]): Promise<string[]> {
  const client = await connect();
  const { rows } = await client.query<{ answer: string }>(query, [values]);
  return rows.map(({ answer }) => answer);
}

const eachQuoted = (call: string) =>
  `select ${call} as answer from unnest($1::text[]) with ordinality as given (word, place) order by place`;

test("every keyword is quoted as the server quotes it", async () => {
  const client = await connect();
  const { rows } = await client.query<{ word: string; quoted: string; catcode: string }>(
    "select word, quote_ident(word) as quoted, catcode from pg_get_keywords()",
  );
  expect(new Set(rows.map(({ catcode }) => catcode))).toEqual(new Set(["U", "C", "T", "R"]));
  for (const { word, quoted } of rows) expect(quoteName(word)).toBe(quoted);
});

test("so is every other name", async () => {
  const character = fc.oneof(
    fc.constantFrom(...Array.from("abz_09$AZ\"'\\ .:%éß")),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 }),
  );
  const names = fc
    .sample(fc.string({ unit: character, minLength: 1, maxLength: 12 }), 2_000)
    .filter((name) => !name.includes("\0"));
  expect(names.map(quoteName)).toEqual(await ask(eachQuoted("quote_ident(word)"), names));
});

test.each(["on", "off"])(
  "a string is itself, with standard_conforming_strings %s",
  async (setting) => {
    const client = await connect();
    await client.query(
      `set standard_conforming_strings = ${setting}; set escape_string_warning = off`,
    );
    const character = fc.constantFrom(...Array.from("a'\\\"$:%\n\té"));
    const texts = fc.sample(fc.string({ unit: character, maxLength: 8 }), 500);
    const { rows } = await client.query<{ texts: string[] }>(
      `select array[${texts.map(quoteLiteral).join(", ")}]::text[] as texts`,
    );
    expect(rows[0]?.texts).toEqual(texts);
  },
);

test("an object of a table is named as the server would name it", async () => {
  const client = await connect();
  const words = ["a", "user", "x".repeat(40), "y".repeat(63), "é".repeat(30)];
  for (const table of words) {
    for (const [column, other] of [
      ["n", "m"],
      ["c".repeat(50), "d".repeat(50)],
      ["ü".repeat(31), "o"],
    ] as const) {
      await client.query(`
        drop schema if exists s cascade; create schema s; set search_path = s;
        create table ${quoteName(table)} (
          ${quoteName(column)} serial primary key, ${quoteName(other)} int, unique (${quoteName(column)}, ${quoteName(other)}))`);
      const { rows } = await client.query<{ name: string }>(
        "select relname as name from pg_class where relnamespace = 's'::regnamespace and relkind <> 'r'",
      );
      expect(rows.map(({ name }) => name).toSorted()).toEqual(
        [
          nameObject(table, [column], "seq"),
          nameObject(table, [], "pkey"),
          nameObject(table, [column, other], "key"),
        ].toSorted(),
      );
    }
  }
});

function readType(parser: SqlParser, text: string): SqlType {
  const [parsed] = parser.parse(`select null::${text}`);
  const target =
    parsed !== undefined && "SelectStmt" in parsed.node
      ? parsed.node.SelectStmt.targetList?.[0]
      : undefined;
  const value = target !== undefined && "ResTarget" in target ? target.ResTarget.val : undefined;
  const type = value !== undefined && "TypeCast" in value ? typeOf(value.TypeCast.typeName) : null;
  if (type === null) throw new Error(`${text} is no type`);
  return type;
}

test("a type that is named by what the parser has of it is that type", async () => {
  const client = await connect();
  await client.query(`create schema "my Types"; create domain "my Types"."order" as int`);
  const parser = await loadSqlParser();
  for (const type of [
    "int",
    "smallint",
    "bigint",
    "real",
    "float",
    "boolean",
    "text",
    "json",
    "jsonb",
    "uuid",
    "varchar(80)",
    "varchar",
    "char(4)",
    "character",
    '"char"',
    "numeric(8, 2)",
    "decimal",
    "bit(8)",
    "bit",
    "bit varying(8)",
    "bit varying",
    "time",
    "time(3) with time zone",
    "timestamp(3)",
    "timestamptz",
    "interval",
    "int[]",
    "varchar(8)[]",
    "name",
    "oid",
    "xml",
    '"my Types"."order"',
  ]) {
    const written = formatType(readType(parser, type));
    await client.query(`drop table if exists t; create table t (a ${type}, b ${written})`);
    const types = await client.query<{ type: string }>(
      "select format_type(atttypid, atttypmod) as type from pg_attribute where attrelid = 't'::regclass and attnum > 0",
    );
    expect(types.rows[1]).toEqual(types.rows[0]);
  }
  expect(quoteRelation({ schema: "my Types", name: "order" })).toBe('"my Types"."order"');
});
