// Keeps Node's hands off our standard descriptors; imported for its effect, before anything else. The first touch of
// process.stdin, stdout or stderr makes a stream of it, a pipe or socket behind it becomes non-blocking, and the
// application that comes after us by exec finds its large writes failing with EAGAIN.
//
// To keep away from them ourselves is not enough. Node touches stderr whenever any socket closes (net.js compares the
// two), stream.pipe() touches stdout and stderr, assert looks for colours while it loads, and execa compares
// all three. So they get stand-ins, which write with one system call and never make a stream.

import { EventEmitter } from "node:events";
import { writeSync } from "node:fs";

function createStandIn(fd: number): EventEmitter {
  const write = (text: string | Uint8Array): boolean => {
    // For Node's own warnings alone: log.ts writes to the descriptor itself.
    writeSync(fd, Buffer.from(text));
    return true;
  };
  return Object.assign(new EventEmitter(), { fd, isTTY: false, write });
}

for (const [fd, name] of ["stdin", "stdout", "stderr"].entries()) {
  Object.defineProperty(process, name, { value: createStandIn(fd), configurable: true });
}
