// An application under `entrypoint supervise`, on the plain machine, where entrypoint is a subreaper, and as PID 1 of a
// PID namespace of its own. Tests wait for what is printed or for the end, never for a time.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

import { onTestFinished, test } from "vitest";

import { readLines, watchOutput } from "../../../harness/output.ts";
import { entrypointCommand, plainEnvironment } from "../../harness/entrypoint.ts";

export interface Place {
  readonly name: string;
  /** The words that start a command there. */
  readonly words: readonly string[];
  /** Why a test cannot be run there; null if it can. */
  readonly missing: string | null;
}

const isRoot = process.getuid?.() === 0;
const unshare = "unshare --pid --fork --mount-proc --kill-child".split(" ");
if (!isRoot) unshare.push("--map-root-user");

export const subreaper: Place = { name: "a subreaper", words: [], missing: null };
export const firstProcess: Place = {
  name: "PID 1",
  words: unshare,
  missing:
    spawnSync(unshare[0] ?? "", [...unshare.slice(1), "true"]).status === 0
      ? null
      : "this machine lets nobody unshare a PID namespace",
};
export const places = [subreaper, firstProcess];

/** Why tests that need a program of another package cannot be run; null if they can. */
export function findMissing(program: string): string | null {
  const { status } = spawnSync("sh", ["-c", `command -v ${program}`], { env: plainEnvironment() });
  return status === 0 ? null : `${program} is not installed`;
}

const said = new Set<string>();

/** Vitest's `test`, or where something is missing its `test.skip`, with a line that says so. */
export function testUnless(...missing: (string | null)[]): typeof test {
  const [reason] = missing.filter((one) => one !== null);
  if (reason === undefined) return test;
  if (!said.has(reason)) console.warn(`Skipped: ${reason}`);
  said.add(reason);
  return test.skip as typeof test;
}

/** The words of `entrypoint supervise` with these options, up to the application's. */
export function supervise(options: readonly string[] = [], place: Place = subreaper): string[] {
  return [...place.words, ...entrypointCommand(), "supervise", ...options, "--"];
}

export interface Started {
  readonly process: ChildProcess;
  /** The supervisor's pid, as seen from here. */
  pid(): number;
  /** To the supervisor; by its number where Node has no name for it. */
  kill(signal: NodeJS.Signals | number): void;
  stdout(): string;
  stderr(): string;
  /** Resolves when standard output or standard error holds the text, so often. */
  printed(text: string | RegExp, times?: number): Promise<void>;
  /** The events of our own log lines. */
  events(): string[];
  /** The exit code, or the name of the signal, once nobody holds standard output and error any more. */
  readonly ended: Promise<number | string>;
}

export interface StartOptions {
  readonly place?: Place;
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** Descriptors from 3 on. */
  readonly descriptors?: readonly ("pipe" | "ignore" | number)[];
}

/** Starts `entrypoint supervise OPTIONS -- APP`. */
export function startSupervised(
  options: readonly string[],
  app: readonly string[],
  { place = subreaper, ...rest }: StartOptions = {},
): Started {
  return startCommand([...supervise(options, place), ...app], { place, ...rest });
}

/** Starts a supervisor, ours or another one, by all its words, those of the place included. */
export function startCommand(
  words: readonly string[],
  { place = subreaper, cwd = "/tmp", env = {}, descriptors = [] }: StartOptions = {},
): Started {
  const [file = "", ...rest] = words;
  const child = spawn(file, rest, {
    cwd,
    env: plainEnvironment(env),
    stdio: ["pipe", "pipe", "pipe", ...descriptors],
    // A session to be found again by, whoever of it is left.
    detached: true,
  });
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (data) => {
    stdout += String(data);
    more();
  });
  child.stderr?.on("data", (data) => {
    stderr += String(data);
    more();
  });
  let over = false;
  const ended = once(child, "close").then(([code, signal]: unknown[]) => {
    over = true;
    return (code ?? signal) as number | string;
  });
  const { more, until } = watchOutput(
    () => ended,
    () => `${stdout}\n${stderr}`,
  );
  onTestFinished(async () => {
    if (over) return;
    // Killed, a supervisor leaves its application behind.
    for (const pid of [...listTree(child.pid ?? 0), ...listSession(child.pid ?? 0)])
      killIfThere(pid);
    await ended;
  });
  const count = (text: string | RegExp) => `${stdout}\n${stderr}`.split(text).length - 1;
  return {
    process: child,
    pid: () => (place === firstProcess ? listChildren(child.pid ?? 0)[0] : child.pid) ?? 0,
    kill(signal) {
      process.kill(this.pid(), signal);
    },
    stdout: () => stdout,
    stderr: () => stderr,
    async printed(text, times = 1) {
      await until(() => (count(text) < times ? undefined : true), String(text));
    },
    events: () => readLines(stderr).map(({ event }) => event),
    ended,
  };
}

/** Runs a shell's script with arguments to its end, and gives its output. */
export async function runScript(script: string, words: readonly string[]): Promise<string> {
  const child = spawn("sh", ["-c", script, "sh", ...words], {
    env: plainEnvironment(),
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  let over = false;
  onTestFinished(() => {
    if (!over && child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  });
  let output = "";
  child.stdout.on("data", (data) => (output += String(data)));
  await once(child, "close");
  over = true;
  return output;
}

export function listChildren(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function listTree(pid: number): number[] {
  return [pid, ...listChildren(pid).flatMap(listTree)];
}

function listSession(session: number): number[] {
  const { stdout } = spawnSync("ps", ["-o", "pid=", "-s", String(session)], { encoding: "utf8" });
  return stdout.split("\n").map(Number).filter(Boolean);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has just ended.
  }
}

/** What a process has open. */
export function listDescriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
}

/**
 * Perl that reads its input to the end. Perl runs a handler between two of its own steps, so that a signal which comes
 * just before a read would wait for the next one: it never waits long in one.
 */
export const readsToEnd = `while (1) { my $r = "\\1"; next if select($r, undef, undef, .02) < 1;
  my $n = sysread STDIN, $_, 1; last if defined $n && $n == 0 }`;

/**
 * A perl application that reports each of these signals by its number, and ends when its input does, with 7. With
 * `member`, a process of its group does the same.
 */
export function reportSignals(numbers: readonly number[], { member = false } = {}): string[] {
  const script = `use Config; $| = 1; my @names = split / /, $Config{sig_name}; my $who = "leader";
    for my $n (@ARGV) { $SIG{$names[$n]} = sub { syswrite STDOUT, "$who $n\\n" } }
    my $pid = ${member ? "fork" : "$$"};
    $who = "member" if !$pid;
    syswrite STDOUT, "$who ready\\n";
    ${readsToEnd}
    waitpid $pid, 0 if $who eq "leader" && $pid != $$;
    exit 7`;
  return ["perl", "-e", script, ...numbers.map(String)];
}
