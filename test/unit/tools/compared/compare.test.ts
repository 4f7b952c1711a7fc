// Every state that the comparison of a folder with a table has, for each policy of a tool.

import { expect, test } from "vitest";

import type { LedgerRecord } from "../../../../src/tools/tool.ts";
import { compare, type Policies } from "../../../../src/tools/compared/compare.ts";
import type { Entry } from "../../../../src/tools/compared/row.ts";

const set: Policies = {
  name: "Tool",
  order: "number",
  pending: "missing",
  older: "runs",
  unknownRow: "ignored",
};
const strict: Policies = { ...set, unknownRow: "refused" };
const newest: Policies = { ...strict, pending: "above-newest" };
const skipping: Policies = { ...set, older: "skipped" };

const refusingOlder: Policies = { ...set, unknownRow: "refused-older" };
/** By the last digit. */
const byEnd: Policies = { ...set, order: (a, b) => Number(a.slice(-1)) - Number(b.slice(-1)) };

const keeping: Policies = { ...newest, older: "skipped" };

function entry(id: string): Entry {
  return { id, name: `m${id}`, path: `/m${id}`, also: `hash${id}`, checksum: `sum${id}` };
}

/** `2!` is broken, `2-` is undone, `2#x_y` has another second name, with a space, `2=x` another checksum. */
function record(text: string): LedgerRecord {
  const [, id = "", mark, rest = ""] = /^(\w+)([!#=-]?)(.*)$/.exec(text) ?? [];
  return {
    id,
    state: mark === "!" ? "broken" : mark === "-" ? "undone" : "applied",
    also: mark === "#" ? rest.replaceAll("_", " ") : null,
    checksum: mark === "=" ? rest : `sum${id.replace(/^0+/, "")}`,
  };
}

const rows: [string, Policies, string, string, object][] = [
  ["all applied", set, "1 2", "1 2", { state: "current", current: ["m2"] }],
  ["nothing applied", set, "1 2", "", { state: "behind", current: [], pending: ["m1", "m2"] }],
  ["the newest pending", set, "1 2", "1", { state: "behind", current: ["m1"], pending: ["m2"] }],
  ["numbers, not texts", set, "9 10", "9", { state: "behind", pending: ["m10"] }],
  ["leading zeros in the table", set, "1 2", "001 002", { state: "current" }],
  ["an older one pending", set, "1 2 3", "1 3", { state: "behind", pending: ["m2"] }],
  ["an older one that is skipped", skipping, "1 2 3", "1 3", { skipped: ["m2"] }],
  ["a newer one that is not", skipping, "1 2 3", "1 2", { state: "behind", pending: ["m3"] }],
  ["a second name", skipping, "1 2 3", "1 7#hash2 3", { state: "current" }],
  ["a second name above the newest", skipping, "1 2 9", "1 2#hash9", { pending: ["m9"] }],
  ["an ignored row below the head", set, "1 3", "1 2 3", { state: "current" }],
  ["an ignored row above the head", set, "1 2", "1 2 3", { state: "current", unknown: ["3"] }],
  ["a refused row", strict, "1 2", "1 2 3", { state: "ahead", unknown: ["3"] }],
  [
    "a refused row, and one pending",
    strict,
    "1 2",
    "1 3",
    { state: "diverged", unknown: ["3"], pending: ["m2"] },
  ],
  [
    "a row above the head, where older ones are refused",
    refusingOlder,
    "1 2",
    "1 2 3",
    { state: "current", unknown: ["3"] },
  ],
  ["a row below the head that is refused", refusingOlder, "1 3", "1 2 3", { state: "cannot-tell" }],
  ["an order of the tool's own", byEnd, "91 12", "91 12 53", { state: "current", unknown: ["53"] }],
  ["rows, and no file", set, "", "1 2", { state: "ahead", unknown: ["1", "2"] }],
  ["no row, and no file", set, "", "", { state: "cannot-tell" }],
  ["a row that is no number", set, "1", "1 abc", { state: "cannot-tell" }],
  ["a broken row", set, "1 2", "1 2!", { state: "broken", broken: ["m2"], pending: ["m2"] }],
  ["a broken row of no file", set, "1", "1 2!", { state: "broken", broken: ["2"] }],
  ["an undone row", set, "1 2", "1 2-", { state: "cannot-tell" }],
  ["an edited file", set, "1 2", "1=other 2", { state: "cannot-tell" }],
  ["one row, the newest", newest, "1 2", "2", { state: "current", current: ["m2"] }],
  ["one row, an older one", newest, "1 2 3", "1", { state: "behind", pending: ["m2", "m3"] }],
  ["one row that no file has", newest, "1 2", "5", { state: "ahead", unknown: ["5"] }],
  ["a kept list without one", keeping, "1 2 3", "3#entrypoint:_applied_1_3", { skipped: ["m2"] }],
  ["a kept list with all", keeping, "1 2 3", "3#entrypoint:_applied_1_2_3", { state: "current" }],
  ["a kept list that is older", keeping, "1 2 3", "3#entrypoint:_applied_1", { state: "current" }],
  ["a comment of somebody else's", keeping, "1 2 3", "3#ours:_1", { state: "current" }],
  ["one broken row", newest, "1 2 3", "2!", { state: "broken", pending: ["m2", "m3"] }],
];

test.for(rows)("%s", ([, policies, entries, records, expected]) => {
  const list = (text: string) => text.split(" ").filter(Boolean);
  const state = compare(policies, list(entries).map(entry), {
    records: list(records).map(record),
    userTables: false,
    lock: null,
  });
  expect(state).toMatchObject(expected);
  if (!("skipped" in expected)) expect(state).not.toHaveProperty("skipped");
  if (!("unknown" in expected)) expect(state).not.toHaveProperty("unknown");
});

const text: Policies = { ...set, order: "text" };

/** 1 and 2, a squash of both, 3, and a squash of that squash and 3. */
const squashes = ["a.1", "a.2", "a.s12:a.1,a.2", "a.3", "a.s123:a.s12,a.3", "b.1"].map(
  (given): Entry => {
    const [id = "", replaces = ""] = given.split(":");
    const own = replaces === "" ? {} : { replaces: replaces.split(",") };
    return { id, name: id, path: `/${id}`, branch: id.slice(0, 1), ...own };
  },
);

test.for<[applied: string, expected: object]>([
  ["", { state: "behind", pending: ["a.s123", "b.1"], heads: ["a.s123", "b.1"] }],
  // Some of what it replaces is applied: the others are run.
  ["a.1", { pending: ["a.2", "a.3", "b.1"], current: ["a.1"] }],
  ["a.1 a.2 a.s12", { pending: ["a.3", "b.1"] }],
  // All that it replaces is applied, and its own row is left to be written.
  ["a.1 a.2 a.s12 a.3 b.1", { state: "behind", pending: ["a.s123"], covered: true }],
  // A squash's own row stands for nothing.
  ["a.s12 a.3 a.s123 b.1", { state: "behind", pending: ["a.1", "a.2"], covered: true }],
  ["a.1 a.2 a.s12 a.3 a.s123 b.1", { state: "current", current: ["a.s123", "b.1"] }],
  ["a.1 a.2 a.s12 a.3 a.s123 b.1 b.9 c.1", { state: "current", unknown: ["b.9"] }],
])("what replaces others, with %s applied", ([applied, expected]) => {
  const records = applied
    .split(" ")
    .filter(Boolean)
    .map((id): LedgerRecord => ({ id, state: "applied", also: null, checksum: null }));
  const state = compare(text, squashes, { records, userTables: false, lock: null });
  expect(state).toMatchObject(expected);
});

test("tables without a row are unstamped", () => {
  const applied = { records: [], userTables: true, lock: null };
  expect(compare(set, [entry("1")], applied)).toMatchObject({ state: "unstamped" });
});

test("a lock that is held is in the way of what is pending, and of nothing else", () => {
  const applied = { records: [record("1")], userTables: false, lock: "tool_lock" };
  expect(compare(set, [entry("1")], applied)).toMatchObject({ state: "current" });
  expect(compare(set, [entry("1"), entry("2")], applied)).toMatchObject({
    state: "broken",
    broken: ["tool_lock"],
  });
});

test("a migration that runs again once its file is another one", () => {
  const entries = [entry("1"), { ...entry("2"), reruns: true as const }];
  const at = (...records: readonly string[]) =>
    compare(set, entries, { records: records.map(record), userTables: false, lock: null });
  expect(at("1", "2")).toMatchObject({ state: "current" });
  expect(at("1", "2=other")).toMatchObject({ state: "behind", pending: ["m2"] });
});
