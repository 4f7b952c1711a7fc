// `entrypoint supervise` beside tini and dumb-init: memory and idleness, the way of a signal, and orphans.

import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { listFigures, ratioRow, show, type Findings, type Row } from "./findings.ts";
import { quantile, takeTurns } from "./measure.ts";
import {
  executable,
  isInstalled,
  node,
  start,
  stop,
  time,
  type Command,
  type Place,
} from "./place.ts";

const root = join(import.meta.dirname, "../..");
const python = join(root, ".venv/bin/python");
const orphans = join(root, "test/process/supervise/fixtures/orphans.pl");
const pidNamespace = "unshare --pid --fork --mount-proc --kill-child".split(" ");

/** It needs no application: the words behind are its own arguments. */
const idleNode = [node, "-e", "setInterval(() => {}, 1e9)"];

const supervisors: Readonly<Record<string, readonly string[]>> = {
  entrypoint: [executable, "supervise", "--"],
  tini: ["tini", "-s", "--"],
  "dumb-init": ["dumb-init", "--"],
};

export async function benchSupervise(place: Place): Promise<Findings> {
  const peers = Object.fromEntries(
    Object.entries(supervisors).filter(([, [program = ""]]) => isInstalled(program)),
  );
  const missing = Object.keys(supervisors).filter((name) => !(name in peers));
  const against = [
    Object.keys(peers).slice(1).join(", "),
    ...missing.map((name) => `${name} is not installed`),
  ]
    .filter((text) => text !== "")
    .join("; ");
  const command = {
    cwd: place.directory,
    env: { PATH: "/usr/local/bin:/usr/bin:/bin", LANG: "C.UTF-8" },
  };
  const parts = [
    await benchIdle(place, peers, { against, command }),
    await benchSignals(place, peers, { against, command }),
    await benchOrphans(place, peers, { against, command }),
  ];
  return {
    rows: parts.flatMap(({ rows }) => rows),
    figures: parts.flatMap(({ figures }) => figures),
    charts: [],
  };
}

type Peers = Readonly<Record<string, readonly string[]>>;
interface Run {
  readonly against: string;
  readonly command: Command;
}

interface Idle {
  /** What no other process could share, in MB: the pages of a program are shared by all that run it. */
  readonly memoryMb: number;
  readonly cpuMs: number;
  /** Null where there is no strace. */
  readonly calls: number | null;
}

async function benchIdle(place: Place, peers: Peers, { against, command }: Run): Promise<Findings> {
  const seconds = place.quick ? 2 : 5;
  const idle: Record<string, Idle> = {};
  for (const [name, words] of Object.entries({ ...peers, "Node alone": idleNode })) {
    const running = start([...words, "sleep", "600"], command);
    idle[name] = await lookAtIdle(running.process.pid ?? 0, seconds);
    await stop([running], "SIGTERM");
  }
  const { entrypoint: own, "Node alone": bare, ...others } = idle;
  if (own === undefined || bare === undefined) throw new Error("entrypoint has not been measured");
  const tell = (one: (idle: Idle) => string): string =>
    `${one(own)} (${Object.entries(others)
      .map(([name, other]) => `${name} ${one(other)}`)
      .join(", ")})`;
  const inAll = `in ${seconds} s`;
  const figure = (what: string, unit: string, value: (idle: Idle) => number | null) =>
    listFigures(
      what,
      unit,
      Object.fromEntries(
        Object.entries(idle).flatMap(([name, one]) => {
          const known = value(one);
          return known === null ? [] : [[name, [known]]];
        }),
      ),
    );
  return {
    rows: [
      {
        what: "`supervise`: private memory",
        against,
        goal: "≤ 8 MB",
        measured: tell(({ memoryMb }) => `${show(memoryMb)} MB`),
        met: own.memoryMb <= 8,
        cause:
          own.memoryMb <= 8
            ? ""
            : `a Node that idles has ${show(bare.memoryMb)} MB of its own; the rest is ${show(own.memoryMb - bare.memoryMb)} MB`,
      },
      {
        what: "`supervise`: CPU and system calls when idle",
        against,
        goal: "none",
        measured: tell(
          ({ cpuMs, calls }) =>
            `${show(cpuMs)} ms and ${calls === null ? "(no strace)" : calls} calls ${inAll}`,
        ),
        met: own.cpuMs === 0 && (own.calls ?? 0) === 0,
        cause:
          own.cpuMs === 0 && (own.calls ?? 0) === 0
            ? ""
            : `${own.calls ?? "unknown"} calls and ${show(own.cpuMs)} ms are left`,
      },
    ],
    figures: [
      ...figure("supervise: private memory", "MB", ({ memoryMb }) => memoryMb),
      ...figure(`supervise: CPU when idle, ${inAll}`, "ms", ({ cpuMs }) => cpuMs),
      ...figure(`supervise: system calls when idle, ${inAll}`, "calls", ({ calls }) => calls),
    ],
    charts: [],
  };
}

