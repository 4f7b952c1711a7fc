// The application as a child on a Node without `node:ffi`. Not through execa, which would stay in memory for as long as the
// application runs. It leads a session of its own, and orphans are not reaped.

import type { Environment } from "../../runtime/environment.ts";
import { describeError } from "../become/exec.ts";
import type { Program } from "../become/find-program.ts";
import type { Inheritance } from "../become/inheritance.ts";
import type { Children } from "./children.ts";
import { signalExitCode } from "../signal-table.ts";

export function createPlainChildren(): Children {
  let ended: (pid: number, code: number) => void = () => {};
  let settled = () => {};
  return {
    watch: (...listeners) => ([ended, settled] = listeners),
    start,
    // Node reports the end of its own children alone.
    hasDescendants: () => false,
    continued: () => false,
    end: () => {},
  };

  async function start(
    program: Program,
    argv: readonly string[],
    env: Environment,
    inheritance: Inheritance,
  ): Promise<number> {
    // libuv starts it with execvp, which runs with /bin/sh what the kernel refuses, a broken binary too.
    if (program.doubt !== undefined) throw describeError(program, "ENOEXEC");
    const [file, ...before] = [...program.shell, program.file];
    // Not an import: a supervisor with libc does not need it.
    const { spawn } = process.getBuiltinModule("node:child_process");
    try {
      const child = spawn(file ?? program.file, [...before, ...argv.slice(1)], {
        argv0: program.shell[0] ?? argv[0],
        detached: true,
        env: { ...env },
        stdio: passDescriptors(inheritance.descriptors),
      });
      const { pid } = child;
      child.once("exit", (code, signal) => {
        // Node does not report a death by a real-time signal: it looks like exit code 0.
        ended(pid ?? 0, signal === null ? (code ?? 0) : signalExitCode(signal));
        settled();
      });
      if (pid !== undefined) return pid;
      return await new Promise<never>((_resolve, reject) => child.once("error", reject));
    } catch (error) {
      // Node throws some errors of the kernel (E2BIG, ETXTBSY), and emits the others.
      if (isSystemError(error)) throw describeError(program, error.code);
      throw error;
    }
  }
}

/** The stdio of spawn that keeps 0, 1, 2 and `descriptors` open under their numbers. */
function passDescriptors(descriptors: readonly number[]): (number | "ignore")[] {
  const length = Math.max(2, ...descriptors) + 1;
  // Above 2, "ignore" keeps a number closed.
  return Array.from({ length }, (_, fd) => (fd <= 2 || descriptors.includes(fd) ? fd : "ignore"));
}

function isSystemError(error: unknown): error is Error & { code: string } {
  return (
    error instanceof Error &&
    "syscall" in error &&
    "code" in error &&
    typeof error.code === "string"
  );
}
