// A Django project whose migrations are frozen: a start with nothing pending beside `manage.py migrate`, which finds nothing to do
// either, and eight replicas at one moment on an empty database.

import { cpSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { listFigures, ratioRow, show, type Findings } from "./findings.ts";
import { quantile, takeTurns } from "./measure.ts";
import {
  boots,
  environment,
  executable,
  makeDatabase,
  node,
  start,
  stop,
  time,
  type Command,
  type Place,
} from "./place.ts";

const tests = join(import.meta.dirname, "../../test/process/tools");
const packages = join(import.meta.dirname, "../../.cache/tools");
const migrate = "python manage.py migrate --noinput";
const replicas = 8;

export async function benchDjango(place: Place): Promise<Findings> {
  if (!existsSync(join(packages, "django"))) {
    console.log("bench: no Django: scripts/setup --tests");
    return { rows: [], figures: [], charts: [] };
  }
  const directory = join(place.directory, "django");
  cpSync(join(tests, "fixtures/django"), directory, { recursive: true });
  // As pip installs them, with the bytecode that it makes.
  const installed = join(place.directory, "django-packages/site-packages");
  for (const name of readdirSync(packages).filter((each) =>
    /^(?:django|asgiref|sqlparse)/i.test(each),
  )) {
    cpSync(join(packages, name), join(installed, name), {
      recursive: true,
      preserveTimestamps: true,
    });
  }
  const on = (url: string): Command => ({
    cwd: directory,
    env: { ...environment(place, url), PYTHONPATH: installed, ENTRYPOINT_MIGRATE: migrate },
  });
  time([executable, "freeze"], on("postgresql://nobody@no.such.host/none"));
  const url = await makeDatabase(place);
  const bare = migrate.split(" ");
  time(bare, on(url));
  const samples = await takeTurns(
    {
      entrypoint: () => time(boots.entrypoint, on(url)),
      "manage.py migrate": () => time(bare, on(url)),
      "node -e 0": () => time([node, "-e", "0"], on(url)),
    },
    { rounds: place.quick ? 3 : 9 },
  );
  const { entrypoint, "manage.py migrate": alone, "node -e 0": empty } = samples;
  const what =
    "nothing pending, a frozen project of Django, to the application's first instruction";
  const race = await measureRace(place, on);
  const raceWhat = `${replicas} replicas on an empty database, a project of Django: how many die`;
  return {
    rows: [
      ratioRow(what, "manage.py migrate", 1 / 10, {
        of: entrypoint,
        by: alone,
        unit: "ms",
        cause: `${show(quantile(alone, 0.5) / 10)} ms would be needed; node -e 0 alone takes ${show(quantile(empty, 0.5))} ms`,
      }),
      {
        what: raceWhat,
        against: "manage.py migrate",
        goal: "none",
        measured: `${race.entrypoint.reduce((sum, one) => sum + one)} in ${race.entrypoint.length} rounds (manage.py migrate, round by round: ${race["manage.py migrate"].join(", ")})`,
        met: race.entrypoint.every((one) => one === 0),
        cause: "",
      },
    ],
    figures: [...listFigures(what, "ms", samples), ...listFigures(raceWhat, "replicas", race)],
    charts: [],
  };
}

async function measureRace(place: Place, on: (url: string) => Command) {
  return takeTurns(
    {
      entrypoint: async () => countDead(boots.entrypoint, on(await makeDatabase(place))),
      "manage.py migrate": async () => countDead(migrate.split(" "), on(await makeDatabase(place))),
    },
    { rounds: place.quick ? 2 : 5, warmUps: 0 },
  );
}

async function countDead(words: readonly string[], command: Command): Promise<number> {
  const running = Array.from({ length: replicas }, () => start(words, command));
  const codes = await Promise.all(running.map(({ ended }) => ended));
  await stop(running, "SIGTERM");
  return codes.filter((code) => code !== 0).length;
}
