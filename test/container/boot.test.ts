// entrypoint as PID 1 of the blog's image, from the first start to the last signal: what entrypoint.sh did at its
// best, and what it could not.

import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import {
  call,
  createDatabase,
  engine,
  fetchWhenServed,
  mountProject,
  shellScript,
  startContainer,
  startDatabase,
  type Container,
  type Database,
} from "./engine.ts";

const published = ["--publish", "127.0.0.1::8000"];
const asShellScript = [
  "--volume",
  `${shellScript}:/entrypoint.sh:ro`,
  "--entrypoint",
  "/entrypoint.sh",
];
const head = "0005_require_word_count";

describe.skipIf(engine === null)("in a container", () => {
  test("the app is PID 1, as it is after entrypoint.sh, and ends with the same code and all its workers", async () => {
    const database = await startDatabase();
    const env = { DATABASE_URL: database.url };
    const flags = [...database.flags, ...published];
    const own = await startContainer({ env, flags });
    await fetchWhenServed(own, "/healthz");
    // Once the database is at head, so that the two do not race.
    const script = await startContainer({ env, flags: [...flags, ...asShellScript] });
    await fetchWhenServed(script, "/healthz");

    for (const container of [own, script]) {
      const { stdout } = await container.exec("cat", "/proc/1/cmdline");
      expect(stdout).toContain("/uvicorn\0app.main:app\0");
    }
    const programs = async (container: Container) =>
      (await container.exec("sh", "-c", "readlink /proc/[0-9]*/exe")).stdout.split("\n");
    expect(await programs(own)).not.toContainEqual(expect.stringContaining("/entrypoint"));

    const ms = await own.stop();
    await script.stop();
    expect(await own.ended()).toBe(await script.ended());
    expect(ms).toBeLessThan(9_000);
    expect(own.output().match(/Finished server process/g)).toHaveLength(2);
  });

  test("docker/seccomp.json allows what a boot and the blog need, and refuses more than the engine", async () => {
    const database = await startDatabase();
    const profile = resolve(import.meta.dirname, "../../docker/seccomp.json");
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published, "--security-opt", `seccomp=${profile}`],
    });
    expect(await fetchWhenServed(app, "/posts")).toBe("[]");
    expect(app.lines().map(({ event }) => event)).toContain("migrated");
    // personality(2), which the engine's own profile allows.
    const ask = `import ctypes; print(ctypes.CDLL(None).syscall(${process.arch === "arm64" ? 92 : 135}, 0))`;
    expect((await app.exec("python", "-c", ask)).stdout).toBe("-1");
    expect((await app.exec("entrypoint", "supervise", "sh", "-c", "exit 7")).code).toBe(7);
    await app.stop();
    expect(await app.ended()).toBe(0);
  });

  test("docker stop lets an open request finish", async () => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published],
    });
    await fetchWhenServed(app, "/posts");
    const gate = await database.connect();
    await gate.query("begin; lock table posts");
    const answer = fetch(`${await app.address()}/posts`);
    await expect
      .poll(async () => (await gate.query("select from pg_locks where not granted")).rowCount)
      .toBe(1);
    const stopped = app.stop();
    await app.printed("Waiting for connections to close");
    await gate.query("rollback");
    expect(await (await answer).json()).toEqual([]);
    await stopped;
    expect(await app.ended()).toBe(0);
  });

  test("a failed migration ends the container with 1 and the reason, and the app never listened", async () => {
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-termination-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const terminationLog = join(directory, "log");
    writeFileSync(terminationLog, "");
    chmodSync(terminationLog, 0o666);

    const database = await startDatabase();
    const project = mountProject([{ id: "a1" }, { id: "b2", upgrade: 'op.execute("select 1/0")' }]);
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...project, `--volume=${terminationLog}:/dev/termination-log`],
    });
    expect(await app.ended()).toBe(1);
    expect(await call("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", app.id)).toBe(
      "exited 1",
    );
    expect(app.output()).toContain("division by zero");
    expect(app.output()).not.toContain("Starting application");
    expect(app.output()).not.toContain("Uvicorn running");
    const reason =
      "Migration failed! Aborting startup. alembic upgrade head exited with code 1: 2 were pending, 1 was applied: the database is at a1, between the beginning and head b2; its last error: sqlalchemy.exc.DataError: (psycopg.errors.DivisionByZero) division by zero";
    expect(app.lines().at(-1)?.msg).toBe(reason);
    expect(readFileSync(terminationLog, "utf8")).toContain(`entrypoint: ${reason}\n`);
  });

  test("of six replicas that start together on an empty database one migrates and six serve", async () => {
    const database = await startDatabase();
    const replicas = await startTogether(database, "/entrypoint", published);
    await Promise.all(replicas.map((replica) => fetchWhenServed(replica, "/posts")));
    const events = replicas.flatMap((replica) => replica.lines().map(({ event }) => event));
    expect(events.filter((event) => event === "migrating")).toHaveLength(1);
    expect(events.filter((event) => event === "starting")).toHaveLength(6);

    // What entrypoint.sh makes of it is luck, so it is told and not asserted.
    const other = await startDatabase();
    await other.connect();
    const scripts = await startTogether(other, "/entrypoint.sh", [
      `--volume=${shellScript}:/entrypoint.sh:ro`,
    ]);
    const fates = await Promise.all(
      scripts.map((script) =>
        script.printed("Application startup complete").then(
          () => "serves",
          () => "died",
        ),
      ),
    );
    const died = fates.filter((fate) => fate === "died").length;
    console.log(`Of six replicas with entrypoint.sh ${died} died; with entrypoint none`);
  });

  test("a database that comes ten seconds late is waited for", async () => {
    const database = await createDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published],
    });
    const startMs = performance.now();
    await app.event("waiting");
    await expect.poll(() => performance.now() - startMs).toBeGreaterThan(10_000);
    await database.container.start();
    await fetchWhenServed(app, "/posts");
    expect(app.lines().map(({ event }) => event)).toContain("database-ready");
  });

  test("a container that is killed in the middle of a migration finishes it when it is started again", async () => {
    const database = await startDatabase();
    const { gate, project } = await createGate(database);
    const job = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...project],
      words: ["/entrypoint", "migrate"],
    });
    await waitAtGate(gate);
    await job.kill();
    expect(await job.ended()).toBe(137);
    await gate.query("rollback");
    await job.start();
    expect(await job.ended()).toBe(0);
    const applied = job.lines().findLast(({ event }) => event === "migrated");
    expect(applied).toMatchObject({ state: "current", current: ["c3"] });
  });

  describe("docker stop ends the boot, and the app never starts", () => {
    test("while it waits for the database", async () => {
      const database = await createDatabase();
      const app = await startContainer({
        env: { DATABASE_URL: database.url },
        flags: database.flags,
      });
      await app.event("waiting");
      await expectStopped(app);
    });

    test("while it asks a name server that does not answer", async () => {
      // Takes the questions and reads none of them.
      const silent = `import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
server.set_inheritable(True)
os.execv("/entrypoint", ["/entrypoint"])`;
      const app = await startContainer({
        env: { DATABASE_URL: "postgresql://blog@db/blog" },
        flags: ["--dns=127.0.0.1"],
        words: ["python", "-c", silent],
      });
      // local address, remote address, state, bytes to be sent and to be read
      const asked = /0100007F:0035 \S+ \S+ 0{8}:0*[1-9A-F]/;
      await expect.poll(async () => (await app.exec("cat", "/proc/net/udp")).stdout).toMatch(asked);
      await expectStopped(app);
    });

    test("while it queues for the lock", async () => {
      const database = await startDatabase();
      const { gate, project } = await createGate(database);
      const options = {
        env: { DATABASE_URL: database.url },
        flags: [...database.flags, ...project],
      };
      const first = await startContainer(options);
      await waitAtGate(gate);
      const second = await startContainer(options);
      expect((await second.event("lock-wait")).msg).toContain("entrypoint");
      await expectStopped(second);
      await expectStopped(first);
    });

    test("while it migrates, and the migration with it", async () => {
      const database = await startDatabase();
      const { gate, project } = await createGate(database);
      const app = await startContainer({
        env: { DATABASE_URL: database.url },
        flags: [...database.flags, ...project],
      });
      await waitAtGate(gate);
      await expectStopped(app);
      expect(app.lines().map(({ event }) => event)).toContain("forwarded");
      // The server notices that the migration's client has gone, and rolls back.
      await expect
        .poll(async () => (await gate.query("select from pg_locks where not granted")).rowCount)
        .toBe(0);
    });
  });

  test("docker exec runs entrypoint by its name beside the app", async () => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published],
    });
    await fetchWhenServed(app, "/healthz");
    const plan = await app.exec("entrypoint", "--dry-run");
    expect(plan.stdout).toContain(`state      current: at ${head}`);
    expect((await app.exec("entrypoint", "wait")).code).toBe(0);
    const status = await app.exec("entrypoint", "status", "--json");
    expect(status.code).toBe(0);
    expect(JSON.parse(status.stdout)).toMatchObject({ state: "current", current: [head] });
    for (const words of [["current"], ["heads"], ["history", "--verbose"]]) {
      const [own, alembic] = [
        await app.exec("entrypoint", ...words),
        await app.exec("alembic", ...words),
      ];
      expect(own.stdout).toBe(alembic.stdout);
      expect(own.stdout).toContain(head);
    }
    expect((await app.exec("entrypoint", "migrate")).stderr).toContain("Nothing to migrate");
    expect((await app.exec("entrypoint", "--version")).code).toBe(0);
    expect(await fetchWhenServed(app, "/healthz")).toBe('{"status":"ok"}');
  });

  test("docker exec goes back, as alembic downgrade does, and not under an application that serves", async () => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published],
    });
    // From now on the application is connected.
    await fetchWhenServed(app, "/posts");
    const current = async () => {
      const { stdout } = await app.exec("alembic", "current");
      expect((await app.exec("entrypoint", "current")).stdout).toBe(stdout);
      return stdout.trim();
    };
    const plan = await app.exec("entrypoint", "downgrade", "-2", "--dry-run");
    expect(plan.stdout).toMatch(
      /^current {4}0005_require_word_count\nwould stop .* these sessions are connected: pid \d+ \(.*\ncure .*--force\ndowngrade {2}would undo 0005_require_word_count \(Require .*\), 0004_check_word_count/m,
    );
    expect(await app.exec("entrypoint", "downgrade", "-1")).toMatchObject({ code: 65 });
    expect(await current()).toBe(`${head} (head)`);

    const one = await app.exec("entrypoint", "downgrade", "-1", "--force");
    expect(one).toMatchObject({ code: 0 });
    expect(await current()).toBe("0004_check_word_count");
    // By its beginning, as Alembic takes it too. What the backfill did would stay.
    const two = await app.exec("entrypoint", "downgrade", "0002");
    expect(two).toMatchObject({ code: 65 });
    expect(two.stderr).toContain("undoing 0003_backfill_word_count");
    expect(await app.exec("entrypoint", "downgrade", "0002", "--force")).toMatchObject({ code: 0 });
    expect(await current()).toBe("0002_add_word_count");
    expect(await app.exec("entrypoint", "status")).toMatchObject({ code: 3 });

    const again = await app.exec("entrypoint", "migrate");
    expect(again).toMatchObject({ code: 0 });
    expect(await current()).toBe(`${head} (head)`);
    expect(await fetchWhenServed(app, "/posts")).toBe("[]");
  });
});

