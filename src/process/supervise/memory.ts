// A supervisor is idle while the application runs: the memory that the start and the boot have used is returned to the
// kernel, once. Node would keep it for further work.

import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { Libc } from "../libc.ts";

/** An application is often sent a signal in its first moments, and must not wait for this. */
const quietMs = 500;

/** In pieces of 1 to 10 ms: a signal that arrives meanwhile is forwarded after the piece. */
export async function releaseMemory(libc: Libc): Promise<void> {
  await sleep(quietMs);
  // Else it keeps the freed pages in a pool, and a timer returns them 8 s later.
  setFlagsFromString("--no-memory-pool");
  // V8 exposes its collector in no other way, and to new contexts alone.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as NodeJS.GCFunction;
  await turn();
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
  await turn();
  libc.trimHeap();
}

/** Lets the event loop deliver signals. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
