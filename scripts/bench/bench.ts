// `npm run bench`: entrypoint beside entrypoint.sh and the other programs that it is compared with, all of them real, in one
// run. A whole run writes results/bench.json, the charts and the tables of README.md beside this file; with --quick (few rounds) or --only
// (some groups, by their names, with commas) the same goes to .cache/bench/.

import { mkdirSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { benchBackfill } from "./backfill.ts";
import { benchDjango } from "./django.ts";
import type { Findings } from "./findings.ts";
import { benchGrowth } from "./growth.ts";
import { benchHandover } from "./handover.ts";
import { benchImage } from "./image.ts";
import { openPlace, type Place } from "./place.ts";
import { benchReplicas } from "./replicas.ts";
import { makeReport, printReport, publish, writeReport } from "./report.ts";
import { benchStart } from "./start.ts";
import { benchStatus } from "./status.ts";
import { benchSupervise } from "./supervise.ts";
import { benchTools } from "./tools.ts";

/** In the order of README.md's tables. */
const groups: Readonly<Record<string, (place: Place) => Promise<Findings>>> = {
  start: benchStart,
  replicas: benchReplicas,
  tools: benchTools,
  handover: benchHandover,
  supervise: benchSupervise,
  status: benchStatus,
  django: benchDjango,
  growth: benchGrowth,
  backfill: benchBackfill,
  image: benchImage,
};

const { values: options } = parseArgs({
  options: { quick: { type: "boolean", default: false }, only: { type: "string" } },
});
const chosen = options.only?.split(",") ?? Object.keys(groups);
const unknown = chosen.filter((name) => !(name in groups));
if (unknown.length > 0) {
  throw new Error(`--only ${unknown.join(",")}: there are ${Object.keys(groups).join(", ")}`);
}

// What has been started and made is removed at the exit, and PostgreSQL stops with this process.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}
process.setMaxListeners(0);
const place = await openPlace(options.quick);
const findings: Findings[] = [];
try {
  for (const name of chosen) {
    const startMs = performance.now();
    const found = await groups[name]?.(place);
    if (found !== undefined) findings.push(found);
    console.log(`bench: ${name} took ${Math.round((performance.now() - startMs) / 1000)} s`);
  }
} finally {
  await place.close();
}
const report = makeReport(findings, new Date());
printReport(report);
if (options.quick || options.only !== undefined) {
  const directory = join(import.meta.dirname, "../../.cache/bench");
  mkdirSync(directory, { recursive: true });
  writeReport(report, findings, directory);
  console.log(
    `bench: written to ${directory}; a whole run writes results/ and README.md in scripts/bench/`,
  );
} else {
  publish(report, findings);
}
