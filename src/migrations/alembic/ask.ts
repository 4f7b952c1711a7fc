// `alembic history` and `alembic current`, run for real where the files alone leave doubt, and their output read.
// Guarantees: what is certain without Python is not asked for; what Alembic does not answer is "cannot tell".

import { execFile } from "node:child_process";
import { Failure } from "../../exit-codes.ts";
import { findProgram } from "../../process/find-program.ts";
import type { Settings, Words } from "../../settings.ts";
import { askAlembic } from "../command.ts";
import type { Revision, State } from "../state.ts";
import { buildGraph, findCurrent, resolveState, withoutAncestors, type Graph } from "./graph.ts";
import type { History } from "./inspect.ts";

/** Python has to be started, and env.py may connect: but nobody waits for ever. */
const timeoutMs = 30_000;

export interface Asked {
  readonly state: State;
  readonly graph: Graph | null;
}

/** What is known without Alembic; null where it has to be asked. */
export interface Certain {
  readonly graph: Graph | null;
  readonly rows: readonly string[] | null;
  /** Rows of a table that may be another than env.py's. */
  readonly doubtfulRows: readonly string[];
  readonly userTables: boolean;
}

/** Alembic could not be asked, or has not answered. */
export class NoAnswer extends Error {}

/** Where the database stands, by Alembic's own word. */
export async function askState(
  settings: Settings,
  { command }: History,
  certain: Certain,
  stop: AbortSignal,
): Promise<Asked> {
  if (command.kind === "opaque") return noAnswer(command.reason);
  try {
    const [history, current] = await Promise.all([
      certain.graph === null ? runAlembic(settings, "history", { stop, timeoutMs }) : "",
      certain.rows === null
        ? runAlembic(settings, "current", { stop, timeoutMs }).catch(readUnknownRevision)
        : "",
    ]);
    const answer =
      certain.graph === null
        ? buildGraph(readHistoryOutput(history))
        : ({ kind: "known", graph: certain.graph } as const);
    if (answer.kind === "cannot-tell") return noAnswer(answer.reason);
    const { graph } = answer;
    if (graph.revisions.size === 0) return noAnswer("alembic history shows no revision");
    const rows =
      certain.rows ?? chooseRows(graph, readCurrentOutput(current), certain.doubtfulRows);
    return { graph, state: resolveState(graph, command.target, rows, certain.userTables) };
  } catch (error) {
    if (stop.aborted) throw stop.reason;
    if (error instanceof NoAnswer || error instanceof Failure) return noAnswer(error.message);
    throw error;
  }
}

function noAnswer(reason: string): Asked {
  return { graph: null, state: { state: "cannot-tell", reason } };
}

/** `alembic history --verbose`, by the migration command's program and options: its standard output. Throws NoAnswer. */
export async function runAlembic(
  settings: Pick<Settings, "migrate" | "env" | "cwd">,
  verb: "history" | "current",
  { stop, timeoutMs: limitMs }: { stop: AbortSignal; timeoutMs: number },
): Promise<string> {
  const words = askAlembic(settings.migrate ?? [], verb, ["--verbose"]);
  if (words === null) throw new NoAnswer("the migration command is not understood");
  const { stdout, failure } = await runForOutput(settings, words, { stop, timeoutMs: limitMs });
  if (failure !== null) throw new NoAnswer(failure);
  return stdout;
}

/**
 * What a command of Alembic's has printed, and why it failed, if it has. Throws Failure "not-found" or "not-executable".
 */
export async function runForOutput(
  { env, cwd }: Pick<Settings, "env" | "cwd">,
  words: Words,
  { stop, timeoutMs: limitMs }: { stop: AbortSignal; timeoutMs: number },
): Promise<{ stdout: string; failure: string | null }> {
  const program = findProgram(words[0], { path: env["PATH"], cwd });
  const [file, ...before] = [...program.shell, program.file];
  const options = { env: { ...env }, cwd, signal: stop, timeout: limitMs, maxBuffer: 2 ** 28 };
  return new Promise((resolve) => {
    execFile(file, [...before, ...words.slice(1)], options, (error, stdout, stderr) => {
      if (error === null) return resolve({ stdout, failure: null });
      // Alembic says "FAILED: …" on standard output, Flask-Migrate and Python on standard error.
      const last = /^ *FAILED: (.*)/m.exec(stdout)?.[1] ?? stderr.trim().split("\n").at(-1) ?? "";
      const why = error.killed === true ? `took longer than ${limitMs / 1000} s` : "failed";
      resolve({
        stdout,
        failure: `${words.join(" ")} ${why}${last === "" ? "" : `: ${last}`}`,
      });
    });
  });
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

/** The revisions that `alembic history --verbose` has printed. What stands before the first one is env.py's. */
export function readHistoryOutput(text: string): Revision[] {
  const revisions: Revision[] = [];
  for (const entry of text.split(/^(?=Rev: )/m)) {
    const [header = "", ...lines] = entry.split("\n");
    const id = revisionLine.exec(header)?.[1];
    if (id === undefined) continue;
    const blank = lines.indexOf("");
    const fields = new Map<string, string>();
    for (const line of lines.slice(0, blank)) {
      const [name = "", value = ""] = line.split(/: (.*)/s);
      fields.set(name, value);
    }
    const list = (name: string) => fields.get(name)?.split(", ") ?? [];
    revisions.push({
      id,
      downRevisions: [...list("Parent"), ...list("Merges")].filter((down) => down !== "<base>"),
      dependsOn: list("Also depends on"),
      branchLabels: [],
      // Alembic shows a label with every revision of the branch, not only with the one that carries it.
      ...(fields.has("Branch names") ? { labelsUnknown: true } : {}),
      doc: lines
        .slice(blank + 1)
        .map((line) => line.replace(/^ {4}/, ""))
        .join("\n")
        .trim(),
      path: fields.get("Path") ?? "",
    });
  }
  return revisions;
}

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
