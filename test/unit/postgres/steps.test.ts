// The safe forms as SQL. That a real server takes them is shown in test/process/lint/safe-forms.test.ts.

import { describe, expect, test } from "vitest";
import {
  commandStep,
  formatStep,
  makeStep,
  notNullStatements,
  notNullSteps,
  plainStatement,
  usingIndexSteps,
} from "../../../src/postgres/steps.ts";

const posts = { schema: null, name: "posts" };
const sqlOf = (major: number | null) => notNullSteps(posts, "left", major).map(formatStep);

describe("NOT NULL", () => {
  test("since PostgreSQL 18 it is a constraint that is NOT VALID at first", () => {
    expect(sqlOf(18)).toEqual([
      'ALTER TABLE posts ADD CONSTRAINT posts_left_not_null NOT NULL "left" NOT VALID;',
      "ALTER TABLE posts VALIDATE CONSTRAINT posts_left_not_null;",
    ]);
  });

  test.each([12, 17, null])("before that it relies on a CHECK (%s)", (major) => {
    expect(sqlOf(major)).toEqual([
      'ALTER TABLE posts ADD CONSTRAINT posts_left_not_null CHECK ("left" IS NOT NULL) NOT VALID;',
      [
        "ALTER TABLE posts VALIDATE CONSTRAINT posts_left_not_null;",
        'ALTER TABLE posts ALTER COLUMN "left" SET NOT NULL;',
        "ALTER TABLE posts DROP CONSTRAINT posts_left_not_null;",
      ].join("\n"),
    ]);
  });

  test("before PostgreSQL 12 the CHECK is all there is", () => {
    expect(sqlOf(11).join()).not.toContain("SET NOT NULL");
    expect(notNullStatements(posts, "left", 11).undo).toEqual([
      "ALTER TABLE posts DROP CONSTRAINT IF EXISTS posts_left_not_null",
    ]);
  });

  test("the statements are those of the steps, and can be run again", () => {
    const { run, undo } = notNullStatements(posts, "left", 18);
    expect(run[0]).toBe("ALTER TABLE posts DROP CONSTRAINT IF EXISTS posts_left_not_null");
    expect(run.slice(1).map((sql) => `${sql};`)).toEqual(sqlOf(18));
    expect(undo).toEqual(['ALTER TABLE posts ALTER COLUMN "left" DROP NOT NULL']);
  });
});

test("what must be outside of a transaction says so, in a migration of its own or in the middle of one", () => {
  const statement = plainStatement("SELECT 1");
  expect(formatStep(makeStep("", [statement, statement]))).toBe("SELECT 1;\nSELECT 1;");
  expect(formatStep(makeStep("", [statement], "outside"))).toBe("SELECT 1;");
  expect(formatStep(makeStep("", [statement], "between"))).toBe("COMMIT;\nSELECT 1;\nBEGIN;");
  expect(formatStep(commandStep("", ["entrypoint"]))).toBe("");
});

test("a unique constraint keeps what its index and itself have besides", () => {
  const steps = usingIndexSteps(posts, "u", "UNIQUE", ["order"], " INCLUDE (n)", " DEFERRABLE");
  expect(steps.map(formatStep)).toEqual([
    'CREATE UNIQUE INDEX CONCURRENTLY u ON posts ("order") INCLUDE (n);',
    "ALTER TABLE posts ADD CONSTRAINT u UNIQUE USING INDEX u DEFERRABLE;",
  ]);
  expect(steps.map(({ transaction }) => transaction)).toEqual(["outside", "inside"]);
});
