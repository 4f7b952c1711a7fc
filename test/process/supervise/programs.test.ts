// The servers and workers that people put under a supervisor, with work in flight: each signal does what it does when the
// program is PID 1 itself. An exit code differs where the program dies of a signal: PID 1 ignores those that it does not handle.
// @runs-on bundle, executable

import { once } from "node:events";
import { chmodSync, cpSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished } from "vitest";

import { findFreePort } from "../../../scripts/postgres.ts";
import {
  findMissing,
  firstProcess,
  startCommand,
  supervise,
  testUnless,
  type Started,
} from "./harness/supervised.ts";

const fixtures = join(import.meta.dirname, "fixtures/programs");

/** Sends a signal, or starts a request, or has all requests answered; and then waits for this output, so often. */
type Step = readonly [act: NodeJS.Signals | "request" | "answer", prints: string, times?: number];

interface Trial {
  readonly name: string;
  /** Of the program, which listens at `socket` in its working directory, or at PORT. */
  readonly words: readonly string[];
  /** What it prints when it is ready for the first step, and how often. */
  readonly ready: readonly [prints: string, times?: number];
  readonly steps: readonly Step[];
  /** Sends a request, instead of a plain one. */
  readonly request?: (socket: Socket, cwd: string) => void;
  /** The exit code as PID 1 itself, and under entrypoint. */
  readonly ends: readonly [alone: number, supervised: number];
}

const celery: Omit<Trial, "name" | "steps"> = {
  words:
    "celery -A tasks worker -P prefork -c 1 --without-gossip --without-mingle --without-heartbeat -l info".split(
      " ",
    ),
  ready: ["task begun"],
  ends: [0, 0],
};
const gunicorn: Pick<Trial, "words" | "ready"> = {
  words: ["gunicorn", "web:wsgi", "--workers", "1", "--bind", "unix:socket"],
  ready: ["Booting worker"],
};
const uvicorn: Pick<Trial, "words" | "ready"> = {
  words: ["uvicorn", "web:asgi", "--port", "PORT"],
  ready: ["Uvicorn running on"],
};
const nginx = {
  words: ["/usr/sbin/nginx", "-p", ".", "-c", "nginx.conf", "-g"],
  request: (socket: Socket) => socket.write("GET /large HTTP/1.0\r\n\r\n"),
};
const [phpFpm = "/usr/sbin/php-fpm"] = ["8.4", "8.3", "8.2", "8.1", "7.4"]
  .map((version) => `/usr/sbin/php-fpm${version}`)
  .filter((file) => findMissing(file) === null);

const programs: Readonly<Record<string, readonly Trial[]>> = {
  Celery: [
    {
      ...celery,
      name: "finishes its task at TERM",
      steps: [
        ["SIGTERM", "Warm shutdown"],
        ["answer", "task done"],
      ],
    },
    {
      ...celery,
      name: "finishes its task at two TERMs",
      steps: [
        ["SIGTERM", "Warm shutdown"],
        ["SIGTERM", "Warm shutdown", 2],
        ["answer", "task done"],
      ],
    },
    {
      ...celery,
      name: "keeps its task at USR1",
      steps: [
        ["SIGUSR1", "MainThread"],
        ["answer", "task done"],
        ["SIGTERM", "Warm shutdown"],
      ],
    },
    { ...celery, name: "drops its task at QUIT", steps: [["SIGQUIT", "Cold shutdown"]] },
  ],
  gunicorn: [
    {
      ...gunicorn,
      name: "starts, stops and replaces workers, and itself, with a request in flight",
      steps: [
        ["request", "request begun"],
        ["SIGTTIN", "Booting worker", 2],
        ["SIGWINCH", "Handling signal: winch"],
        ["SIGUSR1", "Handling signal: usr1"],
        ["SIGUSR2", "Booting worker", 3],
        ["SIGTTOU", "Handling signal: ttou"],
        ["SIGHUP", "Booting worker", 4],
        ["answer", "Worker exiting", 2],
        ["SIGTERM", "Shutting down: Master"],
      ],
      ends: [0, 0],
    },
    {
      ...gunicorn,
      name: "answers its request at TERM",
      steps: [
        ["request", "request begun"],
        ["SIGTERM", "Handling signal: term"],
        ["answer", "Shutting down: Master"],
      ],
      ends: [0, 0],
    },
  ],
  uvicorn: [
    {
      ...uvicorn,
      name: "answers its request at TERM",
      steps: [
        ["request", "request begun"],
        ["SIGTERM", "Shutting down"],
        ["answer", "Finished server process"],
      ],
      ends: [0, 143],
    },
    {
      ...uvicorn,
      name: "starts, stops and replaces workers, and answers its request at TERM",
      words: [...uvicorn.words, "--workers", "2"],
      ready: ["Application startup complete", 2],
      steps: [
        ["SIGTTIN", "Application startup complete", 3],
        ["SIGTTOU", "Finished server process"],
        ["SIGHUP", "Finished server process", 3],
        ["request", "request begun"],
        ["SIGTERM", "Shutting down", 5],
        ["answer", "Finished server process", 5],
      ],
      ends: [0, 0],
    },
  ],
  nginx: [
    {
      ...nginx,
      name: "reopens logs, replaces workers, and answers its request at QUIT",
      words: [...nginx.words, "daemon off;"],
      ready: ["start worker process "],
      steps: [
        ["request", ""],
        ["SIGUSR1", "reopening logs", 2],
        ["SIGHUP", "start worker process ", 2],
        ["SIGUSR2", "(SIGUSR2) received"],
        ["SIGWINCH", "(SIGWINCH) received"],
        ["SIGQUIT", "gracefully shutting down", 2],
        ["answer", "exited with code 0", 2],
      ],
      ends: [0, 0],
    },
    {
      ...nginx,
      name: "in the background ends with its first process",
      words: [...nginx.words, "daemon on;"],
      ready: ["nginx/"],
      steps: [],
      ends: [0, 0],
    },
  ],
  "php-fpm": [
    {
      name: "reopens logs, reloads, and answers its requests",
      words: [
        phpFpm,
        ..."--nodaemonize --force-stderr --allow-to-run-as-root --fpm-config php-fpm.conf".split(
          " ",
        ),
      ],
      ready: ["ready to handle connections"],
      steps: [
        ["request", "request begun"],
        ["SIGUSR1", "log file re-opened"],
        ["SIGUSR2", "Reloading in progress"],
        ["answer", "ready to handle connections", 2],
        ["SIGQUIT", "Finishing"],
      ],
      request: requestPhp,
      ends: [0, 0],
    },
  ],
};

