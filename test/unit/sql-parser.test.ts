import { expect, test } from "vitest";
import { loadSqlParser, SqlSyntaxError } from "../../src/sql/parser.ts";

const parser = await loadSqlParser();

test("a script's statements come with their places, counted as JavaScript counts", () => {
  const script = "-- é 🐘\nselect '🐘'; ;\n/* c */ alter table é add x int;\n\n select 2 \n";
  expect(parser.parse(script).map(({ start, end }) => script.slice(start, end))).toEqual([
    "select '🐘'",
    "alter table é add x int",
    "select 2",
  ]);
  expect(parser.parse(script).map(({ node }) => Object.keys(node)[0])).toEqual([
    "SelectStmt",
    "AlterTableStmt",
    "SelectStmt",
  ]);
});

test.each(["", "  ", "-- nothing", ";;"])("%j holds no statement", (script) => {
  expect(parser.parse(script)).toEqual([]);
});

test.each([
  ["select 1; selec 2", "selec"],
  ["select '🐘é'; selec 2", "selec"],
])("%j is wrong at %j", (script, place) => {
  let caught: unknown;
  try {
    parser.parse(script);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(SqlSyntaxError);
  expect(script.slice((caught as SqlSyntaxError).index)).toMatch(new RegExp(`^${place}`));
});

test("a DO body is parsed as PL/pgSQL", () => {
  const tree = JSON.stringify(parser.parsePlPgSql("do $$ begin alter table a add b int; end $$"));
  expect(tree).toContain("alter table a add b int");
  expect(() => parser.parsePlPgSql("do $$ begin nonsense nonsense; $$")).toThrow(SqlSyntaxError);
});
