// `entrypoint: allow set-not-null because …` in a comment of the SQL or of the migration's file: the finding is reported
// with the reason, and is not refused. Without a reason it is itself an error. Squawk's `-- squawk-ignore` counts as well, by
// Squawk's names and without a reason, so that a project that has them can change over.

import type { SourceComment } from "../tools/source-file.ts";
import { rules } from "./rules/table.ts";

export interface Suppression {
  readonly rules: readonly string[];
  /** Empty where none is given. */
  readonly reason: string;
  /** That of its comment. */
  readonly line: number;
}

/** Rules that can be allowed beside those of the table. */
const others = ["incomplete", "open-transaction"];

const pattern =
  /(?:^|[#-])\s*entrypoint:\s*allow\b[ \t]*([\w-]+(?:[ \t]*,[ \t]*[\w-]+)*)?(?:[ \t]+because\b[ \t]*(.*))?/;

/** Of a statement; of a file it is `squawk-ignore-file`. */
const squawkPattern = /(?:^|[-*])\s*squawk-ignore(-file)?\b[ \t]*([\w-]+(?:[ \t]*,[ \t]*[\w-]+)*)?/;

/** Squawk's rules, and those that are about the same. */
export const squawkRules: Readonly<Record<string, readonly string[]>> = {
  "adding-field-with-default": ["add-column-rewrite"],
  "adding-foreign-key-constraint": ["add-foreign-key", "add-column-references"],
  "adding-not-nullable-field": ["set-not-null", "add-column-not-null"],
  "adding-required-field": ["add-column-not-null"],
  "adding-serial-primary-key-field": ["add-unique", "add-column-constraint", "add-column-rewrite"],
  "ban-alter-domain-with-add-constraint": ["alter-domain"],
  "ban-concurrent-index-creation-in-transaction": ["concurrently-in-transaction"],
  "ban-drop-column": ["drop-column"],
  "ban-drop-database": ["fails-in-transaction"],
  "ban-drop-table": ["drop-table"],
  "ban-truncate-cascade": ["truncate"],
  "ban-uncommitted-transaction": ["open-transaction"],
  "changing-column-type": ["change-type"],
  "constraint-missing-not-valid": [
    "add-check",
    "add-exclusion",
    "add-foreign-key",
    "add-unique",
    "lock-held",
    "validate-among-others",
  ],
  "disallowed-unique-constraint": ["add-unique", "add-column-constraint"],
  "identifier-too-long": ["long-name"],
  "prefer-repack": ["rewrite-table"],
  "renaming-column": ["rename-column"],
  "renaming-table": ["rename-table"],
  "require-concurrent-index-creation": ["create-index"],
  "require-concurrent-index-deletion": ["drop-index"],
  "require-concurrent-partition-detach": ["detach-partition"],
  "require-concurrent-reindex": ["reindex"],
};

/** What the comments of a file allow in all of it. */
export function findFileSuppressions(comments: readonly SourceComment[]): Suppression[] {
  return comments.flatMap((comment) => readSquawk(comment, true) ?? []);
}

/** Null where it is no comment for Squawk. */
function readSquawk({ line, text }: SourceComment, ofFile: boolean): Suppression[] | null {
  const match = squawkPattern.exec(text);
  if (match === null) return null;
  const [, file, names] = match;
  if ((file !== undefined) !== ofFile) return [];
  // Without a name it is about all of them.
  const words = names === undefined ? Object.keys(squawkRules) : names.split(/\s*,\s*/);
  // What Squawk alone has is nothing to allow here.
  const allowed = words.flatMap((name) => squawkRules[name] ?? []);
  const reason = `of squawk-ignore ${names ?? ""}`.trimEnd();
  return allowed.length === 0 ? [] : [{ rules: allowed, reason, line }];
}

export function findSuppressions(comments: readonly SourceComment[]): Suppression[] {
  return comments.flatMap((comment) => {
    const { line, text } = comment;
    const match = pattern.exec(text);
    if (match === null) return readSquawk(comment, false) ?? [];
    const [, names = "", reason = ""] = match;
    const words = names.split(",").map((name) => name.trim());
    return [{ rules: words.filter((name) => name !== ""), reason: reason.trim(), line }];
  });
}

/** What is wrong with a suppression itself; null where nothing is. */
export function faultOf({ rules: names, reason }: Suppression): string | null {
  if (names.length === 0) return "the suppression names no rule";
  const unknown = names.find(
    (name) => !others.includes(name) && rules.every(({ id }) => id !== name),
  );
  if (unknown !== undefined) return `there is no rule ${unknown}`;
  if (reason === "") return `the suppression of ${names.join(", ")} has no reason`;
  return null;
}
