// Seeded rounds of chaos: whatever happens to them, replicas never migrate at once, start no application below head, leave
// nothing behind, and those that nobody hurt reach the application. `npm run chaos -- --rounds 300 --seed 7` runs more.
// @runs-on executable
// @takes long

import { afterAll, beforeAll, expect, test } from "vitest";
import { startPostgres, type Postgres } from "../../../scripts/postgres.ts";
import { firstProcess } from "../supervise/harness/supervised.ts";
import { planRound } from "./plan.ts";
import { runRound, type Verdict } from "./round.ts";

const {
  ENTRYPOINT_CHAOS_ROUNDS = "30",
  ENTRYPOINT_CHAOS_SEED = "1",
  ENTRYPOINT_CHAOS_FIRST = "0",
} = process.env;
const seed = Number(ENTRYPOINT_CHAOS_SEED);
const first = Number(ENTRYPOINT_CHAOS_FIRST);
const plans = Array.from({ length: Number(ENTRYPOINT_CHAOS_ROUNDS) }, (_, index) =>
  planRound(seed, first + index),
);

let server: Postgres;
const verdicts: Verdict[] = [];

beforeAll(async () => {
  // A crash of the server loses nothing that was committed, since the machine itself lives on.
  const settings = { fsync: "off", full_page_writes: "off", track_commit_timestamp: "on" };
  server = await startPostgres({ settings });
  return () => server.stop();
});

afterAll(() => {
  const ends = verdicts.flatMap((verdict) => verdict.ends);
  const kinds = [...new Set(ends)].map(
    (code) => `${ends.filter((end) => end === code).length} × ${code}`,
  );
  const longestMs = Math.max(...verdicts.map(({ recoveryMs }) => recoveryMs));
  console.info(
    `${verdicts.length} rounds; ends: ${kinds.join(", ")}; the longest recovery took ${(longestMs / 1000).toFixed(1)} s`,
  );
});

const possible = plans.filter((plan) => !plan.firstProcess || firstProcess.missing === null);

test.each(possible)("$name", async (plan) => {
  const verdict = await runRound(server, plan);
  verdicts.push(verdict);
  expect(verdict.violations).toEqual([]);
});
