// The graph and the states, without files. What Alembic itself says of such graphs is compared in
// test/process/alembic/oracle.test.ts; here stand the refusals, and the words they are made in.

import { expect, test } from "vitest";

import {
  buildGraph,
  findCurrent,
  type Graph,
  listNewestFirst,
  resolveState,
  withoutAncestors,
} from "../../../../src/tools/alembic/graph.ts";
import type { Revision } from "../../../../src/tools/alembic/revision.ts";

function make(id: string, down: readonly string[] = [], more: Partial<Revision> = {}): Revision {
  return { id, downRevisions: down, dependsOn: [], branchLabels: [], path: `/v/${id}.py`, ...more };
}

function graphOf(...revisions: Revision[]): Graph {
  const answer = buildGraph(revisions);
  if (answer.kind === "cannot-tell") throw new Error(answer.reason);
  return answer.graph;
}

const linear = graphOf(make("c3", ["b2"]), make("a1"), make("b2", ["a1"]));

test("a linear history is pending from its base to its head", () => {
  expect(resolveState(linear, { kind: "head" }, [], false)).toEqual({
    state: "behind",
    current: [],
    heads: ["c3"],
    pending: ["a1", "b2", "c3"],
  });
  expect(resolveState(linear, { kind: "head" }, ["b2"], true)).toMatchObject({
    state: "behind",
    pending: ["c3"],
  });
  expect(resolveState(linear, { kind: "heads" }, ["c3"], true)).toMatchObject({
    state: "current",
    current: ["c3"],
  });
});

test("user tables without a row are unstamped, but only if there is something to do", () => {
  expect(resolveState(linear, { kind: "head" }, [], true)).toMatchObject({ state: "unstamped" });
  expect(resolveState(linear, { kind: "head" }, ["a1"], true)).toMatchObject({ state: "behind" });
});

test("a target below the rows leaves nothing to do", () => {
  expect(resolveState(linear, { kind: "revision", id: "a1" }, ["b2"], true)).toMatchObject({
    state: "current",
  });
});

test("rows that no file has are ahead, all of them named", () => {
  expect(resolveState(linear, { kind: "head" }, ["zz", "c3", "yy"], true)).toEqual({
    state: "ahead",
    current: ["zz", "c3", "yy"],
    heads: ["c3"],
    unknown: ["zz", "yy"],
  });
});

test("beside a row that no file has, what follows another row is pending for certain", () => {
  expect(resolveState(linear, { kind: "head" }, ["zz", "a1"], true)).toEqual({
    state: "diverged",
    current: ["zz", "a1"],
    heads: ["c3"],
    unknown: ["zz"],
    pending: ["b2", "c3"],
  });
});

test("what a row that no file has may have brought along is neither applied nor pending", () => {
  const graph = graphOf(make("a1"), make("a2", ["a1"]), make("b1"), make("b2", ["b1"]));
  expect(resolveState(graph, { kind: "heads" }, ["zz", "b1"], true)).toMatchObject({
    state: "diverged",
    pending: ["b2"],
  });
  expect(resolveState(graph, { kind: "heads" }, ["zz"], true)).toMatchObject({ state: "ahead" });
});

test("several heads stop `head` before any row is looked at, even with one real head", () => {
  const graph = graphOf(make("a1"), make("b1", [], { dependsOn: ["a1"] }));
  expect(graph).toMatchObject({ heads: ["a1", "b1"], realHeads: ["b1"] });
  expect(resolveState(graph, { kind: "head" }, ["zz"], true)).toMatchObject({
    state: "multiple-heads",
    heads: ["b1"],
  });
  expect(resolveState(graph, { kind: "heads" }, ["b1"], true)).toMatchObject({ state: "current" });
});

test("an overlap names the ancestor and the descendant as the rows have them", () => {
  const graph = graphOf(make("abcdef"), make("b2", ["abcdef"]), make("c3", ["b2"]));
  expect(resolveState(graph, { kind: "head" }, ["c3", "abc"], true)).toMatchObject({
    state: "overlapping",
    overlap: ["abc", "c3"],
  });
});

test("two rows for the same revision do not overlap", () => {
  const graph = graphOf(make("abcdef"));
  expect(resolveState(graph, { kind: "head" }, ["abcdef", "abc"], true)).toMatchObject({
    state: "current",
  });
});

test.for(["head", "heads", "base", "a@b", "-1", ""])("a row %j is no id", (row) => {
  expect(resolveState(linear, { kind: "head" }, [row], true)).toMatchObject({
    state: "cannot-tell",
  });
});

