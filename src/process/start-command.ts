// The one place where a command is started: the migration, a setup step, the migration tool when it is queried. Guarantees: it leads a
// process group of its own, and this group does not outlive entrypoint.

import type { Readable } from "node:stream";

import type { Words } from "../context.ts";
import type { Environment } from "../runtime/environment.ts";
import { describeError } from "./become/exec.ts";
import { findProgram, type Program } from "./become/find-program.ts";
import { sendSignal, type Delivery } from "./groups.ts";

/** For output that is still in the pipes when a command is over: a daemon outside of its group may hold them open. */
const lateOutputMs = 1_000;

export interface Place {
  readonly env: Environment;
  readonly cwd: string;
}

/** Of standard input, standard output and standard error. */
export type Streams = readonly ["inherit" | "ignore", "inherit" | "pipe", "inherit" | "pipe"];

export type LeaderEnd =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: NodeJS.Signals };

export interface Command {
  /** The number of its process group, which is the pid of its leader. */
  readonly group: number;
  /** Resolves when the leader has ended; to null once `expired` is aborted. */
  waitForLeader(expired: AbortSignal): Promise<LeaderEnd | null>;
  /** Null where it is not a pipe. They have to be read from the beginning. */
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** To its group. */
  send(signal: NodeJS.Signals): Delivery;
  /** Resolves when its pipes are closed, a second after this call at the latest. Only once the leader has ended. */
  finish(): Promise<void>;
  /** From now on the end of entrypoint does not kill the group. Resolves when nothing of ours is left. */
  release(): Promise<void>;
}

/** Throws the reason of `stop`, and Failure "not-found" or "not-executable" where the command cannot be started. */
export async function startCommand(
  words: Words,
  { env, cwd }: Place,
  streams: Streams,
  stop: AbortSignal,
): Promise<Command> {
  stop.throwIfAborted();
  const program = findProgram(words[0], { path: env["PATH"], cwd });
  const [file, ...before] = [...program.shell, program.file];

  // Loaded here and not at start-up: most boots have nothing to migrate.
  // oxlint-disable-next-line no-restricted-imports -- the rule keeps execa in this file
  const [{ execa }, { onExit }] = await Promise.all([import("execa"), import("signal-exit")]);
  stop.throwIfAborted();

  const spawn = () =>
    execa(file ?? program.file, [...before, ...words.slice(1)], {
      stdio: [...streams],
      // Of a command that fails execa would put all of the output into a message.
      buffer: false,
      cwd,
      env: { ...env },
      extendEnv: false,
      detached: true,
      cleanup: false,
      reject: false,
    });
  // A signal that comes once the command runs, but before a handler stands, would end entrypoint and leave the command.
  let started: number | undefined;
  const ignoreExit = onExit(() => {
    if (started !== undefined) sendSignal(-started, "SIGKILL");
  });
  let child: ReturnType<typeof spawn>;
  try {
    child = orTooManyFiles(program, spawn);
  } catch (error) {
    ignoreExit();
    throw error;
  }
  const { pid } = child;
  started = pid;
  if (pid === undefined) {
    ignoreExit();
    const { code, cause } = await child;
    const errno = code ?? (cause as NodeJS.ErrnoException | undefined)?.code;
    throw errno === undefined ? cause : describeError(program, errno);
  }
  const send = (signal: NodeJS.Signals) => sendSignal(-pid, signal);
  const watch = () =>
    execa("/bin/sh", ["-c", watchScript, "entrypoint-watch", String(pid)], {
      stdio: ["pipe", "ignore", "ignore"],
      cwd: "/",
      env: { PATH: "/usr/bin:/bin" },
      extendEnv: false,
      detached: true,
      cleanup: false,
      // An image without a shell has no such guard.
      reject: false,
    });
  const watcher = process.pid === 1 ? null : orTooManyFiles(program, watch);
  watcher?.stdin.on("error", () => undefined);
  const leader = new Promise<LeaderEnd>((resolve) => {
    child.once("exit", (code, signal) =>
      resolve(signal === null ? { kind: "exited", code: code ?? 0 } : { kind: "killed", signal }),
    );
  });
  return {
    group: pid,
    stdout: child.stdout,
    stderr: child.stderr,
    send,
    waitForLeader: (expired) =>
      Promise.race([
        leader,
        new Promise<null>((resolve) => {
          expired.addEventListener("abort", () => resolve(null), { once: true });
        }),
      ]),
    async finish() {
      const late = setTimeout(() => {
        // One turn later, so that what a blocked write has kept waiting is read first.
        setImmediate(() => [child.stdout, child.stderr].forEach((pipe) => pipe?.destroy()));
      }, lateOutputMs);
      await child;
      clearTimeout(late);
    },
    async release() {
      ignoreExit();
      watcher?.stdin.end("\n");
      await watcher;
    },
  };
}

/** Where no file can be opened any more, Node makes no streams, and execa fails at their absence. */
function orTooManyFiles<T>(program: Program, spawn: () => T): T {
  try {
    return spawn();
  } catch (error) {
    throw error instanceof TypeError ? describeError(program, "EMFILE") : error;
  }
}

/**
 * Ends the group $1 where its standard input ends without a line: a SIGKILL of entrypoint leaves nobody else to do that, unless
 * it is PID 1, with which the kernel ends all others.
 */
const watchScript = 'read -r line || { kill -s TERM -- "-$1"; sleep 10; kill -s KILL -- "-$1"; }';
