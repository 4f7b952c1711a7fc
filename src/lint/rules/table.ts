// All rules, in the order of their findings.

import { columnRules } from "./columns.ts";
import { constraintRules } from "./constraints.ts";
import { indexRules } from "./indexes.ts";
import { keyRules } from "./keys.ts";
import { nameRules } from "./names.ts";
import { rowRules } from "./rows.ts";
import type { Rule, RuleFacts, StatementKind } from "./rule.ts";
import { shapeRules } from "./shape.ts";
import { transactionRules } from "./transactions.ts";

export const rules: readonly Rule[] = [
  ...columnRules,
  ...constraintRules,
  ...indexRules,
  ...keyRules,
  ...shapeRules,
  ...nameRules,
  ...transactionRules,
  ...rowRules,
];

/** Of findings that are about no statement. */
export const otherRules: readonly Pick<RuleFacts, "id" | "about" | "example">[] = [
  {
    id: "incomplete",
    about:
      "SQL that the migration tool could not print, or PostgreSQL's parser not read: nobody knows whether it is safe",
    example: "",
  },
  {
    id: "open-transaction",
    about:
      "A file of SQL that begins a transaction and does not end it: the server rolls all of it back",
    example: "BEGIN; ALTER TABLE posts ADD COLUMN n integer",
  },
  {
    id: "bad-suppression",
    about: "A suppression without a reason, or of a rule that does not exist",
    example: "-- entrypoint: allow set-not-null",
  },
];

const known = new Map<StatementKind, readonly Rule[]>();

/** Those that are about a statement of this kind. */
export function rulesFor(kind: StatementKind): readonly Rule[] {
  const before = known.get(kind);
  if (before !== undefined) return before;
  const found = rules.filter(({ on }) => (on === null ? kind !== "opaque" : on.includes(kind)));
  known.set(kind, found);
  return found;
}
