// Runs the built dist/entrypoint.js as a user would, and tells what it printed. Tests wait for a log event
// or for the end, never for a time.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { onTestFinished } from "vitest";

import { type LogLine, readLines, watchOutput } from "../../harness/output.ts";

const root = join(import.meta.dirname, "../../..");

export const bundle = join(root, "dist/entrypoint.js");

/** The single executable, in the runs that test it. */
export const executable = process.env["ENTRYPOINT_TEST_EXECUTABLE"];

/** What starts entrypoint: the single executable in the runs that test it, else the bundle in Node. */
export function entrypointCommand(node?: string): [string, ...string[]] {
  if (executable !== undefined && node === undefined) return [executable];
  return [node ?? process.execPath, bundle];
}

export const blogDirectory = join(root, "docker/backend");

/** The Python whose Alembic the tests use. */
export const python = resolve(
  root,
  process.env["ENTRYPOINT_TEST_PYTHON"] ?? join(".venv", "bin", "python"),
);

/** The advisory lock's key. Written down a second time on purpose: images of every version must agree on it. */
export const migrationLockKey = "7308907280281399145";

export interface Run {
  readonly process: ChildProcess;
  readonly pid: number;
  /** Standard output so far. */
  stdout(): string;
  /** All of standard error so far: our lines and the migration's. */
  stderr(): string;
  /** Our own lines so far. */
  lines(): LogLine[];
  /** The first line of this event, now or later; rejects when the process ends without one. */
  event(name: string): Promise<LogLine>;
  /** The first `count` lines of this event, now or later; rejects when the process ends without them. */
  events(name: string, count: number): Promise<LogLine[]>;
  /** Resolves when standard output or standard error holds the text. */
  printed(text: string): Promise<void>;
  /** Exit code, or the name of the signal; `ms` is the time from the start. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; ms: number }>;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string | undefined>;
  /** The Node to run it with; the one that runs the tests otherwise. */
  node?: string;
  /** What starts entrypoint in its turn: `unshare --pid …` for PID 1. */
  under?: readonly string[];
  /** What is run in the place of entrypoint. */
  instead?: readonly [string, ...string[]];
  /** Descriptors to hand down: the first one as 3, the next one as 4. */
  descriptors?: readonly number[];
}

/** A plain environment: no setting of the test's own reaches the program, whose lines the tests read as JSON. */
export function plainEnvironment(
  extra: Record<string, string | undefined> = {},
): NodeJS.ProcessEnv {
  return {
    PATH: `${dirname(python)}:/usr/local/bin:/usr/bin:/bin`,
    HOME: "/tmp",
    LANG: "C.UTF-8",
    PYTHONDONTWRITEBYTECODE: "1",
    ENTRYPOINT_LOG_FORMAT: "json",
    ...extra,
  };
}

/** Starts entrypoint; it is killed when the test ends, if it still runs. */
export function startEntrypoint(args: readonly string[], options: RunOptions = {}): Run {
  const command = options.instead ?? entrypointCommand(options.node);
  if (options.instead === undefined && !existsSync(command[1] ?? command[0])) {
    throw new Error("there is nothing in dist/: npm run build");
  }
  const [file = "", ...before] = [...(options.under ?? []), ...command];
  const startMs = performance.now();
  const child = spawn(file, [...before, ...args], {
    cwd: options.cwd ?? blogDirectory,
    env: plainEnvironment(options.env),
    stdio: ["ignore", "pipe", "pipe", ...(options.descriptors ?? [])],
  });
  let stdout = "";
  let stderr = "";
  const ended = once(child, "close").then(([code, signal]: unknown[]) => ({
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
    ms: performance.now() - startMs,
  }));
  const { more, until } = watchOutput(
    () => ended,
    () => stderr,
  );
  const lines = () => readLines(stderr);
  child.stdout?.on("data", (data: Buffer) => {
    stdout += data.toString();
    more();
  });
  child.stderr?.on("data", (data: Buffer) => {
    stderr += data.toString();
    more();
  });
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
    refusePasswords(findPasswords([...args, ...Object.values(options.env ?? {})]), {
      lines: lines(),
      // What the application prints is its own.
      stdout: lines().some(({ event }) => event === "starting") ? "" : stdout,
    });
  });

  return {
    process: child,
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    lines,
    event: (name) => until(() => lines().find((line) => line.event === name), `event ${name}`),
    events(name, count) {
      const look = () => {
        const found = lines().filter((line) => line.event === name);
        return found.length < count ? undefined : found.slice(0, count);
      };
      return until(look, `${count} events ${name}`);
    },
    async printed(text) {
      await until(() => (`${stdout}${stderr}`.includes(text) ? true : undefined), text);
    },
    ended,
  };
}

/** The passwords of the URLs that a run was given, unless they are words of the URL besides. */
function findPasswords(texts: readonly (string | undefined)[]): string[] {
  return texts.flatMap((text) =>
    Array.from(text?.matchAll(/:\/\/([^\s:/@]*):([^\s:/@]{4,})@/g) ?? [], ([, user, password]) =>
      password === undefined || password === user ? [] : [password],
    ).flat(),
  );
}

/** Every test of a run is one of this too: no password is in what entrypoint itself has written. */
function refusePasswords(
  passwords: readonly string[],
  { lines, stdout }: { lines: readonly LogLine[]; stdout: string },
): void {
  const shown = [...lines.map((line) => JSON.stringify(line)), stdout];
  for (const password of passwords) {
    const found = shown.find((text) => text.includes(password));
    if (found !== undefined) throw new Error(`a password is in what entrypoint wrote: ${found}`);
  }
}

/** Runs entrypoint to its end. */
export async function runEntrypoint(args: readonly string[], options: RunOptions = {}) {
  const run = startEntrypoint(args, options);
  const { code, signal, ms } = await run.ended;
  return { code, signal, ms, stdout: run.stdout(), stderr: run.stderr(), lines: run.lines() };
}
