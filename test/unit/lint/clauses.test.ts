// A statement's own words: whatever an expression is, and whatever follows it, exactly that is repeated.

import type { ColumnDef, Constraint, Node } from "libpg-query";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  boundsOf,
  conditionOf,
  defaultOf,
  definitionOf,
  foreignKeyOf,
  formatStatement,
  indexParametersOf,
  updateOf,
  insertBehind,
  usingOf,
} from "../../../src/lint/clauses.ts";
import { commandsOf } from "../../../src/lint/locks.ts";
import { readScript, type Statement } from "../../../src/lint/statements.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";

const parser = await loadSqlParser();

/** What may follow a default, or a condition, in the definition of a column. */
const followers = [
  "",
  " NOT NULL",
  " NULL",
  " CONSTRAINT c CHECK (a > 0)",
  " UNIQUE DEFERRABLE",
  " PRIMARY KEY",
  ' COLLATE "C"',
  " REFERENCES other (id) ON DELETE CASCADE INITIALLY DEFERRED",
  ", ADD COLUMN b int DEFAULT 7",
  ", DROP COLUMN d",
  " -- the end",
  " /* , */ NOT NULL",
];

/** Where the statement stands: not every index is a byte, and not every statement the first one. */
const surroundings = [
  (sql: string) => sql,
  (sql: string) => `SELECT 'é🐘';\n-- ü\n${sql};\nSELECT 1`,
  (sql: string) => `DO $body$ BEGIN ${sql}; END $body$`,
];

const atom = fc.constantFrom(
  "1",
  "-1.5",
  "'a'",
  "'NOT NULL, ('",
  String.raw`E'\''`,
  "$$ ; , ') $$",
  "$tag$ $$ $tag$",
  "now()",
  "f(1, ')')",
  "ARRAY[1, 2]",
  "ARRAY['a', ']']",
  "NULL",
  "true",
  '"check"',
  "x.y",

  "CASE WHEN a IS NULL THEN 'NOT NULL' ELSE b END",
  "CAST('1' AS numeric(8, 2))",
  "'1 day'::interval",
  "B'101'",
  "X'1F'",
  "U&'d\\0061t'",
  "ROW(1, 2)",
  "current_timestamp",
  "interval '1' day",

  "nextval('a.\"b\"')",
  "(SELECT max(id) FROM t WHERE a IN (1, 2))",
  "coalesce(a, 'b', \"C\")",
  "'{\"a\": [1]}'::jsonb",
);
const between = fc.constantFrom(" ", "\n", " /* ) , NOT NULL */ ", " -- , (\n");

/** An expression that DEFAULT takes, with comments in it. */
const expressions = fc.letrec<{ all: string }>((tie) => ({
  all: fc.oneof(
    { maxDepth: 3 },
    atom,
    fc
      .tuple(tie("all"), between, fc.constantFrom("||", "+", "->>", "<", "="), between, tie("all"))
      .map((all) => `(${all.join("")})`),
    fc
      .tuple(atom, between, fc.constantFrom("||", "*", "#>>"), between, atom)
      .map((all) => all.join("")),
    tie("all").map((inner) => `f(${inner}, ${inner})`),
    tie("all").map((inner) => `(${inner})::text`),
  ),
})).all;

function read(sql: string): Statement {
  const statement = readScript(parser, sql).statements.find(({ node }) => "AlterTableStmt" in node);
  if (statement === undefined) throw new Error(`cannot read ${sql}`);
  return statement;
}

function columnOf(statement: Statement): ColumnDef {
  const def = commandsOf(statement.node)[0]?.def;
  if (def === undefined || !("ColumnDef" in def)) throw new Error("there is no column");
  return def.ColumnDef;
}

function constraintOf(
  nodes: readonly Node[] | undefined,
  contype: Constraint["contype"],
): Constraint {
  for (const node of nodes ?? [])
    if ("Constraint" in node && node.Constraint.contype === contype) return node.Constraint;
  throw new Error(`there is no ${contype}`);
}

const isParsed = (sql: string) => {
  try {
    return readScript(parser, sql).unparsed.length === 0;
  } catch {
    return false;
  }
};

