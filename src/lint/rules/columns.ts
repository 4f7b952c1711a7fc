// Columns: how they are added, NOT NULL, and another type.

import type { ColumnDef, Constraint } from "libpg-query";
import {
  allIntervalFields,
  formatType,
  nameObject,
  quoteName,
  quoteRelation,
  type SqlType,
} from "../../postgres/names.ts";
import {
  addCheck,
  addColumn,
  addForeignKey,
  createSequence,
  makeStep,
  nextValue,
  setDefault,
  usingIndexSteps,
  validateFirstStep,
  validateLaterSteps,
  type Step,
  type StepStatement,
} from "../../postgres/steps.ts";
import { relationOf, typeOf, wordsOf } from "../../postgres/tree.ts";
import {
  conditionOf,
  defaultOf,
  definitionOf,
  foreignKeyOf,
  indexParametersOf,
  isAttribute,
  isPlainType,
  usingOf,
} from "../clauses.ts";
import { findVolatile, isColumn, isNull, provesNotNull } from "../expressions.ts";
import { verifiesDomain } from "../locks.ts";
import { backfillStep, expandAndContract, threeSteps } from "../safe-forms.ts";
import type { World } from "../world.ts";
import { describeAttributes, describeForeignKey } from "./constraints.ts";
import {
  commandRule,
  severityOf,
  weigh,
  type NamedTable,
  type Problem,
  type Rule,
  type RuleContext,
  type RuleFacts,
} from "./rule.ts";

const serials: Readonly<Record<string, string>> = {
  smallserial: "int2",
  serial2: "int2",
  serial: "int4",
  serial4: "int4",
  bigserial: "int8",
  serial8: "int8",
};

/** A new column's definition, taken apart. */
interface NewColumn {
  readonly name: string;
  readonly type: SqlType;
  readonly node: ColumnDef;
  readonly constraints: readonly Constraint[];
  readonly has: (kind: Constraint["contype"]) => Constraint | null;
  /** The DEFAULT that is not NULL. */
  readonly fallback: Constraint | null;
}

function readColumn(node: ColumnDef): NewColumn | null {
  const type = typeOf(node.typeName);
  if (node.colname === undefined || type === null) return null;
  const constraints = joinAttributes(
    (node.constraints ?? []).flatMap((one) => ("Constraint" in one ? [one.Constraint] : [])),
  );
  const has = (kind: Constraint["contype"]) =>
    constraints.find(({ contype }) => contype === kind) ?? null;
  const given = has("CONSTR_DEFAULT");
  const fallback = given === null || isNull(given.raw_expr) ? null : given;
  return { name: node.colname, type, node, constraints, has, fallback };
}

/** DEFERRABLE and its like, which the parser has behind the constraint of a column, as it has them of a table's. */
function joinAttributes(nodes: readonly Constraint[]): Constraint[] {
  const attributes: Partial<Record<string, Partial<Constraint>>> = {
    CONSTR_ATTR_DEFERRABLE: { deferrable: true },
    CONSTR_ATTR_DEFERRED: { deferrable: true, initdeferred: true },
    CONSTR_ATTR_NOT_ENFORCED: { is_enforced: false },
  };
  const joined: Constraint[] = [];
  for (const node of nodes) {
    const before = joined.at(-1);
    if (!isAttribute(node)) joined.push(node);
    else if (before !== undefined) {
      joined[joined.length - 1] = { ...before, ...attributes[node.contype ?? ""] };
    }
  }
  return joined;
}

function columnRule(
  facts: RuleFacts,
  check: (
    ...args: [...Parameters<Parameters<typeof commandRule>[1]>, NewColumn]
  ) => readonly Problem[],
): Rule {
  return commandRule({ ...facts, kinds: ["AT_AddColumn"] }, (context, target, command, all) => {
    const { def } = command;
    const column = def !== undefined && "ColumnDef" in def ? readColumn(def.ColumnDef) : null;
    if (column === null) return [];
    // IF NOT EXISTS, and it does.
    if (command.missing_ok === true && target.table.columns.has(column.name)) return [];
    return check(context, target, command, all, column);
  });
}

/** The column by itself: nullable, without a default. */
function addPlain(
  { statement }: RuleContext,
  target: NamedTable,
  { name, type, node }: NewColumn,
): StepStatement {
  const plain = isPlainType(node) ? type : null;
  return addColumn(target.name, name, definitionOf(statement, node), plain);
}

