// `entrypoint downgrade` beside real Alembic on histories of every shape: it undoes the same, says so first, and believes
// the database alone. It refuses what could not be undone, and what somebody may still need.
// @runs-on executable

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "pg";
import { describe, expect, test } from "vitest";
import { alembic, type Place } from "../harness/alembic.ts";
import { migrationLockKey, runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import {
  addComputedRevision,
  computedTable,
  createPlugins,
  createProject,
  histories,
  shadowAlembic,
  type RevisionFile,
} from "../harness/project.ts";

/** A project, and a database to which real Alembic has applied all of it, or what `targets` say. */
async function placeOf(
  revisions: readonly RevisionFile[],
  targets: readonly string[] = ["heads"],
  options: Parameters<typeof createProject>[1] = {},
): Promise<Place> {
  const cwd = createProject(revisions, options);
  const place = { cwd, env: { DATABASE_URL: await createTestDatabase() } };
  for (const target of targets) await alembic(place, "upgrade", target);
  return place;
}

/** A connection of a role that is not the application's. */
async function watch(place: Place): Promise<Client> {
  const url = new URL(place.env["DATABASE_URL"] ?? "");
  const owner = await connectClient(url.href);
  const role = `watcher_${url.pathname.slice(1)}`;
  await owner.query(`create role ${role} superuser login password 'secret'`);
  await owner.end();
  url.username = role;
  url.password = "secret";
  return connectClient(url.href);
}

async function readPlace(place: Place) {
  const client = await connectClient(place.env["DATABASE_URL"] ?? "");
  const { rows: tables } = await client.query<{ name: string }>(
    "select substr(relname, 3) as name from pg_class where relkind = 'r' and relname like 't\\_%'",
  );
  const { rows: versions } = await client.query<{ id: string }>(
    "select version_num as id from alembic_version",
  );
  await client.end();
  return {
    tables: tables.map(({ name }) => name).toSorted(),
    rows: versions.map(({ id }) => id).toSorted(),
  };
}

const shapes = {
  ...histories,
  // c3 is on a line of its own, and waits for b2 all the same.
  crossing: [{ id: "a1" }, { id: "b2" }, { id: "c3", down: "a1", dependsOn: "b2" }],
} satisfies Record<string, readonly RevisionFile[]>;

describe("undoes what real Alembic undoes, and leaves the same rows", () => {
  test.for([
    ["linear", ["heads"], "-1", ["d4"]],
    ["linear", ["heads"], "-4", ["d4", "c3", "b2", "a1"]],
    ["linear", ["heads"], "b2", ["d4", "c3"]],
    ["linear", ["c3"], "-2", ["c3", "b2"]],
    ["linear", ["heads"], "base", ["d4", "c3", "b2", "a1"]],
    ["merged", ["heads"], "-1", ["e6"]],
    ["merged", ["heads"], "d5", ["e6"]],
    ["merged", ["heads"], "b2", ["e6", "d5"]],
    ["merged", ["heads"], "a1", ["e6", "d5", "c4", "c3", "b2"]],
    ["merged", ["b2", "c4"], "c3", ["c4"]],
    ["merged", ["b2", "c4"], "base", ["c4", "c3", "b2", "a1"]],
    ["depending", ["heads"], "-1", ["a2"]],
    ["depending", ["heads"], "b1", ["a2", "b2"]],
    ["depending", ["heads"], "base", ["a2", "a1", "b2", "b1"]],
    ["several heads", ["heads"], "a1", ["c3", "b2"]],
    ["several heads", ["c3"], "-1", ["c3"]],
    ["crossing", ["heads"], "-1", ["c3"]],
    ["crossing", ["heads"], "-2", ["c3", "b2", "a1"]],
    ["crossing", ["heads"], "a1", ["c3", "b2"]],
  ] as const)("%s, at %j, %s", async ([shape, targets, revision, undone]) => {
    const [ours, theirs] = await Promise.all([
      placeOf(shapes[shape], targets),
      placeOf(shapes[shape], targets),
    ]);
    const before = await readPlace(ours);
    const run = await runEntrypoint(["downgrade", revision], ours);
    expect(run).toMatchObject({ code: 0, stdout: "" });
    await alembic(theirs, "downgrade", revision);
    const after = await readPlace(ours);
    expect(after).toEqual(await readPlace(theirs));

    const line = run.lines.find(({ event }) => event === "downgrading");
    const sorted = (name: string) => ((line?.[name] ?? []) as string[]).toSorted();
    expect(sorted("undone")).toEqual(undone.toSorted());
    expect(sorted("from")).toEqual(before.rows);
    expect(sorted("to")).toEqual(after.rows);
    expect(before.tables.filter((id) => !after.tables.includes(id))).toEqual(undone.toSorted());
    expect(run.lines.map(({ event }) => event).slice(-1)).toEqual(["downgraded"]);
  });

  test("where the files leave doubt Alembic is asked, before and after", async () => {
    const cwd = createProject(histories.merged, { env: computedTable });
    addComputedRevision(cwd, "f7", "e6");
    const place = { cwd, env: { DATABASE_URL: await createTestDatabase() } };
    await alembic(place, "upgrade", "head");
    // Its downgrade() is missing: Alembic says so, and the database stays as it is.
    const failed = await runEntrypoint(["downgrade", "d5"], place);
    expect(failed).toMatchObject({ code: 1 });
    expect(failed.lines.at(-1)).toMatchObject({
      msg: expect.stringMatching(
        /^Downgrade failed! .* of 2 revisions 0 were undone: the database is at f7, between f7 and d5$/,
      ),
    });
    await alembic(place, "stamp", "e6");
    const run = await runEntrypoint(["downgrade", "d5"], place);
    expect(run).toMatchObject({ code: 0 });
    expect(run.lines.map(({ event }) => event)).toContain("asking");
    expect(run.lines.at(-1)).toMatchObject({ event: "downgraded", current: ["d5"] });
  });

  test("and so it is for a revision in a folder that env.py sets in code", async () => {
    const cwd = createPlugins();
    const place = { cwd, env: { DATABASE_URL: await createTestDatabase() } };
    await alembic(place, "upgrade", "head");
    const run = await runEntrypoint(["downgrade", "-1"], place);
    expect(run).toMatchObject({ code: 0 });
    expect(run.lines.find(({ event }) => event === "downgrading")).toMatchObject({
      from: ["b2"],
      undone: ["b2"],
      to: ["a1"],
    });
    expect(run.lines.at(-1)).toMatchObject({ event: "downgraded", current: ["a1"] });
    expect(await readPlace(place)).toEqual({ rows: ["a1"], tables: ["a1"] });
  });
});

describe("says first what it will do", () => {
  test("with each revision's message, and by which command", async () => {
    const place = await placeOf(histories.linear);
    const run = await runEntrypoint(
      ["--migrate", "alembic -x who=me upgrade head", "downgrade", "b2"],
      place,
    );
    expect(run.code).toBe(0);
    expect(run.lines).toMatchObject([
      {
        event: "downgrading",
        msg: "Undoing d4, c3 (drop what nobody reads any more): the database goes from d4 back to b2; no session of this role or of another entrypoint is connected (an application without an open connection is not seen)",
        command: ["alembic", "-x", "who=me", "downgrade", "b2"],
      },
      { event: "command-done" },
      { event: "downgraded", msg: "The database is at b2", from: ["d4"], current: ["b2"] },
    ]);
  });

  test("with --dry-run, and does nothing", async () => {
    const place = await placeOf(histories.linear);
    const before = await readPlace(place);
    const { env, mark } = shadowAlembic();
    const run = await runEntrypoint(["downgrade", "-2", "--dry-run"], {
      ...place,
      env: { ...place.env, ...env },
    });
    expect(run).toMatchObject({ code: 0, lines: [] });
    expect(run.stdout).toMatch(
      /^database {3}.*\ncurrent {4}d4\ndowngrade {2}would undo d4, c3 \(.*\)\n {11}would run alembic downgrade -2 under the migration lock\nsessions {3}no session of this role .*\nthen {7}would be at b2\n$/,
    );
    expect(await readPlace(place)).toEqual(before);
    expect(() => readFileSync(mark)).toThrow("ENOENT");
  });

  test("where the database is there already it runs nothing", async () => {
    const place = await placeOf(histories.linear, ["b2"]);
    const { env, mark } = shadowAlembic();
    const run = await runEntrypoint(["downgrade", "b2"], {
      ...place,
      env: { ...place.env, ...env },
    });
    expect(run.code).toBe(0);
    expect(run.lines.map(({ msg }) => msg)).toEqual(["Nothing to undo: the database is at b2"]);
    expect(() => readFileSync(mark)).toThrow("ENOENT");
  });
});

describe("refuses (65), and --force insists", () => {
  test("what could not be undone: a downgrade() that does nothing", async () => {
    const place = await placeOf([
      { id: "a1" },
      { id: "b2", doc: "drop names", downgrade: '"""One way."""\npass' },
      { id: "c3", upgrade: "pass", downgrade: "pass" },
    ]);
    const before = await readPlace(place);
    const refused = await runEntrypoint(["downgrade", "a1"], place);
    expect(refused).toMatchObject({ code: 65 });
    // c3 does nothing in either direction, as a merge does: that is none to stop for.
    expect(refused.lines).toMatchObject([
      {
        event: "unsafe-migration",
        msg: "the downgrade is refused: undoing b2 (drop names) has no effect: its undo is empty",
        hint: expect.stringContaining("--force"),
      },
    ]);
    expect(await readPlace(place)).toEqual(before);

    const dry = await runEntrypoint(["downgrade", "a1", "--dry-run"], place);
    expect(dry.stdout).toContain("would stop the downgrade is refused: undoing b2");

    const forced = await runEntrypoint(["downgrade", "a1", "--force"], place);
    expect(forced).toMatchObject({ code: 0 });
    expect(forced.lines[0]).toMatchObject({ level: "warn", event: "forced" });
    expect(await readPlace(place)).toEqual({ rows: ["a1"], tables: ["a1", "b2"] });
  });

  test("what an application may need: a session of its role", async () => {
    const place = await placeOf(histories.linear);
    const application = await connectClient(place.env["DATABASE_URL"] ?? "");
    await application.query("set application_name = 'blog'");
    const refused = await runEntrypoint(["downgrade", "-1"], place);
    expect(refused).toMatchObject({ code: 65 });
    expect(refused.lines.at(-1)?.msg).toMatch(
      /an application may be running that needs d4, since these sessions are connected: pid \d+ \(blog, user postgres/,
    );
    expect(await runEntrypoint(["downgrade", "-1", "--force"], place)).toMatchObject({ code: 0 });
  });

  test("and not a session of another role", async () => {
    const place = await placeOf(histories.linear);
    const other = await watch(place);
    await other.query("set application_name = 'web of another role'");
    const dry = await runEntrypoint(["downgrade", "-1", "--dry-run"], place);
    const seen =
      /no session of this role or of another entrypoint is connected \(an application without an open connection is not seen\); of other roles, which do not count: pid \d+ \(web of another role, user watcher_/;
    expect(dry.stdout).toMatch(seen);
    const run = await runEntrypoint(["downgrade", "-1"], place);
    expect(run).toMatchObject({ code: 0 });
    const line = run.lines.find(({ event }) => event === "downgrading");
    expect(line).toMatchObject({
      role: "postgres",
      otherSessions: [{ application: "web of another role" }],
    });
    expect(line?.msg).toMatch(seen);
  });
});

describe("under the lock", () => {
  test("waits for another replica's migration, and plans again then", async () => {
    const place = await placeOf(histories.linear, ["c3"]);
    const other = await watch(place);
    await other.query(`select pg_advisory_lock(${migrationLockKey})`);
    const run = startEntrypoint(["downgrade", "-1"], place);
    await run.event("lock-wait");
    await alembic(place, "upgrade", "d4");
    await other.query(`select pg_advisory_unlock(${migrationLockKey})`);
    expect(await run.ended).toMatchObject({ code: 0 });
    expect(run.lines().find(({ event }) => event === "downgrading")).toMatchObject({
      undone: ["d4"],
    });
  });

  test("75: it was not free in time", async () => {
    const place = await placeOf(histories.linear);
    const other = await watch(place);
    await other.query(`select pg_advisory_lock(${migrationLockKey})`);
    const run = await runEntrypoint(["downgrade", "-1", "--lock-timeout", "200ms"], place);
    expect(run).toMatchObject({ code: 75 });
  });

  test("143: TERM stops it, and the database stays between two revisions", async () => {
    const place = await placeOf([
      { id: "a1" },
      { id: "b2", downgrade: 'print("half way", flush=True)\ntime.sleep(600)' },
    ]);
    const run = startEntrypoint(["downgrade", "-1"], place);
    await run.printed("half way");
    run.process.kill("SIGTERM");
    expect(await run.ended).toMatchObject({ code: 143 });
    expect((await readPlace(place)).rows).toEqual(["b2"]);
  });
});

describe("is not taken for done", () => {
  test("1: a revision that fails, and how far it came", async () => {
    const place = await placeOf([
      { id: "a1", downgrade: 'raise Exception("no way back")' },
      { id: "b2" },
    ]);
    const run = await runEntrypoint(["downgrade", "base"], place);
    expect(run).toMatchObject({ code: 1 });
    expect(run.lines.at(-1)).toMatchObject({
      event: "migration-failed",
      msg: "Downgrade failed! alembic downgrade base exited with code 1: of 2 revisions 1 was undone: the database is at a1, between b2 and base",
      current: ["a1"],
    });
  });

  test("84: a revision that leaves by sys.exit(0)", async () => {
    const place = await placeOf([{ id: "a1" }, { id: "b2", downgrade: "sys.exit(0)" }]);
    const run = await runEntrypoint(["downgrade", "-1"], place);
    expect(run).toMatchObject({ code: 84 });
    expect(run.lines.at(-1)?.msg).toContain(
      "the database is not at a1: of 1 revision 0 were undone",
    );
  });

  test("124: one that takes too long", async () => {
    const place = await placeOf([{ id: "a1", downgrade: "time.sleep(600)" }]);
    const run = await runEntrypoint(["downgrade", "base", "--migrate-timeout", "3s"], place);
    expect(run).toMatchObject({ code: 124 });
  });
});

describe("what cannot be meant is refused before anything is touched", () => {
  test.for([
    ["linear", "heads", "-5", 64, "cannot go back by 5: only 4 are applied before d4"],
    ["linear", "b2", "c3", 64, "cannot go back to c3: it is not applied"],
    ["linear", "heads", "zz", 64, "cannot go back to zz: no file defines it"],
    ["merged", "heads", "-2", 64, "cannot go back by 2: d5 joins the branches b2, c4"],
    [
      "several heads",
      "heads",
      "-1",
      64,
      "cannot go back by 1: the database is at several revisions",
    ],
    ["linear", "heads", "head", 64, "cannot go back to head"],
  ] as const)("%s at %s: %s", async ([shape, at, revision, code, message]) => {
    const place = await placeOf(histories[shape], [at]);
    const { env, mark } = shadowAlembic();
    const run = await runEntrypoint(["downgrade", revision], {
      ...place,
      env: { ...place.env, ...env },
    });
    expect(run).toMatchObject({ code });
    expect(run.lines.at(-1)?.msg).toContain(message);
    expect(() => readFileSync(mark)).toThrow("ENOENT");
  });

  test("80: the database is ahead, and only the newer image can undo that", async () => {
    const place = await placeOf(histories.linear);
    const client = await watch(place);
    await client.query("update alembic_version set version_num = 'e5'");
    const run = await runEntrypoint(["downgrade", "-1"], place);
    expect(run).toMatchObject({ code: 80 });
    expect(run.lines.at(-1)?.["hint"]).toContain("run the downgrade with that one");
  });

  test("64: no database is known, or the command is not Alembic's", async () => {
    const cwd = createProject(histories.linear);
    expect(await runEntrypoint(["downgrade", "-1"], { cwd })).toMatchObject({ code: 64 });
    const place = await placeOf(histories.linear);
    const other = ["--migrate", join(place.cwd, "migrate.sh"), "downgrade", "-1"];
    const run = await runEntrypoint(other, place);
    expect(run).toMatchObject({ code: 64 });
    expect(run.lines.at(-1)?.msg).toContain("the migration command is not understood");
  });
});
