// Real migration tools in a test: a project of theirs in a folder that ends with it, and the tool by itself.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

import { plainEnvironment } from "../../harness/entrypoint.ts";
import { commandOf, modules, pythonPath, type RealTool, type TestMigration } from "./real-tools.ts";

/** A folder with these migrations; `before` is emptied first. */
export function writeProject(tool: RealTool, migrations: readonly TestMigration[]): string {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-tool-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  symlinkSync(modules, join(cwd, "node_modules"));
  tool.write(cwd, migrations);
  return cwd;
}

/** Runs the tool by itself. */
export function runBare(tool: RealTool, cwd: string, url: string) {
  const [program = "", ...args] = commandOf(tool, url).split(" ");
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd,
    env: toolEnvironment(url),
    encoding: "utf8",
  });
  return { code: status, output: stdout + stderr };
}

export function toolEnvironment(url: string): NodeJS.ProcessEnv {
  // A server without TLS: each driver has a default of its own.
  const environment = plainEnvironment({
    DATABASE_URL: url,
    PGSSLMODE: "disable",
    PYTHONPATH: pythonPath,
  });
  return { ...environment, PATH: `${join(process.execPath, "..")}:${environment["PATH"]}` };
}
