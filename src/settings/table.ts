// Every setting in one table: its flag, its variable, its default, the commands that it concerns, and its line of help.
// A new setting is a row here, a property in settings.ts and a line in command-settings.ts.

import { logLevels } from "../log/log.ts";
import { defaultMigration } from "./defaults.ts";
import type { Command } from "./settings.ts";

/** One row: `flags` as commander writes them. A row without a variable is for the command line alone. */
export interface SettingRow {
  readonly flags: string;
  readonly variable: string | null;
  readonly initial: string | null;
  readonly repeatable?: true;
  /** The commands to which it means something, unless it is all of them. */
  readonly commands?: readonly Command[];
  readonly help: string;
}

const databaseCommands = ["run", "migrate", "wait"] as const;
/** Those that change the database, under the lock. */
const lockingCommands = ["run", "migrate", "downgrade"] as const;
/** Those that wait for the database to answer. */
const connectingCommands = [...databaseCommands, "downgrade", "backfill"] as const;
const listingCommands = ["current", "heads", "history"] as const;
/** Those that read what the migration command would read. */
const readingCommands = [
  ...databaseCommands,
  "status",
  ...listingCommands,
  "downgrade",
  "lint",
] as const;
const graphCommands = [...readingCommands, "freeze", "backfill"] as const;
/** Those that start an APP after something else, or stay in front of it. */
export const startingCommands = ["run", "wait", "supervise"] as const;

