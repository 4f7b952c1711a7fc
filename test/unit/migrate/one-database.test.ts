// Which two URLs may be one database, and what is said where they cannot be.

import { expect, test } from "vitest";
import { Failure } from "../../../src/failure.ts";
import { requireOneDatabase } from "../../../src/migrate/one-database.ts";
import { readDatabase } from "../../../src/settings/database.ts";

/** What is thrown, or logged as a warning; null where the two may be one. */
function compare(given: string, configured: string, by: "variable" | "flag" = "variable") {
  const warnings: string[] = [];
  const quiet = () => undefined;
  const log = { trace: quiet, debug: quiet, info: quiet, error: quiet, fatal: quiet };
  const setting = readDatabase(
    by === "flag" ? { databaseUrl: given } : {},
    by === "flag" ? {} : { DATABASE_URL: given },
    [],
    [],
  );
  if (setting === null) throw new Error(`${given} is no URL`);
  try {
    requireOneDatabase(
      { log: { ...log, warn: (_, text) => void warnings.push(text) }, env: {} },
      setting,
      { url: configured, from: "sqlalchemy.url" },
    );
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    expect(error).toMatchObject({ code: "bad-settings" });
    return error.message;
  }
  return warnings[0] ?? null;
}

test.each([
  ["postgresql://a:x@db/blog", "postgresql+psycopg://b:y@db:5432/blog"],
  ["postgresql://db/blog", "postgresql://DB.default.svc.cluster.local/blog"],
  ["postgresql://localhost/blog", "postgresql://127.0.0.1/blog"],
  ["postgresql:///blog", "postgresql://localhost/blog"],
  ["postgresql:///blog?host=/tmp", "postgresql://[::1]/blog"],
  ["postgresql://a,b/blog", "postgresql://b/blog"],
  ["postgresql://blog@db/", "postgresql://db/blog"],
  ["mysql://db/blog", "sqlite:///blog.db"],
  // The tool itself reports what is wrong with it.
  ["postgresql://db/blog", "postgresql://db:none/blog"],
])("%s and %s may be one database", (given, configured) => {
  expect(compare(given, configured)).toBeNull();
});

test.each([
  ["postgresql://u:S3CRET@db/blog", "postgresql://u:S3CRET@db/shop"],
  ["postgresql://db/blog", "postgresql://localhost/blog"],
  ["postgresql://db/blog", "postgresql://db2/blog"],
  ["postgresql://db/blog", "postgresql://db:5433/blog"],
  ["postgresql://db/blog", "sqlite:///blog.db"],
  ["mysql://db/blog", "postgresql://db/blog"],
])("%s and %s are two: both are named without a password", (given, configured) => {
  const message = compare(given, configured);
  expect(message).toMatch(
    /^the migration command uses only sqlalchemy.url, which names .*, and DATABASE_URL names /,
  );
  expect(message).not.toContain("S3CRET");
});

test("a flag is the user's word", () => {
  expect(compare("postgresql://db/blog", "postgresql://db/shop", "flag")).toBe(
    "Looking at another database: the migration command uses only sqlalchemy.url, which names postgresql://db:5432/shop, and --database-url names postgresql://db:5432/blog",
  );
});
