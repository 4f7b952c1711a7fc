// Many replicas at one moment: how long until all serve, how many die of each other, and what they ask of the server.

import { listFigures, ratioRow, show, type Findings } from "./findings.ts";
import { countLoad } from "./load.ts";
import { quantile, takeTurns } from "./measure.ts";
import {
  boots,
  environment,
  makeDatabase,
  makeStampedDatabase,
  start,
  stop,
  type Boot,
  type Place,
  type StandIn,
} from "./place.ts";
import { availableParallelism } from "node:os";

export async function benchReplicas(place: Place): Promise<Findings> {
  const [serving, load] = [await benchEmptyDatabase(place), await benchLoad(place)];
  return {
    rows: [...serving.rows, ...load.rows],
    figures: [...serving.figures, ...load.figures],
    charts: [],
  };
}

async function benchEmptyDatabase(place: Place): Promise<Findings> {
  const count = place.quick ? 4 : 32;
  const dead: Record<string, number[]> = {};
  const run = async (name: Boot, replicas: number, standIn: StandIn): Promise<number> => {
    const { ms, deaths } = await bootTogether(place, { name, replicas, standIn });
    (dead[`${name}, ${replicas} replicas, ${standIn}`] ??= []).push(deaths);
    return ms;
  };
  const contenders = (standIn: StandIn) => ({
    "entrypoint, one replica": () => run("entrypoint", 1, standIn),
    entrypoint: () => run("entrypoint", count, standIn),
    "entrypoint.sh": () => run("entrypoint.sh", count, standIn),
  });
  const locked = {
    "entrypoint.sh, flock": () => run("entrypoint.sh, flock", count, "ends at once"),
    "entrypoint.sh, advisory lock": () =>
      run("entrypoint.sh, advisory lock", count, "ends at once"),
  };
  const turns = { rounds: place.quick ? 2 : 3, warmUps: 0 };
  const boot = await takeTurns({ ...contenders("ends at once"), ...locked }, turns);
  const serve = await takeTurns(contenders("serves"), turns);

  const deaths = (name: Boot): number[] => [
    ...(dead[`${name}, ${count} replicas, ends at once`] ?? []),
    ...(dead[`${name}, ${count} replicas, serves`] ?? []),
  ];
  const own = deaths("entrypoint");
  const listDead = (name: Boot): string => `${name} ${deaths(name).join(", ")}`;
  const cores = availableParallelism();
  const what = `${count} replicas on an empty database`;
  const [oneMs, allMs, oneBootMs, allBootMs] = [
    serve["entrypoint, one replica"],
    serve.entrypoint,
    boot["entrypoint, one replica"],
    boot.entrypoint,
  ].map((ms) => quantile(ms, 0.5)) as [number, number, number, number];
  return {
    rows: [
      {
        what: `${what}: how many die`,
        against: "`entrypoint.sh`, bare and with a lock",
        goal: "none",
        measured: `${own.reduce((a, b) => a + b)} in ${own.length} rounds (round by round: ${(["entrypoint.sh", "entrypoint.sh, flock", "entrypoint.sh, advisory lock"] as const).map(listDead).join("; ")})`,
        met: own.every((one) => one === 0),
        cause: "",
      },
      ratioRow(`${what}: until all have reached the application`, "one replica", 1.3, {
        of: boot.entrypoint,
        by: boot["entrypoint, one replica"],
        unit: "ms",
        cause: `${cores} cores: beside the migration, which one of them runs, ${show((allBootMs - oneBootMs) / (count - 1))} ms for each other replica's own start`,
      }),
      ratioRow(`${what}: until all serve`, "one replica", 1.3, {
        of: serve.entrypoint,
        by: serve["entrypoint, one replica"],
        unit: "ms",
        cause: `${cores} cores: ${show((allMs - oneMs) / (count - 1))} ms for each other replica, most of it uvicorn's and the blog's own start`,
      }),
      ratioRow(
        `${what}: until all have reached the application`,
        "entrypoint.sh, advisory lock",
        1,
        {
          of: boot.entrypoint,
          by: boot["entrypoint.sh, advisory lock"],
          unit: "ms",
          cause: `${cores} cores are busy with Python on one side, and with ${count} starts of Node on the other`,
        },
      ),
    ],
    figures: [
      ...listFigures(`${what}: until all have reached the application`, "ms", boot),
      ...listFigures(`${what}: until all serve`, "ms", serve),
      ...listFigures("how many die", "replicas", dead),
    ],
    charts: [],
  };
}

/** Starts replicas at one moment on an empty database, until all serve, or have ended where their application does. */
async function bootTogether(
  place: Place,
  { name, replicas, standIn }: { name: Boot; replicas: number; standIn: StandIn },
): Promise<{ ms: number; deaths: number }> {
  const url = await makeDatabase(place);
  const command = { cwd: place.blog.directory, env: environment(place, url, { standIn }) };
  const startMs = performance.now();
  const running = Array.from({ length: replicas }, () => start(boots[name], command));
  const alive = await Promise.all(
    running.map(async (one) => {
      if (standIn !== "serves") return (await one.ended) === 0;
      if (!(await one.printed(/Uvicorn running on \S+ \(/))) return false;
      const address = /Uvicorn running on (\S+)/.exec(one.stderr())?.[1];
      return (await fetch(`${address}/healthz`)).ok;
    }),
  );
  const ms = performance.now() - startMs;
  await stop(running, "SIGTERM");
  return { ms, deaths: alive.filter((one) => !one).length };
}

async function benchLoad(place: Place): Promise<Findings> {
  const count = place.quick ? 4 : 32;
  const url = await makeStampedDatabase(place, place.blog.head);
  const command = { cwd: place.blog.directory, env: environment(place, url) };
  const count32 = async (name: Boot) =>
    countLoad(place, async () => {
      const running = Array.from({ length: count }, () => start(boots[name], command));
      await Promise.all(running.map(({ ended }) => ended));
    });
  const [own, script] = [await count32("entrypoint"), await count32("entrypoint.sh")];
  const row = (what: "connections" | "statements") => ({
    what: `${count} replicas, nothing pending: ${what} that PostgreSQL sees`,
    against: "entrypoint.sh",
    goal: "fewer",
    measured: `${own[what]} to ${script[what]}`,
    met: own[what] < script[what],
    cause:
      own[what] < script[what]
        ? ""
        : `${show(own[what] / count)} for each replica, and with none nobody can ask the database`,
  });
  return {
    rows: [row("connections"), row("statements")],
    figures: (["connections", "statements"] as const).flatMap((what) =>
      listFigures(`${count} replicas, nothing pending`, what, {
        entrypoint: [own[what]],
        "entrypoint.sh": [script[what]],
      }),
    ),
    charts: [],
  };
}
