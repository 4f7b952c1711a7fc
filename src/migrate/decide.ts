// What the `if` of the shell script meant to decide: whether to migrate, to start as it is, or to abort. Each state that
// must not be started from has its own exit code and its own cure.

import { Failure } from "../failure.ts";
import type { StartSettings } from "../settings/settings.ts";
import { stateDetails, type PendingState, type State } from "../state.ts";
import type { History } from "../tools/tool.ts";
import { describeWords } from "../log/words.ts";

export type Plan =
  | {
      readonly kind: "go";
      readonly migrate: boolean;
      readonly warning: string | null;
      readonly state: string;
    }
  | FailPlan;

interface FailPlan {
  readonly kind: "fail";
  readonly failure: Failure;
}

export interface Policy extends Pick<StartSettings, "onAhead" | "onUnstamped" | "alwaysMigrate"> {
  /** Nobody else is kept from migrating yet: what looks like the rest of a failed migration may be one that runs. */
  readonly unlocked?: boolean;
  /** Nothing is migrated: what a migration command does besides does not matter. */
  readonly reports?: true;
}

/** For those who only report or wait: nothing is migrated without need, and nothing is started on a newer database. */
export const strictPolicy: Policy = {
  onAhead: "abort",
  onUnstamped: "migrate",
  alwaysMigrate: false,
  reports: true,
};

/** What the state of a history means for this boot. */
export function decide(
  policy: Policy,
  state: State,
  history: Pick<History, "command" | "versionTable" | "always">,
): Plan {
  const always = history.always ?? null;
  const go = (migrate: boolean, warning: string | null = null): Plan => ({
    kind: "go",
    migrate: migrate || policy.alwaysMigrate,
    warning,
    state: state.state,
  });
  const { cures, toolName, opaque, words } = history.command;
  switch (state.state) {
    case "current":
      return go(
        always !== null && policy.reports !== true,
        state.unknown === undefined
          ? always === null || policy.reports === true
            ? null
            : `Nothing is pending, and the migration command runs all the same: ${always}`
          : `The database has ${state.unknown.join(", ")}, which this image does not have, and which ${toolName} ignores; starting anyway`,
      );
    case "behind": {
      const { skipped } = state;
      if (skipped === undefined) return go(true);
      return fail(
        "not-at-head",
        `${toolName} would skip ${skipped.join(", ")} for ever and report success: a newer migration is applied already`,
        { ...hint(cures.skipped?.(skipped)), details: stateDetails(state) },
      );
    }
    case "broken":
      if (policy.unlocked === true) return go(true);
      return fail(
        "broken",
        `an earlier migration did not end: ${state.broken.join(", ")}; ${toolName} refuses to go on`,
        { ...hint(cures.repair?.(state.broken)), details: stateDetails(state) },
      );
    case "unstamped":
      if (policy.onUnstamped === "abort") {
        return fail("unstamped", "the database has tables, but no revision is recorded in it", {
          hint: `if the tables match head: ${cures.stamp(state.heads)}; else stamp the revision that they are at; --on-unstamped migrate runs every revision from the first one on`,
          details: stateDetails(state),
        });
      }
      return go(
        true,
        `The database has tables, but no revision is recorded in it; migrating from the first one on (if the tables match head, this records it: ${cures.stamp(state.heads)})`,
      );
    case "cannot-tell":
      return go(
        true,
        opaque === null
          ? `Cannot tell what is pending, so the migration command runs: ${state.reason}`
          : `Running ${describeWords(words)} at every boot: ${opaque}; --inspect-as can name the migration tool's own command`,
      );
    case "ahead": {
      const unknown = state.unknown.join(", ");
      if (policy.onAhead === "start") {
        return {
          kind: "go",
          migrate: false,
          state: "ahead",
          warning: `The database is ahead of this image, which does not have ${unknown}; starting anyway`,
        };
      }
      return fail(
        "ahead",
        `the database is ahead of this image: it is at ${unknown}, which no migration file has`,
        {
          hint: "deploy the image that has it, or start this one anyway with --on-ahead start",
          details: stateDetails(state),
        },
      );
    }
    case "diverged": {
      const unknown = state.unknown.join(", ");
      const pending = state.pending.join(", ");
      const what = `it is at ${unknown}, which no migration file has, and pending is ${pending}`;
      if (policy.onAhead === "start") {
        return {
          kind: "go",
          migrate: false,
          state: "diverged",
          warning: `The database is on another branch than this image: ${what}; starting anyway`,
        };
      }
      return fail("ahead", `the database is on another branch than this image: ${what}`, {
        hint: "deploy an image that has both, and a revision that joins them; or start this one anyway with --on-ahead start",
        details: stateDetails(state),
      });
    }
    case "overlapping": {
      const [ancestor, descendant] = state.overlap;
      return fail(
        "overlapping",
        `the version table holds both ${ancestor} and ${descendant}, which comes after it; ${toolName} refuses that`,
        {
          ...hint(
            cures.deleteRow === undefined
              ? undefined
              : `${descendant} includes ${ancestor}, so delete that row: ${cures.deleteRow(history.versionTable, ancestor)}`,
          ),
          details: stateDetails(state),
        },
      );
    }
    case "multiple-heads":
      return fail(
        "multiple-heads",
        `there are ${state.heads.length} heads (${state.heads.join(", ")}), and the target is one head`,
        { ...hint(cures.join?.(state.heads)), details: stateDetails(state) },
      );
  }
}

/** What the state means for a command that never migrates. */
export type WaitPlan =
  | { readonly kind: "go"; readonly warning: string | null }
  | { readonly kind: "wait"; readonly state: PendingState }
  | FailPlan;

/** What the state means for `wait`: it waits for what another's migration can change, and decides the rest as a boot does. */
export function decideWait(
  policy: Pick<Policy, "onAhead">,
  state: State,
  history: Pick<History, "command" | "versionTable">,
): WaitPlan {
  switch (state.state) {
    case "current":
      return refuse(policy, state, history);
    // What looks like the rest of a failed migration may be one that runs.
    case "broken":
    case "unstamped":
      return { kind: "wait", state };
    case "behind":
      if (state.skipped === undefined) return { kind: "wait", state };
      return refuse(policy, state, history);
    case "cannot-tell":
      return { kind: "fail", failure: cannotTell(history, state.reason) };
    case "diverged":
    case "ahead":
    case "overlapping":
    case "multiple-heads": {
      // Whoever applies what is pending may yet come.
      if (state.state === "diverged" && policy.onAhead === "start") return { kind: "wait", state };
      return refuse(policy, state, history);
    }
  }
}

function refuse(
  policy: Pick<Policy, "onAhead">,
  state: State,
  history: Pick<History, "command" | "versionTable">,
): WaitPlan {
  const plan = decide({ ...strictPolicy, ...policy, alwaysMigrate: false }, state, history);
  return plan.kind === "fail" ? plan : { kind: "go", warning: plan.warning };
}

/** A wait cannot run the command to be certain, as a boot does. */
export function cannotTell({ command }: Pick<History, "command">, reason: string): Failure {
  return new Failure(
    "cannot-tell",
    `entrypoint wait: cannot tell whether the database is at head: ${reason}`,
    {
      hint: command.cures.cannotTell,
      details: { state: "cannot-tell", reason },
    },
  );
}

function hint(cure: string | undefined): { hint?: string } {
  return cure === undefined ? {} : { hint: cure };
}

function fail(...[code, message, options]: ConstructorParameters<typeof Failure>): FailPlan {
  return { kind: "fail", failure: new Failure(code, message, options) };
}
