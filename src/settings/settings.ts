// The settings of each command, as the rest of the program gets them: read, checked, and no more than the command needs.

import type { LogFormat } from "../log/log.ts";
import type { LogLevel, Words } from "../context.ts";
import type { DatabaseAddress } from "../postgres/url.ts";
import type { DatabaseGuess } from "./guess.ts";
import type { SuperviseOptions } from "../process/supervise/supervision.ts";
import type { Service } from "../services/address.ts";
import type { Environment } from "../runtime/environment.ts";
import type { DowngradeTarget, VersionTable } from "../state.ts";

export type Settings =
  | RunSettings
  | MigrateSettings
  | WaitSettings
  | SuperviseSettings
  | ExecSettings
  | ConfigSettings
  | StatusSettings
  | ListSettings
  | DowngradeSettings
  | FreezeSettings
  | LintSettings
  | BackfillSettings;

export type Command = Settings["command"];

export interface CommonSettings {
  /** `--user`: whom to become before any command runs; null for nobody else. */
  readonly user: string | null;
  /** Directories to make and to give to that user. */
  readonly own: readonly string[];
  /** Of all files that are created; null: the inherited one. */
  readonly umask: number | null;
  readonly logFormat: LogFormat;
  readonly logLevel: LogLevel;
  readonly cwd: string;
  /** The environment for every child: secrets read from their files, `*_FILE` removed. */
  readonly env: Environment;
  /** Worth a line in the log, and no reason to stop. */
  readonly warnings: readonly string[];
}

/** The user's setting of the database. */
export type DatabaseSetting =
  | {
      readonly kind: "address";
      readonly address: DatabaseAddress;
      readonly from: string;
      /** Why SQLAlchemy rejects the URL. */
      readonly inSqlAlchemy?: string;
    }
  | { readonly kind: "foreign"; readonly dialect: string; readonly from: string };

/** What becomes of a database that the server does not have: with --create-database a boot makes it, and `wait` waits. */
export type MissingDatabase = "refuse" | "create" | "wait";

/** Of commands that look at the database. */
export interface DatabaseSettings {
  /** Null: the migration tool's configuration may name it. */
  readonly database: DatabaseSetting | null;
  /** From PGHOST and the other variables of libpq: used where the tool's configuration names none. */
  readonly fallbackDatabase: DatabaseAddress | null;
  /** What other variables seem to say, and the project's file that is seen to read them; null where one of the above does, or none. */
  readonly guess: (DatabaseGuess & { readonly reader: string | null }) | null;
  /** Variables that name different databases. */
  readonly conflicting: readonly string[];
  /** Prints the database's password as its last line. */
  readonly passwordCommand: Words | null;
}

/** One history of the database: the command that migrates it, and what the user says of it. */
export interface MigrationSetting {
  /** What messages call it; null where it is the only one. */
  readonly name: string | null;
  readonly words: Words;
  /** What is run in its place on an empty database; null for the command itself. */
  readonly whenEmpty: Words | null;
  /** What is read in the place of the migration command; null for that itself. */
  readonly inspectAs: Words | null;
  /** The migration tool that the command runs, by the user's word; null: the command's words say. */
  readonly tool: string | null;
  readonly versionTable: VersionTable | null;
  readonly versions: readonly string[];
  /** The schema that it is the history of; null where it is the whole database's. */
  readonly tenant: string | null;
}

/** Of commands that read the migration files. */
export interface HistorySettings {
  /** In the order in which they are migrated; none with --no-migrate, for commands that need none. */
  readonly migrations: readonly MigrationSetting[];
}

/** What to become, and how. */
export interface App {
  readonly words: Words;
  readonly mode: "auto" | "exec" | "supervise";
  readonly supervise: SuperviseOptions;
}

/** Of commands that wait for other services first. */
interface ServiceSettings {
  readonly waitFor: readonly Service[];
  readonly waitTimeoutMs: number;
}

/** A command of the project's own, and when it runs. */
export interface Step<When extends string> {
  readonly when: When;
  readonly words: Words;
  /** As the user wrote it: its variables are not expanded. */
  readonly text: string;
}

/** `always`: in every replica, before it waits; `locked`: under the lock, at every boot. */
export type BeforeStep = Step<"always" | "locked" | "before-migration">;
/** All under the lock; `once`: per database. */
export type SetupStep = Step<"always" | "after-migration" | "once">;

/** Of `run`, `migrate` and `wait`. */
export interface StepSettings extends CommonSettings {
  readonly before: readonly BeforeStep[];
}

