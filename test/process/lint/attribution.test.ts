// Which line of a revision prints a statement, by real Alembic's own report; and so, which statement a comment allows.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { createProject } from "../harness/project.ts";

const offline = `from alembic import context
context.configure(dialect_name="postgresql")
with context.begin_transaction():
    context.run_migrations()
`;

interface Found {
  rule: string;
  object: string;
  revision: string;
  line: number;
  column: number;
  certain: boolean;
  allowed: string | null;
  message: string;
  advice: string;
}

async function lintHistory(upgrades: readonly string[], env = offline, more = "") {
  const cwd = createProject(
    upgrades.map((upgrade, index) => ({ id: `r${index}`, upgrade })),
    { env, ini: "[alembic]\nscript_location = migrations\nprepend_sys_path = .\n" },
  );
  writeFileSync(join(cwd, "blog_helpers.py"), `from alembic import op\n${more}`);
  const { code, stdout, stderr } = await runEntrypoint(["lint", "--json", "--range", "base:head"], {
    cwd,
  });
  const printed = JSON.parse(stdout === "" ? "{}" : stdout) as {
    findings: Found[];
    revisions: string[];
    statements: number;
  };
  const of = (index: number) => printed.findings.filter(({ revision }) => revision === `r${index}`);
  return { code, stderr, of, ...printed };
}

/** A revision's upgrade() begins in this line. */
const firstLine = 7;
const allow = "# entrypoint: allow create-index because it is small";

const index = (name: string, options = "") =>
  `op.create_index("${name}", "posts", ["n"]${options})`;

/** What upgrade() is, and the lines of what it finds, from its own first one. */
const places: readonly (readonly [string, string, readonly (readonly [string, number])[]])[] = [
  ["an operation", `x = 1\n${index("i")}`, [["i", 2]]],
  ["one of several lines", 'op.create_index(\n    "i",\n    "posts",\n    ["n"],\n)', [["i", 1]]],
  [
    "the same beginning",
    'op.execute("CREATE INDEX an_index_of_the_posts_by_a ON posts (a)")\nop.execute("CREATE INDEX an_index_of_the_posts_by_b ON posts (b)")',
    [
      ["an_index_of_the_posts_by_a", 1],
      ["an_index_of_the_posts_by_b", 2],
    ],
  ],
  [
    "the very same twice",
    `${index("i")}\nop.execute("DROP INDEX CONCURRENTLY i")\n${index("i")}`,
    [
      ["i", 1],
      ["DROP INDEX", 2],
      ["i", 3],
    ],
  ],
  [
    "operations of a batch",
    'with op.batch_alter_table("posts") as batch:\n    batch.create_index("i", ["n"])\n    batch.create_index("j", ["n"])',
    [
      ["i", 2],
      ["j", 3],
    ],
  ],
  [
    "one that is computed",
    'for name in ("x", "y"):\n    op.execute(f"CREATE INDEX {name} ON posts (n)")',
    [
      ["x", 2],
      ["y", 2],
    ],
  ],
  [
    "lines of one string",
    'op.execute("""\n    CREATE INDEX i ON posts (n);\n    CREATE INDEX j ON posts (n)\n""")',
    [
      ["i", 2],
      ["j", 3],
    ],
  ],
  ["a helper of the application", "import blog_helpers\nblog_helpers.create()", [["h", 2]]],
  ["a lambda", `create = lambda: ${index("i")}\n\ncreate()`, [["i", 1]]],
  ["what is written in a comment, too", `# CREATE INDEX i ON posts (n)\n${index("i")}`, [["i", 2]]],
];

test("the line is that of the call that prints it", async () => {
  const { findings, of } = await lintHistory(
    places.map(([, upgrade]) => upgrade),
    offline,
    `def create():\n    ${index("h")}\n`,
  );
  expect(
    places.map(([name], position) => [
      name,
      of(position)
        .map(({ object, line }) => [object, line - firstLine])
        .toSorted((a, b) => Number(a[1]) - Number(b[1])),
    ]),
  ).toEqual(places.map(([name, , expected]) => [name, expected]));
  expect(findings.every(({ certain }) => certain)).toBe(true);
});

