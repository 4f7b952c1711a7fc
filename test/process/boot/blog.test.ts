// The blog by itself, without entrypoint: its revisions by the real Alembic, its pages by the real uvicorn.
// Runs on the newest releases and on Debian's (ENTRYPOINT_TEST_PYTHON says whose).
// @runs-on bundle, executable

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as path from "node:path";

import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";

import { findFreePort } from "../../../scripts/postgres.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";

const backend = path.resolve(import.meta.dirname, "../../../docker/backend");
const { ENTRYPOINT_TEST_PYTHON: python = "" } = process.env;

test("counts the words of the posts that were there before the column", async () => {
  const url = await createTestDatabase();
  await alembic(url, "upgrade", "0001_create_posts");
  const client = await connectClient(url);
  const bodies = ["three short words", "  padded  ", "one\ntwo\t three", ""];
  for (const body of bodies) {
    await client.query("INSERT INTO posts (title, body) VALUES ('old', $1)", [body]);
  }

  await alembic(url, "upgrade", "0002_add_word_count");
  expect(await wordCounts(url)).toEqual([null, null, null, null]);
  await alembic(url, "upgrade", "0003_backfill_word_count");
  expect(await wordCounts(url)).toEqual([3, 1, 3, 1]);

  // The application counts in the same way.
  await alembic(url, "upgrade", "head");
  const { address } = await serveBlog(url);
  for (const body of bodies) await postJson(`${address}/posts`, { title: "new", body });
  expect(await wordCounts(url)).toEqual([3, 1, 3, 1, 3, 1, 3, 1]);
});

test("requires a word count at head, and leaves no check constraint behind", async () => {
  const url = await createTestDatabase();
  await alembic(url, "upgrade", "head");
  const client = await connectClient(url);

  const notNullViolation = "23502";
  await expect(
    client.query("INSERT INTO posts (title, body) VALUES ('a', 'b')"),
  ).rejects.toMatchObject({ code: notNullViolation });
  const checks = await client.query(
    "SELECT conname FROM pg_constraint WHERE conrelid = 'posts'::regclass AND contype = 'c'",
  );
  expect(checks.rows).toEqual([]);
});

test("goes back to an empty database and up again", async () => {
  const url = await createTestDatabase();
  await alembic(url, "upgrade", "head");
  await alembic(url, "downgrade", "base");
  const client = await connectClient(url);
  const tables = await client.query(
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
  );
  expect(tables.rows).toEqual([]);
  await alembic(url, "upgrade", "head");
  const { stdout } = await alembic(url, "current");
  expect(stdout).toBe("0005_require_word_count (head)");
});

test("serves posts, and says of itself only that it serves", async () => {
  const url = await createTestDatabase();
  await alembic(url, "upgrade", "head");
  // Whatever driver the address names, the blog takes the one that is installed.
  const { address } = await serveBlog(url.replace("postgresql:", "postgresql+asyncpg:"));

  const health = await fetch(`${address}/healthz`);
  expect([health.status, await health.json()]).toEqual([200, { status: "ok" }]);

  const first = { id: 1, title: "Hello", body: "two words", word_count: 2 };
  const created = await postJson(`${address}/posts`, { title: "Hello", body: "two words" });
  expect([created.status, await created.json()]).toEqual([201, first]);
  expect(await (await fetch(`${address}/posts`)).json()).toEqual([first]);

  expect((await postJson(`${address}/posts`, { title: "", body: "x" })).status).toBe(422);
  expect((await postJson(`${address}/posts`, { title: "x", body: "a\0b" })).status).toBe(422);
});

async function alembic(url: string, ...args: string[]) {
  return execa(python, ["-m", "alembic", ...args], { cwd: backend, env: { DATABASE_URL: url } });
}

async function wordCounts(url: string): Promise<unknown[]> {
  const client = await connectClient(url);
  const { rows } = await client.query<{ word_count: number | null }>(
    "SELECT word_count FROM posts ORDER BY id",
  );
  return rows.map((row) => row.word_count);
}

async function postJson(address: string, body: unknown): Promise<Response> {
  return fetch(address, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function serveBlog(url: string): Promise<{ address: string }> {
  const port = await findFreePort();
  const server = spawn(
    python,
    ["-m", "uvicorn", "app.main:app", "--host", "127.0.0.1", "--port", String(port)],
    { cwd: backend, env: { ...process.env, DATABASE_URL: url }, stdio: "ignore" },
  );
  onTestFinished(() => endProcess(server));
  const address = `http://127.0.0.1:${port}`;
  await expect
    .poll(
      () =>
        fetch(`${address}/healthz`).then(
          ({ ok }) => ok,
          () => false,
        ),
      {
        timeout: 30_000,
      },
    )
    .toBe(true);
  return { address };
}

async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}
