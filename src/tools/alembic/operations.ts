// Safe forms as the lines of a revision: an operation where Alembic has one that does the same, else op.execute().
// Guarantees: PostgreSQL receives the very SQL, whatever SQLAlchemy and Python would read into it.

import type { SqlType, RelationName } from "../../postgres/names.ts";
import { type Change, type Step, type StepStatement } from "../../postgres/steps.ts";
import type { RenderCapability } from "../tool.ts";
import { quoteLines, quotePython } from "../python-literals.ts";
import { openPythonSource } from "../python-source.ts";

/** As SQLAlchemy's text() takes it: `:name` is a parameter there unless a backslash precedes it, which then goes away. */
function escapeParameters(sql: string): string {
  return sql
    .replaceAll(/\\(?=:[\p{L}\p{N}_$]*(?![:\p{L}\p{N}_$]))/gu, "\\\\")
    .replaceAll(/(?<![:\p{L}\p{N}_\\]):(?=[\p{L}\p{N}_$]+(?![:\p{L}\p{N}_$]))/gu, "\\:");
}

/** SQL as a string for text(). */
function quoteText(sql: string): string {
  return quoteLines(escapeParameters(sql));
}

/** `op.execute(…)` of one statement. */
function execute(sql: string): string {
  return `op.execute(${quoteText(sql)})`;
}

/** Keywords that SQLAlchemy leaves unquoted where PostgreSQL does not take them. */
const unquotedKeywords = new Set([
  "collation",
  "concurrently",
  "lateral",
  "system_user",
  "tablesample",
]);

function renderStatement({ sql, change }: StepStatement): string {
  const known = change !== null && namesOf(change).every((name) => !unquotedKeywords.has(name));
  return (known ? renderChange(change) : null) ?? execute(sql);
}

function namesOf(change: Change): string[] {
  const relation = (name: RelationName | null) =>
    name === null ? [] : [name.name, ...(name.schema === null ? [] : [name.schema])];
  const columns = "columns" in change ? change.columns : "column" in change ? [change.column] : [];
  return [
    ...relation(change.table),
    ...columns,
    ...("name" in change ? [change.name] : []),
    ...("index" in change ? relation(change.index) : []),
    ...("parent" in change ? [...relation(change.parent), ...change.referred] : []),
  ];
}

/** Null where there is no operation that does just that. */
function renderChange(change: Change): string | null {
  if (change.kind === "drop-index") {
    const { index, table } = change;
    return call("drop_index", [
      finalName(index.name),
      ...(table === null ? [] : [`table_name=${quotePython(table.name)}`]),
      ...schemaArgument(index),
      "postgresql_concurrently=True",
    ]);
  }
  const table = quotePython(change.table.name);
  const schema = schemaArgument(change.table);
  switch (change.kind) {
    case "add-column": {
      const type = formatSqlalchemyType(change.type);
      if (type === null) return null;
      const column = `sa.Column(${quotePython(change.column)}, ${type}, nullable=True)`;
      return call("add_column", [table, column, ...schema]);
    }
    case "drop-column":
      return call("drop_column", [table, quotePython(change.column), ...schema]);
    case "require-column":
      return call("alter_column", [table, quotePython(change.column), "nullable=False", ...schema]);
    case "set-default": {
      const value = `server_default=sa.text(${quoteText(change.expression)})`;
      return call("alter_column", [table, quotePython(change.column), value, ...schema]);
    }
    case "add-check":
      return call("create_check_constraint", [
        finalName(change.name),
        table,
        quoteText(change.condition),
        ...schema,
        "postgresql_not_valid=True",
      ]);
    case "add-foreign-key": {
      const { parent, onDelete, onUpdate } = change;
      const argument = (name: string, value: string | null) =>
        value === null ? [] : [`${name}=${quotePython(value)}`];
      return call("create_foreign_key", [
        finalName(change.name),
        table,
        quotePython(parent.name),
        quoteList(change.columns),
        quoteList(change.referred),
        ...argument("source_schema", change.table.schema),
        ...argument("referent_schema", parent.schema),
        ...argument("ondelete", onDelete),
        ...argument("onupdate", onUpdate),
        ...(change.deferrable ? ["deferrable=True"] : []),
        ...argument("initially", change.deferred ? "DEFERRED" : null),
        ...argument("match", change.matchFull ? "FULL" : null),
        "postgresql_not_valid=True",
      ]);
    }
    case "drop-constraint":
      return call("drop_constraint", [finalName(change.name), table, ...schema]);
    case "create-index": {
      const { method, unique } = change;
      return call("create_index", [
        finalName(change.name),
        table,
        quoteList(change.columns),
        ...(unique ? ["unique=True"] : []),
        ...schema,
        ...(method === null ? [] : [`postgresql_using=${quotePython(method)}`]),
        "postgresql_concurrently=True",
      ]);
    }
  }
}

