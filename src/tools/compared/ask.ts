// Where a database stands by the tool's own list, for status, where nothing is frozen. Guarantees: no answer is not an answer.

import type { Words } from "../../context.ts";
import { Failure, NoAnswer } from "../../failure.ts";
import type { History, Known, Place } from "../tool.ts";
import type { Frozen, Project, Row } from "./row.ts";

/** The application is imported. */
const timeoutMs = 30_000;

type Asked = Awaited<ReturnType<NonNullable<History["ask"]>>>;

/** @param create the history with what the tool has reported. */
export async function ask(
  { question, cures }: Row,
  words: Words,
  project: Project,
  on: {
    readonly known: Known;
    readonly place: Place;
    readonly create: (frozen: Frozen) => History;
  },
): Promise<Asked> {
  const { ledger, userTables } = on.known;
  const noAnswer = (reason: string, cure = cures.cannotTell ?? ""): Asked => ({
    kind: "no-answer",
    reason,
    cure,
  });
  if (ledger === null) return noAnswer("the applied migrations cannot be read");
  try {
    const answer = await question?.ask(words, project, { ...on.place, timeoutMs });
    if (answer === undefined) return noAnswer("it cannot be asked");
    const doubt = answer.frozen.doubt ?? answer.frozen.tableDoubt;
    if (doubt !== null) return noAnswer(doubt);
    const history = on.create(answer.frozen);
    const state = history.resolve({ ...ledger, userTables });
    if (state.state === "cannot-tell") return noAnswer(state.reason);
    return { kind: "answered", state, history };
  } catch (error) {
    on.place.stop.throwIfAborted();
    if (error instanceof NoAnswer) return noAnswer(error.message, error.cure);
    if (error instanceof Error && "syscall" in error) return noAnswer(error.message);
    if (error instanceof Failure) return noAnswer(error.message, error.hint);
    throw error;
  }
}
