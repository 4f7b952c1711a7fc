// The first half of `exec uvicorn …`: finding uvicorn on PATH, as a POSIX shell does. Guarantees: whatever would make the
// exec fail is reported here, with its cause and cure; process.execve of Node 22 and 24 aborts on any failure.

import { accessSync, closeSync, constants, openSync, readSync, statSync } from "node:fs";
import { endianness } from "node:os";
import { resolve } from "node:path";

import { Failure } from "../../failure.ts";

/** A program that can be started, as far as is known before it is. */
export type Program = {
  /** As the user wrote it, for messages. */
  readonly name: string;
  /** The path for execve: absolute, or relative to the working directory, as PATH or the user has it. */
  readonly file: string;
  /**
   * Words before the file where the kernel cannot run it: `["/bin/sh"]` for a text without a shebang, else none. The
   * kernel is tried first where that is possible: binfmt_misc may know the format.
   */
  readonly shell: readonly string[];
  /** Why the kernel is expected to refuse it, unless binfmt_misc knows the format. */
  readonly doubt: string | undefined;
};

/** What Debian's dash and Docker use without PATH. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The kernel reads this many bytes of a file's start (BINPRM_BUF_SIZE). */
const HEAD_SIZE = 256;

/** The kernel follows this many interpreters that are scripts themselves, then fails with ELOOP. */
const MAX_INTERPRETERS = 5;

/** e_machine by process.arch. Most 64-bit kernels of the first two run 32-bit programs too. */
const elfMachines: Readonly<Record<string, readonly number[]>> = {
  x64: [62, 3],
  arm64: [183, 40],
  ia32: [3],
  arm: [40],
  ppc64: [21],
  s390x: [22],
  riscv64: [243],
  loong64: [258],
};

/**
 * Finds the program that `name` means: itself if it has a slash, else the first executable file of that name in the
 * directories of `path` (an empty one is `cwd`). The first executable file ends the search, even if its interpreter is
 * missing: another program of that name would hide the mistake (bash stops there too, dash does not).
 * @throws {Failure} "not-found" (127) or "not-executable" (126), as in a shell.
 */
export function findProgram(
  name: string,
  { path = DEFAULT_PATH, cwd }: { path: string | undefined; cwd: string },
): Program {
  if (name === "") {
    throw new Failure("not-found", "cannot start the application: its name is empty", {
      hint: "Name a program after the options, or in ENTRYPOINT_APP.",
    });
  }

  if (name.includes("/")) {
    const obstacle = findObstacle(resolve(cwd, name));
    if (obstacle !== undefined) throw describeObstacle(name, name, obstacle);
    return inspectProgram(name, name, cwd);
  }

  let refusal: Failure | undefined;
  for (const directory of path.split(":")) {
    const file = `${directory === "" ? "." : directory}/${name}`;
    const obstacle = findObstacle(resolve(cwd, file));
    if (obstacle === undefined) return inspectProgram(name, file, cwd);
    // A directory of that name is not a program, and no reason for "permission denied".
    if (obstacle !== "missing" && obstacle !== "directory") {
      refusal ??= describeObstacle(name, file, obstacle);
    }
  }
  throw (
    refusal ??
    new Failure("not-found", `cannot start ${name}: not found on PATH (${path})`, {
      hint: /\s/.test(name)
        ? "The name has a space: give the program and its arguments as separate words."
        : "Install it in the image, add its directory to PATH, or give its full path.",
    })
  );
}

type Obstacle = "missing" | "directory" | "special" | "not-executable" | "forbidden";

function findObstacle(file: string): Obstacle | undefined {
  try {
    const stats = statSync(file);
    if (stats.isDirectory()) return "directory";
    if (!stats.isFile()) return "special";
  } catch (error) {
    return isErrno(error, "EACCES") ? "forbidden" : "missing";
  }
  try {
    // Fails too where the file system is mounted noexec.
    accessSync(file, constants.X_OK);
    return undefined;
  } catch {
    return "not-executable";
  }
}

function describeObstacle(name: string, file: string, obstacle: Obstacle): Failure {
  const { says, hint } = obstacles[obstacle];
  const code = obstacle === "missing" ? "not-found" : "not-executable";
  return new Failure(code, `cannot start ${name}: ${file} ${says}`, hint === "" ? {} : { hint });
}

const obstacles: Readonly<Record<Obstacle, { says: string; hint: string }>> = {
  missing: { says: "does not exist", hint: "A name with a slash is not looked up on PATH." },
  directory: { says: "is a directory", hint: "" },
  special: { says: "is not a regular file", hint: "" },
  "not-executable": {
    says: "is not executable",
    hint: "Run chmod +x on it in the image, and check that its file system is not mounted noexec.",
  },
  forbidden: {
    says: "cannot be reached: permission denied",
    hint: "Give this user the execute permission on each directory of the path.",
  },
};

