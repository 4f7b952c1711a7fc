// Each fault of the server or of the way to it, at each step of a boot, as src/migrate/README.md has it in a table: the exit code;
// and for all of them: the end comes in time and names a cure, the application starts only after 0, nothing is left behind, and
// a plain second boot is at head.
// @runs-on executable
// @takes long

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { readDocument, readTable } from "../../harness/documents.ts";
import { findByEnvironment } from "../chaos/processes.ts";
import { migrationLockKey, runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy, type Fault } from "../harness/proxy.ts";
import { directly, steps } from "./steps.ts";

interface Column {
  readonly name: string;
  readonly message: string | Buffer;
  readonly nth: number;
  readonly waiting?: boolean;
}

/** By which a client asks for TLS: the first message of all. */
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]);

const columns: readonly Column[] = [
  { name: "connect", message: sslRequest, nth: 1 },
  { name: "log in", message: "application_name", nth: 1 },
  ...steps.flatMap(({ column: name, query: message, nth, waiting = false }) =>
    name === undefined ? [] : [{ name, message, nth, waiting }],
  ),
];

const shortly = ["--wait-timeout", "4s", "--lock-timeout", "2s"];
const patiently = ["--wait-timeout", "20s"];

interface Row {
  readonly fault: Fault;
  readonly limits: readonly string[];
  /** The server is back after a moment. */
  readonly recovers?: true;
}

const rows: Readonly<Record<string, Row>> = {
  "no answer": { fault: "silence", limits: shortly },
  "the beginning of an answer": { fault: "half", limits: shortly },
  "the beginning of an answer, then closed, once": { fault: "half, cut", limits: patiently },
  "an answer that is not PostgreSQL's, once": { fault: "garbage", limits: shortly },
  "closed, once": { fault: "cut", limits: patiently },
  "closed, and refused for two seconds": { fault: "down", limits: patiently, recovers: true },
  "closed, and refused from then on": { fault: "down", limits: shortly },
  "57P01, the server shuts down": {
    fault: { sqlState: "57P01", message: "terminating connection due to administrator command" },
    limits: patiently,
  },
  "57P03, it starts up, once": {
    fault: { sqlState: "57P03", message: "the database system is starting up" },
    limits: patiently,
  },
  "53300, it has no connection left, once": {
    fault: { sqlState: "53300", message: "sorry, too many clients already" },
    limits: patiently,
  },
};

const started = "the app was started\n";
const longestMs = 25_000;

async function boot({ message, nth, waiting }: Column, { fault, limits, recovers }: Row) {
  const url = await createTestDatabase();
  const proxy = await startProxy(url);
  const holder = await connectClient(url);
  if (waiting) await holder.query(`select pg_advisory_lock(${migrationLockKey})`);
  const cwd = createProject([{ id: "a1" }], { env: directly() });
  const mark = `MATRIX=${randomBytes(6).toString("hex")}`;
  const env = { DATABASE_URL: proxy.url, DIRECT_URL: url, MATRIX: mark.slice(7) };
  const reached = proxy.failAt(message, nth, fault);
  const run = startEntrypoint([...limits, "echo", "the app was started"], { cwd, env });
  const early = run.ended.then(({ code }) => {
    throw new Error(`it ended with ${code} before the step: ${run.stderr()}`);
  });
  await Promise.race([reached, early]);
  early.catch(() => undefined);
  const startMs = performance.now();
  if (recovers) setTimeout(() => proxy.recover(), 2_000);
  if (waiting) {
    await Promise.race([run.event("connection-lost"), run.ended]);
    await holder.query(`select pg_advisory_unlock(${migrationLockKey})`);
  }
  const { code } = await run.ended;
  const last = run.lines().at(-1);
  expect(performance.now() - startMs, run.stderr()).toBeLessThan(longestMs);
  expect(run.stdout().endsWith(started)).toBe(code === 0);
  expect(run.stderr()).not.toMatch(/^ {4}at /m);
  if (code !== 0) expect(last?.["hint"], run.stderr()).toBeTruthy();
  if (code === 0) expect(run.lines().filter(({ event }) => event === "migrating")).toHaveLength(1);
  // The session ends with the process, the server notices that a moment later.
  const countSessions = async () => {
    const { rows: found } = await holder.query(
      "select from pg_stat_activity where datname = current_database() and application_name like 'entrypoint%'",
    );
    return found.length;
  };
  await expect.poll(countSessions).toBe(0);
  await expect.poll(() => findByEnvironment(mark)).toEqual([]);
  const second = await runEntrypoint(["migrate"], { cwd, env: { ...env, DATABASE_URL: url } });
  expect(second.code, second.stderr).toBe(0);
  return String(code);
}

const chapter = readDocument("src/migrate/README.md", "When something fails");

test.each(Object.entries(rows))("$0", async (name, row) => {
  const documented = readTable(chapter, "Fault").find(([fault]) => fault === name);
  const codes = await Promise.all(columns.map((column) => boot(column, row)));
  expect(documented, `| ${[name, ...codes].join(" | ")} |`).toEqual([name, ...codes]);
});

test("the table has these faults and steps", () => {
  const heading = chapter.split("\n").find((line) => line.startsWith("| Fault |"));
  expect(heading).toBe(`| ${["Fault", ...columns.map(({ name }) => name)].join(" | ")} |`);
  expect(readTable(chapter, "Fault").map(([fault]) => fault)).toEqual(Object.keys(rows));
});
