// From a script to its statements: their places, transactions and revisions, DO blocks, and what the parser refuses.

import { expect, test } from "vitest";
import { checkScript } from "../../../src/lint/check.ts";
import { readScript } from "../../../src/lint/statements.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";
import { findStarts } from "../../../src/tools/alembic/sql.ts";

const parser = await loadSqlParser();

function read(text: string) {
  const script = readScript(parser, text, findStarts(text));
  const statements = script.statements.map(({ start, end, text: own, transaction, revision }) => ({
    text: own,
    place: text.slice(start, end),
    transaction,
    revision,
  }));
  return { ...script, statements };
}

test("what alembic upgrade --sql prints: each statement has its revision and its transaction", () => {
  const { statements, revisions } = read(`BEGIN;

CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);

-- Running upgrade  -> a1

SELECT 1;

COMMIT;

BEGIN;

-- Running upgrade a1, a2 -> b3

SELECT 2;

COMMIT;

SELECT 3;

BEGIN;

SELECT 4;

COMMIT;
`);
  expect(revisions).toEqual(["a1", "b3"]);
  expect(
    statements.map(({ text, transaction, revision }) => [text.slice(0, 8), transaction, revision]),
  ).toEqual([
    ["CREATE T", 1, null],
    ["SELECT 1", 1, "a1"],
    ["SELECT 2", 2, "b3"],
    // In an autocommit_block.
    ["SELECT 3", null, "b3"],
    ["SELECT 4", 3, "b3"],
  ]);
});

test("a heading in a string is none", () => {
  const { statements } = read(
    "-- Running upgrade  -> a1\nSELECT '\n-- Running upgrade a1 -> b2\n';\nSELECT 2;",
  );
  expect(statements.map(({ revision }) => revision)).toEqual(["a1", "a1"]);
});

test("a DO block is a transaction, and its statements have their lines", () => {
  const { statements } = read(
    "SELECT 'é🐘';\nDO $body$\nDECLARE x int;\nBEGIN\n  IF true THEN\n    ALTER TABLE t ADD c int;\n  END IF;\n  FOR x IN SELECT 1 LOOP\n    UPDATE t SET c = x; UPDATE u SET c = 'é';\n  END LOOP;\nEXCEPTION WHEN others THEN\n  DROP TABLE t;\nEND $body$;",
  );
  expect(
    statements.slice(1).map(({ text, place, transaction }) => [text, place, transaction]),
  ).toEqual([
    ["ALTER TABLE t ADD c int", "ALTER TABLE t ADD c int", 1],
    ["UPDATE t SET c = x", "UPDATE t SET c = x", 1],
    // Two on one line: the line is all that PL/pgSQL tells.
    ["UPDATE u SET c = 'é'", "UPDATE t SET c = x; ", 1],
    ["DROP TABLE t", "DROP TABLE t", 1],
  ]);
});

test("EXECUTE, and another language, are opaque", () => {
  const opaque = (text: string) => readScript(parser, text).statements.map((one) => one.opaque);
  expect(
    opaque("DO $$ BEGIN EXECUTE 'select ' || n; EXECUTE 'select 1'; PERFORM 1; SELECT 1; END $$"),
  ).toEqual([true, false, false]);
  expect(opaque("DO LANGUAGE plpython3u $$ pass $$")).toEqual([true]);
  expect(opaque("DO LANGUAGE plpgsql $$ BEGIN DELETE FROM t; END $$")).toEqual([false]);
});

test("what the parser refuses is left out, and the rest is read", () => {
  const text =
    "SELECT 1;\nSELEC 2;\nSELECT 3;\n@connect x\nSELECT 4;\nALTER TABLE posts FLY AWAY; SELECT 5";
  const { statements, unparsed } = read(text);
  expect(statements.map((one) => one.place)).toEqual(["SELECT 1", "SELECT 3", "SELECT 5"]);
  expect(unparsed.map(({ start, end }) => text.slice(start, end))).toEqual([
    "SELEC 2",
    "@connect x\nSELECT 4",
    "ALTER TABLE posts FLY AWAY",
  ]);
});

