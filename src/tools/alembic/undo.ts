// What `alembic downgrade` would undo, before it does. Guarantees: the same revisions as Alembic 1.8 to 1.20 undo; where
// these would have to guess, or versions of it differ, the user has to name an id.

import { readFileSync } from "node:fs";
import { requireRegularFile } from "../../runtime/regular-file.ts";
import { Failure } from "../../failure.ts";
import type { DowngradeTarget } from "../../state.ts";
import type { UndoCapability, UndoPlan } from "../tool.ts";
import { wordsFor, type AlembicCommand } from "./command.ts";
import { readBodies } from "./files/bodies.ts";
import {
  findAncestors,
  findRevision,
  listNewestFirst,
  resolveState,
  withoutAncestors,
  type Graph,
} from "./graph.ts";

/** @param graph null in doubt: then nothing can be planned. */
export function createUndo(command: AlembicCommand, graph: Graph | null): UndoCapability {
  const certain = () => {
    if (graph === null) throw new Error("the revision graph is in doubt");
    return graph;
  };
  return {
    // click would take -1 for an option.
    words: (target) =>
      wordsFor(command, "downgrade", [
        ...(command.layout === "flask" ? ["--"] : []),
        spellTarget(target),
      ]),
    plan: (target, rows) => planDowngrade(certain(), target, rows),
    countUndone(undone, rows) {
      const left = findAncestors(certain(), identify(certain(), rows));
      return undone.filter((id) => !left.has(id)).length;
    },
  };
}

/** As Alembic takes it. */
function spellTarget(target: DowngradeTarget): string {
  switch (target.kind) {
    case "base":
      return "base";
    case "relative":
      return `-${target.steps}`;
    case "revision":
      return target.name;
  }
}

/** Throws Failure "bad-settings" or "cannot-tell" where there is no going back to `target` from these rows. */
function planDowngrade(graph: Graph, target: DowngradeTarget, rows: readonly string[]): UndoPlan {
  const state = resolveState(graph, { kind: "heads" }, rows, false);
  switch (state.state) {
    case "cannot-tell":
      throw new Failure("cannot-tell", state.reason);
    case "broken":
    case "ahead":
    case "diverged":
    case "overlapping":
    case "multiple-heads":
      return { kind: "refused", state };
    case "current":
    case "behind":
    case "unstamped":
  }
  const applied = identify(graph, rows);
  const active = findAncestors(graph, applied);
  const roots = findRoots(graph, target, applied, active);
  const doomed = findDescendants(graph, roots);
  const undone = listNewestFirst(graph).filter((id) => active.has(id) && doomed.has(id));
  const left = [...active].filter((id) => !doomed.has(id));
  return {
    kind: "undo",
    from: rows,
    undone,
    to: withoutAncestors(graph, left),
    irreversible: findIrreversible(graph, undone),
  };
}

/** Rows may be the beginnings of ids. */
function identify(graph: Graph, rows: readonly string[]): string[] {
  return rows.map((row) => {
    const found = findRevision(graph, row);
    return found.kind === "found" ? found.id : row;
  });
}

/** The first revisions to go; all that comes after them goes too. */
function findRoots(
  graph: Graph,
  target: DowngradeTarget,
  applied: readonly string[],
  active: ReadonlySet<string>,
): string[] {
  switch (target.kind) {
    case "base":
      return listNext(graph, null);
    case "revision": {
      const found = findRevision(graph, target.name);
      if (found.kind !== "found") {
        const why = found.kind === "unknown" ? "no file defines it" : found.reason;
        throw refuse(`cannot go back to ${target.name}: ${why}`);
      }
      if (!active.has(found.id)) {
        throw refuse(`cannot go back to ${found.id}: it is not applied`);
      }
      return listNext(graph, found.id);
    }
    case "relative": {
      const [row, ...others] = applied;
      const back = `cannot go back by ${target.steps}`;
      if (row === undefined) throw refuse(`${back}: no revision is applied`);
      if (others.length > 0) {
        throw refuse(`${back}: the database is at several revisions (${applied.join(", ")})`);
      }
      let end: string | null = row;
      for (let step = 0; step < target.steps; step++) {
        if (end === null) {
          throw refuse(`${back}: only ${step} ${step === 1 ? "is" : "are"} applied before ${row}`);
        }
        const down: readonly string[] = graph.revisions.get(end)?.downRevisions ?? [];
        if (down.length > 1) throw refuse(`${back}: ${end} joins the branches ${down.join(", ")}`);
        end = down[0] ?? null;
      }
      const roots = listNext(graph, end);
      if (roots.length < 2) return roots;
      // Alembic stays on the row's own line, dependencies apart.
      const line = findLine(graph, row);
      return roots.filter((id) => line.has(id));
    }
  }
}

/** The revisions that follow this one; the first ones of all branches for null. */
function listNext(graph: Graph, id: string | null): string[] {
  return [...graph.revisions.values()]
    .filter(({ downRevisions }) =>
      id === null ? downRevisions.length === 0 : downRevisions.includes(id),
    )
    .map((revision) => revision.id);
}

/** The revision and those below it, along `down_revision` alone. */
function findLine(graph: Graph, id: string): Set<string> {
  const parents = new Map(
    [...graph.revisions.values()].map((revision) => [revision.id, revision.downRevisions]),
  );
  return findAncestors({ ...graph, parents }, [id]);
}

/** These revisions and all that wait for them. */
function findDescendants(graph: Graph, ids: readonly string[]): Set<string> {
  const children = new Map<string, string[]>();
  for (const [id, above] of graph.parents) {
    for (const parent of above) children.set(parent, [...(children.get(parent) ?? []), id]);
  }
  return findAncestors({ ...graph, parents: children }, ids);
}

function refuse(message: string): Failure {
  return new Failure("bad-settings", message, {
    hint: "entrypoint current and entrypoint history show the ids",
  });
}

/** Those whose `downgrade()` does nothing while their `upgrade()` does something. */
function findIrreversible(graph: Graph, ids: readonly string[]): string[] {
  return ids.filter((id) => {
    const path = graph.revisions.get(id)?.path;
    if (path === undefined) return false;
    let source: Uint8Array;
    try {
      requireRegularFile(path);
      source = readFileSync(path);
    } catch {
      return false;
    }
    const bodies = readBodies(source);
    return bodies.downgrade === "empty" && bodies.upgrade !== "empty";
  });
}
