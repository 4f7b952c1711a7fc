// What may be believed of a revision file, and what makes it "cannot tell". That the believed values are those
// which Python binds is compared in test/process/alembic/oracle.test.ts.

import { expect, test } from "vitest";

import { readVariables } from "../../../../../src/tools/alembic/files/literals.ts";

function read(source: string): Record<string, unknown> {
  const answer = readVariables(Buffer.from(source));
  if (answer.kind === "cannot-tell") throw new Error(answer.reason);
  return answer.variables;
}

const x = { kind: "string", value: "x" };

test("reads a file as Alembic's own template makes it", () => {
  const source = `"""create users

Revision ID: ffffffffffff
Revises: eeeeeeeeeeee

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = 'a1b2c3d4e5f6'
down_revision: Union[str, Sequence[str], None] = ('000000000000', "111111111111")
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    """Upgrade schema."""
    op.create_table('users', sa.Column('revision', sa.String(), nullable=False))
    down_revision = "not this"


def downgrade() -> None:
    op.drop_table('users')
`;
  expect(read(source)).toEqual({
    revision: { kind: "string", value: "a1b2c3d4e5f6" },
    down_revision: { kind: "sequence", type: "tuple", items: ["000000000000", "111111111111"] },
    branch_labels: { kind: "none" },
    depends_on: { kind: "none" },
  });
});

test.for([
  "revision = 'x'",
  "revision: Final[str] = 'x'",
  "revision = 'y'\nrevision = 'x'",
  "a = revision = b = 'x'",
  "a, revision, b = 1, 'x', None",
  "from os import *\nrevision = 'x'",
  "try:\n    revision = 'y'\nexcept Exception:\n    pass\nrevision = 'x'",
  "revision = 'x'\nclass A:\n    revision = 1\n    class B: revision = 2",
  "revision = 'x'\nif True:\n    class A:\n        revision = 1\n    def f():\n        revision = 2",
  "revision = 'x'\nif a.revision == f(revision=1): pass",
  "revision = 'x'\nprint(revision)\nx.revision = 1\nx[revision] = 2\n[1 for revision in x]",
  "revision = 'x'\nfor each in other: each.exit\n",
  "revision = 'x'\nimport a.revision\nfrom revision import a",
  "def f():\n    raise ValueError\n    exit()\n    locals()\nrevision = 'x'",
  "revision = 'x'\ndef f(): raise ValueError",
  "from app.modules.users import User\nimport app.modules\nrevision = 'x'",
  "revision = 'x'\nop.execute('exec globals')  # global revision",
  "revision = 'x'\ndef f():\n    op.execute('global')",
])("decides: %s", (source) => {
  expect(read(source)["revision"]).toEqual(x);
});

test.for([
  "revision = make()",
  "revision = 'a' + 'b'",
  "revision = f'a'",
  "revision = b'a'",
  "revision = other",
  "revision = 'a' if b else 'c'",
  "revision = '%s' % 1",
  "revision = 1",
  "revision = {}",
  "revision = {'a': 'b'}",
  "revision = ['a', None]",
  "revision = ('a', ('b',))",
  "revision, *rest = 'a', 'b'",
  "(revision, a) = b",
  "if a:\n    revision = 'x'",
  "if a: revision = 'x'",
  "revision = 'x'\nif a:\n    pass\nelse:\n    revision = 'y'",
  "revision = 'x'\nwith a as revision: pass",
  "revision = 'x'\nfor revision in a: pass",
  "revision = 'x'\nwhile a:\n    revision = 'y'",
  "revision = 'x'\ntry: pass\nexcept E as revision: pass",
  "revision = 'x'\nmatch a:\n    case revision: pass",
  "revision = 'x'\nfrom os import *",
  "revision = 'x'\nif a:\n    from os import *",
  "revision = 'x'\nimport a as revision",
  "revision = 'x'\nimport revision.a",
  "revision = 'x'\nfrom a import (b, revision)",
  "revision = 'x'\nfrom a import b as revision",
  "revision = 'x'\ndef revision(): pass",
  "revision = 'x'\nasync def revision(): pass",
  "revision = 'x'\nclass revision: pass",
  "revision = 'x'\ntype revision = str",
  "revision = 'x'\nrevision += 'y'",
  "revision = 'x'\ndel revision",
  "revision = 'x'\nprint(revision := 'y')",
  "revision = 'x'\ndef f(a=(revision := 'y')): pass",
])("is not certain of: %s", (source) => {
  expect(read(source)["revision"]).toMatchObject({ kind: "unknown" });
});

