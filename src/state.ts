// Where a database can stand against the migration files: the words in which every part of the program speaks of it.

/** The table of applied migrations. `schema: null`: found by the search path. */
export interface VersionTable {
  readonly schema: string | null;
  readonly name: string;
}

/** What `downgrade` was told to go back to. */
export type DowngradeTarget =
  | { readonly kind: "base" }
  /** `-2` */
  | { readonly kind: "relative"; readonly steps: number }
  /** An id, a branch label, or the beginning of just one of them. */
  | { readonly kind: "revision"; readonly name: string };

/**
 * Where the database stands against the migration files.
 * `current` are the rows of the version table, or the newest one of a table with a row for each migration; `heads` the newest
 * migrations, which no other one follows; `pending` is in an order in which the tool could run it.
 */
export type State =
  | {
      readonly state: "current";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      /** Rows that no file has, and that come after all files, where the tool takes no notice of them. */
      readonly unknown?: readonly string[];
    }
  | {
      readonly state: "behind" | "unstamped";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      readonly pending: readonly string[];
      /** Those of `pending` that the tool would never run, and report success. */
      readonly skipped?: readonly string[];
      /** All of `pending` is part of what is applied, or replaces it, so the tool may have nothing to run, and only it can tell. */
      readonly covered?: true;
    }
  | {
      /** What a failed or killed migration has left in the tool's tables: the tool refuses to go on. */
      readonly state: "broken";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      readonly pending: readonly string[];
      /** Ids of migrations that have begun and not ended, or the name of a lock that is held. */
      readonly broken: readonly string[];
    }
  | {
      readonly state: "ahead";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      /** The rows that no file has. */
      readonly unknown: readonly string[];
    }
  | {
      /** On a branch that no file has, while another row shows what is pending of the files' own. */
      readonly state: "diverged";
      readonly current: readonly string[];
      readonly heads: readonly string[];
      readonly unknown: readonly string[];
      /** What is certain: what a row that no file has may have brought along is not in it. */
      readonly pending: readonly string[];
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

/** Something is left to be run, and a migration that runs now may well be running it. */
export type PendingState = Extract<
  State,
  { readonly state: "behind" | "unstamped" | "broken" | "diverged" }
>;

/** The state's facts for a log line. */
export function stateDetails(state: State | null): Record<string, unknown> {
  return state === null ? {} : { ...state };
}

/** `behind: at a1, head c3; pending: b2, c3` */
export function describeState(state: State): string {
  if (state.state === "cannot-tell") return `cannot tell: ${state.reason}`;
  const pending = "pending" in state ? `; pending: ${state.pending.join(", ")}` : "";
  const unknown =
    "unknown" in state && state.unknown !== undefined
      ? `; in no file: ${state.unknown.join(", ")}`
      : "";
  const broken = "broken" in state ? `; not finished: ${state.broken.join(", ")}` : "";
  return `${state.state}: at ${listRows(state)}, head ${state.heads.join(", ")}${pending}${broken}${unknown}`;
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
