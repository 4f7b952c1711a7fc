// The entry of the bundle in the single executable's snapshot: the program, with its commands loaded and a start rehearsed.
// Nothing of the rehearsal stays: it is a lazy module that nothing holds.

import { startClocks } from "./clock.ts";

import { existsSync, unlinkSync } from "node:fs";

import { commands } from "../../entrypoint.ts";
import { lazyFile } from "../../src/runtime/snapshot.ts";

async function prepare(): Promise<void> {
  const { execute } = await commands.load();
  const text = lazyFile("rehearsal");
  // Where a rehearsal has failed, the build repeats without.
  if (existsSync(text)) {
    const { rehearse } = await import("./rehearsal.ts");
    await rehearse(execute);
    // Reports to executable.ts that it has come to its end.
    unlinkSync(text);
  }
  startClocks();
}

void prepare();