/** Follows the shebangs of `file` to a binary, or to a text that only a shell runs. */
function inspectProgram(name: string, file: string, cwd: string): Program {
  const program = { name, file, shell: [], doubt: undefined };
  let current = file;
  for (let depth = 0; depth <= MAX_INTERPRETERS; depth += 1) {
    const head = readAt(resolve(cwd, current), 0, HEAD_SIZE);
    // Executable but not readable: a binary may be, and the kernel decides.
    if (head === undefined) return program;

    if (startsWith(head, "\x7fELF")) {
      return { ...program, doubt: inspectElf(name, resolve(cwd, current), cwd) };
    }
    const interpreter = readShebang(head);
    if (interpreter === undefined) {
      return isText(head)
        ? { ...program, shell: ["/bin/sh"] }
        : { ...program, doubt: `${current} is neither a binary of this system nor a script` };
    }
    requireInterpreter(name, current, interpreter, cwd);
    current = interpreter;
  }
  throw new Failure(
    "not-executable",
    `cannot start ${name}: more than ${MAX_INTERPRETERS} interpreters of ${file} are scripts themselves`,
  );
}

/**
 * The interpreter in a file's first line, parsed as the kernel does (fs/binfmt_script.c): up to a blank, with at most one
 * argument after it. A carriage return is part of it.
 */
function readShebang(head: Uint8Array): string | undefined {
  if (!startsWith(head, "#!")) return undefined;
  const text = Buffer.from(head).toString("utf8");
  const [, interpreter, end] = /^#![ \t]*([^ \t\n\0]+)([ \t\n\0]?)/.exec(text) ?? [];
  // A name that the kernel's buffer cuts off is not run: it could be another program's.
  if (end === "" && head.length === HEAD_SIZE) return undefined;
  return interpreter;
}

function requireInterpreter(name: string, file: string, interpreter: string, cwd: string): void {
  const obstacle = findObstacle(resolve(cwd, interpreter));
  if (obstacle === undefined) return;
  if (obstacle !== "missing") {
    throw new Failure(
      "not-executable",
      `cannot start ${name}: its interpreter ${interpreter} cannot be executed`,
      { hint: `The first line of ${file} names it.` },
    );
  }
  const shown = interpreter.replace("\r", "\\r");
  throw new Failure("not-found", `cannot start ${name}: its interpreter ${shown} does not exist`, {
    hint: interpreter.endsWith("\r")
      ? `${file} has Windows line endings: save it with Unix ones.`
      : `The first line of ${file} names it. A virtual environment works only at the path where it was made.`,
  });
}

/**
 * Why the kernel is expected to refuse this ELF file; undefined if it is not.
 * @throws {Failure} "not-found" if the loader that it names does not exist.
 */
function inspectElf(name: string, file: string, cwd: string): string | undefined {
  const elf = readElf(file);
  if (elf === undefined) return `${file} is truncated`;
  const machines = elfMachines[process.arch];
  if (elf.littleEndian !== (endianness() === "LE") || machines?.includes(elf.machine) === false) {
    return `${file} is built for another machine than ${process.arch}`;
  }
  if (elf.loader !== undefined && findObstacle(resolve(cwd, elf.loader)) === "missing") {
    throw new Failure(
      "not-found",
      `cannot start ${name}: its loader ${elf.loader} does not exist`,
      {
        hint: `${file} is built for another C library (glibc or musl) than the image has.`,
      },
    );
  }
  return undefined;
}

type Elf = { littleEndian: boolean; machine: number; loader: string | undefined };

/** The fields of an ELF file that decide whether it can start (elf(5)); undefined if it is truncated. */
function readElf(file: string): Elf | undefined {
  const head = readAt(file, 0, 64);
  if (head === undefined || head.length < 52) return undefined;
  const is64 = head[4] === 2;
  if (is64 && head.length < 64) return undefined;
  const littleEndian = head[5] === 1;
  const header = numbersOf(head, littleEndian);
  const size = header.u16(is64 ? 54 : 42);
  const length = size * header.u16(is64 ? 56 : 44);
  // The kernel accepts no other size of an entry, and no table above 64 KiB.
  if (size !== (is64 ? 56 : 32) || length > 65_536) return undefined;
  const table = readAt(file, is64 ? header.u64(32) : header.u32(28), length);
  if (table === undefined || table.length < length) return undefined;

  let loader: string | undefined;
  for (let start = 0; start < length; start += size) {
    const segment = numbersOf(table.subarray(start, start + size), littleEndian);
    if (segment.u32(0) !== PT_INTERP) continue;
    const offset = is64 ? segment.u64(8) : segment.u32(4);
    const path = readAt(file, offset, Math.min(is64 ? segment.u64(32) : segment.u32(16), 4096));
    loader = Buffer.from(path ?? [])
      .toString("utf8")
      .replace(/\0.*$/s, "");
    break;
  }
  return { littleEndian, machine: header.u16(18), loader };
}

const PT_INTERP = 3;

function numbersOf(bytes: Uint8Array, littleEndian: boolean) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    u16: (offset: number) => view.getUint16(offset, littleEndian),
    u32: (offset: number) => view.getUint32(offset, littleEndian),
    u64: (offset: number) => Number(view.getBigUint64(offset, littleEndian)),
  };
}

/** As bash decides: no NUL in the first line. An empty file is a script that does nothing. */
function isText(head: Uint8Array): boolean {
  const firstLine = head.indexOf(0x0a);
  return !head.subarray(0, firstLine === -1 ? head.length : firstLine).includes(0);
}

function startsWith(bytes: Uint8Array, prefix: string): boolean {
  return Buffer.from(bytes.subarray(0, prefix.length)).toString("latin1") === prefix;
}

function readAt(file: string, position: number, length: number): Uint8Array | undefined {
  if (!Number.isSafeInteger(position)) return undefined;
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch {
    return undefined;
  }
  try {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
  } finally {
    closeSync(fd);
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
