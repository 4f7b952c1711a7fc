// Two writers and one log: what a command says by pino and what a supervisor says without it cannot be told apart.

import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";

const fixture = join(import.meta.dirname, "fixtures/log-lines.ts");

test.for([
  ["json", "trace"],
  ["json", "warn"],
  ["json", "silent"],
  ["pretty", "info"],
] as const)("%s, %s", async ([format, level]) => {
  const [plain, pino] = await Promise.all(
    ["plain", "pino"].map(async (kind) => {
      const { stderr } = await execa(process.execPath, [fixture, kind, format, level]);
      return stderr.replaceAll(/"time":"[^"]*"|\d\d:\d\d:\d\d/g, "");
    }),
  );
  expect(plain).toBe(pino);
  expect(plain === "").toBe(level === "silent");
});
