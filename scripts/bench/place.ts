// Where everything is measured: one PostgreSQL of the run's own, copies of the blog with short and long histories in a
// temporary directory, and the commands that are compared, each started as an image would start it.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import * as os from "node:os";
import { join } from "node:path";

import pg from "pg";

import { startPostgres, type Postgres } from "../postgres.ts";

const root = join(import.meta.dirname, "../..");
export const executable = join(root, "dist/entrypoint");
export const bundle = join(root, "dist/entrypoint.js");
/** The Node that the single executable is made of, with its symbols. */
export const node = process.execPath;

/** What stands in an image instead of entrypoint.sh, and entrypoint.sh itself, by their names in the figures. */
export const boots = {
  entrypoint: [executable],
  "entrypoint.js": [node, bundle],
  "entrypoint.sh": [join(root, "test/container/fixtures/entrypoint.sh")],
  "entrypoint.sh, flock": [join(import.meta.dirname, "peers/entrypoint-flock.sh")],
  "entrypoint.sh, advisory lock": [join(import.meta.dirname, "peers/entrypoint-advisory.sh")],
} as const;
export type Boot = keyof typeof boots;

/** A program that stands on PATH before the real one, by what it does: the script names its application itself. */
const standIns = {
  /** Where the way to the application is measured, and not the application. */
  "ends at once": ["uvicorn", ""],
  stays: ["uvicorn", "exec sleep 600"],
  /** The real one, on a free port beside the others, and with one worker: the cores are few. */
  serves: ["uvicorn", `exec ${root}/.venv/bin/uvicorn app.main:app --host 127.0.0.1 --port 0`],
  "migrates for ever": ["alembic", "exec sleep 600"],
} as const;
export type StandIn = keyof typeof standIns;

export interface Project {
  /** To run in. */
  readonly directory: string;
  readonly head: string;
}

export interface Place {
  /** Few rounds and small numbers: to see that all works, not to be quoted. */
  readonly quick: boolean;
  readonly postgres: Postgres;
  /** Connected to the database `postgres`. */
  readonly admin: pg.Client;
  readonly directory: string;
  readonly blog: Project;
  /** The server's log so far, in bytes, and the part from there on. */
  logSize(): number;
  readLog(from: number): string;
  close(): Promise<void>;
}

