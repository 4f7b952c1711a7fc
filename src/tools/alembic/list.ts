// Revisions as `alembic current`, `heads` and `history` print them, without Python.
// Guarantees: the same lines as Alembic 1.8 to 1.20; where it prints a set in an order of chance, here it is the files'.

import type { ListCapability, Listed } from "../tool.ts";
import { wordsFor, type AlembicCommand } from "./command.ts";
import { findCurrent, listNewestFirst, type Graph, type GraphAnswer } from "./graph.ts";
import type { Revision } from "./revision.ts";

export function createList(command: AlembicCommand, answer: GraphAnswer): ListCapability {
  return {
    own: {
      words: (verb, { verbose }) => wordsFor(command, verb, verbose ? ["--verbose"] : []),
      async readOnly(env, run) {
        // Loaded where it is wanted: no start needs it.
        const { withPlainPython } = await import("./asked/python.ts");
        // Its output is not ours to read, so a pooler's refusal would be the user's to see.
        return withPlainPython(env, run);
      },
    },
    needsRows: ["current"],
    print(verb, { verbose, ledger, database }) {
      if (answer.kind === "cannot-tell") return answer;
      const { graph } = answer;
      // Labels and docstrings do not matter to what is pending, but here they are shown.
      const revisions = [...graph.revisions.values()];
      const doubtful =
        revisions.find(({ labelsUnknown }) => labelsUnknown === true && verb !== "current") ??
        revisions.find(({ docUnknown }) => docUnknown === true && (verbose || verb === "history"));
      if (doubtful !== undefined) {
        return {
          kind: "cannot-tell",
          reason: `only Python can determine what ${doubtful.path} says`,
        };
      }
      const listing = createListing(graph);
      const list = (ids: readonly string[], show: Shown): string[] =>
        ids.map((id) => (verbose ? listing.entry(id) : listing.line(id, show)));
      switch (verb) {
        case "history":
          return known(
            list(listing.order, { parents: true, labels: true, branches: true, message: true }),
          );
        case "heads":
          return known(
            list(graph.heads, { parents: false, labels: true, branches: false, message: false }),
          );
        case "current": {
          const found = findCurrent(graph, ledger?.rows ?? []);
          if (found.kind === "cannot-tell") return found;
          if (found.kind === "unknown") return { kind: "ahead", rows: found.rows };
          const show = { parents: false, labels: false, branches: true, message: false };
          const header = verbose ? [`Current revision(s) for ${database}:`] : [];
          return known([...header, ...list(found.ids, show)]);
        }
      }
    },
  };
}

function known(lines: readonly string[]): Listed {
  return { kind: "known", text: lines.map((line) => `${line}\n`).join("") };
}

/** The revisions with what Alembic knows of each one's place. */
interface Listing {
  /** Ids, each before all that it waits for. */
  readonly order: readonly string[];
  line(id: string, show: Shown): string;
  /** An entry of several lines, as with --verbose; the last one is empty. */
  entry(id: string): string;
}

interface Shown {
  readonly parents: boolean;
  readonly labels: boolean;
  readonly branches: boolean;
  readonly message: boolean;
}

/** The first paragraph of the docstring. */
export function messageOf({ doc }: Revision): string {
  return (doc ?? "").split("\n\n")[0] ?? "";
}

function createListing(graph: Graph): Listing {
  const next = new Map<string, string[]>();
  for (const { id, downRevisions } of graph.revisions.values()) {
    for (const down of new Set(downRevisions)) next.set(down, [...(next.get(down) ?? []), id]);
  }
  const realHeads = new Set(graph.realHeads);
  const labels = spreadLabels(graph, next);
  const find = (id: string): Revision => {
    const revision = graph.revisions.get(id);
    if (revision === undefined) throw new Error(`there is no revision ${id}`);
    return revision;
  };
  const parentsOf = ({ downRevisions }: Revision) =>
    downRevisions.length === 0 ? "<base>" : [...new Set(downRevisions)].join(", ");
  const isHead = (id: string) => !next.has(id);
  const isBranchpoint = (id: string) => (next.get(id)?.length ?? 0) > 1;
  const isMergepoint = ({ downRevisions }: Revision) => new Set(downRevisions).size > 1;
  return {
    order: listNewestFirst(graph),
    line(id, show) {
      const revision = find(id);
      const { dependsOn } = revision;
      const dependencies = dependsOn.length === 0 ? "" : ` (${dependsOn.join(", ")})`;
      const own = labels.get(id) ?? [];
      const parts = [
        show.parents ? `${parentsOf(revision)}${dependencies} -> ${id}` : id,
        show.labels && own.length > 0 ? ` (${own.join(", ")})` : "",
        realHeads.has(id) ? " (head)" : isHead(id) ? " (effective head)" : "",
        show.branches && isBranchpoint(id) ? " (branchpoint)" : "",
        show.branches && isMergepoint(revision) ? " (mergepoint)" : "",
        show.message ? `, ${messageOf(revision)}` : "",
      ];
      return parts.join("");
    },
    entry(id) {
      const revision = find(id);
      const { dependsOn, doc = "", path } = revision;
      const merges = isMergepoint(revision);
      const marks = [
        isHead(id) ? " (head)" : "",
        isBranchpoint(id) ? " (branchpoint)" : "",
        merges ? " (mergepoint)" : "",
      ];
      const own = labels.get(id) ?? [];
      const lines = [
        `Rev: ${id}${marks.join("")}`,
        `${merges ? "Merges" : "Parent"}: ${parentsOf(revision)}`,
        ...(dependsOn.length > 0 ? [`Also depends on: ${dependsOn.join(", ")}`] : []),
        ...(isBranchpoint(id) ? [`Branches into: ${(next.get(id) ?? []).join(", ")}`] : []),
        ...(own.length > 0 ? [`Branch names: ${own.join(", ")}`] : []),
        `Path: ${path}`,
        "",
        ...doc.split("\n").map((line) => (doc === "" ? "" : `    ${line}`)),
        "",
      ];
      return lines.join("\n");
    },
  };
}

/**
 * The labels that Alembic shows with each revision: those of the one that carries them are also its descendants', and
 * those of the revisions below the last of these, down to where branches meet.
 */
function spreadLabels(graph: Graph, next: ReadonlyMap<string, readonly string[]>) {
  const labels = new Map<string, string[]>();
  const waitedFor = new Map<string, number>();
  for (const above of graph.parents.values()) {
    for (const id of above) waitedFor.set(id, (waitedFor.get(id) ?? 0) + 1);
  }
  for (const { id: carrier, branchLabels } of graph.revisions.values()) {
    if (branchLabels.length === 0) continue;
    const add = (id: string) =>
      labels.set(id, [...new Set([...(labels.get(id) ?? []), ...branchLabels])]);
    const seen = new Set<string>();
    let last = carrier;
    const todo = [carrier];
    for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
      if (seen.has(id)) continue;
      seen.add(id);
      add(id);
      last = id;
      todo.push(...(next.get(id) ?? []));
    }
    for (let below: string | undefined = last; below !== undefined;) {
      const downs: readonly string[] = graph.revisions.get(below)?.downRevisions ?? [];
      if ((waitedFor.get(below) ?? 0) > 1 || downs.length > 1) break;
      add(below);
      below = downs[0];
    }
  }
  return labels;
}
