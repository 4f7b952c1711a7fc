// What `alembic upgrade` would find to do: revisions into a graph, rows and target into a state.
// Guarantees: pending = ancestors(target) - ancestors(rows), along down_revision and depends_on, as
// Alembic 1.8 to 1.20 compute it; where they would stop, or differ, the state says so.

import type { State } from "../../state.ts";
import type { Target } from "./command.ts";
import type { AlembicConfig } from "./files/config.ts";
import { readRevisions } from "./files/versions.ts";
import type { Revision } from "./revision.ts";

export interface Graph {
  readonly revisions: ReadonlyMap<string, Revision>;
  /** Branch label to the id of the revision that carries it. */
  readonly labels: ReadonlyMap<string, string>;
  /** Some revision's labels are only Python's to know. */
  readonly labelsUnknown: boolean;
  /** All that a revision waits for: its down revisions, then its dependencies as ids. */
  readonly parents: ReadonlyMap<string, readonly string[]>;
  /** No revision's `down_revision`: what `head` counts. */
  readonly heads: readonly string[];
  /** Nor any revision's dependency: what the table holds after `upgrade heads`. */
  readonly realHeads: readonly string[];
}

export type GraphAnswer =
  | { readonly kind: "known"; readonly graph: Graph }
  | { readonly kind: "cannot-tell"; readonly reason: string };

/** Reads the files and makes the graph of them. */
export function readGraph(config: AlembicConfig): GraphAnswer {
  const answer = readRevisions(config);
  if (answer.kind === "cannot-tell") return answer;
  if (answer.revisions.length === 0) {
    return cannotTell(
      `there is no revision file in ${config.versionLocations.join(", ")}: are they in the image?`,
    );
  }
  return buildGraph(answer.revisions);
}

/** The graph of these revisions, unless Alembic would refuse it or no two versions of it agree. */
export function buildGraph(revisions: readonly Revision[]): GraphAnswer {
  const byId = new Map<string, Revision>();
  for (const revision of revisions) {
    const other = byId.get(revision.id);
    if (other !== undefined) {
      return cannotTell(
        `revision ${revision.id} is defined twice: ${other.path} and ${revision.path}`,
      );
    }
    byId.set(revision.id, revision);
  }
  const labels = new Map<string, string>();
  for (const revision of revisions) {
    for (const label of revision.branchLabels) {
      const owner = byId.get(label)?.id ?? labels.get(label);
      if (owner !== undefined) {
        return cannotTell(
          `branch label ${label} of revision ${revision.id} (${revision.path}) is taken by ${owner}`,
        );
      }
      labels.set(label, revision.id);
    }
  }
  const parents = new Map<string, readonly string[]>();
  const down = new Set<string>();
  const named = new Set<string>();
  for (const revision of revisions) {
    const above = new Set<string>();
    for (const id of revision.downRevisions) {
      if (!byId.has(id)) {
        return cannotTell(
          `revision ${revision.id} (${revision.path}) follows ${id}, which no file defines`,
        );
      }
      above.add(id);
      down.add(id);
      named.add(id);
    }
    // A single empty string is no dependency, but neither is it none: Alembic takes no such file for a base.
    const nothing = revision.dependsOn.length === 1 && revision.dependsOn[0] === "";
    if (nothing && revision.downRevisions.length === 0) {
      return cannotTell(
        `revision ${revision.id} (${revision.path}) is a base that depends on an empty string`,
      );
    }
    for (const name of nothing ? [] : revision.dependsOn) {
      const id = byId.has(name) ? name : labels.get(name);
      if (id === undefined) {
        return cannotTell(
          `revision ${revision.id} (${revision.path}) depends on ${name}, which no file defines`,
        );
      }
      above.add(id);
      named.add(id);
    }
    parents.set(revision.id, [...above]);
  }
  const cycle = findCycle(parents);
  if (cycle !== null) return cannotTell(`the revisions ${cycle.join(", ")} wait for one another`);
  return {
    kind: "known",
    graph: {
      revisions: byId,
      labels,
      labelsUnknown: revisions.some((revision) => revision.labelsUnknown === true),
      parents,
      heads: [...byId.keys()].filter((id) => !down.has(id)),
      realHeads: [...byId.keys()].filter((id) => !named.has(id)),
    },
  };
}

/** These revisions and all that they wait for. */
export function findAncestors(graph: Graph, ids: Iterable<string>): Set<string> {
  const found = new Set<string>();
  const todo = [...ids];
  for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
    if (found.has(id)) continue;
    found.add(id);
    todo.push(...(graph.parents.get(id) ?? []));
  }
  return found;
}