export const settingTable = {
  migrate: {
    flags: "--migrate <command>",
    variable: "ENTRYPOINT_MIGRATE",
    initial: defaultMigration,
    repeatable: true,
    commands: graphCommands,
    help: "the migration command, split into words as a shell would; empty for none; if=NAME: run migrates where NAME is on (several: the variable has one a line)",
  },
  whenEmpty: {
    flags: "--when-empty <command>",
    variable: "ENTRYPOINT_WHEN_EMPTY",
    initial: null,
    repeatable: true,
    commands: ["run", "migrate"],
    help: "what to run in the place of --migrate on an empty database; it must record a revision",
  },
  noMigrate: {
    flags: "--no-migrate",
    variable: null,
    initial: null,
    commands: graphCommands,
    help: "run no migration",
  },
  inspectAs: {
    flags: "--inspect-as <command>",
    variable: "ENTRYPOINT_INSPECT_AS",
    initial: null,
    repeatable: true,
    commands: graphCommands,
    help: "the migration tool's own command that --migrate amounts to: this one is read, that one is run",
  },
  tool: {
    flags: "--tool <name>",
    variable: "ENTRYPOINT_TOOL",
    initial: null,
    repeatable: true,
    commands: graphCommands,
    help: "the migration tool that the command runs, where its words do not say; folder:COLUMN[:PATTERN] for one of your own",
  },
  before: {
    flags: "--before <command>",
    variable: "ENTRYPOINT_BEFORE",
    initial: null,
    repeatable: true,
    commands: databaseCommands,
    help: "a command to run first of all, in every replica; when=locked: under the lock; when=before-migration; if=NAME: where NAME is on (the variable: one a line)",
  },
  setup: {
    flags: "--setup <command>",
    variable: "ENTRYPOINT_SETUP",
    initial: null,
    repeatable: true,
    commands: ["run", "migrate"],
    help: "a command to run after the migrations, under the lock, at every boot; when=after-migration, when=once per database; if=NAME: where NAME is on (the variable: one a line)",
  },
  databaseUrl: {
    flags: "--database-url <url>",
    variable: "DATABASE_URL",
    initial: null,
    commands: [...readingCommands, "backfill"],
    help: "in SQLAlchemy's or libpq's form, before it ENTRYPOINT_DATABASE_URL, with ${NAME} and its forms; else what the project says",
  },
  databasePasswordCommand: {
    flags: "--database-password-command <command>",
    variable: "ENTRYPOINT_DATABASE_PASSWORD_COMMAND",
    initial: null,
    commands: [...readingCommands, "backfill"],
    help: "prints the password as its last line; it runs before each connection, for 20s at most",
  },
  createDatabase: {
    flags: "--create-database",
    variable: "ENTRYPOINT_CREATE_DATABASE",
    initial: "off",
    commands: databaseCommands,
    help: "create the database where the server does not have it; wait: wait for the one who does",
  },
  noLock: {
    flags: "--no-lock",
    variable: "ENTRYPOINT_NO_LOCK",
    initial: "off",
    commands: ["run", "migrate"],
    help: "migrate without a lock where no PostgreSQL database is known, instead of refusing that",
  },
  waitFor: {
    flags: "--wait-for <url>",
    variable: "ENTRYPOINT_WAIT_FOR",
    initial: null,
    repeatable: true,
    commands: [...databaseCommands, "supervise"],
    help: "a service that must answer first: tcp://HOST:PORT, redis://, amqp://, http(s):// (2xx), unix:PATH, with ${NAME} (the variable: separated by spaces)",
  },
  waitTimeout: {
    flags: "--wait-timeout <duration>",
    variable: "ENTRYPOINT_WAIT_TIMEOUT",
    initial: "60s",
    commands: [...connectingCommands, "supervise"],
    help: "how long to wait for the database to answer; with the command wait, to be at head; so long before for --wait-for",
  },
  lockTimeout: {
    flags: "--lock-timeout <duration>",
    variable: "ENTRYPOINT_LOCK_TIMEOUT",
    initial: "10m",
    commands: lockingCommands,
    help: "how long to wait for another replica's migration; with --ddl-lock-timeout, also for a table lock",
  },
  migrateTimeout: {
    flags: "--migrate-timeout <duration>",
    variable: "ENTRYPOINT_MIGRATE_TIMEOUT",
    initial: "0",
    commands: lockingCommands,
    help: "how long the migration, or the downgrade, may take; 0 is no limit",
  },
  ddlLockTimeout: {
    flags: "--ddl-lock-timeout <duration>",
    variable: "ENTRYPOINT_DDL_LOCK_TIMEOUT",
    initial: "off",
    commands: ["run", "migrate"],
    help: "PostgreSQL's lock_timeout for the migration, which is retried when it gets no lock; 2s or more",
  },
  alwaysMigrate: {
    flags: "--always-migrate",
    variable: "ENTRYPOINT_ALWAYS_MIGRATE",
    initial: "off",
    commands: ["run", "migrate"],
    help: "run the migration command even when the database is at head",
  },
  versionTable: {
    flags: "--version-table <[schema.]name>",
    variable: "ENTRYPOINT_VERSION_TABLE",
    initial: null,
    repeatable: true,
    commands: graphCommands,
    help: "the version table, where the project names it in code",
  },
  versions: {
    flags: "--versions <dir>",
    variable: "ENTRYPOINT_VERSIONS",
    initial: null,
    repeatable: true,
    commands: graphCommands,
    help: "a folder of revisions, where the project names it in code (the variable: separated by ':')",
  },
  tenants: {
    flags: "--tenant <schema>",
    variable: "ENTRYPOINT_TENANTS",
    initial: null,
    repeatable: true,
    commands: graphCommands,
    help: "a schema with a version table of its own; {tenant} stands for it in --migrate (the variable: separated by ',')",
  },
  onAhead: {
    flags: "--on-ahead <abort|start>",
    variable: "ENTRYPOINT_ON_AHEAD",
    initial: "abort",
    commands: databaseCommands,
    help: "what to do when the database is newer than this image",
  },
  oneOff: {
    flags: "--one-off <command>",
    variable: "ENTRYPOINT_ONE_OFF",
    initial: null,
    repeatable: true,
    commands: ["run"],
    help: "an APP that begins so is started at once, without a boot; !COMMAND boots; off: all boot (the variable: one a line)",
  },
  onUnstamped: {
    flags: "--on-unstamped <abort|migrate>",
    variable: "ENTRYPOINT_ON_UNSTAMPED",
    initial: "migrate",
    commands: ["run", "migrate"],
    help: "what to do when there are tables and no revision is recorded",
  },
  mode: {
    flags: "--mode <auto|exec|supervise>",
    variable: "ENTRYPOINT_MODE",
    initial: "auto",
    commands: ["run", "wait"],
    help: "how to start APP; auto is exec where the runtime can",
  },
  user: {
    flags: "--user <name[:group]>",
    variable: "ENTRYPOINT_USER",
    initial: null,
    help: "the user to become before any command runs; ${NAME} and its forms are expanded, such as ${PUID:-1000}:${PGID:-1000}",
  },
  own: {
    flags: "--own <dir>",
    variable: "ENTRYPOINT_OWN",
    initial: null,
    repeatable: true,
    commands: [...databaseCommands, "supervise", "exec"],
    help: "a directory to make, and to give to --user with all that is in it, before root is given up (the variable: separated by ':')",
  },
  chdir: {
    flags: "--chdir <dir>",
    variable: "ENTRYPOINT_CHDIR",
    initial: null,
    help: "the directory to work in; relative paths of other settings begin there",
  },
  umask: {
    flags: "--umask <mask>",
    variable: "ENTRYPOINT_UMASK",
    initial: null,
    help: "the umask of all commands and of APP, such as 027",
  },
  expand: {
    flags: "--expand",
    variable: "ENTRYPOINT_EXPAND",
    initial: "off",
    commands: [...startingCommands, "exec"],
    help: "expand ${NAME} and its forms in the command line's APP, as in the commands of settings",
  },
  role: {
    flags: "--role <name>",
    variable: "ENTRYPOINT_ROLE",
    initial: null,
    help: "the role in entrypoint.toml, or in [tool.entrypoint] of pyproject.toml; its name as the first word is the same; ${NAME} and its forms are expanded, such as ${SERVICE:-web}",
  },
  envFile: {
    flags: "--env-file <file>",
    variable: "ENTRYPOINT_ENV_FILE",
    initial: null,
    repeatable: true,
    help: "variables for entrypoint and all that it starts; what is set already is kept (the variable: separated by ':')",
  },
  secrets: {
    flags: "--secret <name>",
    variable: "ENTRYPOINT_SECRETS",
    initial: "DATABASE_URL",
    repeatable: true,
    help: "a variable to read from the file that NAME_FILE names (the variable: separated by ',')",
  },
  drainDelay: {
    flags: "--drain-delay <duration>",
    variable: "ENTRYPOINT_DRAIN_DELAY",
    initial: "0",
    commands: startingCommands,
    help: "supervise: how long to hold SIGTERM back, so that load balancers stop sending requests",
  },
  stopTimeout: {
    flags: "--stop-timeout <duration>",
    variable: "ENTRYPOINT_STOP_TIMEOUT",
    initial: "30s",
    commands: startingCommands,
    help: "supervise: how long from SIGTERM to SIGKILL; 0 is no limit",
  },
  signalScope: {
    flags: "--signal-scope <child|group>",
    variable: "ENTRYPOINT_SIGNAL_SCOPE",
    initial: "child",
    commands: startingCommands,
    help: "supervise: forward signals to APP alone, or to its process group (HUP, TTIN, TTOU, USR1, USR2: always to APP)",
  },
  secondTerm: {
    flags: "--second-term <kill|forward>",
    variable: "ENTRYPOINT_SECOND_TERM",
    initial: "kill",
    commands: startingCommands,
    help: "supervise: what a SIGTERM does that comes more than a second after the first one",
  },
  mapSignal: {
    flags: "--map-signal <from:to>",
    variable: "ENTRYPOINT_MAP_SIGNAL",
    initial: null,
    repeatable: true,
    commands: startingCommands,
    help: "supervise: forward a signal as another one, TERM:QUIT; 0 drops it (the variable: separated by ',')",
  },
  mapExit: {
    flags: "--map-exit <from=to>",
    variable: "ENTRYPOINT_MAP_EXIT",
    initial: null,
    repeatable: true,
    commands: startingCommands,
    help: "supervise: exit with another code than APP's, 143=0 (the variable: separated by ',')",
  },
  waitAll: {
    flags: "--wait-all",
    variable: "ENTRYPOINT_WAIT_ALL",
    initial: "off",
    commands: startingCommands,
    help: "supervise: exit only when every descendant of APP has ended",
  },
  leaveGroup: {
    flags: "--leave-group",
    variable: "ENTRYPOINT_LEAVE_GROUP",
    initial: "off",
    commands: startingCommands,
    help: "supervise: exit with APP, and leave the rest of its process group alone",
  },
  parentDeathSignal: {
    flags: "--parent-death-signal <signal>",
    variable: "ENTRYPOINT_PARENT_DEATH_SIGNAL",
    initial: null,
    commands: startingCommands,
    help: "supervise: the signal to receive when the parent of entrypoint dies",
  },
  table: {
    flags: "--table <[schema.]name>",
    variable: null,
    initial: null,
    commands: ["backfill"],
    help: "backfill: the table",
  },
  set: {
    flags: "--set <assignments>",
    variable: null,
    initial: null,
    commands: ["backfill"],
    help: "backfill: the assignments, as an UPDATE has them after SET",
  },
  where: {
    flags: "--where <condition>",
    variable: null,
    initial: null,
    commands: ["backfill"],
    help: "backfill: the rows to update; an updated row must no longer match",
  },
  batchTime: {
    flags: "--batch-time <duration>",
    variable: null,
    initial: "500ms",
    commands: ["backfill"],
    help: "backfill: how long a batch should take; its size adapts",
  },
  maxLag: {
    flags: "--max-lag <duration>",
    variable: null,
    initial: "5s",
    commands: ["backfill"],
    help: "backfill: how far a replica may lag before the backfill pauses; 0 is no limit",
  },
  name: {
    flags: "--name <name>",
    variable: null,
    initial: null,
    commands: ["backfill"],
    help: "backfill: the name of the job, instead of TABLE.COLUMN",
  },
  dryRun: {
    flags: "--dry-run",
    variable: null,
    initial: null,
    commands: [...connectingCommands, "exec"],
    help: "print what would happen, and why; change nothing",
  },
  force: {
    flags: "--force",
    variable: null,
    initial: null,
    commands: ["downgrade"],
    help: "downgrade: run even when a safety check fails",
  },
  lint: {
    flags: "--lint <off|warn|error>",
    variable: "ENTRYPOINT_LINT",
    initial: "off",
    commands: ["run", "migrate"],
    help: "lint the pending migrations before they run; error refuses unsafe ones",
  },
  lintThreshold: {
    flags: "--lint-threshold <rows>",
    variable: "ENTRYPOINT_LINT_THRESHOLD",
    initial: "10000",
    commands: ["run", "migrate", "lint"],
    help: "tables with fewer rows count as small: a full read or rewrite is a note, not an error",
  },
  sqlFile: {
    flags: "--sql <file>",
    variable: null,
    initial: null,
    commands: ["lint"],
    help: "lint: read this SQL instead of the pending migrations",
  },
  range: {
    flags: "--range <from:to>",
    variable: null,
    initial: null,
    commands: ["lint"],
    help: "lint: these revisions instead of the pending ones, base:head",
  },
  format: {
    flags: "--format <text|json|github|sarif>",
    variable: null,
    initial: "text",
    commands: ["lint"],
    help: "lint: for people, as JSON, as annotations of GitHub Actions, as SARIF",
  },
  json: {
    flags: "--json",
    variable: null,
    initial: null,
    commands: ["status", "lint", "config"],
    help: "status, lint, config: print one JSON object",
  },
  verbose: {
    flags: "--verbose",
    variable: null,
    initial: null,
    commands: [...listingCommands, "status"],
    help: "current, heads, history: print all that is known of each revision; status: list all that are pending",
  },
  logFormat: {
    flags: "--log-format <json|text|pretty|auto>",
    variable: "ENTRYPOINT_LOG_FORMAT",
    initial: "auto",
    help: "json and text: one line an event; auto is pretty on a terminal, else text",
  },
  logLevel: {
    flags: "--log-level <level>",
    variable: "ENTRYPOINT_LOG_LEVEL",
    initial: "info",
    help: logLevels.join(", "),
  },
} as const satisfies Record<string, SettingRow>;

