// `exec uvicorn …`: the process of entrypoint becomes the application. It keeps its pid and everything that a shell's exec
// keeps: environment and arguments to the byte, descriptors and their flags, signals.
//
// Not kept, since Node changes it at start-up and does not record what it was:
// - The soft limit of open files: Node raises it to the hard limit. The limit of the parent would be a guess, and PID 1
//   has no parent. Cure: `sh -c 'ulimit -Sn 1024; exec uvicorn …'` as the application.
// - Signals that the parent ignored (nohup) or blocked: Node resets both. The application starts with none.
// - A closed descriptor 0, 1 or 2: Node opens /dev/null in its place, and the application inherits that.

import { getSystemErrorName } from "node:util";

import type { Environment } from "../../runtime/environment.ts";
import { Failure } from "../../failure.ts";
import type { Program } from "./find-program.ts";
import type { Inheritance } from "./inheritance.ts";
import { hasLibc, loadLibc, withoutExperimentalWarning } from "../libc.ts";

/** Whether this runtime can replace its process (Node >= 22.15, not on Windows). */
function canExec(): boolean {
  return process.execve !== undefined;
}

/**
 * How the application will be started. `auto` is exec, unless the runtime has no execve, or cannot keep descriptors that
 * the parent passed to the application (`uvicorn --fd 3`, systemd's socket activation): a supervised child inherits them.
 * @throws {Failure} "bad-settings" if the setting is exec and the runtime has none.
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

/** What the application will not inherit, one sentence each, for warnings in the log. */
export function describeLosses(mode: "exec" | "supervise", inheritance: Inheritance): string[] {
  const { descriptors, undecodable } = inheritance;
  const losses: string[] = [];
  const exact = hasLibc();
  if (descriptors.length > 0 && mode === "exec" && !exact) {
    losses.push(
      `The inherited descriptors ${descriptors.join(", ")} will be closed: Node ${process.versions.node} cannot keep them (Node 26.9 can, and so can --mode supervise)`,
    );
  }
  if (undecodable.length > 0 && !exact) {
    const names = undecodable.map((bytes) => Buffer.from(bytes).toString("utf8").split("=", 1)[0]);
    losses.push(
      `Node has changed what is not UTF-8: ${names.join(", ")} (Node 26.9 keeps every byte)`,
    );
  }
  return losses;
}

/**
 * Replaces this process by `program`, with `argv` (argv[0] as the user wrote it) and `env`. Returns only by throwing.
 * The application starts with the default action for every signal. A signal that has been caught and not yet handled is
 * lost: let the event loop turn once after the last step that takes time, and check, before you call this.
 * @throws {Failure} "not-found" (127) or "not-executable" (126), where the exec fails.
 */
export function execProgram(
  program: Program,
  argv: readonly string[],
  env: Environment,
  inheritance: Inheritance,
): never {
  // Before Node 26.1 a failed execve aborts the process: what the kernel may refuse is not tried.
  const mayTry = reportsFailure(process.versions.node);
  if (!mayTry && program.doubt !== undefined) throw describeError(program, "ENOEXEC");
  if (!mayTry && hasOverlongString(argv, env)) throw describeError(program, "E2BIG");

  // Node ignores these two, and an exec keeps that: the application would see EPIPE where it expects to die. A signal with
  // a handler is reset to its default. The handlers stay where the exec fails: the default would kill entrypoint during the report.
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
    // find-program.ts has checked: it was removed since, or something is missing that is not checked.
    case "ENOENT":
    case "ENOTDIR":
      return new Failure(
        "not-found",
        `cannot start ${name}: ${file} or its interpreter is missing`,
      );
    case "ENOEXEC":
      return new Failure("not-executable", `cannot start ${name}: ${doubt ?? "exec format error"}`);
    case "EAGAIN":
      return new Failure(
        "not-executable",
        `cannot start ${name}: the limit of processes is reached`,
        {
          hint: "Raise it (pids.max of the container, ulimit -u): entrypoint alone counts as seven.",
        },
      );
    case "EMFILE":
    case "ENFILE":
      return new Failure(
        "not-executable",
        `cannot start ${name}: too many files are open here (${errno})`,
        { hint: "raise the limit of open files: ulimit -n, nofile of the container" },
      );
    case "E2BIG":
      return new Failure(
        "not-executable",
        `cannot start ${name}: arguments and environment too long`,
        {
          hint: "One argument or variable may have 128 KiB, all together a quarter of the stack limit.",
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
 * Whether one of these strings is too long for the kernel (MAX_ARG_STRLEN, with the NUL at its end). None comes from the
 * parent, but one may come from a secret's file.
 */
function hasOverlongString(argv: readonly string[], env: Environment): boolean {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value ?? ""}`);
  return [...argv, ...variables].some((text) => Buffer.byteLength(text) >= 128 * 1024);
}

/** The bytes that `text` was decoded from, if they are among `undecodable`; else its UTF-8. */
export function restoreBytes(text: string, undecodable: readonly Uint8Array[]): Uint8Array {
  const original = text.includes("\ufffd")
    ? undecodable.find((bytes) => Buffer.from(bytes).toString("utf8") === text)
    : undefined;
  return original ?? Buffer.from(text);
}

/** An execve that returns the errno; through libc where Node's would lose something. */
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
    // libuv has marked these too; Node's execve clears the flag.
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
    // For some (E2BIG) the code is empty; the number is not.
    if (error instanceof Error && "errno" in error && typeof error.errno === "number") {
      return getSystemErrorName(-Math.abs(error.errno));
    }
    throw error;
  }
}

function ignore(): void {}
