// What the `if` of the shell script meant to decide: whether to migrate, to start as it is, or to abort. Each state that
// must not be started from has its own exit code and its own cure.

import { Failure } from "../exit-codes.ts";
import type { Settings } from "../settings.ts";
import { deleteRowStatement, mergeCommand, stampCommand, upgradeAllCommand } from "./cures.ts";
import {
  stateDetails,
  usualVersionTable,
  type PendingState,
  type State,
  type VersionTable,
} from "./state.ts";

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

type PolicySettings = Pick<Settings, "onAhead" | "alwaysMigrate" | "migrate">;

/** What the state means for this boot. `null` is a boot without a migration command. */
export function decide(
  settings: PolicySettings,
  state: State | null,
  table: VersionTable = usualVersionTable,
): Plan {
  const go = (migrate: boolean, warning: string | null = null): Plan => ({
    kind: "go",
    migrate: migrate || settings.alwaysMigrate,
    warning,
    state: state?.state ?? "none",
  });
  if (state === null) return { kind: "go", migrate: false, warning: null, state: "none" };
  switch (state.state) {
    case "current":
      return go(false);
    case "behind":
      return go(true);
    case "unstamped":
      return go(
        true,
        `The database has tables, but no revision is recorded in it; migrating from the first one on (where they are those of head, this records it: ${stampCommand(settings.migrate, state.heads)})`,
      );
    case "cannot-tell":
      return go(
        true,
        `Cannot tell what is pending, so the migration command is run: ${state.reason}`,
      );
    case "ahead": {
      const unknown = state.unknown.join(", ");
      if (settings.onAhead === "start") {
        return {
          kind: "go",
          migrate: false,
          state: "ahead",
          warning: `The database is ahead of this image, which does not know ${unknown}; starting all the same`,
        };
      }
      return fail(
        "ahead",
        `the database is ahead of this image: it is at ${unknown}, which no revision file has`,
        {
          hint: "deploy the image that has it, or start this one all the same with --on-ahead start",
          details: stateDetails(state),
        },
      );
    }
    case "overlapping": {
      const [ancestor, descendant] = state.overlap;
      return fail(
        "overlapping",
        `the version table holds both ${ancestor} and ${descendant}, which comes after it; Alembic refuses that`,
        {
          hint: `${descendant} includes ${ancestor}, so delete that row: ${deleteRowStatement(table, ancestor)}`,
          details: stateDetails(state),
        },
      );
    }
    case "multiple-heads":
      return fail(
        "multiple-heads",
        `there are ${state.heads.length} heads (${state.heads.join(", ")}), and the target is one head`,
        {
          hint: `join them, and commit the new revision: ${mergeCommand(settings.migrate, state.heads)}; or migrate all of them: --migrate '${upgradeAllCommand(settings.migrate)}'`,
          details: stateDetails(state),
        },
      );
  }
}

/** What the state means for somebody who never migrates. */
export type WaitPlan =
  | { readonly kind: "go"; readonly warning: string | null }
  | { readonly kind: "wait"; readonly state: PendingState }
  | FailPlan;

/** What the state means for `wait`: what another's migration can end is waited for, the rest is decided as for a boot. */
export function decideWait(settings: Settings, state: State, table?: VersionTable): WaitPlan {
  switch (state.state) {
    case "current":
      return { kind: "go", warning: null };
    case "behind":
    case "unstamped":
      return { kind: "wait", state };
    case "cannot-tell":
      return { kind: "fail", failure: cannotTell(state.reason) };
    case "ahead":
    case "overlapping":
    case "multiple-heads": {
      const plan = decide(settings, state, table);
      return plan.kind === "fail" ? plan : { kind: "go", warning: plan.warning };
    }
  }
}

/** Who only waits cannot run the command to be certain, as a boot does. */
export function cannotTell(reason: string): Failure {
  return new Failure(
    "bad-settings",
    `entrypoint wait: cannot tell whether the database is at head: ${reason}`,
    {
      hint: "if env.py chooses the folders or the version table in code, name them with --versions or --version-table; where only Python can tell the revisions, run entrypoint freeze as the image is built; else use entrypoint run, which runs the migration command to be certain",
      details: { state: "cannot-tell", reason },
    },
  );
}

function fail(...[code, message, options]: ConstructorParameters<typeof Failure>): FailPlan {
  return { kind: "fail", failure: new Failure(code, message, options) };
}