async function lookAtIdle(pid: number, seconds: number): Promise<Idle> {
  // What follows a start is over by then: V8 gives memory back for up to ten seconds.
  await sleep(11_000);
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const [, anonymousKb] = /^Anonymous: +(\d+) kB/m.exec(rollup) ?? [];
  const before = readCpuMs(pid);
  await sleep(seconds * 1_000);
  const cpuMs = readCpuMs(pid) - before;
  return {
    memoryMb: Number(anonymousKb) / 1024,
    cpuMs,
    calls: isInstalled("strace") ? countCalls(pid, seconds) : null,
  };
}

/** Of all its threads, by the scheduler's own clock. */
function readCpuMs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const times = tasks.map((task) =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]),
  );
  return times.reduce((a, b) => a + b, 0) / 1e6;
}

/** Those that end or begin meanwhile; the ones in which it waits all the time are none. */
function countCalls(pid: number, seconds: number): number {
  const { stderr } = spawnSync(
    "timeout",
    ["-s", "INT", String(seconds), "strace", "-f", "-qq", "-p", String(pid)],
    { encoding: "utf8" },
  );
  // What is under way when strace comes is a line, which ends when strace goes.
  const lines = stderr.split("\n").filter((line) => line.includes("("));
  return lines.filter((line) => !/detached|unfinished|<\.\.\.|= \? ERESTART|resuming/.test(line))
    .length;
}

async function benchSignals(
  place: Place,
  peers: Peers,
  { against, command }: Run,
): Promise<Findings> {
  const count = place.quick ? 100 : 500;
  const rounds = place.quick ? 2 : 5;
  const all = Object.fromEntries(
    ["no supervisor", ...Object.keys(peers)].map((name) => [name, [] as number[]]),
  );
  for (let round = 0; round < rounds; round++) {
    for (const [name, latencies] of Object.entries(all)) {
      const words = [
        join(import.meta.dirname, "signals.py"),
        String(count),
        ...(peers[name] ?? []),
      ];
      const output = execFileSync(python, words, { ...command, encoding: "utf8" });
      latencies.push(...(JSON.parse(output) as number[]));
    }
  }
  const tell = (share: number): string =>
    Object.entries(all)
      .map(([name, ms]) => `${name} ${show(quantile(ms, share))}`)
      .join(", ");
  const own = all["entrypoint"] ?? [];
  const row = (share: number, goal: number): Row => ({
    what: `\`supervise\`: latency of a signal, p${share * 100}`,
    against,
    goal: `≤ ${goal} ms`,
    measured: `${show(quantile(own, share))} ms (${tell(share)})`,
    met: quantile(own, share) <= goal,
    cause:
      quantile(own, share) <= goal
        ? ""
        : `${show(quantile(all["no supervisor"] ?? [], share))} ms pass with no supervisor in between`,
  });
  return {
    rows: [row(0.5, 1), row(0.99, 5)],
    figures: listFigures("supervise: latency of a signal", "ms", all),
    charts: [],
  };
}

async function benchOrphans(
  place: Place,
  peers: Peers,
  { against, command }: Run,
): Promise<Findings> {
  const what = "`supervise`: 10,000 orphans";
  const first = spawnSync(pidNamespace[0] ?? "", [...pidNamespace.slice(1), "true"]).status === 0;
  // Outside of a namespace of its own dumb-init gets no orphans.
  const able = Object.entries(peers).filter(([name]) => first || name !== "dumb-init");
  const samples = await takeTurns(
    Object.fromEntries(
      able.map(([name, words]) => [
        name,
        () => {
          const place1 = first ? pidNamespace : [];
          return time([...place1, ...words, "perl", orphans], { ...command, codes: [42] });
        },
      ]),
    ),
    { rounds: place.quick ? 1 : 3, warmUps: place.quick ? 0 : 1 },
  );
  const { entrypoint = [], tini } = samples;
  const row =
    tini === undefined
      ? {
          what,
          against,
          goal: "all reaped, ≤ 2",
          measured: `all reaped in ${show(quantile(entrypoint, 0.5))} ms`,
          met: null,
          cause: "",
        }
      : ratioRow(`${what}, all reaped`, "tini", 2, {
          of: entrypoint,
          by: tini,
          unit: "ms",
          cause: `${show((quantile(entrypoint, 0.5) - quantile(tini, 0.5)) / 10)} µs more for each`,
        });
  return {
    rows: [row],
    figures: listFigures("supervise: 10,000 orphans", "ms", samples),
    charts: [],
  };
}
