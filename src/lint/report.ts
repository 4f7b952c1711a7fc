// The lint of one script, put together: what the rules find, where it is written, what was allowed and why, and what
// could not be known.

import type { SqlParser } from "../sql/parser.ts";
import { checkScript, type CheckOptions, type Finding } from "./check.ts";
import { placeInSql, RevisionSource, TextFile, type Place } from "./places.ts";
import { severities, type Severity } from "./rules/rule.ts";
import type { Source } from "./source.ts";
import type { Script, Statement } from "./statements.ts";
import { faultOf, findSuppressions, type Suppression } from "./suppressions.ts";

/** A finding with its place. */
export interface Reported extends Omit<Finding, "statement"> {
  readonly revision: string | null;
  readonly place: Place | null;
  /** The statement; null where it is about none. */
  readonly sql: string | null;
  /** The reason that was given for it; it is not refused then. */
  readonly allowed: string | null;
}

export interface Report {
  readonly findings: readonly Reported[];
  /** In the order in which they would run. */
  readonly revisions: readonly string[];
  readonly statements: number;
  /** Parts of the script are missing, or could not be read. */
  readonly incomplete: boolean;
  /** What would be known with a database. */
  readonly unknown: readonly string[];
  /** `16.4`; null where no server was asked. */
  readonly serverVersion: string | null;
}

/** The statements of `source` that count. */
export function selectStatements(script: Script, { pending }: Source): Script {
  if (pending === null) return script;
  const wanted = new Set(pending);
  const counts = ({ revision }: { revision: string | null }) =>
    revision === null || wanted.has(revision);
  return {
    ...script,
    statements: script.statements.filter(counts),
    unparsed: script.unparsed.filter(counts),
    revisions: script.revisions.filter((revision) => wanted.has(revision)),
  };
}