export type SettingName = keyof typeof settingTable;

/** The settings that only a supervisor obeys. */
export const superviseOptions = [
  "drainDelay",
  "stopTimeout",
  "signalScope",
  "secondTerm",
  "mapSignal",
  "mapExit",
  "waitAll",
  "leaveGroup",
  "parentDeathSignal",
] as const satisfies readonly SettingName[];

/** What the command line said, unread: a list where the flag is repeatable, `true` where it takes no value. */
export type Flags = Partial<Record<SettingName, string | readonly string[] | true>>;

/** A value in a file, as texts. */
export interface FileValue {
  /** `entrypoint.toml: roles.web.stop-timeout` */
  readonly source: string;
  readonly values: readonly string[];
  /** Each of them is a value of its own, and none has a separator. */
  readonly listed: boolean;
}

export type FileValues = ReadonlyMap<SettingName, FileValue>;

/** What entrypoint.toml says, with the role that was chosen. */
export interface FileSettings {
  readonly values: FileValues;
  readonly app: FileValue | null;
  readonly role: string | null;
  /** What has named the role. */
  readonly roleSource: string | null;
  /** With `config`: what the role would run. */
  readonly starts?: "run" | "wait" | "exec" | "supervise";
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

export interface Invocation<C extends Command = Command> {
  readonly command: C;
  readonly flags: Flags;
  readonly app: readonly string[];
  readonly file?: FileSettings;
}

/** `--setup` of `--setup <command>` */
export function flagOf({ flags }: SettingRow): string {
  return flags.split(" ")[0] ?? flags;
}

/** What starts an APP, and what `config` shows the settings of. */
const shownCommands: readonly Command[] = [...startingCommands, "exec"];

/** Whether the setting means anything to the command. */
export function concerns(name: SettingName, command: Command): boolean {
  const { commands }: SettingRow = settingTable[name];
  if (commands === undefined || commands.includes(command)) return true;
  return command === "config" && commands.some((one) => shownCommands.includes(one));
}
