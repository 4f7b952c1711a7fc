// The main job against real PostgreSQL, Alembic and uvicorn: what entrypoint.sh means to do, and the race that it loses.
// @runs-on bundle, executable

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { findFreePort } from "../../../scripts/postgres.ts";
import {
  blogDirectory,
  bundle,
  executable,
  migrationLockKey,
  plainEnvironment,
  runEntrypoint,
  startEntrypoint,
  type RunOptions,
} from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { greetAsPooler, refuseCheckInterval, startProxy } from "../harness/proxy.ts";
import { createProject, shadowAlembic } from "../harness/project.ts";

/** Connects to what the ini file names, and to nothing else. */
const iniAlone = `from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config

def run_migrations_online():
    connectable = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool)
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=None)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;

function iniOf(url: string): string {
  return `[alembic]\nscript_location = migrations\nsqlalchemy.url = ${url.replaceAll("%", "%%")}\n`;
}

async function migratedBlog(): Promise<string> {
  const DATABASE_URL = await createTestDatabase();
  expect(await runEntrypoint(["migrate"], { env: { DATABASE_URL } })).toMatchObject({ code: 0 });
  return DATABASE_URL;
}

describe("with no setting but the URL", () => {
  test("migrates the blog, prints the script's messages in their order and becomes the app", async () => {
    const DATABASE_URL = await createTestDatabase();
    const run = await runEntrypoint(["sh", "-c", "echo app $$"], { env: { DATABASE_URL } });
    expect(run.code).toBe(0);
    const messages = run.lines.map((line) => line.msg);
    const running = messages.indexOf("Running database migrations...");
    expect(running).toBeGreaterThanOrEqual(0);
    expect(messages.indexOf("Migrations complete. Starting application...")).toBeGreaterThan(
      running,
    );
    expect(run.stdout).toMatch(/^app \d+$/m);
    const durations = run.lines.at(-1);
    for (const step of ["waitMs", "inspectMs", "lockMs", "migrateMs"]) {
      expect(durations?.[step], step).toEqual(expect.any(Number));
    }
    expect(durations).not.toHaveProperty("setupMs");
    const again = await runEntrypoint(["true"], { env: { DATABASE_URL } });
    // Which database was looked at, without its password.
    const database = DATABASE_URL.replace(/:[^:@/]*@/, "@");
    const head = `at head 0005_require_word_count (${database})`;
    expect(run.lines.find(({ event }) => event === "migrated")).toMatchObject({
      database,
      msg: `The database is ${head}`,
    });
    expect(again.lines[0]).toMatchObject({
      event: "current",
      database,
      msg: `Nothing to migrate: the database is ${head}`,
    });
    expect(again.lines.at(-1)?.msg).toBe("Starting application...");
    expect(again.lines.at(-1)).not.toHaveProperty("migrateMs");
    const alone = await runEntrypoint(["migrate"], { env: { DATABASE_URL } });
    expect(alone.lines.at(-1)?.msg).toBe("Nothing was migrated.");
  });

  test("hands over standard streams that block, as it got them", async () => {
    const DATABASE_URL = await migratedBlog();
    const script = "grep -h flags /proc/self/fdinfo/0 /proc/self/fdinfo/1 /proc/self/fdinfo/2";
    for (const format of ["json", "text", "pretty"]) {
      const args = ["--log-format", format, "sh", "-c", script];
      const run = await runEntrypoint(args, { env: { DATABASE_URL } });
      // Not after a migration: libuv makes the streams of a child block, and those are ours as well. Octal: 04000 is O_NONBLOCK. /dev/null, then the two sockets that stand in for pipes.
      expect(run.stdout).toBe("flags:\t0100000\nflags:\t02\nflags:\t02\n");
    }
  });

  test("becomes uvicorn under its own pid, which serves the blog and ends gracefully on TERM", async () => {
    const DATABASE_URL = await createTestDatabase();
    const port = await findFreePort();
    const run = startEntrypoint([], {
      env: {
        DATABASE_URL,
        ENTRYPOINT_APP: `uvicorn app.main:app --host 127.0.0.1 --port ${port} --workers 2`,
      },
    });
    await run.printed("Application startup complete");
    const posts = await fetch(`http://127.0.0.1:${port}/posts`);
    expect([posts.status, await posts.json()]).toEqual([200, []]);
    if (process.execve !== undefined) {
      expect(readFileSync(`/proc/${run.pid}/cmdline`, "utf8")).toContain("uvicorn");
    }
    run.process.kill("SIGTERM");
    const { code, signal } = await run.ended;
    // uvicorn's parent process exits by itself, or re-raises the signal, depending on its version.
    expect([0, 143, "SIGTERM"]).toContain(signal ?? code);
    expect(run.stderr()).toMatch(/Application shutdown complete|Stopping parent process/);
  });

  test("starts no Python when nothing is pending", async () => {
    const DATABASE_URL = await migratedBlog();
    const { env, mark } = shadowAlembic();
    const run = await runEntrypoint(["echo", "started"], { env: { ...env, DATABASE_URL } });
    expect(run).toMatchObject({ code: 0, stdout: "started\n" });
    expect(() => readFileSync(mark)).toThrow("ENOENT");
    expect(run.lines.map((line) => line.event)).toEqual(["current", "starting"]);
  });

  test("takes the URL from an Alembic config that env.py reads", async () => {
    const url = await createTestDatabase();
    const cwd = createProject([{ id: "a1" }], { env: iniAlone, ini: iniOf(url) });
    const run = await runEntrypoint(["migrate"], { cwd });
    expect(run).toMatchObject({ code: 0 });
    expect(run.lines.find((line) => line.event === "migrated")).toMatchObject({ current: ["a1"] });
  });

  test("64: DATABASE_URL names another database than the one that is migrated, until the user says which", async () => {
    const url = await createTestDatabase();
    const cwd = createProject([{ id: "a1" }], { env: iniAlone, ini: iniOf(url) });
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, "a1");
    const env = { DATABASE_URL };
    for (const words of [["true"], ["migrate"], ["wait"], ["status"], ["--dry-run", "true"]]) {
      const { code, stdout, lines } = await runEntrypoint(words, { cwd, env });
      expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
      expect(lines.at(-1)?.msg).toMatch(
        /^the migration command uses only sqlalchemy.url in the Alembic config, which names postgresql:.*, and DATABASE_URL names /,
      );
      for (const named of [url, DATABASE_URL]) {
        expect(lines.at(-1)?.msg).toContain(new URL(named).pathname);
      }
    }
    const client = await connectClient(url);
    const tables = "select from pg_class where relname in ('alembic_version', 't_a1')";
    expect((await client.query(tables)).rowCount).toBe(0);
    const chosen = await runEntrypoint(["--database-url", url, "true"], { cwd, env });
    expect(chosen.code).toBe(0);
    expect((await client.query(tables)).rowCount).toBe(2);
  });

  test("84: a migration of a database that only code names, and which one was looked at", async () => {
    const other = await createTestDatabase();
    const env = iniAlone.replace("config.get_section(", `{"sqlalchemy.url": "${other}"} or (`);
    const cwd = createProject([{ id: "a1" }], { env, ini: iniOf(other) });
    const DATABASE_URL = await createTestDatabase();
    const run = await runEntrypoint(["migrate"], { cwd, env: { DATABASE_URL } });
    expect(run.code).toBe(84);
    expect(run.lines.at(-1)?.msg).toContain(`${new URL(DATABASE_URL).pathname} is not at head`);
  });

  test("runs the command without a lock, and says so, when no database is known", async () => {
    const words = ["--migrate", "sh -c 'echo migrating'", "echo", "app"];
    const refused = await runEntrypoint(words);
    expect(refused).toMatchObject({ code: 64, stdout: "" });
    const run = await runEntrypoint(["--no-lock", ...words]);
    expect(run).toMatchObject({ code: 0, stdout: "migrating\napp\n" });
    expect(run.lines.map((line) => line.event)).toContain("unlocked");
  });
});

