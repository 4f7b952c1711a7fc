// Files that nobody would write: each is read, or refused with a reason, in a time that grows with its length; and none of them
// makes a database look as if it were at head.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { Failure } from "../../../../../src/failure.ts";
import { readBodies } from "../../../../../src/tools/alembic/files/bodies.ts";
import { readConfig } from "../../../../../src/tools/alembic/files/config.ts";
import { getOption, parseIni } from "../../../../../src/tools/alembic/files/ini.ts";
import { readVariables } from "../../../../../src/tools/alembic/files/literals.ts";
import { readGraph, resolveState } from "../../../../../src/tools/alembic/graph.ts";
import { mutated } from "../../../harness/mutations.ts";
import { readAlembicCommand } from "../read-command.ts";

const runs = { numRuns: 200, seed: 1 };
const pythonWords = [
  '"""',
  "'''",
  '"',
  "'",
  "\\\n",
  "\n",
  "    ",
  "(",
  ")",
  "[",
  "]",
  "#",
  "=",
  ":",
  ",",
  ";",
  "if True:",
  "revision = ",
  "down_revision",
  "del revision",
  "global ",
  "f'{",
  "}'",
  "lambda: ",
  "\0",
  "\uFEFF",
  "async ",
  "match x:",
  "*",
  "**",
  "@",
  "->",
  "# -*- coding: latin-1 -*-",
  "exec('')",
  "class A:",
  "def f(): pass",
  "try:",
  "with open() as revision:",
  "import x as revision",
];
const revision = `"""words

Revision ID: b2
"""
from typing import Union, Sequence
from alembic import op
import sqlalchemy as sa

revision: str = "b2"
down_revision: Union[str, Sequence[str], None] = ("a1",)
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("n", sa.Integer(), nullable=True))
    if True:
        pass


def downgrade() -> None:
    op.drop_column("posts", "n")
`;

test("revision files", () => {
  fc.assert(
    fc.property(mutated([revision], pythonWords), (text) => {
      readVariables(text);
      readVariables(Buffer.from(text, "latin1"));
      readBodies(Buffer.from(text));
    }),
    runs,
  );
});

const ini = `[alembic]
# path
script_location = %(here)s/migrations
version_locations = %(here)s/a:%(here)s/b
  more
sqlalchemy.url = driver://user:pass@localhost/dbname

[loggers]
keys = root,sqlalchemy
`;

test("ini files", () => {
  const words = [
    "%",
    "%(",
    ")s",
    "%%",
    "%(here)s",
    "[",
    "]",
    "=",
    ":",
    "\n",
    "\r",
    "\n ",
    "[DEFAULT]\n",
    "[alembic]\n",
    "%(script_location)s",
  ];
  fc.assert(
    fc.property(mutated([ini], words), (text) => {
      const answer = parseIni(text, { here: "/srv" });
      if (answer.kind === "read") {
        for (const [section, options] of answer.ini.sections) {
          for (const option of options.keys()) getOption(answer.ini, section, option);
        }
      }
    }),
    runs,
  );
});

test.each([
  {
    name: "of %(name)s that doubles in each option",
    text: `[a]\n${Array.from({ length: 60 }, (_, n) => `o${n} = %(o${n + 1})s%(o${n + 1})s`).join("\n")}\n`,
    read: (text: string) => {
      const answer = parseIni(text, {});
      if (answer.kind === "read") getOption(answer.ini, "a", "o0");
    },
  },
  {
    name: "of spaces",
    text: `[a]\nb = ${" ".repeat(100_000)}x\n`,
    read: (text: string) => parseIni(text, {}),
  },
  { name: "of brackets", text: `revision = ${"(".repeat(50_000)}`, read: readVariables },
  { name: "of quotes", text: `revision = ${"'".repeat(100_001)}`, read: readVariables },
  { name: "of minus signs", text: `revision = ${"-".repeat(50_000)}1`, read: readVariables },
  { name: "of strings", text: `revision = ${"'a' ".repeat(50_000)}`, read: readVariables },
  {
    name: "of indents",
    text: Array.from({ length: 2_000 }, (_, n) => `${" ".repeat(n)}if x:`).join("\n"),
    read: readVariables,
  },
])("a file $name takes a moment", ({ text, read }) => {
  const startMs = performance.now();
  read(text);
  expect(performance.now() - startMs).toBeLessThan(10_000);
});

const toml = `[tool.alembic]
script_location = "%(here)s/migrations"
version_locations = ["%(here)s/a"]
prepend_sys_path = ["."]

[[tool.alembic.post_write_hooks]]
name = "x"
`;
const env = `from alembic import context
from sqlalchemy import engine_from_config
config = context.config
target_metadata = None

def run_migrations_online():
    connectable = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;

test("a project of such files never has a database at its head that holds no revision", async () => {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-hostile-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  const versions = join(cwd, "migrations", "versions");
  mkdirSync(versions, { recursive: true });
  const command = readAlembicCommand("alembic upgrade head");
  const tomlWords = [
    '"',
    "'",
    "[",
    "]",
    "=",
    "\n",
    '"""',
    "{",
    "}",
    ".",
    "%(here)s",
    "true",
    "1979-05-27",
    "\\u0000",
    "inf",
  ];
  const files = fc.record({
    ini: mutated(
      [ini.replace("version_locations", "# version_locations"), ""],
      ["%", "=", "\n", "[", "%(here)s"],
    ),
    toml: mutated([toml, ""], tomlWords),
    env: mutated([env], pythonWords),
    revision: mutated([revision, revision.replace('("a1",)', "None")], pythonWords),
  });
  await fc.assert(
    fc.asyncProperty(files, async (texts) => {
      writeFileSync(join(cwd, "alembic.ini"), texts.ini);
      writeFileSync(join(cwd, "pyproject.toml"), texts.toml);
      writeFileSync(join(cwd, "migrations", "env.py"), texts.env);
      writeFileSync(join(versions, "b2.py"), texts.revision);
      const options = { cwd, env: {}, versionTable: null, versions: [], tenant: null };
      try {
        const answer = await readConfig(command, options);
        if (answer.kind === "cannot-tell") return;
        const graph = readGraph(answer.config);
        if (graph.kind === "cannot-tell") return;
        const { state } = resolveState(graph.graph, command.target, [], false);
        // With no revision at all there is nothing to be behind of.
        if (graph.graph.revisions.size > 0) expect(state).not.toBe("current");
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
      }
    }),
    { numRuns: 150, seed: 1 },
  );
});
