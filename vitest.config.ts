// Two kinds of tests: `unit` has no process and no database, `process` runs the built bundle against a
// real PostgreSQL and a real Alembic. Run one kind with `npx vitest run --project unit`.

import path from "node:path";

import { defineConfig } from "vitest/config";

import SummaryReporter from "./test/summary-reporter.ts";

const { ENTRYPOINT_TEST_PYTHON = ".venv/bin/python" } = process.env;

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
          name: "process",
          include: ["test/process/**/*.test.ts"],
          globalSetup: ["test/process/global-setup.ts"],
          // The Python whose Alembic and uvicorn the tests use, as an absolute path.
          env: { ENTRYPOINT_TEST_PYTHON: path.resolve(ENTRYPOINT_TEST_PYTHON) },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
