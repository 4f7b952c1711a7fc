// The lint of one script: what the rules find, where it is written, what is allowed and why, and what is not known.

import { quote } from "shlex";
import { SqlSyntaxError } from "../postgres/errors.ts";
import type { SqlParser, SqlToken } from "../postgres/parser.ts";
import { formatStep, type Step } from "../postgres/steps.ts";
import {
  TextLines,
  type SourceFile,
  type SourceLocation,
  type SqlOrigin,
} from "../tools/source-file.ts";
import { checkScript, type CheckOptions, type Finding } from "./check.ts";
import { severities, type Severity } from "./rules/rule.ts";
import type { LintedHistory, Source } from "./source.ts";
import type { Script, Statement } from "./statements.ts";
import {
  faultOf,
  findFileSuppressions,
  findSuppressions,
  type Suppression,
} from "./suppressions.ts";

/** A finding with its location. */
export interface Reported extends Omit<Finding, "statement" | "safe" | "locks"> {
  /** Null where nobody has seen the statement. */
  readonly locks: Finding["locks"] | null;
  readonly revision: string | null;
  readonly place: SourceLocation | null;
  /** The statement; null where it is about none. */
  readonly sql: string | null;
  readonly safe: readonly SafeStep[];
  /** The reason that was given for it; it is not refused then. */
  readonly allowed: string | null;
}

/** One step of the safe form. */
interface SafeStep {
  readonly title: string;
  /** Empty where there is none. */
  readonly sql: string;
  /** A command for a shell, run instead of a migration; null for most steps. */
  readonly command: string | null;
  /** The lines of a migration file; empty where there are none, null where the tool writes no such file. */
  readonly rendered: string | null;
}

export interface Report {
  readonly findings: readonly Reported[];
  /** In the order in which they would run; null where nobody knows which ones would. */
  readonly revisions: readonly string[] | null;
  readonly statements: number;
  /** Parts of the script are missing, or could not be read. */
  readonly incomplete: boolean;
  /** What is not known without a database. */
  readonly unknown: readonly string[];
  /** `16.4`; null without a database. */
  readonly serverVersion: string | null;
  /** The migration tool, as JSON and as people call it. */
  readonly tool: { readonly id: string; readonly name: string };
}

interface Selected extends Script, Required<Pick<CheckOptions, "earlier">> {}

/** The statements of `source` that count, and those of its history that only tell what the tables are. */
export function selectStatements(script: Script, { pending, range, gaps }: Source): Selected {
  if (pending === null) return { ...script, earlier: [] };
  const wanted = new Set(pending);
  const counts = ({ revision }: { revision: string | null }) =>
    revision === null || wanted.has(revision);
  const unread = script.unparsed.filter((one) => !counts(one));
  const broken = new Set([...gaps.map(({ id }) => id), ...unread.map(({ revision }) => revision)]);
  return {
    ...script,
    statements: script.statements.filter(counts),
    earlier:
      range === null
        ? []
        : script.statements
            .filter((one) => !counts(one))
            .map((statement) => ({ statement, doubtful: broken.has(statement.revision) })),
    unparsed: script.unparsed.filter(counts),
    revisions: script.revisions.filter((revision) => wanted.has(revision)),
  };
}

export function reportOn(
  parser: SqlParser,
  source: Source,
  script: Selected,
  history: LintedHistory,
  options: Pick<CheckOptions, "catalog" | "smallRows" | "ownTables">,
): Report {
  const { catalog } = options;
  const { toolId, toolName, render } = history.command;
  // Without a database this may be a whole history, of which most was applied long ago.
  const together =
    catalog !== null ||
    source.pending !== null ||
    (source.file !== null && script.revisions.length === 0);
  const findings = checkScript(parser, script, {
    ...options,
    together,
    earlier: script.earlier,
    ownTransactions: render?.ownTransactions ?? null,
  });
  const files = createFiles(source, history);
  const origins = findOrigins(source, script);
  const locations = locateStatements(source, script, files, origins);
  const allowances = readAllowances(parser, source, script, files, { locations, origins });
  const reported = findings.map(({ statement, safe, ...rest }): Reported => ({
    ...rest,
    revision: statement.revision,
    place: locations.get(statement) ?? null,
    sql: script.text.slice(statement.start, statement.end),
    safe: safe.map((step) => formatSafeStep(step, render)),
    allowed: allowances.reasonFor(statement, rest.rule),
  }));
  const incomplete = describeGaps(source, script, files, allowances);
  const open = describeOpenTransaction(source, script, allowances);
  const all = [...allowances.faults, ...dropRepeated(reported), ...incomplete, ...open];
  return {
    findings: all.toSorted((a, b) => rank(a.severity) - rank(b.severity)),
    revisions: findRevisions(source, script),
    statements: script.statements.length,
    incomplete: incomplete.length > 0,
    unknown:
      catalog === null && script.statements.length > 0
        ? [
            `without a database every table that ${together ? "the script" : "the transaction"} does not create counts as large, and the server as PostgreSQL 14 or newer`,
          ]
        : [],
    serverVersion:
      catalog === null
        ? null
        : `${Math.floor(catalog.serverVersion / 10_000)}.${catalog.serverVersion % 10_000}`,
    tool: { id: toolId, name: toolName },
  };
}

