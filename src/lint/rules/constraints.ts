// Constraints on a table that exists: what reads or indexes all of its rows before it holds.

import type { Constraint } from "libpg-query";
import { nameObject, quoteName, quoteNames, quoteRelation } from "../../postgres/names.ts";
import {
  addCheck,
  addForeignKey,
  makeStep,
  notNullSteps,
  plainStatement,
  usingIndexSteps,
  validateLaterSteps,
  type ForeignKey,
} from "../../postgres/steps.ts";
import { relationOf, wordsOf } from "../../postgres/tree.ts";
import { conditionOf, foreignKeyOf, indexParametersOf } from "../clauses.ts";
import { provesNotNull } from "../expressions.ts";
import { lockModes } from "../locks.ts";
import type { World } from "../world.ts";
import {
  commandRule,
  severityOf,
  type NamedTable,
  type Problem,
  type Rule,
  type RuleContext,
  type RuleFacts,
  type Severity,
} from "./rule.ts";

function constraintRule(
  facts: RuleFacts,
  types: readonly Constraint["contype"][],
  check: (
    context: RuleContext,
    target: NamedTable,
    constraint: Constraint,
    severity: Severity,
  ) => readonly Problem[],
): Rule {
  return commandRule({ ...facts, kinds: ["AT_AddConstraint"] }, (context, target, { def }) => {
    if (def === undefined || !("Constraint" in def)) return [];
    const severity = severityOf(context, target.table);
    if (severity === null || !types.includes(def.Constraint.contype)) return [];
    return check(context, target, def.Constraint, severity);
  });
}

const actions: Readonly<Record<string, string>> = {
  r: "RESTRICT",
  c: "CASCADE",
  n: "SET NULL",
  d: "SET DEFAULT",
};

/** The foreign key as a tool's operation has it; null where that does not say all of it. */
export function describeForeignKey(
  world: World,
  constraint: Constraint,
  columns: readonly string[],
): Omit<ForeignKey, "name"> | null {
  const parent = relationOf(constraint.pktable);
  if (parent === null || constraint.fk_del_set_cols !== undefined) return null;
  const given = wordsOf(constraint.pk_attrs);
  const primary = world.table(parent).constraints.find(({ kind }) => kind === "primary");
  const referred = given.length > 0 ? given : (primary?.columns ?? []);
  if (referred.length !== columns.length || constraint.fk_with_period === true) return null;
  return {
    columns,
    parent,
    referred,
    onDelete: actions[constraint.fk_del_action ?? ""] ?? null,
    onUpdate: actions[constraint.fk_upd_action ?? ""] ?? null,
    matchFull: constraint.fk_matchtype === "f",
    deferrable: constraint.deferrable === true,
    deferred: constraint.initdeferred === true,
  };
}

/** What stands behind a constraint that is made of an index. */
export function describeAttributes({ deferrable, initdeferred }: Constraint): string {
  if (deferrable !== true) return "";
  return initdeferred === true ? " DEFERRABLE INITIALLY DEFERRED" : " DEFERRABLE";
}

const newForeignKey = constraintRule(
  {
    id: "add-foreign-key",
    about: "ADD FOREIGN KEY looks up every row while both tables are locked against writes",
    example: "ALTER TABLE posts ADD FOREIGN KEY (word_count) REFERENCES users (id)",
    lock: "SHARE ROW EXCLUSIVE",
  },
  ["CONSTR_FOREIGN"],
  ({ statement, world }, target, constraint, severity) => {
    const parent = relationOf(constraint.pktable);
    // NOT VALID or NOT ENFORCED: no row is read.
    if (parent === null || constraint.skip_validation === true) return [];
    if (constraint.is_enforced === false) return [];
    const columns = wordsOf(constraint.fk_attrs);
    const table = target.name;
    const name = constraint.conname ?? nameObject(table.name, columns, "fkey");
    const added = addForeignKey(
      table,
      name,
      foreignKeyOf(statement, constraint, null),
      describeForeignKey(world, constraint, columns),
    );
    // A foreign key of a partitioned table cannot be NOT VALID before 18.
    const partitioned = target.table.kind === "p" && (world.serverMajor ?? 0) < 18;
    return [
      {
        severity,
        object: target.sql,
        message: `ADD FOREIGN KEY (${quoteNames(columns)}) looks up every row of ${target.sql} in ${quoteRelation(parent)}`,
        work: { kind: "scan", table: target.table },
        advice: partitioned
          ? "before PostgreSQL 18 a foreign key of a partitioned table cannot be NOT VALID: add it NOT VALID to each partition, validate it there, then add it to the parent"
          : "",
        safe: partitioned ? [] : validateLaterSteps(table, name, added),
        unknown: [],
      },
    ];
  },
);

/** Since PostgreSQL 18, of one that was NOT ENFORCED. */
const enforcedForeignKey = commandRule(
  { ...newForeignKey, kinds: ["AT_AlterConstraint"] },
  (context, target, { def }) => {
    if (def === undefined || !("ATAlterConstraint" in def)) return [];
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
          "drop it, add it NOT VALID instead, and validate it in the next migration: that reads the rows while others read and write",
        safe: [],
        unknown: [],
      },
    ];
  },
);