/** The column with its default, where that is no rewrite, and without the constraints that read rows. */
function addWithDefault(
  context: RuleContext,
  target: NamedTable,
  column: NewColumn,
): StepStatement {
  const { statement, world } = context;
  const { name, node, fallback, has } = column;
  if (fallback === null || findVolatile(fallback.raw_expr, world) !== null) {
    return addPlain(context, target, column);
  }
  const notNull = has("CONSTR_NOTNULL") === null ? "" : " NOT NULL";
  const definition = `${definitionOf(statement, node)} DEFAULT ${defaultOf(statement, node, fallback)}${notNull}`;
  return addColumn(target.name, name, definition, null);
}

function objectOf(target: NamedTable, column: string): string {
  return `${target.sql}.${quoteName(column)}`;
}

const addColumnNotNull = columnRule(
  {
    id: "add-column-not-null",
    about: "ADD COLUMN … NOT NULL without a default fails where the table has rows",
    example: "ALTER TABLE posts ADD COLUMN n integer NOT NULL",
    lock: "ACCESS EXCLUSIVE",
  },
  (context, target, _command, _all, column) => {
    const { world } = context;
    const required = column.has("CONSTR_NOTNULL") ?? column.has("CONSTR_PRIMARY");
    const filled =
      column.fallback ??
      column.has("CONSTR_IDENTITY") ??
      column.has("CONSTR_GENERATED") ??
      serials[column.type.name];
    const weight = weigh(context, target.table);
    if (required === null || (filled !== undefined && filled !== null)) return [];
    if (weight === "unseen" || weight === "empty") return [];
    // Zero is an estimate and there may be rows by now; what has no page has no row.
    const empty = target.table.size.bytes === 0;
    const added = addPlain(context, target, column);
    return [
      {
        severity: weight === "small" && empty ? "note" : "error",
        object: objectOf(target, column.name),
        message: `ADD COLUMN ${quoteName(column.name)} NOT NULL without a default fails if ${target.sql} has a row`,
        work: null,
        advice: "",
        safe: threeSteps(target, column.name, world.serverMajor, added),
        unknown: target.table.size.rows === null ? [`whether ${target.sql} has rows`] : [],
      },
    ];
  },
);

const addColumnRewrite = columnRule(
  {
    id: "add-column-rewrite",
    about:
      "ADD COLUMN with a volatile default, serial, identity, STORED or a constrained domain rewrites the table",
    example: "ALTER TABLE posts ADD COLUMN n uuid DEFAULT gen_random_uuid()",
    lock: "ACCESS EXCLUSIVE",
  },
  (context, target, _command, _all, column) => {
    const { statement, world } = context;
    const severity = severityOf(context, target.table);
    if (severity === null) return [];
    const problem = (
      cause: string,
      safe: readonly Step[],
      advice = "",
      unknown: readonly string[] = [],
    ): Problem[] => [
      {
        severity,
        object: objectOf(target, column.name),
        message: `ADD COLUMN ${quoteName(column.name)} with ${cause} rewrites ${target.sql}`,
        work: { kind: "rewrite", table: target.table },
        advice,
        safe,
        unknown,
      },
    ];
    const later = (expression: string): Step[] => [
      makeStep("1. the column by itself, then its default for new rows", [
        addPlain(context, target, column),
        setDefault(target.name, column.name, expression),
      ]),
      backfillStep(2, target, column.name, expression),
    ];

    const base = serials[column.type.name];
    const identity = column.has("CONSTR_IDENTITY");
    if (base !== undefined || identity !== null) {
      const type = base === undefined ? column.type : { ...column.type, name: base };
      const what = identity === null ? column.type.name : "an identity";
      return problem(what, addSequenceSteps(target, column.name, type));
    }
    const generated = column.has("CONSTR_GENERATED");
    if (generated !== null) {
      if (generated.generated_kind === "v") return [];
      const virtual =
        world.serverMajor !== null && world.serverMajor >= 18
          ? "; a VIRTUAL column (PostgreSQL 18) is computed when it is read, and costs nothing"
          : "";
      return problem(
        "a STORED expression",
        [],
        `add a plain column, which a trigger fills in new rows and a backfill in the others${virtual}`,
      );
    }
    if (world.isConstrainedDomain(column.type) === true) {
      return problem(
        `the domain ${formatType(column.type)}, which has a constraint,`,
        [],
        `add a column of the domain's base type, then a CHECK NOT VALID, which the next migration validates`,
      );
    }
    if (column.fallback === null) return [];
    const found = findVolatile(column.fallback.raw_expr, world);
    const before11 = world.serverMajor !== null && world.serverMajor < 11;
    if (found === null && !before11) return [];
    const text = defaultOf(statement, column.node, column.fallback);
    if (found !== null) {
      const cause = found.certain
        ? `a default that is volatile (${found.name}())`
        : `a default that may be volatile (${found.name}())`;
      const unknown = found.certain ? [] : [`whether ${found.name}() is volatile`];
      return problem(cause, later(text), "", unknown);
    }
    return problem("a default, before PostgreSQL 11,", later(text));
  },
);

