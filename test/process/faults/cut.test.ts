// A connection that is cut once, at the steps of a boot that the matrix leaves out: nothing is half done there, so the boot connects again and goes on.
// @runs-on executable

import { expect, test } from "vitest";
import { migrationLockKey, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy } from "../harness/proxy.ts";
import { directly, steps } from "./steps.ts";

test.each(steps.filter(({ column }) => column === undefined))(
  "at the step: $name",
  async ({ query, nth, waiting }) => {
    const url = await createTestDatabase();
    const proxy = await startProxy(url);
    const holder = await connectClient(url);
    if (waiting) await holder.query(`select pg_advisory_lock(${migrationLockKey})`);
    void proxy.failAt(query, nth, "cut");
    const run = startEntrypoint(["echo", "the app was started"], {
      cwd: createProject([{ id: "a1" }], { env: directly() }),
      env: { DATABASE_URL: proxy.url, DIRECT_URL: url },
    });
    if (waiting) {
      await run.event("connection-lost");
      await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
    }
    expect((await run.ended).code, run.stderr()).toBe(0);
    expect(run.stdout()).toContain("the app was started");
    expect(run.lines().filter(({ event }) => event === "migrating")).toHaveLength(1);
  },
);
