// `entrypoint wait` beside a migration that is somebody else's: it goes on when the database is at head, says what it
// waits for, and fails at once where no waiting helps. It never takes the lock, never migrates and starts no Python.
// @runs-on executable

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "pg";
import { describe, expect, test } from "vitest";
import { findFreePort } from "../../../scripts/postgres.ts";
import { migrationLockKey, runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject, shadowAlembic } from "../harness/project.ts";
import { startProxy } from "../harness/proxy.ts";

const threeRevisions = [{ id: "a1" }, { id: "b2" }, { id: "c3" }];

/** A database at these revisions, and a project of a1, b2, c3 in whose environment no Python can be started unnoticed. */
async function prepare(...rows: string[]) {
  const DATABASE_URL = await createTestDatabase();
  if (rows.length > 0) await stampRows(DATABASE_URL, ...rows);
  const { env, mark } = shadowAlembic();
  const options = { cwd: createProject(threeRevisions), env: { ...env, DATABASE_URL } };
  return { url: DATABASE_URL, options, mark };
}

/** What the end of a migration looks like from outside. */
async function moveTo(client: Client, revision: string): Promise<void> {
  await client.query("update alembic_version set version_num = $1", [revision]);
}

function withoutPassword(url: string): string {
  return url.replace(/:[^:@/]*@/, "@");
}

describe("at head", () => {
  test("exits 0 at once, and starts no Python", async () => {
    const { url, options, mark } = await prepare("c3");
    const run = await runEntrypoint(["wait"], options);
    expect(run).toMatchObject({ code: 0, stdout: "" });
    expect(run.lines.map((line) => [line.event, line.msg])).toEqual([
      ["current", `The database has reached head c3 (${withoutPassword(url)})`],
      ["starting", "Nothing is left to wait for."],
    ]);
    expect(() => readFileSync(mark)).toThrow("ENOENT");
  });

  test("becomes the application, and hands its exit code on", async () => {
    const { options } = await prepare("c3");
    const run = await runEntrypoint(["wait", "--", "sh", "-c", "echo app; exit 7"], options);
    expect(run).toMatchObject({ code: 7, stdout: "app\n" });
    expect(run.lines.at(-1)).toMatchObject({
      msg: "Starting application...",
      waitMs: expect.any(Number),
    });
  });

  test("ENTRYPOINT_APP is for the command run alone", async () => {
    const { options } = await prepare("c3");
    const env = { ...options.env, ENTRYPOINT_APP: "echo app" };
    expect(await runEntrypoint(["wait"], { ...options, env })).toMatchObject({
      code: 0,
      stdout: "",
    });
  });

  test("the target may be a revision that the command names", async () => {
    const { url, options } = await prepare("b2");
    const run = await runEntrypoint(["--migrate", "alembic upgrade b2", "wait"], options);
    expect(run.code).toBe(0);
    expect(run.lines[0]?.msg).toBe(
      `The database has reached revision b2 (${withoutPassword(url)})`,
    );
  });
});