function addSequenceSteps(target: NamedTable, column: string, type: SqlType): Step[] {
  const { schema, name } = target.name;
  const sequence = { schema, name: nameObject(name, [column], "seq") };
  const next = nextValue(sequence);
  const numbers = formatType(type);
  return [
    makeStep("1. the column by itself, then a sequence for new rows", [
      addColumn(target.name, column, numbers, type),
      createSequence(sequence, numbers, target.name, column),
      setDefault(target.name, column, next),
    ]),
    backfillStep(2, target, column, next),
  ];
}

const addColumnConstraint = columnRule(
  {
    id: "add-column-constraint",
    about: "ADD COLUMN with CHECK or UNIQUE reads the table, or builds an index, under the lock",
    example: "ALTER TABLE posts ADD COLUMN n integer CHECK (n > 0)",
    lock: "ACCESS EXCLUSIVE",
  },
  (context, target, _command, _all, column) => {
    const { statement } = context;
    const severity = severityOf(context, target.table);
    if (severity === null) return [];
    const table = target.name;
    const alone = () =>
      makeStep("0. the column by itself", [addWithDefault(context, target, column)]);
    return column.constraints.flatMap((constraint): Problem[] => {
      const { contype, conname, skip_validation: notValid } = constraint;
      const common = { severity, object: objectOf(target, column.name), advice: "", unknown: [] };
      if (contype === "CONSTR_CHECK" && notValid !== true && constraint.is_enforced !== false) {
        const name = conname ?? nameObject(table.name, [column.name], "check");
        const added = addCheck(table, name, conditionOf(statement, constraint));
        return [
          {
            ...common,
            message: `ADD COLUMN ${quoteName(column.name)} with a CHECK reads every row of ${target.sql}`,
            work: { kind: "scan", table: target.table },
            safe: [alone(), ...validateLaterSteps(table, name, added)],
          },
        ];
      }
      if (contype === "CONSTR_UNIQUE" || contype === "CONSTR_PRIMARY") {
        const unique = contype === "CONSTR_UNIQUE";
        const name =
          conname ?? nameObject(table.name, unique ? [column.name] : [], unique ? "key" : "pkey");
        const kind = unique ? "UNIQUE" : "PRIMARY KEY";
        const parameters = indexParametersOf(statement, constraint, column.node);
        return [
          {
            ...common,
            message: `ADD COLUMN ${quoteName(column.name)} ${kind} builds an index of ${target.sql}`,
            work: { kind: "index", table: target.table },
            safe: [
              alone(),
              ...usingIndexSteps(
                table,
                name,
                kind,
                [column.name],
                parameters,
                describeAttributes(constraint),
              ),
            ],
          },
        ];
      }
      return [];
    });
  },
);

