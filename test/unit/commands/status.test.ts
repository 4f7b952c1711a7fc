// The table that `status` prints for people: every row that there can be. What it is made of is tested with a real
// database in test/process/commands/status.test.ts.

import { expect, test } from "vitest";
import type { Session } from "../../../src/postgres/sessions.ts";
import { formatStatus, type Status } from "../../../src/commands/status.ts";

const session: Session = {
  pid: 42,
  application: "report",
  user: "blog",
  address: "10.0.0.7",
  forSeconds: 312,
  state: "idle in transaction",
  query: "select 1",
};

const current: Status = {
  state: "current",
  current: ["c3"],
  heads: ["c3"],
  pending: [],
  pendingRevisions: [],
  reason: null,
  cure: null,
  source: "files",
  database: "blog",
  lock: { held: false, holder: null },
  blockedBy: [],
  invalidIndexes: [],
  backfills: [],
  pooled: false,
};

const lines = (status: Partial<Status>, colours = false) =>
  formatStatus({ ...current, ...status }, { colours, verbose: false }).split("\n");

test("at head there is little to say", () => {
  expect(lines({})).toEqual([
    "state       current",
    "current     c3",
    "heads       c3",
    "source      the revision files",
    "database    blog",
    "lock        free",
  ]);
});

test("what is wrong, who is at work and what is left behind are said", () => {
  const status: Partial<Status> = {
    state: "behind",
    current: [],
    pending: ["a1", "b22"],
    pendingRevisions: [
      { id: "a1", message: "one\ntwo", path: "/v/a1.py" },
      { id: "b22", message: "", path: "/v/b22.py" },
    ],
    reason: "why",
    cure: "do",
    source: "alembic",
    lock: { held: true, holder: { ...session, application: "entrypoint web-3", query: "" } },
    blockedBy: [session, { ...session, pid: 43, address: null, state: "" }],
    invalidIndexes: [{ name: "public.i", table: "public.t" }],
    pooled: true,
  };
  expect(lines(status)).toEqual([
    "state       behind (2 pending)",
    "reason      why",
    "cure        do",
    "current     none",
    "heads       c3",
    "pending     a1   one two  /v/a1.py",
    "            b22           /v/b22.py",
    "source      alembic",
    "database    blog",
    "lock        held by pid 42 (entrypoint web-3, user blog, from 10.0.0.7, for 312 s)",
    "blocked by  pid 42 (report, user blog, from 10.0.0.7, for 312 s), idle in transaction: select 1",
    "            pid 43 (report, user blog, from a local socket, for 312 s), state unknown: select 1",
    "invalid     index public.i on public.t: drop it, and create it again",
    "pooler      yes: a direct URL is safer for migrations",
  ]);
});

test("a backfill that runs, and one that has been interrupted, with how to go on", () => {
  const one = { table: "posts", where: "n IS NULL", round: 0, idleSeconds: 200 };
  const backfills = [
    { ...one, name: "posts.n", set: "n = 1", rows: 420, expected: 1_000, session },
    { ...one, name: "posts.m", set: "m = 'x'", rows: 12_000, expected: 9_000, session: null },
  ];
  expect(lines({ backfills }).slice(-3)).toEqual([
    "backfill    posts.n: 42 %, 420 of about 1,000 rows, run by pid 42 (report, user blog, from 10.0.0.7, for 312 s)",
    "            posts.m: 100 %, 12,000 of about 12,000 rows, interrupted 3 min ago; to resume:",
    `            entrypoint backfill --table posts --set 'm = '"'"'x'"'" --where 'n IS NULL' --name posts.m`,
  ]);
});

test("what is not known is not said to be none", () => {
  const status: Partial<Status> = {
    state: "cannot-tell",
    current: null,
    heads: null,
    pending: null,
    pendingRevisions: null,
    reason: "why",
    database: null,
    lock: null,
    blockedBy: null,
    invalidIndexes: null,
    backfills: null,
    pooled: null,
  };
  expect(lines(status)).toEqual([
    "state       cannot-tell",
    "reason      why",
    "current     not known",
    "heads       not known",
    "source      the revision files",
    "database    none known: set DATABASE_URL",
  ]);
});

test.each([
  ["current", 32],
  ["behind", 33],
  ["unstamped", 31],
  ["ahead", 31],
] as const)("%s has a colour on a terminal", (state, colour) => {
  expect(lines({ state }, true)[0]).toBe(`state       \u001B[1;${colour}m${state}\u001B[0m`);
});

test("ten pending revisions are listed, and all of them with --verbose", () => {
  const revisions = Array.from({ length: 454 }, (_, index) => ({
    id: `r${index}`,
    message: "",
    path: `/v/r${index}.py`,
  }));
  const status: Status = {
    ...current,
    state: "behind",
    pending: revisions.map(({ id }) => id),
    pendingRevisions: revisions,
  };
  const short = formatStatus(status, { colours: false, verbose: false }).split("\n");
  expect(short[0]).toBe("state       behind (454 pending)");
  expect(short.filter((line) => line.includes("/v/"))).toHaveLength(10);
  expect(short).toContain("            … and 444 more: --verbose lists them");
  const long = formatStatus(status, { colours: false, verbose: true }).split("\n");
  expect(long.filter((line) => line.includes("/v/"))).toHaveLength(454);
});
