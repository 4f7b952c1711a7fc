// The machine of the replica that migrates vanishes without a word to the server: another one takes over within 30 s.
// @runs-on executable
// @takes long

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect } from "vitest";
import { readLines } from "../../harness/output.ts";
import { entrypointCommand, plainEnvironment } from "../harness/entrypoint.ts";
import { createProject } from "../harness/project.ts";
import { testUnless } from "../supervise/harness/supervised.ts";

const namespace = ["unshare", "--net"] as const;
const [program, ...words] = namespace;
const tried = spawnSync(program, [...words, "sh", "-c", "ip link set lo up && iptables -L -n"]);
const test = testUnless(
  tried.status === 0 ? null : "no network namespace with iptables can be unshared here",
);

/** The server notices after 22 s, and a replica that has waited for so long looks every 5 s. */
const limitMs = 30_000;

/** What a driver gets that ignores PGOPTIONS and PGAPPNAME, as asyncpg does. */
const ignoring = `import os
os.environ.pop("PGOPTIONS", None)
os.environ.pop("PGAPPNAME", None)
`;

const env = (first: string) => `${first}import os
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
`;

const upgrade = (statement: string, after: string) =>
  `op.execute("create table t (id int)")
if os.environ["BUSY"]:
    op.execute("${statement}")
    ${after}`;

const idle = { statement: "select 'busy'", after: "time.sleep(600)" };
const running = { statement: "select pg_sleep(600), 'busy'", after: "pass" };

const cases = [
  { name: "idle in a transaction", ...idle, first: "", sql: "" },
  { name: "in a long statement", ...running, first: "", sql: "" },
  {
    name: "with a driver that ignores PGOPTIONS, and the cure of the documents",
    ...running,
    first: ignoring,
    sql: "alter role postgres set tcp_keepalives_idle = 10; alter role postgres set tcp_keepalives_interval = 4; alter role postgres set tcp_keepalives_count = 3; alter role postgres set client_connection_check_interval = 1000",
  },
];

async function vanish({ name, statement, after, first, sql }: (typeof cases)[number]) {
  const cwd = createProject([{ id: "a1", upgrade: upgrade(statement, after) }], {
    env: env(first),
  });
  const fixture = join(import.meta.dirname, "fixtures/vanish.ts");
  const args = [process.execPath, fixture, cwd, `${statement}%`, sql, ...entrypointCommand()];
  const run = spawn(program, [...words, ...args], {
    env: { ...plainEnvironment(), PATH: `${plainEnvironment()["PATH"]}:/usr/sbin:/sbin` },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  run.stdout.on("data", (data: Buffer) => (stdout += data.toString()));
  run.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  await once(run, "close");
  if (stdout === "") throw new Error(`${name}: ${stderr}`);
  const { code, ms, log } = JSON.parse(stdout) as { code: number; ms: number; log: string };
  const events = readLines(log).map(({ event }) => event);
  console.log(`${name}: another replica takes over ${ms} ms after the machine vanished`);
  return { name, log, ms, code, events };
}

// Nearly all of it is waiting for the server to notice: the three wait at once.
test("the migration's session is idle, in a statement, or of a driver that ignores PGOPTIONS", async () => {
  for (const { name, log, ms, code, events } of await Promise.all(cases.map(vanish))) {
    expect(code, `${name}: ${log}`).toBe(0);
    expect(events, name).toContain("lock-wait");
    expect(events, name).toContain("migrated");
    expect(ms, name).toBeLessThan(limitMs);
  }
});
