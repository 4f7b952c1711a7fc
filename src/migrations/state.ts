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
  /** Absolute path of the file. */
  readonly path: string;
}

/** Where the rows of applied revisions are. `schema: null` means: found by the search path. */
export interface VersionTable {
  readonly schema: string | null;
  readonly name: string;
}

/** What `upgrade` was told to reach. */
export type Target =
  | { readonly kind: "head" }
  | { readonly kind: "heads" }
  | { readonly kind: "revision"; readonly id: string };

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
