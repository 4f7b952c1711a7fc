// A revision file, as far as it decides what is pending and what is shown.

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
