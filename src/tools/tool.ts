// What the rest of the program knows of a migration tool. A tool has a folder beside this file and a line in recognise.ts.
// Guarantees: whatever a tool cannot tell for certain is "cannot-tell", and the migration command is run to be sure.

import type { Connection } from "../postgres/connection.ts";
import type { Session } from "../postgres/sessions.ts";
import type { Context, Words } from "../context.ts";
import type { Step } from "../postgres/steps.ts";
import type { Environment } from "../runtime/environment.ts";
import type { DowngradeTarget, State, VersionTable } from "../state.ts";
import type { Program } from "./launchers.ts";
import type { SourceFile, SqlOrigin } from "./source-file.ts";

export interface Tool {
  /**
   * What a program that a launcher starts means to this tool.
   * @param words the whole command, launcher included.
   * @returns null where the program is not this tool's; a reason where it is, and its words are not understood.
   */
  recognise(program: Program, words: Words): MigrationCommand | string | null;
  /** Whether the program is the tool's own command line, which is no server, and what it does; null where it is not. */
  readCommandLine(program: Program): "changes" | "reads" | null;
}

/** A migration command. Here and in History, the properties that may be missing are what a tool may not be able to do. */
export interface MigrationCommand {
  /** As the user wrote it, launcher included. */
  readonly words: Words;
  /** What messages call it. */
  readonly toolName: string;
  /** What JSON calls it: one word in small letters. */
  readonly toolId: string;
  /** Why entrypoint cannot read what the command would do; null where it can. */
  readonly opaque: string | null;
  /** Why a run that got no lock may not be run again; null where the tool resumes after what was applied. */
  readonly unrepeatable: string | null;
  /** Whether its sessions take settings from PGOPTIONS, where their driver is none that is known not to. */
  readonly readsOptions: boolean;
  /** Whether its project is likely to hand the URL to SQLAlchemy. */
  readonly usesSqlAlchemy?: boolean;
  /** The one migration that it names as its goal; null for the newest. */
  readonly goal: string | null;
  /** Reads the tool's configuration and the migration files, or what is frozen of them. */
  readHistory(options: HistoryOptions): Promise<History>;
  readonly cures: Cures;
  /** Writes what the tool itself reports to a file of the image. Returns the text to print. */
  readonly freeze?: (
    options: HistoryOptions,
    context: Omit<Context<unknown>, "settings">,
  ) => Promise<string>;
  /** Loaded where it is needed: no start needs it. */
  readonly loadSql?: () => Promise<SqlCapability>;
}

/** What a process of the tool is started with, and what ends it. */
export interface Place {
  readonly cwd: string;
  readonly env: Environment;
  readonly stop: AbortSignal;
}

export interface HistoryOptions {
  readonly cwd: string;
  readonly env: Environment;
  /** The user's setting; null: what the tool's configuration says. */
  readonly versionTable: VersionTable | null;
  /** The folders of migrations by the user's setting; empty: what the tool's configuration says. */
  readonly versions: readonly string[];
  /**
   * The schema of the tenant whose history it is: by the user's word the version table is in it, and the command migrates it,
   * perhaps with others. Null where the history is the whole database's.
   */
  readonly tenant: string | null;
  /** What was read for other histories of the same boot, by keys of the tool's own. */
  readonly memo: Map<string, unknown>;
}

