// `entrypoint backfill` on a real server: tables of every kind, a writer on the same rows, kills at any moment, locks,
// renames and drops in the middle. ENTRYPOINT_TEST_ROWS makes the table that the writer works on larger.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import type { Client } from "pg";
import type { Status } from "../../../src/commands/status.ts";
import {
  entrypointCommand,
  plainEnvironment,
  python,
  runEntrypoint,
  startEntrypoint,
  type Run,
} from "../harness/entrypoint.ts";
import { missingPgBouncer, startPgBouncer } from "../harness/pgbouncer.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { testUnless } from "../supervise/harness/supervised.ts";
import { startOnTerminal } from "../supervise/harness/terminal.ts";

const wordCount = "word_count = array_length(regexp_split_to_array(trim(body), E'\\\\s+'), 1)";
const missing = "word_count IS NULL";

interface Place {
  readonly url: string;
  readonly client: Client;
}

async function createPlace(...statements: string[]): Promise<Place> {
  const url = await createTestDatabase();
  const client = await connectClient(url);
  for (const statement of statements) await client.query(statement);
  return { url, client };
}

/** A blog with so many posts, none of which has been counted. */
async function createPosts(rows: number): Promise<Place> {
  return createPlace(
    "create table posts (id int primary key, title text not null, body text not null, word_count int)",
    `insert into posts select i, 'post ' || i, repeat('a word ', 1 + i % 8) from generate_series(1, ${rows}) i`,
  );
}

function wordsFor(options: Record<string, string> = {}): string[] {
  const all = { table: "posts", set: wordCount, where: missing, ...options };
  return ["backfill", ...Object.entries(all).flatMap(([name, value]) => [`--${name}`, value])];
}

const environment = ({ url }: Place) => ({ env: { DATABASE_URL: url } });

const run = (place: Place, options: Record<string, string> = {}, ...more: string[]) =>
  runEntrypoint([...wordsFor(options), ...more], environment(place));

const start = (place: Place, options: Record<string, string> = {}): Run =>
  startEntrypoint([...wordsFor(options), "--log-level", "debug"], environment(place));

/** Starts a backfill that comes as far as a row that `holder` has locked, in an open transaction. */
async function startAgainstLock(place: Place): Promise<{ running: Run; holder: Client }> {
  const holder = await connectClient(place.url);
  await holder.query("begin; update posts set title = 'mine' where id = 2000");
  const running = start(place, { "batch-time": "50ms" });
  await running.event("retry");
  return { running, holder };
}

async function ask<T>({ client }: Place, query: string): Promise<T[]> {
  const { rows } = await client.query<Record<string, T>>(query);
  return rows.flatMap((row) => Object.values(row));
}

const isThere = async (place: Place) =>
  (await ask<boolean>(place, "select to_regnamespace('entrypoint') is not null"))[0];

