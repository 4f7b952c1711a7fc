// `exec uvicorn …`: entrypoint's process becomes the application. It keeps the pid and everything that a
// shell's exec would keep: environment and arguments to the byte, descriptors and their flags, signals.
//
// What cannot be kept, because Node changed it at start-up and what it was is not known any more:
// - The soft limit of open files: Node raises it to the hard one. The parent's own limit would be a guess, and
//   PID 1 has no parent to look at. Cure: `sh -c 'ulimit -Sn 1024; exec uvicorn …'` as the application.
// - Signals that our parent ignored (nohup) or blocked: Node resets both. The application starts with none.
// - A closed descriptor 0, 1 or 2: Node opens /dev/null in its place, and the application has that.

import { getSystemErrorName } from "node:util";

import type { Environment } from "../environment.ts";
import { Failure } from "../exit-codes.ts";
import type { Program } from "./find-program.ts";
import type { Inheritance } from "./inheritance.ts";
import { hasLibc, loadLibc, withoutExperimentalWarning } from "./libc.ts";

/** Whether this runtime can replace its process (Node >= 22.15, not on Windows). */
function canExec(): boolean {
  return process.execve !== undefined;
}

/**
 * How the application will be started. `auto` is exec, unless the runtime has no execve or exec would close
 * descriptors that the parent passed on for the application (`uvicorn --fd 3`, systemd's socket
 * activation) and nothing can be done about it: a supervised child gets them.
 * @throws {Failure} "bad-settings" if exec is asked for and the runtime has none.
 */
export function chooseMode(
  setting: "auto" | "exec" | "supervise",
  inheritance: Inheritance,
): "exec" | "supervise" {
  if (setting === "supervise") return "supervise";
  if (!canExec()) {
    if (setting === "auto") return "supervise";
    throw new Failure("bad-settings", `cannot exec: Node ${process.versions.node} has no execve`, {
      hint: "Use Node 22.15 or later, or leave --mode at auto.",
    });
  }
  const loses = inheritance.descriptors.length > 0 && !hasLibc();
  return setting === "auto" && loses ? "supervise" : "exec";
}

/** What of the inheritance the application will not get, one sentence each, for warnings in the log. */
export function describeLosses(mode: "exec" | "supervise", inheritance: Inheritance): string[] {
  const { descriptors, undecodable } = inheritance;
  const losses: string[] = [];
  const exact = hasLibc();
  if (descriptors.length > 0 && mode === "exec" && !exact) {
    losses.push(
      `the inherited descriptors ${descriptors.join(", ")} will be closed: Node ${process.versions.node} cannot keep them (26.9 can, and so can --mode supervise)`,
    );
  }
  if (undecodable.length > 0 && !exact) {
    const names = undecodable.map((bytes) => Buffer.from(bytes).toString("utf8").split("=", 1)[0]);
    losses.push(`not UTF-8, and changed by Node: ${names.join(", ")} (Node 26.9 keeps every byte)`);
  }
  return losses;
}

/**
 * Replaces this process by `program`, with `argv` (argv[0] as the user wrote it) and `env`. Returns only by
 * throwing. Handlers that are installed go with the process: the application starts with the default action
 * for every signal. A signal that has been caught and not yet handled is lost: let the event loop turn once
 * after the last step that takes time, and look, before you call this.
 * @throws {Failure} "not-found" (127) or "not-executable" (126), where the exec fails.
 */