/** What the files contain. */
export interface History {
  readonly command: MigrationCommand;
  /** Why the files alone do not say what there is; null where they do. */
  readonly doubt: string | null;
  /** Where it comes from: `files`, `frozen`, or the toolId of a tool that was asked. */
  readonly source: string;
  readonly versionTable: VersionTable;
  /** Whether that is certainly the table: by the user's setting, or since the configuration leaves no doubt. */
  readonly versionTableCertain: boolean;
  /** Why the command runs at every start, although nothing is pending; null or absent where it does not. */
  readonly always?: string | null;
  /** The database's URL in the tool's configuration, where it is certain that the tool uses it. */
  readonly configured: ConfiguredUrl | null;
  /** A frozen history that no longer holds. */
  readonly ignored: { readonly path: string; readonly reason: string } | null;
  /** Reads the applied migrations. */
  readLedger(connection: Connection): Promise<Ledger>;
  /** Whether there are tables besides the tool's own and those of extensions. */
  findUserTables(connection: Connection): Promise<boolean>;
  /** Compares the files with the applied migrations, for the command's target. Only where there is no doubt. */
  resolve(ledger: KnownLedger): State;
  /** The newest migrations, which no other one follows; empty in doubt. */
  readonly heads: readonly string[];
  /** The migrations of these ids that the files have. */
  describe(ids: readonly string[]): readonly Migration[];
  /** Runs the tool itself where the files leave doubt. Nothing is migrated. */
  readonly ask?: (known: Known, place: Place) => Promise<Asked>;
  /** Runs the tool itself up to its first connection, which is not made. */
  readonly askDatabase?: (place: Place) => Promise<AskedDatabase>;
  /** Keeps what is applied now, for a tool whose table does not say all of it. */
  readonly remember?: (connection: Connection) => Promise<void>;
  /**
   * The sessions that hold the advisory lock that the tool itself takes, and are older than the command, which began `agoMs` ago.
   * @param runs the command still does: where it waits in the server, a session counts only while another one waits for it.
   */
  readonly findOwnLock?: (
    connection: Connection,
    agoMs: number,
    runs: boolean,
  ) => Promise<readonly Session[]>;
  /** Where the command has none; loaded where it is needed. */
  readonly loadSql?: () => Promise<FileSql>;
  /** Of a tool whose table lists all that is applied: the newest ones; null in doubt. */
  readonly newest?: (ledger: KnownLedger) => readonly string[] | null;
  readonly undo?: UndoCapability;
  readonly list?: ListCapability;
}

export interface ConfiguredUrl {
  readonly url: string;
  /** What a message calls the place that names it. */
  readonly from: string;
}

/** One migration file. */
export interface Migration {
  readonly id: string;
  /** Its title; may be empty. */
  readonly message: string;
  /** Absolute. */
  readonly path: string;
}

/** The rows of the version table. */
export type Ledger = KnownLedger | { readonly kind: "cannot-tell"; readonly reason: string };

interface KnownLedger {
  readonly kind: "known";
  /** The ids of what is applied. */
  readonly rows: readonly string[];
  /** What the table says besides: one for each of its rows, for a tool to which the ids are not all. */
  readonly records?: readonly LedgerRecord[];
  /** The tool's own lock, where it is held and would be in the way. */
  readonly lock?: string | null;
  /** Without rows: whether there are other tables, so that somebody created them without the tool. */
  readonly userTables: boolean;
}

/** A row of the version table of a tool that keeps more than ids in it. */
export interface LedgerRecord {
  readonly id: string;
  /** `broken`: it has begun and not ended, or failed. */
  readonly state: "applied" | "broken" | "undone";
  /** A second name by which the row stands for a file. */
  readonly also: string | null;
  /** Of the file, as it was. */
  readonly checksum: string | null;
}

/** What cures a state, exact enough to be pasted. Absent where a tool never gets into that state. */
export interface Cures {
  /** Records that the database is at these heads, and runs nothing. */
  stamp(heads: readonly string[]): string;
  /** `multiple-heads` */
  readonly join?: (heads: readonly string[]) => string;
  /** `overlapping`: SQL that deletes the row of the ancestor. */
  readonly deleteRow?: (table: VersionTable, row: string) => string;
  /** Why the tool may report success and leave the database behind. */
  notAtHead(state: State | null): string;
  /** `broken`: what lets the tool go on. @param ids of the migrations that are neither applied nor pending. */
  readonly repair?: (ids: readonly string[]) => string;
  /** `behind`, with migrations that the tool would skip. */
  readonly skipped?: (ids: readonly string[]) => string;
  /** The tool's own command that goes back, where entrypoint cannot run it. */
  readonly undo?: string;
  /** What makes the files readable without the tool. */
  readonly cannotTell: string;
  /** How the application's driver sets a session setting, where PGOPTIONS does not reach it. */
  readonly sessionSetting?: (driver: string, name: string, value: string) => string | null;
}

/** What is known without the tool. */
export interface Known {
  /** The version table, or one that may be it; null where none could be read. */
  readonly ledger: KnownLedger | null;
  readonly userTables: boolean;
}

type Asked =
  | {
      readonly kind: "answered";
      readonly state: Exclude<State, { readonly state: "cannot-tell" }>;
      /** Without doubt. */
      readonly history: History;
    }
  | { readonly kind: "no-answer"; readonly reason: string; readonly cure: string };

/** What the tool would connect to. */
export type AskedDatabase =
  /** In SQLAlchemy's form. */
  | { readonly kind: "url"; readonly url: string }
  /** Another system than PostgreSQL. */
  | { readonly kind: "foreign"; readonly dialect: string }
  | { readonly kind: "no-answer"; readonly reason: string; readonly cure: string };

