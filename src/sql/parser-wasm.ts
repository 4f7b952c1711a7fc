// Where the bytes of PostgreSQL's parser are: an asset of the single executable, else a file beside the bundle. The
// build has the parser's loader ask here (scripts/build.ts); its own way would be to look beside its source.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../exit-codes.ts";

/** The file's name beside the bundle, and among the assets of the single executable. */
export const parserFile = "libpg-query.wasm";

/**
 * `directory` is the bundle's. Throws Failure "bad-settings" where that has been copied without the file.
 * @public called by what scripts/build.ts puts in the place of the parser's loader
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
      { hint: `copy ${parserFile} to where entrypoint.js is, or use the single executable` },
    );
  }
}
