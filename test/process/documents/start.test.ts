// `npm start` from its first line to the last process: the real PostgreSQL of its own, the built bundle, the
// blog. Its data are in a directory of the test's, so that a developer's own `npm start` may go on meanwhile.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import * as os from "node:os";
import * as path from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { findFreePort } from "../../../scripts/postgres.ts";

const script = path.resolve(import.meta.dirname, "../../../scripts/start.ts");

test("serves the blog in the process that entrypoint was, and leaves nothing running when told to stop", async () => {
  const port = await findFreePort();
  const { child, output, dataDir } = runStart(port);
  await expect
    .poll(output, { timeout: 50_000 })
    .toContain(`the blog is at http://127.0.0.1:${port}`);

  const address = `http://127.0.0.1:${port}`;
  expect(await (await fetch(`${address}/healthz`)).json()).toEqual({ status: "ok" });
  expect(await (await fetch(`${address}/posts`)).json()).toEqual([]);

  // The pid is that of the node which ran the bundle; the program is uvicorn by now.
  const pid = /\(pid (\d+)\)/.exec(output())?.[1];
  expect(fs.readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain("uvicorn\0app.main:app");

  child.kill("SIGTERM");
  expect(await once(child, "exit"), output()).toEqual([0, null]);
  expect(commandLinesWith(dataDir, `--port\0${port}\0`)).toEqual([]);
  await expect(fetch(address)).rejects.toThrow();
});

test("names the cure when the port is taken", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  onTestFinished(() => void other.close());
  const { port } = other.address() as AddressInfo;

  const { child, output } = runStart(port);
  expect(await once(child, "exit")).toEqual([1, null]);
  expect(output()).toContain(
    `port ${port} of 127.0.0.1 is taken; choose another: PORT=${port + 1} npm start`,
  );
});

function runStart(port: number): { child: ChildProcess; output: () => string; dataDir: string } {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "entrypoint-start-"));
  fs.chmodSync(directory, 0o755);
  const dataDir = path.join(directory, "postgres");
  const child = spawn(process.execPath, [script, dataDir], {
    env: { ...process.env, PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    }
    fs.rmSync(directory, { recursive: true, force: true });
  });
  return { child, output: () => output, dataDir };
}

/** The command lines, words divided by NUL, of the processes that have one of `parts` in theirs. */
function commandLinesWith(...parts: string[]): string[] {
  const lines = fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8");
      } catch {
        return ""; // it has ended meanwhile
      }
    });
  return lines.filter((line) => parts.some((part) => line.includes(part)));
}
