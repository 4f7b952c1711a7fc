// Counts, durations, percentages and commands as people read them.

import { expect, test } from "vitest";
import {
  describeCount,
  describeDuration,
  describeSeconds,
  describeWords,
  formatCount,
  percentOf,
} from "../../../src/log/words.ts";

test.each([
  [0, "0"],
  [999, "999"],
  [1_000_000, "1,000,000"],
  [1234.6, "1,235"],
])("formatCount(%d) is %s", (number, text) => {
  expect(formatCount(number)).toBe(text);
});

test("describeCount has the plural for all but one", () => {
  expect([0, 1, 2].map((number) => describeCount(number, "revision"))).toEqual([
    "0 revisions",
    "1 revision",
    "2 revisions",
  ]);
  expect(describeCount(1, "try", "tries")).toBe("1 try");
  expect(describeCount(1_200, "try", "tries")).toBe("1,200 tries");
});

test.each([
  [300, "0.3 s"],
  [10_000, "10 s"],
  [600_000, "600 s"],
])("describeDuration(%d) is %s", (ms, text) => {
  expect(describeDuration(ms)).toBe(text);
});

test.each([
  [0.2, "1 s"],
  [119, "119 s"],
  [120, "2 min"],
  [7_199, "120 min"],
  [9_000, "2.5 h"],
])("describeSeconds(%d) is %s", (seconds, text) => {
  expect(describeSeconds(seconds)).toBe(text);
});

test.each([
  [0, 1_000, 0],
  [999, 1_000, 99],
  [1_000, 1_000, 100],
  [1_500, 1_000, 100],
  [0, 0, 100],
])("percentOf(%d, %d) is %d", (part, total, percent) => {
  expect(percentOf(part, total)).toBe(percent);
});

test.each([
  [["alembic", "-x", "a=b", "upgrade", "head"], "alembic -x a=b upgrade head"],
  [["sh", "-c", "echo a; exit 3"], "sh -c 'echo a; exit 3'"],
  [["sh", "-c", "echo 'it is'", ""], String.raw`sh -c 'echo '\''it is'\''' ''`],
  [["dbmate", "--url", "postgres://u:pw@h/d", "up"], "dbmate --url postgres://u:***@h/d up"],
])("describeWords(%j) can be pasted", (words, text) => {
  expect(describeWords(words)).toBe(text);
});
