// A migration tool that keeps a folder of migrations and a table of the applied ones, as data: how its command is spelled, where
// folder and table are, which entries count, and what it does with the anomalies. compare.ts does the rest for all of them.

import type { Environment } from "../../runtime/environment.ts";
import type { VersionTable } from "../../state.ts";
import type { Words } from "../../context.ts";
import type { Covered } from "../fingerprint.ts";
import type { Options } from "../launchers.ts";
import type { Run } from "../question.ts";
import type { AskedDatabase, ConfiguredUrl, FileSql } from "../tool.ts";

/** What is known, or why it is not. */
export type Found<T> =
  | { readonly kind: "found"; readonly value: T }
  | { readonly kind: "doubt"; readonly reason: string };

export function found<T>(value: T): Found<T> {
  return { kind: "found", value };
}

export function doubt(reason: string): Extract<Found<never>, { kind: "doubt" }> {
  return { kind: "doubt", reason };
}

/** A migration of the image. */
export interface Entry {
  /** As the tool's table writes it; a number without leading zeros. */
  readonly id: string;
  /** What messages call it. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  /** A second id that stands for it too. */
  readonly also?: string;
  /** Of the file, where the table keeps one. */
  readonly checksum?: string;
  /** Other checksums that are as good. */
  readonly accepts?: readonly string[];
  /** The tool runs it again once the checksum is another one. */
  readonly reruns?: true;
  /** Which line of migrations it belongs to, where there are several: each has a newest one. */
  readonly branch?: string;
  /** The ids that it stands for: the tool runs it where none of them is applied, and else those. */
  readonly replaces?: readonly string[];
}

/** How ids follow each other. */
export type Order = "number" | "text" | ((one: string, other: string) => number);

/** The project, as a row looks at it. Paths are relative to `cwd`. */
export interface Project {
  readonly cwd: string;
  readonly env: Environment;
  /** The options of the command, by their first name; the values of a repeated one are lines. */
  readonly flags: ReadonlyMap<string, string>;
  /** The words of the command that are no options, after the verb. */
  readonly rest: readonly string[];
}

/** Where a tool's migrations and its table are, by its configuration. */
export interface Place {
  readonly folders: Found<readonly string[]>;
  readonly table: Found<VersionTable>;
  /** The database's URL, where it is certain that the tool uses it. */
  readonly configured?: ConfiguredUrl | null;
  /** Why the comparison may not be the tool's own, wherever folder and table are. */
  readonly doubt?: string | null;
}

/** How a command is spelled. */
export interface CommandForm {
  readonly programs: readonly string[];
  /** Modules of Python. */
  readonly modules?: readonly string[];
  /** The words that migrate; each is several where any of them does. */
  readonly verb: readonly (readonly string[])[];
  readonly options: Options;
  /** Other names of an option, by each: `{"-d": "--database"}`. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Whether one hyphen or two begin the same option, as in Go. */
  readonly anyHyphens?: boolean;
  /** How many words may follow the verb; none by default. */
  readonly words?: number;
}

/** How the table of the applied migrations is read. All are SQL over its columns. */
export interface LedgerColumns {
  readonly id: string;
  /** Which rows count at all. */
  readonly where?: string;
  /** The migration has begun and not ended. */
  readonly broken?: string;
  /** The row is no plain applied migration, such as one that was undone. */
  readonly undone?: string;
  readonly also?: string;
  readonly checksum?: string;
}

export interface Listing {
  /** In the order in which the tool runs them. */
  readonly entries: readonly Entry[];
  /** Where the folder decides how the table is read. */
  readonly ledger?: LedgerColumns;
  readonly older?: Row["older"];
  readonly order?: Row["order"];
}

/** What a key may be made of. */
interface LockPlace {
  readonly project: Project;
  readonly database: string;
  /** That of the table. */
  readonly schema: string;
  readonly table: string;
}

