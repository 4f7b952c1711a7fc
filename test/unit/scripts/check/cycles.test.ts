// No file of src/ reaches itself over its imports. The linter passes over the files that are loaded later; this does not.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

const files = readdirSync("src", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => join("src", file));

const imports = new Map(
  files.map((file) => [
    file,
    Array.from(
      readFileSync(file, "utf8").matchAll(/(?:\bfrom |\bimport\()"(\.[^"]+)"/g),
      ([, specifier = ""]) => join(dirname(file), specifier),
    ),
  ]),
);

/** The files from `start` back to itself; null where no way leads back. */
function findCycle(start: string): readonly string[] | null {
  const seen = new Set<string>();
  const follow = (path: readonly string[]): readonly string[] | null => {
    for (const next of imports.get(path.at(-1) ?? "") ?? []) {
      if (next === start) return [...path, next];
      if (seen.has(next)) continue;
      seen.add(next);
      const found = follow([...path, next]);
      if (found !== null) return found;
    }
    return null;
  };
  return follow([start]);
}

test("there is no cycle of imports", () => {
  expect(imports.get("src/commands/run.ts")).toContain("src/failure.ts");
  expect(files.map(findCycle).find((cycle) => cycle !== null)).toBeUndefined();
});
