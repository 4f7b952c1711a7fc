// How long a backfill takes, and how long it makes others wait, beside the ways in which people do it by hand: the single
// UPDATE, a loop over pages in PL/pgSQL, the statement that pgroll runs, and the batches of GitLab. All in one run, each
// on a table of its own with the same rows, while writers update random rows and take the time of each update.
//
// Alone: node scripts/bench/backfill.ts [ROWS [ROUNDS]]; writes scripts/bench/results/backfill.svg. With --replica a
// streaming replica replays once in three seconds alone, and how far it falls behind is taken; no picture then.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { startPostgres, type Postgres } from "../postgres.ts";
import { listFigures, type Findings } from "./findings.ts";
import { drawLineChart } from "./line-chart.ts";
import type { Place } from "./place.ts";

interface BackfillResult {
  readonly form: string;
  /** Of the middle round; a process of its own counts with its start. */
  readonly seconds: number;
  /** Of a writer that updates one row, in all rounds. */
  readonly longestWaitMs: number;
  /** 99 of 100 waits were shorter, in all rounds. */
  readonly p99WaitMs: number;
  /** Rows that were forgotten, since a writer had moved them meanwhile; the most in a round. */
  readonly rowsLeft: number;
  /** The most WAL, in MB, that the replica had not replayed; in all rounds. Null without one. */
  readonly longestLagMb: number | null;
}

interface Wait {
  readonly atMs: number;
  readonly tookMs: number;
}

interface Round {
  readonly tookMs: number;
  readonly waits: readonly Wait[];
  readonly rowsLeft: number;
  readonly longestLagMb: number | null;
}

const root = join(import.meta.dirname, "../..");
const bundle = join(root, "dist/entrypoint.js");
const picture = join(root, "scripts/bench/results/backfill.svg");

const set = "word_count = array_length(regexp_split_to_array(trim(body), E'\\\\s+'), 1)";
const where = "word_count IS NULL";
const writers = 4;
const writerPauseMs = 5;

type Run = (url: string, client: pg.Client) => Promise<void>;

const forms: Readonly<Record<string, Run>> = {
  "entrypoint backfill": async (url) => {
    const words = ["backfill", "--table", "posts", "--set", set, "--where", where];
    words.push("--max-lag", "1s");
    const child = spawn(process.execPath, [bundle, ...words, "--log-level", "warn"], {
      env: { DATABASE_URL: url },
      cwd: "/",
      stdio: ["ignore", "ignore", "inherit"],
    });
    const [code] = (await once(child, "exit")) as [number | null];
    if (code !== 0) throw new Error(`entrypoint backfill ended with ${code}`);
  },
  "one UPDATE": async (_, client) => {
    await client.query(`update posts set ${set} where ${where}`);
  },
  "pages in PL/pgSQL": async (_, client) => {
    await client.query("call fill_by_pages()");
  },
  "pgroll's statement": async (_, client) => {
    for (let last = 0; ;) {
      const { rows } = await client.query<{ last: number | null }>(`
        with batch as (
          select id from posts where id > ${last} and ${where} order by id limit 1000 for no key update
        ), updated as (
          update posts set ${set} from batch where posts.id = batch.id returning posts.id
        )
        select max(id) as last from updated`);
      const reached = rows[0]?.last ?? null;
      if (reached === null) return;
      last = reached;
    }
  },
  // Its sub-batches have 100 rows or more, as each migration says, and its pause is 100 ms.
  "GitLab's sub-batches": async (_, client) => {
    let first: number | null = 0;
    while (first !== null) {
      const next: number | null = await findNext(client, first);
      const below = next === null ? "" : `and id < ${next}`;
      await client.query(`update posts set ${set} where id >= ${first} ${below} and ${where}`);
      first = next;
      await sleep(100);
    }
  },
};

/** Where the sub-batch ends that begins at `first`; null for the last one. */
async function findNext(client: pg.Client, first: number): Promise<number | null> {
  const { rows } = await client.query<{ id: number }>(
    `select id from posts where id >= ${first} order by id offset 1000 limit 1`,
  );
  return rows[0]?.id ?? null;
}

/** The part of the time in which the slow replica replays, in ms. */
const replay = { forMs: 50, everyMs: 3_000 };

