// Where a finding is written, what was allowed and why, and how all of it is printed.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { formatText } from "../../src/lint/describe.ts";
import { formatGithub, formatJson, formatSarif } from "../../src/lint/machine-formats.ts";
import { refusals, reportOn, selectStatements, type Report } from "../../src/lint/report.ts";
import type { Source } from "../../src/lint/source.ts";
import { readScript } from "../../src/lint/statements.ts";
import type { Graph } from "../../src/migrations/alembic/graph.ts";
import { loadSqlParser } from "../../src/sql/parser.ts";
import { catalogOf } from "./lint.ts";

const parser = await loadSqlParser();

function report(source: Source, catalog: Parameters<typeof reportOn>[3]["catalog"] = null): Report {
  const script = selectStatements(readScript(parser, source.sql), source);
  return reportOn(parser, source, script, { catalog, smallRows: 10_000, ownTables: [] });
}

/** One revision `a1` with this body, for which Alembic has printed `sql`. */
function revisionReport(body: string, sql: string, gaps: Source["gaps"] = []): Report {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-lint-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "a1.py");
  writeFileSync(
    path,
    `from alembic import op\n\n\ndef upgrade():\n${body}\n\n\ndef downgrade():\n    op.drop_index("i")\n`,
  );
  const revision = { id: "a1", downRevisions: [], dependsOn: [], branchLabels: [], path };
  const graph = { revisions: new Map([["a1", revision]]), heads: ["a1"] } as unknown as Graph;
  return report({
    sql: `-- Running upgrade  -> a1\n${sql}`,
    file: null,
    pending: null,
    graph,
    gaps,
  });
}

