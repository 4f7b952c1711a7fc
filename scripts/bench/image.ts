// What entrypoint adds to an image: its files, as they are and as a registry keeps them. No engine is needed to know.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { gzipSync, zstdCompressSync } from "node:zlib";

import type { Findings } from "./findings.ts";
import { executable } from "./place.ts";

const mega = 1e6;

export async function benchImage(): Promise<Findings> {
  const libraries = execFileSync("ldd", [executable], { encoding: "utf8" });
  const libatomic = /libatomic\.so\.1 => (\S+)/.exec(libraries)?.[1];
  const files = [executable, ...(libatomic === undefined ? [] : [libatomic])].map((path) =>
    readFileSync(path),
  );
  const sum = (sizes: readonly number[]): number => sizes.reduce((a, b) => a + b, 0);
  const sizes = {
    "as it is": sum(files.map(({ length }) => length)),
    gzip: sum(files.map((file) => gzipSync(file).length)),
    zstd: sum(files.map((file) => zstdCompressSync(file).length)),
  };
  const show = (bytes: number): string => `${(bytes / mega).toFixed(1)} MB`;
  return {
    rows: [
      {
        what: "the image: bytes added, compressed",
        against: "nothing",
        goal: "shown",
        measured: `${show(sizes.gzip)} by gzip, ${show(sizes.zstd)} by zstd, ${show(sizes["as it is"])} as it is`,
        met: null,
        cause: "",
      },
    ],
    figures: Object.entries(sizes).map(([who, bytes]) => ({
      what: "the image: bytes added",
      who,
      unit: "bytes",
      median: bytes,
      p10: bytes,
      p90: bytes,
      rounds: 1,
    })),
    charts: [],
  };
}
