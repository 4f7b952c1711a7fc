// What /proc/PID/stat says, whatever a process calls itself.

import { expect, test } from "vitest";
import { parseStat } from "../../../src/process/groups.ts";

test.each(["sh", "my app", "a) S 1 2", "(", ")", "x)\n", ""])("a process named %j", (name) => {
  const stat = `4242 (${name}) S 17 4000 3999 0 -1 4194560 127 0`;
  expect(parseStat(stat)).toEqual({ pid: 4242, parent: 17, group: 4000, name, zombie: false });
});

test.each([
  ["R", false],
  ["S", false],
  ["D", false],
  ["T", false],
  ["t", false],
  ["Z", true],
  ["X", true],
])("a process in the state %s is a zombie: %s", (state, zombie) => {
  expect(parseStat(`12 (sh) ${state} 1 12 12 0`).zombie).toBe(zombie);
});
