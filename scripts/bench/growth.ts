// How it grows: the usual start with the length of the history, and the load on the server with the number of those who
// wait for somebody else's migration.

import { setTimeout as sleep } from "node:timers/promises";

import { drawLines } from "./chart.ts";
import { listFigures, show, type Figure, type Findings } from "./findings.ts";
import { countLoad } from "./load.ts";
import { summarise, takeTurns } from "./measure.ts";
import {
  boots,
  environment,
  executable,
  makeLongProject,
  makeStampedDatabase,
  start,
  stop,
  type Place,
} from "./place.ts";
import { timeBoot } from "./start.ts";

export async function benchGrowth(place: Place): Promise<Findings> {
  const [histories, waiting] = [await benchHistories(place), await benchWaiting(place)];
  return {
    rows: [...histories.rows, ...waiting.rows],
    figures: [...histories.figures, ...waiting.figures],
    charts: [...histories.charts, ...waiting.charts],
  };
}

async function benchHistories(place: Place): Promise<Findings> {
  const lengths = place.quick ? [10, 100, 1_000] : [10, 100, 1_000, 5_000];
  const figures: Figure[] = [];
  const points: Record<string, [number, number][]> = {};
  for (const count of lengths) {
    const project = makeLongProject(place, count);
    const url = await makeStampedDatabase(place, project.head);
    const on = { project, url };
    const samples = await takeTurns(
      {
        entrypoint: () => timeBoot(place, "entrypoint", on),
        "entrypoint.sh": () => timeBoot(place, "entrypoint.sh", on),
      },
      { rounds: place.quick ? 2 : 3 },
    );
    figures.push(...listFigures(`nothing pending, ${count} revisions`, "ms", samples));
    for (const [name, values] of Object.entries(samples)) {
      (points[name] ??= []).push([count, summarise(values).median]);
    }
  }
  const perRevision = (name: string): number => {
    const [[fewer, before], [more, after]] = [points[name]?.at(0), points[name]?.at(-1)] as [
      [number, number],
      [number, number],
    ];
    return (after - before) / (more - fewer);
  };
  return {
    rows: [
      {
        what: `growth: each revision more, from ${lengths[0]} to ${lengths.at(-1)}, nothing pending`,
        against: "entrypoint.sh",
        goal: "drawn",
        measured: `${show(perRevision("entrypoint") * 1_000)} µs to ${show(perRevision("entrypoint.sh") * 1_000)} µs`,
        met: null,
        cause: "",
      },
    ],
    figures,
    charts: [
      {
        name: "revisions",
        svg: drawLines({
          title: "From the start to the application, nothing pending",
          x: "revisions in the history",
          y: "ms",
          lines: points,
        }),
      },
    ],
  };
}

/** What waits: replicas that would migrate, at the lock, and those that wait for a job that does. */
const waiters = {
  "entrypoint, at the lock": { words: boots.entrypoint, waits: "lock-wait: " },
  "entrypoint wait": { words: [executable, "wait", "--", "true"], waits: "waiting: " },
} as const;

async function benchWaiting(place: Place): Promise<Findings> {
  const numbers = place.quick ? [1, 8] : [1, 8, 32, 128];
  const seconds = place.quick ? 3 : 10;
  const figures: Figure[] = [];
  const points: Record<string, [number, number][]> = {};
  for (const number of numbers) {
    for (const [name, waiter] of Object.entries(waiters)) {
      const statements = await countWaiting(place, { ...waiter, number, seconds });
      (points[name] ??= []).push([number, statements / seconds]);
      figures.push(
        ...listFigures(`${number} waiting replicas`, "statements a second", {
          [name]: [statements / seconds],
        }),
      );
    }
  }
  const most = numbers.at(-1) ?? 1;
  const tell = Object.entries(points).map(([name, values]) => {
    const rate = values.at(-1)?.[1] ?? 0;
    return `${name}: ${show(rate)} (${show(rate / most)} for each)`;
  });
  return {
    rows: [
      {
        what: `growth: statements a second of ${most} waiting replicas`,
        against: "nothing",
        goal: "drawn",
        measured: tell.join("; "),
        met: null,
        cause: "",
      },
    ],
    figures,
    charts: [
      {
        name: "waiting",
        svg: drawLines({
          title: "What waiting replicas ask of the server, once they are slow",
          x: "waiting replicas",
          y: "statements a second",
          lines: points,
        }),
      },
    ],
  };
}

/** Statements in so many seconds while a migration goes on that does not end: theirs, and a few of its own entrypoint. */
async function countWaiting(
  place: Place,
  {
    words,
    waits,
    number,
    seconds,
  }: { words: readonly string[]; waits: string; number: number; seconds: number },
): Promise<number> {
  const url = await makeStampedDatabase(place, "0001_create_posts");
  const env = environment(place, url, { standIn: "migrates for ever" });
  const command = { cwd: place.blog.directory, env };
  const holder = start(boots.entrypoint, command);
  await holder.printed("migrating: ");
  const waiting = Array.from({ length: number }, () => start(words, command));
  try {
    const all = await Promise.all(waiting.map((one) => one.printed(waits)));
    if (!all.every(Boolean)) throw new Error(waiting.find((_, at) => all[at] !== true)?.stderr());
    // By then the pauses between two looks have grown to the longest.
    await sleep(5_000);
    return (await countLoad(place, () => sleep(seconds * 1_000))).statements;
  } finally {
    await stop([...waiting, holder], "SIGTERM");
  }
}
