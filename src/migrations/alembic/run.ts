// One of Alembic's commands that only look, run for real by the migration command's program and options, and its output
// kept. What goes wrong is a NoAnswer: whoever asks knows what to do without one.

import { execFile } from "node:child_process";
import { findProgram } from "../../process/find-program.ts";
import type { Settings, Words } from "../../settings.ts";
import { askAlembic } from "../command.ts";

/** Alembic could not be asked, or has not answered. */
export class NoAnswer extends Error {
  readonly cure: string;

  constructor(
    message: string,
    cure = "see that the application is installed and has the variables that it reads at import",
  ) {
    super(message);
    this.cure = cure;
  }
}

interface Limits {
  readonly stop: AbortSignal;
  readonly timeoutMs: number;
}

/** `alembic history --verbose`, or `current`: its standard output. Throws NoAnswer, and Failure "not-found" or "not-executable". */
export async function runAlembic(
  settings: Pick<Settings, "migrate" | "env" | "cwd">,
  verb: "history" | "current",
  limits: Limits,
): Promise<string> {
  const words = askAlembic(settings.migrate ?? [], verb, ["--verbose"]);
  if (words === null) throw new NoAnswer("the migration command is not understood");
  const { stdout, failure } = await runForOutput(settings, words, limits);
  if (failure !== null) throw new NoAnswer(failure);
  return stdout;
}

/**
 * What a command of Alembic's has printed, and why it failed, if it has. Throws Failure "not-found" or "not-executable".
 */
export async function runForOutput(
  { env, cwd }: Pick<Settings, "env" | "cwd">,
  words: Words,
  { stop, timeoutMs }: Limits,
): Promise<{ stdout: string; failure: string | null }> {
  const program = findProgram(words[0], { path: env["PATH"], cwd });
  const [file, ...before] = [...program.shell, program.file];
  const options = { env: { ...env }, cwd, signal: stop, timeout: timeoutMs, maxBuffer: 2 ** 28 };
  return new Promise((resolve) => {
    execFile(file, [...before, ...words.slice(1)], options, (error, stdout, stderr) => {
      if (error === null) return resolve({ stdout, failure: null });
      // Alembic says "FAILED: …" on standard output, Flask-Migrate and Python on standard error.
      const last = /^ *FAILED: (.*)/m.exec(stdout)?.[1] ?? stderr.trim().split("\n").at(-1) ?? "";
      const why =
        error.killed === true ? `took longer than ${Math.ceil(timeoutMs / 1000)} s` : "failed";
      resolve({
        stdout,
        failure: `${words.join(" ")} ${why}${last === "" ? "" : `: ${last}`}`,
      });
    });
  });
}
