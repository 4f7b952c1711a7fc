// For an internal error alone: maps the places in its stack from the bundle to the TypeScript source. With
// `node --enable-source-maps` every start would read the map.

import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapPayload } from "node:module";

/** The map's name among the assets of the single executable. */
export const sourceMapAsset = "entrypoint.map";

/** The stack with each place that the map knows written as the source's `path:line:column`; as it is where there is no map. */
export function mapStack(stack: string): string {
  const maps = new Map<string, SourceMap | null>();
  return stack.replaceAll(
    /(\(|at )((?:file:\/\/)?[^\s()]+):(\d+):(\d+)(?=\)|$)/gm,
    (place, before: string, file: string, line: string, column: string) => {
      if (!maps.has(file)) maps.set(file, readMap(file));
      const origin = maps.get(file)?.findOrigin(Number(line), Number(column));
      if (origin === undefined || !("fileName" in origin)) return place;
      const source = origin.fileName.replace(/^(\.\.\/)+/, "");
      return `${before}${source}:${origin.lineNumber}:${origin.columnNumber}`;
    },
  );
}

function readMap(file: string): SourceMap | null {
  if (file.startsWith("node:")) return null;
  try {
    const [bundle = "", lazy] = file.split("#");
    const text = readAsset() ?? readFileSync(`${bundle}.map`, "utf8");
    const map = JSON.parse(text) as SourceMapPayload & { lazy: Record<string, SourceMapPayload> };
    return new SourceMap((lazy === undefined ? map : map.lazy[lazy]) as SourceMapPayload);
  } catch {
    return null;
  }
}

function readAsset(): string | null {
  // Not an import: the bundle must load on Node 20, which does not have all of this module.
  const sea = process.getBuiltinModule("node:sea");
  return sea.isSea() ? sea.getAsset(sourceMapAsset, "utf8") : null;
}
