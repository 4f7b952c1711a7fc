// The other migration tools: a start with nothing pending beside the tool's own, which finds nothing to do either, and eight
// replicas at one moment on an empty database. The tools are those of the conformance tests, with their projects.

import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import {
  commandOf,
  migrationsOf,
  modules,
  pythonPath,
  realTools,
  type RealTool,
  type TestMigration,
} from "../../test/process/tools/harness/real-tools.ts";
import { listFigures, ratioRow, show, type Findings } from "./findings.ts";
import { quantile, takeTurns } from "./measure.ts";
import { boots, environment, makeDatabase, node, start, stop, time, type Place } from "./place.ts";

/** The tools of the goals. What the registries lack here, such as Prisma's engine, is in none. */
const goals = ["drizzle", "knex"];
const racing = ["drizzle", "knex", "dbmate"];
const replicas = 8;

export async function benchTools(place: Place): Promise<Findings> {
  const there = realTools.filter(({ missing }) => missing === null);
  const found: Findings[] = [];
  for (const tool of there) found.push(await benchNothingPending(place, tool));
  for (const tool of there.filter(({ name }) => racing.includes(name))) {
    found.push(await benchRace(place, tool));
  }
  return {
    rows: found.flatMap(({ rows }) => rows),
    figures: found.flatMap(({ figures }) => figures),
    charts: [],
  };
}

function makeProject(
  { directory }: Place,
  tool: RealTool,
  { name, migrations }: { name: string; migrations: readonly TestMigration[] },
): string {
  const cwd = join(directory, `tool-${tool.name}-${name}`);
  mkdirSync(cwd, { recursive: true });
  symlinkSync(modules, join(cwd, "node_modules"));
  tool.write(cwd, migrations);
  return cwd;
}

function commandsFor(place: Place, tool: RealTool, { cwd, url }: { cwd: string; url: string }) {
  const words = commandOf(tool, url);
  const own = environment(place, url);
  const env = {
    ...own,
    PATH: `${join(node, "..")}:${own["PATH"]}`,
    PGSSLMODE: "disable",
    PYTHONPATH: pythonPath,
  };
  return {
    bare: { words: words.split(" "), command: { cwd, env } },
    boot: { words: boots.entrypoint, command: { cwd, env: { ...env, ENTRYPOINT_MIGRATE: words } } },
  };
}

async function benchNothingPending(place: Place, tool: RealTool): Promise<Findings> {
  const url = await makeDatabase(place);
  const cwd = makeProject(place, tool, { name: "done", migrations: migrationsOf(1, 2, 3) });
  const { bare, boot } = commandsFor(place, tool, { cwd, url });
  time(bare.words, bare.command);
  const name = `${tool.name} by itself`;
  const samples = await takeTurns(
    {
      entrypoint: () => time(boot.words, boot.command),
      [name]: () => time(bare.words, bare.command),
      "node -e 0": () => time([node, "-e", "0"], bare.command),
    },
    { rounds: place.quick ? 3 : 9 },
  );
  const { entrypoint = [], [name]: alone = [], "node -e 0": empty = [] } = samples;
  const what = `nothing pending, a project of ${tool.name}, to the application's first instruction`;
  const needed = show(quantile(alone, 0.5) / 10);
  const row = ratioRow(what, name, 1 / 10, {
    of: entrypoint,
    by: alone,
    unit: "ms",
    cause: `${needed} ms would be needed; node -e 0 alone takes ${show(quantile(empty, 0.5))} ms`,
  });
  return {
    rows: [goals.includes(tool.name) ? row : { ...row, goal: "", met: null, cause: "" }],
    figures: listFigures(what, "ms", samples),
    charts: [],
  };
}

async function benchRace(place: Place, tool: RealTool): Promise<Findings> {
  // A migration that takes a second: the starts of many replicas on few cores lie that far apart.
  const sql = "create table t1 (id int); select pg_sleep(1);";
  const cwd = makeProject(place, tool, { name: "race", migrations: [{ number: 1, sql }] });
  const rounds = place.quick ? 2 : 5;
  const dead = { entrypoint: [] as number[], bare: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    for (const who of ["bare", "boot"] as const) {
      const url = await makeDatabase(place);
      const { words, command } = commandsFor(place, tool, { cwd, url })[who];
      const running = Array.from({ length: replicas }, () => start(words, command));
      const codes = await Promise.all(running.map(({ ended }) => ended));
      await stop(running, "SIGTERM");
      const deaths = codes.filter((code) => code !== 0).length;
      dead[who === "boot" ? "entrypoint" : "bare"].push(deaths);
    }
  }
  const what = `${replicas} replicas on an empty database, a migration of ${tool.name} that takes 1 s: how many die`;
  return {
    rows: [
      {
        what,
        against: `${tool.name} by itself`,
        goal: "none",
        measured: `${dead.entrypoint.reduce((a, b) => a + b)} in ${rounds} rounds (${tool.name} by itself, round by round: ${dead.bare.join(", ")})`,
        met: dead.entrypoint.every((one) => one === 0),
        cause: "",
      },
    ],
    figures: listFigures(what, "replicas", dead),
    charts: [],
  };
}