export function reportOn(
  parser: SqlParser,
  source: Source,
  script: Script,
  options: Pick<CheckOptions, "catalog" | "smallRows" | "ownTables">,
): Report {
  const { catalog } = options;
  // Without a database a whole history may be at hand, of which most has been applied long ago.
  const together = catalog !== null || source.pending !== null;
  const findings = checkScript(parser, script, { ...options, together });
  const places = placeStatements(source, script);
  const allowances = readAllowances(source, script, places);
  const reported: Reported[] = findings.map((finding) => {
    const { statement, ...rest } = finding;
    return {
      ...rest,
      revision: statement.revision,
      place: places.of(statement),
      sql: script.text.slice(statement.start, statement.end),
      allowed: allowances.reasonFor(statement, finding.rule),
    };
  });
  const incomplete = describeGaps(source, script, places, allowances);
  const all = [...allowances.faults, ...reported, ...incomplete];
  return {
    findings: all.toSorted((a, b) => rank(a.severity) - rank(b.severity)),
    revisions: [...new Set(script.revisions)],
    statements: script.statements.length,
    incomplete: incomplete.length > 0,
    unknown:
      catalog === null && script.statements.length > 0
        ? [
            `no database was asked: each table that ${together ? "the script" : "the transaction"} does not create is taken for a large one, and the server for PostgreSQL 14 or newer`,
          ]
        : [],
    serverVersion:
      catalog === null
        ? null
        : `${Math.floor(catalog.serverVersion / 10_000)}.${catalog.serverVersion % 10_000}`,
  };
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

/** Null where there is no such file: a frozen graph may be older than that. */
function readRevision(path: string): RevisionSource | null {
  try {
    return new RevisionSource(path);
  } catch (error) {
    if (error instanceof Error && "syscall" in error) return null;
    throw error;
  }
}

interface Places {
  readonly of: (statement: Statement) => Place | null;
  readonly revisions: ReadonlyMap<string, RevisionSource>;
  readonly sqlFile: TextFile;
}

function placeStatements({ file, graph }: Source, { text, statements }: Script): Places {
  const sqlFile = new TextFile(file, text);
  const revisions = new Map<string, RevisionSource>();
  const unreadable = new Set<string>();
  const places = new Map<Statement, Place>();
  for (const statement of statements) {
    const path =
      file !== null || statement.revision === null
        ? undefined
        : graph?.revisions.get(statement.revision)?.path;
    if (path === undefined || statement.revision === null) {
      if (file !== null) places.set(statement, placeInSql(sqlFile, statement));
      continue;
    }
    if (unreadable.has(path)) continue;
    const source = revisions.get(statement.revision) ?? readRevision(path);
    if (source === null) unreadable.add(path);
    else {
      revisions.set(statement.revision, source);
      places.set(statement, source.locate(statement));
    }
  }
  return { of: (statement) => places.get(statement) ?? null, revisions, sqlFile };
}

interface Allowances {
  readonly reasonFor: (statement: Statement, rule: string) => string | null;
  /** The reason to go on where a revision's SQL could not be had. */
  readonly reasonForRevision: (revision: string | null, rule: string) => string | null;
  /** Suppressions that are wrong themselves. */
  readonly faults: readonly Reported[];
}

function readAllowances(source: Source, script: Script, places: Places): Allowances {
  const faults: Reported[] = [];
  const bySql = new Map<Statement, Suppression[]>();
  const accuse = (suppression: Suppression, revision: string | null, place: Place | null) => {
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

  // In the SQL: the comments before a statement, in it, and behind it on its last line.
  let from = 0;
  for (const statement of script.statements) {
    const newline = script.text.indexOf("\n", statement.end);
    const to = newline === -1 ? script.text.length : newline;
    if (to > from) {
      const piece = script.text.slice(from, to);
      if (piece.includes("entrypoint:")) {
        const found = findSuppressions(piece, "--");
        bySql.set(statement, found);
        for (const one of found) accuse(one, statement.revision, places.of(statement));
      }
      from = to;
    } else {
      // Another one on the same line, or in the same DO block.
      const before = script.statements[script.statements.indexOf(statement) - 1];
      const shared = before === undefined ? undefined : bySql.get(before);
      if (shared !== undefined && statement.inDoBlock) bySql.set(statement, shared);
    }
  }

  // In the revision's file: the comments above the operation, and in it.
  const inPython = new Map<string, Suppression[]>();
  for (const [revision, { file }] of places.revisions) {
    const found = file.text.includes("entrypoint:") ? findSuppressions(file.text, "#") : [];
    inPython.set(revision, found);
    for (const one of found) accuse(one, revision, linePlace(file, one.line));
  }
  const regionsOf = new Map<string, { first: number; last: number }[]>();
  for (const statement of script.statements) {
    const place = places.of(statement);
    if (statement.revision === null || place === null || source.file !== null) continue;
    const regions = regionsOf.get(statement.revision) ?? [];
    regionsOf.set(statement.revision, regions);
    const whole = places.revisions.get(statement.revision);
    if (place.region.first !== whole?.first || place.region.last !== whole.last)
      regions.push(place.region);
  }
  const choose = (suppressions: readonly Suppression[], rule: string) =>
    suppressions.find((one) => faultOf(one) === null && one.rules.includes(rule))?.reason ?? null;
  const within = ({ line }: Suppression, { first, last }: { first: number; last: number }) =>
    first <= line && line <= last;
  return {
    faults,
    reasonFor(statement, rule) {
      const inSql = choose(bySql.get(statement) ?? [], rule);
      const place = places.of(statement);
      if (inSql !== null || place === null || statement.revision === null) return inSql;
      const regions = regionsOf.get(statement.revision) ?? [];
      const candidates = (inPython.get(statement.revision) ?? []).filter((one) =>
        regions.includes(place.region)
          ? within(one, place.region)
          : // Nobody knows where it is: what stands beside another operation is not meant for it.
            within(one, place.region) && !regions.some((region) => within(one, region)),
      );
      return choose(candidates, rule);
    },
    reasonForRevision(revision, rule) {
      const path = revision === null ? undefined : source.graph?.revisions.get(revision)?.path;
      if (revision === null || path === undefined) return null;
      const text = () => readRevision(path)?.file.text ?? "";
      return choose(inPython.get(revision) ?? findSuppressions(text(), "#"), rule);
    },
  };
}

function linePlace(file: TextFile, line: number): Place {
  const excerpt = file.line(line);
  const indent = /^\s*/.exec(excerpt)?.[0].length ?? 0;
  return {
    file: file.path,
    line,
    column: indent + 1,
    endColumn: excerpt.trimEnd().length + 1,
    certain: true,
    excerpt,
    region: { first: line, last: line },
  };
}

/** What is missing, as findings: what nobody has seen is not safe. */
function describeGaps(
  source: Source,
  script: Script,
  places: Places,
  allowances: Allowances,
): Reported[] {
  const common = {
    rule: "incomplete",
    severity: "error" as const,
    locks: [],
    work: null,
    safe: [],
    unknown: [],
  };
  const gaps = source.gaps.map(({ revision, cause, cure }): Reported => {
    // Nothing was printed: then it is the first pending one that could not be.
    const known = revision ?? source.pending?.[0] ?? null;
    const path = known === null ? undefined : source.graph?.revisions.get(known)?.path;
    const file =
      known === null || path === undefined
        ? null
        : (places.revisions.get(known) ?? readRevision(path));
    return {
      ...common,
      object: known ?? "all revisions",
      message:
        revision === null
          ? `the SQL of the pending revisions could not be had: ${cause}`
          : `the SQL of ${revision} could not be had to its end: ${cause}`,
      advice: cure,
      revision: known,
      place: file?.whole() ?? null,
      sql: null,
      allowed: allowances.reasonForRevision(known, "incomplete"),
    };
  });
  const unparsed = script.unparsed.map(({ start, end, revision, reason }): Reported => {
    const path = revision === null ? undefined : source.graph?.revisions.get(revision)?.path;
    const file =
      source.file !== null || revision === null || path === undefined
        ? null
        : (places.revisions.get(revision) ?? readRevision(path));
    const place =
      file?.whole() ?? (source.file === null ? null : placeInSql(places.sqlFile, { start, end }));
    return {
      ...common,
      object: revision ?? source.file ?? "the script",
      message: `what cannot be parsed was left out: ${reason}`,
      advice: "PostgreSQL 18's parser refuses it; the server may too",
      revision,
      place,
      sql: script.text.slice(start, end),
      allowed: allowances.reasonForRevision(revision, "incomplete"),
    };
  });
  return [...gaps, ...unparsed];
}
