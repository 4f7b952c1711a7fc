// A round of chaos: eight replicas start together, and kills, pauses, cuts and crashes of the server hit them as planned. What
// must hold in spite of it is judged from outside: by the server's own locks and clock, by /proc, and by each replica's end.

import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { onTestFinished } from "vitest";
import type { Postgres } from "../../../scripts/postgres.ts";
import { runEntrypoint, startEntrypoint, type Run } from "../harness/entrypoint.ts";
import { createProject } from "../harness/project.ts";
import { startProxy, type Proxy } from "../harness/proxy.ts";
import { firstProcess } from "../supervise/harness/supervised.ts";
import { migrations, type Fault, type FaultKind, type Plan } from "./plan.ts";
import { findByEnvironment, listDescendants, send } from "./processes.ts";

/** From the last fault until another replica migrates, and the time for the migrations themselves on a small machine. */
const takeoverMs = 30_000;
const migrationMs = 60_000;
/** The last revision. */
const head = "c3";
const overlapKey = 4711;

/** The migration itself sees whether it is alone: a session's lock lasts as long as the server works for it. */
const environment = (perRevision: boolean) => `import os
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    if not connection.exec_driver_sql("select pg_try_advisory_lock(${overlapKey})").scalar():
        print("two migrations at once", file=open(os.environ["CHAOS_OVERLAPS"], "a"))
    connection.commit()
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=${perRevision ? "True" : "False"})
    with context.begin_transaction():
        context.run_migrations()
`;

const app = ["sh", "-c", 'date +%s%N >> "$CHAOS_STARTS"'];

interface Replica {
  readonly run: Run;
  readonly proxy: Proxy;
  readonly hits: FaultKind[];
}

/** What has happened, and all that must not have. */
export interface Verdict {
  readonly violations: readonly string[];
  readonly ends: readonly (number | string | null)[];
  /** From the last fault to the last replica's end. */
  readonly recoveryMs: number;
}

export async function runRound(server: Postgres, plan: Plan): Promise<Verdict> {
  const id = `chaos_${randomBytes(6).toString("hex")}`;
  await server.createDatabase(id);
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-chaos-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const [overlaps, starts] = [join(directory, "overlaps"), join(directory, "starts")];
  const { perRevision, upgrade } = migrations[plan.migration];
  const cwd = createProject(
    ["a1", "b2", head].map((revision) => ({ id: revision, upgrade })),
    { env: environment(perRevision) },
  );
  const env = { CHAOS_ROUND: id, CHAOS_OVERLAPS: overlaps, CHAOS_STARTS: starts };
  const under = plan.firstProcess ? firstProcess.words : [];

  const group: Replica[] = [];
  const startMs = performance.now();
  const until = (ms: number) => sleep(Math.max(ms - (performance.now() - startMs), 0));
  const started = plan.startsMs.map(async (atMs) => {
    const proxy = await startProxy(() => server.url(id));
    await until(atMs);
    const run = startEntrypoint(app, { cwd, under, env: { ...env, DATABASE_URL: proxy.url } });
    group.push({ run, proxy, hits: [] });
  });
  const inflicted = plan.faults.map(async (fault) => {
    await until(fault.atMs);
    await inflict(server, id, group, { fault, firstProcess: plan.firstProcess });
  });
  await Promise.all([...started, ...inflicted]);
  const lastFaultMs = performance.now();

  const violations: string[] = [];
  const limit = sleep(takeoverMs + migrationMs, null, { ref: false });
  const ends = await Promise.all(
    group.map(async ({ run }) => (await Promise.race([run.ended, limit])) ?? { code: "runs" }),
  );
  const recoveryMs = Math.round(performance.now() - lastFaultMs);
  group.forEach((replica, index) => {
    violations.push(...judgeReplica(replica, ends[index]?.code ?? null));
  });
  for (const { run } of group) run.process.kill("SIGKILL");
  await Promise.all(group.map(({ run }) => run.ended));

  const last = await runEntrypoint(app, { cwd, env: { ...env, DATABASE_URL: server.url(id) } });
  if (last.code !== 0) violations.push(`one more boot ended with ${last.code}: ${last.stderr}`);
  violations.push(...(await judgeServer(server.url(id), readLines(starts))));
  violations.push(...readLines(overlaps));
  await poll(() => findByEnvironment(`CHAOS_ROUND=${id}`).length === 0);
  for (const { name, pid } of findByEnvironment(`CHAOS_ROUND=${id}`)) {
    violations.push(`${name} (pid ${pid}) is left running`);
    send(pid, "SIGKILL");
  }
  if (violations.length > 0) {
    violations.push(...group.map(({ run }, index) => `replica ${index}:\n${run.stderr()}`));
  }
  return { violations, ends: ends.map(({ code }) => code), recoveryMs };
}

