// Constraints on a table that is there: what reads or indexes all of its rows before it holds.

import type { Constraint } from "libpg-query";
import { provesNotNull } from "../expressions.ts";
import {
  constraintName,
  notNullSteps,
  usingIndexSteps,
  validateLaterSteps,
} from "../safe-forms.ts";
import {
  escapeParameters,
  quoteName,
  quotePython,
  quoteRelation,
  relationOf,
  schemaArgument,
  wordsOf,
} from "../sql.ts";
import { balanced } from "./constraint-text.ts";
import {
  commandRule,
  severityOf,
  type Problem,
  type Rule,
  type RuleContext,
  type Severity,
  type Target,
} from "./rule.ts";

function constraintRule(
  id: string,
  about: string,
  kinds: readonly Constraint["contype"][],
  check: (
    context: RuleContext,
    target: Target,
    constraint: Constraint,
    severity: Severity,
  ) => readonly Problem[],
): Rule {
  return commandRule(id, about, (context, target, { subtype, def }) => {
    if (subtype !== "AT_AddConstraint" || def === undefined || !("Constraint" in def)) return [];
    const severity = severityOf(context, target.table);
    if (severity === null || !kinds.includes(def.Constraint.contype)) return [];
    return check(context, target, def.Constraint, severity);
  });
}

const actions: Readonly<Record<string, string>> = {
  r: "RESTRICT",
  c: "CASCADE",
  n: "SET NULL",
  d: "SET DEFAULT",
};

const newForeignKey = constraintRule(
  "add-foreign-key",
  "ADD FOREIGN KEY looks up every row while both tables are locked against writes",
  ["CONSTR_FOREIGN"],
  ({ world }, target, constraint, severity) => {
    const parent = relationOf(constraint.pktable);
    // NOT VALID or NOT ENFORCED: no row is read.
    if (parent === null || constraint.skip_validation === true) return [];
    if (constraint.is_enforced === false) return [];
    const columns = wordsOf(constraint.fk_attrs);
    const referred = wordsOf(constraint.pk_attrs);
    const name = constraint.conname ?? constraintName(target, columns, "fkey");
    const to = quoteRelation(parent);
    const onDelete = actions[constraint.fk_del_action ?? ""];
    const onUpdate = actions[constraint.fk_upd_action ?? ""];
    const deferrable = constraint.deferrable === true;
    const deferred = constraint.initdeferred === true;
    const definition = [
      `FOREIGN KEY (${columns.map(quoteName).join(", ")}) REFERENCES ${to}`,
      ...(referred.length === 0 ? [] : [`(${referred.map(quoteName).join(", ")})`]),
      ...(constraint.fk_matchtype === "f" ? ["MATCH FULL"] : []),
      ...(onDelete === undefined ? [] : [`ON DELETE ${onDelete}`]),
      ...(onUpdate === undefined ? [] : [`ON UPDATE ${onUpdate}`]),
      ...(deferrable ? ["DEFERRABLE"] : []),
      ...(deferred ? ["INITIALLY DEFERRED"] : []),
    ].join(" ");
    const operation = [
      `op.create_foreign_key(${quotePython(name)}, ${quotePython(target.name.name)}, ${quotePython(parent.name)}, [${columns.map(quotePython).join(", ")}], [${(referred.length === 0 ? ["id"] : referred).map(quotePython).join(", ")}]`,
      ...(target.name.schema === null ? [] : [`source_schema=${quotePython(target.name.schema)}`]),
      ...(parent.schema === null ? [] : [`referent_schema=${quotePython(parent.schema)}`]),
      ...(onDelete === undefined ? [] : [`ondelete=${quotePython(onDelete)}`]),
      ...(onUpdate === undefined ? [] : [`onupdate=${quotePython(onUpdate)}`]),
      ...(deferrable ? ["deferrable=True"] : []),
      ...(deferred ? ['initially="DEFERRED"'] : []),
      ...(constraint.fk_matchtype === "f" ? ['match="FULL"'] : []),
      "postgresql_not_valid=True)",
    ].join(", ");
    // A foreign key of a partitioned table cannot be NOT VALID before 18.
    const partitioned = target.table.kind === "p" && (world.serverMajor ?? 0) < 18;
    return [
      {
        severity,
        object: target.sql,
        message: `ADD FOREIGN KEY (${columns.map(quoteName).join(", ")}) looks up every row of ${target.sql} in ${to}`,
        work: { kind: "scan", table: target.table },
        advice: partitioned
          ? "before PostgreSQL 18 a partitioned table takes no NOT VALID: add it so to each partition, validate it there, then add it to the parent"
          : "",
        safe: partitioned ? [] : validateLaterSteps(target, name, definition, operation),
        unknown: [],
      },
    ];
  },
);

