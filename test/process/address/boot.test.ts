// The database that the application itself would connect to: entrypoint waits for it, inspects it and locks it, and real
// Alembic migrates it, by a service, a password file and whatever else libpq reads.
// @runs-on executable

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findFreePort } from "../../../scripts/postgres.ts";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

/** The parts of a database's URL as a service, and a home directory with its password in .pgpass. */
async function createService(options: { password?: boolean; mode?: number } = {}) {
  const url = await createTestDatabase();
  const { hostname, port, username, password, pathname } = new URL(url);
  const home = mkdtempSync(join(tmpdir(), "entrypoint-home-"));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const database = pathname.slice(1);
  const lines = [`host=${hostname}`, `port=${port}`, `dbname=${database}`, `user=${username}`];
  if (options.password === true) lines.push(`password=${password}`);
  const file = join(home, "services.conf");
  writeFileSync(file, `[blog]\n${lines.join("\n")}\n`);
  const passwords = join(home, ".pgpass");
  writeFileSync(passwords, `${hostname}:${port}:${database}:${username}:${password}\n`);
  chmodSync(passwords, options.mode ?? 0o600);
  return { url, home, file, passwords, database };
}

async function readHead(url: string): Promise<unknown> {
  const client = await connectClient(url);
  return (await client.query("select version_num from alembic_version")).rows;
}

test.each([
  ["in the URL", "postgresql+psycopg:///?service=blog", {}],
  ["as PGSERVICE", "postgresql+psycopg://", { PGSERVICE: "blog" }],
] as const)("a service %s is the database that is migrated", async (_, DATABASE_URL, more) => {
  const { url, file, home } = await createService();
  const cwd = createProject([{ id: "a1" }]);
  const env = { DATABASE_URL, PGSERVICEFILE: file, HOME: home, ...more };
  const run = await runEntrypoint(["true"], { cwd, env });
  expect(run.code, run.stderr).toBe(0);
  expect(run.lines.map(({ event }) => event)).toContain("migrated");
  expect(await readHead(url)).toEqual([{ version_num: "a1" }]);
});

test("a service is known by PGSERVICE alone", async () => {
  const { file, home, database } = await createService({ password: true });
  const cwd = createProject([{ id: "a1" }]);
  const env = { PGSERVICE: "blog", PGSERVICEFILE: file, HOME: home };
  const run = await runEntrypoint(["status", "--json"], { cwd, env });
  expect(JSON.parse(run.stdout)).toMatchObject({ database });
});

test("64: a service that nobody defines is not looked for on localhost", async () => {
  const cwd = createProject([{ id: "a1" }]);
  const env = { DATABASE_URL: "postgresql+psycopg:///?service=blog", HOME: cwd };
  const run = await runEntrypoint(["true"], { cwd, env: { ...env, PGSYSCONFDIR: cwd } });
  expect(run.code).toBe(64);
  expect(run.lines.at(-1)?.msg).toContain(
    `the service "blog" is not defined in ${cwd}/.pg_service.conf or ${cwd}/pg_service.conf: name its file in PGSERVICEFILE`,
  );
});

test.skipIf(process.getuid?.() !== 0)("with --user the home directory is that user's", async () => {
  const { home } = await createService();
  const cwd = createProject([{ id: "a1" }]);
  const env = { DATABASE_URL: "postgresql+psycopg:///?service=blog", HOME: home };
  const run = await runEntrypoint(["--user", "nobody", "true"], { cwd, env });
  expect(run.code).toBe(64);
  expect(run.lines.at(-1)?.msg).toMatch(/is not defined in \/\w+\/\.pg_service\.conf or/);
  expect(run.lines.at(-1)?.msg).not.toContain(home);
});

test("69: a password file that others can read is ignored, and named with the cure", async () => {
  const { url, passwords, home } = await createService({ mode: 0o644 });
  const withoutPassword = new URL(url);
  withoutPassword.password = "";
  const run = startEntrypoint(["--wait-timeout", "1s", "true"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: withoutPassword.href, HOME: home },
  });
  const reason = `the server requires a password, and none is given: ${passwords} is ignored, since users other than its owner can access it: chmod 600 it`;
  expect((await run.event("waiting"))["reason"]).toBe(reason);
  expect((await run.ended).code).toBe(69);
  expect(run.lines().at(-1)?.msg).toContain(`the server refuses: ${reason}`);
});

test("64: a database's name with a percent sign is refused before anything is connected to", async () => {
  const url = await createTestDatabase();
  const run = await runEntrypoint(["true"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: url.replace(/\/test_/, "/%74est_") },
  });
  expect(run.code).toBe(64);
  expect(run.lines.at(-1)?.msg).toContain("give --database-url in the form host=… dbname=…");
});

test("64: what entrypoint cannot do is refused", async () => {
  const run = await runEntrypoint(["true"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: "postgresql://db/blog", PGGSSENCMODE: "require" },
  });
  expect(run.code).toBe(64);
  expect(run.lines.at(-1)?.msg).toContain(
    "entrypoint cannot do what gssencmode (PGGSSENCMODE) asks for: encrypt by TLS: sslmode=require",
  );
});

test("a wait goes on being reported", async () => {
  const port = await findFreePort();
  const run = startEntrypoint(["true"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: `postgresql://127.0.0.1:${port}/blog` },
  });
  const [first, second] = await run.events("waiting", 2);
  const start = `Waiting for the database at postgresql://127.0.0.1:${port}/blog`;
  const end = `connect ECONNREFUSED 127.0.0.1:${port}`;
  expect(first?.msg).toMatch(/ \(\d s of 60 s\): /);
  expect(first?.msg.replace(/ \(.*\)/, "")).toBe(`${start}: ${end}`);
  expect(second?.msg).toMatch(/ \((1[5-9]|[2-5]\d) s of 60 s\): connect ECONNREFUSED /);
  expect(second).toMatchObject({ reason: end, timeoutMs: 60_000 });
});
