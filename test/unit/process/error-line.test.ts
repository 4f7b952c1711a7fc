import { expect, test } from "vitest";
import { collectTail, findErrorLine } from "../../../src/process/error-line.ts";

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
  [
    "what stands below a colon",
    "INFO a\nError running it: Validation Failed:\n     1 checksum\n          a::1 was: 9:0\n\nFor more, use --log-level\n",
    "Error running it: Validation Failed: 1 checksum a::1 was: 9:0",
  ],
  [
    "what Django's checks find",
    "SystemCheckError: System check identified some issues:\n\nERRORS:\n?: (admin.E403) No templates.\n\tHINT: add some\n\n",
    "SystemCheckError: System check identified some issues: ERRORS: ?: (admin.E403) No templates. HINT: add some",
  ],
  ["a colon with nothing below", "ERROR: it failed:\n\n", "ERROR: it failed:"],
  [
    "psql's, and not what it adds",
    'psql:a.sql:1: ERROR:  column "x" does not exist\nLINE 1: select x from error\n               ^\nHINT:  Perhaps\n',
    'psql:a.sql:1: ERROR:  column "x" does not exist',
  ],
  [
    "psql's, whose hint goes on",
    "psql: error: connection to server failed: No such file\n\tIs the server running locally?\n",
    "psql: error: connection to server failed: No such file",
  ],
  [
    "what Node has not caught",
    `/app/x.js:1
throw new Error('relation "t" already exists');
^

Error: relation "t" already exists
    at Object.<anonymous> (/app/x.js:1:7)
    at onError (node:internal/main/run_main_module:28:49) {
  code: '42P07'
}

Node.js v20.20.2
`,
    'Error: relation "t" already exists',
  ],
  [
    "the cause of a stack of Java's",
    'Exception in thread "main" a.FlywayException: failed\n\tat a.b(C.java:1)\nCaused by: org.postgresql.util.PSQLException: ERROR: no\n\tat d.e(F.java:2)\n\t... 7 more\n',
    "Caused by: org.postgresql.util.PSQLException: ERROR: no",
  ],
  [
    "Rails', without its task",
    "rails aborted!\nPG::DuplicateTable: ERROR:  relation exists\n/app/db/migrate/1.rb:3:in 'change'\n\nTasks: TOP => db:migrate\n(See full trace by running task with --trace)\n",
    "PG::DuplicateTable: ERROR:  relation exists",
  ],
  [
    "what the script said, and not that npm saw it fail",
    "cannot connect\nnpm error Lifecycle script `migrate` failed with error:\nnpm error code 3\n",
    "cannot connect",
  ],
  [
    "npm's own",
    'npm error Missing script: "nope"\nnpm error\nnpm error A complete log of this run can be found in: x\n',
    'npm error Missing script: "nope"',
  ],
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