/** Of several statements of a migration that hold a lock on a table for too long, the first one says it. */
function dropRepeated(reported: readonly Reported[]): Reported[] {
  const said = new Set<string>();
  return reported.filter(({ rule, revision, object, severity, allowed }) => {
    if (rule !== "lock-held" || allowed !== null) return true;
    const key = [revision, object, severity].join("\0");
    if (said.has(key)) return false;
    said.add(key);
    return true;
  });
}

function formatSafeStep(step: Step, render: LintedHistory["command"]["render"]): SafeStep {
  return {
    title: step.title,
    sql: formatStep(step),
    command: step.command === null ? null : step.command.map(quote).join(" "),
    rendered: render === undefined ? null : render.renderStep(step),
  };
}

/** Where not all was printed, what is pending is known by other means, or not at all. */
function findRevisions({ pending, gaps }: Source, script: Selected): readonly string[] | null {
  const printed = [...new Set(script.revisions)];
  return gaps.some(({ id }) => id === null) ? pending : printed;
}

/** The report of several histories, in their order; what two of them have in common is said once. */
export function mergeReports(reports: readonly Report[]): Report {
  const different = new Map(reports.map((report) => [JSON.stringify(report), report]));
  const [first, ...others] = different.values();
  if (first === undefined) throw new Error("there is no report to merge");
  return others.reduce(
    (merged, report) => ({
      ...merged,
      findings: [...merged.findings, ...report.findings].toSorted(
        (a, b) => rank(a.severity) - rank(b.severity),
      ),
      revisions:
        merged.revisions === null || report.revisions === null
          ? null
          : [...new Set([...merged.revisions, ...report.revisions])],
      statements: merged.statements + report.statements,
      incomplete: merged.incomplete || report.incomplete,
      unknown: [...new Set([...merged.unknown, ...report.unknown])],
      serverVersion: merged.serverVersion ?? report.serverVersion,
    }),
    first,
  );
}

/** What is refused. */
export function refusals({ findings }: Report): Reported[] {
  return findings.filter(({ severity, allowed }) => severity === "error" && allowed === null);
}

export function countBySeverity({ findings }: Report): Record<Severity, number> {
  const counts = { error: 0, warning: 0, note: 0 };
  for (const { severity, allowed } of findings) if (allowed === null) counts[severity]++;
  return counts;
}

function rank(severity: Severity): number {
  return severities.indexOf(severity);
}

/** The file of a migration, read once; null where there is none to be shown. */
type Files = (revision: string | null) => SourceFile | null;

function createFiles({ file, starts }: Source, { command, describe }: LintedHistory): Files {
  const paths = new Map(starts.map(({ id, path }) => [id, path]));
  const opened = new Map<string, SourceFile | null>();
  return (revision) => {
    if (revision === null || file !== null || command.render === undefined) return null;
    let found = opened.get(revision);
    if (found === undefined) {
      const path = paths.get(revision) ?? describe([revision])[0]?.path;
      found = path === undefined ? null : command.render.openSource(path);
      opened.set(revision, found);
    }
    return found;
  };
}

type Origins = ReadonlyMap<Statement, SqlOrigin>;

/** What has printed each statement, where that is known. */
function findOrigins({ origins }: Source, { statements }: Script): Origins {
  let next = 0;
  return new Map(
    statements.flatMap((statement): [Statement, SqlOrigin][] => {
      // In a DO block a statement may begin before the one before it.
      while (next > 0 && (origins[next]?.start ?? Infinity) > statement.start) next--;
      while ((origins[next]?.end ?? Infinity) <= statement.start) next++;
      const origin = origins[next];
      return origin !== undefined && origin.start <= statement.start ? [[statement, origin]] : [];
    }),
  );
}