test("a comment allows what it stands at, and nothing else", async () => {
  const twice = 'op.execute("CREATE INDEX an_index_of_the_posts_by_a ON posts (a)")';
  const cases: readonly (readonly [string, readonly boolean[]])[] = [
    [`${allow}\n${index("i")}\n${index("j")}`, [true, false]],
    [`${index("i")}  ${allow}\n${index("j")}`, [true, false]],
    [`${index("i")}\n${allow}\n${index("j")}`, [false, true]],
    [
      `op.create_index(\n    "i",\n    "posts",  ${allow}\n    ["n"],\n)\n${index("j")}`,
      [true, false],
    ],
    // The same words, and another statement.
    [`${twice}\n${allow}\n${twice.replace("by_a", "by_b")}`, [false, true]],
    [`${allow}\n${twice}\n${twice.replace("by_a", "by_b")}`, [true, false]],
    [
      `with op.batch_alter_table("posts") as batch:\n    batch.create_index("i", ["n"])\n    ${allow}\n    batch.create_index("j", ["n"])`,
      [false, true],
    ],
    // On one line it may be about either.
    [`${index("i")}; ${index("j")}  ${allow}`, [false, false]],
    // It stands at the end of the first string, and at no statement.
    [
      `op.execute("CREATE INDEX i ON posts (n);\\n-- ${allow.slice(2)}")\n${index("j")}`,
      [false, false],
    ],
    // Far from any statement.
    [`${allow}\nx = 1\n${index("i")}\n${index("j")}`, [false, false]],
    [`'''\n${allow}\n'''\n${index("i")}\n${index("j")}`, [false, false]],
  ];
  const { of } = await lintHistory(cases.map(([upgrade]) => upgrade));
  expect(
    cases.map(([upgrade], position) => [
      upgrade,
      of(position)
        .toSorted((a, b) => (a.object < b.object ? -1 : 1))
        .map(({ allowed }) => allowed !== null),
    ]),
  ).toEqual(cases.map(([upgrade, expected]) => [upgrade, expected]));
});

test("what a revision and env.py print to standard output is no SQL", async () => {
  const { findings, of } = await lintHistory(
    [`print("DROP TABLE users;")\n${index("i")}\nprint("it's")`],
    `print("BEGIN; what is this")\n${offline}`,
  );
  expect(findings).toHaveLength(1);
  expect(of(0)).toMatchObject([{ object: "i", line: firstLine + 2 }]);
});

test("each of thirty revisions that cannot be printed is named, with its line and its error, and the others are read", async () => {
  const reading = 'x = 1\nop.get_bind().exec_driver_sql("select 1").fetchall()';
  const { findings, revisions } = await lintHistory(
    Array.from({ length: 31 }, (_, number) => (number === 30 ? index("last") : reading)),
  );
  expect(revisions).toHaveLength(31);
  const gaps = findings.filter(({ rule }) => rule === "incomplete");
  expect(gaps.map(({ object }) => object)).toEqual(
    Array.from({ length: 30 }, (_, number) => `r${number}`),
  );
  expect(gaps[0]).toMatchObject({ line: firstLine + 2 });
  expect(gaps[0]?.message).toMatch(/to its end: AttributeError: .* has no attribute/);
  expect(findings.filter(({ rule }) => rule === "create-index")).toHaveLength(1);
});

test("values that env.py leaves bound are no gap", async () => {
  const { findings } = await lintHistory(
    [
      'import sqlalchemy as sa\nt = sa.table("posts", sa.column("n", sa.Integer), sa.column("title", sa.Text))\nop.execute(t.update().where(t.c.n == 5).values(title="50 % of :all"))\nop.bulk_insert(t, [{"n": 1, "title": "it\'s"}])\nop.create_index("i", "posts", ["n"])',
    ],
    offline.replace('"postgresql"', '"postgresql", literal_binds=False'),
  );
  expect(findings.map(({ rule }) => rule)).toEqual(["create-index", "change-many-rows"]);
});

test("each revision has its own transaction where the online function says so", async () => {
  const online = `${offline}
def run_migrations_online():
    context.configure(connection=None, transaction_per_migration=True)
`;
  const revisions = [
    'op.execute("ALTER TABLE posts ADD CONSTRAINT c CHECK (n > 0) NOT VALID")',
    'op.execute("ALTER TABLE posts VALIDATE CONSTRAINT c")',
  ];
  const own = await lintHistory(revisions, online);
  expect(own.findings).toEqual([]);
  const shared = await lintHistory(revisions);
  expect(shared.findings.map(({ rule }) => rule)).toEqual(["lock-held"]);
});

test("a Python that nobody can ask leaves the lines in doubt, and no comment counts", async () => {
  const cwd = createProject([{ id: "a1", upgrade: `${allow}\n${index("i")}` }], { env: offline });
  const { code, stdout } = await runEntrypoint(
    ["lint", "--json", "--range", "base:head", "--migrate", "python -E -m alembic upgrade head"],
    { cwd },
  );
  expect(JSON.parse(stdout)).toMatchObject({
    findings: [{ rule: "create-index", line: 7, certain: false, allowed: null }],
  });
  expect(code).toBe(65);
});
