// Python takes an identifier in full-width letters for the one in plain letters (PEP 3131), in the body of a function too.

import { expect, test } from "vitest";

import { readVariables } from "../../src/migrations/alembic/literals.ts";

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