function locateStatements(
  { file }: Source,
  { text, statements }: Script,
  files: Files,
  origins: Origins,
): ReadonlyMap<Statement, SourceLocation> {
  const lines = new TextLines(text);
  return new Map(
    statements.flatMap((statement): [Statement, SourceLocation][] => {
      if (file !== null) return [[statement, locateInSql(file, lines, statement)]];
      const origin = origins.get(statement) ?? null;
      const found = files(statement.revision)?.locate(statement, origin);
      return found === undefined ? [] : [[statement, found]];
    }),
  );
}

/** Where it stands in the file of SQL itself. */
function locateInSql(
  file: string,
  lines: TextLines,
  { start, end }: { readonly start: number; readonly end: number },
): SourceLocation {
  const line = lines.lineAt(start);
  const column = start - lines.startOf(line) + 1;
  const excerpt = lines.line(line);
  const length = Math.max(1, Math.min(end - start, excerpt.length - column + 1));
  return {
    file,
    line,
    column,
    endColumn: column + length,
    certain: true,
    excerpt,
    region: { first: line, last: lines.lineAt(Math.max(start, end - 1)) },
  };
}

interface Allowances {
  readonly reasonFor: (statement: Statement, rule: string) => string | null;
  /** The reason to accept that the SQL of a migration is missing. */
  readonly reasonForRevision: (revision: string | null, rule: string) => string | null;
  /** Suppressions that are wrong themselves. */
  readonly faults: readonly Reported[];
}

function readAllowances(
  parser: SqlParser,
  { file }: Source,
  script: Script,
  files: Files,
  known: {
    readonly locations: ReadonlyMap<Statement, SourceLocation>;
    readonly origins: Origins;
  },
): Allowances {
  const { locations, origins } = known;
  const faults: Reported[] = [];
  const accuse = (
    suppression: Suppression,
    revision: string | null,
    place: SourceLocation | null,
  ) => {
    const fault = faultOf(suppression);
    if (fault === null) return;
    faults.push({
      rule: "bad-suppression",
      severity: "error",
      object: suppression.rules.join(", "),
      message: fault,
      locks: [],
      work: null,
      advice: "entrypoint: allow RULE because REASON",
      safe: [],
      unknown: [],
      revision,
      place,
      sql: null,
      allowed: null,
    });
  };

  const { bySql, ofAll } = findInSql(parser, script, origins);
  for (const [statement, found] of bySql) {
    for (const one of found) accuse(one, statement.revision, locations.get(statement) ?? null);
  }

  // In the migration's file: the comments above what writes the statement, and in it.
  const inFile = new Map<string, readonly Suppression[]>();
  for (const { revision } of script.statements) {
    const source = files(revision);
    if (source === null || revision === null || inFile.has(revision)) continue;
    if (source.isSql === true) continue;
    const found = findSuppressions(source.comments);
    inFile.set(revision, found);
    for (const one of found) accuse(one, revision, source.locateLine(one.line));
  }
  const choose = (suppressions: readonly Suppression[], rule: string) =>
    suppressions.find((one) => faultOf(one) === null && one.rules.includes(rule))?.reason ?? null;
  return {
    faults,
    reasonFor(statement, rule) {
      const inSql = choose(bySql.get(statement) ?? [], rule) ?? choose(ofAll, rule);
      const place = locations.get(statement) ?? null;
      // One that may be about another statement allows none.
      if (inSql !== null || place?.certain !== true || statement.revision === null) return inSql;
      const { first, last } = place.region;
      const candidates = inFile.get(statement.revision) ?? [];
      return choose(
        candidates.filter(({ line }) => first <= line && line <= last),
        rule,
      );
    },
    reasonForRevision(revision, rule) {
      if (file !== null) return null;
      return choose(findSuppressions(files(revision)?.comments ?? []), rule);
    },
  };
}

interface SqlSuppressions {
  /** The comments before a statement, in it, and behind it on its last line, as far as one call prints them. */
  readonly bySql: ReadonlyMap<Statement, readonly Suppression[]>;
  /** Of every statement. */
  readonly ofAll: readonly Suppression[];
}