test("a beginning of several ids is not decided", () => {
  const graph = graphOf(make("abcd1"), make("abcd2", ["abcd1"]));
  const state = resolveState(graph, { kind: "head" }, ["abcd"], true);
  expect(state).toEqual({ state: "cannot-tell", reason: expect.stringContaining("abcd1, abcd2") });
});

test("a target that no file has is Alembic's to refuse", () => {
  const state = resolveState(linear, { kind: "revision", id: "zz" }, [], true);
  expect(state).toEqual({ state: "cannot-tell", reason: "no file defines the target zz" });
});

test("labels that only Python knows matter where a name is no id", () => {
  const graph = graphOf(make("abcdef", [], { labelsUnknown: true }));
  expect(resolveState(graph, { kind: "head" }, ["abcdef"], true)).toMatchObject({
    state: "current",
  });
  expect(resolveState(graph, { kind: "head" }, ["abc"], true)).toMatchObject({
    state: "cannot-tell",
  });
  expect(resolveState(graph, { kind: "head" }, ["zz"], true)).toMatchObject({
    state: "cannot-tell",
  });
});

test.for<[string, Revision[], string]>([
  [
    "the same id twice",
    [make("a1"), make("a1", [], { path: "/v/x.py" })],
    "a1 is defined twice: /v/a1.py and /v/x.py",
  ],
  [
    "a missing parent",
    [make("b2", ["a1"])],
    "revision b2 (/v/b2.py) follows a1, which no file defines",
  ],
  [
    "a missing dependency",
    [make("b2", [], { dependsOn: ["lib"] })],
    "depends on lib, which no file defines",
  ],
  ["a cycle", [make("a1", ["b2"]), make("b2", ["a1"])], "a1, b2 wait for one another"],
  ["itself as a parent", [make("a1", ["a1"])], "a1 wait for one another"],
  [
    "its own label as a dependency",
    [make("a1", [], { dependsOn: ["l"], branchLabels: ["l"] })],
    "a1 wait",
  ],
  [
    "a label twice",
    [make("a1", [], { branchLabels: ["l"] }), make("b1", [], { branchLabels: ["l"] })],
    "taken by a1",
  ],
  ["a label that is an id", [make("a1", [], { branchLabels: ["b1"] }), make("b1")], "taken by b1"],
  [
    "a parent by its label",
    [make("a1", [], { branchLabels: ["l"] }), make("b1", ["l"])],
    "follows l",
  ],
  [
    "a base that depends on nothing, said wrongly",
    [make("a1", [], { dependsOn: [""] })],
    "empty string",
  ],
])("%s is no graph", ([, revisions, reason]) => {
  expect(buildGraph(revisions)).toEqual({
    kind: "cannot-tell",
    reason: expect.stringContaining(reason),
  });
});

test("a history of twenty thousand revisions is walked without recursion", () => {
  const many = Array.from({ length: 20_000 }, (_, index) =>
    make(`r${index}`, index === 0 ? [] : [`r${index - 1}`]),
  );
  const state = resolveState(graphOf(...many), { kind: "head" }, ["r9999"], true);
  expect(state).toMatchObject({ state: "behind" });
  expect("pending" in state ? state.pending.length : 0).toBe(10_000);
});

test("the newest revisions come first, and each before all that it waits for", () => {
  expect(listNewestFirst(linear)).toEqual(["c3", "b2", "a1"]);
  const merged = graphOf(
    make("a1"),
    make("b2", ["a1"]),
    make("c3", ["a1"]),
    make("d4", ["b2", "c3"]),
    make("e5", ["a1"], { dependsOn: ["d4"] }),
  );
  expect(listNewestFirst(merged)).toEqual(["e5", "d4", "b2", "c3", "a1"]);
});

test("current is the last of each branch, with what came as a dependency", () => {
  const graph = graphOf(make("a1"), make("a2", ["a1"], { dependsOn: ["b1"] }), make("b1"));
  expect(findCurrent(graph, ["a2"])).toEqual({ kind: "found", ids: ["a2", "b1"] });
  expect(findCurrent(graph, ["a1", "a2"])).toEqual({ kind: "found", ids: ["a2", "b1"] });
  expect(findCurrent(graph, [])).toEqual({ kind: "found", ids: [] });
  expect(findCurrent(graph, ["zz"])).toMatchObject({ kind: "unknown", rows: ["zz"] });
  expect(withoutAncestors(graph, ["a2", "b1"])).toEqual(["a2"]);
});
