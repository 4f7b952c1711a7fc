// Columns: how they come, NOT NULL, and another type.

import type { ColumnDef, Constraint } from "libpg-query";
import { findVolatile, isColumn, isNull, provesNotNull } from "../expressions.ts";
import {
  constraintName,
  sqlStep,
  threeSteps,
  usingIndexSteps,
  validateLaterSteps,
} from "../safe-forms.ts";
import {
  escapeParameters,
  formatSqlalchemyType,
  formatType,
  quoteName,
  quotePython,
  quoteRelation,
  relationOf,
  schemaArgument,
  typeOf,
  wordsOf,
  type SqlType,
} from "../sql.ts";
import type { World } from "../world.ts";
import { balanced } from "./constraint-text.ts";
import {
  commandRule,
  severityOf,
  weigh,
  type Problem,
  type Rule,
  type SafeStep,
  type Target,
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
  readonly constraints: readonly Constraint[];
  readonly has: (kind: Constraint["contype"]) => Constraint | null;
  /** The DEFAULT that is not NULL. */
  readonly fallback: Constraint | null;
}

function readColumn(definition: ColumnDef | undefined): NewColumn | null {
  const type = typeOf(definition?.typeName);
  if (definition?.colname === undefined || type === null) return null;
  const constraints = (definition.constraints ?? []).flatMap((one) =>
    "Constraint" in one ? [one.Constraint] : [],
  );
  const has = (kind: Constraint["contype"]) =>
    constraints.find(({ contype }) => contype === kind) ?? null;
  const given = has("CONSTR_DEFAULT");
  const fallback = given === null || isNull(given.raw_expr) ? null : given;
  return { name: definition.colname, type, constraints, has, fallback };
}

function columnRule(
  id: string,
  about: string,
  check: (
    ...args: [...Parameters<Parameters<typeof commandRule>[2]>, NewColumn]
  ) => readonly Problem[],
): Rule {
  return commandRule(id, about, (context, target, command, all) => {
    if (command.subtype !== "AT_AddColumn") return [];
    const { def } = command;
    const column = def !== undefined && "ColumnDef" in def ? readColumn(def.ColumnDef) : null;
    if (column === null) return [];
    // IF NOT EXISTS, and it does.
    if (command.missing_ok === true && target.table.columns.has(column.name)) return [];
    return check(context, target, command, all, column);
  });
}

/** The column by itself: nullable, without a default. */
function addPlainColumn(
  target: Target,
  name: string,
  type: SqlType,
): Pick<SafeStep, "sql" | "alembic"> {
  const sql = `ALTER TABLE ${target.sql} ADD COLUMN ${quoteName(name)} ${formatType(type)}`;
  const python = formatSqlalchemyType(type);
  return {
    sql: `${sql};`,
    alembic:
      python === null
        ? `op.execute(${quotePython(sql)})`
        : `op.add_column(${quotePython(target.name.name)}, sa.Column(${quotePython(name)}, ${python}, nullable=True)${schemaArgument(target.name)})`,
  };
}

function objectOf(target: Target, column: string): string {
  return `${target.sql}.${quoteName(column)}`;
}

const addColumnNotNull = columnRule(
  "add-column-not-null",
  "ADD COLUMN … NOT NULL without a default fails where the table has rows",
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
    // Zero by estimate may be some by now; what has no page has no row.
    const empty = target.table.size.bytes === 0;
    return [
      {
        severity: weight === "small" && empty ? "note" : "error",
        object: objectOf(target, column.name),
        message: `ADD COLUMN ${quoteName(column.name)} NOT NULL without a default fails as soon as ${target.sql} has a row`,
        work: null,
        advice: "",
        safe: threeSteps(
          target,
          column.name,
          world.serverMajor,
          addPlainColumn(target, column.name, column.type),
        ),
        unknown: target.table.size.rows === null ? [`whether ${target.sql} has rows`] : [],
      },
    ];
  },
);

