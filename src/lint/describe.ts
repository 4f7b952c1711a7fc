// A finding in words: the lock, what it blocks, roughly for how long; and the report for people, with the line as it is
// written and the safe form below it.

import { relative } from "node:path";
import type { WorkFacts } from "./check.ts";
import type { WorkKind } from "./locks.ts";
import { countBySeverity, type Report, type Reported } from "./report.ts";
import type { Severity } from "./rules/rule.ts";
import { describeCount, formatCount } from "../log/words.ts";

const works: Readonly<Record<WorkKind, string>> = {
  scan: "to read",
  index: "to read and sort",
  rewrite: "to rewrite",
  update: "to update",
};

/** `ACCESS EXCLUSIVE on posts: blocks reads and writes, for roughly 6 s (about 12,000,000 rows to read)` */
function describeLocks({ locks, work }: Reported): string[] {
  const lines = (locks ?? []).map(({ mode, table, blocks }) => `${mode} on ${table}: ${blocks}`);
  if (work === null) return lines;
  const size = describeWork(work);
  const [first, ...rest] = lines;
  return first === undefined ? [size] : [`${first}, ${size}`, ...rest];
}

function describeWork(work: WorkFacts): string {
  const { rows, atMost, bytes, seconds, kind } = work;
  const bulk =
    rows === null || (atMost && bytes !== null && rows > 0)
      ? bytes === null
        ? "an unknown number of rows"
        : `${formatBytes(bytes)} that were never analysed`
      : `about ${formatCount(Number(rows.toPrecision(3)))} ${rows === 1 ? "row" : "rows"}`;
  const time = seconds === null ? "for an unknown time" : `for ${formatSeconds(seconds)}`;
  return `${time} (${bulk} ${works[kind]})`;
}

function formatBytes(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = bytes === 0 ? 0 : Math.min(Math.floor(Math.log(bytes) / Math.log(1024)), 4);
  return `${Math.round(bytes / 1024 ** step)} ${units[step] ?? ""}`;
}

/** Two digits at most: it is a rough estimate. */
function formatSeconds(seconds: number): string {
  if (seconds < 1) return "less than a second";
  const round = (value: number) => String(Number(value.toPrecision(2)));
  if (seconds < 120) return `roughly ${round(seconds)} s`;
  if (seconds < 7200) return `roughly ${round(seconds / 60)} min`;
  return `roughly ${round(seconds / 3600)} h`;
}

/** Relative to `cwd`, unless it is outside of that. */
function describePath(file: string, cwd: string): string {
  const path = relative(cwd, file);
  return path.startsWith("..") ? file : path;
}

/** One line: for the log. */
export function describeInShort(finding: Reported, cwd: string): string {
  const { place, revision, message } = finding;
  const where =
    place?.file === undefined || place.file === null
      ? revision === null
        ? ""
        : `${revision}: `
      : `${describePath(place.file, cwd)}:${place.line}: `;
  return `${where}${message}`;
}

/** All of it as plain text, for annotations. */
export function describeFully(finding: Reported): string {
  const { advice, safe, unknown, allowed } = finding;
  return [
    finding.message,
    ...describeLocks(finding),
    ...unknown.map((one) => `not known: ${one}`),
    ...(advice === "" ? [] : [`instead: ${advice}`]),
    ...safe.flatMap(({ title, sql, command, rendered }) => [
      "",
      title,
      ...[sql, command ?? "", rendered ?? ""].filter((text) => text !== ""),
    ]),
    ...(allowed === null ? [] : [`allowed because ${allowed}`]),
  ].join("\n");
}

const colours: Readonly<Record<Severity, number>> = { error: 31, warning: 33, note: 36 };

