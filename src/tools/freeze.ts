// Writes down what a tool has reported while an image is built. Guarantees: nothing is written that a start would ignore at once.

import { rmSync } from "node:fs";
import type { Context } from "../context.ts";
import { Failure } from "../failure.ts";
import type { Covered } from "./fingerprint.ts";
import { frozenPath, readFrozen, seal, writeFrozen, type FrozenPlace } from "./frozen.ts";

/**
 * Adds a line to the file. Throws Failure "cannot-tell" or "cannot-write".
 * @param memo of the run of freeze: the lines of the commands before this one are in it.
 * @param answer `held`: variables whose values it depends on.
 */
export function keep(
  place: FrozenPlace,
  memo: Map<string, unknown>,
  answer: {
    readonly frozen: unknown;
    readonly covered: readonly Covered[];
    readonly held?: readonly string[];
  },
): void {
  const path = frozenPath(place.cwd);
  const line = explained(
    () => seal(place, answer.frozen, answer.covered, answer.held),
    (error) => cannotFreeze(error.message, readingCure),
  );
  const key = "frozen lines";
  const text = `${(memo.get(key) as string | undefined) ?? ""}${line}`;
  memo.set(key, text);
  explained(
    () => writeFrozen(path, text),
    (error) =>
      new Failure("cannot-write", `cannot write ${path}: ${error.message}`, {
        hint: "run it before USER in the Dockerfile, or let that user write there",
        cause: error,
      }),
  );
  const written = readFrozen(place);
  if (written.kind === "holds") return;
  rmSync(path, { force: true });
  const reason = written.kind === "ignored" ? written.reason : "it is gone";
  throw cannotFreeze(
    `a start would ignore it: ${reason}`,
    "something writes to the project's files whenever Python runs",
  );
}

/** Where a file of the project cannot be read. */
export const readingCure = "let the user of the build read all of the project";

export function reportCreated(log: Context<unknown>["log"], created: readonly string[]): void {
  if (created.length === 0) return;
  log.warn(
    {
      event: "created",
      files: created,
      hint: "delete what must not be in the image, such as a secret key, in the same RUN",
    },
    `The application created files as it was loaded, and they are in the image now: ${created.join(", ")}`,
  );
}

export function cannotFreeze(reason: string, hint: string): Failure {
  return new Failure("cannot-tell", `cannot freeze the migration history: ${reason}`, { hint });
}

/** An error of the file system becomes a failure. */
function explained<T>(act: () => T, failureOf: (error: Error) => Failure): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof Error && "syscall" in error) throw failureOf(error);
    throw error;
  }
}