/** Of `run` and `migrate`. */
export interface StartSettings
  extends StepSettings, DatabaseSettings, HistorySettings, ServiceSettings {
  readonly setup: readonly SetupStep[];
  readonly waitTimeoutMs: number;
  readonly lockTimeoutMs: number;
  /** 0 means no limit. */
  readonly migrateTimeoutMs: number;
  /** How long a statement of the migration may wait for a table lock; null means without a limit. */
  readonly ddlLockTimeoutMs: number | null;
  readonly alwaysMigrate: boolean;
  readonly missingDatabase: MissingDatabase;
  /** Migrate also where no PostgreSQL database is known. */
  readonly noLock: boolean;
  readonly onAhead: "abort" | "start";
  readonly onUnstamped: "abort" | "migrate";
  readonly dryRun: boolean;
  /** What becomes of unsafe operations in the pending migrations. */
  readonly lint: "off" | "warn" | "error";
  /** A table of fewer rows is small to the lint. */
  readonly lintThreshold: number;
}

export interface RunSettings extends StartSettings {
  readonly command: "run";
  readonly app: App;
}

export interface MigrateSettings extends StartSettings {
  readonly command: "migrate";
}

export interface WaitSettings
  extends StepSettings, DatabaseSettings, HistorySettings, ServiceSettings {
  readonly command: "wait";
  /** Null: `wait` exits once the database is at head. */
  readonly app: App | null;
  readonly waitTimeoutMs: number;
  readonly missingDatabase: MissingDatabase;
  readonly onAhead: "abort" | "start";
  readonly dryRun: boolean;
}

export interface SuperviseSettings extends CommonSettings, ServiceSettings {
  readonly command: "supervise";
  readonly app: App;
}

export interface ExecSettings extends CommonSettings {
  readonly command: "exec";
  readonly app: App;
  readonly dryRun: boolean;
}

export interface ConfigSettings extends CommonSettings {
  readonly command: "config";
  readonly role: string | null;
  readonly entries: readonly Entry[];
  readonly json: boolean;
}

/** A setting in force. */
export interface Entry {
  /** Its flag without the dashes, or `app`. */
  readonly name: string;
  /** Null where there is none. */
  readonly value: string | readonly string[] | null;
  readonly source: string;
}

/** What the user says of an APP that begins with these words. */
export type OneOffRule =
  | { readonly kind: "one-off" | "boots"; readonly words: Words }
  /** Nothing is a one-off command, but for what other rules say. */
  | { readonly kind: "none" };

export interface StatusSettings extends CommonSettings, DatabaseSettings, HistorySettings {
  readonly command: "status";
  readonly json: boolean;
  readonly verbose: boolean;
}

export interface ListSettings extends CommonSettings, DatabaseSettings, HistorySettings {
  readonly command: "current" | "heads" | "history";
  readonly verbose: boolean;
}

export interface DowngradeSettings extends CommonSettings, DatabaseSettings, HistorySettings {
  readonly command: "downgrade";
  readonly target: DowngradeTarget;
  /** Run even when a safety check fails. */
  readonly force: boolean;
  readonly waitTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly migrateTimeoutMs: number;
  readonly dryRun: boolean;
}

export interface FreezeSettings extends CommonSettings, HistorySettings {
  readonly command: "freeze";
}

export interface LintSettings extends CommonSettings, DatabaseSettings, HistorySettings {
  readonly command: "lint";
  readonly lintThreshold: number;
  /** What is read instead of the pending migrations. */
  readonly sqlFile: string | null;
  readonly range: { readonly from: readonly string[]; readonly to: string } | null;
  readonly format: LintFormat;
}

export const lintFormats = ["text", "json", "github", "sarif"] as const;
type LintFormat = (typeof lintFormats)[number];

export interface BackfillSettings extends CommonSettings, DatabaseSettings, HistorySettings {
  readonly command: "backfill";
  readonly job: BackfillOptions;
  readonly waitTimeoutMs: number;
  readonly dryRun: boolean;
}

export interface BackfillOptions {
  readonly table: string;
  readonly set: string;
  readonly where: string;
  /** Null: the table and the columns make one. */
  readonly name: string | null;
  /** What a batch should take, in milliseconds. */
  readonly batchTimeMs: number;
  /** How far a replica may be behind, in milliseconds; 0 means no limit. */
  readonly maxLagMs: number;
}

/** The application to start; null where none is. */
export function appOf(settings: Settings): App | null {
  return "app" in settings ? settings.app : null;
}
