// SIGKILL of an entrypoint that is not PID 1, while its migration has no session in the database yet that the next boot could
// see: the migration ends with it.
// @runs-on executable

import { expect, test } from "vitest";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { isAlive } from "../groups/harness/processes.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { directly } from "./steps.ts";

const importing = `import time
print("importing", os.getpid(), flush=True)
if os.environ.get("SLEEP"): time.sleep(600)
`;

test("a migration that is still importing does not outlive entrypoint", async () => {
  const url = await createTestDatabase();
  const cwd = createProject([{ id: "a1" }], {
    env: directly().replace("import os, sys\n", `import os, sys\n${importing}`),
  });
  const env = { DATABASE_URL: url, DIRECT_URL: url };
  const run = startEntrypoint(["migrate"], { cwd, env: { ...env, SLEEP: "yes" } });
  await run.printed("importing");
  const pid = Number(/importing (\d+)/.exec(run.stdout())?.[1]);
  run.process.kill("SIGKILL");
  await expect.poll(() => isAlive(pid)).toBe(false);
  expect((await runEntrypoint(["migrate"], { cwd, env })).code).toBe(0);
});