const addColumnRewrite = columnRule(
  "add-column-rewrite",
  "ADD COLUMN with a volatile default, serial, identity, STORED or a constrained domain writes the table anew",
  (context, target, _command, _all, column) => {
    const { world } = context;
    const severity = severityOf(context, target.table);
    if (severity === null) return [];
    const quoted = quoteName(column.name);
    const problem = (
      cause: string,
      safe: readonly SafeStep[],
      advice = "",
      unknown: readonly string[] = [],
    ): Problem[] => [
      {
        severity,
        object: objectOf(target, column.name),
        message: `ADD COLUMN ${quoted} with ${cause} writes the whole of ${target.sql} anew`,
        work: { kind: "rewrite", table: target.table },
        advice,
        safe,
        unknown,
      },
    ];
    const plain = addPlainColumn(target, column.name, column.type);
    const later = (expression: string): SafeStep[] => [
      {
        title: "1. the column by itself, then its default for new rows",
        sql: `${plain.sql}\nALTER TABLE ${target.sql} ALTER COLUMN ${quoted} SET DEFAULT ${expression};`,
        alembic: `${plain.alembic}\nop.alter_column(${quotePython(target.name.name)}, ${quotePython(column.name)}, server_default=sa.text(${quotePython(expression)})${schemaArgument(target.name)})`,
      },
      {
        title: `2. the backfill, in batches, outside of the migrations: UPDATE ${target.sql} SET ${quoted} = ${expression} WHERE ${quoted} IS NULL`,
        sql: "",
        alembic: "",
      },
    ];

    const base = serials[column.type.name];
    const identity = column.has("CONSTR_IDENTITY");
    if (base !== undefined || identity !== null) {
      const type = base === undefined ? column.type : { ...column.type, name: base };
      const sequence = `${target.name.name}_${column.name}_seq`.slice(0, 63);
      const qualified = quoteRelation({ schema: target.name.schema, name: sequence });
      const [first, ...rest] = addSequenceSteps(target, column.name, type, qualified);
      const what = identity === null ? column.type.name : "an identity";
      return problem(what, first === undefined ? [] : [first, ...rest]);
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
        `a plain column, which a trigger fills in new rows and a backfill in the others${virtual}`,
      );
    }
    if (world.isConstrainedDomain(column.type) === true) {
      return problem(
        `the domain ${formatType(column.type)}, which has a constraint,`,
        [],
        `a column of the domain's base type, with a CHECK that is added NOT VALID and validated in the next revision`,
      );
    }
    if (column.fallback === null) return [];
    const text = defaultText(context.statement.textFrom(column.fallback.location ?? 0));
    const found = findVolatile(column.fallback.raw_expr, world);
    if (found !== null) {
      const cause = found.certain
        ? `a default that is volatile (${found.name}())`
        : `a default that may be volatile (${found.name}())`;
      const unknown = found.certain ? [] : [`whether ${found.name}() is volatile`];
      return problem(cause, later(text), "", unknown);
    }
    if (world.serverMajor !== null && world.serverMajor < 11) {
      return problem("a default, before PostgreSQL 11,", later(text));
    }
    return [];
  },
);

function addSequenceSteps(
  target: Target,
  column: string,
  type: SqlType,
  sequence: string,
): SafeStep[] {
  const quoted = quoteName(column);
  const plain = addPlainColumn(target, column, type);
  const next = `nextval('${sequence.replaceAll("'", "''")}')`;
  const more = sqlStep(
    "",
    `CREATE SEQUENCE ${sequence} AS ${formatType(type)} OWNED BY ${target.sql}.${quoted}`,
    `ALTER TABLE ${target.sql} ALTER COLUMN ${quoted} SET DEFAULT ${next}`,
  );
  return [
    {
      title: "1. the column by itself, then a sequence for new rows",
      sql: `${plain.sql}\n${more.sql}`,
      alembic: `${plain.alembic}\n${more.alembic}`,
    },
    {
      title: `2. the backfill, in batches, outside of the migrations: UPDATE ${target.sql} SET ${quoted} = ${next} WHERE ${quoted} IS NULL`,
      sql: "",
      alembic: "",
    },
  ];
}

/** The expression behind DEFAULT, as it is written. */
function defaultText(text: string): string {
  const rest = text.replace(/^DEFAULT\s+/i, "");
  let depth = 0;
  for (let index = 0; index < rest.length; index++) {
    const character = rest[index];
    if (character === "'") {
      const end = rest.indexOf("'", index + 1);
      index = end === -1 ? rest.length : end;
    } else if (character === "(") depth++;
    else if (character === ")") {
      if (depth === 0) return rest.slice(0, index).trim();
      depth--;
    } else if (depth === 0) {
      if (
        character === "," ||
        /^\s(?:NOT\s+NULL|NULL|CONSTRAINT|CHECK|UNIQUE|PRIMARY|REFERENCES)\b/i.test(
          rest.slice(index),
        )
      ) {
        return rest.slice(0, index).trim();
      }
    }
  }
  return rest.trim();
}

