// The kinds of tests: `unit` has no process and no database, `process` runs the built bundle against a real PostgreSQL
// and a real Alembic, `executable` does the same with the single executable, in the files where that can make a
// difference; `container` runs the images of Dockerfile.backend in a real engine, when all else is done. Run one kind with
// `npx vitest run --project unit`.

import path from "node:path";

import { defineConfig } from "vitest/config";

import SummaryReporter from "./test/summary-reporter.ts";

const { ENTRYPOINT_TEST_PYTHON = ".venv/bin/python" } = process.env;

const processTests = {
  globalSetup: ["test/process/global-setup.ts"],
  testTimeout: 60_000,
  hookTimeout: 60_000,
};

// The Python whose Alembic and uvicorn the tests use, as an absolute path.
const env = { ENTRYPOINT_TEST_PYTHON: path.resolve(ENTRYPOINT_TEST_PYTHON) };

export default defineConfig({
  test: {
    reporters: ["default", new SummaryReporter()],
    // Most of a process test is waiting, and the smallest machine in use has two cores.
    maxWorkers: 2,
    projects: [
      {
        test: { name: "unit", include: ["test/unit/**/*.test.ts"] },
      },
      {
        test: {
          ...processTests,
          name: "process",
          include: ["test/process/**/*.test.ts"],
          exclude: ["test/process/single-executable.test.ts"],
          env,
        },
      },
      {
        test: {
          ...processTests,
          name: "executable",
          include: [
            "test/process/{blog,boot,boot-signals,budget,downgrade,exec-fidelity,failures,freeze,history,lint,status,terminal,tls,user,wait}.test.ts",
            "test/process/supervise-{child,end,memory,peers,signals}.test.ts",
            "test/process/single-executable.test.ts",
          ],
          env: { ...env, ENTRYPOINT_TEST_EXECUTABLE: path.resolve("dist/entrypoint") },
        },
      },
      {
        test: {
          name: "container",
          include: ["test/container/**/*.test.ts"],
          globalSetup: ["test/container/global-setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          expect: { poll: { timeout: 30_000 } },
          // How long `docker stop` takes is measured, and six replicas fill a small machine.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
