// Files that may be a pipe or a device, over which nothing may be waited for.

import { constants, openSync, closeSync, readFileSync, readSync, statSync } from "node:fs";

/** Throws, as where a file cannot be read, if it is a pipe or a device: reading it might never end. */
export function requireRegularFile(path: string): void {
  const status = statSync(path);
  // A directory is an error of its own.
  if (status.isFile() || status.isDirectory()) return;
  throw Object.assign(new Error(`${path} is not a regular file`), {
    code: "ENXIO",
    syscall: "open",
  });
}

const limitMs = 5_000;
const pauseMs = 20;

/** Reads a file to its end; a pipe, which a secrets manager may fill once it is opened, for 5 s at most. */
export function readWithinLimit(path: string): string {
  if (!statSync(path).isFIFO()) return readFileSync(path, "utf8");
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return readPipe(file, path);
  } finally {
    closeSync(file);
  }
}

function readPipe(file: number, path: string): string {
  const chunks: Buffer[] = [];
  const buffer = Buffer.alloc(65_536);
  const endMs = performance.now() + limitMs;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const count = readNow(file, buffer);
    if (count !== null && count > 0) {
      chunks.push(Buffer.from(buffer.subarray(0, count)));
      continue;
    }
    // The end comes before the first writer too.
    if (count === 0 && chunks.length > 0) return Buffer.concat(chunks).toString();
    if (performance.now() > endMs) {
      throw Object.assign(new Error(`nobody has written all of the pipe ${path}`), {
        code: `a pipe that has not ended within ${limitMs / 1000} s`,
        syscall: "read",
      });
    }
    Atomics.wait(pause, 0, 0, pauseMs);
  }
}

/** Null where there is nothing yet. */
function readNow(file: number, buffer: Buffer): number | null {
  try {
    return readSync(file, buffer, 0, buffer.length, null);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return null;
    throw error;
  }
}
