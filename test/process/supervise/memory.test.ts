// A supervisor stays for as long as the application runs, and is to take little more than Node itself: what it holds when
// it idles, after `supervise` and after a boot, and that nothing of the boot is left.
// @runs-on bundle, executable

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, inject, onTestFinished, test } from "vitest";

import { bundle, entrypointCommand, executable } from "../harness/entrypoint.ts";
import { startCommand, reportSignals } from "./harness/supervised.ts";

const sigusr2 = 12;
const app = reportSignals([sigusr2]);
const ways = {
  "entrypoint supervise": ["supervise", "--"],
  "a boot": ["--no-migrate", "--mode", "supervise", "--"],
};

describe.for(Object.entries(ways))("after %s", ([name, words]) => {
  test("the private memory is little more than Node's own", async () => {
    const node = spawn(process.execPath, ["-e", "console.log(); setInterval(() => {}, 1e9)"]);
    onTestFinished(() => void node.kill("SIGKILL"));
    await once(node.stdout, "data");
    const started = start([...entrypointCommand(), ...words, ...app]);
    await started.printed("leader ready\n");
    // Measured: 1.6 and 1.5 times Node, whose own memory varies by a tenth, and 1.5 and 1.25 for the bundle. With what a boot
    // leaves behind the bundle has 2.1; with the compiled code of all of Node's modules the executable has 2.
    const [afterBoot, otherwise] = executable !== undefined ? [1.8, 1.7] : [1.75, 1.45];
    const most = name === "a boot" ? afterBoot : otherwise;
    await expect
      .poll(() => readPrivateMemory(started.pid()) / readPrivateMemory(node.pid ?? 0), {
        timeout: 30_000,
      })
      .toBeLessThan(most);
    console.log(
      `Private memory after ${name}: ${readPrivateMemory(started.pid())} KB, bare Node ${readPrivateMemory(node.pid ?? 0)} KB`,
    );
  });

  // The executable takes no options for Node.
  test.skipIf(executable !== undefined)("neither pg nor execa nor pino is loaded", async () => {
    const folder = mkdtempSync(join(tmpdir(), "entrypoint-heap-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const node = [process.execPath, "--heapsnapshot-signal=SIGUSR2", `--diagnostic-dir=${folder}`];
    const started = start([...node, bundle, ...words, ...app]);
    await started.printed("leader ready\n");
    expect(await findLoaded(started, folder)).toEqual([]);
  });
});

test("a boot that waits has pg and pino loaded", async () => {
  const folder = mkdtempSync(join(tmpdir(), "entrypoint-heap-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const node = [process.execPath, "--heapsnapshot-signal=SIGUSR2", `--diagnostic-dir=${folder}`];
  const started = startCommand([...node, bundle, "--no-migrate", "--", ...app], {
    env: { DATABASE_URL: "postgresql://127.0.0.1:1/nobody" },
  });
  await started.printed("waiting");
  expect(await findLoaded(started, folder)).toEqual(["_handleReadyForQuery", "pino.setLevel"]);
});

function start(words: readonly string[]) {
  return startCommand(words, { env: { DATABASE_URL: inject("postgresUrl") } });
}

function readPrivateMemory(pid: number): number {
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** Of names that pg, execa and pino alone have, those that a function or an object of the heap has. */
async function findLoaded(
  started: { kill(signal: NodeJS.Signals): void },
  folder: string,
): Promise<string[]> {
  started.kill("SIGUSR2");
  const read = (): { strings: string[] } | null => {
    const [file] = readdirSync(folder);
    if (file === undefined) return null;
    try {
      return JSON.parse(readFileSync(join(folder, file), "utf8")) as { strings: string[] };
    } catch {
      return null; // Not whole yet.
    }
  };
  await expect.poll(read, { interval: 200 }).not.toBeNull();
  const strings = new Set(read()?.strings);
  return ["_handleReadyForQuery", "forceKillAfterDelay", "pino.setLevel"].filter((name) =>
    strings.has(name),
  );
}
