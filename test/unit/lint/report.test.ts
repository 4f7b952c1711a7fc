// Where a finding is written, what was allowed and why, and how all of it is printed.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { formatText } from "../../../src/lint/describe.ts";
import { formatGithub, formatJson, formatSarif } from "../../../src/lint/machine-formats.ts";
import { refusals, reportOn, selectStatements, type Report } from "../../../src/lint/report.ts";
import type { LintedHistory, Source } from "../../../src/lint/source.ts";
import { readScript } from "../../../src/lint/statements.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";
import { render } from "../../../src/tools/alembic/operations.ts";
import { findStarts } from "../../../src/tools/alembic/sql.ts";
import { catalogOf } from "./harness.ts";

const parser = await loadSqlParser();

type Catalog = Parameters<typeof reportOn>[4]["catalog"];

/** Alembic, with these files of revisions. */
function historyOf(paths: Readonly<Record<string, string>> = {}): LintedHistory {
  return {
    command: { toolName: "Alembic", toolId: "alembic", findStarts, render },
    describe: (ids) =>
      ids.flatMap((id) => {
        const path = paths[id];
        return path === undefined ? [] : [{ id, message: "", path }];
      }),
  };
}

function report(
  source: Omit<Source, "starts" | "origins" | "range"> & Partial<Pick<Source, "origins">>,
  catalog: Catalog = null,
  history: LintedHistory = historyOf(),
): Report {
  const all = { origins: [], range: null, ...source, starts: findStarts(source.sql) };
  const script = selectStatements(readScript(parser, all.sql, all.starts), all);
  return reportOn(parser, all, script, history, { catalog, smallRows: 10_000, ownTables: [] });
}

/**
 * One revision `a1` with this body, for which Alembic has printed `sql`, each line of it by the lines of the body that
 * `printedBy` gives, from 1.
 */
function revisionReport(
  body: string,
  sql: string,
  printedBy: readonly (readonly [number, number])[] = [],
  gaps: Source["gaps"] = [],
): Report {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-lint-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "a1.py");
  writeFileSync(
    path,
    `from alembic import op\n\n\ndef upgrade():\n${body}\n\n\ndef downgrade():\n    op.drop_index("i")\n`,
  );
  const heading = "-- Running upgrade  -> a1\n";
  let start = heading.length;
  const origins = printedBy.map(([from, to], index) => {
    const end = start + (sql.split("\n")[index] ?? "").length + 1;
    const [first, last] = [from + 4, to + 4];
    const lines = { first, last, line: first, endLine: last, column: null, endColumn: null };
    const origin = { start, end, ...lines, certain: true };
    start = end;
    return origin;
  });
  return report(
    { sql: `${heading}${sql}`, file: null, pending: null, gaps, origins },
    null,
    historyOf({ a1: path }),
  );
}

test("without a report of Alembic's no more is certain than the function", () => {
  const { findings } = revisionReport(
    '    op.execute("CREATE INDEX i ON posts (n)")',
    "CREATE INDEX i ON posts (n)",
  );
  expect(findings.map(({ place }) => [place?.line, place?.excerpt, place?.certain])).toEqual([
    [4, "def upgrade():", false],
  ]);
});

