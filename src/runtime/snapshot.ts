// The program's side of the start-up snapshot from which the single executable starts (scripts/build/README.md). The bundle
// has no snapshot: there the same functions run and load at once.

import { readFileSync } from "node:fs";
import { startupSnapshot } from "node:v8";

/** Calls `start` now or, while a snapshot is built, at each start from it. */
export function runAtStart(start: () => void): void {
  if (startupSnapshot.isBuildingSnapshot()) startupSnapshot.setDeserializeMainFunction(start);
  else start();
}

export interface LazyModule<T> {
  /** Loads the module ahead; it is held until it is taken or released. */
  load(): Promise<T>;
  /** The module, which is held no longer: the collector frees it with the caller's reference. */
  take(): Promise<T>;
  release(): void;
}

/** @param load imports the module dynamically: each call gives another instance. */
export function lazyModule<T>(load: () => Promise<T>): LazyModule<T> {
  let held: Promise<T> | null = null;
  return {
    load: () => (held ??= load()),
    take() {
      const module = held ?? load();
      held = null;
      return module;
    },
    release() {
      held = null;
    },
  };
}

/** The file of a lazy module's text: in the folder where the snapshot is built, and among the executable's assets. */
export function lazyFile(name: string): string {
  return `${name}.lazy.js`;
}

/** @public called by what scripts/build/lazy-modules.ts puts in the place of `import()` in the single executable */
export function readLazyText(name: string): string {
  const file = lazyFile(name);
  if (startupSnapshot.isBuildingSnapshot()) return readFileSync(file, "utf8");
  // Not an import: see source-map.ts.
  return process.getBuiltinModule("node:sea").getAsset(file, "utf8");
}
