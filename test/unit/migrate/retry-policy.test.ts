// The policy of --ddl-lock-timeout: how long each try may wait, how long the pauses are, when it is over, and which
// outputs tell of a lock time-out. The outputs are those of the drivers, shortened.

import { expect, test } from "vitest";

import {
  endedByLockTimeout,
  lockTimeoutOf,
  pauseAfter,
} from "../../../src/migrate/retry-policy.ts";

const unchanged = (delayMs: number) => delayMs;

test("the first tries are short, and all others as long as the user allows", () => {
  const tries = [1, 2, 3, 4, 5, 50];
  expect(tries.map((attempt) => lockTimeoutOf(attempt, 5_000))).toEqual([
    500, 500, 1_000, 5_000, 5_000, 5_000,
  ]);
});

test("the pauses grow from one second to half a minute", () => {
  const room = { triedForMs: 0, limitMs: 600_000 };
  const pauses = [1, 2, 3, 4, 5, 6, 7, 1_000].map((n) => pauseAfter(n, room, unchanged));
  expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  expect(pauseAfter(3, room, (delayMs) => delayMs / 2)).toBe(2_000);
});

test("it is over where the pause would pass the limit, and a limit of 0 is a single try", () => {
  expect(pauseAfter(1, { triedForMs: 9_000, limitMs: 10_000 }, unchanged)).toBe(1_000);
  expect(pauseAfter(1, { triedForMs: 9_001, limitMs: 10_000 }, unchanged)).toBeNull();
  expect(pauseAfter(1, { triedForMs: 0, limitMs: 0 }, unchanged)).toBeNull();
});

const traceback = 'Traceback (most recent call last):\n  File "env.py", line 1, in <module>\n';
const because = "\n\nThe above exception was the direct cause of the following exception:\n\n";
const meanwhile = "\n\nDuring handling of the above exception, another exception occurred:\n\n";
const tail =
  "\n[SQL: alter table busy add c int]\n(Background on this error at: https://sqlalche.me/e)\n";
const psycopg = "psycopg.errors.LockNotAvailable: canceling statement due to lock timeout";
const pg8000 =
  "pg8000.dbapi.ProgrammingError: {'S': 'ERROR', 'V': 'ERROR', 'C': '55P03', 'M': 'canceling statement due to lock timeout'}";

test.each([
  [
    "psycopg",
    `${traceback}${psycopg}${because}${traceback}sqlalchemy.exc.OperationalError: (psycopg.errors.LockNotAvailable) canceling statement due to lock timeout${tail}`,
  ],
  [
    "psycopg in another language",
    `${traceback}psycopg.errors.LockNotAvailable: Anweisung wird abgebrochen${tail}`,
  ],
  [
    "asyncpg, whose class the last exception does not name",
    `${traceback}asyncpg.exceptions.LockNotAvailableError: annulation${because}${traceback}AsyncAdapt_asyncpg_dbapi.Error: annulation${because}${traceback}sqlalchemy.exc.DBAPIError: annulation${tail}`,
  ],
  ["pg8000", `${traceback}${pg8000}${meanwhile}${traceback}${pg8000}${tail}`],
  ["psql", "psql:a.sql:1: ERROR:  canceling statement due to lock timeout\n"],
  ["psql with \\set VERBOSITY verbose", "ERROR:  55P03: Anweisung wird abgebrochen\n"],
  [
    "an error that is raised from it",
    `${traceback}${psycopg}${because}${traceback}RuntimeError: no\n`,
  ],
  [
    "NOWAIT",
    `${traceback}psycopg.errors.LockNotAvailable: could not obtain lock on relation "busy"${tail}`,
  ],
  ["what was logged, and no exception", `ERROR [env] failed: ${psycopg}\n`],
  ["a deadlock", `${traceback}psycopg.errors.DeadlockDetected: deadlock detected${tail}`],
  [
    "a deadlock of asyncpg's",
    `${traceback}asyncpg.exceptions.DeadlockDetectedError: Verklemmung${tail}`,
  ],
  ["a deadlock of pg8000's", `${traceback}${pg8000.replace("55P03", "40P01")}${tail}`],
  ["a deadlock of psql's", "psql:a.sql:1: ERROR:  deadlock detected\n"],
  ["the cut end of a traceback", `iver.py", line 9\n${psycopg}${tail}`],
])("a lock time-out or a deadlock: %s", (_driver, errors) => {
  expect(endedByLockTimeout(errors)).toBe(true);
});

test.each([
  ["nothing", ""],
  ["another failure", `${traceback}psycopg.errors.DivisionByZero: division by zero${tail}`],
  [
    "another failure, after a lock time-out that was logged",
    `${traceback}${psycopg}${tail}${traceback}psycopg.errors.DivisionByZero: division by zero${tail}`,
  ],
  [
    "another failure, while one was handled",
    `${traceback}${psycopg}${meanwhile}${traceback}ValueError: no\n`,
  ],
  [
    "SQL that speaks of it",
    `${traceback}sqlalchemy.exc.ProgrammingError: syntax error\n[SQL: do $$ exception when sqlstate '55P03' or lock_not_available $$]\n`,
  ],
  [
    "a statement time-out",
    `${traceback}psycopg.errors.QueryCanceled: canceling statement due to statement timeout${tail}`,
  ],
])("no lock time-out: %s", (_what, errors) => {
  expect(endedByLockTimeout(errors)).toBe(false);
});