export function execProgram(
  program: Program,
  argv: readonly string[],
  env: Environment,
  inheritance: Inheritance,
): never {
  // Before 26.1 a failed execve aborts the process: what the kernel may refuse is not tried.
  const mayTry = reportsFailure(process.versions.node);
  if (!mayTry && program.doubt !== undefined) throw describeError(program, "ENOEXEC");
  if (!mayTry && hasOverlongString(argv, env)) throw describeError(program, "E2BIG");

  // Node ignores these two, and what is ignored stays so through an exec: the application would see EPIPE where it
  // expects to die. A signal that is handled is reset to its default.
  // They stay if the exec fails: without a handler the default would end us while we report that.
  process.on("SIGPIPE", ignore);
  process.on("SIGXFSZ", ignore);
  const exec = prepareExec(env, inheritance);
  if (mayTry || program.shell.length === 0) {
    const errno = exec(program.file, argv);
    if (errno !== "ENOEXEC" || program.shell.length === 0) throw describeError(program, errno);
  }
  const [shell = "/bin/sh"] = program.shell;
  throw describeError(program, exec(shell, [...program.shell, program.file, ...argv.slice(1)]));
}

/** The Failure for the errno with which the kernel refused to start `program`. */
export function describeError(program: Program, errno: string): Failure {
  const { name, file, doubt } = program;
  switch (errno) {
    // find-program.ts has looked: it went away since, or a part of it that is not looked at.
    case "ENOENT":
    case "ENOTDIR":
      return new Failure(
        "not-found",
        `cannot start ${name}: ${file} or its interpreter is missing`,
      );
    case "ENOEXEC":
      return new Failure("not-executable", `cannot start ${name}: ${doubt ?? "exec format error"}`);
    case "E2BIG":
      return new Failure(
        "not-executable",
        `cannot start ${name}: arguments and environment too long`,
        {
          hint: "One argument or variable may hold 128 KiB, all together a quarter of the stack limit.",
        },
      );
    default:
      return new Failure("not-executable", `cannot start ${name}: ${file}: ${errno}`);
  }
}

/** Whether a failed process.execve throws in this version of Node (26.1), instead of aborting the process. */
export function reportsFailure(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 26 || (major === 26 && minor >= 1);
}

/**
 * Whether the kernel takes one of these strings for too long (MAX_ARG_STRLEN, with the NUL at its end). The parent
 * could not have given us one either, but a secret's file can.
 */
function hasOverlongString(argv: readonly string[], env: Environment): boolean {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value ?? ""}`);
  return [...argv, ...variables].some((text) => Buffer.byteLength(text) >= 128 * 1024);
}

/** Brings `text` back to the bytes that it was decoded from, if it is one of `undecodable`. */
export function restoreBytes(text: string, undecodable: readonly Uint8Array[]): Uint8Array {
  const original = text.includes("\ufffd")
    ? undecodable.find((bytes) => Buffer.from(bytes).toString("utf8") === text)
    : undefined;
  return original ?? Buffer.from(text);
}

/** An execve that returns the errno; through libc where Node's own would lose something. */
function prepareExec(
  env: Environment,
  { descriptors, undecodable }: Inheritance,
): (file: string, argv: readonly string[]) => string {
  const variables = Object.entries(env).filter((entry) => entry[1] !== undefined);
  const libc = descriptors.length + undecodable.length > 0 ? loadLibc() : undefined;

  for (const fd of descriptors) libc?.setDescriptorFlags(fd, 0);

  if (libc === undefined || undecodable.length === 0) {
    return (file, argv) => runExecve(file, argv, Object.fromEntries(variables));
  }
  return (file, argv) => {
    // libuv marks these as well; Node's execve would clear them.
    for (const fd of [0, 1, 2]) libc.setDescriptorFlags(fd, 0);
    libc.execve(
      Buffer.from(file),
      argv.map((word) => restoreBytes(word, undecodable)),
      variables.map(([name, value]) => restoreBytes(`${name}=${value}`, undecodable)),
    );
    return getSystemErrorName(-libc.errno());
  };
}

function runExecve(file: string, argv: readonly string[], env: NodeJS.ProcessEnv): string {
  try {
    withoutExperimentalWarning(() => process.execve?.(file, argv, env));
    return "ENOSYS";
  } catch (error) {
    // The code is empty for some (E2BIG): the number is not.
    if (error instanceof Error && "errno" in error && typeof error.errno === "number") {
      return getSystemErrorName(-Math.abs(error.errno));
    }
    throw error;
  }
}

function ignore(): void {}
