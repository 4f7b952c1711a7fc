// Keeps Node from the standard descriptors; imported for its effect, before anything else. The first access to process.stdin,
// stdout or stderr makes a stream of it: a pipe or socket behind it becomes non-blocking, and large writes of the application
// that follows by exec fail with EAGAIN. Node itself accesses stderr whenever a socket closes (net.js compares the two),
// stream.pipe() stdout and stderr, assert looks for colours while it loads, and execa compares all three. So all three are
// replaced by objects that write with one system call and never make a stream.

import { EventEmitter } from "node:events";
import { writeSync } from "node:fs";

function createStandIn(fd: number): EventEmitter {
  const write = (text: string | Uint8Array): boolean => {
    // For Node's own warnings alone: src/log/log.ts writes to the descriptor itself.
    writeSync(fd, Buffer.from(text));
    return true;
  };
  return Object.assign(new EventEmitter(), { fd, isTTY: false, write });
}

for (const [fd, name] of ["stdin", "stdout", "stderr"].entries()) {
  Object.defineProperty(process, name, { value: createStandIn(fd), configurable: true });
}
