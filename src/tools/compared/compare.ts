// Where a database stands, for every tool of rows.ts: the folder's entries against the table's rows. Guarantees: "current" means
// that the tool would run nothing and refuse nothing; it may be stricter than the tool, and never laxer.

import type { State } from "../../state.ts";
import type { LedgerRecord } from "../tool.ts";
import { canonical, compareIds } from "./folder.ts";
import type { Entry, Row, UnknownRow } from "./row.ts";

export type Policies = Pick<Row, "name" | "order" | "pending" | "older"> & {
  readonly unknownRow: UnknownRow;
};

export interface Applied {
  readonly records: readonly LedgerRecord[];
  /** There are tables besides the tool's own; only known where there are no rows. */
  readonly userTables: boolean;
  /** The tool's own lock, where somebody holds it. */
  readonly lock: string | null;
}

/** The entries that are applied, in their order, and the rows that stand for none. */
export interface Match {
  readonly applied: readonly Entry[];
  /** All that are not applied. */
  readonly pending: readonly Entry[];
  /** Those of `pending` that the tool would run. */
  readonly run: readonly Entry[];
  readonly unknown: readonly string[];
}

export function match(
  policies: Pick<Policies, "order" | "pending" | "older">,
  entries: readonly Entry[],
  records: readonly LedgerRecord[],
): Match {
  const inOrder = compareIds(policies.order);
  const rows = normalize(records, policies.order);
  const newest = rows
    .map(({ id }) => id)
    .toSorted(inOrder)
    .at(-1);
  const ids = new Set(rows.map(({ id }) => id));
  const broken = new Set(rows.filter(({ state }) => state === "broken").map(({ id }) => id));
  const others = new Set(rows.flatMap(({ also }) => (also === null ? [] : [also])));
  const memory = readMemory(rows.map(({ also }) => also));
  const isAbove = ({ id }: Entry) => newest === undefined || inOrder(id, newest) > 0;
  const isApplied = (entry: Entry): boolean => {
    if (broken.has(entry.id)) return false;
    if (policies.pending === "above-newest") {
      return !isAbove(entry) && memory?.lacks(entry.id) !== true;
    }
    if (ids.has(entry.id)) return entry.reruns !== true || !isEdited(entry, rows);
    // A tool that goes by its newest row runs what is above that, whatever it was called before.
    return entry.also !== undefined && others.has(entry.also) && !isAbove(entry);
  };
  const pending = entries.filter((entry) => !isApplied(entry));
  const known = new Set(entries.map(({ id }) => id));
  const knownToo = new Set(entries.flatMap(({ also }) => (also === undefined ? [] : [also])));
  return {
    applied: entries.filter(isApplied),
    pending,
    run: withoutReplaced(entries, pending),
    unknown: rows
      .filter(({ id, also }) => !known.has(id) && !(also !== null && knownToo.has(also)))
      .map(({ id }) => id)
      .toSorted(inOrder),
  };
}

function isEdited({ id, checksum, accepts = [] }: Entry, rows: readonly LedgerRecord[]): boolean {
  if (checksum === undefined) return false;
  const good: readonly (string | null)[] = [checksum, ...accepts];
  return rows.some((row) => row.id === id && !good.includes(row.checksum));
}

/** What replaces others stands for them where none of them is applied; else they are run, and it is recorded with them. */
function withoutReplaced(entries: readonly Entry[], pending: readonly Entry[]): readonly Entry[] {
  const left = new Set(pending.map(({ id }) => id));
  const hidden = new Set<string>();
  for (const { id, replaces = [] } of pending) {
    if (replaces.length === 0) continue;
    const all = replacedBy(entries, replaces);
    const parts = partsOf(entries, replaces);
    const open = parts.filter((one) => left.has(one.id)).length;
    if (open === parts.length) for (const one of all) hidden.add(one);
    else if (open > 0) hidden.add(id);
  }
  const run = pending.filter(({ id }) => !hidden.has(id));
  return run.length === 0 ? pending : run;
}

/** With what those replace in their turn. */
function replacedBy(entries: readonly Entry[], replaces: readonly string[]): ReadonlySet<string> {
  const all = new Set(replaces);
  // What is added is visited too.
  for (const id of all) {
    for (const other of entries.find((entry) => entry.id === id)?.replaces ?? []) all.add(other);
  }
  return all;
}

/** Whether all that is pending is part of what is applied, or replaces what is applied whole. */
function isCovered(entries: readonly Entry[], { applied, pending }: Match): boolean {
  const left = new Set(pending.map(({ id }) => id));
  const parts = applied.map(({ replaces = [] }) => replacedBy(entries, replaces));
  return pending.every(({ id, replaces = [] }) => {
    if (parts.some((all) => all.has(id))) return true;
    const own = partsOf(entries, replaces);
    return own.length > 0 && own.every((one) => !left.has(one.id));
  });
}

/** What replaces nothing itself. */
function partsOf(entries: readonly Entry[], replaces: readonly string[]): readonly Entry[] {
  const all = replacedBy(entries, replaces);
  return entries.filter((one) => all.has(one.id) && one.replaces === undefined);
}