function call(operation: string, words: readonly string[]): string {
  return `op.${operation}(${words.join(", ")})`;
}

/** A name that no naming convention of the application's changes. */
function finalName(name: string): string {
  return `op.f(${quotePython(name)})`;
}

function quoteList(names: readonly string[]): string {
  return `[${names.map(quotePython).join(", ")}]`;
}

function schemaArgument({ schema }: RelationName): string[] {
  return schema === null ? [] : [`schema=${quotePython(schema)}`];
}

/** The type as every SQLAlchemy since 1.4 names it; null where there is none. */
function formatSqlalchemyType({ name, schema, modifiers, array }: SqlType): string | null {
  if (schema !== null || array) return null;
  const [first, second] = modifiers;
  switch (name) {
    case "int2":
      return "sa.SmallInteger()";
    case "int4":
      return "sa.Integer()";
    case "int8":
      return "sa.BigInteger()";
    case "text":
      return "sa.Text()";
    case "bool":
      return "sa.Boolean()";
    case "date":
      return "sa.Date()";
    case "varchar":
      return first === undefined ? "sa.String()" : `sa.String(${first})`;
    case "timestamp":
      return first === undefined ? "sa.DateTime()" : null;
    case "timestamptz":
      return first === undefined ? "sa.DateTime(timezone=True)" : null;
    case "numeric":
      return first === undefined ? "sa.Numeric()" : `sa.Numeric(${first}, ${second ?? 0})`;
    default:
      return null;
  }
}

function indent(lines: string, by: string): string {
  return lines
    .split("\n")
    .map((line) => (line === "" ? "" : `${by}${line}`))
    .join("\n");
}

function renderStep({ statements, transaction }: Step): string {
  if (statements.length === 0) return "";
  const lines = statements.map(renderStatement).join("\n");
  if (transaction === "inside") return lines;
  return `with op.get_context().autocommit_block():\n${indent(lines, "    ")}`;
}

/** Alembic's version table holds as many characters. */
const longestId = 32;

const renderMigration: RenderCapability["renderMigration"] = ({
  id,
  title,
  after,
  statements,
  undo,
}) => {
  const word = id.toLowerCase().replaceAll(/\W+/g, "_").slice(0, longestId);
  const down =
    after === null ? "None  # the revision that added the column, or the head" : quotePython(after);
  return [
    `"""${JSON.stringify(title).slice(1, -1)}"""`,
    "",
    "from alembic import op",
    "",
    `revision = ${quotePython(word)}`,
    `down_revision = ${down}`,
    "branch_labels = None",
    "depends_on = None",
    "",
    "",
    "def upgrade() -> None:",
    "    # Each statement in a transaction of its own: no lock is held while every row is read.",
    "    with op.get_context().autocommit_block():",
    ...statements.map((sql) => indent(execute(sql), "        ")),
    "",
    "",
    "def downgrade() -> None:",
    ...undo.map((sql) => indent(execute(sql), "    ")),
  ].join("\n");
};

export const render: RenderCapability = {
  renderStep,
  renderMigration,
  ownTransactions: "transaction_per_migration=True in env.py",
  openSource: (path) => openPythonSource(path, /^(?:async )?def upgrade\b/m),
};