/** The backfill's part of the whole benchmark, on a smaller table. */
export async function benchBackfill({ quick }: Place): Promise<Findings> {
  const rows = quick ? 20_000 : 200_000;
  const { results } = await compareForms(rows, quick ? 1 : 2);
  const [own, plain] = ["entrypoint backfill", "one UPDATE"].map((wanted) =>
    results.find(({ form }) => form === wanted),
  );
  if (own === undefined || plain === undefined) throw new Error("a form has not been measured");
  const tell = ({ longestWaitMs, seconds }: BackfillResult): string =>
    `${longestWaitMs} ms, in ${seconds} s`;
  return {
    rows: [
      {
        what: `\`backfill\` of ${rows.toLocaleString("en-US")} rows: the longest that a writer of one of them waits`,
        against: "one UPDATE",
        goal: "shown",
        measured: `${tell(own)} (one UPDATE: ${tell(plain)})`,
        met: null,
        cause: "",
      },
    ],
    figures: results.flatMap(({ form, seconds, longestWaitMs, p99WaitMs }) => [
      ...listFigures(`backfill of ${rows} rows`, "s", { [form]: [seconds] }),
      ...listFigures(`backfill of ${rows} rows: the longest wait`, "ms", {
        [form]: [longestWaitMs],
      }),
      ...listFigures(`backfill of ${rows} rows: p99 of the waits`, "ms", { [form]: [p99WaitMs] }),
    ]),
    charts: [],
  };
}

/** Each form in turn, `rounds` times. */
async function compareForms(
  rows = 1_000_000,
  rounds = 3,
  withReplica = false,
): Promise<{ results: readonly BackfillResult[]; svg: string }> {
  const postgres = await startPostgres({
    settings: { shared_buffers: "512MB", max_wal_size: "4GB", autovacuum: "off" },
  });
  const replica = withReplica ? await startSlowReplica(postgres) : null;
  try {
    const url = await postgres.createDatabase("bench");
    const taken = new Map<string, Round[]>(Object.keys(forms).map((form) => [form, []]));
    for (let round = 0; round < rounds; round++) {
      const all = Object.entries(forms);
      // Another one is the first in each round.
      for (const [form, run] of [
        ...all.slice(round % all.length),
        ...all.slice(0, round % all.length),
      ]) {
        const result = await takeRound(postgres, url, rows, run, replica);
        taken.get(form)?.push(result);
        const longest = Math.max(...result.waits.map(({ tookMs }) => tookMs));
        console.error(
          `${form.padEnd(20)} ${(result.tookMs / 1000).toFixed(2)} s, the longest wait ${Math.round(longest)} ms, ${result.rowsLeft} rows left${result.longestLagMb === null ? "" : `, the replica ${result.longestLagMb} MB behind`}`,
        );
      }
    }
    const results = [...taken].map(([form, all]) => {
      const times = all.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
      const waits = all
        .flatMap((result) => result.waits.map(({ tookMs }) => tookMs))
        .toSorted((a, b) => a - b);
      return {
        form,
        seconds: Math.round((times[Math.floor(times.length / 2)] ?? 0) / 10) / 100,
        longestWaitMs: Math.round(waits.at(-1) ?? 0),
        p99WaitMs: Math.round((waits[Math.floor(waits.length * 0.99)] ?? 0) * 10) / 10,
        rowsLeft: Math.max(...all.map(({ rowsLeft }) => rowsLeft)),
        longestLagMb: withReplica
          ? Math.max(...all.map(({ longestLagMb }) => longestLagMb ?? 0))
          : null,
      };
    });
    return { results, svg: draw(rows, taken) };
  } finally {
    await replica?.stop();
    await postgres.stop();
  }
}

interface SlowReplica {
  /** Resolves when it has replayed all that the primary has written. */
  catchUp(primary: pg.Client): Promise<void>;
  /** @returns the most, in MB, that it had not replayed until `stop`. */
  watch(url: string, stop: AbortSignal): Promise<number>;
  stop(): Promise<void>;
}

async function startSlowReplica(primary: Postgres): Promise<SlowReplica> {
  const standby = await primary.startStandby("slow");
  const client = new pg.Client({ connectionString: standby.url("postgres") });
  await client.connect();
  const ended = new AbortController();
  let slow = false;
  const slowing = (async () => {
    while (!ended.signal.aborted) {
      if (slow) await client.query("select pg_wal_replay_pause()");
      await sleep(replay.everyMs - replay.forMs);
      await client.query("select pg_wal_replay_resume()");
      await sleep(replay.forMs);
    }
  })();
  const behind = async (on: pg.Client): Promise<number> => {
    const { rows } = await on.query<{ mb: number }>(`
      select pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 / 1e6 as mb
      from pg_stat_replication where application_name = 'slow'`);
    return rows[0]?.mb ?? 0;
  };
  return {
    async catchUp(on) {
      slow = false;
      while ((await behind(on)) > 0.1) await sleep(100);
      slow = true;
    },
    async watch(url, stop) {
      const on = new pg.Client({ connectionString: url });
      await on.connect();
      let most = 0;
      while (!stop.aborted) {
        most = Math.max(most, await behind(on));
        await sleep(50);
      }
      await on.end();
      return Math.round(most);
    },
    async stop() {
      ended.abort();
      await slowing;
      await client.end();
      await standby.stop();
    },
  };
}

