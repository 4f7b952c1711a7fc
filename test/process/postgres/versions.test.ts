// The servers that entrypoint is for, beside the newest, on which all other tests run: four replicas start together, one migrates,
// and a second start finds the database at head.
// @runs-on executable

import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startPostgres } from "../../../scripts/postgres.ts";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { createProject } from "../harness/project.ts";
import manifest from "../lint/oracles/package.json" with { type: "json" };

const directories = Object.keys(manifest.optionalDependencies).filter((name) =>
  new RegExp(`^postgres-\\d+-${process.arch}$`).test(name),
);

test.each(directories)("%s", async (directory) => {
  const binaries = join(import.meta.dirname, `../lint/oracles/node_modules/${directory}/native`);
  if (!existsSync(binaries)) throw new Error(`${binaries} is missing: scripts/setup --tests`);
  const server = await startPostgres({ binaries });
  onTestFinished(() => server.stop());
  const DATABASE_URL = await server.createDatabase("blog");
  const place = { cwd: createProject([{ id: "a1" }, { id: "b2" }]), env: { DATABASE_URL } };
  const app = ["echo", "the app was started"];
  const runs = Array.from({ length: 4 }, () => startEntrypoint(app, place));
  const ends = await Promise.all(runs.map((run) => run.ended));
  expect(ends.map(({ code }) => code)).toEqual(runs.map(() => 0));
  const events = runs.flatMap((run) => run.lines().map(({ event }) => event));
  expect(events.filter((event) => event === "migrated")).toHaveLength(1);
  const again = await runEntrypoint(app, place);
  expect(again.code, again.stderr).toBe(0);
  expect(again.lines.map(({ event }) => event)).toContain("current");
});
