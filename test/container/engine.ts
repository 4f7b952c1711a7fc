// Runs containers of the built images in the real engine, and tells what they printed and how they ended. Tests wait
// for a log event, an answer or the end, never for a time. All that a test makes goes with it.

import { chmodSync } from "node:fs";
import { resolve } from "node:path";

import { execa } from "execa";
import { Client } from "pg";
import { inject, onTestFinished } from "vitest";

import { type LogLine, readLines, watchOutput } from "../harness/output.ts";
import { createProject, type RevisionFile } from "../process/harness/project.ts";
import { baseImages } from "./global-setup.ts";

export const engine = inject("engine");
export const blogImage = inject("blogImage");
export const entrypointImage = inject("entrypointImage");

/** The shell script that entrypoint replaces, for comparison. */
export const shellScript = resolve(import.meta.dirname, "fixtures/entrypoint.sh");

const password = "blog";
const pollMs = 50;

export interface Container {
  readonly id: string;
  /** Everything that it has printed so far, over all its starts. */
  output(): string;
  /** entrypoint's own lines so far. */
  lines(): LogLine[];
  /** The first line of this event, now or later; rejects when the container ends without one. */
  event(name: string): Promise<LogLine>;
  /** Resolves when the output holds the text. */
  printed(text: string): Promise<void>;
  /** Whether it has been started and has not ended since. */
  running(): boolean;
  /** Starts it (again). */
  start(): Promise<void>;
  /** Resolves with the exit code when it has ended, and all of its output is there. */
  ended(): Promise<number>;
  /** `docker stop`, and the time that it took, in ms. */
  stop(): Promise<number>;
  kill(): Promise<void>;
  /** A command in the running container. */
  exec(...words: string[]): ReturnType<typeof run>;
  /** `http://127.0.0.1:PORT`, where its port 8000 is published. */
  address(): Promise<string>;
}

export interface ContainerOptions {
  image?: string;
  /** The command after the image; the image's own otherwise. */
  words?: readonly string[];
  env?: Record<string, string>;
  /** Options of `docker create`. */
  flags?: readonly string[];
}

/** A client command to its end; throws where it fails. */
export async function call(...words: string[]): Promise<string> {
  return (await execa(client(), words)).stdout;
}

/** The same where a failure is an answer. */
export async function run(...words: string[]) {
  const { exitCode, stdout, stderr } = await execa(client(), words, { reject: false });
  return { code: exitCode, stdout, stderr };
}

function client(): string {
  if (engine === null) throw new Error("no container engine answers");
  return engine;
}

/** Makes a container and does not start it. It is removed when the test has finished. */
async function createContainer(options: ContainerOptions): Promise<Container> {
  // The tests read entrypoint's lines as JSON.
  const variables = Object.entries({ ENTRYPOINT_LOG_FORMAT: "json", ...options.env });
  const id = await call(
    "create",
    ...variables.flatMap(([name, value]) => ["--env", `${name}=${value}`]),
    ...(options.flags ?? []),
    options.image ?? blogImage,
    ...(options.words ?? []),
  );
  let output = "";
  let running = false;
  /** Ends when all that this start of the container prints is here. */
  let followed: Promise<unknown> = Promise.resolve();
  const { more, until } = watchOutput(
    () => followed,
    () => output,
  );
  const lines = () => readLines(output);
  onTestFinished(async () => {
    await run("rm", "--force", "--volumes", id);
    await followed;
  });

  return {
    id,
    running: () => running,
    output: () => output,
    lines,
    event: (name) => until(() => lines().find((line) => line.event === name), `event ${name}`),
    async printed(text) {
      await until(() => (output.includes(text) ? null : undefined), text);
    },
    async start() {
      // The log of an earlier start is not to be had twice.
      const since = new Date().toISOString();
      await call("start", id);
      const words = ["logs", "--follow", "--since", since, id];
      const logs = execa(client(), words, { all: true, reject: false, buffer: false });
      running = true;
      followed = logs.finally(() => (running = false));
      logs.all.on("data", (chunk) => {
        output += String(chunk);
        more();
      });
    },
    async ended() {
      const code = Number(await call("wait", id));
      await followed;
      return code;
    },
    async stop() {
      const startMs = performance.now();
      await call("stop", id);
      return performance.now() - startMs;
    },
    kill: async () => void (await call("kill", id)),
    exec: (...words) => run("exec", id, ...words),
    address: async () => `http://${(await call("port", id, "8000/tcp")).split("\n")[0] ?? ""}`,
  };
}

/** Makes a container and starts it. */
export async function startContainer(options: ContainerOptions): Promise<Container> {
  const container = await createContainer(options);
  await container.start();
  return container;
}

export interface Database {
  /** Of the network that it is in. */
  readonly flags: readonly string[];
  /** What a container in its network sets as DATABASE_URL. */
  readonly url: string;
  readonly container: Container;
  /** A connection from here, closed when the test has finished. */
  connect(): Promise<Client>;
}

/** A PostgreSQL of the test's own, which need not answer yet, in a network of its own, by the name `db`. */
export async function createDatabase(): Promise<Database> {
  const network = await call("network", "create", `entrypoint-test-${process.pid}-${Date.now()}`);
  // What is registered first is called last: the containers have gone by then.
  onTestFinished(async () => void (await run("network", "rm", network)));
  const container = await createContainer({
    image: baseImages.postgres,
    // The locale decides the encoding where the image leaves that to initdb.
    env: { POSTGRES_PASSWORD: password, POSTGRES_DB: "blog", LANG: "C.UTF-8" },
    flags: ["--network", network, "--network-alias", "db", "--publish", "127.0.0.1::5432"],
    words: ["-c", "fsync=off"],
  });
  return {
    flags: ["--network", network],
    // The blog's driver, which SQLAlchemy has to be told.
    url: `postgresql+psycopg://postgres:${password}@db:5432/blog`,
    container,
    async connect() {
      const address = (await call("port", container.id, "5432/tcp")).split("\n")[0] ?? "";
      const url = `postgresql://postgres:${password}@${address}/blog`;
      for (;;) {
        const connection = new Client({ connectionString: url });
        // The server restarts once while it makes the database.
        connection.on("error", () => {});
        try {
          await connection.connect();
          onTestFinished(() => connection.end());
          return connection;
        } catch {
          await connection.end().catch(() => {});
          await new Promise((go) => setTimeout(go, pollMs));
        }
      }
    },
  };
}

export async function startDatabase(): Promise<Database> {
  const database = await createDatabase();
  await database.container.start();
  return database;
}

/** The options that put a project with these revisions in the place of the blog. */
export function mountProject(revisions: readonly RevisionFile[]): string[] {
  const directory = createProject(revisions);
  chmodSync(directory, 0o755);
  return ["--volume", `${directory}:/app:ro`];
}

/** The first answer with a good status that the path gives, now or later, as text; throws when the container ends. */
export async function fetchWhenServed(container: Container, path: string): Promise<string> {
  while (container.running()) {
    try {
      const answer = await fetch((await container.address()) + path);
      if (answer.ok) return await answer.text();
    } catch {
      // It does not listen yet. Where it never does, the test's own time limit ends this.
    }
    await new Promise((go) => setTimeout(go, pollMs));
  }
  throw new Error(`the container ended before it served ${path}:\n${container.output()}`);
}