/**
 * Where a database with these rows stands, if `upgrade` is told to reach `target`.
 * `userTables`: the database holds tables besides the version table.
 */
export function resolveState(
  graph: Graph,
  target: Target,
  rows: readonly string[],
  userTables: boolean,
): State {
  const known = { current: rows, heads: graph.realHeads };
  // Alembic looks at the target first: with several heads it stops before it reads a row.
  if (target.kind === "head" && graph.heads.length > 1)
    return { state: "multiple-heads", ...known };
  const targets: string[] = [];
  switch (target.kind) {
    case "head":
      targets.push(...graph.heads);
      break;
    case "heads":
      targets.push(...graph.realHeads);
      break;
    case "revision": {
      const found = findRevision(graph, target.id);
      if (found.kind === "found") targets.push(found.id);
      else if (found.kind === "unknown")
        return cannotTellState(`no file defines the target ${target.id}`);
      else return cannotTellState(`the target ${target.id}: ${found.reason}`);
    }
  }
  const found = findRows(graph, rows);
  if (found.kind === "cannot-tell") return cannotTellState(found.reason);
  if (found.kind === "unknown") {
    const { rows: unknown, applied } = found;
    const behind = listBehind(graph, targets, [...applied.keys()]);
    if (behind.length > 0) return { state: "diverged", ...known, unknown, pending: behind };
    return { state: "ahead", ...known, unknown };
  }
  const { applied } = found;
  const overlap = findOverlap(graph, [...applied.keys()]);
  if (overlap !== null) {
    const [ancestor, descendant] = overlap;
    return {
      state: "overlapping",
      ...known,
      overlap: [applied.get(ancestor) ?? ancestor, applied.get(descendant) ?? descendant],
    };
  }
  const pending = listPending(graph, targets, findAncestors(graph, applied.keys()));
  if (pending.length === 0) return { state: "current", ...known };
  return { state: rows.length === 0 && userTables ? "unstamped" : "behind", ...known, pending };
}

/** What comes after these rows: nothing that does is applied, since it would have taken the row's place. */
function listBehind(graph: Graph, targets: readonly string[], rows: readonly string[]): string[] {
  const applied = findAncestors(graph, rows);
  return listPending(graph, targets, applied).filter((id) =>
    rows.some((row) => findAncestors(graph, [id]).has(row)),
  );
}

type FoundRows =
  /** The row of each applied revision, by its id. */
  | { readonly kind: "found"; readonly applied: ReadonlyMap<string, string> }
  /** The rows that no file has, and those of the applied revisions. */
  | {
      readonly kind: "unknown";
      readonly rows: readonly string[];
      readonly applied: ReadonlyMap<string, string>;
    }
  | { readonly kind: "cannot-tell"; readonly reason: string };

/** The revisions that the version table's rows name. */
function findRows(graph: Graph, rows: readonly string[]): FoundRows {
  const applied = new Map<string, string>();
  const unknown: string[] = [];
  for (const row of rows) {
    const found = findRevision(graph, row);
    if (found.kind === "found") applied.set(found.id, row);
    else if (found.kind === "unknown") unknown.push(row);
    else return cannotTell(`the version table's row ${JSON.stringify(row)}: ${found.reason}`);
  }
  if (unknown.length > 0) return { kind: "unknown", rows: unknown, applied };
  return { kind: "found", applied };
}

/** What `alembic current` shows: the last applied revision of each branch, those that came as a dependency included. */
export function findCurrent(
  graph: Graph,
  rows: readonly string[],
):
  | { readonly kind: "found"; readonly ids: readonly string[] }
  | Exclude<FoundRows, { kind: "found" }> {
  const found = findRows(graph, rows);
  if (found.kind !== "found") return found;
  const all = findAncestors(graph, found.applied.keys());
  const followed = new Set([...all].flatMap((id) => graph.revisions.get(id)?.downRevisions ?? []));
  return {
    kind: "found",
    ids: listNewestFirst(graph).filter((id) => all.has(id) && !followed.has(id)),
  };
}

/** Those that no other one waits for: what the version table would hold. */
export function withoutAncestors(graph: Graph, ids: readonly string[]): string[] {
  const above = findAncestors(
    graph,
    ids.flatMap((id) => graph.parents.get(id) ?? []),
  );
  return ids.filter((id) => !above.has(id));
}

