// The connection breaks in the middle of the first look at the version table: another one is opened within --wait-timeout.

import { expect, test } from "vitest";
import { startEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy } from "../harness/proxy.ts";

const inspection = "pg_table_is_visible";

/** A database at the first of two revisions, behind a proxy. */
async function start(words: readonly string[], waitTimeout: string, fault: "cut" | "down") {
  const url = await createTestDatabase();
  await stampRows(url, "a1");
  const proxy = await startProxy(url);
  const broken = proxy.failAt(inspection, 1, fault);
  const run = startEntrypoint(["--wait-timeout", waitTimeout, ...words], {
    cwd: createProject([{ id: "a1", downgrade: "op.get_bind()" }, { id: "b2" }]),
    env: { DATABASE_URL: proxy.url },
  });
  await broken;
  return { run, proxy };
}

const commands = [
  { name: "run", words: ["run", "true"] },
  { name: "downgrade", words: ["downgrade", "--force", "base"] },
];

test.each(commands)("$name connects again", async ({ words }) => {
  const { run } = await start(words, "30s", "cut");
  await run.event("connection-lost");
  expect((await run.ended).code, run.stderr()).toBe(0);
});

test.each(commands)("$name waits for a server that restarts", async ({ words }) => {
  const { run, proxy } = await start(words, "30s", "down");
  await run.event("connection-lost");
  await run.event("waiting");
  proxy.recover();
  expect((await run.ended).code, run.stderr()).toBe(0);
});

test.each(commands)("69: $name, a server that stays away", async ({ words }) => {
  const { run } = await start(words, "5s", "down");
  expect((await run.ended).code, run.stderr()).toBe(69);
  expect(run.lines().at(-1)?.msg).toContain("cannot connect to");
});