test.for([
  ["globals()['revision'] = 'y'", "globals()"],
  ["def f():\n    globals().update(a=1)", "globals()"],
  ["exec('revision = 1')", "exec()"],
  ["def f():\n    exec('')", "exec()"],
  ["eval('revision := 1')", "eval()"],
  ["locals()['revision'] = 1", "locals()"],
  ["vars()['revision'] = 1", "vars()"],
  ["setattr(module, 'revision', 1)", "setattr()"],
  ["import sys as s\ndef f():\n    setattr(s.modules[__name__], 'revision', 1)", ".modules"],
  ["from sys import modules", "sys.modules"],
  ["def f():\n    global a, revision", "declares revision global"],
  ["class A:\n    global revision", "declares revision global"],
  ["module.__dict__['revision'] = 1", "__dict__"],
  ["raise RuntimeError", "raise"],
  ["if a:\n    raise RuntimeError", "raise"],
  ["if a: raise RuntimeError", "raise"],
  ["class A:\n    raise RuntimeError", "raise"],
  ["sys.exit(0)", "exit()"],
  ["try:\n    quit()\nfinally: pass", "quit()"],
  ["os._exit(1)", "_exit()"],
  ["assert False", "assert"],
  ["def __getattr__(name): return 'x'", "__getattr__"],
  ["x = '", "never closed"],
  ["x = (", "never closed"],
])("refuses a file with %j", ([source, reason]) => {
  const answer = readVariables(Buffer.from(`revision = 'x'\n${source}\n`));
  expect(answer).toEqual({ kind: "cannot-tell", reason: expect.stringContaining(reason ?? "") });
});

test("refuses ids beyond ASCII in an encoding that it does not decode exactly", () => {
  const source = Buffer.from("# coding: latin-1\nx = 'é'\nrevision = 'x'\n", "latin1");
  expect(readVariables(source)).toMatchObject({ kind: "known", variables: { revision: x } });
  const named = Buffer.from("# coding: latin-1\nrevision = 'é'\n", "latin1");
  expect(readVariables(named)).toMatchObject({ kind: "cannot-tell" });
});

test("a name that is never bound is absent, an annotation alone binds nothing", () => {
  expect(read("depends_on: str\n")["depends_on"]).toEqual({ kind: "absent" });
});

test("a large file is read whole, and in good time", () => {
  const filler = `def upgrade():\n${'    op.execute("""insert into x values (1, \'it\'\'s\') -- """)\n'.repeat(12_000)}`;
  expect(filler.length).toBeGreaterThan(650_000);
  expect(read(`revision = 'y'\n${filler}revision = 'x'\n`)["revision"]).toEqual(x);
});

test.for<[string, string, boolean]>([
  ["revision = 'x'", "", true],
  ['"""one\n\ntwo\n"""\nrevision = "x"', "one\n\ntwo", true],
  ["# a comment\n'one' ' two'; revision = 'x'", "one two", true],
  [String.raw`'it\'s \x41'`, "it's A", true],
  ["r'''\\d'''", "\\d", true],
  ["('one')", "one", true],
  ["import os\n'''no'''", "", true],
  ["f'no'", "", true],
  ["b'no'", "", true],
  ["x = 'no'", "", true],
  // Only Python knows the name; and it changes the next two from 3.13 on.
  [String.raw`'\N{BULLET}'`, "", false],
  ["'''one\n\n    two\n    '''", "one\n\n    two", false],
  ["'''one\ttwo'''", "one\ttwo", false],
  ["'one'\n__doc__ = 'two'", "one", false],
])("the docstring of %j", ([source, text, certain]) => {
  expect(readVariables(Buffer.from(source))).toMatchObject({ doc: { text, certain } });
});

// Python takes an identifier in full-width letters for the one in plain letters (PEP 3131), in the body of a function too.
test.for(["globals", "ｇｌｏｂａｌｓ"])("%s() in a function leaves doubt", (name) => {
  const lines = [
    "revision = 'a1'",
    "down_revision = None",
    "def f():",
    `    ${name}()['revision'] = 'b2'`,
    "f()",
  ];
  const answer = readVariables(Buffer.from(lines.join("\n")));
  expect(answer).toEqual({ kind: "cannot-tell", reason: "line 4 uses globals()" });
});