/** The last one of each line of migrations. */
export function lastOf(entries: readonly Entry[]): readonly Entry[] {
  return [...new Map(entries.map((entry) => [entry.branch ?? "", entry])).values()];
}

const memoryMark = "entrypoint: applied";

/** What is kept beside a table that holds the newest version alone. @param applied ids. */
export function formatMemory(applied: readonly string[]): string {
  return [memoryMark, ...applied].join(" ");
}

export function isMemory(text: string): boolean {
  return text.startsWith(`${memoryMark} `);
}

/** Null where nothing is kept, so that all below the newest version counts as applied. */
function readMemory([text]: readonly (string | null)[]): { lacks(id: string): boolean } | null {
  if (text === null || text === undefined || !isMemory(text)) return null;
  const ids = text
    .slice(memoryMark.length + 1)
    .split(" ")
    .filter(isNumber);
  const last = ids.at(-1);
  if (last === undefined) return null;
  const known = new Set(ids);
  const inOrder = compareIds("number");
  // What is above has been applied since, by somebody else.
  return { lacks: (id) => !known.has(id) && inOrder(id, last) < 0 };
}

/** The rows with their ids as entries have them; without those that are no number where the tool has numbers. */
function normalize(
  records: readonly LedgerRecord[],
  order: Policies["order"],
): readonly LedgerRecord[] {
  if (order !== "number") return records;
  return records
    .filter(({ id }) => isNumber(id))
    .map((record) => ({ ...record, id: canonical(record.id) }));
}

function isNumber(id: string): boolean {
  return /^\d+$/.test(id);
}

export function compare(
  policies: Policies,
  entries: readonly Entry[],
  { records: rows, userTables, lock }: Applied,
): State {
  const { name, order, older } = policies;
  const cannotTell = (reason: string): State => ({ state: "cannot-tell", reason });
  const strange = order === "number" ? rows.find(({ id }) => !isNumber(id)) : undefined;
  if (strange !== undefined) return cannotTell(`the row ${strange.id} is no version of ${name}`);
  const records = normalize(rows, order);
  const undone = records.find(({ state }) => state === "undone");
  if (undone !== undefined)
    return cannotTell(`the row of ${undone.id} says that it was undone, or skipped`);
  const inOrder = compareIds(order);
  const matched = match(policies, entries, records);
  const { applied, pending, run, unknown } = matched;
  const names = run.map((entry) => entry.name);
  const heads = lastOf(entries).map((entry) => entry.name);
  const current =
    applied.length === 0 ? unknown.slice(-1) : lastOf(applied).map((entry) => entry.name);

  const broken = records.filter(({ state }) => state === "broken").map(({ id }) => id);
  if (broken.length > 0) {
    const called = broken.map((id) => entries.find((entry) => entry.id === id)?.name ?? id);
    return { state: "broken", current, heads, pending: names, broken: [...new Set(called)] };
  }
  if (entries.length === 0) {
    return unknown.length === 0
      ? cannotTell(`there is no migration of ${name} in the image: is the folder in it?`)
      : { state: "ahead", current, heads, unknown: unknown.slice(-3) };
  }
  if (unknown.length > 0 && policies.unknownRow === "refused") {
    return pending.length === 0
      ? { state: "ahead", current: unknown.slice(-1), heads, unknown }
      : { state: "diverged", current, heads, unknown, pending: names };
  }
  const head = entries.at(-1)?.id ?? "0";
  const missing = unknown.find((id) => inOrder(id, head) < 0);
  if (missing !== undefined && policies.unknownRow === "refused-older") {
    return cannotTell(`${missing} is applied, and no file has it`);
  }
  const edited = applied.find((entry) => isEdited(entry, records));
  if (edited !== undefined) {
    return cannotTell(`${edited.path} is not what was applied as ${edited.name}`);
  }
  if (pending.length === 0) {
    const newer = unknown.filter((id) =>
      lastOf(entries).some(
        (last) =>
          (last.branch === undefined || id.startsWith(`${last.branch}.`)) &&
          inOrder(id, last.id) > 0,
      ),
    );
    return { state: "current", current, heads, ...(newer.length > 0 ? { unknown: newer } : {}) };
  }
  if (lock !== null) return { state: "broken", current, heads, pending: names, broken: [lock] };
  if (records.length === 0) {
    return { state: userTables ? "unstamped" : "behind", current, heads, pending: names };
  }
  const newest =
    records
      .map(({ id }) => id)
      .toSorted(inOrder)
      .at(-1) ?? "0";
  const skipped =
    older === "skipped"
      ? pending.filter(({ id }) => inOrder(id, newest) <= 0).map((entry) => entry.name)
      : [];
  return {
    state: "behind",
    current,
    heads,
    pending: names,
    ...(skipped.length > 0 ? { skipped } : {}),
    ...(isCovered(entries, matched) ? { covered: true } : {}),
  };
}
