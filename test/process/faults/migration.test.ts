// All that can become of the migration itself, as src/migrate/README.md has it in a table: the exit code and what the last line
// says. The application starts only after 0, and where the cause is gone a plain second boot is at head.
// @runs-on executable
// @takes long

import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readDocument, readTable } from "../../harness/documents.ts";
import { findByEnvironment, listDescendants, send } from "../chaos/processes.ts";
import { runEntrypoint, startEntrypoint, type Run } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy, type Proxy } from "../harness/proxy.ts";
import { directly } from "./steps.ts";

interface Row {
  /** Of the revision's upgrade(), before the table is made, unless the cause is gone. */
  readonly upgrade?: string;
  /** Instead of Alembic. */
  readonly script?: string;
  readonly args?: readonly string[];
  /** SQL for the database's superuser before the boot. @returns that which takes it back. */
  readonly sql?: (name: string) => readonly [before: string, after: string];
  /** Once upgrade() runs. `own` is what the lock is held through, `its` what the migration connects through. */
  readonly act?: (on: { run: Run; own: Proxy; its: Proxy }) => void;
  /** What is left running on purpose. */
  readonly leaves?: string;
  /** Most of it is a limit of 10 s or more: such rows run at once. */
  readonly slow?: true;
}

const hangs = `print("in upgrade", flush=True); time.sleep(600)`;
const command = (run: Run) => listDescendants(run.pid).find(({ name }) => name === "alembic");

const rows: Readonly<Record<string, Row>> = {
  "a statement fails": { upgrade: `op.execute("select 1 / 0")` },
  "it is killed": {
    upgrade: hangs,
    act: ({ run }) => send(command(run)?.pid ?? 0, "SIGKILL"),
  },
  "its connection is closed": {
    upgrade: `print("in upgrade", flush=True); op.execute("select pg_sleep(600)")`,
    act: ({ its }) => its.cut(),
  },
  "the lock's connection is closed": { upgrade: hangs, act: ({ own }) => own.cut() },
  "the lock's connection falls silent": {
    upgrade: hangs,
    act: ({ own }) => own.swallow(),
    slow: true,
  },
  "it takes too long": { upgrade: hangs, args: ["--migrate-timeout", "2s"] },
  "it takes too long, and ignores TERM": {
    script: "trap '' TERM; while :; do sleep 1; done",
    args: ["--migrate-timeout", "2s"],
    slow: true,
  },
  "it exits with 0, and has done nothing": { script: "exit 0" },
  "it succeeds, and leaves a process in its group": {
    script: `sleep 600 > /dev/null 2>&1 & alembic "$@"`,
    leaves: "sleep",
    slow: true,
  },
  "the server is read-only": {
    sql: (name) => [
      `alter database ${name} set default_transaction_read_only = on`,
      `alter database ${name} reset default_transaction_read_only`,
    ],
  },
};

async function startMigration({ upgrade, script, args = [], sql }: Row) {
  const url = await createTestDatabase();
  const admin = await connectClient(url);
  const [before, after] = sql?.(new URL(url).pathname.slice(1)) ?? [null, null];
  if (before !== null) await admin.query(before);
  const [own, its] = [await startProxy(url), await startProxy(url)];
  const mark = randomBytes(6).toString("hex");
  const body = (upgrade ?? "pass").replaceAll("\n", "\n    ");
  const cwd = createProject(
    [
      {
        id: "a1",
        upgrade: `if os.environ.get("MATRIX") == "${mark}":\n    ${body}\nop.execute("create table t_a1 (id int)")`,
      },
    ],
    { env: directly() },
  );
  writeFileSync(join(cwd, "migrate.sh"), `#!/bin/sh\n${script ?? 'exec alembic "$@"'}\n`, {
    mode: 0o755,
  });
  const env = { DATABASE_URL: own.url, DIRECT_URL: its.url, MATRIX: mark };
  const migration = [
    "--migrate",
    "./migrate.sh upgrade head",
    "--inspect-as",
    "alembic upgrade head",
  ];
  const run = startEntrypoint([...migration, ...args, "echo", "the app was started"], { cwd, env });
  const bootAgain = async () => {
    if (after !== null) await admin.query(after);
    return runEntrypoint(["migrate"], {
      cwd,
      env: { DATABASE_URL: url, DIRECT_URL: url, MATRIX: "" },
    });
  };
  return { run, own, its, mark, bootAgain };
}

const chapter = readDocument("src/migrate/README.md", "When something fails");
const heading = "What becomes of the migration";

async function check(name: string, row: Row): Promise<void> {
  const [, code, message = "?"] = readTable(chapter, heading).find(([one]) => one === name) ?? [];
  const { run, own, its, mark, bootAgain } = await startMigration(row);
  if (row.act !== undefined) {
    await run.printed("in upgrade");
    row.act({ run, own, its });
  }
  const ended = await run.ended;
  const last = run.lines().at(-1)?.msg ?? "";
  expect(String(ended.code), run.stderr()).toBe(code);
  expect(last).toContain(message);
  expect(run.stdout().endsWith("the app was started\n")).toBe(ended.code === 0);
  const left = () =>
    findByEnvironment(`MATRIX=${mark}`).filter(({ name: one }) => one !== row.leaves);
  await expect.poll(left).toEqual([]);
  for (const { pid } of findByEnvironment(`MATRIX=${mark}`)) send(pid, "SIGKILL");
  const second = await bootAgain();
  expect(second.code, second.stderr).toBe(0);
}

const isSlow = ([, { slow }]: readonly [string, Row]) => slow === true;
const quick = Object.entries(rows).filter((row) => !isSlow(row));
const slow = Object.entries(rows).filter(isSlow);

test.each(quick)("$0", check);

test(slow.map(([name]) => name).join("; "), async () => {
  await Promise.all(slow.map(async (row) => check(...row)));
});

test("the table has these rows", () => {
  expect(readTable(chapter, heading).map(([name]) => name)).toEqual(Object.keys(rows));
});

const codes = { SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 } as const;

describe.each(Object.keys(codes) as (keyof typeof codes)[])("%s during the migration", (signal) => {
  test.each([
    { times: "once", upgrade: hangs },
    {
      times: "twice, where the migration ignores it",
      upgrade: `import signal; signal.signal(signal.${signal}, signal.SIG_IGN)\n${hangs}`,
    },
  ])("$times", async ({ times, upgrade }) => {
    const { run, mark, bootAgain } = await startMigration({ upgrade });
    await run.printed("in upgrade");
    run.process.kill(signal);
    if (times !== "once") {
      await run.event("forwarded");
      run.process.kill(signal);
    }
    expect((await run.ended).code, run.stderr()).toBe(codes[signal]);
    expect(run.stdout()).not.toContain("the app was started");
    await expect.poll(() => findByEnvironment(`MATRIX=${mark}`)).toEqual([]);
    expect((await bootAgain()).code).toBe(0);
  });
});
