// What the shell does with system calls and JavaScript cannot: libc through `node:ffi` (Node >= 26.9; from
// 26.1 behind a flag).
// Loaded only when something needs it, and it may be absent: every caller has a plain way without it.

/** The functions of libc in use, each returning -1 on failure, with the errno behind `errno()`. */
export type Libc = {
  /** fcntl(fd, F_SETFD, flags): 0 lets the descriptor survive an exec. */
  setDescriptorFlags(fd: number, flags: number): number;
  /** execve with the exact bytes given: no string is decoded or encoded on the way. */
  execve(file: Uint8Array, argv: readonly Uint8Array[], env: readonly Uint8Array[]): number;
  errno(): number;
};

const F_SETFD = 2;

/** Where glibc and musl keep the errno of the calling thread. */
const errnoLocation = "__errno_location";

/** What the kernel is about to read must not be collected: a pointer keeps nothing alive. */
const pointedTo: unknown[] = [];

/** libc, or undefined where this runtime has no `node:ffi` (or may not use it). */
export function loadLibc(): Libc | undefined {
  try {
    return bindLibc();
  } catch {
    return undefined;
  }
}

/** Whether `loadLibc` can be expected to succeed, without the 8 ms that it takes. */
export function hasLibc(): boolean {
  // getBuiltinModule, not an import: the bundle must load on Node 20, where the module does not exist.
  return process.getBuiltinModule("module").isBuiltin("node:ffi");
}

/**
 * Runs `use` and drops the ExperimentalWarning that it raises, and no other: the features used here have
 * a fallback, so that a user can do nothing about the warning.
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

function bindLibc(): Libc | undefined {
  const ffi = withoutExperimentalWarning(() => process.getBuiltinModule("node:ffi"));
  if (ffi === undefined) return undefined;
  // fcntl is variadic; on Linux an int goes into the same register either way (x86-64, arm64, riscv64).
  const { functions } = ffi.dlopen(null, {
    fcntl: { arguments: ["int32", "int32", "int32"], return: "int32" },
    execve: { arguments: ["buffer", "buffer", "buffer"], return: "int32" },
    [errnoLocation]: { arguments: [], return: "pointer" },
  });

  return {
    setDescriptorFlags: (fd, flags) => functions.fcntl(fd, F_SETFD, flags),
    execve: (file, argv, env) => {
      return functions.execve(terminate(file), pointersTo(argv), pointersTo(env));
    },
    errno: () => ffi.getInt32(functions[errnoLocation]()),
  };

  function pointersTo(strings: readonly Uint8Array[]): Uint8Array {
    const terminated = strings.map(terminate);
    pointedTo.push(terminated);
    const pointers = new BigUint64Array(strings.length + 1);
    terminated.forEach((string, index) => (pointers[index] = ffi.getRawPointer(string)));
    return new Uint8Array(pointers.buffer);
  }
}

function terminate(bytes: Uint8Array): Uint8Array {
  // Memory of its own: a small Buffer is a slice of a pool.
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}