/** Six containers whose programs start at one moment: an engine takes longer to start six than a migration takes. */
async function startTogether(
  database: Database,
  program: string,
  flags: readonly string[],
): Promise<Container[]> {
  const gate = mkdtempSync(join(tmpdir(), "entrypoint-gate-"));
  onTestFinished(() => rmSync(gate, { recursive: true }));
  chmodSync(gate, 0o755);
  const wait = `echo at the gate; until [ -e /gate/open ]; do sleep 0.02; done; exec ${program}`;
  const containers = await Promise.all(
    Array.from({ length: 6 }, () =>
      startContainer({
        env: { DATABASE_URL: database.url },
        flags: [...database.flags, ...flags, "--volume", `${gate}:/gate:ro`],
        words: ["sh", "-c", wait],
      }),
    ),
  );
  await Promise.all(containers.map((container) => container.printed("at the gate")));
  writeFileSync(join(gate, "open"), "");
  return containers;
}

/** A project whose second revision waits for a lock that the test holds until it says rollback. */
async function createGate(database: Database) {
  const gate = await database.connect();
  const name = `gate_${randomUUID().replaceAll("-", "")}`;
  await gate.query(`create table ${name} ()`);
  await gate.query(`begin; lock table ${name}`);
  const project = mountProject([
    { id: "a1" },
    { id: "b2", upgrade: `op.execute("lock table ${name}")` },
    { id: "c3" },
  ]);
  return { gate, project };
}

async function waitAtGate(gate: Awaited<ReturnType<typeof createGate>>["gate"]): Promise<void> {
  await expect
    .poll(async () => (await gate.query("select from pg_locks where not granted")).rowCount, {
      timeout: 30_000,
    })
    .toBe(1);
}

async function expectStopped(container: Container): Promise<void> {
  const ms = await container.stop();
  expect(await container.ended()).toBe(143);
  expect(ms).toBeLessThan(9_000);
  expect(container.lines().at(-1)).toMatchObject({ event: "stopped", signal: "SIGTERM" });
  expect(container.output()).not.toContain("Starting application");
}
