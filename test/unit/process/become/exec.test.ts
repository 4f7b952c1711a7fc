import { expect, test } from "vitest";

import {
  describeError,
  reportsFailure,
  restoreBytes,
} from "../../../../src/process/become/exec.ts";

test.each([
  ["22.23.3", false],
  ["24.21.0", false],
  ["26.0.0", false],
  ["26.1.0", true],
  ["26.10.0", true],
  ["27.0.0", true],
])("a failed execve throws in Node %s: %s", (version, throws) => {
  expect(reportsFailure(version)).toBe(throws);
});

test.each([
  ["ENOENT", "not-found", "cannot start app: /app or its interpreter is missing"],
  ["ENOEXEC", "not-executable", "cannot start app: exec format error"],
  ["E2BIG", "not-executable", "cannot start app: arguments and environment too long"],
  ["EAGAIN", "not-executable", "cannot start app: the limit of processes is reached"],
  ["ETXTBSY", "not-executable", "cannot start app: /app: ETXTBSY"],
])("%s is %s", (errno, code, message) => {
  const program = { name: "app", file: "/app", shell: [], doubt: undefined };
  expect(describeError(program, errno)).toMatchObject({ code, message });
});

test("a text that was decoded with a loss gets its bytes back, another stays itself", () => {
  const original = Buffer.from("A=\xe9t\xe9", "latin1");
  expect(restoreBytes("A=\ufffdt\ufffd", [original])).toBe(original);
  expect(restoreBytes("B=\ufffd", [original])).toEqual(Buffer.from("B=\ufffd"));
  expect(restoreBytes("A=été", [original])).toEqual(Buffer.from("A=été"));
});
