// Runs the built dist/entrypoint.js as a user would, and tells what it printed. Tests wait for a log event
// or for the end, never for a time.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { onTestFinished } from "vitest";

import { type LogLine, readLines, watchOutput } from "../output.ts";

const root = join(import.meta.dirname, "../..");

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
  /** Descriptors to hand down: the first one as 3, the next one as 4. */
  descriptors?: readonly number[];
}

/** A plain environment: no setting of the test's own reaches the program. */
export function plainEnvironment(
  extra: Record<string, string | undefined> = {},
): NodeJS.ProcessEnv {
  return {
    PATH: `${dirname(python)}:/usr/local/bin:/usr/bin:/bin`,
    HOME: "/tmp",
    LANG: "C.UTF-8",
    PYTHONDONTWRITEBYTECODE: "1",
    ...extra,
  };
}

/** Starts entrypoint; it is killed when the test ends, if it still runs. */
export function startEntrypoint(args: readonly string[], options: RunOptions = {}): Run {
  const [file, ...before] = entrypointCommand(options.node);
  if (!existsSync(before[0] ?? file)) throw new Error("there is nothing in dist/: npm run build");
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

/** Runs entrypoint to its end. */
export async function runEntrypoint(args: readonly string[], options: RunOptions = {}) {
  const run = startEntrypoint(args, options);
  const { code, signal, ms } = await run.ended;
  return { code, signal, ms, stdout: run.stdout(), stderr: run.stderr(), lines: run.lines() };
}
