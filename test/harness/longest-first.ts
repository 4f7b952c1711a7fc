// The order of the test files: those that take long come first, so that none of them runs alone at the end. Vitest itself has
// nothing to go by but their sizes when it has not run them before.

import { readFileSync } from "node:fs";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const isLong = ({ moduleId }: TestSpecification) =>
  /^\/\/ @takes long$/m.test(readFileSync(moduleId, "utf8"));

export default class LongestFirst extends BaseSequencer {
  /** A file with a line `// @takes long` comes before all others. */
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- a method of the sequencer
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}
