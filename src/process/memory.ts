// A supervisor idles for as long as the application runs: what the start and the boot have left in its memory goes back to
// the kernel, once. Node would keep it, since it takes a process for one that is about to work.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { Libc } from "./libc.ts";

/** Takes 10 to 20 ms. */
export function releaseMemory(libc: Libc): void {
  // The pages that it frees would be kept for another use, and given back by a timer 8 s later.
  setFlagsFromString("--no-memory-pool");
  // V8 has no other door to its collector, and gives it to new contexts alone.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as NodeJS.GCFunction;
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
  libc.trimHeap();
}
