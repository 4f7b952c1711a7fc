// What is left of whoever started the application, once it runs: processes, memory that maps his program, sessions in
// the database.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import type { Findings } from "./findings.ts";
import {
  boots,
  environment,
  makeStampedDatabase,
  start,
  stop,
  type Boot,
  type Place,
} from "./place.ts";

interface Remains {
  /** Besides the application's own. */
  readonly processes: number;
  readonly sessions: number;
  /** Of the application's memory, what is not mapped from the application's own files or anonymous. */
  readonly bytes: number;
}

export async function benchHandover(place: Place): Promise<Findings> {
  const url = await makeStampedDatabase(place, place.blog.head);
  const [own, script] = [
    await lookAfter(place, "entrypoint", url),
    await lookAfter(place, "entrypoint.sh", url),
  ];
  const tell = ({ processes, sessions, bytes }: Remains): string =>
    `${processes} processes, ${bytes} bytes, ${sessions} database sessions`;
  return {
    rows: [
      {
        what: "after the hand-over: what is left besides the application",
        against: "entrypoint.sh",
        goal: "zero and zero",
        measured: `${tell(own)} (entrypoint.sh: ${tell(script)})`,
        met: own.processes + own.bytes + own.sessions === 0,
        cause: "",
      },
    ],
    figures: [],
    charts: [],
  };
}

async function lookAfter(place: Place, name: Boot, url: string): Promise<Remains> {
  const env = environment(place, url, { standIn: "stays" });
  const running = start(boots[name], { cwd: place.blog.directory, env });
  const pid = running.process.pid ?? 0;
  const readCommand = (): string => readFileSync(`/proc/${pid}/cmdline`, "utf8");
  while (!readCommand().startsWith("sleep\0")) await sleep(10);
  const session = spawnSync("ps", ["-o", "pid=", "-s", String(pid)], { encoding: "utf8" });
  const { rows } = await place.admin.query<{ sessions: number }>(
    "select count(*)::int as sessions from pg_stat_activity where datname = $1",
    [new URL(url).pathname.slice(1)],
  );
  // The path ends the first line of each mapping, and its resident memory is on a later one.
  const mappings = readFileSync(`/proc/${pid}/smaps`, "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const foreign = mappings.filter((text) =>
    /entrypoint|node|python/.test(text.split("\n")[0] ?? ""),
  );
  const bytes = foreign.map((text) => Number(/^Rss: +(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024);
  await stop([running], "SIGKILL");
  return {
    processes: session.stdout.trim().split("\n").length - 1,
    sessions: rows[0]?.sessions ?? 0,
    bytes: bytes.reduce((a, b) => a + b, 0),
  };
}
