// How soon a supervisor acts: a signal in the application's first moments does not wait for the supervisor's own work, and
// the supervisor ends with its application. tini is beside them in the benchmark.
// @runs-on bundle, executable

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import {
  findMissing,
  startCommand,
  startSupervised,
  supervise,
  testUnless,
} from "./harness/supervised.ts";

test("a signal two milliseconds after the application's first step arrives at once", async () => {
  const script = `use Time::HiRes qw(time sleep); $SIG{USR1} = sub { $came = time };
    sleep 0.002; $sent = time; kill USR1 => getppid; 1 while !$came; printf "%.3f\\n", ($came - $sent) * 1000`;
  const latencies: number[] = [];
  while (latencies.length < 11) {
    const started = startSupervised([], ["perl", "-e", script]);
    expect(await started.ended).toBe(0);
    latencies.push(Number(started.stdout()));
  }
  // In milliseconds: 0.5, and 10 to 30 where the memory of the start is returned first.
  expect(latencies.toSorted((a, b) => a - b)[5]).toBeLessThan(8);
});

testUnless(findMissing("strace"))(
  "the supervisor has little to do between the application's end and its own",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "entrypoint-latency-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const output = join(folder, "strace");
    const words = ["strace", "-f", "-qq", "-o", output, ...supervise(), "sh", "-c", "exit 4"];
    expect(await startCommand(words).ended).toBe(4);
    const lines = readFileSync(output, "utf8").trim().split("\n");
    const [supervisor] = lines[0]?.split(" ") ?? [];
    const own = lines.filter((line) => line.startsWith(`${supervisor} `));
    const from = own.findLastIndex((line) => line.includes("--- SIGCHLD"));
    const to = own.findIndex((line) => line.includes("exit_group(4)"));
    // 20 of them. With Node's own exit it is more than a hundred, and seven threads that end one after the other.
    expect(own.slice(from + 1, to).length, own.slice(from, to).join("\n")).toBeLessThan(60);
  },
);