const addColumnConstraint = columnRule(
  "add-column-constraint",
  "ADD COLUMN with CHECK or UNIQUE reads the table, or builds an index, under the lock",
  (context, target, _command, _all, column) => {
    const severity = severityOf(context, target.table);
    if (severity === null) return [];
    const plain = addPlainColumn(target, column.name, column.type);
    const alone: SafeStep = { title: "0. the column by itself", ...plain };
    return column.constraints.flatMap((constraint): Problem[] => {
      const { contype, conname, location = 0, skip_validation: notValid } = constraint;
      const common = { severity, object: objectOf(target, column.name), advice: "", unknown: [] };
      if (contype === "CONSTR_CHECK" && notValid !== true && constraint.is_enforced !== false) {
        const name = conname ?? constraintName(target, [column.name], "check");
        const condition = balanced(context.statement.textFrom(location));
        return [
          {
            ...common,
            message: `ADD COLUMN ${quoteName(column.name)} with a CHECK reads every row of ${target.sql}`,
            work: { kind: "scan", table: target.table },
            safe: [
              alone,
              ...validateLaterSteps(
                target,
                name,
                `CHECK ${condition}`,
                `op.create_check_constraint(${quotePython(name)}, ${quotePython(target.name.name)}, ${quotePython(escapeParameters(condition.slice(1, -1).trim()))}${schemaArgument(target.name)}, postgresql_not_valid=True)`,
              ),
            ],
          },
        ];
      }
      if (contype === "CONSTR_UNIQUE" || contype === "CONSTR_PRIMARY") {
        const unique = contype === "CONSTR_UNIQUE";
        const name =
          conname ?? constraintName(target, unique ? [column.name] : [], unique ? "key" : "pkey");
        const kind = unique ? "UNIQUE" : "PRIMARY KEY";
        return [
          {
            ...common,
            message: `ADD COLUMN ${quoteName(column.name)} ${kind} builds an index of ${target.sql}`,
            work: { kind: "index", table: target.table },
            safe: [alone, ...usingIndexSteps(target, name, kind, [column.name])],
          },
        ];
      }
      return [];
    });
  },
);

const addColumnReferences = columnRule(
  "add-column-references",
  "ADD COLUMN … REFERENCES locks the other table too, and with a default reads the rows",
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
          message: `ADD COLUMN ${quoteName(column.name)} REFERENCES ${to} locks ${to} against writes too, for a moment; no row is read`,
          work: null,
          advice: "usually fine; a lock timeout keeps it from queueing behind a long query",
          safe: [],
        },
      ];
    }
    const name = constraint.conname ?? constraintName(target, [column.name], "fkey");
    const columns = wordsOf(constraint.pk_attrs);
    return [
      {
        ...common,
        severity,
        message: `ADD COLUMN ${quoteName(column.name)} REFERENCES ${to} with a default looks up every row of ${target.sql}`,
        work: { kind: "scan", table: target.table },
        advice: "",
        safe: [
          sqlStep(
            "0. the column with its default, without REFERENCES",
            `ALTER TABLE ${target.sql} ADD COLUMN ${quoteName(column.name)} ${formatType(column.type)} DEFAULT ${defaultText(context.statement.textFrom(column.fallback.location ?? 0))}`,
          ),
          ...validateLaterSteps(
            target,
            name,
            `FOREIGN KEY (${quoteName(column.name)}) REFERENCES ${to}${columns.length === 0 ? "" : ` (${columns.map(quoteName).join(", ")})`}`,
            `op.create_foreign_key(${quotePython(name)}, ${quotePython(target.name.name)}, ${quotePython(parent.name)}, [${quotePython(column.name)}], [${(columns.length === 0 ? ["id"] : columns).map(quotePython).join(", ")}], postgresql_not_valid=True)`,
          ),
        ],
      },
    ];
  },
);

const setNotNull = commandRule(
  "set-not-null",
  "SET NOT NULL reads the whole table under the lock, unless a valid CHECK says that there is no NULL",
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
          : sqlStep(
              `validate ${waiting.name}, which is there already, before: that reads the rows while others read and write`,
              `ALTER TABLE ${target.sql} VALIDATE CONSTRAINT ${quoteName(waiting.name)}`,
              ...(waiting.kind === "not-null"
                ? []
                : [`ALTER TABLE ${target.sql} ALTER COLUMN ${quoteName(column)} SET NOT NULL`]),
            );
      return [
        {
          severity,
          object: objectOf(target, column),
          message: `SET NOT NULL reads every row of ${target.sql}, and fails if one has no ${quoteName(column)}`,
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
  "change-type",
  "ALTER COLUMN … TYPE writes the table anew, unless the old values are the new ones as they are",
  (context, target, command) => {
    const { def, name = "" } = command;
    if (command.subtype !== "AT_AlterColumnType" || def === undefined || !("ColumnDef" in def))
      return [];
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
    // an index computes is computed anew in any case.
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
            message: `${quoted} from ${sizes} is no rewrite, but the CHECKs on it are verified for every row of ${target.sql}`,
            work: { kind: "scan", table: target.table },
            advice:
              "drop the CHECK first; afterwards add it NOT VALID and validate it in the next revision",
            safe: [],
          },
        ];
      }
      if (rebuilt.length === 0) return [];
      const names = [...new Set(rebuilt)].join(", ");
      return [
        {
          ...common,
          message: `${quoted} from ${sizes} is no rewrite, but the indexes on it are built anew: ${names}`,
          work: { kind: "index", table: target.table },
          advice: "",
          safe: expandAndContract(target, name, to),
        },
      ];
    }
    const doubt = change === "unknown" && !converts;
    return [
      {
        ...common,
        message: doubt
          ? `${quoted} to ${formatType(to)} may write the whole of ${target.sql} anew, with all its indexes`
          : `${quoted} from ${sizes} writes the whole of ${target.sql} anew, with all its indexes`,
        work: { kind: "rewrite", table: target.table },
        advice: "",
        safe: expandAndContract(target, name, to),
        unknown: doubt
          ? [from === null ? `the present type of ${quoted}` : `the session's time zone`]
          : [],
      },
    ];
  },
);

