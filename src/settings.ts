// The variables at the head of the shell script: what to run, where the database is, how long to wait.
// One table holds every flag with its variable and default; all that is wrong is reported at once, before
// anything has been touched. No other file asks the environment for a setting.

import { readFileSync } from "node:fs";
import ms from "ms";
import { split } from "shlex";
import type { BackfillOptions } from "./backfill/job.ts";
import {
  addressFromEnvironment,
  BadUrl,
  parseDatabaseUrl,
  type DatabaseAddress,
} from "./database/url.ts";
import { inheritedEnvironment, type Environment } from "./environment.ts";
import { Failure } from "./exit-codes.ts";
import { logFormats, logLevels, type LogFormat, type LogLevel } from "./log.ts";
import type { DowngradeTarget, VersionTable } from "./migrations/state.ts";
import { canBeForwarded, parseSignal, type SignalName } from "./process/signal-table.ts";
import type { SuperviseOptions } from "./process/supervision.ts";

const lintFormats = ["text", "json", "github", "sarif"] as const;
type LintFormat = (typeof lintFormats)[number];

/** A command, split into words; never empty. */
export type Words = readonly [string, ...string[]];

export type Command =
  | "run"
  | "migrate"
  | "wait"
  | "supervise"
  | "status"
  | "current"
  | "heads"
  | "history"
  | "downgrade"
  | "freeze"
  | "lint"
  | "backfill";

/** Where the database is, by the user's word. The Alembic config may still tell, when this is null. */
type DatabaseSetting =
  | { readonly kind: "address"; readonly address: DatabaseAddress; readonly from: string }
  | { readonly kind: "foreign"; readonly dialect: string; readonly from: string };

export interface Settings {
  readonly command: Command;
  /** What to become; null for the one-shot `migrate`, and for a `wait` without an APP. */
  readonly app: Words | null;
  /** The migration command; null with --no-migrate. */
  readonly migrate: Words | null;
  readonly setup: readonly Words[];
  readonly database: DatabaseSetting | null;
  /** What PGHOST and its kin say: they count after the Alembic config. */
  readonly fallbackDatabase: DatabaseAddress | null;
  readonly waitTimeoutMs: number;
  readonly lockTimeoutMs: number;
  /** 0 means no limit. */
  readonly migrateTimeoutMs: number;
  /** How long a statement of the migration may wait for a table's lock, or null for as long as it takes. */
  readonly ddlLockTimeoutMs: number | null;
  readonly alwaysMigrate: boolean;
  readonly versionTable: VersionTable | null;
  readonly versions: readonly string[];
  readonly onAhead: "abort" | "start";
  readonly mode: "auto" | "exec" | "supervise";
  readonly supervise: SuperviseOptions;
  /** Null for every other command. */
  readonly backfill: BackfillOptions | null;
  readonly user: string | null;
  readonly dryRun: boolean;
  /** Where `downgrade` goes back to; null for every other command. */
  readonly downgradeTo: DowngradeTarget | null;
  /** What would be refused for its danger is done. */
  readonly force: boolean;
  /** What becomes of unsafe operations in the pending migrations. */
  readonly lint: "off" | "warn" | "error";
  /** A table of fewer rows is small to `lint`. */
  readonly lintThreshold: number;
  /** What `lint` reads instead of the pending migrations. */
  readonly sqlFile: string | null;
  readonly range: { readonly from: readonly string[]; readonly to: string } | null;
  readonly format: LintFormat;
  /** The result of `status` for machines. */
  readonly json: boolean;
  /** All that `current`, `heads` and `history` know. */
  readonly verbose: boolean;
  readonly logFormat: LogFormat;
  readonly logLevel: LogLevel;
  readonly cwd: string;
  /** The environment for every child: secrets read from their files, `*_FILE` removed. */
  readonly env: Environment;
  /** Worth a line in the log, and no reason to stop. */
  readonly warnings: readonly string[];
}

/** One row of the table: `flags` as commander writes them. A row without a variable is for the command line alone. */
export interface SettingRow {
  readonly flags: string;
  readonly variable: string | null;
  readonly initial: string | null;
  readonly repeatable?: true;
  /** The commands to which it means something, unless it is all of them. */
  readonly commands?: readonly Command[];
  readonly help: string;
}

