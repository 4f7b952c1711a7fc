// Arguments, variables and URLs that nobody would write: each is read, or refused by a Failure that repeats no password.

import fc from "fast-check";
import { beforeAll, expect, test, vi } from "vitest";
import { Failure } from "../../../src/failure.ts";
import { mask } from "../../../src/log/mask.ts";
import { BadUrl, describeAddress, parseDatabaseUrl } from "../../../src/postgres/url.ts";
import { parseArguments } from "../../../src/settings/cli.ts";
import { readSettings } from "../../../src/settings/reading.ts";
import { mutated } from "../harness/mutations.ts";

beforeAll(() => void vi.stubGlobal("ENTRYPOINT_VERSION", "1.2.3"));

/** As the log writes it. */
const said = (error: Error) => mask(error.message);

/** Of the letters that no edit inserts in a row, so that each of them that is said comes from the password. */
const password = "Qx7Qx7Qx7Qx7";
const piece = "Qx7Qx7";

const urls = [
  `postgresql://blog:${password}@db:5432/blog?sslmode=require&options=-csearch_path%3Dx`,
  `postgresql+asyncpg://blog:${password}@db/blog?ssl=require`,
  `postgresql+pg8000://blog:${password}@/blog?unix_sock=/tmp/x`,
  `postgresql://blog:${password}@[::1]:5432,db:5433/blog?target_session_attrs=primary`,
  `host=db port=5432 user=blog password='${password}' dbname=blog`,
  `mysql+pymysql://blog:${password}@db/blog`,
];
const urlWords = [
  "%",
  "%00",
  "%zz",
  "@",
  ":",
  "/",
  "//",
  "?",
  "&",
  "=",
  "#",
  "[",
  "]",
  ",",
  "'",
  "\\",
  " ",
  "\n",
  "host=",
  "hostaddr=",
  "port=",
  "port=99999",
  "sslmode=",
  "service=x",
  "dbname=",
  "options=",
  "\0",
  "postgresql://",
  "+",
  "é",
  "\uD800",
];

test("database URLs", () => {
  fc.assert(
    fc.property(mutated(urls, urlWords), (text) => {
      try {
        const answer = parseDatabaseUrl(text, {});
        if (answer.kind === "postgres" && answer.address.password?.includes(piece)) {
          expect(describeAddress(answer.address)).not.toContain(piece);
        }
      } catch (error) {
        if (!(error instanceof BadUrl)) throw error;
        expect(said(error)).not.toContain(piece);
      }
    }),
    { numRuns: 600, seed: 1 },
  );
});

const names = [
  "ENTRYPOINT_APP",
  "ENTRYPOINT_MIGRATE",
  "ENTRYPOINT_SETUP",
  "ENTRYPOINT_WAIT_TIMEOUT",
  "ENTRYPOINT_LOCK_TIMEOUT",
  "ENTRYPOINT_DDL_LOCK_TIMEOUT",
  "ENTRYPOINT_LINT",
  "ENTRYPOINT_ON_AHEAD",
  "ENTRYPOINT_USER",
  "ENTRYPOINT_VERSION_TABLE",
  "ENTRYPOINT_VERSIONS",
  "ENTRYPOINT_LOG_LEVEL",
  "PGHOST",
  "PGPORT",
  "PGSSLMODE",
  "PGOPTIONS",
];
const values = [
  "60s",
  "1e9",
  "-1",
  "0",
  "uvicorn app:app --port 8000",
  "alembic upgrade head",
  "'",
  '"',
  "$(x)",
  "a.b",
  "root",
  "error",
  "off",
];

test("arguments and variables", () => {
  const value = mutated(values, ["'", '"', "\\", "%", " ", "${DATABASE_URL}", "$", "\n", ";"]);
  const argument = mutated(
    [
      "--wait-timeout",
      "--migrate=x",
      "--",
      "migrate",
      "wait",
      "lint",
      "--setup",
      "-h",
      "--database-url",
      "status",
      "--json",
    ],
    ["-", "=", " ", "é"],
  );
  fc.assert(
    fc.property(
      fc.record({
        url: fc.option(mutated(urls, urlWords), { nil: undefined }),
        others: fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 5 }),
      }),
      fc.array(fc.oneof(argument, value), { maxLength: 4 }),
      ({ url, others }, args) => {
        try {
          const env = { ...others, DATABASE_URL: url };
          const parsed = parseArguments(args);
          if (parsed.kind === "boot") readSettings(parsed.invocation, env, "/srv");
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          expect(`${said(error)} ${mask(JSON.stringify(error.details))}`).not.toContain(piece);
        }
      },
    ),
    { numRuns: 600, seed: 1 },
  );
});