describe("every kind of table is filled, and nothing of ours is left", () => {
  const columns = "body text default 'a b c', word_count int";
  test.for([
    ["an integer key", `create table posts (id bigserial primary key, ${columns})`, "(id)"],
    [
      "a composite key",
      `create table posts (a int default floor(random() * 9), "B c" text default md5(random()::text), ${columns}, primary key (a, "B c"))`,
      "(a, B c)",
    ],
    [
      "a key of dates and numerics",
      `create table posts (d date default current_date - floor(random() * 900)::int, n numeric default random(), ${columns}, primary key (d, n))`,
      "(d, n)",
    ],
    [
      "a UUID key",
      `create table posts (id uuid default gen_random_uuid() primary key, ${columns})`,
      "by pages",
    ],
    ["no key", `create table posts (x int, ${columns})`, "by pages"],
    [
      "a key that is assigned itself",
      `create table posts (id bigserial, part int default 0, ${columns}, primary key (id, part))`,
      "by pages",
      "part = 1, word_count = 1",
    ],
    [
      "partitions",
      `create table posts (id bigserial, ${columns}, primary key (id)) partition by range (id);
       create table posts_a partition of posts for values from (1) to (500);
       create table "posts B" partition of posts for values from (500) to (2000) partition by range (id);
       create table posts_c partition of "posts B" for values from (500) to (501);
       create table posts_d partition of "posts B" for values from (501) to (2000);
       create table posts_e partition of posts default`,
      "4 partitions",
    ],
    [
      "children",
      `create table posts (id uuid default gen_random_uuid() primary key, ${columns});
       create table posts_a () inherits (posts);
       insert into posts_a (body) select 'child' from generate_series(1, 50)`,
      "2 partitions",
    ],
  ] as const)("%s", async ([, ddl, walked, set = wordCount]) => {
    const place = await createPlace(
      ddl,
      "insert into posts (body) select 'x y' from generate_series(1, 3000)",
    );
    const total = await ask(place, "select count(*) from posts");
    const { code, lines, stdout } = await run(place, { set });
    expect(code, JSON.stringify(lines)).toBe(0);
    expect(await ask(place, "select count(*) from posts where word_count > 0")).toEqual(total);
    expect(lines.find(({ event }) => event === "plan")?.msg).toContain(walked);
    expect(lines.at(-1)).toMatchObject({ event: "backfilled", rows: Number(total[0]) });
    expect(await isThere(place)).toBe(false);

    const [sql = ""] = stdout.split(/^(?=""")/m);
    await place.client.query(sql);
    const attribute =
      "from pg_attribute where attrelid = 'posts'::regclass and attname = 'word_count'";
    expect(await ask(place, `select attnotnull ${attribute}`)).toEqual([true]);
  });
});

describe("beside a writer", () => {
  const rows = Number(process.env["ENTRYPOINT_TEST_ROWS"] ?? 60_000);

  /** Updates, inserts and deletes at random until it is told to stop; then what it has done. */
  async function write({ url }: Place, stop: AbortSignal) {
    const client = await connectClient(url);
    const random = createRandom(7);
    const edits = new Map<number, number>();
    const deleted = new Set<number>();
    let inserted = 0;
    let longestMs = 0;
    while (!stop.aborted) {
      const id = 1 + Math.floor(random() * rows);
      const startMs = performance.now();
      const dice = random();
      if (dice < 0.1) {
        inserted++;
        await client.query(`insert into posts values (${rows + inserted}, 'new', 'a new post', 3)`);
      } else if (dice < 0.2) {
        const { rowCount } = await client.query(`delete from posts where id = ${id}`);
        if (rowCount === 1) deleted.add(id);
      } else {
        const { rowCount } = await client.query(
          `update posts set title = title || '!' where id = ${id}`,
        );
        if (rowCount === 1) edits.set(id, (edits.get(id) ?? 0) + 1);
      }
      longestMs = Math.max(longestMs, performance.now() - startMs);
    }
    return { edits, deleted, inserted, longestMs };
  }

  test("nothing is lost, no row is left, and the writer waits for a fraction of what it would", async () => {
    const place = await createPosts(rows);
    const stop = new AbortController();
    const writing = write(place, stop.signal);
    const { code, lines } = await run(place, { "batch-time": "100ms" });
    stop.abort();
    const { edits, deleted, inserted, longestMs } = await writing;
    expect(code, JSON.stringify(lines.at(-1))).toBe(0);
    expect(edits.size).toBeGreaterThan(100);
    expect(deleted.size).toBeGreaterThan(10);

    expect(await ask(place, `select count(*) from posts where ${missing}`)).toEqual(["0"]);
    const wrong =
      "word_count is distinct from array_length(regexp_split_to_array(trim(body), E'\\\\s+'), 1)";
    expect(await ask(place, `select count(*) from posts where ${wrong}`)).toEqual(["0"]);
    const { rows: found } = await place.client.query<{ id: number; edits: number }>(
      `select id, length(title) - length(rtrim(title, '!')) as edits from posts where id <= ${rows}`,
    );
    const expected = Array.from({ length: rows }, (_, index) => index + 1)
      .filter((id) => !deleted.has(id))
      .map((id) => [id, edits.get(id) ?? 0] as const);
    expect(new Map(found.map((row) => [row.id, row.edits]))).toEqual(new Map(expected));
    expect(await ask(place, `select count(*)::int from posts where id > ${rows}`)).toEqual([
      inserted,
    ]);

    // The same in one statement: the writer may wait for all of it.
    await place.client.query("update posts set word_count = null");
    const again = new AbortController();
    const writingAgain = write(place, again.signal).catch((error: unknown) => error);
    const startMs = performance.now();
    await place.client.query(`update posts set ${wordCount} where ${missing}`);
    const singleMs = performance.now() - startMs;
    again.abort();
    await writingAgain;
    console.log(
      `${rows} rows: a writer waited ${Math.round(longestMs)} ms at most; the single UPDATE takes ${Math.round(singleMs)} ms`,
    );
    expect(longestMs).toBeLessThan(singleMs / 2);
  });
});

describe("few rows of many are to be updated", () => {
  test.for([
    ["by the key", "create table posts (id int primary key, word_count int)"],
    ["by pages", "create table posts (id int, word_count int)"],
  ] as const)("%s: batches read more and more, and update no more", async ([, ddl]) => {
    const place = await createPlace(
      ddl,
      "insert into posts select i, case when i <= 60000 then 1 end from generate_series(1, 65000) i",
    );
    const words = wordsFor({ set: "word_count = 0", "batch-time": "30s" });
    const debugging = [...words, "--log-level", "debug"];
    const { code, lines } = await runEntrypoint(debugging, environment(place));
    expect(code).toBe(0);
    expect(await ask(place, `select count(*) from posts where ${missing}`)).toEqual(["0"]);
    const batches = lines.filter(({ event }) => event === "batch");
    const empty = batches.filter((batch) => batch["rows"] === 0);
    expect(empty.length).toBeLessThan(8);
    const sizes = batches.map((batch) => [Number(batch["rows"]), Number(batch["size"])] as const);
    // A page more than it should.
    expect(sizes.filter(([rows, size]) => rows > size + 300)).toEqual([]);
    expect(sizes.reduce((sum, [rows]) => sum + rows, 0)).toBe(5_000);
  });
});

describe("told to end, and killed", () => {
  test.for([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("%s ends it, and the same command goes on", async ([signal, expected]) => {
    const place = await createPosts(4_000);
    const { running, holder } = await startAgainstLock(place);
    const before = await runEntrypoint(["status", "--json"], environment(place));
    running.process.kill(signal);
    expect((await running.ended).code).toBe(expected);
    await holder.query("rollback");
    const interrupted = await running.event("interrupted");
    expect(interrupted.msg).toMatch(/the same command continues from there/);
    const [filled = 0] = await ask<number>(
      place,
      "select count(*)::int from posts where word_count is not null",
    );
    expect(interrupted["rows"]).toBe(filled);
    expect(filled).toBeGreaterThanOrEqual(1_000);
    expect(filled).toBeLessThan(4_000);

    const name = "posts.word_count";
    expect((JSON.parse(before.stdout) as Status).backfills).toMatchObject([
      { name, session: { application: `entrypoint-backfill ${name}` } },
    ]);
    const { stdout } = await runEntrypoint(["status"], environment(place));
    expect(stdout).toMatch(
      /backfill +posts.word_count: \d+ %, .* interrupted \d+ s ago; to resume:/,
    );
    expect(stdout).toContain(
      " entrypoint backfill --table posts --set 'word_count = array_length(",
    );

    const second = await run(place);
    expect(second.code).toBe(0);
    expect(second.lines.find(({ event }) => event === "resumed")).toMatchObject({ rows: filled });
    expect(second.lines.at(-1)).toMatchObject({ event: "backfilled", rows: 4_000 });
    expect(await isThere(place)).toBe(false);
  });

  test("it ends after the running batch, however long that takes", async () => {
    const place = await createPosts(2_000);
    const gate = await connectClient(place.url);
    await gate.query("select pg_advisory_lock(1)");
    // The first batch waits for the gate, and counts as running all the while.
    const set = "word_count = length(body || pg_advisory_xact_lock_shared(1)::text)";
    const running = start(place, { set, "batch-time": "60s" });
    await running.event("plan");
    const waiting =
      "select count(*)::int from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    await expect.poll(() => ask(place, waiting)).toEqual([1]);
    running.process.kill("SIGTERM");
    await running.event("ending");
    await gate.query("select pg_advisory_unlock(1)");
    expect((await running.ended).code).toBe(143);
    expect(await ask(place, `select count(*)::int from posts where ${missing}`)).toEqual([1_000]);
  });

  test("killed twenty times at random moments, no row is computed more than once more", async () => {
    const [rows, bucket] = [60_000, 100];
    // What a sequence has given stays counted when the transaction is rolled back.
    const place = await createPlace(
      "create table posts (id int primary key, runs int not null default 0, word_count int)",
      `insert into posts select i from generate_series(1, ${rows}) i`,
      `do $$ begin for i in 0..${rows / bucket} loop execute 'create sequence s_' || i; end loop; end $$`,
    );
    // A row takes a while, so that no run comes to the end.
    const busy = "(select count(*) from generate_series(1, 150) i where i > -id)";
    const set = `runs = runs + 1, word_count = nextval('s_' || id / ${bucket}) + ${busy}`;
    const random = createRandom(20);
    let kills = 0;
    let resumed = 0;
    while (kills < 20) {
      const attempt = start(place, { set, "batch-time": "20ms" });
      const moment = ["start", "plan", "plan", "batch"][Math.floor(random() * 4)] ?? "";
      if (moment !== "start") await attempt.event(moment);
      await sleep(random() * 60);
      attempt.process.kill("SIGKILL");
      expect((await attempt.ended).signal).toBe("SIGKILL");
      kills++;
      if (attempt.lines().some(({ event }) => event === "resumed")) resumed++;
    }
    expect(resumed).toBeGreaterThan(5);
    const { code } = await run(place, { set });
    expect(code).toBe(0);
    expect(await ask(place, "select distinct runs from posts")).toEqual([1]);
    const counted: number[] = [];
    for (let index = 0; index < rows / bucket; index++) {
      counted.push(...(await ask<number>(place, `select last_value::int from s_${index}`)));
    }
    expect(Math.max(...counted)).toBeLessThanOrEqual(2 * bucket);
    expect(await isThere(place)).toBe(false);
  });

  test("a second run of the same job is refused, one of another job is not", async () => {
    const place = await createPosts(3_000);
    await place.client.query("alter table posts add length int");
    const { running, holder } = await startAgainstLock(place);
    const second = await run(place, { "batch-time": "10ms" });
    expect(second.code).toBe(75);
    expect(second.lines.at(-1)?.msg).toMatch(
      /posts.word_count is already run by pid \d+ \(entrypoint-backfill posts.word_count/,
    );
    const other = { set: "length = length(body)", where: "length is null and id < 2000" };
    expect((await run(place, other)).code).toBe(0);
    // The first one's checkpoint is still there.
    expect(await isThere(place)).toBe(true);
    await holder.query("commit");
    expect((await running.ended).code).toBe(0);
    expect(await isThere(place)).toBe(false);
  });

  test("another expression under the name of an interrupted job is refused", async () => {
    const place = await createPosts(3_000);
    const { running } = await startAgainstLock(place);
    running.process.kill("SIGTERM");
    await running.ended;
    const second = await run(place, { set: "word_count = 1" });
    expect(second.code).toBe(64);
    expect(second.lines.at(-1)?.msg).toContain("another backfill has the name posts.word_count");
  });
});

describe("what happens in the middle", () => {
  test("a session that is ended is opened again, and it continues from the last batch", async () => {
    const place = await createPosts(4_000);
    const { running, holder } = await startAgainstLock(place);
    for (let cuts = 1; cuts <= 2; cuts++) {
      // It has its name once it takes batches.
      await expect
        .poll(() =>
          ask<boolean>(
            place,
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'entrypoint-backfill %' and datname = current_database()",
          ),
        )
        .toEqual([true]);
      const lost = await running.events("connection-lost", cuts);
      expect(lost.at(-1)).toMatchObject({ level: "warn" });
      await running.events("resumed", cuts);
    }
    await holder.query("commit");
    expect(await running.ended).toMatchObject({ code: 0 });
    expect(await ask(place, "select count(*)::int from posts where word_count is null")).toEqual([
      0,
    ]);
    expect(await isThere(place)).toBe(false);
  });

  test("a table that is renamed is filled under its new name", async () => {
    const place = await createPosts(4_000);
    const { running, holder } = await startAgainstLock(place);
    await holder.query("alter table posts rename to articles; commit");
    expect((await running.ended).code).toBe(0);
    const renamed = running.lines().filter(({ event }) => event === "renamed");
    expect(renamed.map(({ to }) => to)).toEqual(["public.articles"]);
    expect(await ask(place, `select count(*) from articles where ${missing}`)).toEqual(["0"]);
    expect(await isThere(place)).toBe(false);
  });

  test("another table that gets the name is left alone", async () => {
    const place = await createPosts(4_000);
    await place.client.query(
      "create table other (like posts including all); insert into other select * from posts",
    );
    const { running, holder } = await startAgainstLock(place);
    await holder.query(
      "alter table posts rename to articles; alter table other rename to posts; commit",
    );
    expect((await running.ended).code).toBe(0);
    expect(await ask(place, `select count(*) from articles where ${missing}`)).toEqual(["0"]);
    expect(await ask(place, `select count(*)::int from posts where ${missing}`)).toEqual([4_000]);
  });

  test("a column that is dropped ends it, with the reason", async () => {
    const place = await createPosts(4_000);
    const { running, holder } = await startAgainstLock(place);
    await holder.query("alter table posts drop word_count; commit");
    expect((await running.ended).code).toBe(1);
    expect(running.lines().at(-1)).toMatchObject({
      event: "backfill-failed",
      exitCode: 1,
      sqlState: "42703",
      msg: expect.stringMatching(
        /failed after [\d,]+ rows, in public.posts with id .*word_count/,
      ) as string,
    });
  });

  test("a table that is dropped ends it, with the reason", async () => {
    const place = await createPosts(4_000);
    const { running, holder } = await startAgainstLock(place);
    await holder.query("drop table posts; commit");
    expect((await running.ended).code).toBe(1);
    expect(running.lines().at(-1)?.msg).toContain("public.posts was dropped");
  });

  test("rows that somebody has locked are left for later, and filled when they are free", async () => {
    const place = await createPosts(2_000);
    const holder = await connectClient(place.url);
    await holder.query("begin; update posts set title = 'mine' where id in (5, 1500)");
    const running = start(place, { "batch-time": "50ms" });
    // In the first sweep all the others are filled.
    await running.printed('"msg":"Updated 0 rows in the pages');
    expect(await ask(place, `select id from posts where ${missing} order by id`)).toEqual([
      5, 1500,
    ]);
    const session = await holder.query<{ pid: number }>("select pg_backend_pid() as pid");
    expect((await running.event("blocked")).msg).toContain(`by pid ${session.rows[0]?.pid} (`);
    const obstacles = new Set(running.lines().map((line) => line["obstacle"]));
    expect(obstacles).toEqual(new Set([undefined, "locked"]));
    await holder.query("commit");
    expect((await running.ended).code).toBe(0);
    expect(await ask(place, "select title from posts where id in (5, 1500)")).toEqual([
      "mine",
      "mine",
    ]);
    expect(await ask(place, `select count(*) from posts where ${missing}`)).toEqual(["0"]);
  });

  test("a table that somebody has for himself is waited for", async () => {
    const place = await createPosts(2_000);
    const running = start(place, { "batch-time": "100ms" });
    const holder = await connectClient(place.url);
    await running.event("plan");
    await holder.query("begin; lock table posts");
    await running.event("retry");
    await holder.query("commit");
    expect((await running.ended).code).toBe(0);
  });
});

describe("behind a real PgBouncer", () => {
  const withPgBouncer = testUnless(missingPgBouncer);
  const through = async (
    place: Place,
    mode: Parameters<typeof startPgBouncer>[1],
  ): Promise<Place> => ({ ...place, url: await startPgBouncer(place.url, mode) });

  withPgBouncer.each([
    { mode: "transaction", size: 2 },
    { mode: "session", size: 2 },
  ] as const)("$mode pooling: one run at a time, which outlives a cut", async (mode) => {
    const place = await createPosts(4_000);
    const pooled = await through(place, mode);
    const wrong = await run(pooled, { set: "word_count = lenght(body)" });
    expect(wrong.lines.at(-1)?.msg).toContain(
      "in --set, character 14: word_count = → lenght(body)",
    );
    const holder = await connectClient(place.url);
    await holder.query("begin; update posts set title = 'mine' where id = 2000");
    const running = start(pooled, { "batch-time": "50ms" });
    expect((await running.event("pooler")).level).toBe("warn");
    await running.event("retry");
    // Beside it a pool of sessions has no room for another client.
    const second = await run(place);
    expect(second.code).toBe(75);
    expect(second.lines.at(-1)?.msg).toContain("entrypoint-backfill posts.word_count");
    await ask(
      place,
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'entrypoint-backfill %' and datname = current_database()",
    );
    expect((await running.event("connection-lost")).msg).toContain("the backfill's lock was lost");
    await running.event("resumed");
    await holder.query("commit");
    expect(await running.ended).toMatchObject({ code: 0 });
    expect(await ask(place, `select count(*) from posts where ${missing}`)).toEqual(["0"]);
    expect(await isThere(place)).toBe(false);
    // Nothing of its settings stays in the pool.
    const client = await connectClient(pooled.url);
    const { rows } = await client.query<object>(
      "select name from pg_settings where source = 'session' and name in ('statement_timeout', 'lock_timeout', 'enable_seqscan', 'row_security', 'jit')",
    );
    expect(rows).toEqual([]);
  });

  withPgBouncer.each([
    [{ mode: "transaction", size: 1 }, 69, "the pooler gives no second server connection"],
    [{ mode: "statement", size: 5 }, 64, "pooler in statement mode"],
  ] as const)("%j is refused, and nothing is updated", async (mode, exit, text) => {
    const place = await createPosts(10);
    const { code, lines } = await run(await through(place, mode));
    expect(code).toBe(exit);
    expect(lines.at(-1)?.msg).toContain(text);
    expect(await ask(place, `select count(*)::int from posts where ${missing}`)).toEqual([10]);
    expect(await isThere(place)).toBe(false);
  });
});

describe("on a terminal", () => {
  const onTerminal = (place: Place) => {
    const words = [...entrypointCommand(), ...wordsFor({ "batch-time": "50ms" })];
    return startOnTerminal(words, { DATABASE_URL: place.url, TERM: "xterm" });
  };

  test("there is a bar, and no trace of it in the end", async () => {
    const place = await createPosts(4_000);
    const holder = await connectClient(place.url);
    await holder.query("begin; update posts set title = 'mine' where id = 2000");
    const terminal = onTerminal(place);
    await terminal.shown(/\[=+-+\] \d+ %, [\d,]+ of about 4,\d+ rows, .*batches of \d/);
    await holder.query("commit");
    await terminal.shown(/No row of public\.posts is left to fill: 4,000 rows updated/);
    expect(await terminal.ended).toBe(0);
    const { rows } = await holder.query(
      "select count(*)::int as n from posts where word_count is null",
    );
    expect(rows).toEqual([{ n: 0 }]);
    // Wrapping is on again, as it was.
    expect(terminal.screen().lastIndexOf("\u001B[?7h")).toBeGreaterThan(
      terminal.screen().lastIndexOf("\u001B[?7l"),
    );
  });

  test("Ctrl-C ends it, and the log says how to resume it", async () => {
    const place = await createPosts(4_000);
    const holder = await connectClient(place.url);
    await holder.query("begin; update posts set title = 'mine' where id = 2000");
    const terminal = onTerminal(place);
    await terminal.shown(/\[=+-+\] \d+ %/);
    terminal.type("\u0003");
    await terminal.shown(
      /Interrupted: [\d,]+ rows are updated; the same command continues from there/,
    );
    expect(await terminal.ended).toBe(130);
    expect(terminal.screen().lastIndexOf("\u001B[?7h")).toBeGreaterThan(
      terminal.screen().lastIndexOf("\u001B[?7l"),
    );
    await holder.query("rollback");
  });
});

describe("before the first row", () => {
  test("--dry-run says what would be done, and touches nothing", async () => {
    const place = await createPosts(1_000);
    await place.client.query(`
      create index posts_title on posts (title);
      create index posts_long on posts (id) where word_count > 100;
      create function touch() returns trigger language plpgsql as 'begin return new; end';
      create trigger touched before update on posts for each row execute function touch();
      create trigger title_touched before update of title on posts for each row execute function touch();
      create trigger off before update on posts for each row execute function touch();
      alter table posts disable trigger off;
      alter table posts add constraint short check (length(title) < 900) not valid`);
    const { code, stdout, lines } = await run(place, {}, "--dry-run");
    expect(code).toBe(0);
    expect(lines).toEqual([]);
    for (const text of [
      "backfill   posts.word_count",
      "public.posts, 0 MB, walked by its primary key (id)",
      "about 1,000 of 1,000, roughly 1 s",
      "triggers   touched\n",
      "indexes    posts_long, posts_pkey, posts_title: each update writes to all of them, since posts_long contains",
      "batch      Update on posts",
      "nothing in the database fills word_count for new rows",
      "the constraint short is NOT VALID",
    ]) {
      expect(stdout).toContain(text);
    }
    expect(await ask(place, `select count(*)::int from posts where ${missing}`)).toEqual([1_000]);
    expect(await isThere(place)).toBe(false);
    // A new row without a value is none to fill, or there can be none.
    const other = { where: "word_count = 0" };
    expect((await run(place, other, "--dry-run")).stdout).not.toContain("nothing in the database");
    const key = { set: "id = id", where: "id is distinct from -id" };
    expect((await run(place, key, "--dry-run")).stdout).not.toContain("nothing in the database");
    await place.client.query("alter table posts alter word_count set default 0");
    expect((await run(place, {}, "--dry-run")).stdout).not.toContain("nothing in the database");
  });

  test.for([
    [
      { set: "word_cont = 1" },
      'column "word_cont" of relation "posts" does not exist in --set, character 1',
    ],
    [
      { set: "word_count = lenght(body)" },
      "does not exist in --set, character 14: word_count = → lenght(body)",
    ],
    [{ set: "word_count = body" }, "in --set, character 14"],
    [
      { where: "wrd is null" },
      'column "wrd" does not exist in --where, character 1: → wrd is null',
    ],
    [{ where: "word_count" }, "must be type boolean"],
    [{ where: "count(*) > 1" }, "in --where, character 1"],
    [{ table: "nowhere" }, "there is no table nowhere"],
    [{ table: "posts; drop table posts" }, '--table: syntax error at or near ";"'],
    [
      { set: "word_count = 1 where id = 1" },
      '--set: syntax error at or near "where": character 16',
    ],
    [{ where: "true) or (true" }, '--where: syntax error at or near ")": character 5'],
    [{ "batch-time": "5ms" }, "a duration from 10ms to 60s"],
  ] as const)("%j is refused with its place", async ([options, text]) => {
    const place = await createPosts(10);
    const { code, lines } = await run(place, options);
    expect(code).toBe(64);
    expect(lines.at(-1)?.msg).toContain(text);
    expect(await ask(place, `select count(*)::int from posts where ${missing}`)).toEqual([10]);
    expect(await isThere(place)).toBe(false);
  });

  test("rows that a policy may hide are no rows that are filled", async () => {
    const place = await createPosts(100);
    const role = `tenant_${process.pid}`;
    await place.client.query(`
      create role ${role} login password 'secret';
      grant all on schema public to ${role}; grant all on posts to ${role};
      grant create on database ${place.client.escapeIdentifier(place.client.database ?? "")} to ${role};
      create policy own on posts using (id <= 50);
      alter table posts enable row level security`);
    const url = new URL(place.url);
    url.username = role;
    url.password = "secret";
    const { code, lines, stdout } = await run({ ...place, url: url.href });
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(lines.at(-1)?.msg).toContain("row security may hide rows of public.posts");
    // As the owner it fills all of them.
    expect((await run(place)).code).toBe(0);
    expect(await ask(place, "select count(*)::int from posts where word_count is null")).toEqual([
      0,
    ]);
    await place.client.query(`drop owned by ${role}; drop role ${role}`);
  });

  test("a view is named as one", async () => {
    const place = await createPosts(10);
    await place.client.query("create view shown as select * from posts");
    const { code, lines } = await run(place, { table: "shown" });
    expect(code).toBe(64);
    expect(lines.at(-1)?.msg).toBe("--table: shown is a view");
  });

  test("what is missing is told at once", async () => {
    const { code, lines } = await runEntrypoint(["backfill"]);
    expect(code).toBe(64);
    expect(lines.at(-1)?.["problems"]).toEqual([
      "--table: missing",
      "--set: missing",
      "--where: missing",
    ]);
  });

  test("a role that may make no schema is told what to ask for, and that suffices", async () => {
    const place = await createPosts(1_000);
    const [role] = new URL(place.url).pathname.slice(1).split("?");
    await place.client.query(`
      create role ${role} login password 'x' in role pg_monitor;
      grant select, update on posts to ${role}`);
    const url = new URL(place.url);
    [url.username, url.password] = [role ?? "", "x"];
    const limited = { ...place, url: url.href };
    const { code, lines } = await run(limited);
    expect(code).toBe(69);
    const cure = /as the database's owner: (.*)/.exec(String(lines.at(-1)?.["hint"]))?.[1] ?? "";
    await place.client.query(cure);
    expect((await run(limited)).code).toBe(0);
    expect(await ask(place, `select count(*) from posts where ${missing}`)).toEqual(["0"]);
    expect(
      await ask(
        place,
        "select relname from pg_class where relnamespace = 'entrypoint'::regnamespace",
      ),
    ).toEqual([]);
    await place.client.query(`drop owned by ${role}; drop role ${role}`);
  });
});

describe("the end", () => {
  test("an expression that gives NULL is found out", async () => {
    const place = await createPosts(1_000);
    await place.client.query("update posts set body = '' where id in (3, 4)");
    const { code, lines } = await run(place, { set: "word_count = nullif(length(body), 0)" });
    expect(code).toBe(1);
    expect(lines.map(({ event }) => event)).toContain("unfilled");
    expect(lines.at(-1)?.msg).toContain("2 rows fulfil --where however often they are updated");
  });

  test("a condition that no update changes is found out", async () => {
    const place = await createPosts(1_000);
    const { code, lines } = await run(place, { set: "word_count = 1", where: "id > 0" });
    expect(code).toBe(1);
    expect(lines.at(-1)?.msg).toContain("1,000 rows fulfil --where however often");
    expect(lines.find(({ event }) => event === "unfilled")).toMatchObject({ rows: 1000 });
  });

  test("a trigger that suppresses the updates is named, at once", async () => {
    const place = await createPosts(1_000);
    await place.client.query(`
      create function nothing() returns trigger language plpgsql as 'begin return null; end';
      create trigger guard before update on posts for each row when (old.id > 990) execute function nothing()`);
    const { code, lines } = await run(place);
    expect(code).toBe(1);
    expect(lines.at(-1)?.msg).toContain("the server updates none of them");
    expect(lines.at(-1)?.["hint"]).toContain("a BEFORE UPDATE trigger (guard) that returns NULL");
  });

  test("the role's own time limits do not end it when all rows are filled", async () => {
    const place = await createPosts(1_000);
    const role = `slow_${process.pid}`;
    // The last look for a row that is left takes longer than any of the limits.
    await place.client.query(`
      create role ${role} login superuser password 'secret';
      alter role ${role} set transaction_timeout = '300ms';
      alter role ${role} set statement_timeout = '300ms';
      alter role ${role} set idle_in_transaction_session_timeout = '300ms';
      create function slow(int) returns boolean language plpgsql as $$
        begin if current_query() like '%exists%' then perform pg_sleep(0.7); end if; return true; end $$`);
    const url = new URL(place.url);
    url.username = role;
    url.password = "secret";
    const { code, lines } = await run(
      { ...place, url: url.href },
      { where: "word_count is null and slow(id) or id = 0 and slow(id)" },
    );
    await place.client.query(`drop owned by ${role}; drop role ${role}`);
    expect(code, JSON.stringify(lines.at(-1))).toBe(0);
  });

  test("a value that a constraint refuses ends it, with the range", async () => {
    const place = await createPosts(3_000);
    await place.client.query("alter table posts add check (word_count <> 77)");
    const { code, lines } = await run(place, {
      set: "word_count = case id when 2500 then 77 else 1 end",
    });
    expect(code).toBe(1);
    expect(lines.at(-1)).toMatchObject({ sqlState: "23514" });
    expect(lines.at(-1)?.msg).toMatch(
      /failed after 2,200 rows, in public.posts with id after 2200/,
    );
  });

  test("the three steps on the blog", async () => {
    const url = await createTestDatabase();
    const place = { url, client: await connectClient(url) };
    const added = ["--migrate", "alembic upgrade 0002_add_word_count", "migrate"];
    expect((await runEntrypoint(added, environment(place))).code).toBe(0);
    await place.client.query(
      "insert into posts (title, body) select 'post ' || i, repeat('a word ', 1 + i % 8) from generate_series(1, 3000) i",
    );
    expect((await run(place)).code).toBe(0);
    expect((await runEntrypoint(["migrate"], environment(place))).code).toBe(0);
    expect((await runEntrypoint(["status"], environment(place))).code).toBe(0);
    await expect(place.client.query("update posts set word_count = null")).rejects.toThrow(
      "not-null",
    );
  });

  test("statistics are fresh, and the revision that is printed makes the column NOT NULL", async () => {
    const place = await createPosts(1_000);
    const project = createProject([{ id: "a1", upgrade: "pass" }]);
    const options = { cwd: project, env: { DATABASE_URL: place.url } };
    const { code, stdout } = await runEntrypoint(wordsFor(), options);
    expect(code).toBe(0);
    expect(
      await ask(
        place,
        "select null_frac from pg_stats where tablename = 'posts' and attname = 'word_count'",
      ),
    ).toEqual([0]);

    const [sql = "", revision = ""] = stdout.split(/^(?=""")/m);
    writeFileSync(join(project, "migrations/versions/require.py"), revision);
    const alembic = ["-m", "alembic", "upgrade", "head"];
    const env = plainEnvironment(options.env);
    await execa(python, alembic, { cwd: project, env, extendEnv: false });
    const required =
      "select attnotnull from pg_attribute where attrelid = 'posts'::regclass and attname = 'word_count'";
    expect(await ask(place, required)).toEqual([true]);
    expect(await ask(place, "select version_num from alembic_version")).toEqual([
      "require_posts_word_count",
    ]);

    await place.client.query("alter table posts alter word_count drop not null");
    await place.client.query(sql);
    expect(await ask(place, required)).toEqual([true]);
    expect(
      await ask(
        place,
        "select conname from pg_constraint where conrelid = 'posts'::regclass and contype = 'c'",
      ),
    ).toEqual([]);
  });
});

/** The same numbers in every run (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