export interface UndoCapability {
  /** The command that goes back to `target`. */
  words(target: DowngradeTarget): Words;
  /** Throws Failure "bad-settings" or "cannot-tell" where there is no going back to `target`. */
  plan(target: DowngradeTarget, rows: readonly string[]): UndoPlan;
  /** How many of `undone` are no longer applied. */
  countUndone(undone: readonly string[], rows: readonly string[]): number;
}

export type UndoPlan =
  | ({ readonly kind: "undo" } & Undo)
  /** A state from which nothing can be undone. */
  | { readonly kind: "refused"; readonly state: State };

export interface Undo {
  /** The rows now. */
  readonly from: readonly string[];
  /** Ids in the order of the undoing. Empty where the database is there already. */
  readonly undone: readonly string[];
  /** The rows afterwards; empty for the beginning. */
  readonly to: readonly string[];
  /** Those of `undone` that do nothing when they are undone, although they did something. */
  readonly irreversible: readonly string[];
}

type ListVerb = "current" | "heads" | "history";

export interface ListCapability {
  /** The verbs that the version table is read for. */
  readonly needsRows: readonly ListVerb[];
  /** What the tool's own command prints, or a plain list where it has none. @param ledger for those of `needsRows`. */
  print(
    verb: ListVerb,
    options: {
      readonly verbose: boolean;
      readonly ledger: KnownLedger | null;
      readonly database: string;
    },
  ): Listed;
  /** The tool's own commands of these names, for where the files leave doubt. */
  readonly own?: {
    words(verb: ListVerb, options: { readonly verbose: boolean }): Words;
    /** Runs one with an environment in which it only reads. Throws Failure "cannot-tell". */
    readonly readOnly: <T>(env: Environment, run: (env: Environment) => Promise<T>) => Promise<T>;
  };
}

export type Listed =
  | { readonly kind: "known"; readonly text: string }
  | { readonly kind: "cannot-tell"; readonly reason: string }
  /** Rows that no file has. */
  | { readonly kind: "ahead"; readonly rows: readonly string[] };

/** What the lint needs. */
export type FileSql = Omit<SqlCapability, "render"> & {
  readonly render: Omit<RenderCapability, "renderMigration">;
};

export interface SqlCapability {
  /** Throws Failure "not-found" or "not-executable". */
  readonly printSql: (range: SqlRange, place: Place) => Promise<PrintedSql>;
  /** Where each migration begins in a file of SQL that the tool printed earlier; none where it did not. */
  readonly findStarts: (sql: string) => PrintedSql["starts"];
  readonly render: RenderCapability;
}

export interface SqlRange {
  /** The rows of the version table; none from the beginning. */
  readonly from: readonly string[];
  /** A migration's id; null: the command's own target. */
  readonly to: string | null;
  /** The ids that count; null: all that are printed, or all of the range where more is. */
  readonly pending: readonly string[] | null;
  /** Prints what comes before `from` as well, so that it is known what that has done. */
  readonly withHistory: boolean;
  /** Whether the tool may read from the project's database: that is where the range begins. */
  readonly live: boolean;
}

/** The SQL that a migration would run. */
export interface PrintedSql {
  readonly sql: string;
  /** Where the SQL of each migration begins, as an offset into `sql`, in their order. */
  readonly starts: readonly {
    readonly id: string;
    readonly start: number;
    /** Its file; null where only the history knows that. */
    readonly path: string | null;
  }[];
  /** The lines of the migration files that print it, in the order of the SQL; empty where nobody knows them. */
  readonly origins: readonly SqlOrigin[];
  /** The ids of the range, where more was printed; else null. */
  readonly range: readonly string[] | null;
  /** The parts that could not be printed. */
  readonly gaps: readonly SqlGap[];
}

export interface SqlGap {
  /** The migration in which it begins; null: nothing was printed of any. */
  readonly id: string | null;
  readonly cause: string;
  readonly cure: string;
  /** The line of its file that fails, where that is known. */
  readonly line: number | null;
}

export interface RenderCapability {
  /** The lines of a migration file that do what the step does; empty where there are none. */
  renderStep(step: Step): string;
  /** A whole migration file: each statement in a transaction of its own, and how to undo it. */
  renderMigration(migration: {
    readonly id: string;
    readonly title: string;
    /** What it follows, where that is known. */
    readonly after: string | null;
    readonly statements: readonly string[];
    readonly undo: readonly string[];
  }): string;
  /** How each migration gets a transaction of its own: what to write, and where. */
  readonly ownTransactions: string;
  /** Reads the file of a migration; null where there is none. */
  openSource(path: string): SourceFile | null;
}
