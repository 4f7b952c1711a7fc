// `entrypoint status` beside what people ask today, `alembic current`, and beside the runtime's own start.

import { listFigures, ratioRow, show, type Findings } from "./findings.ts";
import { quantile, takeTurns } from "./measure.ts";
import {
  bundle,
  environment,
  executable,
  makeDatabase,
  node,
  runAlembic,
  time,
  type Place,
} from "./place.ts";

export async function benchStatus(place: Place): Promise<Findings> {
  const url = await makeDatabase(place);
  runAlembic(place, url, "upgrade", "head");
  const command = { cwd: place.blog.directory, env: environment(place, url) };
  const samples = await takeTurns(
    {
      entrypoint: () => time([executable, "status"], command),
      "entrypoint.js": () => time([node, bundle, "status"], command),
      "alembic current": () => time(["alembic", "current"], command),
      "node -e 0": () => time([node, "-e", "0"], command),
    },
    { rounds: place.quick ? 5 : 15, warmUps: 2 },
  );
  const { entrypoint, "node -e 0": bare, "alembic current": alembic } = samples;
  const bareMs = quantile(bare, 0.5);
  const cause = `node -e 0 takes ${show(bareMs)} ms; connecting, the files and two statements ${show(quantile(entrypoint, 0.5) - bareMs)} ms`;
  return {
    rows: [
      ratioRow("`status`", "`alembic current`", 1 / 10, {
        of: entrypoint,
        by: alembic,
        unit: "ms",
        cause,
      }),
      ratioRow("`status`", "`node -e 0`", 1.5, { of: entrypoint, by: bare, unit: "ms", cause }),
    ],
    figures: listFigures("status", "ms", samples),
    charts: [],
  };
}