async function inflict(
  server: Postgres,
  database: string,
  group: readonly Replica[],
  { fault, firstProcess: isFirst }: { fault: Fault; firstProcess: boolean },
): Promise<void> {
  const holder = group.findLast(({ run }) => {
    const events = run.lines().map(({ event }) => event);
    return events.includes("migrating") && isRunning(run) && !events.includes("starting");
  });
  const replica = (fault.atHolder ? holder : undefined) ?? group[fault.replica % group.length];
  // Its number may be another's by then.
  if (replica === undefined) return;
  if (fault.kind !== "restart" && !isRunning(replica.run)) return;
  const { run, proxy, hits } = replica;
  // Its namespace ends with PID 1, not with unshare.
  const own = isFirst ? (listDescendants(run.pid)[0]?.pid ?? run.pid) : run.pid;
  const tree = [own, ...listDescendants(own).map(({ pid }) => pid)];
  switch (fault.kind) {
    case "kill":
    case "terminate":
      hits.push(fault.kind);
      return send(own, fault.kind === "kill" ? "SIGKILL" : "SIGTERM");
    case "kill-command": {
      const command = listDescendants(own).find(({ name }) => name === "alembic");
      if (command === undefined) return;
      hits.push(fault.kind);
      return send(command.pid, "SIGKILL");
    }
    case "pause":
      hits.push(fault.kind);
      for (const pid of tree) send(pid, "SIGSTOP");
      await sleep(fault.forMs);
      for (const pid of tree) send(pid, "SIGCONT");
      return;
    case "cut":
      hits.push(fault.kind);
      return proxy.cut();
    case "freeze":
      hits.push(fault.kind);
      proxy.freeze();
      await sleep(fault.forMs);
      return proxy.thaw();
    case "terminate-backend": {
      hits.push(fault.kind);
      const ports = proxy.ports();
      const port = ports[fault.session % Math.max(ports.length, 1)] ?? 0;
      await query(
        server.url(database),
        `select pg_terminate_backend(pid) from pg_stat_activity where client_port = ${port}`,
      ).catch(() => undefined);
      return;
    }
    case "restart":
      for (const one of group) one.hits.push(fault.kind);
      return restart(server);
  }
}

/** Two at once are one after the other. */
let restarting: Promise<void> = Promise.resolve();

async function restart(server: Postgres): Promise<void> {
  restarting = restarting.then(() => server.restart());
  await restarting;
}

function isRunning({ process }: Run): boolean {
  return process.exitCode === null && process.signalCode === null;
}

/** By these a migration that has begun may fail. */
const shaking: readonly FaultKind[] = ["cut", "terminate-backend", "restart"];

function judgeReplica({ run, hits }: Replica, code: number | string | null): string[] {
  const events = run.lines().map(({ event }) => event);
  const has = (...kinds: FaultKind[]) => kinds.some((kind) => hits.includes(kind));
  const allowed: (number | string | null)[] = [0];
  // unshare reports the SIGKILL of its child in its own way.
  if (has("kill")) allowed.push(null, 137, 1);
  if (has("terminate")) allowed.push(143, null);
  if (events.includes("migrating")) {
    if (has("kill-command")) allowed.push(1);
    if (shaking.some((kind) => hits.includes(kind))) allowed.push(1, 69, 85);
  }
  const violations: string[] = [];
  if (!allowed.includes(code)) {
    violations.push(
      `a replica ended with ${code}, hit by ${hits.join(", ") || "nothing"}: ${run.lines().at(-1)?.msg}`,
    );
  }
  if (events.includes("internal-error")) violations.push("an internal error");
  return violations;
}

async function judgeServer(url: string, starts: readonly string[]): Promise<string[]> {
  const violations: string[] = [];
  const [at] = await query<{ revision: string; us: string }>(
    url,
    `select version_num as revision, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1e6)::bigint::text as us
     from alembic_version`,
  );
  if (at?.revision !== head) violations.push(`the database is at ${at?.revision}`);
  const atHeadNs = BigInt(at?.us ?? 0) * 1000n;
  for (const start of starts) {
    if (BigInt(start) < atHeadNs) violations.push(`an application has started below head`);
  }
  const count = async () => {
    const [row] = await query<{ locks: number; sessions: number }>(
      url,
      `select (select count(*) from pg_locks where locktype = 'advisory' and database =
         (select oid from pg_database where datname = current_database()))::int as locks,
         (select count(*) from pg_stat_activity where datname = current_database()
           and application_name like 'entrypoint%')::int as sessions`,
    );
    return row ?? { locks: 0, sessions: 0 };
  };
  await poll(async () => Object.values(await count()).every((value) => value === 0));
  const { locks, sessions } = await count();
  if (locks > 0) violations.push("a lock is left");
  if (sessions > 0) violations.push("a session is left");
  return violations;
}

async function query<Row extends object>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Waits for the condition for as long as a takeover may take. */
async function poll(holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + takeoverMs;
  while (!(await holds()) && performance.now() < endMs) await sleep(100);
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  } catch {
    return [];
  }
}
