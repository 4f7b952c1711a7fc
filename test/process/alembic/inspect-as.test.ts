// What is run and what is read are two things: a command of the project's own that runs Alembic in the end.

import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

async function createPlace() {
  const url = new URL(await createTestDatabase());
  url.protocol = "postgresql+psycopg:";
  const cwd = createProject([{ id: "a1" }, { id: "b2" }]);
  const file = join(cwd, "blogctl");
  writeFileSync(file, `#!/bin/sh\necho "$@" >> calls\nexec alembic upgrade "$2"\n`);
  chmodSync(file, 0o755);
  return { cwd, env: { DATABASE_URL: url.href }, command: `${file} migrate` };
}

test("the named command is read, and the project's own one is run only when something is pending", async () => {
  const { cwd, env, command } = await createPlace();
  const options = ["--migrate", `${command} heads`, "--inspect-as", "alembic upgrade heads"];
  const first = await runEntrypoint([...options, "true"], { cwd, env });
  expect(first.code, first.stderr).toBe(0);
  const found = first.lines.find(({ event }) => event === "migrating");
  expect(found).toMatchObject({ command: `${command} heads`.split(" "), pending: ["a1", "b2"] });
  expect(first.lines.map(({ event }) => event)).toContain("migrated");
  // PATH has no Python: nothing is run.
  const second = await runEntrypoint([...options, "/bin/true"], {
    cwd,
    env: { ...env, PATH: "/nowhere" },
  });
  expect(second.code, second.stderr).toBe(0);
  expect(second.lines.map(({ event }) => event)).toContain("current");
});

test("84: a command that does less than what was read", async () => {
  const { cwd, env, command } = await createPlace();
  const run = await runEntrypoint(["--migrate", `${command} a1`, "true"], {
    cwd,
    env: { ...env, ENTRYPOINT_INSPECT_AS: "alembic upgrade head" },
  });
  expect(run.code, run.stderr).toBe(84);
});
