// The verification is cut, or gets no connection: exit code 0 of the migration is not believed then, its failure keeps its own
// code, and both say what is known. The application never starts on a schema that nobody has seen.
// @runs-on executable

import { expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject, type RevisionFile } from "../harness/project.ts";
import { startProxy, type Fault } from "../harness/proxy.ts";
import { directly, steps } from "./steps.ts";

const app = ["echo", "the app was started"];
const started = "the app was started\n";

const failing = [{ id: "a1" }, { id: "b2", upgrade: 'op.execute("select 1 / 0")' }];
const hanging = [{ id: "a1", upgrade: "time.sleep(60)" }];

interface Row {
  readonly name: string;
  readonly fault: Fault;
  readonly revisions: readonly RevisionFile[];
  readonly code: number;
  readonly message: RegExp;
}

const unknown =
  /it is not known how far it came: .*; before it ran, the database was behind: at no revision/;

const rows: readonly Row[] = [
  {
    name: "cut once after a success, it connects again",
    fault: "cut",
    revisions: [{ id: "a1" }],
    code: 0,
    message: /Starting application/,
  },
  {
    name: "69 where the server is gone after a success",
    fault: "down",
    revisions: [{ id: "a1" }],
    code: 69,
    message: unknown,
  },
  {
    name: "1 where it is cut once after a failed revision",
    fault: "cut",
    revisions: failing,
    code: 1,
    message: /2 were pending, 1 was applied/,
  },
  {
    name: "1 where the server is gone after a failed revision",
    fault: "down",
    revisions: failing,
    code: 1,
    message: unknown,
  },
  {
    name: "124 where the server is gone after a time-out",
    fault: "down",
    revisions: hanging,
    code: 124,
    message: unknown,
  },
];

const verification = steps.find(({ name }) => name === "verify");

test.each(rows)("$name", async ({ fault, revisions, code, message }) => {
  const url = await createTestDatabase();
  const proxy = await startProxy(url);
  const { query = "", nth = 0 } = verification ?? {};
  void proxy.failAt(query, nth, fault);
  const run = await runEntrypoint(
    ["--wait-timeout", "2s", "--migrate-timeout", revisions === hanging ? "3s" : "60s", ...app],
    {
      cwd: createProject(revisions, { env: directly() }),
      env: { DATABASE_URL: proxy.url, DIRECT_URL: url },
    },
  );
  expect(run.code, run.stderr).toBe(code);
  expect(run.stdout.endsWith(started)).toBe(code === 0);
  expect(run.lines.at(-1)?.msg).toMatch(message);
  expect(run.lines.some(({ event }) => event === "internal-error")).toBe(false);
});

test.each([
  { name: "69 where the role may no longer log in", sql: "alter role ROLE nologin", code: 69 },
  {
    name: "84 where the role may not read the version table",
    sql: "create table alembic_version (version_num varchar(32))",
    code: 84,
  },
])("$name, and the migration has ended with 0", async ({ sql, code }) => {
  const url = new URL(await createTestDatabase());
  const direct = url.href;
  const role = `app_${url.pathname.slice(1)}`;
  await (await connectClient(direct)).query(`create role ${role} login password 'secret'`);
  url.username = role;
  url.password = "secret";
  const lie = `connection.execute(text("${sql.replace("ROLE", role)}")); connection.commit(); sys.exit(0)`;
  const run = await runEntrypoint(app, {
    cwd: createProject([{ id: "a1" }], { env: directly(lie) }),
    env: { DATABASE_URL: url.href, DIRECT_URL: direct },
  });
  expect(run.code, run.stderr).toBe(code);
  expect(run.stdout).not.toContain(started);
  expect(run.lines.at(-1)?.["hint"]).toBeTruthy();
});
