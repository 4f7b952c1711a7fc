// Rounds of chaos on demand: npm run chaos -- --rounds 300 --seed 7. With --first N it begins with the round N, so that one round
// can be run again by itself.

import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "30" },
    seed: { type: "string", default: "1" },
    first: { type: "string", default: "0" },
  },
});

const { status } = spawnSync("vitest", ["run", "--project", "executable", "test/process/chaos"], {
  stdio: "inherit",
  env: {
    ...process.env,
    ENTRYPOINT_CHAOS_ROUNDS: values.rounds,
    ENTRYPOINT_CHAOS_SEED: values.seed,
    ENTRYPOINT_CHAOS_FIRST: values.first,
  },
});
process.exitCode = status ?? 1;