for (const [name, trials] of Object.entries(programs)) {
  testUnless(firstProcess.missing, findMissing(trials[0]?.words[0] ?? name))(
    `${name} does what it does as PID 1`,
    async () => {
      const ends = trials.map(async (trial) => [
        trial.name,
        await Promise.all([
          perform(trial, firstProcess.words),
          perform(trial, supervise([], firstProcess)),
        ]),
      ]);
      expect(await Promise.all(ends)).toEqual(trials.map((trial) => [trial.name, trial.ends]));
    },
  );
}

testUnless(firstProcess.missing, findMissing("/usr/sbin/nginx"))(
  "nginx in the background is waited for with --wait-all, and ends at TERM",
  async () => {
    const trial: Trial = {
      ...nginx,
      name: "",
      words: [...nginx.words, "daemon on;"],
      ready: ["leader-ended"],
      steps: [
        ["request", ""],
        ["answer", ""],
        ["SIGTERM", "(SIGTERM) received from 1, exiting"],
      ],
      ends: [0, 0],
    };
    expect(await perform(trial, supervise(["--wait-all"], firstProcess))).toBe(0);
  },
);

/** Runs the program through its steps, and gives its exit code. */
async function perform(trial: Trial, starter: readonly string[]): Promise<number | string> {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-programs-"));
  onTestFinished(() => rmSync(cwd, { recursive: true, force: true }));
  // nginx's workers are another user.
  chmodSync(cwd, 0o755);
  cpSync(fixtures, cwd, { recursive: true });
  // More than the buffers of a connection hold: it is in flight until somebody reads it.
  writeFileSync(join(cwd, "large"), "");
  truncateSync(join(cwd, "large"), largeBytes);
  const env = { HOME: cwd, USER: userInfo().username, PYTHONUNBUFFERED: "1" };
  const port = await findFreePort();
  const words = trial.words.map((word) => word.replace("PORT", String(port)));
  const started = startCommand([...starter, ...words], { place: firstProcess, cwd, env });
  const address = words.includes(String(port)) ? { port } : { path: join(cwd, "socket") };
  await started.printed(...trial.ready);
  const answers: (() => Promise<void>)[] = [];
  for (const [act, prints, times] of trial.steps) {
    if (act === "request") answers.push(await startRequest(started, connect(address), cwd, trial));
    else if (act !== "answer") started.kill(act);
    else {
      writeFileSync(join(cwd, "release"), "");
      for (const answer of answers) await answer();
    }
    await started.printed(prints, times);
  }
  return await started.ended;
}
const largeBytes = 64 * 1024 * 1024;

/** Returns what has it answered, and checks the answer. */
async function startRequest(
  started: Started,
  socket: Socket,
  cwd: string,
  { request = requestPlainly }: Trial,
): Promise<() => Promise<void>> {
  onTestFinished(() => void socket.destroy());
  request(socket, cwd);
  const isLarge = request === nginx.request;
  if (isLarge) {
    // Its first bytes are there, and the rest has no room.
    await once(socket, "readable");
  } else {
    await started.printed("request begun");
  }
  return async () => {
    let [text, length] = ["", 0];
    for await (const chunk of socket) {
      length += (chunk as Buffer).length;
      if (!isLarge) text += String(chunk);
    }
    if (isLarge) expect(length).toBeGreaterThan(largeBytes);
    else expect(text).toContain("served");
  };
}

function requestPlainly(socket: Socket): void {
  socket.write("GET / HTTP/1.0\r\n\r\n");
}

/** A request by FastCGI: its beginning, its parameters, and an empty body. */
function requestPhp(socket: Socket, cwd: string): void {
  const record = (type: number, content: Buffer) =>
    Buffer.concat([Buffer.from([1, type, 0, 1, 0, content.length, 0, 0]), content]);
  const script = join(cwd, "web.php");
  const parameters = Object.entries({ SCRIPT_FILENAME: script, REQUEST_METHOD: "GET" });
  const pairs = parameters.map(([name, value]) =>
    Buffer.concat([Buffer.from([name.length, value.length]), Buffer.from(name + value)]),
  );
  const empty = Buffer.alloc(0);
  socket.write(
    Buffer.concat([
      record(1, Buffer.from([0, 1, 0, 0, 0, 0, 0, 0])),
      record(4, Buffer.concat(pairs)),
      record(4, empty),
      record(5, empty),
    ]),
  );
}