test("a semicolon in a string does not end what the parser refuses", () => {
  const text = "SELECT 1;\nSELEC ';' || $$ ; $$ /* ; */ || 2;\nSELECT 3";
  const { statements, unparsed } = read(text);
  expect(statements.map((one) => one.place)).toEqual(["SELECT 1", "SELECT 3"]);
  expect(unparsed.map(({ start, end }) => text.slice(start, end))).toEqual([
    "SELEC ';' || $$ ; $$ /* ; */ || 2",
  ]);
});

test("the body of a DO block is found behind a comment and another string", () => {
  const { statements } = read(
    "DO /* ' $$ */\nLANGUAGE 'plpgsql'\n$é$\nBEGIN\n  DROP TABLE t;\nEND $é$;",
  );
  expect(statements.map(({ place }) => place)).toEqual(["DROP TABLE t"]);
});

test.each(["", ";;", "-- nothing", "BEGIN; COMMIT;"])("%j has no statement", (text) => {
  expect(read(text)).toMatchObject({ statements: [], unparsed: [] });
});

test("a script that ends in the middle of a word ends the lint, not the linter", () => {
  const { statements, unparsed } = read("SELECT 1;\nALTER TABLE t ADD COLUMN n int DEFAULT 'never");
  expect(statements).toHaveLength(1);
  expect(unparsed).toHaveLength(1);
});

test("the work grows with the statements, not with their square", () => {
  const kinds = [
    (i: number) => `ALTER TABLE posts_${i % 50} ADD COLUMN c${i} integer NOT NULL`,
    (i: number) => `CREATE INDEX i${i} ON posts_${i % 50} (c${i})`,
    (i: number) => `CREATE TABLE t${i} (id serial PRIMARY KEY, b int REFERENCES posts_1 (id))`,
    (i: number) => `UPDATE posts_${i % 50} SET a = 'é' WHERE b > 3`,
  ];
  /** How often something is read of the statements, or of the list of them. */
  const countReads = (count: number) => {
    let reads = 0;
    const counted = <T extends object>(value: T): T =>
      new Proxy(value, {
        get(target, key, receiver) {
          reads++;
          return Reflect.get(target, key, receiver) as unknown;
        },
      });
    const lines = Array.from({ length: count }, (_, i) => `${kinds[i % 4]?.(i)};\n`);
    const script = readScript(parser, `BEGIN;\n${lines.join("")}COMMIT;`);
    const statements = counted(script.statements.map(counted));
    const options = { catalog: null, smallRows: 10_000, ownTables: [] };
    const found = checkScript(parser, { ...script, statements }, options);
    expect(found.length).toBeGreaterThan(count / 2);
    return reads;
  };
  // Eight times as many: a square would be sixty-four times as much.
  expect(countReads(1_600) / countReads(200)).toBeLessThan(9);
});

test("psql's own lines are no SQL, but in a string they are", () => {
  const { statements, unparsed } = read(
    "\\connect blog\n\\set ON_ERROR_STOP on\nSELECT 1;\n  \\echo it's done\nSELECT '\n\\connect x\n';\n",
  );
  expect(unparsed).toEqual([]);
  expect(statements.map(({ place }) => place)).toEqual(["SELECT 1", "SELECT '\n\\connect x\n'"]);
});

test("values that are bound later are read as parameters", () => {
  const { statements, unparsed } = read(
    "UPDATE t SET a=%(a)s, b = ':b %s ?' WHERE c = :c AND d::int = %s;\nSELECT 'ä', ?, x %% 2;\nSELECT a[1:2], '%(x)s';",
  );
  expect(unparsed).toEqual([]);
  expect(statements.map(({ place }) => place)).toEqual([
    "UPDATE t SET a=%(a)s, b = ':b %s ?' WHERE c = :c AND d::int = %s",
    "SELECT 'ä', ?, x %% 2",
    "SELECT a[1:2], '%(x)s'",
  ]);
});
