// What gets in as --table, --set and --where: one name, one list of assignments, one condition, and nothing with them.

import { expect, test } from "vitest";
import { parseExpressions, showPosition } from "../../../src/backfill/expressions.ts";
import { Failure } from "../../../src/failure.ts";

const fine = { table: "posts", set: "n = 1", where: "n is null" };

async function problemsOf(given: Partial<typeof fine>): Promise<readonly string[]> {
  try {
    await parseExpressions({ ...fine, ...given });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    expect(error.code).toBe("bad-settings");
    return error.details["problems"] as string[];
  }
  throw new Error(`${JSON.stringify(given)} is accepted`);
}

test("the blog's backfill", async () => {
  const set = "word_count = array_length(regexp_split_to_array(trim(body), E'\\\\s+'), 1)";
  expect(await parseExpressions({ table: "posts", set, where: " word_count IS NULL " })).toEqual({
    table: { schema: null, name: "posts" },
    columns: ["word_count"],
    missing: ["word_count"],
    valued: [],
    set,
    where: "word_count IS NULL",
  });
});

test.each([
  ["posts", null, "posts"],
  ["Posts", null, "posts"],
  ['"Posts"', null, "Posts"],
  ["blog.posts", "blog", "posts"],
  ['"My Blog"."po.sts"', "My Blog", "po.sts"],
])("the table %s", async (table, schema, name) => {
  expect((await parseExpressions({ ...fine, table })).table).toEqual({ schema, name });
});

test.each([
  ['a = 1, "B" = 2', ["a", "B"]],
  ["(a, b) = (select 1, 2)", ["a", "b"]],
  ["a = default", ["a"]],
  ["a = 'where; -- x'", ["a"]],
  ["a = 1 -- why", ["a"]],
  ["a = (select b from c where c.id = posts.id limit 1)", ["a"]],
  ["a = $$ ; drop table posts $$", ["a"]],
])("the assignments %s", async (set, columns) => {
  expect((await parseExpressions({ ...fine, set })).columns).toEqual(columns);
});

test.each([
  ["a is null", ["a"]],
  ["posts.a is null and (b is null and c = 1)", ["a", "b"]],
  ["a is null or b is null", []],
  ["a is not null", []],
  ["coalesce(a, b) is null", []],
  ["a is null /* or b */", ["a"]],
])("the columns that %s wants to be NULL", async (where, missing) => {
  const found = await parseExpressions({ ...fine, set: "a = 1, b = 2", where });
  expect(found.missing).toEqual(missing);
});

test.each([
  ["n = 1 where true", 'at or near "where": character 7: n = 1 → where true'],
  ["n = 1 from other", 'at or near "from": character 7: n = 1 → from other'],
  ["n = 1 returning n", "syntax error at the end: character 18"],
  ["n = 1; drop table posts", 'at or near ";": character 6: n = 1 → ; drop table posts'],
  ["n = 1;", 'at or near ";"'],
  ["n = 1 when matched then delete", 'at or near "when"'],
  ["n = 1 when not matched then do nothing", 'at or near "when": character 7'],
  ["n =", "syntax error at the end: character 4: n = →"],
  ["n", "syntax error at the end"],
  ["1 = n", 'at or near "1": character 1: → 1 = n'],
  ["n = 1 /*", "unterminated"],
  ["n = 'x", "unterminated"],
  ["n = 1) x (", 'at or near ")"'],
  ["n = $1", "a parameter is not allowed: character 5: n = → $1"],
  ["é = 'é' || $1", "a parameter is not allowed: character 12"],
  ["n[1] = 2", "only a whole column can be assigned"],
  ["n.x = 2", "only a whole column can be assigned"],
  ["", "it is empty"],
])("--set %j is refused at its place", async (set, text) => {
  const problems = await problemsOf({ set });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(/^--set: .*character \d+/);
  expect(problems[0]).toContain(text);
});

test.each([
  ["n is null order by n", 'at or near "order": character 11: n is null → order by n'],
  ["n is null limit 1", 'at or near "limit"'],
  ["n is null for update", 'at or near "for"'],
  ["n is null union select 1", 'at or near "union"'],
  ["true) or (false", 'at or near ")"'],
  ["a, b", 'at or near ","'],
  ["select 1", 'at or near "select"'],
  ["n is null; delete from posts", 'at or near ";"'],
  ["n is null returning n", 'at or near "returning"'],
  ["current of c", 'at or near "of"'],
  ["n = $1", "a parameter is not allowed"],
  [" ", "it is empty"],
  ["-- all", "syntax error at the end"],
])("--where %j is refused at its place", async (where, text) => {
  const problems = await problemsOf({ where });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(/^--where: .*character \d+/);
  expect(problems[0]).toContain(text);
});

test.each([
  "posts p",
  "posts, other",
  "only posts",
  "posts where true",
  "a.b.c",
  "(select 1) x",
  "posts;",
  "posts; drop table posts",
  "generate_series(1, 2)",
  "posts in share mode",
  "posts nowait",
  "posts limit 1",
  "posts union select 1",
  "",
])("--table %j is refused", async (table) => {
  expect(await problemsOf({ table })).toEqual([expect.stringMatching(/^--table: /)]);
});

test("all errors are reported together", async () => {
  const problems = await problemsOf({ table: "a b", set: "n", where: "" });
  expect(problems.map((problem) => problem.split(":")[0])).toEqual(["--table", "--set", "--where"]);
});

test("a place in a long text is shown with what is around it", () => {
  const place = showPosition(`${"a".repeat(100)}b${"c".repeat(100)}`, 100);
  expect(place).toBe(`character 101: …${"a".repeat(40)} → b${"c".repeat(39)}…`);
  expect(showPosition("🐘 x", 3)).toBe("character 3: 🐘 → x");
});

test.each([
  ["a = 1", ["a"]],
  ["1 < a AND b IN (1, 2)", ["a", "b"]],
  ["a IS NOT NULL AND t.b BETWEEN 1 AND 2", ["a", "b"]],
  ["a LIKE 'x%'", ["a"]],
  ["a = 1 OR b = 1", []],
  ["a IS DISTINCT FROM 1", []],
  ["NOT a = 1", []],
  ["coalesce(a, 1) = 1", []],
])("%s requires a value of %j", async (where, valued) => {
  const found = await parseExpressions({ table: "t", set: "a = 1, b = 2", where });
  expect(found.valued).toEqual(valued);
});
