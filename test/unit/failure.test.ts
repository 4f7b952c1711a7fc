// The exit codes that others rely on: a signal's as a shell reports it, and one number for each class of
// failure.

import { expect, test } from "vitest";
import { exitCodes, Failure, Stopped } from "../../src/failure.ts";
import { signalExitCode } from "../../src/process/signal-table.ts";

test.each([
  ["SIGHUP", 129],
  ["SIGINT", 130],
  ["SIGQUIT", 131],
  ["SIGKILL", 137],
  ["SIGTERM", 143],
] as const)("%s is reported as %i", (signal, code) => {
  expect(signalExitCode(signal)).toBe(code);
});

test("a failed backfill exits as a failed migration does; no others share a code, and none is 0 or a signal's", () => {
  const { "backfill-failed": failedBackfill, ...others } = exitCodes;
  const codes = Object.values(others);
  expect(failedBackfill).toBe(exitCodes["migration-failed"]);
  expect(new Set(codes).size).toBe(codes.length);
  for (const code of codes) {
    expect(code).toBeGreaterThan(0);
    expect(code).toBeLessThanOrEqual(127);
  }
});

test("a failure keeps its cause, its cure and its facts", () => {
  const cause = new Error("why");
  expect(new Failure("ahead", "it is", { hint: "do", cause, details: { id: "a1" } })).toMatchObject(
    {
      code: "ahead",
      message: "it is",
      hint: "do",
      cause,
      details: { id: "a1" },
    },
  );
  expect(new Failure("ahead", "it is")).toMatchObject({ hint: undefined, details: {} });
});

test("being stopped names the signal", () => {
  expect(new Stopped("SIGTERM")).toMatchObject({
    signal: "SIGTERM",
    message: "stopped by SIGTERM",
  });
});