describe("suppressions", () => {
  const sql = "CREATE INDEX i ON posts (n);\nCREATE INDEX j ON posts (m);";
  const [first, second] = [
    '    op.create_index("i", "posts", ["n"])',
    '    op.create_index("j", "posts", ["m"])',
  ];
  const verdicts = ({ findings }: Report) =>
    findings.map(({ rule, object, allowed, place }) => [rule, object, allowed, place?.line]);
  const allow = "entrypoint: allow create-index because it is small";

  test("above an operation, in it and behind it: for that one alone", () => {
    const expected = [
      ["create-index", "i", "it is small"],
      ["create-index", "j", null],
    ];
    for (const [body, ...printedBy] of [
      [`    # ${allow}\n${first}\n${second}`, [2, 2], [3, 3]],
      [`${first}  # ${allow}\n${second}`, [1, 1], [2, 2]],
      [`    # ${allow}\n    # and more\n${first}\n${second}`, [3, 3], [4, 4]],
      [
        `    op.create_index(\n        "i",\n        "posts",  # ${allow}\n        ["n"],\n    )\n${second}`,
        [1, 5],
        [6, 6],
      ],
    ] as const) {
      const found = verdicts(revisionReport(body, sql, printedBy));
      expect(found.map((one) => one.slice(0, 3))).toEqual(expected);
    }
  });

  test("in the SQL: before the statement, in it, and behind it on its line", () => {
    for (const text of [
      `-- ${allow}\nCREATE INDEX i ON posts (n);\nCREATE INDEX j ON posts (m);`,
      `CREATE INDEX i\n  -- ${allow}\n  ON posts (n);\nCREATE INDEX j ON posts (m);`,
      `CREATE INDEX i ON posts (n); -- ${allow}\nCREATE INDEX j ON posts (m);`,
    ]) {
      const found = report({ sql: text, file: "up.sql", pending: null, gaps: [] });
      expect(found.findings.map(({ allowed }) => allowed)).toEqual(["it is small", null]);
      expect(refusals(found)).toHaveLength(1);
    }
  });

  test("in a string it is none, in the SQL or in the file", () => {
    const inSql = `COMMENT ON TABLE t IS '\n-- ${allow}\n';\nCREATE INDEX i ON posts (n);`;
    const found = report({ sql: inSql, file: "up.sql", pending: null, gaps: [] });
    expect(found.findings.map(({ allowed }) => allowed)).toEqual([null]);
    const inFile = `    op.execute("""\n# ${allow}\nCREATE INDEX i ON posts (n)""")`;
    const [one] = revisionReport(inFile, "CREATE INDEX i ON posts (n)", [[1, 3]]).findings;
    expect(one?.allowed).toBe(null);
  });

  test("of another rule it holds nothing back; of several it may be one", () => {
    const allowed = (rules: string) => {
      const body = `    # entrypoint: allow ${rules} because it is small\n${first}`;
      const found = revisionReport(body, "CREATE INDEX i ON posts (n)", [[2, 2]]).findings;
      return found.map((one) => one.allowed);
    };
    expect(allowed("drop-index")).toEqual([null]);
    expect(allowed("drop-index, create-index")).toEqual(["it is small"]);
  });

  test.each([
    ["entrypoint: allow create-index", "the suppression of create-index has no reason"],
    ["entrypoint: allow create-index because", "the suppression of create-index has no reason"],
    ["entrypoint: allow because it is small", "there is no rule because"],
    ["entrypoint: allow create_index because it is small", "there is no rule create_index"],
    ["entrypoint: allow", "the suppression names no rule"],
  ])("%s: is refused itself", (comment, message) => {
    const found = revisionReport(`    # ${comment}\n${first}`, "CREATE INDEX i ON posts (n)");
    expect(found.findings).toMatchObject([
      { rule: "bad-suppression", message, place: { line: 5 } },
      { rule: "create-index", allowed: null },
    ]);
  });

  test("where nobody knows the line, none counts", () => {
    const found = revisionReport(`    # ${allow}\n${first}`, "CREATE INDEX i ON posts (n)");
    expect(found.findings.map(({ allowed }) => allowed)).toEqual([null]);
  });
});

describe("Squawk's own comments", () => {
  const file = "up.sql";
  const index = "CREATE INDEX i ON posts (n);";
  test.each([
    ["before the statement", `-- squawk-ignore require-concurrent-index-creation\n${index}`, true],
    ["in a block", `/* squawk-ignore require-concurrent-index-creation */\n${index}`, true],
    [
      "one of several",
      `-- squawk-ignore ban-drop-table, require-concurrent-index-creation\n${index}`,
      true,
    ],
    ["without a name", `-- squawk-ignore\n${index}`, true],
    [
      "of the file",
      `SELECT 1;\n-- squawk-ignore-file require-concurrent-index-creation\n${index}`,
      true,
    ],
    ["of the file, without a name", `-- squawk-ignore-file\nSELECT 1;\n${index}`, true],
    ["of another rule", `-- squawk-ignore ban-drop-table\n${index}`, false],
    ["of a rule that Squawk alone has", `-- squawk-ignore prefer-text-field\n${index}`, false],
    ["of another statement", `-- squawk-ignore\nSELECT 1;\n${index}`, false],
  ])("%s", (_, sql, counts) => {
    const found = report({ sql, file, pending: null, gaps: [] });
    expect(found.findings.map(({ rule }) => rule)).toEqual(["create-index"]);
    const [allowed] = found.findings.map((one) => one.allowed);
    expect(allowed?.startsWith("of squawk-ignore") ?? false).toBe(counts);
    expect(refusals(found)).toHaveLength(counts ? 0 : 1);
  });
});

