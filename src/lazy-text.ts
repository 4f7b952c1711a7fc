// The text of a module that is loaded when it is wanted, in the single executable: scripts/lazy-modules.ts has put it there.

import { readFileSync } from "node:fs";
import { startupSnapshot } from "node:v8";

/** Its name in the folder that the snapshot is taken in, and among the executable's assets. */
export function lazyFile(name: string): string {
  return `${name}.lazy.js`;
}

export function readLazyText(name: string): string {
  const file = lazyFile(name);
  if (startupSnapshot.isBuildingSnapshot()) return readFileSync(file, "utf8");
  // Not an import: see source-map.ts.
  return process.getBuiltinModule("node:sea").getAsset(file, "utf8");
}
