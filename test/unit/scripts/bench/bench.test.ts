// The benchmark's arithmetic, and that the documents say what scripts/bench/results/bench.json says.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { ratioRow, showRatio } from "../../../../scripts/bench/findings.ts";
import { divide, quantile, summarise, takeTurns } from "../../../../scripts/bench/measure.ts";
import { formatReport, type Report } from "../../../../scripts/bench/report.ts";
import { fillMarks } from "../../../../scripts/markdown.ts";
import { readDocument } from "../../../harness/documents.ts";

const root = join(import.meta.dirname, "../../../..");
const report = JSON.parse(
  readFileSync(join(root, "scripts/bench/results/bench.json"), "utf8"),
) as Report;

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

test("the benchmark's page is what scripts/bench/results/bench.json says", () => {
  const page = readDocument("scripts/bench/README.md");
  expect(page).toBe(fillMarks(page, "bench", formatReport(report)));
});

test("a start with nothing pending takes a tenth of the script's time, as README says", () => {
  expect(readDocument("README.md")).toContain("a tenth of the script's time");
  const start = report.rows.find(
    ({ what, against }) => what.startsWith("nothing pending") && against === "entrypoint.sh",
  );
  expect(Number(/^1\/([\d.]+) /.exec(start?.measured ?? "")?.[1])).toBeGreaterThan(9.5);
});

test("every goal that is missed has its cause", () => {
  const unexplained = report.rows.filter(({ met, cause }) => met === false && cause === "");
  expect(unexplained.map(({ what }) => what)).toEqual([]);
});
