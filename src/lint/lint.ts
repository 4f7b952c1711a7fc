// What no shell script ever checked: whether the pending migrations block the application. `entrypoint lint` reports it
// in review; `--lint error` refuses them at boot, before anything runs.
// Guarantees: the database is only read; SQL that could not be printed or parsed is not taken for safe.

import type { Log } from "../context.ts";
import { Failure } from "../failure.ts";
import { loadSqlParser } from "../postgres/parser.ts";
import { collectNames, type Catalog, type Names } from "./catalog.ts";
import { describeInShort, summarise } from "./describe.ts";
import { refusals, reportOn, selectStatements, type Report } from "./report.ts";
import type { LintedHistory, Source } from "./source.ts";
import { readScript } from "./statements.ts";

export interface LintOptions {
  /** A table of fewer rows is small. */
  readonly smallRows: number;
  /** The name of the version table. */
  readonly versionTable: string;
  /** Called where there are statements. Resolves to null where no database answers. */
  readonly readCatalog: (names: () => Names) => Promise<Catalog | null>;
}

export async function lintSource(
  source: Source,
  history: LintedHistory,
  { smallRows, versionTable, readCatalog }: LintOptions,
): Promise<Report> {
  const parser = await loadSqlParser();
  const script = selectStatements(readScript(parser, source.sql, source.starts), source);
  const catalog =
    script.statements.length === 0
      ? null
      : await readCatalog(() => collectNames(script.statements));
  return reportOn(parser, source, script, history, {
    catalog,
    smallRows,
    ownTables: [versionTable],
  });
}

/** Logs the report before a migration; with `error` throws Failure "unsafe-migration" where something is refused. */
export function judgeReport(
  report: Report,
  { log, lint, cwd }: { readonly log: Log; readonly lint: "warn" | "error"; readonly cwd: string },
): void {
  for (const finding of report.findings) {
    const { rule, severity, revision, object, allowed, place } = finding;
    const level = allowed !== null || severity === "note" ? "info" : severity;
    log[level === "info" ? "info" : level === "error" && lint === "error" ? "error" : "warn"](
      {
        event: "lint",
        rule,
        severity,
        revision,
        object,
        file: place?.file ?? null,
        line: place?.line ?? null,
        ...(allowed === null ? {} : { allowed }),
      },
      `${describeInShort(finding, cwd)}${allowed === null ? "" : ` (allowed because ${allowed})`}`,
    );
  }
  log.info({ event: "linted", revisions: report.revisions }, `Lint: ${summarise(report)}`);
  const refused = refusals(report);
  const [first] = refused;
  if (lint === "warn" || first === undefined) return;
  const rules = refused.map(({ rule }) => rule);
  throw new Failure(
    "unsafe-migration",
    `the pending migrations are unsafe (${[...new Set(rules)].join(", ")}), so none was run: ${describeInShort(first, cwd)}`,
    {
      hint: "entrypoint lint prints the safe form; to run them as they are, give the reason in a comment of the migration (entrypoint: allow RULE because REASON), or start with --lint warn",
      details: { rules },
    },
  );
}