describe("the place in the revision's file", () => {
  const place = (body: string, sql: string) => {
    const { findings } = revisionReport(body, sql);
    return findings.map((one) => [
      one.place?.line,
      one.place?.excerpt.slice((one.place.column ?? 1) - 1, one.place.endColumn - 1),
      one.place?.certain,
    ]);
  };

  test.for([
    [
      "an operation",
      '    x = 1\n    op.create_index("i", "posts", ["n"])',
      "CREATE INDEX i ON posts (n)",
      6,
      'op.create_index("i", "posts", ["n"])',
    ],
    [
      "one of several lines",
      '    op.create_index(\n        "i",\n        "posts",\n        ["n"],\n    )',
      "CREATE INDEX i ON posts (n)",
      5,
      "op.create_index(",
    ],
    [
      "one in a batch",
      '    with op.batch_alter_table("posts") as batch:\n        batch.alter_column("n", nullable=False)',
      "ALTER TABLE posts ALTER COLUMN n SET NOT NULL",
      6,
      'batch.alter_column("n", nullable=False)',
    ],
    [
      "SQL in op.execute()",
      '    op.execute("CREATE INDEX i ON posts (n)")',
      "CREATE INDEX i ON posts (n)",
      5,
      "CREATE INDEX i ON posts (n)",
    ],
    [
      "SQL of several lines",
      '    op.execute(\n        """\nCREATE INDEX i\n  ON posts (n)\n"""\n    )',
      "CREATE INDEX i\n  ON posts (n)",
      7,
      "CREATE INDEX i",
    ],
    [
      "a string in two parts",
      '    op.execute("CREATE INDEX an_index ON "\n               "posts (n)")',
      "CREATE INDEX an_index ON posts (n)",
      5,
      "CREATE INDEX an_index ON",
    ],
  ] as const)("%s", ([, body, sql, line, marked]) => {
    const [found] = place(body, sql);
    expect(found?.[0]).toBe(line);
    expect(String(found?.[1])).toContain(marked.slice(0, 24));
    expect(found?.[2]).toBe(true);
  });

  test("what stands there twice is taken in order, and not for certain", () => {
    const body =
      '    op.create_index("i", "posts", ["n"])\n    op.drop_index("i")\n    op.create_index("i", "posts", ["m"])';
    const sql =
      "CREATE INDEX i ON posts (n); DROP INDEX CONCURRENTLY i; CREATE INDEX i ON posts (m)";
    expect(place(body, sql).map(([line, , certain]) => [line, certain])).toEqual([
      [5, false],
      [7, false],
    ]);
  });

  test.each([
    ["a computed statement", '    op.execute(f"CREATE INDEX {name} ON posts (n)")'],
    ["a helper's", "    helper()"],
    ["one in a comment alone", "    # CREATE INDEX i ON posts (n)\n    helper()"],
    ["one in downgrade() alone", "    helper()"],
  ])("of %s no more is certain than the function", (_, body) => {
    expect(place(body, "CREATE INDEX i ON posts (n)")).toEqual([[4, "def upgrade():", false]]);
  });
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
    for (const body of [
      `    # ${allow}\n${first}\n${second}`,
      `${first}  # ${allow}\n${second}`,
      `    # ${allow}\n    # and more\n${first}\n${second}`,
      `    op.create_index(\n        "i",\n        "posts",  # ${allow}\n        ["n"],\n    )\n${second}`,
    ]) {
      expect(verdicts(revisionReport(body, sql)).map((one) => one.slice(0, 3))).toEqual(expected);
    }
  });

  test("in the SQL: before the statement, in it, and behind it on its line", () => {
    for (const text of [
      `-- ${allow}\nCREATE INDEX i ON posts (n);\nCREATE INDEX j ON posts (m);`,
      `CREATE INDEX i\n  -- ${allow}\n  ON posts (n);\nCREATE INDEX j ON posts (m);`,
      `CREATE INDEX i ON posts (n); -- ${allow}\nCREATE INDEX j ON posts (m);`,
    ]) {
      const found = report({ sql: text, file: "up.sql", pending: null, graph: null, gaps: [] });
      expect(found.findings.map(({ allowed }) => allowed)).toEqual(["it is small", null]);
      expect(refusals(found)).toHaveLength(1);
    }
  });

  test("of another rule it holds nothing back; of several it may be one", () => {
    const allowed = (rules: string) => {
      const body = `    # entrypoint: allow ${rules} because it is small\n${first}`;
      return revisionReport(body, "CREATE INDEX i ON posts (n)").findings.map((one) => one.allowed);
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

  test("where nobody knows the line, one that stands beside no other operation counts", () => {
    const helper = `    # ${allow}\n    helper()\n${second}`;
    expect(verdicts(revisionReport(helper, sql)).map((one) => one.slice(1, 3))).toEqual([
      ["i", "it is small"],
      ["j", null],
    ]);
    const beside = `    helper()\n    # ${allow}\n${second}`;
    expect(verdicts(revisionReport(beside, sql)).map((one) => one.slice(1, 3))).toEqual([
      ["i", null],
      ["j", "it is small"],
    ]);
  });
});

describe("what is missing", () => {
  const gap = { revision: "a1", cause: "alembic failed", cure: "mend it" };

  test("a revision that Alembic could not print to its end is refused, unless it says why not", () => {
    const found = revisionReport("    helper()", "", [gap]);
    expect(found.incomplete).toBe(true);
    expect(refusals(found)).toMatchObject([
      { rule: "incomplete", revision: "a1", place: { line: 4 } },
    ]);
    const allowed = revisionReport(
      "    # entrypoint: allow incomplete because it reads\n    helper()",
      "",
      [gap],
    );
    expect(refusals(allowed)).toEqual([]);
    expect(allowed.findings).toMatchObject([{ rule: "incomplete", allowed: "it reads" }]);
  });

  test("so is what cannot be parsed", () => {
    const found = revisionReport("    helper()", "SELEC 1; CREATE INDEX i ON posts (n);");
    expect(found.findings.map(({ rule, sql }) => [rule, sql])).toEqual([
      ["create-index", "CREATE INDEX i ON posts (n)"],
      ["incomplete", "SELEC 1"],
    ]);
  });
});

describe("formats", () => {
  const sql =
    "SELECT 1;\n  ALTER TABLE posts ALTER n SET NOT NULL;\n-- entrypoint: allow create-index because of 100%, we know: yes\nCREATE INDEX i ON small (n);";
  const catalog = catalogOf({
    posts: { rows: 30_000_000, columns: ["n int4"] },
    small: { rows: 5 },
  });
  const found = report(
    { sql, file: "/srv/app/up.sql", pending: null, graph: null, gaps: [] },
    catalog,
  );
  const root = { directory: "/srv" };

  test("for people: the line as it is written, what is marked, the lock and the safe form", () => {
    const text = formatText(found, "/srv/app", false);
    expect(text).toContain(
      `error[set-not-null] SET NOT NULL reads every row of posts, and fails if one has no n
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
      /^::error file=app\/up.sql,line=2,col=3,endColumn=41,title=set-not-null::SET NOT NULL reads every row of posts, and fails if one has no n%0AACCESS EXCLUSIVE on posts/,
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
      { sql: "SELECT 1", file: "a.sql", pending: null, graph: null, gaps: [] },
      catalogOf({}),
    );
    expect(formatText(nothing, "/srv", false)).toBe("nothing unsafe in 1 statement");
  });

  test("at head, where nothing is asked of a database, nothing is said of what it might know", () => {
    const source = { sql: "", file: null, pending: [], graph: null, gaps: [] };
    expect(formatText(report(source, null), "/srv", false)).toBe(
      "nothing to lint: no statement is pending",
    );
  });
});