describe("behind", () => {
  test("waiters become their application once another process has migrated", async () => {
    const DATABASE_URL = await createTestDatabase();
    const env = { DATABASE_URL };
    const waiters = Array.from({ length: 4 }, () =>
      startEntrypoint(["wait", "echo", "served"], { env }),
    );
    for (const waiter of waiters) {
      expect((await waiter.event("waiting")).msg).toContain(
        "Waiting for the migration to head 0005_require_word_count: the database is at no revision; pending: 0001",
      );
    }
    expect(await runEntrypoint(["migrate"], { env })).toMatchObject({ code: 0 });
    for (const waiter of waiters) {
      expect((await waiter.ended).code).toBe(0);
      expect(waiter.stdout()).toBe("served\n");
      expect(waiter.stderr()).not.toContain("Running database migrations...");
    }
  });

  test("says what is pending, takes no lock, and starts no Python", async () => {
    const { url, options, mark } = await prepare("a1");
    const client = await connectClient(url);
    const run = startEntrypoint(["wait"], options);
    expect(await run.event("waiting")).toMatchObject({
      level: "info",
      msg: "Waiting for the migration to head c3: the database is at a1; pending: b2, c3; nobody holds the migration lock",
      state: "behind",
      holder: null,
    });
    const { rows } = await client.query(
      "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
    );
    expect(rows).toEqual([]);
    await moveTo(client, "c3");
    expect((await run.ended).code).toBe(0);
    expect(run.lines().map((line) => line.event)).toEqual(["waiting", "current", "starting"]);
    expect(() => readFileSync(mark)).toThrow("ENOENT");
  });

  test("names the session that holds the migration lock", async () => {
    const { url, options } = await prepare("a1");
    const client = await connectClient(url);
    await client.query("set application_name = 'web-3'");
    await client.query(`select pg_advisory_lock(${migrationLockKey})`);
    const run = startEntrypoint(["wait"], options);
    expect((await run.event("waiting")).msg).toMatch(
      /pending: b2, c3; the migration lock is held by pid \d+ \(web-3, user postgres, /,
    );
    await moveTo(client, "c3");
    // It needs no lock: head is enough, whoever holds it.
    expect((await run.ended).code).toBe(0);
  });

  test("a database with tables and no recorded revision is waited for", async () => {
    const { url, options } = await prepare();
    const client = await connectClient(url);
    await client.query("create table old (id int)");
    const run = startEntrypoint(["wait"], options);
    expect(await run.event("waiting")).toMatchObject({ state: "unstamped", current: [] });
    await stampRows(url, "c3");
    expect((await run.ended).code).toBe(0);
  });

  test("3: not at head when the time is over, with what is pending and who is at work", async () => {
    const { url, options } = await prepare("a1");
    const args = ["wait", "--wait-timeout", "2s", "echo", "app"];
    const run = await runEntrypoint(args, options);
    expect(run).toMatchObject({ code: 3, stdout: "" });
    expect(run.ms).toBeGreaterThan(2_000);
    expect(run.lines.at(-1)).toMatchObject({
      event: "pending",
      exitCode: 3,
      msg: "the database is not at head c3 after 2 s: it is at a1; pending: b2, c3; nobody holds the migration lock",
      hint: expect.stringContaining("--wait-timeout"),
      pending: ["b2", "c3"],
    });
    const client = await connectClient(url);
    await client.query(`select pg_advisory_lock(${migrationLockKey})`);
    expect((await runEntrypoint(args, options)).lines.at(-1)?.msg).toMatch(
      /pending: b2, c3; the migration lock is held by pid \d+ /,
    );
  });

  test("--wait-timeout 0 is a single look", async () => {
    const { url, options } = await prepare("a1");
    const args = ["wait", "--wait-timeout", "0"];
    const early = await runEntrypoint(args, options);
    expect(early.code).toBe(3);
    expect(early.lines.map((line) => line.msg)).toEqual([
      "the database is not at head c3: it is at a1; pending: b2, c3; nobody holds the migration lock",
    ]);
    await moveTo(await connectClient(url), "c3");
    expect((await runEntrypoint(args, options)).code).toBe(0);
  });

  test.each([
    ["SIGHUP", 129],
    ["SIGINT", 130],
    ["SIGQUIT", 131],
    ["SIGTERM", 143],
  ] as const)(
    "%s ends the waiting at once, and the application never starts",
    async (signal, code) => {
      const { options } = await prepare("a1");
      const run = startEntrypoint(["wait", "echo", "app"], options);
      await run.event("waiting");
      const startMs = performance.now();
      run.process.kill(signal);
      expect((await run.ended).code).toBe(code);
      expect(performance.now() - startMs).toBeLessThan(10_000);
      expect(run.stdout()).toBe("");
    },
  );

  test("--dry-run tells what would be waited for, and waits for nothing", async () => {
    const { options } = await prepare("a1");
    const run = await runEntrypoint(["wait", "--dry-run", "--", "uvicorn", "app:app"], options);
    expect(run.code).toBe(0);
    expect(run.stdout.split("\n").slice(1)).toEqual([
      "state      behind: at a1, head c3; pending: b2, c3",
      "wait       would wait up to 60 s for head c3",
      "then       would become uvicorn app:app",
      "",
    ]);
  });
});

describe("a connection that is not there", () => {
  test("a database that answers late is waited for, then its migration", async () => {
    const { url, options } = await prepare("a1");
    const port = await findFreePort();
    const late = new URL(url);
    late.hostname = "127.0.0.1";
    late.port = String(port);
    const env = { ...options.env, DATABASE_URL: late.href };
    const run = startEntrypoint(["wait"], { ...options, env });
    expect((await run.event("waiting")).msg).toContain("Waiting for the database at");
    await startProxy(url, (data) => data, port);
    await run.printed("Waiting for the migration to head c3");
    await moveTo(await connectClient(url), "c3");
    expect((await run.ended).code).toBe(0);
  });

  test("69: the database never answers", async () => {
    const { options } = await prepare();
    const env = { ...options.env, DATABASE_URL: "postgresql://127.0.0.1:1/blog" };
    const run = await runEntrypoint(["wait", "--wait-timeout", "300ms"], { ...options, env });
    expect(run.code).toBe(69);
    expect(run.lines.at(-1)?.msg).toContain("within 0.3 s");
  });

  test("a connection that breaks is made again", async () => {
    const { url, options } = await prepare("a1");
    const proxy = await startProxy(url);
    const env = { ...options.env, DATABASE_URL: proxy.url };
    const run = startEntrypoint(["wait"], { ...options, env });
    await run.event("waiting");
    await proxy.failAt("pg_table_is_visible", 1, "cut");
    await run.event("connection-lost");
    await moveTo(await connectClient(url), "c3");
    expect((await run.ended).code).toBe(0);
  });

  test("a version table that somebody has locked for a while is looked at again", async () => {
    const { url, options } = await prepare("c3");
    const client = await connectClient(url);
    await client.query("begin");
    await client.query("lock table alembic_version");
    const run = startEntrypoint(["wait"], options);
    await run.event("connection-lost");
    await client.query("commit");
    expect((await run.ended).code).toBe(0);
  });

  test("69: a version table that somebody has locked does not outlast the time", async () => {
    const { url, options } = await prepare("c3");
    const client = await connectClient(url);
    await client.query("begin");
    await client.query("lock table alembic_version");
    const run = await runEntrypoint(["wait", "--wait-timeout", "1500ms"], options);
    expect(run.code).toBe(69);
    expect(run.lines.at(-1)?.msg).toMatch(/^the database has not answered a query for [12] s$/);
  });
});

describe("no waiting helps", () => {
  test("80: a database that is ahead, unless --on-ahead start", async () => {
    const { options } = await prepare("z9");
    const run = await runEntrypoint(["wait", "echo", "app"], options);
    expect(run).toMatchObject({ code: 80, stdout: "" });
    expect(run.lines.map((line) => line.event)).toEqual(["ahead"]);
    const started = await runEntrypoint(["wait", "--on-ahead", "start", "echo", "app"], options);
    expect(started).toMatchObject({ code: 0, stdout: "app\n" });
    expect(started.lines[0]).toMatchObject({ level: "warn", event: "ahead", unknown: ["z9"] });
  });

  test("80: a database on another branch, and with --on-ahead start what is pending is waited for", async () => {
    const { url, options } = await prepare("a1", "z9");
    const client = await connectClient(url);
    const run = await runEntrypoint(["wait", "echo", "app"], options);
    expect(run).toMatchObject({ code: 80, stdout: "" });
    expect(run.lines[0]?.msg).toContain("z9, which no migration file has, and pending is b2, c3");
    const waiting = startEntrypoint(["wait", "--on-ahead", "start", "echo", "app"], options);
    expect((await waiting.event("waiting")).msg).toContain("at a1, z9; pending: b2, c3");
    await client.query("update alembic_version set version_num = 'c3' where version_num = 'a1'");
    expect(await waiting.ended).toMatchObject({ code: 0 });
    expect(waiting.stdout()).toBe("app\n");
    expect(waiting.lines().at(-2)).toMatchObject({
      level: "warn",
      event: "ahead",
      unknown: ["z9"],
    });
  });

  test("82: rows of which one is the other's ancestor", async () => {
    const { options } = await prepare("a1", "b2");
    const run = await runEntrypoint(["wait"], options);
    expect(run.code).toBe(82);
    expect(run.lines.map((line) => line.event)).toEqual(["overlapping"]);
  });

  test("83: several heads where one is the target", async () => {
    const { options } = await prepare("a1");
    const cwd = createProject([{ id: "a1" }, { id: "b2" }, { id: "c3", down: "a1" }]);
    const run = await runEntrypoint(["wait"], { ...options, cwd });
    expect(run.code).toBe(83);
    expect(run.lines.map((line) => line.event)).toEqual(["multiple-heads"]);
  });

  test("86: a command that is not Alembic's, or files that Python alone can read: the database is not even asked", async () => {
    const { options, mark } = await prepare();
    const env = { ...options.env, DATABASE_URL: "postgresql://127.0.0.1:1/blog" };
    const args = ["wait", "--migrate", "sh -c 'alembic upgrade head'"];
    const opaque = await runEntrypoint(args, { ...options, env });
    expect(opaque.code).toBe(86);
    expect(opaque.lines).toHaveLength(1);
    expect(opaque.lines[0]).toMatchObject({
      event: "cannot-tell",
      msg: "entrypoint wait: cannot tell whether the database is at head: a shell runs it",
      hint: expect.stringMatching(/own command with --inspect-as; .*entrypoint run/),
    });
    writeFileSync(
      join(options.cwd, "migrations/versions/d4.py"),
      'import os\nrevision = "d" + "4"\ndown_revision = "c3"\n',
    );
    const computed = await runEntrypoint(["wait"], { ...options, env });
    expect(computed.code).toBe(86);
    expect(computed.lines).toMatchObject([
      {
        msg: expect.stringContaining("d4.py"),
        hint: expect.stringMatching(/--versions or --version-table; .*entrypoint freeze/),
      },
    ]);
    expect(() => readFileSync(mark)).toThrow("ENOENT");
  });

  test("86: a version table in several schemas, until --version-table says which", async () => {
    const { url, options } = await prepare("c3");
    const client = await connectClient(url);
    await client.query("create schema other");
    await client.query("create table other.alembic_version (version_num varchar(32))");
    const run = await runEntrypoint(["wait"], options);
    expect(run.code).toBe(86);
    expect(run.lines.at(-1)?.msg).toContain("several schemas");
    const args = ["wait", "--version-table", "public.alembic_version"];
    expect((await runEntrypoint(args, options)).code).toBe(0);
  });

  test.each([
    ["no database", { DATABASE_URL: undefined }, "no PostgreSQL URL is known"],
    ["another system's", { DATABASE_URL: "sqlite:///blog.db" }, "no PostgreSQL URL is known"],
    ["no migration command", { ENTRYPOINT_MIGRATE: "" }, "no migration command is left"],
  ])("64: %s", async (_name, extra, message) => {
    const { options } = await prepare("c3");
    const run = await runEntrypoint(["wait"], { ...options, env: { ...options.env, ...extra } });
    expect(run.code).toBe(64);
    expect(run.lines.at(-1)?.msg).toContain(message);
  });

  test("127: an application that is not there is known before the waiting", async () => {
    const { options } = await prepare("a1");
    const run = await runEntrypoint(["wait", "no-such-app"], options);
    expect(run.code).toBe(127);
    expect(run.lines.map((line) => line.event)).toEqual(["not-found"]);
  });
});
