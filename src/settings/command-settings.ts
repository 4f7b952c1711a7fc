// The settings of each command: which it has, and what each text must be.

import type { Words } from "../context.ts";
import { hidePasswords } from "../log/mask.ts";
import { foreseeHome } from "../process/become/user.ts";
import type { SignalName } from "../process/signal-table.ts";
import type { SuperviseOptions } from "../process/supervise/supervision.ts";
import type { Environment } from "../runtime/environment.ts";
import { parseService, serviceForms, type Service } from "../services/address.ts";
import type { DowngradeTarget } from "../state.ts";
import { readDatabase, readFallbackDatabase } from "./database.ts";
import { defaultApp } from "./defaults.ts";
import { guessDatabase, type DatabaseGuess } from "./guess.ts";
import { readHistories } from "./histories.ts";
import { expandSetting, type Reader } from "./lookup.ts";
import { findReader } from "./readers.ts";
import {
  lintFormats,
  type App,
  type BackfillOptions,
  type BeforeStep,
  type Command,
  type CommonSettings,
  type DatabaseSettings,
  type LintSettings,
  type Settings,
  type StartSettings,
} from "./settings.ts";
import { parseStep } from "./steps.ts";
import { flagOf, settingTable, superviseOptions, type SettingName } from "./table.ts";
import { expandDatabaseUrl } from "./template.ts";
import {
  NotAllowed,
  notEmpty,
  oneOf,
  parseBatchTime,
  parseCount,
  parseDdlLockTimeout,
  parseDowngradeTarget,
  parseDuration,
  parseExitPair,
  parseOneOffRule,
  parseRange,
  parseSignalName,
  parseSignalPair,
  parseSwitch,
  parseWords,
} from "./values.ts";

/** Placeholder for a value that is missing: its problem has been reported. */
const missing = "";

/** The settings of every command but `config`, which shows those of another. */
export function readCommand(
  reader: Reader & { readonly command: Exclude<Command, "config"> },
  common: CommonSettings,
): Settings {
  const { command, complain, app: words, read } = reader;
  const databases = () => readDatabases(reader, common);
  const histories = (use: string) => readHistories(reader, { use });
  const [program, ...rest] = words;
  switch (command) {
    case "run":
      reader.readEach("oneOff", /\n/, parseOneOffRule);
      return {
        command,
        ...readStart(reader, common, null),
        app: readRunApp(reader),
      };
    case "migrate":
      return { command, ...readStart(reader, common, "") };
    case "wait": {
      const waitFor = readServices(reader, common);
      const purpose = waitFor.length > 0 ? null : " to say what is waited for";
      return {
        command,
        ...common,
        ...databases(),
        ...readHistories(reader, { use: purpose }),
        before: readBefore(reader),
        ...readLimits(reader),
        missingDatabase: read("createDatabase", parseSwitch, false) ? "wait" : "refuse",
        waitFor,
        onAhead: readOnAhead(reader),
        app: program === undefined ? null : readApp(reader, [program, ...rest]),
      };
    }
    case "exec":
      return {
        command,
        ...common,
        app: readApp(reader, requireApp(reader)),
        dryRun: read("dryRun", parseSwitch, false),
      };
    case "supervise": {
      const waitFor = readServices(reader, common);
      const app = readApp(reader, requireApp(reader));
      return {
        command,
        ...common,
        waitFor,
        // What is not needed does not matter.
        waitTimeoutMs: waitFor.length === 0 ? 0 : read("waitTimeout", parseDuration, 0),
        app: { ...app, mode: "supervise" },
      };
    }
    case "status":
      return {
        command,
        ...common,
        ...databases(),
        ...histories(toLocate),
        json: read("json", parseSwitch, false),
        verbose: read("verbose", parseSwitch, false),
      };
    case "current":
    case "heads":
    case "history":
      return {
        command,
        ...common,
        ...databases(),
        ...histories(toLocate),
        verbose: read("verbose", parseSwitch, false),
      };
    case "downgrade":
      return {
        command,
        ...common,
        ...readHistories(reader, { use: toLocate, single: "it goes back in one history" }),
        target: readDowngradeTarget(reader),
        ...databases(),
        ...readLimits(reader),
        lockTimeoutMs: read("lockTimeout", parseDuration, 0),
        migrateTimeoutMs: read("migrateTimeout", parseDuration, 0),
        force: read("force", parseSwitch, false),
      };
    case "freeze": {
      const frozen = histories(toLocate);
      const versions = frozen.migrations.flatMap((one) => one.versions);
      if (versions.length > 0) {
        complain(
          reader.look("versions")?.source ?? "",
          versions.join(":"),
          "none with freeze: the migration tool itself reports where the revisions are, and a start with --versions ignores what is frozen",
        );
      }
      return { command, ...common, ...frozen };
    }
    case "lint":
      return {
        command,
        ...common,
        ...databases(),
        ...readHistories(reader, {
          use: toLocate,
          ...(reader.look("range") === null ? {} : { single: "a range is of one history" }),
        }),
        lintThreshold: read("lintThreshold", parseCount, 0),
        sqlFile: read<string | null>("sqlFile", notEmpty("a file"), null),
        range: read<LintSettings["range"]>("range", parseRange, null),
        format: read("json", parseSwitch, false)
          ? "json"
          : read("format", oneOf(lintFormats), "text"),
      };
    case "backfill":
      return {
        command,
        ...common,
        ...readHistories(reader, { use: null }),
        ...databases(),
        ...readLimits(reader),
        job: readBackfill(reader),
      };
  }
}

