// Prints the run's result as the very last line, alone on it and uncoloured: `N passed, N failed`, and
// `, N skipped` where there are any. What keeps tests from running at all counts as failed too, so that
// "0 failed" always means that everything ran.

import { writeSync } from "node:fs";

import type { Reporter, TestModule } from "vitest/node";

type RunEnd = Parameters<NonNullable<Reporter["onTestRunEnd"]>>;

export default class SummaryReporter implements Reporter {
  #passed = 0;
  #failed = 0;
  #skipped = 0;

  onInit(): void {
    // At the exit, when the other reporters have had their say and the set-ups are torn down. It comes too
    // when a global set-up throws, which no other hook of a reporter is told of.
    process.once("exit", (code) => {
      const unexplained = code !== 0 && this.#failed === 0;
      if (unexplained) this.#failed = 1;
      if (code === 0 && this.#failed > 0) process.exitCode = 1;
      const skipped = this.#skipped > 0 ? `, ${this.#skipped} skipped` : "";
      writeSync(1, `${this.#passed} passed, ${this.#failed} failed${skipped}\n`);
    });
  }

  onTestRunEnd(modules: RunEnd[0], unhandledErrors: RunEnd[1], reason: RunEnd[2]): void {
    this.#passed = 0;
    this.#failed = unhandledErrors.length;
    this.#skipped = 0;
    for (const module of modules) this.#countModule(module);
    if (reason !== "passed" && this.#failed === 0) this.#failed = 1;
  }

  #countModule(module: TestModule): void {
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") this.#passed += 1;
      else if (state === "failed") this.#failed += 1;
      else this.#skipped += 1;
    }
    // A file that cannot be loaded and a failed beforeAll have errors of their own and no failed test.
    if (module.errors().length > 0) this.#failed += 1;
    for (const suite of module.children.allSuites()) {
      if (suite.errors().length > 0) this.#failed += 1;
    }
  }
}
