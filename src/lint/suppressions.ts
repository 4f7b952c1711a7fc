// `-- entrypoint: allow set-not-null because …` in the SQL, or with `#` in the revision's file beside the operation: the
// finding is there all the same, with the reason, and is not refused. Without a reason it holds nothing back.

import { rules } from "./rules/table.ts";

export interface Suppression {
  readonly rules: readonly string[];
  /** Empty where none is given. */
  readonly reason: string;
  /** The line, from 1, in the text that was searched. */
  readonly line: number;
}

/** Rules that can be allowed beside those of the table. */
const otherRules = ["incomplete"];

/** The suppressions in a text; `mark` is what begins a comment there. */
export function findSuppressions(text: string, mark: "#" | "--"): Suppression[] {
  const comment = new RegExp(
    `${mark}\\s*entrypoint:\\s*allow\\b[ \\t]*([\\w-]+(?:[ \\t]*,[ \\t]*[\\w-]+)*)?(?:[ \\t]+because\\b[ \\t]*(.*))?`,
  );
  return text.split("\n").flatMap((line, index) => {
    const match = comment.exec(line);
    if (match === null) return [];
    const [, names = "", reason = ""] = match;
    return [
      {
        rules: names
          .split(",")
          .map((name) => name.trim())
          .filter((name) => name !== ""),
        reason: reason.trim(),
        line: index + 1,
      },
    ];
  });
}

/** What is wrong with a suppression itself; null where nothing is. */
export function faultOf({ rules: names, reason }: Suppression): string | null {
  if (names.length === 0) return "the suppression names no rule";
  const unknown = names.find(
    (name) => !otherRules.includes(name) && rules.every(({ id }) => id !== name),
  );
  if (unknown !== undefined) return `there is no rule ${unknown}`;
  if (reason === "") return `the suppression of ${names.join(", ")} has no reason`;
  return null;
}
