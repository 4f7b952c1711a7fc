// A boot behind a real PgBouncer, in each of its modes and with pools that are too small: nothing waits for itself.
// @runs-on executable

import { expect } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { missingPgBouncer, startPgBouncer } from "../harness/pgbouncer.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { testUnless } from "../supervise/harness/supervised.ts";

const test = testUnless(missingPgBouncer);
const app = ["echo", "the app was started"];

async function bootThrough(
  mode: Parameters<typeof startPgBouncer>[1],
  words: readonly string[] = app,
) {
  const DATABASE_URL = await startPgBouncer(await createTestDatabase(), mode);
  // psycopg's own prepared statements do not go with a pooler of transactions.
  const cwd = createProject([{ id: "a1" }, { id: "b2" }], {
    env: `import os
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"], connect_args={"prepare_threshold": None})
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
`,
  });
  return runEntrypoint([...words], { cwd, env: { DATABASE_URL } });
}

test.each([
  { mode: "transaction", size: 2 },
  { mode: "transaction", size: 5 },
  { mode: "session", size: 3 },
] as const)("$mode pooling with $size server connections", async (mode) => {
  const run = await bootThrough(mode);
  expect(run.code, run.stderr).toBe(0);
  expect(run.stdout).toContain("the app was started");
  const warning = run.lines.find(({ event }) => event === "pooler");
  expect(warning?.msg).toContain("The database is reached through a pooler: an open transaction");
});

test.each([
  { mode: "transaction", size: 1, lacking: "second" },
  { mode: "session", size: 1, lacking: "second" },
  { mode: "session", size: 2, lacking: "third" },
] as const)("69: $mode pooling with $size, known before the migration", async (row) => {
  const run = await bootThrough(row);
  expect(run.code, run.stderr).toBe(69);
  expect(run.stdout).not.toContain("the app was started");
  expect(run.lines.map(({ event }) => event)).not.toContain("migrating");
  expect(run.lines.at(-1)?.msg).toBe(
    `the pooler gives no ${row.lacking} server connection beside the one whose transaction holds the migration lock: none in 5 s`,
  );
  expect(run.lines.at(-1)?.["hint"]).toContain("pool size");
});

test.each([
  { words: app },
  { words: ["wait", "--wait-timeout", "20s", ...app] },
  { words: ["downgrade", "--force", "base"] },
])("64: statement pooling: $words", async ({ words }) => {
  const run = await bootThrough({ mode: "statement", size: 5 }, words);
  expect(run.code, run.stderr).toBe(64);
  expect(run.stdout).not.toContain("the app was started");
  expect(run.lines.at(-1)).toMatchObject({
    msg: "the database is reached through a pooler in statement mode, which allows no transaction",
    hint: expect.stringContaining("pool_mode"),
  });
});
