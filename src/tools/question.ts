// A command of the migration tool's that only reads, and its output captured. What goes wrong is a NoAnswer: the caller knows what to
// do without an answer.

import type { Words } from "../context.ts";
import { describeWords } from "../log/words.ts";
import { captureOutput } from "../process/capture-output.ts";
import { findErrorLine } from "../process/error-line.ts";
import type { Place } from "./tool.ts";

/** Where it runs, and for how long it may. */
export interface Run extends Place {
  readonly timeoutMs: number;
}

/**
 * What a command has printed, and why it failed, if it has. Throws the reason of `stop`, and Failure "not-found"
 * or "not-executable".
 */
export async function runForOutput(
  words: Words,
  { env, cwd, stop, timeoutMs }: Run,
): Promise<{ stdout: string; stderr: string; failure: string | null }> {
  const { stdout, stderr, end } = await captureOutput(words, { env, cwd, stop, timeoutMs });
  if (end === "succeeded") return { stdout, stderr, failure: null };
  // Some tools say "FAILED: …" on standard output; Python writes on standard error.
  const last = /^ *FAILED: (.*)/m.exec(stdout)?.[1] ?? findErrorLine(stderr) ?? "";
  const why = end === "timed-out" ? `took longer than ${Math.ceil(timeoutMs / 1000)} s` : "failed";
  return {
    stdout,
    stderr,
    failure: `${describeWords(words)} ${why}${last === "" ? "" : `: ${last}`}`,
  };
}