/** All revisions, each before all that it waits for. */
export function listNewestFirst(graph: Graph): string[] {
  const parents = new Map([...graph.parents].map(([id, above]) => [id, above.toReversed()]));
  const oldestFirst = listPending(
    { ...graph, parents },
    graph.realHeads.toReversed(),
    new Set<string>(),
  );
  return oldestFirst.toReversed();
}

type Found =
  | { readonly kind: "found"; readonly id: string }
  | { readonly kind: "unknown" }
  | { readonly kind: "uncertain"; readonly reason: string };

/** An id, a branch label, or the beginning of just one of them. */
export function findRevision(graph: Graph, name: string): Found {
  if (
    name === "head" ||
    name === "heads" ||
    name === "base" ||
    name.includes("@") ||
    /^\s*-/.test(name)
  ) {
    return { kind: "uncertain", reason: "it would be read as a symbol, not as an id" };
  }
  if (graph.revisions.has(name)) return { kind: "found", id: name };
  const labelled = graph.labels.get(name);
  if (labelled !== undefined) return { kind: "found", id: labelled };
  if (name === "") return { kind: "uncertain", reason: "it is empty" };
  const matches: string[] = [];
  // Names of up to three characters are never completed to; Python counts characters, not UTF-16 units.
  for (const id of graph.revisions.keys())
    if (id.startsWith(name) && countCharacters(id) > 3) matches.push(id);
  for (const [label, id] of graph.labels)
    if (label.startsWith(name) && countCharacters(label) > 3) matches.push(id);
  if (matches.length > 1)
    return {
      kind: "uncertain",
      reason: `it is the beginning of several ids: ${matches.join(", ")}`,
    };
  if (graph.labelsUnknown) {
    return {
      kind: "uncertain",
      reason: "it is no revision's id, and some branch labels are not known",
    };
  }
  return matches[0] === undefined ? { kind: "unknown" } : { kind: "found", id: matches[0] };
}

function countCharacters(text: string): number {
  return Array.from(text).length;
}

/** [ancestor, descendant], both among the ids. Alembic's own search finds one in whatever order the rows come. */
function findOverlap(graph: Graph, ids: readonly string[]): [string, string] | null {
  if (ids.length < 2) return null;
  const rows = new Set(ids);
  for (const descendant of ids) {
    for (const ancestor of findAncestors(graph, graph.parents.get(descendant) ?? [])) {
      if (rows.has(ancestor)) return [ancestor, descendant];
    }
  }
  return null;
}

/** What the targets wait for and is not applied, each after all that it waits for itself. */
function listPending(
  graph: Graph,
  targets: readonly string[],
  applied: ReadonlySet<string>,
): string[] {
  const pending: string[] = [];
  const entered = new Set<string>();
  // Depth first without recursion: histories are thousands of revisions deep.
  const stack: { id: string; leaving: boolean }[] = targets
    .toReversed()
    .map((id) => ({ id, leaving: false }));
  for (let step = stack.pop(); step !== undefined; step = stack.pop()) {
    if (step.leaving) pending.push(step.id);
    else if (!applied.has(step.id) && !entered.has(step.id)) {
      entered.add(step.id);
      stack.push({ id: step.id, leaving: true });
      for (const parent of (graph.parents.get(step.id) ?? []).toReversed())
        stack.push({ id: parent, leaving: false });
    }
  }
  return pending;
}

/** The ids that no order can satisfy, or null. */
function findCycle(parents: ReadonlyMap<string, readonly string[]>): string[] | null {
  const waiting = new Map<string, number>();
  const children = new Map<string, string[]>();
  for (const [id, above] of parents) {
    waiting.set(id, above.length);
    for (const parent of above) {
      const list = children.get(parent);
      if (list === undefined) children.set(parent, [id]);
      else list.push(id);
    }
  }
  const ready = [...parents.keys()].filter((id) => waiting.get(id) === 0);
  for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
    waiting.delete(id);
    for (const child of children.get(id) ?? []) {
      const left = (waiting.get(child) ?? 0) - 1;
      waiting.set(child, left);
      if (left === 0) ready.push(child);
    }
  }
  return waiting.size === 0 ? null : [...waiting.keys()].toSorted();
}

function cannotTell(reason: string): { readonly kind: "cannot-tell"; readonly reason: string } {
  return { kind: "cannot-tell", reason };
}

function cannotTellState(reason: string): State {
  return { state: "cannot-tell", reason };
}