describe("a file that begins a transaction", () => {
  const open = (sql: string, file: string | null = "up.sql") =>
    report({ sql, file, pending: null, gaps: [] }).findings.filter(
      ({ rule }) => rule === "open-transaction",
    );
  const add = "ALTER TABLE posts ADD COLUMN n int;";

  test.each([
    [`BEGIN;\n${add}`, 1],
    [`START TRANSACTION;\n${add}`, 1],
    [`BEGIN;\n${add}\nCOMMIT;\nBEGIN;\n${add}`, 4],
    [`BEGIN;\n${add}\nCOMMIT AND CHAIN;\n${add}`, 3],
    [`BEGIN;\n${add}\nSAVEPOINT s;\nROLLBACK TO s;`, 1],
  ])("and does not end it: %j, found in line %i", (sql, line) => {
    expect(open(sql).map((one) => [one.severity, one.place?.line, one.allowed])).toEqual([
      ["error", line, null],
    ]);
  });

  test.each([
    `BEGIN;\n${add}\nCOMMIT;`,
    `BEGIN;\n${add}\nEND;`,
    `BEGIN;\n${add}\nROLLBACK;`,
    `${add}\nCOMMIT;`,
    add,
    "DO $$ BEGIN PERFORM 1; END $$;",
  ])("and ends it, or begins none: %j", (sql) => {
    expect(open(sql)).toEqual([]);
  });

  test("whose end Alembic prints, or which is allowed", () => {
    expect(open(`BEGIN;\n${add}`, null)).toEqual([]);
    for (const [comment, reason] of [
      ["entrypoint: allow open-transaction because another file ends it", "another file ends it"],
      ["squawk-ignore ban-uncommitted-transaction", "of squawk-ignore ban-uncommitted-transaction"],
    ] as const) {
      expect(open(`-- ${comment}\nBEGIN;\n${add}`).map(({ allowed }) => allowed)).toEqual([reason]);
    }
  });
});

describe("what is missing", () => {
  const gap = { id: "a1", cause: "alembic failed", cure: "mend it", line: null };

  test("a revision that Alembic could not print to its end is refused, unless it says why not", () => {
    const found = revisionReport("    helper()", "", [], [gap]);
    expect(found.incomplete).toBe(true);
    expect(refusals(found)).toMatchObject([
      { rule: "incomplete", revision: "a1", place: { line: 4 } },
    ]);
    const allowed = revisionReport(
      "    # entrypoint: allow incomplete because it reads\n    helper()",
      "",
      [],
      [gap],
    );
    expect(refusals(allowed)).toEqual([]);
    expect(allowed.findings).toMatchObject([{ rule: "incomplete", allowed: "it reads" }]);
  });

  test.each([[null], [["a1", "b2"]]])(
    "what nobody has printed: the revisions are %j",
    (pending) => {
      const source = { sql: "", file: null, pending, gaps: [{ ...gap, id: null }], origins: [] };
      const found = report(source, null, historyOf({}));
      expect(found).toMatchObject({ revisions: pending, incomplete: true });
      expect(found.findings).toMatchObject([{ rule: "incomplete", locks: null, work: null }]);
    },
  );

  test("so is what cannot be parsed", () => {
    const found = revisionReport("    helper()", "SELEC 1; CREATE INDEX i ON posts (n);");
    expect(found.findings.map(({ rule, sql }) => [rule, sql])).toEqual([
      ["create-index", "CREATE INDEX i ON posts (n)"],
      ["incomplete", "SELEC 1"],
    ]);
  });
});

describe("what is said once", () => {
  test("a lock that several statements of a migration hold for too long", () => {
    const validate = (name: string) => `ALTER TABLE posts VALIDATE CONSTRAINT ${name};`;
    const script = (more: string) =>
      `BEGIN;\nALTER TABLE posts ADD COLUMN m int;\n${validate("c")}\n${more}${validate("d")}\nCOMMIT;`;
    const found = (sql: string) =>
      report({ sql, file: "up.sql", pending: null, gaps: [] }).findings.map((one) => [
        one.rule,
        one.allowed,
        one.place?.line,
      ]);
    expect(found(script(""))).toEqual([["lock-held", null, 3]]);
    // What is allowed hides nothing.
    const allowed = script("").replace(
      validate("c"),
      `${validate("c")} -- entrypoint: allow lock-held because of it`,
    );
    expect(found(allowed)).toEqual([
      ["lock-held", "of it", 3],
      ["lock-held", null, 4],
    ]);
  });

  test("a file that creates a table and indexes it is safe, without a database too", () => {
    const sql =
      "CREATE TABLE t (a int);\nCREATE INDEX i ON t (a);\nALTER TABLE t ALTER a SET NOT NULL;";
    expect(report({ sql, file: "up.sql", pending: null, gaps: [] }).findings).toEqual([]);
    const other = `${sql}\nCREATE INDEX j ON posts (a);`;
    expect(report({ sql: other, file: "up.sql", pending: null, gaps: [] }).findings).toHaveLength(
      1,
    );
  });
});