describe("replicas", () => {
  test("thirty-two boots on an empty database run Alembic once, and all reach the app", async () => {
    const DATABASE_URL = await createTestDatabase();
    const boots = Array.from({ length: 32 }, () =>
      runEntrypoint(["echo", "served"], { env: { DATABASE_URL } }),
    );
    const runs = await Promise.all(boots);
    expect(runs.map((run) => run.code)).toEqual(runs.map(() => 0));
    expect(runs.map((run) => run.stdout.trim().split("\n").at(-1))).toEqual(
      runs.map(() => "served"),
    );
    expect(
      runs.filter((run) => run.stderr.includes("Running database migrations...")),
    ).toHaveLength(1);
  });

  test("a pending CREATE INDEX CONCURRENTLY does not hang behind replicas that wait for the lock", async () => {
    const DATABASE_URL = await createTestDatabase();
    const cwd = createProject([
      { id: "a1" },
      {
        id: "b2",
        upgrade: `with op.get_context().autocommit_block():\n    op.execute("create index concurrently i on t_a1 (id)")`,
      },
    ]);
    const options: RunOptions = { cwd, env: { DATABASE_URL } };
    const runs = await Promise.all(
      Array.from({ length: 8 }, () => runEntrypoint(["migrate"], options)),
    );
    expect(runs.map((run) => run.code)).toEqual(runs.map(() => 0));
    const client = await connectClient(DATABASE_URL);
    const { rows } = await client.query(
      "select indisvalid from pg_index where indexrelid = 'i'::regclass",
    );
    expect(rows).toEqual([{ indisvalid: true }]);
  });

  test("one that waits says who holds the lock", async () => {
    const DATABASE_URL = await createTestDatabase();
    const client = await connectClient(DATABASE_URL);
    await client.query("set application_name = 'somebody else'");
    await client.query(`select pg_advisory_lock(${migrationLockKey})`);
    const run = startEntrypoint(["migrate"], { env: { DATABASE_URL } });
    expect((await run.event("lock-wait")).msg).toContain("somebody else");
    await client.query(`select pg_advisory_unlock(${migrationLockKey})`);
    expect((await run.ended).code).toBe(0);
  });
});

