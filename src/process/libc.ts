// The system calls that a shell makes and JavaScript cannot: libc through `node:ffi` (Node 26.9; from 26.1 behind a flag).
// It is loaded only when needed, and may be absent: every caller has a fallback.

import { closeSync, openSync } from "node:fs";

/** The functions of libc in use. Each returns -1 on failure, and `errno()` the reason, unless its line says otherwise. */
export type Libc = {
  /** fcntl(fd, F_SETFD, flags): 0 lets the descriptor survive an exec. */
  setDescriptorFlags(fd: number, flags: number): number;
  /** execve with exactly these bytes: no string is decoded or encoded. */
  execve(file: Uint8Array, argv: readonly Uint8Array[], env: readonly Uint8Array[]): number;
  /**
   * posix_spawn of a child that leads a process group of this session, with every signal at its default and none
   * blocked. It inherits `descriptors` under their numbers, and starts in `directory`, a descriptor, or in the working
   * directory. With `terminal`, its group is the foreground group of that
   * terminal before its first instruction, where libc supports that (glibc 2.35).
   * @returns its pid, or the errno.
   */
  spawn(
    file: Uint8Array,
    argv: readonly Uint8Array[],
    env: readonly Uint8Array[],
    options: {
      descriptors: readonly number[];
      directory: number | null;
      terminal: number | null;
    },
  ): { readonly pid: number } | { readonly errno: number };
  /**
   * waitpid(-1, WNOHANG | WUNTRACED): the next child that has ended or stopped, with its raw status; or whether there
   * are children.
   */
  waitForAny(): { readonly pid: number; readonly status: number } | "running" | "none";
  /**
   * Changes to `/`, and returns a descriptor with which a spawn can start its child in the working directory that was left;
   * null, and nothing is changed, where libc has no such spawn (glibc 2.29, musl 1.1.24) or the directory cannot be entered.
   */
  leaveDirectory(): number | null;
  /** prctl(option, value) of Linux. */
  prctl(option: number, value: number): number;
  /** tcgetpgrp and tcsetpgrp. The latter works from the background too, without a SIGTTOU. */
  getForegroundGroup(terminal: number): number;
  setForegroundGroup(terminal: number, group: number): number;
  /** tcgetattr, null on failure; and tcsetattr(TCSANOW) with its result, from the background too. */
  getTerminalState(terminal: number): Uint8Array | null;
  setTerminalState(terminal: number, state: Uint8Array): number;
  /** Runs `act` with signals blocked: they are pending until it returns. Output to a terminal causes no SIGTTOU. */
  withSignalsBlocked<T>(act: () => T): T;
  /**
   * kill(0, signal) with the default action of that signal for this process, which is to stop. Returns when it has been
   * resumed, or at once where its group is orphaned: the kernel does not stop a group without a parent to resume it.
   */
  stopGroup(signal: number): void;
  /** getpgid; 0 is this process. */
  getGroup(pid: number): number;
  /** malloc_trim(0) of glibc: returns freed memory to the kernel. */
  trimHeap(): void;
  /** _exit: ends the process without Node's exit handlers. */
  exitAtOnce(code: number): void;
  errno(): number;
};

const F_SETFD = 2;
/** Needs no permission to read the directory. */
const O_PATH = 0o10000000;
const WNOHANG = 1;
const WUNTRACED = 2;
const SIG_SETMASK = 2;
const TCSANOW = 0;

// spawn.h, the same numbers in glibc and musl.
const POSIX_SPAWN_SETPGROUP = 0x02;
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;

/**
 * More than any of posix_spawnattr_t, posix_spawn_file_actions_t, sigset_t, struct sigaction and struct termios takes
 * (336, 80, 128, 152, 60).
 */
const structSize = 512;

/** glibc 2.35 and newer. */
const foregroundAction = "posix_spawn_file_actions_addtcsetpgrp_np";
/** glibc 2.29, musl 1.1.24 and newer. */
const directoryAction = "posix_spawn_file_actions_addfchdir_np";

/** In glibc and musl the address of the calling thread's errno. */
const errnoLocation = "__errno_location";