/** How migrations that are files of SQL are run. */
export interface SqlFiles {
  /** The file of the entry at a path; null where that is none of SQL. The path itself, if it ends with .sql, by default. */
  fileOf?(path: string): string | null;
  /** The lines that begin what goes up, and what goes back. */
  readonly up?: RegExp;
  readonly down?: RegExp;
  /** What parts statements besides a semicolon; global. */
  readonly separator?: RegExp;
  /**
   * `all`: the pending ones share one; `script`: a file is sent in one piece, which the server runs in one where it has several
   * statements.
   */
  readonly transaction: Transaction | ((project: Project) => Transaction);
  /** A file that is run outside of a transaction, and how. */
  readonly bare?: RegExp | ((path: string, text: string) => boolean);
  readonly bareRuns?: "script" | "statements";
  /** What makes the text another one than the SQL that is run, and the reason. */
  readonly unreadable?: readonly (readonly [RegExp, string])[];
  /** How a migration gets a transaction of its own, or none. */
  readonly ownTransactions: string;
}

type Transaction = "each" | "all" | "script";

/** What a tool does with a row that no file has; `refused-older`: with one that is older than the newest file. */
export type UnknownRow = "refused" | "refused-older" | "ignored";

/** What a tool has reported. All of it can be written as JSON. */
export interface Frozen {
  readonly listing: Listing;
  /** The schema of the table, where the tool's own sessions have another search path. */
  readonly schema: string | null;
  /** Why it is not known where the table is; whoever names it knows. */
  readonly tableDoubt: string | null;
  /** Why the comparison may not be the tool's own. */
  readonly doubt: string | null;
  /** Why the command runs at every start. */
  readonly always: string | null;
}

export interface Answer {
  readonly frozen: Frozen;
  /** What it depends on. */
  readonly covered: readonly Covered[];
  /** The variables whose values it depends on. */
  readonly held: readonly string[];
  readonly created: readonly string[];
  /** `3 migrations of 2 applications, by TOOL 1.0` */
  readonly summary: string;
}

/** How a tool is asked, where only it can list its migrations. */
interface Question {
  /** The variables that say where it looks. */
  readonly telling: RegExp;
  /** Lists its migrations without a database. Throws NoAnswer, and Failure "not-found" or "not-executable". @param words of the migration command. */
  ask(words: Words, project: Project, run: Run): Promise<Answer>;
  /** Where its configuration may name the database in code. */
  readonly askDatabase?: (words: Words, project: Project, run: Run) => Promise<AskedDatabase>;
  /** Prints the SQL of its migrations; loaded where it is wanted. */
  readonly loadSql?: (words: Words, project: Project) => Promise<FileSql>;
}

export interface Row {
  /** As --tool takes it: one word in small letters. */
  readonly id: string;
  /** What messages call it. */
  readonly name: string;
  readonly commands: readonly CommandForm[];
  locate(project: Project): Place;
  /** Lists what is in the folders. @param flags of the command. */
  list(folders: readonly string[], project: Project): Found<Listing>;
  /** Asked as the image is built; its answer takes the place of `list`. */
  readonly question?: Question;
  readonly ledger: LedgerColumns;
  /** The table's comment keeps what has been applied, since its rows do not: `also` reads it. */
  readonly remembers?: true;
  /** The tool's tables besides that of the applied migrations, by their names. */
  readonly ownTables?: readonly string[];
  /** A table of the tool's whose row keeps everybody from migrating. `held` is SQL over its columns. */
  readonly lock?: {
    lockTable(table: VersionTable, project: Project): VersionTable;
    readonly held: string;
  };
  /** The key of the advisory lock that the tool takes itself. */
  readonly advisoryLock?: string | ((at: LockPlace) => string);
  /** It tries that lock again and again: nobody is seen to wait for it. */
  readonly polls?: true;
  readonly order: Order;
  /** `above-newest`: the table holds the newest one alone. */
  readonly pending: "missing" | "above-newest";
  readonly unknownRow: UnknownRow | ((project: Project) => UnknownRow);
  /** What it does with a pending migration older than an applied one, besides running or refusing it. */
  readonly older: "runs" | "skipped";
  /** Whether a failed migration leaves nothing, so that it may be run again. */
  readonly resumes: boolean;
  readonly readsOptions: boolean;
  /** Where the migrations are files of SQL. */
  readonly sql?: SqlFiles;
  readonly cures: {
    /** Records all as applied. */
    readonly stamp: string;
    readonly undo: string;
    readonly repair?: string;
    readonly skipped?: string;
    readonly notAtHead?: string;
    readonly cannotTell?: string;
  };
}
