// At image build: a tool that alone can list its migrations reports them once, and they are written down for every start to read.

import { NoAnswer } from "../../failure.ts";
import type { Context, Words } from "../../context.ts";
import { cannotFreeze, keep, readingCure, reportCreated } from "../freeze.ts";
import { frozenPath } from "../frozen.ts";
import type { HistoryOptions } from "../tool.ts";
import type { Answer, Project, Row } from "./row.ts";

/** The application is imported, on a machine that builds other things too. */
const timeoutMs = 300_000;

/** Returns what was written. Throws Failure "cannot-tell" where the tool does not answer or refuses its files, "cannot-write". */
export async function freeze(
  { name, question }: Row,
  words: Words,
  project: Project,
  memo: HistoryOptions["memo"],
  { log, signals }: Omit<Context<unknown>, "settings">,
): Promise<string> {
  if (question === undefined) throw new Error(`${name} is not asked`);
  const { cwd, env } = project;
  const { frozen, covered, held, created, summary } = await ask();
  keep({ words, cwd, env, telling: question.telling }, memo, { frozen, covered, held });
  reportCreated(log, created);
  if (held.length > 0) {
    log.info(
      { event: "variables", variables: held },
      `The migrations depend on these variables, and the file holds only while they have the same values at start: ${held.join(", ")}`,
    );
  }
  const reason = frozen.always ?? frozen.doubt ?? frozen.tableDoubt;
  if (reason !== null) {
    log.warn(
      { event: "cannot-tell", reason },
      `Every start will still run the migration command: ${reason}`,
    );
  }
  return `${frozenPath(project.cwd)}: ${summary}`;

  async function ask(): Promise<Answer> {
    try {
      return await (question as NonNullable<Row["question"]>).ask(words, project, {
        cwd,
        env,
        stop: signals.stop,
        timeoutMs,
      });
    } catch (error) {
      signals.stop.throwIfAborted();
      if (error instanceof NoAnswer) throw cannotFreeze(error.message, error.cure);
      if (!(error instanceof Error && "syscall" in error)) throw error;
      throw cannotFreeze(error.message, readingCure);
    }
  }
}
