// A pipe where a file is expected: nothing waits for it. A secret may come out of one, which is waited for with a limit.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

function makePipe(path: string): string {
  rmSync(path, { force: true });
  expect(spawnSync("mkfifo", [path]).status).toBe(0);
  return path;
}

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-pipes-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

test.each([
  ["alembic.ini", "alembic.ini is not a regular file"],
  ["pyproject.toml", "pyproject.toml is not a regular file"],
  ["migrations/env.py", "env.py is not a regular file"],
  ["migrations/versions/b2.py", "b2.py is not a file"],
])("cannot tell: %s", async (name, reason) => {
  const cwd = createProject([{ id: "a1" }]);
  makePipe(join(cwd, name));
  const run = await runEntrypoint(["--dry-run", "true"], {
    cwd,
    env: { DATABASE_URL: await createTestDatabase() },
  });
  expect(run.stdout).toContain("cannot tell: ");
  expect(run.stdout).toContain(reason);
});

test("a migration that reads the pipe ends at a signal", async () => {
  const cwd = createProject([{ id: "a1" }]);
  makePipe(join(cwd, "alembic.ini"));
  const run = startEntrypoint(["true"], { cwd, env: { DATABASE_URL: await createTestDatabase() } });
  await run.event("migrating");
  run.process.kill("SIGTERM");
  expect((await run.ended).code, run.stderr()).toBe(143);
});

test.each([
  ["package.json", "npm run migrate"],
  ["package.json", "prisma migrate deploy"],
  ["db/migrations/20260101000000_a.sql", "dbmate up"],
  ["migrations/20260101000000_a.sql", "sqlx migrate run"],
  ["sql/V1__a.sql", "flyway migrate"],
])("%s of another tool: %s", async (name, command) => {
  const cwd = makeDirectory();
  mkdirSync(dirname(join(cwd, name)), { recursive: true });
  makePipe(join(cwd, name));
  const run = await runEntrypoint(["--migrate", command, "--dry-run", "true"], {
    cwd,
    env: { DATABASE_URL: await createTestDatabase() },
  });
  expect(run.code, run.stderr).toBeLessThan(64);
  expect(run.stdout).toContain("would");
});

test.each(["migrations/20260101000000_a.sql", "migrations"])(
  "cannot tell: %s, a link to itself",
  async (name) => {
    const cwd = makeDirectory();
    mkdirSync(dirname(join(cwd, name)), { recursive: true });
    symlinkSync(join(cwd, name), join(cwd, name));
    const run = await runEntrypoint(["--migrate", "sqlx migrate run", "--dry-run", "true"], {
      cwd,
      env: { DATABASE_URL: await createTestDatabase() },
    });
    expect(run.code, run.stderr).toBeLessThan(64);
    expect(run.stdout).toContain("cannot tell: ELOOP");
  },
);

test("what is frozen is ignored, with the reason", async () => {
  const cwd = createProject([{ id: "a1" }]);
  makePipe(join(cwd, "entrypoint.freeze.json"));
  const run = await runEntrypoint(["--dry-run", "true"], {
    cwd,
    env: { DATABASE_URL: await createTestDatabase() },
  });
  expect(run.stdout).toContain("behind: at no revision");
  const warning = run.lines.find(({ event }) => event === "freeze-ignored");
  expect(warning?.["reason"]).toContain("is not a regular file");
});

test.each([
  ["a service file", (pipe: string) => ({ PGSERVICE: "blog", PGSERVICEFILE: pipe }), 64],
  [
    "a root certificate",
    (pipe: string) => ({
      DATABASE_URL: `postgresql://a:secret@127.0.0.1:1/b?sslmode=verify-full&sslrootcert=${pipe}`,
    }),
    64,
  ],
  ["a secret that nobody writes", (pipe: string) => ({ DATABASE_URL_FILE: pipe }), 64],
  ["an --env-file that nobody writes", (pipe: string) => ({ ENTRYPOINT_ENV_FILE: pipe }), 64],
] as const)("%s: exit code 64", async (_, env, code) => {
  const run = await runEntrypoint(["true"], {
    cwd: createProject([{ id: "a1" }]),
    env: env(makePipe(join(makeDirectory(), "pipe"))),
  });
  expect(run.code, run.stderr).toBe(code);
  expect(run.ms).toBeLessThan(30_000);
  expect(run.lines.at(-1)?.msg).toMatch(/cannot be read|can be read/);
});

test.each([
  ["DATABASE_URL_FILE", (url: string) => url],
  ["ENTRYPOINT_ENV_FILE", (url: string) => `DATABASE_URL=${url}\n`],
])("%s: what is written into the pipe is read to its end", async (variable, content) => {
  const directory = makeDirectory();
  const pipe = makePipe(join(directory, "pipe"));
  const parts = join(directory, "content");
  writeFileSync(parts, content(await createTestDatabase()));
  // In two parts; the shell waits until entrypoint has opened it.
  spawn("sh", ["-c", `exec > ${pipe}; head -c 20 ${parts}; tail -c +21 ${parts}`]);
  const run = await runEntrypoint(["echo", "the app was started"], {
    cwd: createProject([{ id: "a1" }]),
    env: { [variable]: pipe },
  });
  expect(run.code, run.stderr).toBe(0);
  expect(run.stdout).toContain("the app was started");
});
