// Two writers and one log: what a command says by pino and what a supervisor says without it cannot be told apart.

import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const fixture = join(import.meta.dirname, "fixtures/log-lines.ts");

test.for([
  ["json", "trace"],
  ["json", "warn"],
  ["json", "silent"],
  ["text", "info"],
  ["pretty", "info"],
] as const)("%s, %s", async ([format, level]) => {
  const [plain, pino] = await Promise.all(
    ["plain", "pino"].map(async (kind) => {
      const { stderr } = await execa(process.execPath, [fixture, kind, format, level]);
      return stderr.replaceAll(/"time":"[^"]*"|\S*\d\d:\d\d:\d\d\S*/g, "");
    }),
  );
  expect(plain).toBe(pino);
  expect(plain === "").toBe(level === "silent");
});

/** Where nothing says how to log, and no terminal reads it. */
const unset = { ENTRYPOINT_LOG_FORMAT: undefined };

test("without a terminal and without a setting, one line of text tells each event", async () => {
  const url = await createTestDatabase();
  const cwd = createProject([{ id: "a1" }]);
  const env = { ...unset, DATABASE_URL: url };
  const { stderr } = await runEntrypoint(["true"], { cwd, env });
  const own = stderr.split("\n").filter((line) => /^\d{4}-\d\d-\d\dT/.test(line));
  const shown = url.replace(/:[^:@/]*@/, "@");
  expect(
    own.map((line) => line.replace(/^\S+Z /, "").replaceAll(/\d+(\.\d)? (m?s)/g, "N $2")),
  ).toEqual([
    "INFO migrating: Running database migrations...",
    "INFO command-done: alembic upgrade head took N s",
    `INFO migrated: The database is at head a1 (${shown})`,
    "INFO starting: Migrations complete. Starting application... (wait N ms, inspect N ms, lock N ms, migrate N ms)",
  ]);
  const again = await runEntrypoint(["wait"], { cwd, env });
  expect(again.stderr).toMatch(/INFO starting: Nothing is left to wait for\. \(wait \d+ ms\)\n$/);
});

test.each([
  ["the variable", ["--bogus"], { ENTRYPOINT_LOG_FORMAT: "json" }],
  ["the flag behind", ["--bogus", "--log-format=json"], unset],
  ["the flag before", ["--log-format", "json", "--bogus"], unset],
])("%s says how an option that does not exist is reported", async (_, args, env) => {
  const { stderr } = await runEntrypoint(args, { env });
  expect(JSON.parse(stderr)).toMatchObject({ event: "bad-settings", exitCode: 64 });
});