test("a default is repeated as it is written, whatever it is and whatever follows it", () => {
  const all = fc.tuple(
    expressions,
    fc.constantFrom(
      "int",
      "varchar (80)",
      "numeric(8, 2)[]",
      "interval day to second(3)",
      '"my Type"',
      "double precision",
    ),
    fc.constantFrom("DEFAULT ", "CONSTRAINT d DEFAULT\n", 'CONSTRAINT "default" default /* x */ '),
    fc.constantFrom(...followers),
    fc.constantFrom(...surroundings),
  );
  let parsed = 0;
  fc.assert(
    fc.property(all, ([expression, type, word, follower, surround]) => {
      const sql = surround(`ALTER TABLE t ADD COLUMN a ${type} ${word}${expression}${follower}`);
      if (!isParsed(sql)) return;
      parsed++;
      const statement = read(sql);
      const column = columnOf(statement);
      const given = constraintOf(column.constraints, "CONSTR_DEFAULT");
      expect(defaultOf(statement, column, given)).toBe(expression);
      const collation = follower.includes("COLLATE") ? ' COLLATE "C"' : "";
      expect(definitionOf(statement, column)).toBe(`${type}${collation}`);
    }),
    { numRuns: 200 },
  );
  expect(parsed).toBeGreaterThan(100);
});

test("so is a condition, of a column or of the table", () => {
  const all = fc.tuple(
    expressions,
    fc.constantFrom("", "CONSTRAINT c ", 'CONSTRAINT "check ("\n', "CONSTRAINT /* CHECK ( */ c "),
    fc.constantFrom("CHECK (", "check\n( /* ( */ "),
    fc.constantFrom(")", "\n)", " -- )\n)"),
    fc.constantFrom(...surroundings),
    fc.boolean(),
  );
  fc.assert(
    fc.property(all, ([expression, name, open, close, surround, ofColumn]) => {
      const condition = `${expression} IS NOT NULL`;
      const constraint = `${name}${open}${condition}${close}`;
      const sql = surround(
        `ALTER TABLE t ADD ${ofColumn ? `COLUMN a int ${constraint} NOT NULL` : constraint}, ADD COLUMN b int`,
      );
      if (!isParsed(sql)) return;
      const statement = read(sql);
      const def = commandsOf(statement.node)[0]?.def;
      const nodes = def === undefined ? [] : "ColumnDef" in def ? def.ColumnDef.constraints : [def];
      expect(conditionOf(statement, constraintOf(nodes, "CONSTR_CHECK"))).toBe(condition);
    }),
    { numRuns: 300 },
  );
});

