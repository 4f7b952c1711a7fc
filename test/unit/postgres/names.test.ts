// Names and strings as SQL text. The server itself is asked in test/process/postgres/names.test.ts.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  formatType,
  nameObject,
  quoteLiteral,
  quoteName,
  quoteNames,
  quoteRelation,
} from "../../../src/postgres/names.ts";

test.each([
  ["posts", "posts"],
  ["_p1", "_p1"],
  ["user", '"user"'],
  ["left", '"left"'],
  ["tablesample", '"tablesample"'],
  ["values", '"values"'],
  ["Posts", '"Posts"'],
  ["a$b", '"a$b"'],
  ['a"b', '"a""b"'],
  ["été", '"été"'],
  ["", '""'],
])("the name %s is written %s", (name, quoted) => {
  expect(quoteName(name)).toBe(quoted);
});

test("a relation has its schema, a list its commas", () => {
  expect(quoteRelation({ schema: null, name: "posts" })).toBe("posts");
  expect(quoteRelation({ schema: "My blog", name: "user" })).toBe('"My blog"."user"');
  expect(quoteNames(["id", "order"])).toBe('id, "order"');
});

test.each([
  ["it's", "'it''s'"],
  ["a\\b", "E'a\\\\b'"],
])("the string %s is written %s", (text, quoted) => {
  expect(quoteLiteral(text)).toBe(quoted);
});

test("an object's name keeps 63 bytes, and no part of a character", () => {
  expect(nameObject("posts", ["n"], "check")).toBe("posts_n_check");
  expect(nameObject("posts", [], "pkey")).toBe("posts_pkey");
  expect(Buffer.byteLength(nameObject("é".repeat(31), ["ü".repeat(31)], "key"))).toBeLessThan(64);
});

test.each([
  [{ name: "int4", schema: null, modifiers: [], array: true }, "integer[]"],
  [{ name: "varchar", schema: null, modifiers: [80], array: false }, "varchar(80)"],
  [{ name: "char", schema: null, modifiers: [], array: false }, '"char"'],
  [{ name: "Mood", schema: "blog", modifiers: [], array: false }, 'blog."Mood"'],
])("a type is written as people write it: %j", (type, text) => {
  expect(formatType(type)).toBe(text);
});

test("no other file of the source doubles quotes by hand", () => {
  const root = join(import.meta.dirname, "../../../src");
  const files = readdirSync(root, { recursive: true, encoding: "utf8" });
  const doubling = files.filter(
    (file) =>
      file.endsWith(".ts") &&
      /replace(?:All)?\((?:"'"|'"'|\/['"]\/g), ?(?:"''"|'""')\)/.test(
        readFileSync(join(root, file), "utf8"),
      ),
  );
  expect(doubling).toEqual(["postgres/names.ts"]);
});