/** Not `exit`, which runs Node's exit handlers. */
const exitFunction = "_exit";

/** Memory that the kernel is about to read: a pointer does not keep it from being collected. */
const pointedTo: unknown[] = [];

/** libc; undefined where this runtime has no `node:ffi`, or does not permit it. */
export function loadLibc(): Libc | undefined {
  try {
    return bindLibc();
  } catch {
    return undefined;
  }
}

/** Whether `loadLibc` can be expected to succeed, without loading anything. */
export function hasLibc(): boolean {
  // getBuiltinModule, not an import: the bundle must load on Node 20, where the module does not exist.
  return process.getBuiltinModule("module").isBuiltin("node:ffi");
}

/**
 * Runs `use` and suppresses its ExperimentalWarning, and no other: nothing is lost where the feature is missing, and
 * nothing could be done about the warning.
 */
export function withoutExperimentalWarning<T>(use: () => T): T {
  const warn = Object.getOwnPropertyDescriptor(process, "emitWarning");
  const original = process.emitWarning.bind(process) as (...args: unknown[]) => void;
  process.emitWarning = (...args: unknown[]) => {
    if (args[1] !== "ExperimentalWarning") original(...args);
  };
  try {
    return use();
  } finally {
    if (warn !== undefined) Object.defineProperty(process, "emitWarning", warn);
  }
}

// fcntl and prctl are variadic. On Linux an int is in the same register either way (x86-64, arm64, riscv64).
const int = "int32";
const signatures = {
  fcntl: { arguments: [int, int, int], return: int },
  execve: { arguments: ["buffer", "buffer", "buffer"], return: int },
  posix_spawn: {
    arguments: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"],
    return: int,
  },
  posix_spawnattr_init: { arguments: ["buffer"], return: int },
  posix_spawnattr_setflags: { arguments: ["buffer", "int16"], return: int },
  posix_spawnattr_setsigdefault: { arguments: ["buffer", "buffer"], return: int },
  posix_spawn_file_actions_init: { arguments: ["buffer"], return: int },
  posix_spawn_file_actions_adddup2: { arguments: ["buffer", int, int], return: int },
  sigfillset: { arguments: ["buffer"], return: int },
  pthread_sigmask: { arguments: [int, "buffer", "buffer"], return: int },
  waitpid: { arguments: [int, "buffer", int], return: int },
  prctl: { arguments: [int, "uint64", "uint64", "uint64", "uint64"], return: int },
  tcgetpgrp: { arguments: [int], return: int },
  tcsetpgrp: { arguments: [int, int], return: int },
  tcgetattr: { arguments: [int, "buffer"], return: int },
  tcsetattr: { arguments: [int, int, "buffer"], return: int },
  fchdir: { arguments: [int], return: int },
  getpgid: { arguments: [int], return: int },
  sigaction: { arguments: [int, "buffer", "buffer"], return: int },
  [exitFunction]: { arguments: [int], return: "void" },
  [errnoLocation]: { arguments: [], return: "pointer" },
} as const;

