// A boot without a file of settings: it looks once for each of the two names, and reads nothing.
// @runs-on bundle, executable

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished } from "vitest";

import { entrypointCommand, plainEnvironment } from "../harness/entrypoint.ts";
import { findMissing, testUnless } from "../supervise/harness/supervised.ts";

testUnless(findMissing("strace"))("looks once for each file that is not there", () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-budget-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const output = join(directory, "strace");
  const strace = ["-f", "-qq", "-e", "trace=openat,statx", "-o", output];
  const words = [...strace, ...entrypointCommand(), "--no-migrate", "true"];
  const { status, stderr } = spawnSync("strace", words, {
    cwd: directory,
    env: plainEnvironment(),
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
  const pattern = /(\w+)\([^"]*"(?:[^"]*\/)?((?:entrypoint|pyproject)\.toml)"/g;
  const calls = [...readFileSync(output, "utf8").matchAll(pattern)];
  expect(calls.map(([, call, file]) => `${call} ${file}`)).toEqual([
    "statx entrypoint.toml",
    "statx pyproject.toml",
  ]);
});
