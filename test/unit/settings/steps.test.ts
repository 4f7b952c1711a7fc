// When a step runs: the words in front of its command.

import { expect, test } from "vitest";

import { parseStep } from "../../../src/settings/steps.ts";

const whens = ["always", "after-migration", "once"] as const;
const env = { ON: "1", OFF: "false", EMPTY: "", MODE: "demo", PORT: "80" };
const parse = (text: string) => parseStep(text, whens, env);

test.each([
  ["seed 1", "always", ["seed", "1"]],
  ["when=once seed", "once", ["seed"]],
  ["  when=after-migration   if=ON seed ${PORT} ", "after-migration", ["seed", "80"]],
  ["if=ON when=once seed 'when=x'", "once", ["seed", "when=x"]],
])("%s", (text, when, words) => {
  expect(parse(text)).toMatchObject({ when, words });
});

test("the step keeps its words as they were written, without the conditions", () => {
  expect(parse("when=once if=ON seed  ${PORT}")?.text).toBe("seed  ${PORT}");
});

test.each([
  ["ON", true],
  ["OFF", false],
  ["EMPTY", false],
  ["NONE", false],
  ["MODE", true],
  ["!ON", false],
  ["!NONE", true],
  ["MODE=demo", true],
  ["MODE=other", false],
  ["MODE!=other", true],
  ["NONE=", true],
  ["NONE!=", false],
])("if=%s holds: %s", (condition, holds) => {
  expect(parse(`if=${condition} seed`) !== null).toBe(holds);
});

test("of a step that does not run no variable has to be set, and no quote to be closed", () => {
  expect(parse("if=NONE seed ${NONE} '")).toBeNull();
});

test.each([
  ["when=never seed", "when=always, when=after-migration, when=once"],
  ["if= seed", "if=NAME"],
  ["if=!A=b seed", "if=NAME"],
  ["if=a-b seed", "if=NAME"],
  ["when=once", "a command"],
  ["A=b seed", "write env A=b …"],
  ["when=once A=b seed", "write env A=b …"],
])("%s is refused", (text, reason) => {
  expect(() => parse(text)).toThrow(reason);
});