describe("the migration's session", () => {
  test("is named, and keeps the PGOPTIONS that the user has set", async () => {
    const DATABASE_URL = await createTestDatabase();
    const settings = [
      "application_name",
      "client_connection_check_interval",
      "tcp_user_timeout",
      "work_mem",
    ];
    const cwd = createProject([
      {
        id: "a1",
        upgrade: settings
          .map(
            (name) => `print(op.get_bind().exec_driver_sql("show ${name}").scalar(), flush=True)`,
          )
          .join("\n"),
      },
    ]);
    const run = await runEntrypoint(["migrate"], {
      cwd,
      env: { DATABASE_URL, PGOPTIONS: "-c work_mem=7MB" },
    });
    expect(run.stdout).toMatch(/^entrypoint-migration \S+\n1s\n22000\n7MB\n$/);
  });
});

describe("on a server that refuses a setting of the session", () => {
  test("migrates without it, on both sides, and reports it at debug", async () => {
    const url = await createTestDatabase();
    const { url: DATABASE_URL } = await startProxy(url, (data) => data, 0, refuseCheckInterval);
    const show = (name: string) =>
      `print(op.get_bind().exec_driver_sql("show ${name}").scalar(), flush=True)`;
    const cwd = createProject([
      { id: "a1", upgrade: `${show("client_connection_check_interval")}\n${show("work_mem")}` },
    ]);
    const run = await runEntrypoint(["migrate", "--log-level", "debug"], {
      cwd,
      env: { DATABASE_URL, PGOPTIONS: "-c work_mem=7MB" },
    });
    expect(run.code, run.stderr).toBe(0);
    expect(run.stdout).toBe("0\n7MB\n");
    expect(run.lines.find(({ event }) => event === "session-setting")).toMatchObject({
      level: "debug",
      name: "client_connection_check_interval",
    });
  });
});

describe("behind a transaction pooler", () => {
  test("warns, and holds the lock by a transaction that the migration does not stumble over", async () => {
    const url = await createTestDatabase();
    const { url: DATABASE_URL } = await startProxy(url, greetAsPooler);
    const cwd = createProject([
      {
        id: "a1",
        upgrade: 'op.execute("alter table alembic_version alter version_num type text")',
      },
      {
        id: "b2",
        upgrade: `op.execute("create table t (id int)")\nwith op.get_context().autocommit_block():\n    op.execute("create index concurrently i on t (id)")`,
      },
    ]);
    const options: RunOptions = { cwd, env: { DATABASE_URL } };
    const runs = await Promise.all(
      Array.from({ length: 4 }, () => runEntrypoint(["migrate"], options)),
    );
    expect(runs.map((run) => run.code)).toEqual([0, 0, 0, 0]);
    expect(
      runs.filter((run) => run.stderr.includes("Running database migrations...")),
    ).toHaveLength(1);
    expect(runs.flatMap((run) => run.lines.map((line) => line.event))).toContain("pooler");
  });
});

