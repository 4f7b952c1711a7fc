// From the start to the application's first instruction: the usual start, on which nothing is pending, and one with a
// revision to run. The application is a script that does nothing, on all sides the same.

import { join } from "node:path";

import { buildSync } from "esbuild";
import pg from "pg";

import { drawBars } from "./chart.ts";
import { listFigures, ratioRow, show, showRatio, type Findings } from "./findings.ts";
import { quantile, summarise, takeTurns } from "./measure.ts";
import {
  boots,
  environment,
  executable,
  makeDatabase,
  makeLongProject,
  makeStampedDatabase,
  node,
  runAlembic,
  time,
  type Boot,
  type Place,
  type Project,
} from "./place.ts";

const script = "entrypoint.sh";

export async function benchStart(place: Place): Promise<Findings> {
  const [blog, long, pending] = [
    await benchBlog(place),
    await benchLongHistory(place),
    await benchPending(place),
  ];
  return {
    rows: [...blog.rows, ...long.rows, ...pending.rows],
    figures: [...blog.figures, ...long.figures, ...pending.figures],
    charts: blog.charts,
  };
}

/** Runs a boot to the end of the application that does nothing, in milliseconds. */
export function timeBoot(
  place: Place,
  name: Boot,
  { project, url, bytecode = false }: { project: Project; url: string; bytecode?: boolean },
): number {
  return time(boots[name], { cwd: project.directory, env: environment(place, url, { bytecode }) });
}

async function benchBlog(place: Place): Promise<Findings> {
  const url = await makeDatabase(place);
  runAlembic(place, url, "upgrade", "head");
  const on = { project: place.blog, url };
  const bareQuery = buildBareQuery(place);
  const command = { cwd: place.blog.directory, env: environment(place, url) };
  const samples = await takeTurns(
    {
      entrypoint: () => timeBoot(place, "entrypoint", on),
      "entrypoint.js": () => timeBoot(place, "entrypoint.js", on),
      "entrypoint.sh": () => timeBoot(place, script, on),
      "entrypoint.sh, flock": () => timeBoot(place, "entrypoint.sh, flock", on),
      "entrypoint.sh, advisory lock": () => timeBoot(place, "entrypoint.sh, advisory lock", on),
      "node -e 0": () => time([node, "-e", "0"], command),
      "node, pg, a query": () => time([node, bareQuery], command),
      "a query": () => timeQuery(url),
    },
    { rounds: place.quick ? 5 : 15, warmUps: 2 },
  );
  const { entrypoint, "node -e 0": bare, "a query": query } = samples;
  const sum = bare.map((ms, round) => ms + (query[round] ?? Number.NaN));
  const [bareMs, queryMs, scriptMs] = [bare, query, samples[script]].map((ms) =>
    quantile(ms, 0.5),
  ) as [number, number, number];
  const ownMs = quantile(entrypoint, 0.5) - bareMs - queryMs;
  const parts = `node -e 0 takes ${show(bareMs)} ms, a connection and a query in a process that is warm ${show(queryMs)} ms, and the rest of the boot ${show(ownMs)} ms`;
  const what = "nothing pending, the blog, to the application's first instruction";
  return {
    rows: [
      ratioRow(what, script, 1 / 10, {
        of: entrypoint,
        by: samples[script],
        unit: "ms",
        cause: `${parts}; Node alone is ${showRatio(bareMs / scriptMs)}`,
      }),
      ratioRow(what, "`node`, `pg` in a bundle, a connection and a query", 1.25, {
        of: entrypoint,
        by: samples["node, pg, a query"],
        unit: "ms",
        cause: parts,
      }),
      ratioRow(what, "`node -e 0`, plus a connection and a query in a process that is warm", 1.25, {
        of: entrypoint,
        by: sum,
        unit: "ms",
        cause: parts,
      }),
    ],
    figures: listFigures("nothing pending, the blog", "ms", samples),
    charts: [{ name: "start", svg: drawStart(samples) }],
  };
}

function drawStart(samples: Readonly<Record<string, readonly number[]>>): string {
  const bars = Object.entries(samples).map(([name, values]) => ({
    name,
    value: summarise(values),
    own: name in boots && !name.startsWith(script),
  }));
  return drawBars({
    title: "From the start to the application, nothing pending, the blog",
    unit: "ms",
    bars,
  });
}

