// What each state means for a boot: to migrate, to start as it is, or to stop with an exit code and a
// cure of its own.

import { expect, test } from "vitest";
import { exitCodes, type Failure } from "../../../src/failure.ts";
import { decide, decideWait } from "../../../src/migrate/decide.ts";
import type { State } from "../../../src/state.ts";
import { readSettings } from "../../../src/settings/reading.ts";
import type { Flags } from "../../../src/settings/table.ts";
import { recognise, usualVersionTable } from "../../../src/tools/recognise.ts";

const settingsOf = (flags: Flags = {}) =>
  readSettings({ command: "run", flags, app: ["app"] }, {}, "/srv");

const history = {
  command: await recognise(["alembic", "upgrade", "head"]),
  versionTable: usualVersionTable,
};

const current: State = { state: "current", current: ["c3"], heads: ["c3"] };
const ahead: State = { state: "ahead", current: ["z9"], heads: ["c3"], unknown: ["z9"] };
const diverged: State = {
  state: "diverged",
  current: ["b2", "z9"],
  heads: ["c3"],
  unknown: ["z9"],
  pending: ["c3"],
};
const overlapping: State = {
  state: "overlapping",
  current: ["a1", "b2"],
  heads: ["c3"],
  overlap: ["a1", "b2"],
};
const multipleHeads: State = { state: "multiple-heads", current: ["a1"], heads: ["b2", "c3"] };

function failureOf(state: State, flags: Flags = {}): Failure {
  const plan = decide(settingsOf(flags), state, history);
  if (plan.kind !== "fail") throw new Error(`${state.state} does not fail`);
  return plan.failure;
}

test("a database at head is started from as it is", () => {
  expect(decide(settingsOf(), current, history)).toEqual({
    kind: "go",
    migrate: false,
    warning: null,
    state: "current",
  });
});

test("--always-migrate migrates a database at head", () => {
  expect(decide(settingsOf({ alwaysMigrate: true }), current, history)).toMatchObject({
    migrate: true,
  });
});

test("a database that is behind is migrated", () => {
  const behind: State = { state: "behind", current: [], heads: ["c3"], pending: ["c3"] };
  expect(decide(settingsOf(), behind, history)).toEqual({
    kind: "go",
    migrate: true,
    warning: null,
    state: "behind",
  });
});

test("an unstamped database is migrated, with a warning", () => {
  const unstamped: State = { state: "unstamped", current: [], heads: ["c3"], pending: ["c3"] };
  expect(decide(settingsOf(), unstamped, history)).toMatchObject({
    kind: "go",
    migrate: true,
    state: "unstamped",
    warning: expect.stringContaining("alembic stamp"),
  });
  const failure = failureOf(unstamped, { onUnstamped: "abort" });
  expect(exitCodes[failure.code]).toBe(81);
  expect(failure.hint).toContain("alembic stamp c3");
  const waits = decideWait(settingsOf({ onUnstamped: "abort" }), unstamped, history);
  expect(waits).toMatchObject({ kind: "wait" });
});

test("where nothing can be told the command is run, with the reason", () => {
  expect(
    decide(settingsOf(), { state: "cannot-tell", reason: "no DATABASE_URL" }, history),
  ).toMatchObject({
    kind: "go",
    migrate: true,
    warning: expect.stringContaining("no DATABASE_URL"),
  });
});

test("80: a database that is ahead stops the boot, with both cures", () => {
  const { code, message, hint, details } = failureOf(ahead);
  expect(exitCodes[code]).toBe(80);
  expect(message).toContain("it is at z9");
  expect(hint).toContain("--on-ahead start");
  expect(details).toEqual({ ...ahead });
});

test("--on-ahead start starts from a database that is ahead, with a warning", () => {
  expect(decide(settingsOf({ onAhead: "start" }), ahead, history)).toMatchObject({
    kind: "go",
    migrate: false,
    warning: expect.stringContaining("z9"),
  });
});

test("--on-ahead start never migrates a database that is ahead, not even with --always-migrate", () => {
  const settings = settingsOf({ onAhead: "start", alwaysMigrate: true });
  expect(decide(settings, ahead, history)).toMatchObject({ kind: "go", migrate: false });
});

test("82: overlapping rows stop the boot, and the cure names the ancestor's row", () => {
  const { code, message, hint, details } = failureOf(overlapping);
  expect(exitCodes[code]).toBe(82);
  expect(message).toContain("both a1 and b2");
  expect(hint).toBe(
    "b2 includes a1, so delete that row: delete from alembic_version where version_num = 'a1'",
  );
  expect(details).toEqual({ ...overlapping });
});

test("83: several heads stop the boot, and the cure joins them or takes all", () => {
  const { code, message, hint, details } = failureOf(multipleHeads);
  expect(exitCodes[code]).toBe(83);
  expect(message).toContain("2 heads (b2, c3)");
  expect(hint).toContain("alembic merge -m 'merge b2 and c3' b2 c3");
  expect(hint).toContain("--migrate 'alembic upgrade heads'");
  expect(details).toEqual({ ...multipleHeads });
});

test.each([ahead, overlapping, multipleHeads])(
  "--always-migrate does not migrate a database that is $state",
  (state) => {
    expect(failureOf(state, { alwaysMigrate: true }).code).toBe(state.state);
  },
);

test("who waits goes on at head", () => {
  expect(decideWait(settingsOf(), current, history)).toEqual({ kind: "go", warning: null });
});

test.each(["behind", "unstamped"] as const)(
  "who waits waits for a database that is %s, and says no word of migrating it",
  (name) => {
    const state: State = { state: name, current: [], heads: ["c3"], pending: ["c3"] };
    expect(decideWait(settingsOf(), state, history)).toEqual({ kind: "wait", state });
  },
);

test("80: a database on another branch says what is unknown and what is pending, and is never migrated", () => {
  const failure = failureOf(diverged);
  expect(exitCodes[failure.code]).toBe(80);
  expect(failure.message).toContain("z9, which no migration file has, and pending is c3");
  const settings = settingsOf({ onAhead: "start", alwaysMigrate: true });
  expect(decide(settings, diverged, history)).toMatchObject({
    kind: "go",
    migrate: false,
    warning: expect.stringContaining("z9, which no migration file has, and pending is c3"),
  });
});

test("who waits with --on-ahead start waits for what is pending beside another branch", () => {
  expect(decideWait(settingsOf({ onAhead: "start" }), diverged, history)).toEqual({
    kind: "wait",
    state: diverged,
  });
});

test.each([ahead, diverged, overlapping, multipleHeads])(
  "no waiting helps a database that is $state: it fails as a boot does",
  (state) => {
    expect(decideWait(settingsOf(), state, history)).toEqual(decide(settingsOf(), state, history));
  },
);

test("--on-ahead start lets who waits go on, with the warning of a boot", () => {
  expect(decideWait(settingsOf({ onAhead: "start" }), ahead, history)).toEqual({
    kind: "go",
    warning: expect.stringContaining("z9"),
  });
});

test("86: who waits cannot run the command where nothing can be told, and hears the reason and the cures", () => {
  const plan = decideWait(
    settingsOf(),
    { state: "cannot-tell", reason: "a shell runs it" },
    history,
  );
  if (plan.kind !== "fail") throw new Error("it goes on");
  expect(exitCodes[plan.failure.code]).toBe(86);
  expect(plan.failure.message).toContain("a shell runs it");
  for (const cure of ["--versions", "--version-table", "entrypoint run"]) {
    expect(plan.failure.hint).toContain(cure);
  }
});