/** The report for people. */
export function formatText(report: Report, cwd: string, coloured: boolean): string {
  const paint = (text: string, code: string | number) =>
    coloured ? `\u001B[${code}m${text}\u001B[0m` : text;
  const blocks = report.findings.map((finding) => {
    const { severity, rule, place, revision, sql, safe, advice, unknown, allowed } = finding;
    const gutter = place === null ? 2 : String(place.line).length;
    const margin = `${" ".repeat(gutter)} ${paint("|", 34)}`;
    const fact = (name: string, text: string) =>
      `${" ".repeat(gutter)} ${paint("=", 34)} ${paint(name, 1)}: ${text.replaceAll("\n", `\n${" ".repeat(gutter + 4 + name.length)} `)}`;
    const label = allowed === null ? severity : `${severity}, allowed`;
    const lines = [
      `${paint(`${label}[${rule}]`, `1;${colours[severity]}`)} ${paint(finding.message, 1)}`,
    ];
    const from = revision === null ? "" : ` (migration ${revision})`;
    if (place !== null) {
      const file = place.file === null ? "SQL" : describePath(place.file, cwd);
      const doubt = place.certain ? "" : ", somewhere in it";
      lines.push(
        `${" ".repeat(gutter)}${paint("-->", 34)} ${file}:${place.line}:${place.column}${from}${doubt}`,
        margin,
        `${paint(`${place.line} |`, 34)} ${place.excerpt}`,
        `${margin} ${" ".repeat(place.column - 1)}${paint("^".repeat(Math.max(1, Math.min(place.endColumn, place.excerpt.length + 1) - place.column)), `1;${colours[severity]}`)}`,
      );
    } else if (from !== "") lines.push(`${" ".repeat(gutter)}${paint("-->", 34)}${from}`);
    if (sql !== null && !(place?.excerpt.includes(sql) ?? false)) lines.push(fact("SQL", sql));
    for (const lock of describeLocks(finding)) lines.push(fact("lock", lock));
    for (const one of unknown) lines.push(fact("not known", one));
    if (advice !== "") lines.push(fact("instead", advice));
    if (allowed !== null) lines.push(fact("allowed", `because ${allowed}`));
    else if (safe.length > 0) {
      lines.push(fact("safe form", ""));
      for (const step of safe) {
        lines.push(`    ${paint(`-- ${step.title}`, 2)}`);
        if (step.sql !== "") lines.push(indent(step.sql));
        if (step.command !== null) lines.push(indent(step.command));
      }
      if (safe.some(({ rendered }) => rendered !== null && rendered !== "")) {
        lines.push(fact(`as ${report.tool.name}`, ""));
        for (const { title, rendered } of safe) {
          lines.push(`    ${paint(`# ${title}`, 2)}`);
          if (rendered !== null && rendered !== "") lines.push(indent(rendered));
        }
      }
    }
    return lines.map((line) => line.trimEnd()).join("\n");
  });
  return [...blocks, summarise(report)].join("\n\n");
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n");
}

/** `2 errors, 1 warning in 3 migrations (12 statements)`, and what was not known. */
export function summarise(report: Report): string {
  const { error, warning, note } = countBySeverity(report);
  if (report.statements === 0 && report.findings.length === 0) {
    return "nothing to lint: no statement is pending";
  }
  const found = [
    ...(error > 0 ? [describeCount(error, "error")] : []),
    ...(warning > 0 ? [describeCount(warning, "warning")] : []),
    ...(note > 0 ? [describeCount(note, "note")] : []),
  ];
  const allowed = report.findings.filter((one) => one.allowed !== null).length;
  const where =
    report.revisions === null || report.revisions.length === 0
      ? describeCount(report.statements, "statement")
      : `${describeCount(report.revisions.length, "migration")} (${describeCount(report.statements, "statement")})`;
  return [
    `${found.length === 0 ? "nothing unsafe" : found.join(", ")}${allowed === 0 ? "" : `, ${allowed} allowed`} in ${where}`,
    ...(report.incomplete ? ["incomplete: the findings say what is missing"] : []),
    ...report.unknown.map((one) => `not known: ${one}`),
  ].join("\n");
}
