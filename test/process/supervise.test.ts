// A supervised application gets each signal once, hands its exit code on, and inherits what an exec would give
// it, in a session of its own. Run by Node 26, and by the machine's own Node where that is another.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { accessSync, mkdtempSync, openSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { findProgram } from "../../src/process/find-program.ts";
import { forwardedSignals, superviseProgram } from "../../src/process/supervise.ts";
import { entrypointCommand, executable, python } from "./entrypoint.ts";

const probe = join(import.meta.dirname, "fixtures/probe.pl");
const starters: [name: string, program: string][] =
  executable === undefined ? listNodes() : [["the executable", executable]];

describe.each(starters)("with %s", (_name, program) => {
  const [, ...before] = program === executable ? entrypointCommand() : entrypointCommand(program);
  const options = ["--no-migrate", "--mode", "supervise", "--log-level", "error", "--"];
  const supervise = [...before, ...options];

  test("forwards each signal once, and starts no inspector", async () => {
    // Tells its signals, one a line, and ends with the input.
    const listener = `$| = 1; $SIG{$_} = sub { print "SIG$_[0]\\n" } for @ARGV; print "ready\\n";
      while (1) { my $n = sysread STDIN, $_, 1; last if defined $n && $n == 0 } exit 7`;
    const names = forwardedSignals.map((signal) => signal.slice(3));
    const child = start(program, [...supervise, "perl", "-e", listener, ...names]);
    await child.printed("ready\n");
    for (const signal of forwardedSignals) {
      child.process.kill(signal);
      await child.printed(`${signal}\n`);
    }
    child.process.stdin?.end();
    expect(await child.ended).toEqual([7, null]);
    expect(child.stdout()).toBe(["ready", ...forwardedSignals, ""].join("\n"));
    expect(child.stderr()).toBe("");
  });

  test("passes Ctrl-C on a terminal on once", () => {
    // TERM comes after INT on the same way, so that a second INT would have been told before it.
    const counter = `$| = 1; my $ints = 0; $SIG{INT} = sub { $ints++; kill TERM => getppid };
      $SIG{TERM} = sub { print "ints: $ints\\n"; exit 4 }; print "ready\\n"; sleep 1 while 1`;
    const driver = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while True:
    try:
        chunk = os.read(fd, 1000)
    except OSError:
        break
    if b"ready" in chunk:
        os.write(fd, b"\\x03")
    seen += chunk
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;
    const words = ["-c", driver, program, ...supervise, "perl", "-e", counter];
    const { status, stdout } = spawnSync(python, words, { encoding: "utf8", timeout: 20_000 });
    expect(stdout).toContain("ints: 1");
    expect(status).toBe(4);
  });

  test.each([0, 1, 42, 143, 255])("hands exit code %i on", (code) => {
    expect(spawnSync(program, [...supervise, "sh", "-c", `exit ${code}`]).status).toBe(code);
  });

  test.each([
    ["TERM", 143],
    ["KILL", 137],
    ["SEGV", 139],
    ["USR1", 138],
  ])("says 128+n for a death by %s", (signal, code) => {
    expect(spawnSync(program, [...supervise, "sh", "-c", `kill -${signal} $$`]).status).toBe(code);
  });

  test("leads a session of its own, with no signal ignored or blocked and every descriptor", () => {
    const report = join(mkdtempSync(join(tmpdir(), "entrypoint-supervise-")), "report");
    const file = openSync("/etc/passwd", "r");
    const { status } = spawnSync(program, [...supervise, probe, report, "one", ""], {
      stdio: ["ignore", "pipe", "pipe", file, "ignore", "pipe", "ignore", file],
    });
    expect(status).toBe(0);
    const facts = readFileSync(report, "utf8");
    expect(facts).toContain("\nsession=self\n");
    expect(facts).toContain("\ngroup=self\n");
    expect(facts).toContain("\nSigBlk=0000000000000000\n");
    // SIGFPE is perl's own doing.
    expect(facts).toContain("\nSigIgn=0000000000000080\n");
    expect(facts).toContain("\narguments=one|\n");
    const descriptors = facts.split("\n").filter((line) => /^fd [3-9]=/.test(line));
    expect(descriptors).toEqual([
      "fd 3=/etc/passwd 0100000",
      "fd 5=socket:[N] 02",
      "fd 7=/etc/passwd 0100000",
    ]);
  });
});

test("delivers a signal that came during the spawn, and lets go of all handlers", async () => {
  const handlers = new Map<string | symbol, (signal: NodeJS.Signals) => void>();
  const sent: [number, unknown][] = [];
  const source = {
    on: (signal: string, handler: (signal: NodeJS.Signals) => void) => {
      handlers.set(signal, handler);
      return source;
    },
    off: (signal: string) => {
      handlers.delete(signal);
      return source;
    },
    kill: (pid: number, signal: NodeJS.Signals) => {
      sent.push([pid, signal]);
      return process.kill(pid, signal);
    },
  } as unknown as NonNullable<Parameters<typeof superviseProgram>[4]>;

  const program = findProgram("sleep", { path: "/usr/bin:/bin", cwd: "/" });
  const nothing = { descriptors: [], undecodable: [] };
  const ended = superviseProgram(program, ["sleep", "60"], {}, nothing, source);
  // The event loop has not turned since the spawn: a signal that is waiting is handled now.
  handlers.get("SIGTERM")?.("SIGTERM");
  expect(sent).toEqual([[expect.any(Number), "SIGTERM"]]);
  expect(sent[0]?.[0]).toBeLessThan(-1);
  expect(await ended).toBe(143);
  expect(handlers.size).toBe(0);
});

/** Node 26 of the development dependencies, and the first other Node on PATH, with their versions. */
function listNodes(): [name: string, node: string][] {
  const modules = join(import.meta.dirname, "../../node_modules");
  const own = join(modules, "node/bin/node");
  const others = (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((directory) => !directory.includes("node_modules"))
    .map((directory) => join(directory, "node"))
    .filter(exists);
  const found = [own, ...others.slice(0, 1)].map((node): [string, string] => [
    `Node ${spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.trim()}`,
    node,
  ]);
  return [...new Map(found)];
}

function exists(file: string): boolean {
  try {
    accessSync(file);
    return true;
  } catch {
    return false;
  }
}

type Started = {
  process: ChildProcess;
  stdout: () => string;
  stderr: () => string;
  printed: (text: string) => Promise<void>;
  ended: Promise<unknown[]>;
};

function start(node: string, words: string[]): Started {
  const child = spawn(node, words, { stdio: "pipe" });
  onTestFinished(() => void child.kill("SIGKILL"));
  const ended = once(child, "close");
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (stderr += String(chunk)));
  return {
    process: child,
    stdout: () => stdout,
    stderr: () => stderr,
    printed: async (text) => {
      while (!stdout.includes(text)) await once(child.stdout, "data");
    },
    ended,
  };
}
