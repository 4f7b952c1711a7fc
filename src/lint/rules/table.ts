// All rules, in the order of their findings.

import { columnRules } from "./columns.ts";
import { constraintRules } from "./constraints.ts";
import { indexRules } from "./indexes.ts";
import type { Rule } from "./rule.ts";
import { shapeRules } from "./shape.ts";
import { transactionRules } from "./transactions.ts";

export const rules: readonly Rule[] = [
  ...columnRules,
  ...constraintRules,
  ...indexRules,
  ...shapeRules,
  ...transactionRules,
];