describe("the rest", () => {
  test("a definition has its storage, and the name of its collation quoted", () => {
    const text =
      'ALTER TABLE t ADD a text STORAGE EXTERNAL COMPRESSION pglz COLLATE "my C".user NOT NULL';
    const statement = read(text);
    expect(definitionOf(statement, columnOf(statement))).toBe(
      'text STORAGE EXTERNAL COMPRESSION pglz COLLATE "my C"."user"',
    );
  });

  test.each([
    [
      "ALTER TABLE t ALTER a TYPE numeric (8, 2) USING (a || ',')::numeric, ADD b int",
      "numeric (8, 2)",
      "(a || ',')::numeric",
    ],
    [
      'ALTER TABLE t ALTER a TYPE text COLLATE "C" USING f(a, b) -- why',
      'text COLLATE "C"',
      "f(a, b)",
    ],
    ["ALTER TABLE t ALTER a SET DATA TYPE bigint", "bigint", null],
  ])("the type and the expression of %s", (sql, type, using) => {
    const statement = read(sql);
    expect(definitionOf(statement, columnOf(statement))).toBe(type);
    expect(usingOf(statement, columnOf(statement))).toBe(using);
  });

  test.each([
    [
      "ADD CONSTRAINT k FOREIGN KEY (a, b) REFERENCES p (c, d) ON DELETE SET NULL (a) NOT DEFERRABLE, ADD e int",
      "FOREIGN KEY (a, b) REFERENCES p (c, d) ON DELETE SET NULL (a) NOT DEFERRABLE",
    ],
    ["ADD FOREIGN KEY (a) REFERENCES p", "FOREIGN KEY (a) REFERENCES p"],
    [
      "ADD COLUMN a int CONSTRAINT k REFERENCES p (c) MATCH FULL DEFERRABLE INITIALLY DEFERRED NOT NULL",
      "REFERENCES p (c) MATCH FULL DEFERRABLE INITIALLY DEFERRED",
    ],
  ])("the foreign key of %s", (command, text) => {
    const statement = read(`ALTER TABLE t ${command}`);
    const def = commandsOf(statement.node)[0]?.def;
    const column = def !== undefined && "ColumnDef" in def ? def.ColumnDef : null;
    const nodes = column === null && def !== undefined ? [def] : column?.constraints;
    expect(foreignKeyOf(statement, constraintOf(nodes, "CONSTR_FOREIGN"), column)).toBe(text);
  });

  test.each([
    ["UNIQUE (a)", ""],
    [
      'CONSTRAINT include UNIQUE NULLS NOT DISTINCT (a) INCLUDE (b, c) WITH (fillfactor = 70) USING INDEX TABLESPACE "my T"',
      ' INCLUDE (b, c) NULLS NOT DISTINCT WITH (fillfactor = 70) TABLESPACE "my T"',
    ],
    ["CONSTRAINT nulls UNIQUE NULLS DISTINCT (a) DEFERRABLE", ""],
  ])("the parameters of the index of %s", (constraint, text) => {
    const statement = read(`ALTER TABLE t ADD ${constraint}, ADD COLUMN d int`);
    const def = commandsOf(statement.node)[0]?.def;
    const unique = constraintOf(def === undefined ? [] : [def], "CONSTR_UNIQUE");
    expect(indexParametersOf(statement, unique, null)).toBe(text);
  });

  test.each([
    ["FOR VALUES IN ('a (', NULL)", ""],
    ["FOR VALUES FROM (1, MINVALUE) TO ((2), 3)", "PARTITION BY LIST (id) WITH (fillfactor = 70)"],
    ["FOR VALUES WITH (MODULUS 4, REMAINDER 1)", "TABLESPACE x"],
    ["DEFAULT", "USING heap"],
  ])("the bounds %s", (bounds, storage) => {
    const text = `CREATE TABLE p PARTITION OF "a b" (n DEFAULT 1) ${bounds} ${storage}`;
    const [statement] = readScript(parser, text).statements;
    if (statement === undefined || !("CreateStmt" in statement.node)) throw new Error("no table");
    const location = statement.node.CreateStmt.partbound?.location ?? 0;
    expect(boundsOf(statement, location)).toEqual({ bounds, storage });
  });

  test.each([
    [
      "CREATE /* INDEX */ UNIQUE index i ON t (a) -- c",
      ["index"],
      "CREATE /* INDEX */ UNIQUE index CONCURRENTLY i ON t (a)",
    ],
    [
      'REINDEX (VERBOSE, TABLESPACE "table") TABLE t',
      ["index", "table"],
      'REINDEX (VERBOSE, TABLESPACE "table") TABLE CONCURRENTLY t',
    ],
  ])("a word is inserted into %s", (sql, words, text) => {
    const [statement] = readScript(parser, sql).statements;
    if (statement === undefined) throw new Error("no statement");
    expect(insertBehind(statement, words, "CONCURRENTLY")).toBe(text);
  });

  test("a statement is itself, without the comments around it", () => {
    const [statement] = readScript(parser, "/* a */ SELECT 1 -- b\n, ' -- c' -- d\n").statements;
    if (statement === undefined) throw new Error("no statement");
    expect(formatStatement(statement)).toBe("SELECT 1 -- b\n, ' -- c'");
  });
});

test.each([
  ["UPDATE t SET a = 1", { set: "a = 1", expression: "1", where: null }],
  [
    "UPDATE set SET set = f(a, ' WHERE ') -- WHERE\n WHERE b IN (SELECT c FROM d WHERE e) RETURNING a",
    {
      set: "set = f(a, ' WHERE ')",
      expression: "f(a, ' WHERE ')",
      where: "b IN (SELECT c FROM d WHERE e)",
    },
  ],
])("what %s assigns, and where", (sql, expected) => {
  const [statement] = readScript(parser, sql).statements;
  if (statement === undefined || !("UpdateStmt" in statement.node)) throw new Error("no update");
  const [target] = statement.node.UpdateStmt.targetList ?? [];
  const location = target !== undefined && "ResTarget" in target ? target.ResTarget.location : 0;
  expect(updateOf(statement, location ?? 0)).toEqual(expected);
});
