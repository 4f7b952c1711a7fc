// ConfigParser's rules one by one; random files are compared with Python in test/process/alembic/oracle.test.ts.

import { expect, test } from "vitest";

import { getOption, parseIni } from "../../../../../src/tools/alembic/files/ini.ts";

function get(text: string, name: string, section = "alembic"): string | null | undefined {
  const answer = parseIni(text, { here: "/app" });
  if (answer.kind === "unreadable") throw new Error(answer.reason);
  const option = getOption(answer.ini, section, name);
  if (option.kind === "absent") return undefined;
  return option.kind === "value" ? option.value : null;
}

test.for<[string, string, string | null | undefined]>([
  ["an equals sign", "a = b", "b"],
  ["a colon", "a: b", "b"],
  ["the first of the two", "a : b = c", "b = c"],
  ["upper case in the name", "A = b", "b"],
  ["no comment behind a value", "a = b # c ; d", "b # c ; d"],
  ["a continuation", "a = b\n  c\n\n  d\n\n", "b\nc\n\nd"],
  ["a comment within a continuation", "a = b\n# no\n  c", "b\nc"],
  ["an empty value", "a =", ""],
  ["the place of the file", "a = %(here)s/x", "/app/x"],
  ["another option", "b = 1\na = %(B)s%%", "1%"],
  ["another option's reference", "c = x\nb = %(c)s\na = %(b)s", "x"],
  ["a percent sign alone", "a = 50%", null],
  ["a reference that leads nowhere", "a = %(nobody)s", null],
  ["a reference to itself", "a = %(a)s", null],
  ["nothing", "b = 1", undefined],
])("reads %s", ([, text, expected]) => {
  expect(get(`[alembic]\n${text}\n`, "a")).toBe(expected);
});

test("DEFAULT stands behind every section, and is none itself", () => {
  expect(get("[DEFAULT]\na = 1\n[alembic]\n", "a")).toBe("1");
  expect(get("[DEFAULT]\na = 1\n", "a")).toBeUndefined();
});

test("an option belongs to its own section", () => {
  expect(get("[alembic]\na = 1\n[x]\na = 2\n", "a", "x")).toBe("2");
});

test.for([
  ["a section twice", "[a]\n[a]\n", "[a] is there twice"],
  ["an option twice", "[a]\nx = 1\nX : 2\n", "x is there twice"],
  ["an option before any section", "x = 1\n", "before any section"],
  ["a line that is neither", "[a]\nx\n", "neither a section nor an option"],
  ["a byte order mark", "\uFEFF[a]\n", "before any section"],
])("refuses %s", ([, text = "", reason]) => {
  expect(parseIni(text, {})).toEqual({
    kind: "unreadable",
    reason: expect.stringContaining(reason ?? ""),
  });
});