export async function openPlace(quick: boolean): Promise<Place> {
  for (const file of [executable, bundle, join(root, ".venv/bin/alembic")]) {
    if (!fs.existsSync(file)) throw new Error(`${file} is missing; make it: scripts/setup`);
  }
  const postgres = await startPostgres({ settings: { max_connections: "600" } });
  const admin = new pg.Client({ connectionString: postgres.url("postgres") });
  await admin.connect();
  const { rows } = await admin.query<{ data_directory: string }>("show data_directory");
  const log = join(rows[0]?.data_directory ?? "", "server.log");
  const directory = fs.mkdtempSync(join(os.tmpdir(), "entrypoint-bench-"));
  for (const [name, [program, line]] of Object.entries(standIns)) {
    fs.mkdirSync(join(directory, name));
    fs.writeFileSync(join(directory, name, program), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  }
  process.once("exit", () => fs.rmSync(directory, { recursive: true, force: true }));
  return {
    quick,
    postgres,
    admin,
    directory,
    blog: copyBlog(join(directory, "blog")),
    logSize: () => fs.statSync(log).size,
    readLog: (from) => fs.readFileSync(log).subarray(from).toString(),
    async close() {
      await admin.end();
      await postgres.stop();
    },
  };
}

function copyBlog(directory: string): Project {
  fs.cpSync(join(root, "docker/backend"), directory, { recursive: true });
  const revisions = fs.readdirSync(join(directory, "migrations/versions"));
  const files = revisions.filter((name) => name.endsWith(".py")).toSorted();
  return { directory, head: files.at(-1)?.replace(".py", "") ?? "" };
}

/** The blog with so many revisions in a line, each the size of its own. Made once for each `name`. */
export function makeLongProject(
  { directory: parent }: Place,
  count: number,
  name = "blog",
): Project {
  const directory = join(parent, `${name}-${count}`);
  const id = (index: number) => `${String(index).padStart(4, "0")}_add_column_${index}`;
  const head = id(count);
  if (fs.existsSync(directory)) return { directory, head };
  fs.cpSync(join(root, "docker/backend"), directory, { recursive: true });
  const versions = join(directory, "migrations/versions");
  fs.rmSync(versions, { recursive: true });
  fs.mkdirSync(versions);
  for (let index = 1; index <= count; index++) {
    const before = index === 1 ? null : id(index - 1);
    fs.writeFileSync(
      join(versions, `${id(index)}.py`),
      `"""Add the column ${index}

Revision ID: ${id(index)}
Revises: ${before ?? ""}
"""

import sqlalchemy as sa
from alembic import op

revision = "${id(index)}"
down_revision = ${before === null ? "None" : `"${before}"`}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("column_${index}", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("posts", "column_${index}")
`,
    );
  }
  return { directory, head };
}

let databases = 0;

/** A database of its own: empty, or a copy of another one, to which nobody may be connected. Resolves to its URL. */
export async function makeDatabase(
  { admin, postgres }: Place,
  template = "template0",
): Promise<string> {
  const name = `bench_${++databases}`;
  await admin.query(`create database ${name} template ${template}`);
  return postgres.url(name);
}

/** A database whose version table has this row, as if all up to it had been migrated. */
export async function makeStampedDatabase(place: Place, revision: string): Promise<string> {
  const url = await makeDatabase(place);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query("create table alembic_version (version_num varchar(32) primary key)");
  await client.query("insert into alembic_version values ($1)", [revision]);
  await client.end();
  return url;
}

/** Runs Alembic itself. */
export function runAlembic(place: Place, url: string, ...words: readonly string[]): void {
  time(["alembic", ...words], { cwd: place.blog.directory, env: environment(place, url) });
}

/**
 * A container's environment: the programs of the Python environment, behind the one that stands in. A new container, or one
 * whose file system is read-only, has bytecode of the packages, and none of the application and its revisions;
 * `bytecode` is for one that is started again with what it has written.
 */
export function environment(
  { directory }: Place,
  url: string,
  { standIn = "ends at once", bytecode = false }: { standIn?: StandIn; bytecode?: boolean } = {},
): NodeJS.ProcessEnv {
  return {
    PATH: [join(directory, standIn), join(root, ".venv/bin"), "/usr/bin", "/bin"].join(":"),
    HOME: directory,
    LANG: "C.UTF-8",
    DATABASE_URL: url,
    BENCH_LOCK: join(directory, "lock"),
    ...(bytecode ? {} : { PYTHONDONTWRITEBYTECODE: "1" }),
  };
}

export interface Command {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Exit codes that are no failure, besides 0. */
  readonly codes?: readonly number[];
}

/** Runs a command to its end and gives the time in milliseconds. @throws where it fails. */
export function time([file = "", ...words]: readonly string[], command: Command): number {
  const startMs = performance.now();
  const { status, signal, stderr, error } = spawnSync(file, words, {
    cwd: command.cwd,
    env: command.env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const tookMs = performance.now() - startMs;
  if (status !== 0 && !(command.codes ?? []).includes(status ?? -1)) {
    throw new Error(
      `${[file, ...words].join(" ")} ended with ${status ?? signal ?? String(error)}:\n${String(stderr)}`,
    );
  }
  return tookMs;
}

/** Whether a program is on PATH. */
export function isInstalled(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

export interface Running {
  readonly process: ChildProcess;
  /** Resolves to true when standard error holds the text, to false when the process ends before. */
  printed(text: string | RegExp): Promise<boolean>;
  readonly stderr: () => string;
  /** The exit code, or null after a signal. */
  readonly ended: Promise<number | null>;
}

/** Starts a command in a session of its own. */
export function start([file = "", ...words]: readonly string[], command: Command): Running {
  const child = spawn(file, words, {
    cwd: command.cwd,
    env: command.env,
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  let stderr = "";
  let over = false;
  const looks = new Set<() => void>();
  const lookAgain = (): void => looks.forEach((look) => look());
  child.stderr.on("data", (data) => {
    stderr += String(data);
    lookAgain();
  });
  const kill = (): void => killSession(child);
  process.once("exit", kill);
  const ended = once(child, "close").then(([code]: unknown[]) => {
    over = true;
    process.removeListener("exit", kill);
    lookAgain();
    return code as number | null;
  });
  return {
    process: child,
    stderr: () => stderr,
    printed: async (text) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = stderr.search(text) !== -1;
          if (!found && !over) return;
          looks.delete(look);
          resolve(found);
        };
        looks.add(look);
        look();
      }),
    ended,
  };
}

/** Ends commands that were started here, whole sessions of them, and waits until they are gone. */
export async function stop(running: readonly Running[], signal: NodeJS.Signals): Promise<void> {
  for (const { process: child } of running) killSession(child, signal);
  await Promise.all(running.map(({ ended }) => ended));
}

function killSession(
  { pid, exitCode, signalCode }: ChildProcess,
  signal: NodeJS.Signals = "SIGTERM",
) {
  if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, signal);
}