describe("formats", () => {
  const sql =
    "SELECT 1;\n  ALTER TABLE posts ALTER n SET NOT NULL;\n-- entrypoint: allow create-index because of 100%, we know: yes\nCREATE INDEX i ON small (n);";
  const catalog = catalogOf({
    posts: { rows: 30_000_000, columns: ["n int4"] },
    small: { rows: 5 },
  });
  const found = report({ sql, file: "/srv/app/up.sql", pending: null, gaps: [] }, catalog);
  const root = { directory: "/srv" };

  test("for people: the line as it is written, what is marked, the lock and the safe form", () => {
    const text = formatText(found, "/srv/app", false);
    expect(text).toContain(
      `error[set-not-null] SET NOT NULL reads every row of posts, and fails if one has NULL in n
 --> up.sql:2:3
  |
2 |   ALTER TABLE posts ALTER n SET NOT NULL;
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = lock: ACCESS EXCLUSIVE on posts: blocks reads and writes, for roughly 15 s (about 30,000,000 rows to read)
  = safe form:
    -- 1. the column may be NULL`,
    );
    expect(text).toContain("note, allowed[create-index]");
    expect(text).toContain("= allowed: because of 100%, we know: yes");
    expect(text.split("\n").at(-1)).toBe("1 error, 1 allowed in 3 statements");
    expect(formatText(found, "/srv/app", true)).toContain(
      "\u001B[1;31merror[set-not-null]\u001B[0m",
    );
  });

  test("as JSON: one object", () => {
    const printed = JSON.parse(formatJson(found, root)) as Record<string, unknown>;
    expect(printed).toMatchObject({
      counts: { error: 1, warning: 0, note: 0 },
      incomplete: false,
      serverVersion: "16.4",
      findings: [
        {
          rule: "set-not-null",
          file: "app/up.sql",
          line: 2,
          column: 3,
          certain: true,
          allowed: null,
        },
        { rule: "create-index", allowed: "of 100%, we know: yes", work: { rows: 5 } },
      ],
    });
  });

  test("as annotations of GitHub Actions: a line each, with what would end it escaped", () => {
    const lines = formatGithub(found, root).split("\n");
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(
      /^::error file=app\/up.sql,line=2,col=3,endColumn=41,title=set-not-null::SET NOT NULL reads every row of posts, and fails if one has NULL in n%0AACCESS EXCLUSIVE on posts/,
    );
    expect(lines[1]).toMatch(/^::notice .*%0Aallowed because of 100%25, we know: yes$/);
  });

  test("as SARIF: rules, levels, regions and suppressions", () => {
    const sarif = JSON.parse(formatSarif(found, root)) as {
      runs: { tool: { driver: { rules: { id: string }[] } }; results: { ruleId: string }[] }[];
    };
    const [run] = sarif.runs;
    const ids = run?.tool.driver.rules.map(({ id }) => id) ?? [];
    for (const { ruleId } of run?.results ?? []) expect(ids).toContain(ruleId);
    expect(run?.results).toMatchObject([
      {
        ruleId: "set-not-null",
        level: "error",
        locations: [
          {
            physicalLocation: {
              artifactLocation: { uri: "app/up.sql", uriBaseId: "ROOT" },
              region: { startLine: 2, startColumn: 3, endColumn: 41 },
            },
          },
        ],
      },
      {
        ruleId: "create-index",
        level: "note",
        suppressions: [{ kind: "inSource", justification: "of 100%, we know: yes" }],
      },
    ]);
  });

  test("nothing unsafe is said in one line", () => {
    const nothing = report(
      { sql: "SELECT 1", file: "a.sql", pending: null, gaps: [] },
      catalogOf({}),
    );
    expect(formatText(nothing, "/srv", false)).toBe("nothing unsafe in 1 statement");
  });

  test("at head no database is needed, and none is reported as missing", () => {
    const source = { sql: "", file: null, pending: [], gaps: [] };
    expect(formatText(report(source, null), "/srv", false)).toBe(
      "nothing to lint: no statement is pending",
    );
  });
});
