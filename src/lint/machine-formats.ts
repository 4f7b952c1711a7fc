// The report for machines: one JSON object, GitHub's annotations, and SARIF for code review tools.

import { isAbsolute, relative } from "node:path";
import { pathToFileURL } from "node:url";
import type { SourceLocation } from "../tools/source-file.ts";
import { describeFully } from "./describe.ts";
import { countBySeverity, type Report, type Reported } from "./report.ts";
import { otherRules, rules } from "./rules/table.ts";

/** Where paths begin: the checkout's root. */
export interface Root {
  readonly directory: string;
}

export function formatJson(report: Report, root: Root): string {
  const { findings, tool, ...rest } = report;
  return JSON.stringify({
    ...rest,
    counts: countBySeverity(report),
    findings: findings.map(({ place, safe, ...finding }) => ({
      ...finding,
      safe: safe.map(({ rendered, ...step }) => ({
        ...step,
        ...(rendered === null ? {} : { [tool.id]: rendered }),
      })),
      file: place === null ? null : pathFrom(root, place),
      line: place?.line ?? null,
      column: place?.column ?? null,
      certain: place?.certain ?? false,
    })),
  });
}

/** One workflow command a finding; what was allowed is a notice. */
export function formatGithub({ findings }: Report, root: Root): string {
  return findings
    .map((finding) => {
      const { severity, allowed, place, rule } = finding;
      const command = allowed !== null || severity === "note" ? "notice" : severity;
      const file = place === null ? null : pathFrom(root, place);
      const properties = [
        ...(place === null || file === null
          ? []
          : [
              `file=${escapeProperty(file)}`,
              `line=${place.line}`,
              `col=${place.column}`,
              `endColumn=${place.endColumn}`,
            ]),
        `title=${escapeProperty(rule)}`,
      ];
      return `::${command} ${properties.join(",")}::${escapeMessage(describeFully(finding))}`;
    })
    .join("\n");
}

function escapeMessage(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
}

function escapeProperty(text: string): string {
  return escapeMessage(text).replaceAll(":", "%3A").replaceAll(",", "%2C");
}

/** SARIF 2.1.0. */
export function formatSarif({ findings }: Report, root: Root): string {
  return JSON.stringify({
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [
      {
        tool: {
          driver: {
            name: "entrypoint lint",
            rules: [...rules, ...otherRules].map(({ id, about }) => ({
              id,
              shortDescription: { text: about },
            })),
          },
        },
        originalUriBaseIds: { ROOT: { uri: `${pathToFileURL(root.directory).href}/` } },
        results: findings.map((finding) => toResult(finding, root)),
      },
    ],
  });
}

function toResult(finding: Reported, root: Root): Record<string, unknown> {
  const { rule, severity, allowed, place } = finding;
  const file = place === null ? null : pathFrom(root, place);
  return {
    ruleId: rule,
    level: severity,
    message: { text: describeFully(finding) },
    locations:
      place === null || file === null
        ? []
        : [
            {
              physicalLocation: {
                artifactLocation: {
                  uri: file.split("/").map(encodeURIComponent).join("/"),
                  ...(isAbsolute(file) ? {} : { uriBaseId: "ROOT" }),
                },
                region: {
                  startLine: place.line,
                  startColumn: place.column,
                  endColumn: place.endColumn,
                },
              },
            },
          ],
    ...(allowed === null ? {} : { suppressions: [{ kind: "inSource", justification: allowed }] }),
  };
}

function pathFrom({ directory }: Root, { file }: SourceLocation): string | null {
  if (file === null || !isAbsolute(file)) return file;
  const path = relative(directory, file);
  return path.startsWith("..") ? file : path;
}
