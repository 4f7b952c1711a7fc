// Alembic itself, asked where the files alone leave doubt: the graph from inside its own process, the rows by `alembic
// current`. Guarantees: what is certain without Python is not asked for; what Alembic does not answer is no answer.

import { Failure } from "../../exit-codes.ts";
import type { Settings } from "../../settings.ts";
import type { State } from "../state.ts";
import { findCurrent, resolveState, withoutAncestors, type Graph } from "./graph.ts";
import { hearGraph } from "./hear.ts";
import type { History } from "./inspect.ts";
import { NoAnswer, runAlembic } from "./run.ts";

/** Python has to be started, and env.py may connect: but nobody waits for ever. */
const timeoutMs = 30_000;

export type Asked =
  | {
      readonly kind: "told";
      readonly state: Exclude<State, { readonly state: "cannot-tell" }>;
      readonly graph: Graph;
    }
  | { readonly kind: "no-answer"; readonly reason: string; readonly cure: string };

/** What is known without Alembic; null where it has to be asked. */
export interface Certain {
  readonly graph: Graph | null;
  readonly rows: readonly string[] | null;
  /** Rows of a table that may be another than env.py's. */
  readonly doubtfulRows: readonly string[];
  readonly userTables: boolean;
}

/** Where the database stands, by Alembic's own word. */
export async function askState(
  settings: Settings,
  { command }: History,
  certain: Certain,
  stop: AbortSignal,
): Promise<Asked> {
  if (command.kind === "opaque") return noAnswer(command.reason, ownCommandCure);
  const limits = { stop, timeoutMs };
  try {
    const [graph, shown] = await askBoth(
      stop,
      async (either) =>
        certain.graph ??
        (await hearGraph(settings, command, { ...limits, stop: either, database: true })).graph,
      async (either) =>
        certain.rows === null
          ? runAlembic(settings, "current", { ...limits, stop: either }).catch(readUnknownRevision)
          : "",
    );
    const rows = certain.rows ?? chooseRows(graph, readCurrentOutput(shown), certain.doubtfulRows);
    const state = resolveState(graph, command.target, rows, certain.userTables);
    if (state.state === "cannot-tell") return noAnswer(state.reason, namingCure);
    return { kind: "told", graph, state };
  } catch (error) {
    if (stop.aborted) throw stop.reason;
    if (error instanceof NoAnswer) return noAnswer(error.message, error.cure);
    if (error instanceof Failure) return noAnswer(error.message, error.hint ?? namingCure);
    throw error;
  }
}

const ownCommandCure = "name Alembic's own command, --migrate 'alembic -c FILE upgrade head'";
const namingCure =
  "if env.py chooses the folders or the version table in code, name them with --versions or --version-table";

function noAnswer(reason: string, cure: string): Asked {
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

/** What `alembic current --verbose` has printed, unless env.py asks several databases, and they differ. */
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
    throw new NoAnswer("env.py asks several databases, and they are not at the same revisions");
  }
  return first;
}

/**
 * The version table's rows behind what `current` shows: that has the dependencies of a row too, but not the row of which
 * another is the descendant. The rows of the table that is likely say so, if they would be shown in the same way.
 */
function chooseRows(
  graph: Graph,
  shown: readonly string[],
  doubtful: readonly string[],
): readonly string[] {
  const expected = findCurrent(graph, doubtful);
  const same =
    expected.kind === "found" && expected.ids.toSorted().join() === shown.toSorted().join();
  return same ? doubtful : withoutAncestors(graph, shown);
}