const addForeignKeyRule: Rule = {
  ...newForeignKey,
  check: (context) => [...newForeignKey.check(context), ...enforcedForeignKey.check(context)],
};

const addCheckRule = constraintRule(
  {
    id: "add-check",
    about: "ADD CHECK reads the whole table under the lock",
    example: "ALTER TABLE posts ADD CHECK (word_count > 0)",
    lock: "ACCESS EXCLUSIVE",
  },
  ["CONSTR_CHECK"],
  ({ statement }, target, constraint, severity) => {
    if (constraint.skip_validation === true || constraint.is_enforced === false) return [];
    const table = target.name;
    const name = constraint.conname ?? nameObject(table.name, [], "check");
    const added = addCheck(table, name, conditionOf(statement, constraint));
    return [
      {
        severity,
        object: target.sql,
        message: `ADD CHECK reads every row of ${target.sql}`,
        work: { kind: "scan", table: target.table },
        advice: "",
        safe: validateLaterSteps(table, name, added),
        unknown: [],
      },
    ];
  },
);

const addUnique = constraintRule(
  {
    id: "add-unique",
    about: "ADD UNIQUE or PRIMARY KEY builds an index under the lock, unless it is given one",
    example: "ALTER TABLE posts ADD UNIQUE (title)",
    lock: "ACCESS EXCLUSIVE",
  },
  ["CONSTR_UNIQUE", "CONSTR_PRIMARY"],
  ({ statement, world }, target, constraint, severity) => {
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
          message: `PRIMARY KEY USING INDEX reads every row of ${target.sql}: ${quoteNames(nullable)} may be NULL until now`,
          work: { kind: "scan", table },
          safe: nullable.flatMap((column) => notNullSteps(target.name, column, world.serverMajor)),
          unknown: [],
        },
      ];
    }
    const name =
      constraint.conname ??
      nameObject(target.name.name, primary ? [] : columns, primary ? "pkey" : "key");
    const partitioned = table.kind === "p";
    const overlaps = constraint.without_overlaps === true;
    const advice = partitioned
      ? "an index of a partitioned table cannot be built CONCURRENTLY: build one on each partition, then add the constraint to the parent, which attaches them"
      : overlaps
        ? "WITHOUT OVERLAPS has no safe form: add it while nobody writes, or to a new table"
        : "";
    return [
      {
        ...common,
        message: `ADD ${kind} (${quoteNames(columns)}) builds an index of ${target.sql}`,
        work: { kind: "index", table },
        advice,
        safe:
          advice === ""
            ? [
                ...nullable.flatMap((column) =>
                  notNullSteps(target.name, column, world.serverMajor, ["0a. ", "0b. "]),
                ),
                ...usingIndexSteps(
                  target.name,
                  name,
                  kind,
                  columns,
                  indexParametersOf(statement, constraint, null),
                  describeAttributes(constraint),
                ),
              ]
            : [],
        unknown: primary && !table.complete ? ["whether its columns are NOT NULL already"] : [],
      },
    ];
  },
);

const addExclusion = constraintRule(
  {
    id: "add-exclusion",
    about: "EXCLUDE builds an index under the lock; PostgreSQL has no other way",
    example: "ALTER TABLE posts ADD EXCLUDE USING gist (word_count WITH =)",
    lock: "ACCESS EXCLUSIVE",
  },
  ["CONSTR_EXCLUSION"],
  (_context, target, constraint, severity) => [
    {
      severity,
      object: target.sql,
      message: `EXCLUDE ${constraint.conname === undefined ? "" : `${quoteName(constraint.conname)} `}builds an index of ${target.sql}`,
      work: { kind: "index", table: target.table },
      advice:
        "PostgreSQL has no safe form: add it while nobody writes, or to a new table, into which the rows are then moved",
      safe: [],
      unknown: [],
    },
  ],
);

const validateAmongOthers = commandRule(
  {
    id: "validate-among-others",
    about:
      "VALIDATE CONSTRAINT beside another command of its ALTER TABLE reads the table under that one's lock",
    example: "ALTER TABLE posts ADD COLUMN n integer, VALIDATE CONSTRAINT c",
    lock: "ACCESS EXCLUSIVE",
    kinds: ["AT_ValidateConstraint"],
  },
  (context, target, { name = "" }, all) => {
    if (all.length < 2) return [];
    const lock = context.locks.find(({ table }) => table.key === target.table.key);
    const severity = severityOf(context, target.table);
    if (severity === null || lock === undefined || lockModes[lock.mode].includes("neither"))
      return [];
    if (target.table.constraints.some((one) => one.name === name && one.valid)) return [];
    const alone = `ALTER TABLE ${target.sql} VALIDATE CONSTRAINT ${quoteName(name)}`;
    return [
      {
        severity,
        object: target.sql,
        message: `VALIDATE CONSTRAINT ${quoteName(name)} reads every row of ${target.sql} under ${lock.mode}, which another command of the same ALTER TABLE takes`,
        work: { kind: "scan", table: target.table },
        advice: "take it out of this statement",
        safe: [makeStep("the next migration, with nothing else in it", [plainStatement(alone)])],
        unknown: [],
      },
    ];
  },
);

export const constraintRules: readonly Rule[] = [
  addForeignKeyRule,
  addCheckRule,
  addUnique,
  addExclusion,
  validateAmongOthers,
];