function findInSql(
  parser: SqlParser,
  { text, statements }: Script,
  origins: Origins,
): SqlSuppressions {
  const found = new Map<Statement, readonly Suppression[]>();
  if (!/entrypoint:|squawk-ignore/.test(text)) return { bySql: found, ofAll: [] };
  const lines = new TextLines(text);
  const comments = scanComments(parser, text).map((token) => ({
    start: token.start,
    line: lines.lineAt(token.start),
    text: token.text.slice(2).replace(/\*\/$/, ""),
  }));
  let [from, next] = [0, 0];
  for (const [index, statement] of statements.entries()) {
    const newline = text.indexOf("\n", statement.end);
    const to = newline === -1 ? text.length : newline;
    if (to > from) {
      const begin = origins.get(statement)?.start ?? 0;
      while ((comments[next]?.start ?? Infinity) < begin) next++;
      const first = next;
      while ((comments[next]?.start ?? Infinity) < to) next++;
      if (next > first) found.set(statement, findSuppressions(comments.slice(first, next)));
      from = to;
    } else if (statement.inDoBlock) {
      // Another one of the same DO block.
      const before = statements[index - 1];
      const shared = before === undefined ? undefined : found.get(before);
      if (shared !== undefined) found.set(statement, shared);
    }
  }
  return { bySql: found, ofAll: findFileSuppressions(comments) };
}

/** Where some token does not end: lines that look like a comment. */
function scanComments(parser: SqlParser, text: string): Pick<SqlToken, "start" | "text">[] {
  try {
    return parser.scan(text).filter(({ comment }) => comment);
  } catch (error) {
    if (!(error instanceof SqlSyntaxError)) throw error;
    return Array.from(text.matchAll(/--.*/g), (match) => ({ start: match.index, text: match[0] }));
  }
}

/** A file that begins a transaction and does not end it: what a tool prints may end where it has failed. */
function describeOpenTransaction(
  { file }: Source,
  { text, statements, openSince }: Script,
  allowances: Allowances,
): Reported[] {
  if (file === null || openSince === null) return [];
  // A comment before BEGIN is before its first statement.
  const first = statements.find(({ start }) => start > openSince);
  const end = text.indexOf(";", openSince);
  const place = locateInSql(file, new TextLines(text), {
    start: openSince,
    end: end === -1 ? text.length : end,
  });
  return [
    {
      rule: "open-transaction",
      severity: "error",
      object: file,
      message: "the transaction that begins here has no COMMIT: the server rolls all of it back",
      locks: [],
      work: null,
      advice: "end it with COMMIT",
      safe: [],
      unknown: [],
      revision: null,
      place,
      sql: null,
      allowed: first === undefined ? null : allowances.reasonFor(first, "open-transaction"),
    },
  ];
}

/** What is missing, as findings: what nobody has seen is not safe. */
function describeGaps(
  source: Source,
  script: Script,
  files: Files,
  allowances: Allowances,
): Reported[] {
  const common = {
    rule: "incomplete",
    severity: "error" as const,
    locks: null,
    work: null,
    safe: [],
    unknown: [],
  };
  const { pending } = source;
  const counted = source.gaps.filter(({ id }) => id === null || (pending?.includes(id) ?? true));
  const gaps = counted.map(({ id, cause, cure, line }): Reported => {
    // Where nothing was printed it is the first pending one.
    const known = id ?? source.pending?.[0] ?? null;
    return {
      ...common,
      object: known ?? "all migrations",
      message:
        id === null
          ? `the SQL of the pending migrations could not be printed: ${cause}`
          : `the SQL of ${id} could not be printed to its end: ${cause}`,
      advice: cure,
      revision: known,
      place: (line === null ? files(known)?.whole : files(known)?.locateLine(line)) ?? null,
      sql: null,
      allowed: allowances.reasonForRevision(known, "incomplete"),
    };
  });
  const lines = new TextLines(script.text);
  const unparsed = script.unparsed.map(({ start, end, revision, reason }): Reported => ({
    ...common,
    object: revision ?? source.file ?? "the script",
    message: `skipped what cannot be parsed: ${reason}`,
    advice: "PostgreSQL 18's parser rejects it; the server may too",
    revision,
    place:
      source.file === null
        ? (files(revision)?.whole ?? null)
        : locateInSql(source.file, lines, { start, end }),
    sql: script.text.slice(start, end),
    allowed: allowances.reasonForRevision(revision, "incomplete"),
  }));
  return [...gaps, ...unparsed];
}
