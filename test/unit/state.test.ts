// How a state is told to people: one line for where the database stands, one sentence for how far a
// migration came. The sentence claims nothing that the two inspections do not show.

import { expect, test } from "vitest";
import {
  describePending,
  describeProgress,
  describeState,
  stateDetails,
  type State,
} from "../../src/state.ts";

const heads = ["d4"];
const behind = (current: string[], pending: string[]): State => ({
  state: "behind",
  current,
  heads,
  pending,
});

test("says where the database stands and what is pending", () => {
  expect(describeState(behind(["a1"], ["b2", "d4"]))).toBe(
    "behind: at a1, head d4; pending: b2, d4",
  );
  expect(describeState({ state: "current", current: ["d4"], heads })).toBe(
    "current: at d4, head d4",
  );
});

test("says what somebody waits for", () => {
  expect(describePending({ state: "behind", current: ["a1"], heads, pending: ["b2", "d4"] })).toBe(
    "at a1; pending: b2, d4",
  );
  expect(describePending({ state: "unstamped", current: [], heads, pending: ["d4"] })).toBe(
    "at no revision; pending: d4",
  );
});

test("an empty database is at no revision", () => {
  expect(describeState(behind([], ["a1"]))).toBe("behind: at no revision, head d4; pending: a1");
});

test("a state that cannot be told is its reason", () => {
  expect(describeState({ state: "cannot-tell", reason: "no DATABASE_URL" })).toBe(
    "cannot tell: no DATABASE_URL",
  );
});

test("the details of no state are empty", () => {
  expect(stateDetails(null)).toEqual({});
  expect(stateDetails({ state: "current", current: ["d4"], heads })).toEqual({
    state: "current",
    current: ["d4"],
    heads,
  });
});

test("says how far a migration came", () => {
  expect(describeProgress(behind(["a1"], ["b2", "c3", "d4"]), behind(["b2"], ["c3", "d4"]))).toBe(
    "3 were pending, 1 was applied: the database is at b2, between a1 and head d4",
  );
});

test("says that a migration from the beginning came nowhere", () => {
  expect(describeProgress(behind([], ["a1"]), behind([], ["a1"]))).toBe(
    "1 was pending, 0 were applied: the database is at no revision, between the beginning and head d4",
  );
});

test("a migration that failed after its last revision had applied all", () => {
  expect(
    describeProgress(behind(["a1"], ["b2", "d4"]), { state: "current", current: ["d4"], heads }),
  ).toBe("2 were pending, 2 were applied: the database is at d4, between a1 and head d4");
});

test("a database that went back has applied none, not fewer than none", () => {
  expect(describeProgress(behind(["c3"], ["d4"]), behind(["a1"], ["b2", "c3", "d4"]))).toBe(
    "1 was pending, 0 were applied: the database is at a1, between c3 and head d4",
  );
});

test.each<State>([
  { state: "ahead", current: ["e5"], heads, unknown: ["e5"] },
  { state: "overlapping", current: ["a1", "b2"], heads, overlap: ["a1", "b2"] },
  { state: "multiple-heads", current: ["a1"], heads: ["d4", "e5"] },
  { state: "cannot-tell", reason: "the connection broke" },
])("counts nothing when the database is $state afterwards", (after) => {
  expect(describeProgress(behind(["a1"], ["b2", "d4"]), after)).toBeNull();
});

test("counts nothing when it was not known what was pending", () => {
  expect(
    describeProgress({ state: "cannot-tell", reason: "no files" }, behind(["a1"], ["d4"])),
  ).toBeNull();
});
