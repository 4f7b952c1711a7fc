import fc from "fast-check";
import { expect, test } from "vitest";
import { SqlSyntaxError } from "../../../src/postgres/errors.ts";
import { loadSqlParser, type SqlToken } from "../../../src/postgres/parser.ts";

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

test("a script's tokens come with their places, comments among them", () => {
  const script = "select 'é🐘;', E'\\'' -- 🐘\n, $$ ; $$ /* é */ as \"Ü\";";
  const tokens = parser.scan(script);
  for (const { start, end, text } of tokens) expect(script.slice(start, end)).toBe(text);
  expect(tokens.filter(({ comment }) => !comment).map(({ text }) => text)).toEqual([
    "select",
    "'é🐘;'",
    ",",
    "E'\\''",
    ",",
    "$$ ; $$",
    "as",
    '"Ü"',
    ";",
  ]);
  expect(tokens.filter(({ comment }) => comment).map(({ text }) => text)).toEqual([
    "-- 🐘",
    "/* é */",
  ]);
});

test("control characters are no end of a token", () => {
  const script = "select '\u0001\u000B\u007F\t', 1";
  expect(parser.scan(script).map(({ text }) => text)).toEqual([
    "select",
    "'\u0001\u000B\u007F\t'",
    ",",
    "1",
  ]);
});

test.each(["select 'a", 'select "a', "select $$ a", "select /* a"])(
  "%j has a token that does not end",
  (script) => {
    expect(() => parser.scan(script)).toThrow(SqlSyntaxError);
  },
);

test("an empty script has no tokens", () => {
  expect(parser.scan("")).toEqual([]);
});

const fragments = [
  ...Array.from("()[],;:.+-*/<>=~!@#%^&|`? \n\t'\"1eEbBnNxuU&é🐘\u00A0_"),
  ..."0 12 1.5 .5 1. 1e5 2E-3 1..10 1_000 :: := .. <= >= <> != -> ->> #>> @> |/ *-  @-".split(" "),
  ..."select Set \"a b\" \"a\"\"b\" 'a' 'it''s' E'a' b'01' x'ff' 'a'\n'b' 'a' \n\n 'b' t.c a=-1 x<-y".split(
    " ",
  ),
];

test("a text without comments has the tokens that PostgreSQL's own scanner finds", () => {
  const text = fc.array(fc.constantFrom(...fragments), { maxLength: 12 });
  fc.assert(
    fc.property(text, (parts) => {
      const script = parts.join("");
      // A comment makes it a text for the scanner.
      const known = scanned(`--\n${script}`);
      if (known === null) return;
      const moved = known
        .slice(1)
        .map((token) => ({ ...token, start: token.start - 3, end: token.end - 3 }));
      expect(scanned(script)).toEqual(moved);
    }),
    { numRuns: 1000 },
  );
});

function scanned(script: string): SqlToken[] | null {
  try {
    return parser.scan(script);
  } catch (error) {
    if (error instanceof SqlSyntaxError) return null;
    throw error;
  }
}