/** Since PostgreSQL 18, of one that was NOT ENFORCED. */
const enforcedForeignKey = commandRule(
  newForeignKey.id,
  newForeignKey.about,
  (context, target, { subtype, def }) => {
    if (subtype !== "AT_AlterConstraint" || def === undefined || !("ATAlterConstraint" in def))
      return [];
    const {
      conname = "",
      alterEnforceability: alters,
      is_enforced: enforced,
    } = def.ATAlterConstraint;
    const severity = severityOf(context, target.table);
    if (alters !== true || enforced !== true || severity === null) return [];
    return [
      {
        severity,
        object: target.sql,
        message: `ALTER CONSTRAINT ${quoteName(conname)} ENFORCED looks up every row of ${target.sql}`,
        work: { kind: "scan", table: target.table },
        advice:
          "drop it, add it NOT VALID instead, and validate it in the next revision: that reads the rows while others read and write",
        safe: [],
        unknown: [],
      },
    ];
  },
);

const addForeignKey: Rule = {
  ...newForeignKey,
  check: (context) => [...newForeignKey.check(context), ...enforcedForeignKey.check(context)],
};

const addCheck = constraintRule(
  "add-check",
  "ADD CHECK reads the whole table under the lock",
  ["CONSTR_CHECK"],
  ({ statement }, target, constraint, severity) => {
    if (constraint.skip_validation === true || constraint.is_enforced === false) return [];
    const condition = balanced(
      statement.textFrom(constraint.location ?? 0).replace(/^CONSTRAINT\s+("[^"]*"|\S+)\s+/i, ""),
    );
    const name = constraint.conname ?? constraintName(target, [], "check");
    return [
      {
        severity,
        object: target.sql,
        message: `ADD CHECK reads every row of ${target.sql}`,
        work: { kind: "scan", table: target.table },
        advice: "",
        safe: validateLaterSteps(
          target,
          name,
          `CHECK ${condition}`,
          `op.create_check_constraint(${quotePython(name)}, ${quotePython(target.name.name)}, ${quotePython(escapeParameters(condition.slice(1, -1).trim()))}${schemaArgument(target.name)}, postgresql_not_valid=True)`,
        ),
        unknown: [],
      },
    ];
  },
);

const addUnique = constraintRule(
  "add-unique",
  "ADD UNIQUE or PRIMARY KEY builds an index under the lock, unless it is there already",
  ["CONSTR_UNIQUE", "CONSTR_PRIMARY"],
  ({ world }, target, constraint, severity) => {
    const { table } = target;
    const primary = constraint.contype === "CONSTR_PRIMARY";
    const kind = primary ? "PRIMARY KEY" : "UNIQUE";
    const { indexname } = constraint;
    const columns =
      indexname === undefined ? wordsOf(constraint.keys) : (table.indexes.get(indexname) ?? []);
    const common = { severity, object: target.sql, advice: "" };
    // A primary key's columns are made NOT NULL first.
    const nullable = primary
      ? columns.filter((column) => {
          const notNull = table.columns.get(column)?.notNull === true;
          const proven =
            (world.serverMajor ?? 12) >= 12 &&
            table.constraints.some((one) => one.valid && provesNotNull(one, column));
          return !notNull && !proven && (table.complete || table.columns.has(column));
        })
      : [];
    if (indexname !== undefined) {
      if (nullable.length === 0) return [];
      return [
        {
          ...common,
          message: `PRIMARY KEY USING INDEX reads every row of ${target.sql}: ${nullable.map(quoteName).join(", ")} may be NULL until now`,
          work: { kind: "scan", table },
          safe: nullable.flatMap((column) => notNullSteps(target, column, world.serverMajor)),
          unknown: [],
        },
      ];
    }
    const name =
      constraint.conname ??
      constraintName(target, primary ? [] : columns, primary ? "pkey" : "key");
    const partitioned = table.kind === "p";
    const suffix = constraint.nulls_not_distinct === true ? " NULLS NOT DISTINCT" : "";
    return [
      {
        ...common,
        message: `ADD ${kind} (${columns.map(quoteName).join(", ")}) builds an index of the whole of ${target.sql}`,
        work: { kind: "index", table },
        advice: partitioned
          ? "an index of a partitioned table cannot be built CONCURRENTLY: build one on each partition, then add the constraint to the parent, which takes them over"
          : "",
        safe: partitioned
          ? []
          : [
              ...nullable.flatMap((column) =>
                notNullSteps(target, column, world.serverMajor, ["0a. ", "0b. "]),
              ),
              ...usingIndexSteps(target, name, kind, columns, suffix),
            ],
        unknown: primary && !table.complete ? ["whether its columns are NOT NULL already"] : [],
      },
    ];
  },
);

const addExclusion = constraintRule(
  "add-exclusion",
  "EXCLUDE builds an index under the lock, and knows no other way",
  ["CONSTR_EXCLUSION"],
  (_context, target, constraint, severity) => [
    {
      severity,
      object: target.sql,
      message: `EXCLUDE ${constraint.conname === undefined ? "" : `${quoteName(constraint.conname)} `}builds an index of the whole of ${target.sql}`,
      work: { kind: "index", table: target.table },
      advice:
        "PostgreSQL has no safe form: add it while nobody writes, or put it on a new table that the rows are moved to",
      safe: [],
      unknown: [],
    },
  ],
);

export const constraintRules: readonly Rule[] = [addForeignKey, addCheck, addUnique, addExclusion];
