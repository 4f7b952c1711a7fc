import { expect, test } from "vitest";
import { collectTail, findErrorLine } from "../../../src/migrate/error-line.ts";

const traceback = `INFO  [alembic.runtime.migration] Running upgrade  -> a1
Traceback (most recent call last):
  File "a.py", line 1, in f
    raise cause
psycopg.errors.DuplicateTable: relation "t" already exists

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "b.py", line 2, in g
    do()
    ^^^^
sqlalchemy.exc.ProgrammingError: (psycopg.errors.DuplicateTable) relation "t" already exists
[SQL: create table t (id int)]
(Background on this error at: https://sqlalche.me/e/21/f405)
`;

test.each([
  [
    "the exception of a traceback",
    traceback,
    'sqlalchemy.exc.ProgrammingError: (psycopg.errors.DuplicateTable) relation "t" already exists',
  ],
  ["the last line", "INFO a\nERROR: b\nINFO  [x] c\n\n", "ERROR: b"],
  ["without colours", "\u001B[31mred\u001B[0m\n", "red"],
  ["of lines that only inform", "INFO  [x] a\n(Background on this error at: x)\n", null],
  ["of nothing", "", null],
  ["of a traceback that is cut off", "Traceback (most recent call last):\n  File", "File"],
])("%s", (_, text, expected) => {
  expect(findErrorLine(text)).toBe(expected);
});

test("a long line is cut, and only the end of the output is held", () => {
  expect(findErrorLine("x".repeat(2_000))).toBe(`${"x".repeat(500)}…`);
  const tail = collectTail();
  for (let line = 0; line < 20_000; line++) tail.add(Buffer.from(`line ${line}\n`));
  expect(tail.text()).toHaveLength(65_536);
  expect(findErrorLine(tail.text())).toBe("line 19999");
});
