// A line of the log as people read it: one line of text an event, or what a terminal shows.

import { describe, expect, test } from "vitest";
import { formatPretty, formatText } from "../../../src/log/text.ts";

const time = "2026-11-23T11:27:52.066Z";

function lineOf(details: Record<string, unknown>): string {
  return `${JSON.stringify({ level: "info", time, event: "starting", msg: "Starting", ...details })}\n`;
}

describe("text", () => {
  test.each([
    ["a message", {}, `${time} INFO starting: Starting`],
    [
      "the durations of a start's steps, and no other detail",
      { app: ["true"], waitMs: 31, inspectMs: 0 },
      `${time} INFO starting: Starting (wait 31 ms, inspect 0 ms)`,
    ],
    [
      "no durations of another event",
      { event: "lock-wait", msg: "Waiting", waitedMs: 12 },
      `${time} INFO lock-wait: Waiting`,
    ],
    [
      "several problems, and the cure",
      { level: "error", event: "bad-settings", msg: "2: a; b", problems: ["a", "b"], hint: "mend" },
      `${time} ERROR bad-settings: 2: a; b; cure: mend`,
    ],
    [
      "a message of several lines, with the words of others",
      { level: "warn", event: "blocked", msg: "select 1,\r\n\t 2\n\u001B[31mred\u0007" },
      `${time} WARN blocked: select 1, 2 \\x1b[31mred\\x07`,
    ],
    [
      "a stack",
      { level: "fatal", event: "internal-error", msg: "it", err: { stack: "E: it\n    at x" } },
      `${time} FATAL internal-error: it E: it at x`,
    ],
  ])("%s is one line", (_, details, expected) => {
    expect(formatText(lineOf(details))).toBe(`${expected}\n`);
  });
});

describe("pretty", () => {
  const shown = (details: Record<string, unknown>, colours = false) =>
    formatPretty(lineOf(details), colours).replace(/^\[\d\d:\d\d:\d\d\]/, "[time]");

  test.each([
    ["a message", {}, "[time] INFO: Starting\n"],
    [
      "several problems and the cure have lines of their own",
      { level: "error", msg: "2 are wrong: a; b", problems: ["a", "b"], hint: "mend" },
      "[time] ERROR: 2 are wrong:\n  a\n  b\n  cure: mend\n",
    ],
    [
      "a stack stays as it is, and a cursor where it is",
      { level: "fatal", msg: "it\u001B[2J", err: { stack: "E: it\n    at x" } },
      "[time] FATAL: it\\x1b[2J\nE: it\n    at x\n",
    ],
  ])("%s", (_, details, expected) => {
    expect(shown(details)).toBe(expected);
  });

  test.each([
    ["debug", "\u001B[90mDEBUG\u001B[39m"],
    ["info", "\u001B[32mINFO\u001B[39m"],
    ["warn", "\u001B[33mWARN\u001B[39m"],
    ["error", "\u001B[31mERROR\u001B[39m"],
    ["fatal", "\u001B[41mFATAL\u001B[49m"],
  ])("%s in colours", (level, label) => {
    expect(shown({ level }, true)).toBe(`[time] ${label}: \u001B[36mStarting\u001B[39m\n`);
  });
});