describe("settings", () => {
  test("--setup runs under the lock at every boot, after the migrations", async () => {
    const DATABASE_URL = await createTestDatabase();
    const args = [
      "--setup",
      "sh -c 'echo setup one'",
      "--setup",
      "echo 'setup two'",
      "echo",
      "app",
    ];
    const first = await runEntrypoint(args, { env: { DATABASE_URL } });
    const second = await runEntrypoint(args, { env: { DATABASE_URL } });
    expect([first.code, first.stdout]).toEqual([0, "setup one\nsetup two\napp\n"]);
    expect([second.code, second.stdout]).toEqual([0, "setup one\nsetup two\napp\n"]);
  });

  test("--always-migrate runs the command on a database at head", async () => {
    const DATABASE_URL = await migratedBlog();
    const run = await runEntrypoint(["--always-migrate", "migrate"], { env: { DATABASE_URL } });
    expect(run.code).toBe(0);
    expect(run.stderr).toContain("Running database migrations...");
  });

  test("--no-migrate waits for the database and runs nothing", async () => {
    const DATABASE_URL = await createTestDatabase();
    const run = await runEntrypoint(["--no-migrate", "echo", "app"], { env: { DATABASE_URL } });
    expect(run).toMatchObject({ code: 0, stdout: "app\n" });
    expect(run.lines.map((line) => line.msg)).toEqual(["Starting application..."]);
  });

  test("--dry-run tells what is pending and touches nothing", async () => {
    const DATABASE_URL = await createTestDatabase();
    const run = await runEntrypoint(["--dry-run"], { env: { DATABASE_URL } });
    expect(run.code).toBe(0);
    expect(run.stdout).toContain("would run alembic upgrade head under the migration lock");
    expect(run.stdout).toContain("would become uvicorn app.main:app");
    const client = await connectClient(DATABASE_URL);
    const { rows } = await client.query(
      "select relname from pg_class where relnamespace = 'public'::regnamespace",
    );
    expect(rows).toEqual([]);
  });

  test("--secret reads the URL from its file, and the children see the value and not the file's name", async () => {
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-secret-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "url");
    writeFileSync(file, `${await createTestDatabase()}\n`);
    const run = await runEntrypoint(
      ["sh", "-c", 'echo "$DATABASE_URL" "${DATABASE_URL_FILE-unset}"'],
      {
        env: { DATABASE_URL_FILE: file },
      },
    );
    expect(run).toMatchObject({ code: 0, stdout: `${readFileSync(file, "utf8").trim()} unset\n` });
  });

  test.runIf(process.getuid?.() === 0)(
    "--user drops privileges before any command runs",
    async () => {
      const run = await runEntrypoint(
        ["--user", "nobody", "--migrate", "id -un", "--no-lock", "id", "-un"],
        {
          cwd: "/",
        },
      );
      expect(run).toMatchObject({ code: 0, stdout: "nobody\nnobody\n" });
    },
  );

  test("--on-ahead start warns and starts the app on a newer database", async () => {
    const DATABASE_URL = await migratedBlog();
    const cwd = createProject([{ id: "a1" }]);
    const run = await runEntrypoint(["--on-ahead", "start", "echo", "app"], {
      cwd,
      env: { DATABASE_URL },
    });
    expect(run).toMatchObject({ code: 0, stdout: "app\n" });
    expect(run.lines.find((line) => line.event === "ahead")).toMatchObject({ level: "warn" });
  });

  test("a database with tables and no recorded revision is migrated with a warning", async () => {
    const DATABASE_URL = await createTestDatabase();
    await (await connectClient(DATABASE_URL)).query("create table old (id int)");
    const run = await runEntrypoint(["migrate"], { env: { DATABASE_URL } });
    expect(run.code).toBe(0);
    expect(run.lines.map((line) => line.event)).toContain("unstamped");
  });

  test("a project that Python alone can read is migrated all the same", async () => {
    const DATABASE_URL = await createTestDatabase();
    const cwd = createProject([{ id: "a1" }]);
    writeFileSync(
      join(cwd, "migrations/versions/b2.py"),
      'import os\nrevision = "b" + "2"\ndown_revision = "a1"\ndef upgrade(): pass\ndef downgrade(): pass\n',
    );
    const run = await runEntrypoint(["migrate"], { cwd, env: { DATABASE_URL } });
    expect(run.code).toBe(0);
    expect(run.lines.find((line) => line.event === "cannot-tell")?.msg).toContain("b2.py");
    const client = await connectClient(DATABASE_URL);
    expect((await client.query("select version_num from alembic_version")).rows).toEqual([
      { version_num: "b2" },
    ]);
  });

  test("no password reaches the log", async () => {
    const url = new URL(await createTestDatabase());
    url.port = "1";
    const { password } = url;
    const run = await runEntrypoint(["--wait-timeout", "0", "migrate"], {
      env: { DATABASE_URL: url.href },
    });
    expect(run.code).toBe(69);
    expect(run.stderr).not.toContain(`:${password}@`);
  });
});

test("a symbolic link named entrypoint.sh works as the program does", () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-link-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const link = join(directory, "entrypoint.sh");
  symlinkSync(executable ?? bundle, link);
  const output = execFileSync(link, ["--no-migrate", "echo", "app"], {
    cwd: blogDirectory,
    env: { ...plainEnvironment(), PATH: `${join(process.execPath, "..")}:/usr/bin:/bin` },
    stdio: ["ignore", "pipe", "ignore"],
  });
  expect(output.toString()).toBe("app\n");
});
