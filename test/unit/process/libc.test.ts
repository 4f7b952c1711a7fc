import { once } from "node:events";

import { expect, test } from "vitest";

import { withoutExperimentalWarning } from "../../../src/process/libc.ts";

test("an experimental feature's warning is dropped, any other is not, and only meanwhile", async () => {
  const before = Object.getOwnPropertyDescriptor(process, "emitWarning");
  const warned = once(process, "warning");
  const result = withoutExperimentalWarning(() => {
    process.emitWarning("of a feature", "ExperimentalWarning");
    process.emitWarning("of something old", "DeprecationWarning");
    return 42;
  });
  expect(result).toBe(42);
  expect(await warned).toMatchObject([{ message: "of something old" }]);
  expect(Object.getOwnPropertyDescriptor(process, "emitWarning")).toEqual(before);
});
