// The vocabulary of the whole project: what a revision is, and where a database can stand.

/** One revision file. Ids are exactly as written in the file. */
export interface Revision {
  readonly id: string;
  /** `down_revision`: none for a base, one, or several for a merge. */
  readonly downRevisions: readonly string[];
  /** `depends_on` as written: ids or branch labels. */
  readonly dependsOn: readonly string[];
  readonly branchLabels: readonly string[];
  /** `branch_labels` is there, but only Python could tell what it holds. */
  readonly labelsUnknown?: boolean;
  /** The docstring, without the white space around it; empty if there is none. */
  readonly doc?: string;
  /** Only Python could tell what its docstring holds: versions of it differ, or code changes it. */
  readonly docUnknown?: boolean;
  /** Absolute path of the file. */
  readonly path: string;
}

/** Where the rows of applied revisions are. `schema: null` means: found by the search path. */
export interface VersionTable {
  readonly schema: string | null;
  readonly name: string;
}

/** Alembic's own. */
export const usualVersionTable: VersionTable = { schema: null, name: "alembic_version" };

/** What `upgrade` was told to reach. */
export type Target =
  | { readonly kind: "head" }
  | { readonly kind: "heads" }
  | { readonly kind: "revision"; readonly id: string };

/** What `downgrade` was told to go back to. */
export type DowngradeTarget =
  | { readonly kind: "base" }
  /** `-2` */
  | { readonly kind: "relative"; readonly steps: number }
  /** An id, a branch label, or the beginning of just one of them. */
  | { readonly kind: "revision"; readonly name: string };

/**
 * Where the database stands against the revision files.
 * `current` are the rows, `heads` the real heads (no file names them as down_revision or dependency),
 * `pending` is in an order in which Alembic could run it.
 */
export type State =
  | {
      readonly state: "current";
      readonly current: readonly string[];
      readonly heads: readonly string[];
    }
  | {
      readonly state: "behind" | "unstamped";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      readonly pending: readonly string[];
    }
  | {
      readonly state: "ahead";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      /** The rows that no file has. */
      readonly unknown: readonly string[];
    }
  | {
      readonly state: "overlapping";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      /** [ancestor, descendant] */
      readonly overlap: readonly [string, string];
    }
  | {
      readonly state: "multiple-heads";
      readonly current: readonly string[];
      readonly heads: readonly string[];
    }
  | { readonly state: "cannot-tell"; readonly reason: string };

export type CurrentState = Extract<State, { readonly state: "current" }>;

/** Something is left to be run, and a migration that runs now may well be running it. */
export type PendingState = Extract<State, { readonly state: "behind" | "unstamped" }>;

/** The state's facts for a log line. */
export function stateDetails(state: State | null): Record<string, unknown> {
  return state === null ? {} : { ...state };
}

/** `behind: at a1, head c3; pending: b2, c3` */
export function describeState(state: State): string {
  if (state.state === "cannot-tell") return `cannot tell: ${state.reason}`;
  const pending = "pending" in state ? `; pending: ${state.pending.join(", ")}` : "";
  return `${state.state}: at ${listRows(state)}, head ${state.heads.join(", ")}${pending}`;
}

/** `at a1; pending: b2, c3` */
export function describePending(state: PendingState): string {
  return `at ${listRows(state)}; pending: ${state.pending.join(", ")}`;
}

function listRows({ current }: { readonly current: readonly string[] }): string {
  return current.length === 0 ? "no revision" : current.join(", ");
}

/** `3 were pending, 1 was applied: the database is at X, between A and head B` */
export function describeProgress(before: State, after: State): string | null {
  if (!("pending" in before)) return null;
  if (after.state !== "current" && !("pending" in after)) return null;
  const total = before.pending.length;
  const left = new Set("pending" in after ? after.pending : []);
  const applied = before.pending.filter((id) => !left.has(id)).length;
  const from = before.current.length === 0 ? "the beginning" : before.current.join(", ");
  return `${total} ${total === 1 ? "was" : "were"} pending, ${applied} ${applied === 1 ? "was" : "were"} applied: the database is at ${listRows(after)}, between ${from} and head ${after.heads.join(", ")}`;
}
