// Outside of a snapshot: what runs runs at once, and a lazy module is loaded when it is taken and held by its taker alone.
// Within one, test/process/builds/ shows the same.

import { expect, test } from "vitest";

import { lazyModule, runAtStart } from "../../../src/runtime/snapshot.ts";

test("starts at once", () => {
  let started = 0;
  runAtStart(() => started++);
  expect(started).toBe(1);
});

/** Each load gives another number. */
function countLoads() {
  let loads = 0;
  return lazyModule(async () => ++loads);
}

test("a module is loaded when it is taken, each time anew", async () => {
  const module = countLoads();
  expect([await module.take(), await module.take()]).toEqual([1, 2]);
});

test("a module that was loaded ahead is given once", async () => {
  const module = countLoads();
  expect([await module.load(), await module.load()]).toEqual([1, 1]);
  expect([await module.take(), await module.take()]).toEqual([1, 2]);
});

test("a module that was loaded ahead and released is loaded anew", async () => {
  const module = countLoads();
  await module.load();
  module.release();
  expect(await module.take()).toBe(2);
});
