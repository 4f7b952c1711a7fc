// Where the bytes of PostgreSQL's parser are: an asset of the single executable, else a file beside the bundle. The
// build makes the parser's loader call this (scripts/build/stand-ins.ts) instead of looking beside its own source.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../failure.ts";

/** The file's name beside the bundle, and among the assets of the single executable. */
export const parserFile = "libpg-query.wasm";

/**
 * `directory` is the bundle's. Throws Failure "bad-settings" where that was copied without the file.
 * @public called by the loader that scripts/build/stand-ins.ts writes
 */
export function readParserWasm(directory: string): Uint8Array {
  // Not an import: the bundle must load on Node 20, which does not have all of this module.
  const sea = process.getBuiltinModule("node:sea");
  if (sea.isSea()) return new Uint8Array(sea.getRawAsset(parserFile));
  try {
    return readFileSync(join(directory, parserFile));
  } catch (error) {
    throw new Failure(
      "bad-settings",
      `cannot read PostgreSQL's parser: ${(error as Error).message}`,
      { hint: `copy ${parserFile} beside entrypoint.js, or use the single executable` },
    );
  }
}
