// More replicas than the server has connections: none fails, one migrates, and all reach the application. And a migration that
// gets no connection is run again.
// @runs-on executable
// @takes long

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findFreePort, startPostgres } from "../../../scripts/postgres.ts";
import { startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const reserved = 3;
const app = ["echo", "the app was started"];

/** The URL of a role for which the server has so many connections. */
async function startSmallServer(connections: number): Promise<string> {
  const server = await startPostgres({
    settings: {
      max_connections: String(connections + reserved),
      superuser_reserved_connections: String(reserved),
    },
  });
  onTestFinished(() => server.stop());
  const url = new URL(await server.createDatabase("blog"));
  const admin = await connectClient(url.href);
  await admin.query("create role app login password 'secret'");
  await admin.query("grant all on schema public to app");
  await admin.end();
  url.username = "app";
  url.password = "secret";
  return url.href;
}

test("48 replicas on a server with 12 connections", async () => {
  const replicas = 48;
  const DATABASE_URL = await startSmallServer(12 - reserved);
  const cwd = createProject([{ id: "a1", upgrade: "time.sleep(5)" }, { id: "b2" }]);
  const runs = Array.from({ length: replicas }, () =>
    startEntrypoint(["--wait-timeout", "120s", ...app], { cwd, env: { DATABASE_URL } }),
  );
  const ends = await Promise.all(runs.map((run) => run.ended));
  const failed = runs.filter((_, index) => ends[index]?.code !== 0);
  expect(failed.map((run) => run.lines().at(-1)?.msg)).toEqual([]);
  expect(runs.filter((run) => run.stdout().includes("the app was started"))).toHaveLength(replicas);
  const events = runs.flatMap((run) => run.lines().map(({ event }) => event));
  expect(events.filter((event) => event === "migrated")).toHaveLength(1);
});

test("a migration is not started while it would get no connection", async () => {
  const DATABASE_URL = await startSmallServer(4);
  // One is left, which the lock takes.
  const others = await Promise.all([1, 2, 3].map(async () => connectClient(DATABASE_URL)));
  const cwd = createProject([{ id: "a1" }]);
  const run = startEntrypoint(app, { cwd, env: { DATABASE_URL } });
  expect((await run.event("waiting"))["reason"]).toContain("53300");
  expect(run.lines().map(({ event }) => event)).not.toContain("migrating");
  await Promise.all(others.map(async (client) => client.end()));
  expect((await run.ended).code, run.stderr()).toBe(0);
  expect(run.stdout()).toContain("the app was started");
  expect(run.lines().filter(({ event }) => event === "migrating")).toHaveLength(1);
});

/** An env.py that waits, before it connects, until the test has written a file. */
const waiting = `import os, time
from alembic import context
from sqlalchemy import create_engine

print("importing", flush=True)
while not os.path.exists("go"):
    time.sleep(0.05)
engine = create_engine(os.environ.get("OTHER_URL", os.environ["DATABASE_URL"]))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
`;

test.each(["role ROLE connection limit", "database DATABASE with connection limit"])(
  "a migration that gets no connection is run again: %s",
  async (limit) => {
    const url = new URL(await createTestDatabase());
    const database = url.pathname.slice(1);
    const role = `app_${database}`;
    const admin = await connectClient(url.href);
    await admin.query(`create role ${role} login password 'se-cret'`);
    await admin.query(`grant all on schema public to ${role}`);
    [url.username, url.password] = [role, "se-cret"];
    const cwd = createProject([{ id: "a1" }], { env: waiting });
    const run = startEntrypoint(app, { cwd, env: { DATABASE_URL: url.href } });
    await run.printed("importing");
    const named = limit.replace("ROLE", role).replace("DATABASE", database);
    await admin.query(`alter ${named} 1`);
    writeFileSync(join(cwd, "go"), "");
    await run.event("connection-retry");
    await admin.query(`alter ${named} -1`);
    expect((await run.ended).code, run.stderr()).toBe(0);
    expect(run.stdout()).toContain("the app was started");
  },
);

test("1: a migration whose own server does not listen is run again for --wait-timeout", async () => {
  const cwd = createProject([{ id: "a1" }], { env: waiting });
  writeFileSync(join(cwd, "go"), "");
  const run = startEntrypoint(["--wait-timeout", "2s", ...app], {
    cwd,
    env: {
      DATABASE_URL: await createTestDatabase(),
      OTHER_URL: `postgresql+psycopg://app:se-cret@127.0.0.1:${await findFreePort()}/blog`,
    },
  });
  expect((await run.ended).code, run.stderr()).toBe(1);
  expect(run.lines().filter(({ event }) => event === "migrating").length).toBeGreaterThan(0);
  expect(run.stdout()).not.toContain("the app was started");
});