function bindLibc(): Libc | undefined {
  const ffi = withoutExperimentalWarning(() => process.getBuiltinModule("node:ffi"));
  if (ffi === undefined) return undefined;
  const { lib } = ffi.dlopen(null, {});
  // Binding one takes half a millisecond, and an exec needs two of them.
  const c = {} as ReturnType<typeof ffi.dlopen<typeof signatures>>["functions"];
  for (const [name, signature] of Object.entries(signatures)) {
    const define = (property: PropertyDescriptor) =>
      Object.defineProperty(c, name, { ...property, configurable: true });
    define({
      get() {
        const value: unknown = lib.getFunction(name, signature);
        define({ value });
        return value;
      },
    });
  }
  const status = struct();

  return {
    setDescriptorFlags: (fd, flags) => c.fcntl(fd, F_SETFD, flags),
    execve: (file, argv, env) => c.execve(terminate(file), pointersTo(argv), pointersTo(env)),
    spawn(file, argv, env, { descriptors, directory, terminal }) {
      const [attributes, actions] = [struct(), struct()];
      c.posix_spawnattr_init(attributes);
      // Not sigfillset: it omits 32 and 33, and glibc then ignores these in the child.
      c.posix_spawnattr_setsigdefault(attributes, struct().fill(0xff));
      // posix_spawnattr_init has set the group (0: a new one) and the mask (none).
      c.posix_spawnattr_setflags(
        attributes,
        POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK,
      );
      c.posix_spawn_file_actions_init(actions);
      if (terminal !== null) findOptional(foregroundAction)?.(actions, terminal);
      if (directory !== null) findOptional(directoryAction)?.(actions, directory);
      // Node has marked them close-on-exec: a dup2 to itself clears that flag, in the child alone.
      for (const fd of descriptors) c.posix_spawn_file_actions_adddup2(actions, fd, fd);
      const pid = struct();
      const errno = c.posix_spawn(
        pid,
        terminate(file),
        actions,
        attributes,
        pointersTo(argv),
        pointersTo(env),
      );
      if (errno !== 0) return { errno };
      return { pid: readInt(pid) };
    },
    waitForAny() {
      const pid = c.waitpid(-1, status, WNOHANG | WUNTRACED);
      if (pid > 0) return { pid, status: readInt(status) };
      return pid === 0 ? "running" : "none";
    },
    leaveDirectory() {
      if (findOptional(directoryAction) === null) return null;
      const directory = openSync(".", O_PATH);
      if (c.fchdir(directory) === 0) {
        process.chdir("/");
        return directory;
      }
      closeSync(directory);
      return null;
    },
    prctl: (option, value) => c.prctl(option, BigInt(value), 0n, 0n, 0n),
    getForegroundGroup: (terminal) => c.tcgetpgrp(terminal),
    setForegroundGroup: (terminal, group) => withSignalsBlocked(() => c.tcsetpgrp(terminal, group)),
    getTerminalState(terminal) {
      const state = struct();
      return c.tcgetattr(terminal, state) === 0 ? state : null;
    },
    setTerminalState: (terminal, state) =>
      withSignalsBlocked(() => c.tcsetattr(terminal, TCSANOW, state)),
    withSignalsBlocked,
    stopGroup(signal) {
      const [byDefault, handled] = [struct(), struct()];
      c.sigaction(signal, byDefault, handled);
      process.kill(0, signal);
      c.sigaction(signal, handled, byDefault);
    },
    getGroup: (pid) => c.getpgid(pid),
    trimHeap: () => findTrim()?.(0n),
    exitAtOnce: (code) => c[exitFunction](code),
    errno: () => ffi.getInt32(c[errnoLocation]()),
  };

  function withSignalsBlocked<T>(act: () => T): T {
    const [all, before] = [struct(), struct()];
    c.sigfillset(all);
    c.pthread_sigmask(SIG_SETMASK, all, before);
    try {
      return act();
    } finally {
      c.pthread_sigmask(SIG_SETMASK, before, all);
    }
  }

  /** A file action, where libc has it. */
  function findOptional(name: string) {
    try {
      return lib.getFunction(name, { arguments: ["buffer", int], return: int });
    } catch {
      return null;
    }
  }

  /** Not in musl. */
  function findTrim() {
    try {
      return lib.getFunction("malloc_trim", { arguments: ["uint64"], return: int });
    } catch {
      return null;
    }
  }

  function pointersTo(strings: readonly Uint8Array[]): Uint8Array {
    const terminated = strings.map(terminate);
    pointedTo.push(terminated);
    const pointers = new BigUint64Array(strings.length + 1);
    terminated.forEach((string, index) => (pointers[index] = ffi.getRawPointer(string)));
    return new Uint8Array(pointers.buffer);
  }
}

/** Zeroed, and not in a pool: memory that the collector does not move. */
function struct(): Uint8Array {
  return new Uint8Array(new ArrayBuffer(structSize));
}

function readInt(memory: Uint8Array): number {
  return new DataView(memory.buffer).getInt32(0, true);
}

function terminate(bytes: Uint8Array): Uint8Array {
  // Not a Buffer: a small one is a slice of a pool.
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}