function requireApp({ command, app: [program, ...rest], problems }: Reader): Words {
  if (program !== undefined) return [program, ...rest];
  problems.push(`entrypoint ${command}: no APP is given; allowed: entrypoint ${command} -- APP`);
  return [missing];
}

/** @param use what a migration command is needed for; null where none is. */
function readStart(reader: Reader, common: CommonSettings, use: string | null): StartSettings {
  const { read } = reader;
  return {
    ...common,
    ...readDatabases(reader, common),
    ...readHistories(reader, { use }),
    before: readBefore(reader),
    setup: readSteps(reader, "setup", ["always", "after-migration", "once"]),
    ...readLimits(reader),
    waitFor: readServices(reader, common),
    lockTimeoutMs: read("lockTimeout", parseDuration, 0),
    migrateTimeoutMs: read("migrateTimeout", parseDuration, 0),
    ddlLockTimeoutMs: read("ddlLockTimeout", parseDdlLockTimeout, null),
    alwaysMigrate: read("alwaysMigrate", parseSwitch, false),
    missingDatabase: read("createDatabase", parseSwitch, false) ? "create" : "refuse",
    noLock: read("noLock", parseSwitch, false),
    onAhead: readOnAhead(reader),
    onUnstamped: read<StartSettings["onUnstamped"]>(
      "onUnstamped",
      oneOf(["abort", "migrate"]),
      "migrate",
    ),
    lint: read<StartSettings["lint"]>("lint", oneOf(["off", "warn", "error"]), "off"),
    lintThreshold: read("lintThreshold", parseCount, 0),
  };
}

function readBefore(reader: Reader): readonly BeforeStep[] {
  return readSteps(reader, "before", ["always", "locked", "before-migration"]);
}

function readSteps<When extends string>(
  { env, readEach }: Reader,
  name: "before" | "setup",
  whens: readonly [When, ...When[]],
) {
  const found = readEach(name, /\n/, (text) => parseStep(text, whens, env));
  return found.filter((step) => step !== null);
}

function readLimits({ read }: Reader): { waitTimeoutMs: number; dryRun: boolean } {
  return {
    waitTimeoutMs: read("waitTimeout", parseDuration, 0),
    dryRun: read("dryRun", parseSwitch, false),
  };
}

function readServices({ readEach }: Reader, { env }: CommonSettings): readonly Service[] {
  const found = readEach("waitFor", /\s+/, (text) => readService(text, env));
  return found.filter((service) => service !== null);
}

/** Null where nothing is left of it, as of `${REDIS_URL:-}`. */
function readService(text: string, env: Environment): Service | null {
  const url = expandSetting(text.trim(), env, expandDatabaseUrl);
  hidePasswords([url]);
  if (url === "") return null;
  const service = parseService(url);
  if (service === null) throw new NotAllowed(serviceForms);
  return service;
}

function readOnAhead({ read }: Reader): StartSettings["onAhead"] {
  return read<StartSettings["onAhead"]>("onAhead", oneOf(["abort", "start"]), "abort");
}

const toLocate = " to say where the revisions are";

function readDatabases(
  { flags, file, problems, warnings, read }: Reader,
  { env, user, cwd }: CommonSettings,
): DatabaseSettings {
  // Files in the home directory are those of the user that the application runs as.
  const userEnv = user === null ? env : { ...env, HOME: foreseeHome(user, env) };
  const inFile = file?.values.get("databaseUrl") ?? null;
  const database = readDatabase(flags, userEnv, problems, warnings, inFile);
  const fallbackDatabase = database === null ? readFallbackDatabase(userEnv, problems) : null;
  const known = database !== null || fallbackDatabase !== null || problems.length > 0;
  const answer = known ? null : guessDatabase(userEnv);
  const guess = answer?.kind === "guess" ? confirm(answer.guess, cwd) : null;
  return {
    database,
    fallbackDatabase,
    guess,
    conflicting: answer?.kind === "several" ? answer.names : [],
    passwordCommand: read<Words | null>(
      "databasePasswordCommand",
      (text) => parseWords(text, env),
      null,
    ),
  };
}

