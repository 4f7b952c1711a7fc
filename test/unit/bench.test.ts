// The benchmark's arithmetic, and that README's table is what docker/bench.json says.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { ratioRow, showRatio } from "../../scripts/bench/findings.ts";
import { divide, quantile, summarise, takeTurns } from "../../scripts/bench/measure.ts";
import { describeRun, listCells, type Report } from "../../scripts/bench/report.ts";

const root = join(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const report = JSON.parse(readFileSync(join(root, "docker/bench.json"), "utf8")) as Report;

test("a median lies between the two in the middle, and a spread leaves out a tenth on each side", () => {
  expect(summarise([4, 1, 3, 2])).toMatchObject({ median: 2.5, rounds: 4 });
  const eleven = Array.from({ length: 11 }, (_, index) => index * 10);
  expect(summarise(eleven)).toEqual({ median: 50, p10: 10, p90: 90, rounds: 11 });
  expect(() => quantile([], 0.5)).toThrow("nothing has been measured");
});

test("a ratio is that of the medians, and its spread that of the rounds", () => {
  // The second round fell on both alike.
  expect(divide([10, 40, 10], [20, 80, 20])).toMatchObject({ median: 0.5, p10: 0.5, p90: 0.5 });
  expect(showRatio(1 / 12.34)).toBe("1/12.3");
  expect(showRatio(1.256)).toBe("1.26");
});

test("a goal that is met needs no cause", () => {
  const measured = { of: [5], by: [100], unit: "ms", cause: "the weather" };
  expect(ratioRow("a", "b", 1 / 10, measured)).toMatchObject({ met: true, cause: "" });
  expect(ratioRow("a", "b", 1 / 30, measured)).toMatchObject({ met: false, cause: "the weather" });
});

test("contenders take turns, who begins changes, and warm-ups do not count", async () => {
  const order: string[] = [];
  const run = (name: string) => () => order.push(name);
  const samples = await takeTurns({ a: run("a"), b: run("b") }, { rounds: 2, warmUps: 1 });
  expect(order.join("")).toBe("abbaab");
  expect(samples).toEqual({ a: [4, 5], b: [3, 6] });
});

test("README's table of the benchmark, its machine and its charts are those of docker/bench.json", () => {
  const chapter = /<!-- bench -->(.*)<!-- \/bench -->/s.exec(readme)?.[1] ?? "";
  expect(chapter).toContain(describeRun(report));
  const rows = chapter.split("\n").filter((line) => line.startsWith("|"));
  const cells = rows.map((line) => line.split(/ *\| */).slice(1, -1));
  expect(cells.slice(2)).toEqual(listCells(report));
});

test("every goal that is missed has its cause", () => {
  const unexplained = report.rows.filter(({ met, cause }) => met === false && cause === "");
  expect(unexplained.map(({ what }) => what)).toEqual([]);
});