function expandAndContract(target: Target, name: string, to: SqlType): SafeStep[] {
  const fresh = `${name}_new`.slice(0, 63);
  const quoted = quoteName(name);
  return [
    {
      title: "1. expand: another column, which the new version of the application writes as well",
      ...addPlainColumn(target, fresh, to),
    },
    {
      title: `2. the backfill, in batches, outside of the migrations: UPDATE ${target.sql} SET ${quoteName(fresh)} = ${quoted} WHERE ${quoteName(fresh)} IS NULL`,
      sql: "",
      alembic: "",
    },
    {
      title: "3. contract: a version that reads the new column alone; then, in the next deploy",
      sql: `ALTER TABLE ${target.sql} DROP COLUMN ${quoted};`,
      alembic: `op.drop_column(${quotePython(target.name.name)}, ${quotePython(name)}${schemaArgument(target.name)})`,
    },
  ];
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

/** Families in which a longer one takes over a shorter one's values as they are. */
const lengths = new Set(["varchar", "varbit", "time", "timetz", "timestamp", "timestamptz"]);

/** The names of the zone that has no offset and never had another; `+00` is shown as the last of them. */
function isAlwaysUtc(timeZone: string): boolean {
  return /^(?:(?:Etc\/)?(?:UTC|UCT|Universal|Zulu|Greenwich|GMT(?:[+-]?0)?)|<\+00>-00)$/i.test(
    timeZone,
  );
}

/** What becomes of the values that are there: nothing, or each of them is written anew. */
function compareTypes(
  from: SqlType | null,
  to: SqlType,
  world: Pick<World, "timeZone">,
): "same" | "free" | "rewrite" | "unknown" {
  if (from === null) return "unknown";
  if (formatType(from) === formatType(to)) return "same";
  if (from.array !== to.array || from.schema !== null || to.schema !== null) return "rewrite";
  if (from.array) return "rewrite";
  const [before, after] = [from.modifiers[0], to.modifiers[0]];
  const stamps = ["timestamp", "timestamptz"];
  if (from.name !== to.name && stamps.includes(from.name) && stamps.includes(to.name)) {
    if ((before ?? 6) > (after ?? 6)) return "rewrite";
    if (world.timeZone === null) return "unknown";
    return isAlwaysUtc(world.timeZone) ? "free" : "rewrite";
  }
  if (from.name === "varchar" && to.name === "text") return "free";
  if (from.name === "text" && to.name === "varchar")
    return after === undefined ? "free" : "rewrite";
  // Binary coercible, each in this direction.
  if (["cidr inet", "xml text", "int4 oid"].includes(`${from.name} ${to.name}`)) return "free";
  if (from.name !== to.name) return "rewrite";
  if (from.name === "numeric") {
    if (after === undefined) return "free";
    if (before === undefined) return "rewrite";
    const [scaleBefore, scaleAfter] = [from.modifiers[1] ?? 0, to.modifiers[1] ?? 0];
    return scaleBefore === scaleAfter && before <= after ? "free" : "rewrite";
  }
  if (lengths.has(from.name)) {
    if (after === undefined) return "free";
    return before !== undefined && before <= after ? "free" : "rewrite";
  }
  return "rewrite";
}

/** Whether an index on the old type serves the new one as it is. */
function sameOperators(from: SqlType, to: SqlType): boolean {
  const family = (name: string) => (name === "varchar" ? "text" : name === "cidr" ? "inet" : name);
  return family(from.name) === family(to.name);
}

export const columnRules: readonly Rule[] = [
  addColumnNotNull,
  addColumnRewrite,
  addColumnConstraint,
  addColumnReferences,
  setNotNull,
  changeType,
];