async function takeRound(
  postgres: Postgres,
  url: string,
  rows: number,
  run: Run,
  replica: SlowReplica | null,
): Promise<Round> {
  const client = new pg.Client({ connectionString: url });
  // What breaks is told by the query that it breaks.
  client.on("error", () => undefined);
  await client.connect();
  await client.query(`
    drop table if exists posts;
    create table posts (id int primary key, title text not null, body text not null, word_count int);
    insert into posts
      select i, 'post ' || i, repeat('some words of a post ', 1 + i % 8) from generate_series(1, ${rows}) i;
    create or replace procedure fill_by_pages() language plpgsql as $$
    declare
      pages int := pg_relation_size('posts') / current_setting('block_size')::int;
    begin
      for page in 0..pages by 200 loop
        update posts set ${set}
        where ctid >= format('(%s,0)', page)::tid and ctid < format('(%s,0)', page + 200)::tid and ${where};
        commit;
      end loop;
    end $$`);
  await client.query("vacuum (analyze) posts");
  await client.query("checkpoint");
  await replica?.catchUp(client);
  const stop = new AbortController();
  const startMs = performance.now();
  const writing = Array.from({ length: writers }, () =>
    write(postgres.url("bench"), rows, startMs, stop.signal),
  );
  const watching = replica?.watch(url, stop.signal) ?? null;
  await run(url, client);
  const tookMs = performance.now() - startMs;
  stop.abort();
  const waits = (await Promise.all(writing)).flat();
  const { rows: left } = await client.query<{ count: number }>(
    `select count(*)::int from posts where ${where}`,
  );
  await client.end();
  return { tookMs, waits, rowsLeft: left[0]?.count ?? 0, longestLagMb: await watching };
}

/** Updates random rows, one after the other, and takes the time of each. */
async function write(
  url: string,
  rows: number,
  startMs: number,
  stop: AbortSignal,
): Promise<Wait[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  const waits: Wait[] = [];
  while (!stop.aborted) {
    const id = 1 + Math.floor(Math.random() * rows);
    const beginMs = performance.now();
    await client.query(`update posts set title = 'seen' where id = ${id}`);
    waits.push({ atMs: beginMs - startMs, tookMs: performance.now() - beginMs });
    await sleep(writerPauseMs);
  }
  await client.end();
  return waits;
}

/** The first round of each form: at the end of each half second, how long the writer had waited that waited longest in it. */
function draw(rows: number, taken: ReadonlyMap<string, readonly Round[]>): string {
  const bucketMs = 500;
  const lines = [...taken].map(([form, [first]]) => {
    const buckets = new Map<number, number>();
    for (const { atMs, tookMs } of first?.waits ?? []) {
      const endMs = atMs + tookMs;
      for (let bucket = Math.floor(atMs / bucketMs); bucket * bucketMs < endMs; bucket++) {
        const waitedMs = Math.min((bucket + 1) * bucketMs, endMs) - atMs;
        buckets.set(bucket, Math.max(buckets.get(bucket) ?? 0, waitedMs));
      }
    }
    const longest = Math.max(...buckets.values());
    return {
      name: `${form}: ${((first?.tookMs ?? 0) / 1000).toFixed(1)} s, longest wait ${Math.round(longest)} ms`,
      points: [...buckets]
        .toSorted(([a], [b]) => a - b)
        .map(([bucket, y]) => ({ x: (bucket * bucketMs) / 1000, y })),
    };
  });
  return drawLineChart({
    title: `How long a writer of one row has been waiting while ${rows.toLocaleString("en-US")} rows are filled`,
    xLabel: "seconds since the beginning",
    yLabel: "longest wait",
    lines,
    yMarks: [1, 10, 100, 1_000, 10_000, 100_000],
    formatY: (ms) => (ms >= 1_000 ? `${ms / 1_000} s` : `${ms} ms`),
  });
}

if (import.meta.main) {
  const withReplica = process.argv.includes("--replica");
  const [rows, rounds] = process.argv
    .slice(2)
    .filter((word) => word !== "--replica")
    .map(Number);
  const { results, svg } = await compareForms(rows, rounds, withReplica);
  if (!withReplica) writeFileSync(picture, svg);
  console.table(results);
}