const addColumnReferences = columnRule(
  {
    id: "add-column-references",
    about: "ADD COLUMN … REFERENCES locks the other table too, and with a default reads the rows",
    example: "ALTER TABLE posts ADD COLUMN n integer REFERENCES users (id)",
    lock: "ACCESS EXCLUSIVE",
  },
  (context, target, _command, _all, column) => {
    const constraint = column.has("CONSTR_FOREIGN");
    if (constraint === null || constraint.is_enforced === false) return [];
    const parent = relationOf(constraint.pktable);
    const severity = severityOf(context, target.table);
    if (parent === null || severity === null) return [];
    const to = quoteRelation(parent);
    const common = { object: objectOf(target, column.name), unknown: [] };
    if (column.fallback === null) {
      return [
        {
          ...common,
          severity: "note",
          message: `ADD COLUMN ${quoteName(column.name)} REFERENCES ${to} blocks writes to ${to} too, for a moment; no row is read`,
          work: null,
          advice:
            "usually harmless; set a lock timeout, or it queues behind a long query and others behind it",
          safe: [],
        },
      ];
    }
    const table = target.name;
    const name = constraint.conname ?? nameObject(table.name, [column.name], "fkey");
    const definition = `FOREIGN KEY (${quoteName(column.name)}) ${foreignKeyOf(context.statement, constraint, column.node)}`;
    const key = describeForeignKey(context.world, constraint, [column.name]);
    return [
      {
        ...common,
        severity,
        message: `ADD COLUMN ${quoteName(column.name)} REFERENCES ${to} with a default looks up every row of ${target.sql}`,
        work: { kind: "scan", table: target.table },
        advice: "",
        safe: [
          makeStep("0. the column with its default, without REFERENCES", [
            addWithDefault(context, target, column),
          ]),
          ...validateLaterSteps(table, name, addForeignKey(table, name, definition, key)),
        ],
      },
    ];
  },
);

const setNotNull = commandRule(
  {
    id: "set-not-null",
    about: "SET NOT NULL reads the whole table under the lock, unless a valid CHECK rejects NULL",
    example: "ALTER TABLE posts ALTER COLUMN word_count SET NOT NULL",
    lock: "ACCESS EXCLUSIVE",
    kinds: ["AT_SetNotNull", "AT_AddConstraint"],
  },
  (context, target, command, all) => {
    const { world } = context;
    const { table } = target;
    const { def } = command;
    const added =
      command.subtype === "AT_AddConstraint" && def !== undefined && "Constraint" in def
        ? def.Constraint
        : null;
    const columns =
      command.subtype === "AT_SetNotNull"
        ? [command.name ?? ""]
        : added?.contype === "CONSTR_NOTNULL" && added.skip_validation !== true
          ? wordsOf(added.keys)
          : [];
    const severity = severityOf(context, table);
    if (severity === null) return [];
    // A constraint that the same command drops is gone before the server looks.
    const dropped = new Set(
      all.filter((one) => one.subtype === "AT_DropConstraint").map((one) => one.name),
    );
    const left = table.constraints.filter(({ name }) => name === null || !dropped.has(name));
    return columns.flatMap((column): Problem[] => {
      if (table.columns.get(column)?.notNull === true) return [];
      const proofs = left.filter((one) => provesNotNull(one, column));
      const believes = world.serverMajor === null || world.serverMajor >= 12;
      if (believes && proofs.some(({ valid }) => valid)) return [];
      const waiting = left.find(
        (one) =>
          !one.valid &&
          (provesNotNull(one, column) || (one.kind === "not-null" && one.columns.includes(column))),
      );
      const first =
        waiting?.name === undefined || waiting.name === null || !believes
          ? null
          : validateFirstStep(
              target.name,
              { name: waiting.name, check: waiting.kind !== "not-null" },
              column,
            );
      return [
        {
          severity,
          object: objectOf(target, column),
          message: `SET NOT NULL reads every row of ${target.sql}, and fails if one has NULL in ${quoteName(column)}`,
          work: { kind: "scan", table },
          advice: "",
          safe: first === null ? threeSteps(target, column, world.serverMajor, null) : [first],
          unknown: table.complete ? [] : [`whether a valid CHECK on ${target.sql} makes it free`],
        },
      ];
    });
  },
);