const defaultApp = "uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2";

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
const graphCommands = [...readingCommands, "freeze"] as const;
/** Those that start an APP. */
const startingCommands = ["run", "wait", "supervise"] as const;

export const settingTable = {
  migrate: {
    flags: "--migrate <command>",
    variable: "ENTRYPOINT_MIGRATE",
    initial: "alembic upgrade head",
    commands: [...graphCommands, "backfill"],
    help: "the migration command, split into words as a shell would; empty means none",
  },
  noMigrate: {
    flags: "--no-migrate",
    variable: null,
    initial: null,
    commands: graphCommands,
    help: "run no migration",
  },
  setup: {
    flags: "--setup <command>",
    variable: "ENTRYPOINT_SETUP",
    initial: null,
    repeatable: true,
    commands: ["run", "migrate"],
    help: "run after the migrations, under the lock, at every boot (the variable: one a line)",
  },
  databaseUrl: {
    flags: "--database-url <url>",
    variable: "DATABASE_URL",
    initial: null,
    commands: [...readingCommands, "backfill"],
    help: "SQLAlchemy or libpq form; else sqlalchemy.url of the Alembic config, else PGHOST and its kin",
  },
  waitTimeout: {
    flags: "--wait-timeout <duration>",
    variable: "ENTRYPOINT_WAIT_TIMEOUT",
    initial: "60s",
    commands: connectingCommands,
    help: "how long to wait for the database to answer; with the command wait, to be at head",
  },
  lockTimeout: {
    flags: "--lock-timeout <duration>",
    variable: "ENTRYPOINT_LOCK_TIMEOUT",
    initial: "10m",
    commands: lockingCommands,
    help: "how long to wait for another replica's migration; with --ddl-lock-timeout, for a table's lock too",
  },
  migrateTimeout: {
    flags: "--migrate-timeout <duration>",
    variable: "ENTRYPOINT_MIGRATE_TIMEOUT",
    initial: "0",
    commands: lockingCommands,
    help: "how long the migration, or the downgrade, may take; 0 means no limit",
  },
  ddlLockTimeout: {
    flags: "--ddl-lock-timeout <duration>",
    variable: "ENTRYPOINT_DDL_LOCK_TIMEOUT",
    initial: "off",
    commands: ["run", "migrate"],
    help: "PostgreSQL's lock_timeout for the migration, which is tried again when it gets no lock; 2s or more",
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
    commands: graphCommands,
    help: "the version table, when env.py names it in code",
  },
  versions: {
    flags: "--versions <dir>",
    variable: "ENTRYPOINT_VERSIONS",
    initial: null,
    repeatable: true,
    commands: graphCommands,
    help: "a folder of revisions, when env.py names it in code (the variable: separated by ':')",
  },
  onAhead: {
    flags: "--on-ahead <abort|start>",
    variable: "ENTRYPOINT_ON_AHEAD",
    initial: "abort",
    commands: databaseCommands,
    help: "what to do when the database is newer than this image",
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
    help: "drop privileges before any command runs",
  },
  secrets: {
    flags: "--secret <name>",
    variable: "ENTRYPOINT_SECRETS",
    initial: "DATABASE_URL",
    repeatable: true,
    help: "NAME is read from the file that NAME_FILE names (the variable: separated by ',')",
  },
  drainDelay: {
    flags: "--drain-delay <duration>",
    variable: "ENTRYPOINT_DRAIN_DELAY",
    initial: "0",
    commands: startingCommands,
    help: "supervise: pass SIGTERM on only after that time, a load balancer's to notice",
  },
  stopTimeout: {
    flags: "--stop-timeout <duration>",
    variable: "ENTRYPOINT_STOP_TIMEOUT",
    initial: "30s",
    commands: startingCommands,
    help: "supervise: from SIGTERM to SIGKILL; 0 means no limit",
  },
  signalScope: {
    flags: "--signal-scope <group|child>",
    variable: "ENTRYPOINT_SIGNAL_SCOPE",
    initial: "group",
    commands: startingCommands,
    help: "supervise: pass signals on to APP's process group, or to APP alone (as HUP, TTIN, TTOU always are)",
  },
  mapSignal: {
    flags: "--map-signal <from:to>",
    variable: "ENTRYPOINT_MAP_SIGNAL",
    initial: null,
    repeatable: true,
    commands: startingCommands,
    help: "supervise: pass a signal on as another, TERM:QUIT; 0 drops it (the variable: separated by ',')",
  },
  mapExit: {
    flags: "--map-exit <from=to>",
    variable: "ENTRYPOINT_MAP_EXIT",
    initial: null,
    repeatable: true,
    commands: startingCommands,
    help: "supervise: end with another code than APP's, 143=0 (the variable: separated by ',')",
  },
  waitAll: {
    flags: "--wait-all",
    variable: "ENTRYPOINT_WAIT_ALL",
    initial: "off",
    commands: startingCommands,
    help: "supervise: end only when every descendant of APP has",
  },
  parentDeathSignal: {
    flags: "--parent-death-signal <signal>",
    variable: "ENTRYPOINT_PARENT_DEATH_SIGNAL",
    initial: null,
    commands: startingCommands,
    help: "supervise: the signal that comes when the parent of entrypoint dies",
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
    help: "backfill: what an UPDATE has after SET",
  },
  where: {
    flags: "--where <condition>",
    variable: null,
    initial: null,
    commands: ["backfill"],
    help: "backfill: the rows to update, and none any more once they are",
  },
  batchTime: {
    flags: "--batch-time <duration>",
    variable: null,
    initial: "500ms",
    commands: ["backfill"],
    help: "backfill: how long a batch may hold its rows; its size follows",
  },
  maxLag: {
    flags: "--max-lag <duration>",
    variable: null,
    initial: "5s",
    commands: ["backfill"],
    help: "backfill: how far a replica may be behind before it is waited for; 0 means no limit",
  },
  name: {
    flags: "--name <name>",
    variable: null,
    initial: null,
    commands: ["backfill"],
    help: "backfill: another name for the job than TABLE.COLUMN",
  },
  dryRun: {
    flags: "--dry-run",
    variable: null,
    initial: null,
    commands: connectingCommands,
    help: "print what would happen, and why; touch nothing",
  },
  force: {
    flags: "--force",
    variable: null,
    initial: null,
    commands: ["downgrade"],
    help: "downgrade: even where the application may be running, or a revision's downgrade() does nothing",
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
    help: "what reads or writes the whole of a table with fewer rows is only noted",
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
    commands: ["status", "lint"],
    help: "status, lint: print one JSON object",
  },
  verbose: {
    flags: "--verbose",
    variable: null,
    initial: null,
    commands: listingCommands,
    help: "current, heads, history: print all that is known of each revision",
  },
  logFormat: {
    flags: "--log-format <json|pretty|auto>",
    variable: "ENTRYPOINT_LOG_FORMAT",
    initial: "auto",
    help: "auto is pretty on a terminal",
  },
  logLevel: {
    flags: "--log-level <level>",
    variable: "ENTRYPOINT_LOG_LEVEL",
    initial: "info",
    help: logLevels.join(", "),
  },
} as const satisfies Record<string, SettingRow>;

