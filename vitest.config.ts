// The kinds of tests: `unit` has no process and no database, `process` runs the built bundle against a real PostgreSQL
// and a real Alembic, `executable` does the same with the single executable, in the files whose
// header says so (`@runs-on`); `container` runs the images of Dockerfile.backend in a real engine, when all else is done. Run one kind with
// `npx vitest run --project unit`.

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

import { defineConfig } from "vitest/config";

import LongestFirst from "./test/harness/longest-first.ts";
import SummaryReporter from "./test/harness/summary-reporter.ts";

const { ENTRYPOINT_TEST_PYTHON = ".venv/bin/python" } = process.env;

// A busy machine takes its time; what never comes fails all the same.
const patient = {
  testTimeout: 300_000,
  hookTimeout: 300_000,
  expect: { poll: { timeout: 60_000 } },
};

const processTests = {
  ...patient,
  globalSetup: ["test/process/harness/global-setup.ts"],
};

/** The process tests of one build. A file runs on the bundle, unless a line `// @runs-on BUILD, BUILD` names others. */
function listTests(build: "bundle" | "executable"): string[] {
  const files = readdirSync("test/process", { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts") && !file.includes("node_modules"))
    .map((file) => path.join("test/process", file));
  return files.filter((file) => {
    const marker = /^\/\/ @runs-on (.*)$/m.exec(readFileSync(file, "utf8"))?.[1] ?? "bundle";
    return marker.split(", ").includes(build);
  });
}

// The Python whose Alembic and uvicorn the tests use, as an absolute path.
const env = { ENTRYPOINT_TEST_PYTHON: path.resolve(ENTRYPOINT_TEST_PYTHON) };

export default defineConfig({
  test: {
    reporters: ["default", new SummaryReporter()],
    // Most of a process test is waiting, and the smallest machine in use has two cores.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...patient,
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
        },
      },
      {
        test: {
          ...processTests,
          name: "process",
          include: listTests("bundle"),
          env,
        },
      },
      {
        test: {
          ...processTests,
          name: "executable",
          include: listTests("executable"),
          env: { ...env, ENTRYPOINT_TEST_EXECUTABLE: path.resolve("dist/entrypoint") },
        },
      },
      {
        test: {
          ...patient,
          name: "container",
          include: ["test/container/**/*.test.ts"],
          globalSetup: ["test/container/global-setup.ts"],
          // How long `docker stop` takes is measured, and six replicas fill a small machine.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