const changeType = commandRule(
  {
    id: "change-type",
    about: "ALTER COLUMN … TYPE rewrites the table, unless the old values are valid as they are",
    example: "ALTER TABLE posts ALTER COLUMN id TYPE bigint",
    lock: "ACCESS EXCLUSIVE",
    kinds: ["AT_AlterColumnType"],
  },
  (context, target, command) => {
    const { def, name = "" } = command;
    if (def === undefined || !("ColumnDef" in def)) return [];
    const to = typeOf(def.ColumnDef.typeName);
    const severity = severityOf(context, target.table);
    if (severity === null || to === null) return [];
    const from = target.table.columns.get(name)?.type ?? null;
    const { world } = context;
    const change = compareTypes(
      from === null ? null : world.baseOf(from),
      world.isConstrainedDomain(to) === true ? to : world.baseOf(to),
      world,
    );
    const converts = !isPlainConversion(def.ColumnDef.raw_default, name, to);
    // Another type has other operators, another collation another order; a longer varchar has neither, nor has text. What
    // an index computes is computed again in any case.
    const collated = def.ColumnDef.collClause !== undefined;
    const sorted = collated || (from !== null && !sameOperators(from, to));
    const { indexes: every, computedIndexes } = target.table;
    const rebuilt = [...(sorted ? every : []), ...computedIndexes].flatMap(([index, columns]) =>
      columns.includes(name) ? [quoteName(index)] : [],
    );
    const checked = target.table.constraints.some(
      (one) => one.kind === "check" && one.columns.includes(name),
    );
    const quoted = quoteName(name);
    const common = { severity, object: objectOf(target, name), unknown: [] as string[] };
    const sizes = `${from === null ? "another type" : formatType(from)} to ${formatType(to)}`;
    if (change === "same" && !collated && !converts) return [];
    if ((change === "free" || change === "same") && !converts) {
      if (checked) {
        return [
          {
            ...common,
            message: `changing ${quoted} from ${sizes} does not rewrite ${target.sql}, but verifies the CHECKs on it for every row`,
            work: { kind: "scan", table: target.table },
            advice:
              "drop the CHECK first; afterwards add it NOT VALID and validate it in the next migration",
            safe: [],
          },
        ];
      }
      if (rebuilt.length === 0) return [];
      const names = [...new Set(rebuilt)].join(", ");
      return [
        {
          ...common,
          message: `changing ${quoted} from ${sizes} does not rewrite ${target.sql}, but rebuilds the indexes on it: ${names}`,
          work: { kind: "index", table: target.table },
          advice: "",
          safe: replaceColumn(context, target, def.ColumnDef, name),
        },
      ];
    }
    const doubt = change === "unknown" && !converts;
    return [
      {
        ...common,
        message: doubt
          ? `changing ${quoted} to ${formatType(to)} may rewrite ${target.sql} and all its indexes`
          : `changing ${quoted} from ${sizes} rewrites ${target.sql} and all its indexes`,
        work: { kind: "rewrite", table: target.table },
        advice: "",
        safe: replaceColumn(context, target, def.ColumnDef, name),
        unknown: doubt
          ? [from === null ? `the present type of ${quoted}` : `the session's time zone`]
          : [],
      },
    ];
  },
);

/** A column of the new type in the place of the old one. */
function replaceColumn(
  { statement }: RuleContext,
  target: NamedTable,
  node: ColumnDef,
  from: string,
): Step[] {
  const to = nameObject(from, [], "new");
  const plain = isPlainType(node) ? typeOf(node.typeName) : null;
  return expandAndContract(
    target,
    { from, to, expression: usingOf(statement, node) ?? quoteName(from) },
    addColumn(target.name, to, definitionOf(statement, node), plain),
  );
}

/** No USING, or one that says what the server would do by itself. */
function isPlainConversion(using: ColumnDef["raw_default"], column: string, to: SqlType): boolean {
  if (using === undefined || isColumn(using, column)) return true;
  if (!("TypeCast" in using)) return false;
  const cast = typeOf(using.TypeCast.typeName);
  return (
    cast !== null && formatType(cast) === formatType(to) && isColumn(using.TypeCast.arg, column)
  );
}

/** Families in which a longer type keeps the values of a shorter one as they are. */
const lengths = new Set(["varchar", "varbit"]);
/** Those in which a higher precision does. */
const precisions = new Set(["time", "timetz", "timestamp", "timestamptz"]);
const highestPrecision = 6;

/** The names of the zone that has no offset and never had another; `+00` is shown as the last of them. */
function isAlwaysUtc(timeZone: string): boolean {
  return /^(?:(?:Etc\/)?(?:UTC|UCT|Universal|Zulu|Greenwich|GMT(?:[+-]?0)?)|<\+00>-00)$/i.test(
    timeZone,
  );
}

