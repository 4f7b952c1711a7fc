// Each row of the exit-code table, provoked for real. Whatever fails: the app is never started, the code is the
// row's own, and one line says what is wrong and what cures it.
// @runs-on executable

import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findFreePort } from "../../../scripts/postgres.ts";
import {
  entrypointCommand,
  migrationLockKey,
  plainEnvironment,
  runEntrypoint,
  startEntrypoint,
} from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject, type RevisionFile } from "../harness/project.ts";

const app = ["echo", "the app was started"];

/** Boots a project that must fail, and returns the line of the failure. */
async function bootToFailure(
  revisions: readonly RevisionFile[],
  options: { args?: readonly string[]; url?: string; env?: Record<string, string> } = {},
) {
  const DATABASE_URL = options.url ?? (await createTestDatabase());
  const cwd = createProject(revisions);
  const run = await runEntrypoint([...(options.args ?? []), ...app], {
    cwd,
    env: { DATABASE_URL, ...options.env },
  });
  expect(run.stdout).toBe("");
  const line = run.lines.at(-1);
  return {
    code: run.code,
    msg: line?.msg ?? "",
    hint: line?.["hint"],
    line,
    stderr: run.stderr,
    ms: run.ms,
  };
}

test("1: a failed second migration of three says how far it came", async () => {
  const failure = await bootToFailure([
    { id: "a1" },
    { id: "b2", upgrade: 'op.execute("select 1 / 0")' },
    { id: "c3" },
  ]);
  expect(failure.code).toBe(1);
  expect(failure.msg).toContain("Migration failed! Aborting startup.");
  expect(failure.msg).toContain(
    "3 were pending, 1 was applied: the database is at a1, between the beginning and head c3",
  );
  expect(failure.line).toMatchObject({
    event: "migration-failed",
    exitCode: 1,
    current: ["a1"],
    pending: ["b2", "c3"],
    reason: expect.stringMatching(/^\w+(?:\.\w+)*: /),
  });
  expect(failure.msg).toContain(`; its last error: ${String(failure.line?.["reason"])}`);
});

test("1: the reason is the error of the database, and not the line that points to a manual", async () => {
  const upgrade = 'op.execute("create table t (id int)")\nop.execute("create table t (id int)")';
  const failure = await bootToFailure([{ id: "a1", upgrade }]);
  expect(failure.line?.["reason"]).toMatch(
    /^sqlalchemy\.exc\.ProgrammingError: .*relation "t" already exists$/,
  );
});

test("1: a migration that is killed names the signal", async () => {
  const failure = await bootToFailure([{ id: "a1", upgrade: "os.kill(os.getpid(), 9)" }]);
  expect(failure.code).toBe(1);
  expect(failure.msg).toContain("killed by SIGKILL");
  expect(failure.hint).toContain("OOM killer");
});

test("1: a setup step that fails aborts", async () => {
  const failure = await bootToFailure([{ id: "a1" }], { args: ["--setup", "sh -c 'exit 7'"] });
  expect(failure.code).toBe(1);
  expect(failure.line).toMatchObject({ exitCode: 1, commandExitCode: 7 });
  expect(failure.msg).toContain("exited with code 7");
});

test("64: every bad setting is reported at once, and nothing is touched", async () => {
  const url = await createTestDatabase();
  const failure = await bootToFailure([{ id: "a1" }], {
    url,
    args: ["--wait-timeout", "soon"],
    env: { ENTRYPOINT_ON_AHEAD: "ignore", ENTRYPOINT_MODE: "fork" },
  });
  expect(failure.code).toBe(64);
  for (const name of ["--wait-timeout", "ENTRYPOINT_ON_AHEAD", "ENTRYPOINT_MODE"]) {
    expect(failure.msg).toContain(name);
  }
  const { rows } = await (
    await connectClient(url)
  ).query("select from pg_class where relname = 'alembic_version'");
  expect(rows).toEqual([]);
});

