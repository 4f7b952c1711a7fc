// Where a database stands by Alembic's own report, where the files alone leave doubt: the graph from inside its process, the
// rows by `alembic current`. Guarantees: what is certain without Python is not asked for; no answer is not an answer.

import { Failure, NoAnswer } from "../../../failure.ts";
import type { State } from "../../../state.ts";
import type { Known, Place } from "../../tool.ts";
import type { AlembicCommand } from "../command.ts";
import { namingCure } from "../cures.ts";
import { findCurrent, resolveState, withoutAncestors, type Graph } from "../graph.ts";
import { askGraph } from "./graph.ts";
import { runAlembic } from "./run.ts";

/** Python has to be started, and env.py may connect. */
const timeoutMs = 30_000;

export type AskedState =
  | {
      readonly kind: "answered";
      readonly state: Exclude<State, { readonly state: "cannot-tell" }>;
      readonly graph: Graph;
    }
  | { readonly kind: "no-answer"; readonly reason: string; readonly cure: string };

/** What the files say without doubt; null where Alembic has to be asked. */
export interface Certain {
  readonly graph: Graph | null;
  /** Whether the rows are those of env.py's own version table. */
  readonly versionTable: boolean;
}

export async function askState(
  command: AlembicCommand,
  certain: Certain,
  seen: Known,
  place: Place,
): Promise<AskedState> {
  const { stop } = place;
  const known = seen.ledger?.rows ?? null;
  const certainRows = certain.versionTable ? known : null;
  try {
    const [graph, shown] = await askBoth(
      stop,
      async (either) =>
        certain.graph ??
        (await askGraph(command, { ...place, stop: either, timeoutMs, database: true })).graph,
      async (either) =>
        certainRows === null
          ? runAlembic(
              command,
              "current",
              { ...place, stop: either, timeoutMs },
              "",
              (stdout) => stdout,
            ).catch(readUnknownRevision)
          : "",
    );
    const rows = certainRows ?? chooseRows(graph, readCurrentOutput(shown), known ?? []);
    const state = resolveState(graph, command.target, rows, seen.userTables);
    if (state.state === "cannot-tell") return noAnswer(state.reason, namingCure);
    return { kind: "answered", graph, state };
  } catch (error) {
    if (stop.aborted) throw stop.reason;
    if (error instanceof NoAnswer) return noAnswer(error.message, error.cure);
    if (error instanceof Failure) return noAnswer(error.message, error.hint ?? namingCure);
    throw error;
  }
}

function noAnswer(reason: string, cure: string): AskedState {
  return { kind: "no-answer", reason, cure };
}

/** Both at once. Where one fails the other is stopped, and has ended before that failure is thrown. */
async function askBoth<A, B>(
  stop: AbortSignal,
  askFirst: (stop: AbortSignal) => Promise<A>,
  askSecond: (stop: AbortSignal) => Promise<B>,
): Promise<[A, B]> {
  const failed = new AbortController();
  const either = AbortSignal.any([stop, failed.signal]);
  const asked = [askFirst(either), askSecond(either)] as const;
  // The first failure is the reason that stays.
  await Promise.allSettled(asked.map((one) => one.catch((error: unknown) => failed.abort(error))));
  failed.signal.throwIfAborted();
  return Promise.all(asked);
}

/** `current` ends with an error where the database is ahead: what it says then is a row. */
function readUnknownRevision(error: unknown): string {
  const message = error instanceof NoAnswer ? error.message : "";
  const id = /Can't locate revision identified by '([^']+)'$/.exec(message)?.[1];
  if (id === undefined) throw error;
  return `Rev: ${id}\n`;
}

/** `Rev: a1 (head) (mergepoint)` */
const revisionLine = /^Rev: (.*?)(?: \((?:head|branchpoint|mergepoint|current)\))*$/;

/** The ids of `alembic current --verbose`; NoAnswer where env.py uses several databases, and they differ. */
function readCurrentOutput(text: string): string[] {
  const answers = text.split(/^Current revision\(s\) for .*:$/m).map((part) =>
    part
      .split("\n")
      .map((line) => revisionLine.exec(line)?.[1])
      .filter((id) => id !== undefined)
      .toSorted(),
  );
  const [first = [], ...others] = answers.length > 1 ? answers.slice(1) : answers;
  if (others.some((other) => other.join() !== first.join())) {
    throw new NoAnswer("env.py uses several databases, and they are not at the same revisions");
  }
  return first;
}

/**
 * The rows of the version table from what `current` shows: it adds the dependencies of a row, and leaves out a row of which
 * another one is the descendant. The rows of the likely table are taken where they would be shown in the same way.
 */
function chooseRows(
  graph: Graph,
  shown: readonly string[],
  likely: readonly string[],
): readonly string[] {
  const expected = findCurrent(graph, likely);
  const same =
    expected.kind === "found" && expected.ids.toSorted().join() === shown.toSorted().join();
  return same ? likely : withoutAncestors(graph, shown);
}