export type SettingName = keyof typeof settingTable;

const superviseOptions = [
  "drainDelay",
  "stopTimeout",
  "signalScope",
  "mapSignal",
  "mapExit",
  "waitAll",
  "parentDeathSignal",
] as const satisfies readonly SettingName[];

/** What the command line said, unread: a list where the flag is repeatable, `true` where it takes no value. */
export type Flags = Partial<Record<SettingName, string | readonly string[] | true>>;

export interface Invocation {
  readonly command: Command;
  readonly flags: Flags;
  readonly app: readonly string[];
}

/** Whether the setting means anything to the command. */
export function concerns(name: SettingName, command: Command): boolean {
  const { commands }: SettingRow = settingTable[name];
  return commands === undefined || commands.includes(command);
}

/** Variables of this project that are no row of the table. */
const otherVariables = new Set(["ENTRYPOINT_APP"]);

/** Reads every setting: a flag beats its variable, a variable beats the default. Throws one Failure for all that is wrong. */
export function readSettings(
  invocation: Invocation,
  inherited: Environment = inheritedEnvironment(),
  cwd: string = process.cwd(),
): Settings {
  const problems: string[] = [];
  const warnings: string[] = [];
  const { command } = invocation;
  const flags: Flags = { ...invocation.flags };
  for (const name of Object.keys(flags) as SettingName[]) {
    if (concerns(name, command)) continue;
    // Before the command's name it may be for all the commands of an image, as its variable is.
    warnings.push(`${flagOf(settingTable[name])} means nothing to entrypoint ${command}`);
    delete flags[name];
  }

  const complain = (name: string, given: string, allowed: string) => {
    problems.push(`${name}: given ${quote(given)}; allowed: ${allowed}`);
  };
  /** Where the setting comes from, and its words; an empty variable counts as absent, so that `${X:-}` in a Compose file works. */
  const look = (
    name: SettingName,
  ): { source: string; values: readonly string[]; byDefault: boolean } | null => {
    const row: SettingRow = settingTable[name];
    const flag = flags[name];
    const source = flagOf(row);
    if (flag === true) return { source, values: ["on"], byDefault: false };
    if (typeof flag === "string") return { source, values: [flag], byDefault: false };
    if (Array.isArray(flag)) return { source, values: flag, byDefault: false };
    const variable =
      row.variable === null || !concerns(name, command) ? undefined : inherited[row.variable];
    if (row.variable !== null && variable !== undefined && variable !== "") {
      return { source: row.variable, values: [variable], byDefault: false };
    }
    return row.initial === null ? null : { source, values: [row.initial], byDefault: true };
  };
  function read<T>(name: SettingName, parse: (text: string) => T, fallback: T): T {
    const found = look(name);
    const text = found?.values[0];
    if (found === null || text === undefined) return fallback;
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof NotAllowed)) throw error;
      complain(found.source, text, error.message);
      return fallback;
    }
  }
  function readEach<T>(name: SettingName, separator: RegExp, parse: (text: string) => T): T[] {
    const found = look(name);
    if (found === null) return [];
    const texts = Array.isArray(flags[name])
      ? found.values
      : found.values
          .flatMap((value) => value.split(separator))
          .filter((text) => text.trim() !== "");
    const parsed: T[] = [];
    for (const text of texts) {
      try {
        parsed.push(parse(text));
      } catch (error) {
        if (!(error instanceof NotAllowed)) throw error;
        complain(found.source, text, error.message);
      }
    }
    return parsed;
  }

  const env: Record<string, string | undefined> = { ...inherited };
  const secrets = new Set(["DATABASE_URL", ...readEach("secrets", /[\s,]+/, parseVariableName)]);
  for (const name of secrets) {
    const problem = readSecret(env, name);
    // A secret that is mounted as the container starts is not there yet as its image is built.
    if (problem !== null && command !== "freeze") problems.push(problem);
  }

  // An empty variable means something here alone: no migration.
  const noMigrate =
    flags.noMigrate === true ||
    (typeof flags.migrate === "string" && flags.migrate.trim() === "") ||
    (flags.migrate === undefined && inherited["ENTRYPOINT_MIGRATE"]?.trim() === "");
  const migrate = noMigrate ? null : read("migrate", parseWords, null);
  if (
    flags.noMigrate === true &&
    typeof flags.migrate === "string" &&
    flags.migrate.trim() !== ""
  ) {
    problems.push("--migrate and --no-migrate: given both; allowed: one of them");
  }
  if (noMigrate && command !== "run" && command !== "supervise" && command !== "backfill") {
    const uses: Partial<Record<Command, string>> = {
      migrate: "",
      wait: " to say what is waited for",
    };
    const use = uses[command] ?? " to say where the revisions are";
    problems.push(
      `entrypoint ${command}: no migration command is left${use}; allowed: one that is not empty`,
    );
  }
  const versions = readEach("versions", /[:\n]/, notEmpty("a folder"));
  if (command === "freeze" && versions.length > 0) {
    complain(
      look("versions")?.source ?? "",
      versions.join(":"),
      "none with freeze, since Alembic itself says where the revisions are, and starts go by --versions where it is given",
    );
  }
  const starting = (startingCommands as readonly Command[]).includes(command);
  let downgradeTo: DowngradeTarget | null = null;
  if (command === "downgrade") {
    const [word = "", ...more] = invocation.app;
    downgradeTo = parseDowngradeTarget(word);
    if (downgradeTo === null || more.length > 0) {
      complain("entrypoint downgrade", invocation.app.join(" "), "one REVISION: -1, an id, base");
    }
  } else if (!starting && invocation.app.length > 0) {
    complain(`entrypoint ${command}`, invocation.app.join(" "), "no APP, since none is started");
  }

  let app: Words | null = null;
  const [program, ...rest] = invocation.app;
  if (starting && program !== undefined) app = [program, ...rest];
  else if (command === "run") {
    const variable = inherited["ENTRYPOINT_APP"];
    try {
      app = parseWords(variable || defaultApp);
    } catch (error) {
      if (!(error instanceof NotAllowed)) throw error;
      complain("ENTRYPOINT_APP", variable ?? "", error.message);
    }
  }

  if (command === "supervise" && app === null) {
    problems.push("entrypoint supervise: no APP is given; allowed: entrypoint supervise -- APP");
  }

  const asksDatabase = command !== "supervise" && command !== "freeze";
  const database = asksDatabase ? readDatabase(flags, env, problems, warnings) : null;
  for (const name of Object.keys(inherited)) {
    if (!name.startsWith("ENTRYPOINT_") || otherVariables.has(name)) continue;
    if (Object.values(settingTable).some((row) => row.variable === name)) continue;
    warnings.push(`${name} is set, but it is no setting of this version`);
  }

  const required = (name: SettingName): string => {
    const text = read(name, notEmpty("SQL"), "");
    if (look(name) === null) problems.push(`${flagOf(settingTable[name])}: missing`);
    return text;
  };
  const readBackfill = (): BackfillOptions => ({
    table: required("table"),
    set: required("set"),
    where: required("where"),
    name: read<string | null>("name", notEmpty("a name"), null),
    batchTimeMs: read("batchTime", parseBatchTime, 0),
    maxLagMs: read("maxLag", parseDuration, 0),
  });

  const supervise: SuperviseOptions = {
    drainDelayMs: read("drainDelay", parseDuration, 0),
    stopTimeoutMs: read("stopTimeout", parseDuration, 0),
    signalScope: read("signalScope", oneOf(["group", "child"]), "group"),
    mapSignals: new Map(readEach("mapSignal", /[\s,]+/, parseSignalPair)),
    mapExits: new Map(readEach("mapExit", /[\s,]+/, parseExitPair)),
    waitAll: read("waitAll", parseSwitch, false),
    parentDeathSignal: read<SignalName | null>("parentDeathSignal", parseSignalName, null),
  };
  // What only a supervisor can do makes one; no drain delay and no waiting anybody can do.
  const given = superviseOptions.filter((name) => {
    if (name === "drainDelay" && supervise.drainDelayMs === 0) return false;
    if (name === "waitAll" && !supervise.waitAll) return false;
    const found = look(name);
    return found !== null && !found.byDefault;
  });
  const asked = read<Settings["mode"]>("mode", oneOf(["auto", "exec", "supervise"]), "auto");
  if (asked === "exec" && given.length > 0) {
    const names = given.map((name) => look(name)?.source ?? name).join(", ");
    problems.push(`--mode exec: given with ${names}; allowed: --mode auto or supervise`);
  }
  const mode = asked === "auto" && given.length > 0 ? "supervise" : asked;

  const settings: Settings = {
    command,
    app,
    migrate,
    setup: readEach("setup", /\n/, parseWords),
    database,
    fallbackDatabase: asksDatabase ? readFallbackDatabase(env, problems) : null,
    waitTimeoutMs: read("waitTimeout", parseDuration, 0),
    lockTimeoutMs: read("lockTimeout", parseDuration, 0),
    migrateTimeoutMs: read("migrateTimeout", parseDuration, 0),
    ddlLockTimeoutMs: read("ddlLockTimeout", parseDdlLockTimeout, null),
    alwaysMigrate: read("alwaysMigrate", parseSwitch, false),
    versionTable: read<VersionTable | null>("versionTable", parseVersionTable, null),
    versions,
    onAhead: read("onAhead", oneOf(["abort", "start"]), "abort"),
    mode: command === "supervise" ? "supervise" : mode,
    supervise,
    backfill: command === "backfill" ? readBackfill() : null,
    user: read<string | null>("user", notEmpty("NAME or NAME:GROUP"), null),
    dryRun: flags.dryRun === true,
    downgradeTo,
    force: flags.force === true,
    lint: read<Settings["lint"]>("lint", oneOf(["off", "warn", "error"]), "off"),
    lintThreshold: read("lintThreshold", parseCount, 0),
    sqlFile: read<string | null>("sqlFile", notEmpty("a file"), null),
    range: read<Settings["range"]>("range", parseRange, null),
    format: flags.json === true ? "json" : read("format", oneOf(lintFormats), "text"),
    json: flags.json === true,
    verbose: flags.verbose === true,
    logFormat: read("logFormat", oneOf(logFormats), "auto"),
    logLevel: read("logLevel", oneOf(logLevels), "info"),
    cwd,
    env,
    warnings,
  };
  if (problems.length > 0) {
    const count = problems.length === 1 ? "a setting is" : `${problems.length} settings are`;
    throw new Failure("bad-settings", `${count} not valid: ${problems.join("; ")}`, {
      hint: "entrypoint --help lists every setting",
      details: { problems },
    });
  }
  return Object.freeze(settings);
}

