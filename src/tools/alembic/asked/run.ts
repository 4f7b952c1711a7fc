// A command of Alembic's that only reads, run by the migration command's own program and options, and its output captured.
// What goes wrong is a NoAnswer: the caller knows what to do without an answer.

import { NoAnswer } from "../../../failure.ts";
import { runForOutput, type Run } from "../../question.ts";
import { wordsFor, type AlembicCommand } from "../command.ts";
import { withPython } from "./python.ts";

/**
 * What `read` makes of the standard output of `alembic history --verbose`, or `current`, and of the folder of `code`, which
 * Python runs as it starts. Throws NoAnswer, and Failure "not-found", "not-executable" or "cannot-tell".
 * @param refusal what an answer says that is one, and no failure of the command.
 */
export async function runAlembic<T>(
  command: AlembicCommand,
  verb: "history" | "current",
  run: Run,
  code: string,
  read: (stdout: string, folder: string) => T,
  refusal: (answer: T) => string | null = () => null,
): Promise<T> {
  const words = wordsFor(command, verb, ["--verbose"]);
  const { answer, failure } = await withPython(run.env, code, async ({ env, folder }) => {
    const { stdout, failure: failed } = await runForOutput(words, { ...run, env });
    if (failed !== null) return { answer: null, failure: failed };
    const found = read(stdout, folder);
    return { answer: { found }, failure: refusal(found) };
  });
  if (answer === null) throw new NoAnswer(failure ?? "");
  return answer.found;
}