async function benchLongHistory(place: Place): Promise<Findings> {
  const project = makeLongProject(place, 500);
  const url = await makeStampedDatabase(place, project.head);
  const on = { project, url };
  const frozen = { project: makeLongProject(place, 500, "frozen"), url };
  time([executable, "freeze"], {
    cwd: frozen.project.directory,
    env: environment(place, url),
  });
  const again = { project: makeLongProject(place, 500, "restarted"), url, bytecode: true };
  const samples = await takeTurns(
    {
      entrypoint: () => timeBoot(place, "entrypoint", on),
      "entrypoint, frozen": () => timeBoot(place, "entrypoint", frozen),
      "entrypoint.sh": () => timeBoot(place, script, on),
      "entrypoint.sh, bytecode kept": () => timeBoot(place, script, again),
      "node -e 0": () =>
        time([node, "-e", "0"], { cwd: project.directory, env: environment(place, url) }),
    },
    { rounds: place.quick ? 3 : 9 },
  );
  const bareMs = quantile(samples["node -e 0"], 0.5);
  const row = (what: string, of: keyof typeof samples, against: keyof typeof samples) =>
    ratioRow(what, against, 1 / 30, {
      of: samples[of],
      by: samples[against],
      unit: "ms",
      cause: `${show(quantile(samples[against], 0.5) / 30)} ms would be needed; node -e 0 alone takes ${show(bareMs)} ms, and all else ${show(quantile(samples[of], 0.5) - bareMs)} ms`,
    });
  const what = "the same with a history of 500 revisions";
  return {
    rows: [
      row(what, "entrypoint", script),
      row(`${what}, and \`entrypoint freeze\` in the image`, "entrypoint, frozen", script),
      row(what, "entrypoint", "entrypoint.sh, bytecode kept"),
    ],
    figures: listFigures("nothing pending, 500 revisions", "ms", samples),
    charts: [],
  };
}

async function benchPending(place: Place): Promise<Findings> {
  const before = await makeDatabase(place);
  runAlembic(place, before, "upgrade", "head");
  runAlembic(place, before, "downgrade", "-1");
  const template = new URL(before).pathname.slice(1);
  const run = async (name: Boot): Promise<number> =>
    timeBoot(place, name, { project: place.blog, url: await makeDatabase(place, template) });
  const samples = await takeTurns(
    { entrypoint: () => run("entrypoint"), "entrypoint.sh": () => run(script) },
    { rounds: place.quick ? 3 : 9 },
  );
  const [ownMs, scriptMs] = [samples.entrypoint, samples[script]].map((ms) =>
    quantile(ms, 0.5),
  ) as [number, number];
  return {
    rows: [
      ratioRow("one migration pending", script, 1.05, {
        of: samples.entrypoint,
        by: samples[script],
        unit: "ms",
        cause: `both run the same Alembic; the wait, the lock, two inspections, the verification and Node's start take ${show(ownMs - scriptMs)} ms, and ${show(scriptMs * 0.05)} ms are allowed`,
      }),
    ],
    figures: listFigures("one migration pending", "ms", samples),
    charts: [],
  };
}

/** A connection and a query, in milliseconds, in this process, which has done it before. */
async function timeQuery(url: string): Promise<number> {
  const startMs = performance.now();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query("select version_num from alembic_version");
  await client.end();
  return performance.now() - startMs;
}

/** The least that a program for this runtime can be which asks the database one thing: a bundle of `pg` and five lines. */
function buildBareQuery({ directory }: Place): string {
  const outfile = join(directory, "bare-query.cjs");
  buildSync({
    stdin: {
      resolveDir: import.meta.dirname,
      contents: `const { Client } = require("pg");
        const client = new Client({ connectionString: process.env.DATABASE_URL });
        client.connect()
          .then(() => client.query("select version_num from alembic_version"))
          .then(() => client.end());`,
    },
    bundle: true,
    minify: true,
    platform: "node",
    format: "cjs",
    external: ["pg-native", "pg-cloudflare"],
    outfile,
  });
  return outfile;
}