test("69: a database that does not answer in time", async () => {
  const port = await findFreePort();
  const failure = await bootToFailure([{ id: "a1" }], {
    url: `postgresql://blog:secret@127.0.0.1:${port}/blog`,
    args: ["--wait-timeout", "300ms"],
  });
  expect(failure.code).toBe(69);
  expect(failure.msg).toContain(`127.0.0.1:${port}/blog: within 0.3 s`);
  expect(failure.stderr).not.toContain("secret");
});

test("69: a missing database is given five seconds, then the server's words", async () => {
  const url = new URL(await createTestDatabase());
  url.pathname = "/nowhere";
  const failure = await bootToFailure([{ id: "a1" }], { url: url.href });
  expect(failure.code).toBe(69);
  expect(failure.msg).toContain('database "nowhere" does not exist (SQLSTATE 3D000)');
  expect(failure.ms).toBeGreaterThan(5_000);
  expect(failure.ms).toBeLessThan(30_000);
});

test("75: a lock that is not free in time names its holder", async () => {
  const url = await createTestDatabase();
  const holder = await connectClient(url);
  await holder.query("set application_name = 'web-3'");
  await holder.query(`select pg_advisory_lock(${migrationLockKey})`);
  const failure = await bootToFailure([{ id: "a1" }], { url, args: ["--lock-timeout", "300ms"] });
  expect(failure.code).toBe(75);
  expect(failure.msg).toMatch(
    /cannot acquire the migration lock within 0\.3 s: the migration lock is held by pid \d+ \(web-3, /,
  );
});

test("75: a version table that stays locked is waited for as long as the migration lock", async () => {
  const url = await createTestDatabase();
  await stampRows(url, "a1");
  const holder = await connectClient(url);
  await holder.query("begin");
  await holder.query("lock table alembic_version");
  const failure = await bootToFailure([{ id: "a1" }], { url, args: ["--lock-timeout", "300ms"] });
  expect(failure.code).toBe(75);
  expect(failure.msg).toBe("the database has not answered a query for 5 s");
  expect(failure.hint).toContain("a session that has locked the version table");
});

test("80: a database that is ahead of the image", async () => {
  const url = await createTestDatabase();
  await stampRows(url, "z9");
  const failure = await bootToFailure([{ id: "a1" }], { url });
  expect(failure.code).toBe(80);
  expect(failure.msg).toContain("z9");
  expect(failure.hint).toContain("--on-ahead start");
});

test("82: rows of which one is the other's ancestor", async () => {
  const url = await createTestDatabase();
  await stampRows(url, "a1", "b2");
  const failure = await bootToFailure([{ id: "a1" }, { id: "b2" }], { url });
  expect(failure.code).toBe(82);
  expect(failure.msg).toContain("both a1 and b2");
});

test("83: several heads where one is the target", async () => {
  const failure = await bootToFailure([{ id: "a1" }, { id: "b2" }, { id: "c3", down: "a1" }]);
  expect(failure.code).toBe(83);
  expect(failure.msg).toContain("b2");
  expect(failure.msg).toContain("c3");
});

test("84: a migration that says 0 and has migrated nothing", async () => {
  const failure = await bootToFailure([{ id: "a1", upgrade: "sys.exit(0)" }]);
  expect(failure.code).toBe(84);
  expect(failure.msg).toContain("1 was pending, 0 were applied");
});

test("85: the loss of the lock stops the migration", async () => {
  const url = await createTestDatabase();
  const cwd = createProject([
    { id: "a1", upgrade: 'print("asleep", flush=True)\nop.execute("select pg_sleep(60)")' },
  ]);
  const run = startEntrypoint(app, { cwd, env: { DATABASE_URL: url } });
  await run.printed("asleep");
  const client = await connectClient(url);
  await client.query(`
    select pg_terminate_backend(pid) from pg_locks
    where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`);
  const { code, ms } = await run.ended;
  expect(code).toBe(85);
  expect(ms).toBeLessThan(30_000);
  expect(run.stdout()).not.toContain("the app was started");
  expect(run.lines().at(-1)?.msg).toContain("was stopped: the migration lock was lost");
});

test("124: a migration that takes too long is stopped, and its group with it", async () => {
  const failure = await bootToFailure([{ id: "a1", upgrade: "time.sleep(60)" }], {
    args: ["--migrate-timeout", "1s"],
  });
  expect(failure.code).toBe(124);
  expect(failure.msg).toContain("longer than 1 s");
});

/** Runs a shell script with entrypoint's words as its arguments, in a directory of its own. */
function runShell(
  script: string,
  args: readonly string[],
  env: Record<string, string> = {},
  command = entrypointCommand(),
) {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-shell-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const run = spawnSync("sh", ["-c", script, "sh", ...command, ...args], {
    cwd: directory,
    env: plainEnvironment(env),
    encoding: "utf8",
  });
  const line = JSON.parse(run.stderr.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;
  return { status: run.status, stdout: run.stdout, line };
}

// The executable's snapshot has no place for what breaks the bundle here.
test("70: an internal error shows the lines of the TypeScript source", () => {
  const broken = 'data:text/javascript,process.cwd = () => { throw new Error("broken") }';
  const env = { NODE_OPTIONS: `--import "${broken.replaceAll('"', "'").replaceAll(" ", "%20")}"` };
  const command = entrypointCommand(process.execPath);
  const { status, stdout, line } = runShell('"$@"', ["--no-migrate", ...app], env, command);
  expect(status).toBe(70);
  expect(stdout).toBe("");
  expect(line["event"]).toBe("internal-error");
  const { stack } = line["err"] as { stack: string };
  expect(stack).toMatch(/\(src\/settings\/\w+\.ts:\d+:\d+\)/);
  expect(stack).toMatch(/\(entrypoint\.ts:\d+:\d+\)/);
  expect(stack).not.toContain("entrypoint.js");
});

test.each(["run", "migrate", "supervise"])(
  "64: %s in a working directory that is gone",
  (command) => {
    const { status, stdout, line } = runShell('rmdir "$PWD" && "$@"', [command, ...app]);
    expect(status).toBe(64);
    expect(stdout).toBe("");
    expect(line).toMatchObject({
      event: "bad-settings",
      msg: "the working directory has been deleted",
      hint: expect.stringContaining("WORKDIR"),
    });
  },
);

test("126 and 127: commands that cannot be started", async () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-programs-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "not-executable");
  writeFileSync(file, "#!/bin/sh\n");
  chmodSync(file, 0o644);
  const codes: unknown[] = [];
  for (const args of [
    ["--no-migrate", file],
    ["--no-migrate", "no-such-program"],
    ["--no-lock", "--migrate", file, "true"],
    ["--no-lock", "--migrate", "no-such-program", "true"],
  ]) {
    const run = await runEntrypoint(args, { cwd: directory });
    codes.push(run.code);
    expect(run.lines.at(-1)?.msg).toContain("cannot start");
  }
  expect(codes).toEqual([126, 127, 126, 127]);
});

test("126: an environment that is too long for the migration command", async () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-secret-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const secret = join(directory, "secret");
  writeFileSync(secret, "x".repeat(200_000));
  const failure = await bootToFailure([{ id: "a1" }], {
    args: ["--secret", "CERTIFICATE"],
    env: { CERTIFICATE_FILE: secret },
  });
  expect(failure.code).toBe(126);
  expect(failure.msg).toContain("cannot start alembic: arguments and environment too long");
});

test("an application that cannot be found leaves the database untouched", async () => {
  const url = await createTestDatabase();
  const run = await runEntrypoint(["no-such-app"], { env: { DATABASE_URL: url } });
  expect(run.code).toBe(127);
  const { rows } = await (
    await connectClient(url)
  ).query("select from pg_class where relname = 'alembic_version'");
  expect(rows).toEqual([]);
});