/** How to log before the settings are known, or when they are wrong. */
export function readLogSettings(
  flags: Flags,
  env: Environment = inheritedEnvironment(),
): { format: LogFormat; level: LogLevel } {
  const format = flags.logFormat ?? env["ENTRYPOINT_LOG_FORMAT"];
  const level = flags.logLevel ?? env["ENTRYPOINT_LOG_LEVEL"];
  return {
    format: logFormats.find((known) => known === String(format).trim()) ?? "auto",
    level: logLevels.find((known) => known === String(level).trim()) ?? "info",
  };
}

/** `--setup` of `--setup <command>` */
function flagOf({ flags }: SettingRow): string {
  return flags.split(" ")[0] ?? flags;
}

/** What was given, without the passwords that a URL or a command may hold. */
function quote(given: string): string {
  return JSON.stringify(
    given
      .replaceAll(/(:\/\/[^\s:/]*:)[^\s@]*@/g, "$1***@")
      .replaceAll(/((?:password|passwd|secret|token)\w*['"]?[\s=:]+)[^\s&]+/gi, "$1***"),
  );
}

/** The message says what is allowed. */
class NotAllowed extends Error {}

const durationUnits = "a duration such as 500ms, 60s, 10m or 2h; a bare number is seconds";

/** `500ms`, `60s`, `1.5m`, `2h`; a bare number is seconds. In milliseconds. */
export function parseDuration(text: string): number {
  const trimmed = text.trim();
  if (!/^\d+(\.\d+)?(ms|s|m|h|d)?$/.test(trimmed)) throw new NotAllowed(durationUnits);
  const duration = ms((/\d$/.test(trimmed) ? `${trimmed}s` : trimmed) as ms.StringValue);
  // A Node timer holds no more than 2^31 - 1 ms, about 24 days, and fires at once beyond that.
  // ms knows no number of more than a hundred characters.
  if (!(duration <= 2 ** 31 - 1)) throw new NotAllowed(`${durationUnits}, at most 24d`);
  // 0 has a meaning of its own, which is not "very short".
  return duration === 0 ? 0 : Math.max(Math.round(duration), 1);
}

/** PostgreSQL lets an autovacuum go on that is in somebody's way until he has waited for deadlock_timeout: 1 s. */
const shortestDdlLockTimeoutMs = 2_000;

/** Null is off. */
function parseDdlLockTimeout(text: string): number | null {
  if (["off", "0"].includes(text.trim().toLowerCase())) return null;
  const allowed = "off, or a duration of 2s or more, since an autovacuum gives way only after 1s";
  let durationMs = 0;
  try {
    durationMs = parseDuration(text);
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
  }
  if (durationMs < shortestDdlLockTimeoutMs) throw new NotAllowed(allowed);
  return durationMs;
}

function parseBatchTime(text: string): number {
  const duration = parseDuration(text);
  if (duration < 10 || duration > 60_000) throw new NotAllowed("a duration from 10ms to 60s");
  return duration;
}

function parseWords(text: string): Words {
  let words: string[];
  try {
    words = split(text);
  } catch (error) {
    throw new NotAllowed(`balanced quotes (${(error as Error).message})`);
  }
  const [program, ...rest] = words;
  if (program === undefined || program === "") throw new NotAllowed("a command");
  if (/^\w+=/.test(program)) throw new NotAllowed(`a program first: write env ${program} …`);
  const special = findShellSyntax(text, words);
  if (special !== null) {
    throw new NotAllowed(`no ${special}, since no shell runs it: write sh -c '…', or quote it`);
  }
  return [program, ...rest];
}

/** What a shell alone would make something of: an operator or a variable outside of quotes, or one in double quotes. */
function findShellSyntax(text: string, words: readonly string[]): string | null {
  const shells = ["sh", "bash", "dash", "ash"];
  const forShell = words.some((word) => shells.includes(word.split("/").at(-1) ?? ""));
  const variable = /\$\{?[\w@]+|\$\(|`/;
  const parts = new RegExp(
    String.raw`\\.|'[^']*'|"(?:\\.|[^"\\])*"|[;&|<>]+|${variable.source}`,
    "gs",
  );
  for (const [part] of text.matchAll(parts)) {
    if (part.startsWith("\\") || part.startsWith("'")) continue;
    // In double quotes it may be meant for the shell that the command itself starts.
    if (part.startsWith('"') && forShell) continue;
    const found = part.startsWith('"') ? variable.exec(part.replaceAll(/\\./gs, ""))?.[0] : part;
    if (found !== undefined) return found.replace("${", "$");
  }
  return null;
}

function notEmpty(allowed: string): (text: string) => string {
  return (text) => {
    if (text.trim() === "") throw new NotAllowed(allowed);
    return text.trim();
  };
}

function parseSwitch(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (["1", "true", "yes", "on"].includes(word)) return true;
  if (["0", "false", "no", "off"].includes(word)) return false;
  throw new NotAllowed("1, true, yes, on, 0, false, no, off");
}

function oneOf<T extends string>(words: readonly T[]): (text: string) => T {
  return (text) => {
    const found = words.find((word) => word === text.trim());
    if (found === undefined) throw new NotAllowed(words.join(", "));
    return found;
  };
}

function parseCount(text: string): number {
  const trimmed = text.trim();
  if (!/^\d{1,15}$/.test(trimmed)) throw new NotAllowed("a whole number");
  return Number(trimmed);
}

/** `base:head`, `a1:c3` */
function parseRange(text: string): Settings["range"] {
  const [, from = "", to = ""] = /^([^:\s]+):([^:\s]+)$/.exec(text.trim()) ?? [];
  if (from === "") throw new NotAllowed("FROM:TO, revisions such as base:head");
  return { from: from === "base" ? [] : [from], to };
}

function parseVersionTable(text: string): VersionTable {
  const parts = text.trim().split(".");
  const [first, second] = parts;
  if (parts.length > 2 || parts.some((part) => part === "")) {
    throw new NotAllowed("NAME or SCHEMA.NAME");
  }
  return second === undefined
    ? { schema: null, name: first ?? "" }
    : { schema: first ?? "", name: second };
}

/** `-1`, `base`, an id or its beginning. Alembic's other forms are relative to what is not under the lock yet. */
function parseDowngradeTarget(text: string): DowngradeTarget | null {
  if (text === "base") return { kind: "base" };
  const steps = /^-(\d{1,6})$/.exec(text)?.[1];
  if (steps !== undefined)
    return Number(steps) > 0 ? { kind: "relative", steps: Number(steps) } : null;
  return text === "" || /^[-+]|@/.test(text) ? null : { kind: "revision", name: text };
}

function parseSignalName(text: string): SignalName {
  const name = parseSignal(text);
  if (name === null) throw new NotAllowed("a signal: TERM, SIGTERM, 15, RTMIN+3");
  return name;
}

/** `TERM:QUIT`; `TERM:0` drops it. */
function parseSignalPair(text: string): [SignalName, SignalName | null] {
  const [from = "", to = "", ...rest] = text.split(":");
  const [source, target] = [parseSignal(from), to === "0" ? null : parseSignal(to)];
  const caught = source !== null && canBeForwarded(source);
  if (!caught || (target === null && to !== "0") || rest.length > 0) {
    throw new NotAllowed(
      "FROM:TO, signals such as TERM:QUIT, FROM one that can be caught, or FROM:0",
    );
  }
  return [source, target];
}

/** `143=0` */
function parseExitPair(text: string): [number, number] {
  const [, from = "", to = ""] = /^(\d{1,3})=(\d{1,3})$/.exec(text.trim()) ?? [];
  const codes: [number, number] = [Number(from), Number(to)];
  if (from === "" || codes.some((code) => code > 255)) {
    throw new NotAllowed("FROM=TO, exit codes from 0 to 255 such as 143=0");
  }
  return codes;
}

function parseVariableName(text: string): string {
  if (!/^[A-Za-z_]\w*$/.test(text)) throw new NotAllowed("names of environment variables");
  return text;
}

/** Replaces NAME_FILE by NAME, as the official images do: both set is an error, trailing newlines are dropped. */
function readSecret(env: Record<string, string | undefined>, name: string): string | null {
  const path = env[`${name}_FILE`];
  if (path === undefined || path === "") return null;
  if (env[name] !== undefined && env[name] !== "") {
    return `${name} and ${name}_FILE: given both; allowed: one of them`;
  }
  try {
    env[name] = readFileSync(path, "utf8").replace(/[\r\n]+$/, "");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return `${name}_FILE: given ${quote(path)}; allowed: a file that can be read (${code ?? String(error)})`;
  }
  // An orchestrator that has not filled the file yet: to go on would be to migrate without a lock.
  if (name === "DATABASE_URL" && env[name] === "") {
    return `${name}_FILE: given ${quote(path)}; allowed: a file that is not empty`;
  }
  delete env[`${name}_FILE`];
  return null;
}

function readDatabase(
  flags: Flags,
  env: Environment,
  problems: string[],
  warnings: string[],
): DatabaseSetting | null {
  const flag = flags.databaseUrl;
  const from = typeof flag === "string" ? "--database-url" : "DATABASE_URL";
  const url = typeof flag === "string" ? flag : env["DATABASE_URL"];
  if (flag === "") problems.push('--database-url: given ""; allowed: a SQLAlchemy or libpq URL');
  if (url === undefined || url.trim() === "") return null;
  try {
    const answer = parseDatabaseUrl(url, env);
    if (answer.kind === "foreign") return { kind: "foreign", dialect: answer.dialect, from };
    warnings.push(...answer.warnings.map((warning) => `${from}: ${warning}`));
    return { kind: "address", address: answer.address, from };
  } catch (error) {
    if (!(error instanceof BadUrl)) throw error;
    // The URL itself is not repeated: it holds a password.
    problems.push(`${from}: ${error.message}; allowed: a SQLAlchemy or libpq URL`);
    return null;
  }
}

function readFallbackDatabase(env: Environment, problems: string[]): DatabaseAddress | null {
  try {
    return addressFromEnvironment(env);
  } catch (error) {
    if (!(error instanceof BadUrl)) throw error;
    problems.push(`PGHOST, PGPORT, PGSSLMODE: ${error.message}`);
    return null;
  }
}
