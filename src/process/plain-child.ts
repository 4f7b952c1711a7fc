// A child through Node's own child_process, for a Node without `node:ffi`: in a session of its own, and orphans are not
// reaped.

import type { Environment } from "../environment.ts";
import { describeError } from "./exec.ts";
import type { Program } from "./find-program.ts";
import type { Inheritance } from "./inheritance.ts";
import type { Children } from "./children.ts";
import { signalExitCode } from "../exit-codes.ts";

export function createPlainChildren(): Children {
  let receive: (pid: number, code: number) => void = () => {};
  let settled = () => {};
  return {
    watch: (...listeners) => ([receive, settled] = listeners),
    start: (program, argv, env, inheritance) => start(program, argv, env, inheritance),
    // Nobody tells us of those that we have not started.
    descendantsLeft: () => false,
    continued: () => false,
    end: () => {},
  };

  async function start(
    program: Program,
    argv: readonly string[],
    env: Environment,
    inheritance: Inheritance,
  ): Promise<number> {
    // libuv starts it with execvp, which hands to /bin/sh whatever the kernel refuses, a broken binary too.
    if (program.doubt !== undefined) throw describeError(program, "ENOEXEC");
    const [file, ...before] = [...program.shell, program.file];
    // Not an import: a supervisor that has libc does without.
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
        // Of a death by a real-time signal Node says nothing: it looks like a 0.
        receive(pid ?? 0, signal === null ? (code ?? 0) : signalExitCode(signal));
        settled();
      });
      if (pid !== undefined) return pid;
      return await new Promise<never>((_resolve, reject) => child.once("error", reject));
    } catch (error) {
      // Node throws some of the kernel's refusals (E2BIG, ETXTBSY), and emits the others.
      if (isSystemError(error)) throw describeError(program, error.code);
      throw error;
    }
  }
}

/** The stdio of spawn that leaves 0, 1, 2 and `descriptors` open under their own numbers. */
function passDescriptors(descriptors: readonly number[]): (number | "ignore")[] {
  const length = Math.max(2, ...descriptors) + 1;
  // Above 2, "ignore" leaves a number closed.
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
