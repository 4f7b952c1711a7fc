// What a shell's `exec` passes on: the descriptors and the bytes that the parent passed to this process. Node marks the
// descriptors close-on-exec and decodes the bytes as UTF-8 before entrypoint's first line runs. This file detects what
// there was, so that exec.ts can restore it or report the loss.

import { isUtf8 } from "node:buffer";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";

export type Inheritance = {
  /**
   * The descriptors above 2 that the parent left open and Node has marked close-on-exec.
   */
  readonly descriptors: readonly number[];
  /** Those that Node has not marked: it stops at the first gap after 15. */
  readonly unmarked: readonly number[];
  /** The words of the command line and the `NAME=value` entries of the environment that are not UTF-8. */
  readonly undecodable: readonly Uint8Array[];
  /** The parent's pid. */
  readonly parent: number;
};

/** An open descriptor as /proc shows it. */
export type OpenDescriptor = {
  fd: number;
  /** The link in /proc/self/fd: a path, `pipe:[15304]`, `anon_inode:[eventpoll]`. */
  target: string;
  closeOnExec: boolean;
};

const O_CLOEXEC = 0o2000000;

/**
 * Reads what was inherited. Call it before anything else is opened: a descriptor of entrypoint's own cannot be
 * distinguished from an inherited one. Without /proc nothing is detected.
 */
export function readInheritance(): Inheritance {
  const open = listOpenDescriptors();
  return {
    descriptors: selectInherited(open),
    // Node has marked all of its own.
    unmarked: open.filter(({ fd, closeOnExec }) => fd > 2 && !closeOnExec).map(({ fd }) => fd),
    undecodable: ["/proc/self/cmdline", "/proc/self/environ"].flatMap((file) =>
      selectUndecodable(readBytes(file)),
    ),
    parent: process.ppid,
  };
}

/**
 * Of all open descriptors, those that were inherited and that an exec would close; ordered by number.
 *
 * Node's own, at start-up, are epoll and eventfd descriptors and io_uring rings (libuv's loops), and pipes with both ends
 * in this process (libuv's signal pipes, and the one that it uses as a lock). The kernel assigns the lowest free number,
 * and Node first opens an eventpoll: whatever is below that was there before, even if it looks like Node's (the
 * jobserver pipe of make, at 3 and 4).
 */
export function selectInherited(open: readonly OpenDescriptor[]): number[] {
  const byNumber = open.toSorted((a, b) => a.fd - b.fd);
  const firstOfNode =
    byNumber.find(({ target }) => target === "anon_inode:[eventpoll]")?.fd ?? Infinity;
  const isOfNode = ({ fd, target }: OpenDescriptor): boolean =>
    fd >= firstOfNode &&
    (/^anon_inode:\[(eventpoll|eventfd|io_uring)\]$/.test(target) ||
      (target.startsWith("pipe:") &&
        byNumber.some(
          (other) => other.fd !== fd && other.fd > firstOfNode && other.target === target,
        )));

  return byNumber
    .filter((descriptor) => descriptor.fd > 2 && descriptor.closeOnExec && !isOfNode(descriptor))
    .map(({ fd }) => fd);
}

/** Of NUL-terminated strings (as in /proc/self/environ), those that are not UTF-8. */
export function selectUndecodable(block: Uint8Array): Uint8Array[] {
  if (isUtf8(block)) return [];
  const strings: Uint8Array[] = [];
  for (let start = 0; start < block.length;) {
    const end = block.indexOf(0, start);
    const string = block.subarray(start, end === -1 ? block.length : end);
    if (!isUtf8(string)) strings.push(string);
    start += string.length + 1;
  }
  return strings;
}

function listOpenDescriptors(): OpenDescriptor[] {
  // All links first: reading a file opens a descriptor, which may reuse the number of the directory's listing.
  const links = readNames("/proc/self/fd").flatMap((name) => {
    try {
      return [{ fd: Number(name), target: readlinkSync(`/proc/self/fd/${name}`) }];
    } catch {
      return []; // That of the directory itself, closed by now.
    }
  });
  return links.flatMap(({ fd, target }) => {
    const flags = readFlags(fd);
    return flags === null ? [] : [{ fd, target, closeOnExec: (flags & O_CLOEXEC) !== 0 }];
  });
}

/** "pos:", then "flags:", each with an octal number. */
const info = Buffer.alloc(128);

/** Null where it is closed by now. Every start reads twenty of them: three system calls each, and no more. */
function readFlags(fd: number): number | null {
  try {
    const file = openSync(`/proc/self/fdinfo/${fd}`, "r");
    const text = info.toString("latin1", 0, readSync(file, info));
    closeSync(file);
    const at = text.indexOf("flags:");
    return at === -1 ? null : Number.parseInt(text.slice(at + "flags:".length), 8);
  } catch {
    return null;
  }
}

function readNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch {
    return Buffer.alloc(0);
  }
}