/** What the existing values need, by the server's own rules: nothing, or a rewrite. */
function compareTypes(
  from: SqlType | null,
  to: SqlType,
  world: World,
): "same" | "free" | "rewrite" | "unknown" {
  if (from === null) return "unknown";
  const [before, after] = [from.modifiers[0], to.modifiers[0]];
  const elsewhere = from.schema !== null && to.schema !== null && from.schema !== to.schema;
  if (from.name === to.name && from.array === to.array && !elsewhere) {
    if (modifiersOf(from).join() === modifiersOf(to).join()) return "same";
    // Without a length there is nothing to make the values of.
    if (after === undefined) return "free";
    return !from.array && keepsValues(from, to) ? "free" : "rewrite";
  }
  if (from.array || to.array) return "rewrite";
  const stamps = ["timestamp", "timestamptz"];
  if (stamps.includes(from.name) && stamps.includes(to.name)) {
    if ((before ?? highestPrecision) > (after ?? highestPrecision)) return "rewrite";
    if (world.timeZone === null) return "unknown";
    return isAlwaysUtc(world.timeZone) ? "free" : "rewrite";
  }
  return after === undefined && world.isCoercible(from.name, to.name) ? "free" : "rewrite";
}

/** As the catalog has them: a scale that is left out is 0. */
function modifiersOf({ name, modifiers }: SqlType): readonly number[] {
  const [first, second] = modifiers;
  if (first === undefined || (name !== "numeric" && name !== "interval")) return modifiers;
  return [first, second ?? (name === "numeric" ? 0 : fullPrecision)];
}

/** An interval's, where it has none of its own. */
const fullPrecision = 0xffff;

/** Whether another length of the same type, which is not an array, leaves every value as it is. */
function keepsValues(from: SqlType, to: SqlType): boolean {
  const { name } = from;
  const [before, after = 0] = [from.modifiers[0], to.modifiers[0]];
  if (name === "interval") {
    const [mask = allIntervalFields, precision = fullPrecision] = modifiersOf(from);
    const [newMask = allIntervalFields, newPrecision = fullPrecision] = modifiersOf(to);
    const least = leastField(mask);
    if (leastField(newMask) < least) return true;
    if (leastField(newMask) > least) return false;
    return least !== 0 || newPrecision >= highestPrecision || newPrecision >= precision;
  }
  if (precisions.has(name) && after >= highestPrecision) return true;
  if (before === undefined) return false;
  if (name === "numeric")
    return (from.modifiers[1] ?? 0) === (to.modifiers[1] ?? 0) && before <= after;
  return (lengths.has(name) || precisions.has(name)) && before <= after;
}

/** The smallest field of an interval, from 0 for seconds. */
function leastField(mask: number): number {
  return Math.max(
    0,
    [4096, 2048, 1024, 8, 2, 4].findIndex((bit) => (mask & bit) !== 0),
  );
}

/** Whether an index on the old type serves the new one as it is. */
function sameOperators(from: SqlType, to: SqlType): boolean {
  const family = (name: string) => (name === "varchar" ? "text" : name === "cidr" ? "inet" : name);
  return family(from.name) === family(to.name);
}

const alterDomain: Rule = {
  id: "alter-domain",
  about:
    "ALTER DOMAIN with a new constraint reads every table that uses the domain, locked against writes",
  example: "ALTER DOMAIN positive ADD CHECK (VALUE > 0)",
  lock: "SHARE",
  on: ["AlterDomainStmt"],
  check(context) {
    const { statement, world } = context;
    const { node } = statement;
    const reads = verifiesDomain(node);
    if (reads === null || !("AlterDomainStmt" in node)) return [];
    const domain = wordsOf(node.AlterDomainStmt.typeName).map(quoteName).join(".");
    const what = reads === "add" ? "a new constraint" : "VALIDATE CONSTRAINT";
    const advice =
      "put the CHECK on the tables instead, NOT VALID, and validate it in the next migration: that blocks nobody";
    const problem = { object: domain, advice, safe: [] };
    if (world.catalog === null) {
      return [
        {
          ...problem,
          severity: "error",
          message: `ALTER DOMAIN ${domain} with ${what} reads every table that uses it`,
          work: null,
          unknown: [`which tables use ${domain}`],
        },
      ];
    }
    return context.locks.flatMap(({ table }): Problem[] => {
      const severity = severityOf(context, table);
      if (severity === null) return [];
      return [
        {
          ...problem,
          severity,
          message: `ALTER DOMAIN ${domain} with ${what} reads every row of ${quoteRelation(table.name)}`,
          work: { kind: "scan", table },
          unknown: [],
        },
      ];
    });
  },
};

export const columnRules: readonly Rule[] = [
  addColumnNotNull,
  addColumnRewrite,
  addColumnConstraint,
  addColumnReferences,
  setNotNull,
  changeType,
  alterDomain,
];
