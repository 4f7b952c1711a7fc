// `npm start`: the blog on a real PostgreSQL, booted by the bundle as it would be in an image. Signals reach
// the app only from here, and PostgreSQL is stopped after it, so that Ctrl-C ends both in order and leaves
// nothing running. The data are in .cache/, or in the directory that the first argument names.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { constants } from "node:os";
import * as path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { type Postgres, startPostgres } from "./postgres.ts";

const root = path.resolve(import.meta.dirname, "..");
const bundle = path.join(root, "dist/entrypoint.js");
const pythonBin = path.join(root, ".venv/bin");
const dataDir = process.argv[2] ?? path.join(root, ".cache/postgres");
const pollMs = 50;
// One Ctrl-C arrives twice, from the terminal and from npm.
const sameSignalMs = 500;

const stop = new AbortController();
let app: ChildProcess | undefined;

listenForSignals();
try {
  process.exitCode = await serve();
} catch (error) {
  // Ctrl-C in the middle of making the cluster: initdb was told as well, and has failed.
  if (!stop.signal.aborted) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}

/** Runs until the app ends or a signal comes; the exit code is the app's own, and 0 for a stop that was asked for. */
async function serve(): Promise<number> {
  const port = readPort();
  for (const needed of [bundle, path.join(pythonBin, "uvicorn")]) {
    if (!existsSync(needed)) throw new Error(`${needed} is missing; make it: scripts/setup`);
  }
  await checkPort(port);
  const postgres = await startPostgres({ dataDir, onProgress: say });
  try {
    const databaseUrl = await postgres.createDatabase("blog");
    if (stop.signal.aborted) return 0;
    say(`PostgreSQL: ${databaseUrl}`);
    return await runApp(port, databaseUrl);
  } finally {
    await stopPostgres(postgres);
  }
}

async function runApp(port: number, databaseUrl: string): Promise<number> {
  const words = `uvicorn app.main:app --host 127.0.0.1 --port ${port} --workers 2`.split(" ");
  app = spawn(process.execPath, [bundle, ...words], {
    cwd: path.join(root, "docker/backend"),
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      PATH: [pythonBin, process.env["PATH"]].join(path.delimiter),
    },
    stdio: ["ignore", "inherit", "inherit"],
    // Out of the terminal's foreground group: one Ctrl-C is one signal, passed on below.
    detached: true,
  });
  const ended = once(app, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  void announce(port, app);
  const [code, signal] = await ended;
  if (stop.signal.aborted) return signal === "SIGKILL" ? 1 : 0;
  say(`the app has ended by itself (${signal ?? `exit code ${code}`})`);
  return code ?? 128 + constants.signals[signal ?? "SIGTERM"];
}

async function announce(port: number, running: ChildProcess): Promise<void> {
  const address = `http://127.0.0.1:${port}`;
  while (running.exitCode === null && running.signalCode === null && !stop.signal.aborted) {
    try {
      const { ok } = await fetch(`${address}/healthz`);
      if (ok)
        return say(
          `the blog is at ${address} (pid ${running.pid}), its posts at /posts; Ctrl-C stops it`,
        );
    } catch {
      // It does not listen yet; entrypoint and uvicorn say themselves what keeps them.
    }
    await delay(pollMs);
  }
}

function listenForSignals(): void {
  let firstAt = 0;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (!stop.signal.aborted) {
        firstAt = performance.now();
        say("stopping");
        stop.abort();
        app?.kill("SIGTERM");
      } else if (performance.now() - firstAt > sameSignalMs && app?.pid !== undefined) {
        say("stopping at once");
        killGroup(app.pid);
      }
    });
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has gone meanwhile.
  }
}

async function stopPostgres(postgres: Postgres): Promise<void> {
  await postgres.stop();
  say("PostgreSQL has stopped");
}

function readPort(): number {
  const given = process.env["PORT"] ?? "8000";
  const port = /^\d+$/.test(given) ? Number(given) : 0;
  if (port < 1 || port > 65_535) throw new Error(`PORT is ${given}; it has to be 1 to 65535`);
  return port;
}

async function checkPort(port: number): Promise<void> {
  const probe = createServer().listen(port, "127.0.0.1");
  try {
    await once(probe, "listening");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") {
      throw new Error(
        `port ${port} of 127.0.0.1 is taken; choose another: PORT=${port + 1} npm start`,
        {
          cause,
        },
      );
    }
    throw new Error(`cannot listen on port ${port} of 127.0.0.1 (${code})`, { cause });
  }
  probe.close();
  await once(probe, "close");
}

function say(line: string): void {
  console.log(`start: ${line}`);
}
