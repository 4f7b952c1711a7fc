// Boots behind a real Pgpool, which gives each client a session of its own and keeps it for the next one, with the name that it has.
// @runs-on executable

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { expect } from "vitest";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { missingPgpool, startPgpool } from "../harness/pgpool.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { testUnless } from "../supervise/harness/supervised.ts";

const test = testUnless(missingPgpool);
const app = ["echo", "the app was started"];

test("replicas migrate once, and the session that the pool keeps is no running migration", async () => {
  const url = await createTestDatabase();
  const cwd = createProject([{ id: "a1" }, { id: "b2" }]);
  const place = { cwd, env: { DATABASE_URL: await startPgpool(url) } };
  const runs = Array.from({ length: 4 }, () => startEntrypoint(app, place));
  const ends = await Promise.all(runs.map((run) => run.ended));
  expect(ends.map(({ code }) => code)).toEqual(runs.map(() => 0));
  const events = runs.flatMap((run) => run.lines().map(({ event }) => event));
  expect(events.filter((event) => event === "migrated")).toHaveLength(1);

  const second = await runEntrypoint(app, place);
  expect(second.code, second.stderr).toBe(0);
  expect(second.lines.map(({ event }) => event)).toContain("current");

  // The second boot may have got the migration's session from the pool, and given it another name.
  const pooled = new URL(place.env.DATABASE_URL);
  pooled.searchParams.set("application_name", "entrypoint-migration 1");
  const client = new Client({ connectionString: pooled.href });
  await client.connect();
  await client.end();
  const server = await connectClient(url);
  const count = async () =>
    (
      await server.query(
        "select from pg_stat_activity where datname = current_database() and state = 'idle' and application_name like 'entrypoint-migration %'",
      )
    ).rowCount;
  await expect.poll(count).toBeGreaterThan(0);
  writeFileSync(
    join(cwd, "migrations/versions/c3.py"),
    'from alembic import op\nrevision = "c3"\ndown_revision = "b2"\n\ndef upgrade():\n    op.execute("create table t_c3 (id int)")\n',
  );
  const third = await runEntrypoint(app, place);
  expect(third.code, third.stderr).toBe(0);
  expect(third.lines.find(({ event }) => event === "migrated")).toMatchObject({ current: ["c3"] });
  expect(third.stdout).toContain("the app was started");
});
