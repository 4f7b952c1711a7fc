// A database that does not exist yet, where --create-database is said.
// @runs-on executable

import { randomBytes } from "node:crypto";
import { expect, onTestFinished, test } from "vitest";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

/** A database that does not exist, and is dropped afterwards. Its name has to be quoted. */
async function nameMissing() {
  const url = new URL(await createTestDatabase());
  const beside = await connectClient(url.href);
  const name = `Missing-${randomBytes(4).toString("hex")}`;
  url.pathname = `/${name}`;
  onTestFinished(async () => {
    await beside.query(`drop database if exists ${beside.escapeIdentifier(name)} with (force)`);
  });
  const exists = async () => {
    const { rows } = await beside.query("select from pg_database where datname = $1", [name]);
    return rows.length > 0;
  };
  return { beside, name, url, exists };
}

test("of four replicas at once one creates the database, one migrates, and all start", async () => {
  const { url, name } = await nameMissing();
  const cwd = createProject([{ id: "a1" }, { id: "b2" }]);
  const env = { DATABASE_URL: url.href, ENTRYPOINT_CREATE_DATABASE: "on" };
  const replicas = await Promise.all(
    Array.from({ length: 4 }, () => runEntrypoint(["echo", "app"], { cwd, env })),
  );
  for (const { code, stdout, stderr } of replicas) {
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: "app\n" });
  }
  const events = replicas.flatMap(({ lines }) => lines);
  expect(events.filter(({ event }) => event === "database-created")).toMatchObject([
    { database: name },
  ]);
  expect(events.filter(({ event }) => event === "migrating")).toHaveLength(1);
});

test("a single try creates it too, and --dry-run creates nothing", async () => {
  const { url, exists } = await nameMissing();
  const options = { cwd: createProject([{ id: "a1" }]), env: { DATABASE_URL: url.href } };
  const args = ["--create-database", "--wait-timeout", "0"];
  const dry = await runEntrypoint([...args, "--dry-run", "migrate"], options);
  expect(dry.code).toBe(69);
  expect(await exists()).toBe(false);
  const run = await runEntrypoint([...args, "migrate"], options);
  expect(run.code, run.stderr).toBe(0);
  expect(await exists()).toBe(true);
});

test("69: a role that may not create it, with what helps", async () => {
  const { url, beside, exists } = await nameMissing();
  const role = `weak_${randomBytes(4).toString("hex")}`;
  await beside.query(`create role ${role} login password 'weak-password'`);
  onTestFinished(async () => {
    await beside.query(`drop role ${role}`);
  });
  url.username = role;
  url.password = "weak-password";
  const run = await runEntrypoint(["--create-database", "echo", "app"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: url.href },
  });
  expect(run).toMatchObject({ code: 69, stdout: "" });
  expect(run.lines.at(-1)?.msg).toContain("permission denied to create database");
  expect(run.lines.at(-1)?.["hint"]).toContain("CREATEDB");
  // No waiting changes that.
  expect(run.ms).toBeLessThan(20_000);
  expect(await exists()).toBe(false);
});

test("wait creates nothing, and waits for the one who does", async () => {
  const { url, exists } = await nameMissing();
  const cwd = createProject([{ id: "a1" }]);
  const env = { DATABASE_URL: url.href, ENTRYPOINT_CREATE_DATABASE: "on" };
  const waiting = startEntrypoint(["wait", "--", "echo", "app"], { cwd, env });
  const line = await waiting.event("waiting");
  expect(line.msg).toContain("does not exist");
  expect(await exists()).toBe(false);
  const job = await runEntrypoint(["migrate"], { cwd, env });
  expect(job.code, job.stderr).toBe(0);
  expect((await waiting.ended).code).toBe(0);
  expect(waiting.stdout()).toBe("app\n");
});