/** With the file that is seen to read it; null where only that could make it one. */
function confirm(guess: DatabaseGuess, cwd: string): DatabaseSettings["guess"] {
  const reader = findReader(cwd, guess);
  return reader === null && guess.likely ? null : { ...guess, reader };
}

/** The APP of the command line, else ENTRYPOINT_APP, else the default. */
function readRunApp(reader: Reader): App {
  const [program, ...rest] = reader.app;
  if (program !== undefined) return readApp(reader, [program, ...rest]);
  const variable = reader.inherited["ENTRYPOINT_APP"];
  let words: Words = [missing];
  try {
    words = parseWords(variable || (reader.file?.app?.values[0] ?? defaultApp), reader.env);
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
    const inFile = variable ? undefined : reader.file?.app;
    const source = inFile?.source ?? "ENTRYPOINT_APP";
    reader.complain(source, variable || (inFile?.values[0] ?? ""), error.message);
  }
  return readApp(reader, words);
}

function readApp({ problems, look, read, readEach }: Reader, words: Words): App {
  const supervise: SuperviseOptions = {
    drainDelayMs: read("drainDelay", parseDuration, 0),
    stopTimeoutMs: read("stopTimeout", parseDuration, 0),
    signalScope: read("signalScope", oneOf(["child", "group"]), "child"),
    secondTerm: read("secondTerm", oneOf(["kill", "forward"]), "kill"),
    mapSignals: new Map(readEach("mapSignal", /[\s,]+/, parseSignalPair)),
    mapExits: new Map(readEach("mapExit", /[\s,]+/, parseExitPair)),
    waitAll: read("waitAll", parseSwitch, false),
    leaveGroup: read("leaveGroup", parseSwitch, false),
    parentDeathSignal: read<SignalName | null>("parentDeathSignal", parseSignalName, null),
  };
  // A setting that only a supervisor can carry out selects it; a drain delay of 0, and what is switched off, do not.
  const given = superviseOptions.filter((name) => {
    if (name === "drainDelay" && supervise.drainDelayMs === 0) return false;
    if ((name === "waitAll" || name === "leaveGroup") && !supervise[name]) return false;
    const found = look(name);
    return found !== null && !found.byDefault;
  });
  if (supervise.waitAll && supervise.leaveGroup) {
    const [waits, leaves] = (["waitAll", "leaveGroup"] as const).map((name) => look(name)?.source);
    problems.push(`${leaves}: given with ${waits}; allowed: one of them`);
  }
  const mode = read<App["mode"]>("mode", oneOf(["auto", "exec", "supervise"]), "auto");
  if (mode === "exec" && given.length > 0) {
    const names = given.map((name) => look(name)?.source ?? name).join(", ");
    problems.push(`--mode exec: given with ${names}; allowed: --mode auto or supervise`);
  }
  return { words, mode: mode === "auto" && given.length > 0 ? "supervise" : mode, supervise };
}

function readDowngradeTarget({ app, complain }: Reader): DowngradeTarget {
  const [word = "", ...more] = app;
  const target = parseDowngradeTarget(word);
  if (target === null || more.length > 0) {
    complain("entrypoint downgrade", app.join(" "), "one REVISION: -1, an id, base");
  }
  return target ?? { kind: "base" };
}

function readBackfill({ problems, look, read }: Reader): BackfillOptions {
  const required = (name: SettingName): string => {
    const text = read(name, notEmpty("SQL"), missing);
    if (look(name) === null) problems.push(`${flagOf(settingTable[name])}: missing`);
    return text;
  };
  return {
    table: required("table"),
    set: required("set"),
    where: required("where"),
    name: read<string | null>("name", notEmpty("a name"), null),
    batchTimeMs: read("batchTime", parseBatchTime, 0),
    maxLagMs: read("maxLag", parseDuration, 0),
  };
}

/** Keeps the passwords in the words of its commands out of the log. */
export function hideWords(settings: Settings): void {
  if ("migrations" in settings) {
    for (const { words, whenEmpty } of settings.migrations) {
      hidePasswords(words);
      if (whenEmpty !== null) hidePasswords(whenEmpty);
    }
  }
  if ("setup" in settings) for (const { words } of settings.setup) hidePasswords(words);
  if ("before" in settings) for (const { words } of settings.before) hidePasswords(words);
  if ("app" in settings && settings.app !== null) hidePasswords(settings.app.words);
}
