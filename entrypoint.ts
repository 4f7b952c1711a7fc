#!/usr/bin/env node
// The script that replaces entrypoint.sh: read the settings, run the command, become the application.
// It holds the only process.exit; every failure ends here, with one line that names its cause.

import "./src/runtime/standard-streams.ts";
import "./src/runtime/environment.ts";

import { findLogFlags, parseArguments, type Parsed } from "./src/settings/cli.ts";
import { Stopped } from "./src/failure.ts";
import { createLog, printResult } from "./src/log/log.ts";
import { reportFailure, reportInternalError } from "./src/log/report.ts";
import { chooseMode, describeLosses, execProgram } from "./src/process/become/exec.ts";
import { findProgram } from "./src/process/become/find-program.ts";
import { readInheritance } from "./src/process/become/inheritance.ts";
import { loadLibc } from "./src/process/libc.ts";
import { catchSignals } from "./src/process/signals.ts";
import { superviseProgram } from "./src/process/supervise/supervise.ts";
import { changeDirectory } from "./src/process/become/directory.ts";
import { dropPrivileges } from "./src/process/become/user.ts";
import { readOneOffRules, readSettings, withoutBoot } from "./src/settings/reading.ts";
import { readLogSettings, readSources } from "./src/settings/sources.ts";
import { appOf, type Settings } from "./src/settings/settings.ts";
import type { OneOff } from "./src/tools/one-off.ts";
import type { Log, Signals, Words } from "./src/context.ts";
import type { Environment } from "./src/runtime/environment.ts";
import { lazyModule, runAtStart } from "./src/runtime/snapshot.ts";

/** All that comes before the application. `supervise` does not load it; nothing holds it once the application runs. */
export const commands = lazyModule(() => import("./src/commands/commands.ts"));

async function main(): Promise<number> {
  const inheritance = readInheritance();
  const signals = catchSignals();
  const argv = process.argv.slice(2);
  const early = readLogSettings({ flags: findLogFlags(argv) });
  let log = createLog(early.format, early.level);
  // An error that nobody awaits is an internal error like any other.
  process.on("uncaughtException", (error) => process.exit(reportInternalError(log, error)));
  try {
    const given = parseArguments(argv);
    if (given.kind === "print") {
      printResult(given.text);
      return 0;
    }
    const { parsed, environment } = await readSources(given, changeDirectory);
    const { format, level } = readLogSettings(parsed.invocation, environment);
    log = createLog(format, level);
    const oneOff = await findOneOff(parsed, environment);
    const invocation = oneOff === null ? parsed.invocation : withoutBoot(parsed.invocation);
    let settings: Settings = readSettings(invocation, environment);
    for (const warning of settings.warnings) log.warn({ event: "settings" }, warning);
    if (settings.umask !== null) process.umask(settings.umask);
    if (settings.own.length > 0 && !isDry(settings)) {
      const { ownDirectories } = await import("./src/process/become/own.ts");
      await ownDirectories({ settings, log, signals });
    }
    if (settings.user !== null) {
      settings = { ...settings, env: dropPrivileges(settings.user, settings.env) };
    }
    const { env, cwd } = settings;
    const app = appOf(settings);
    const findApp = (name: string) => findProgram(name, { path: env["PATH"], cwd });
    const mode = app === null ? null : chooseMode(app.mode, inheritance);
    // Better now than after the migration, unless a setup step may still install the program.
    if (app !== null && !mayInstallApp(settings)) findApp(app.words[0]);

    if (oneOff !== null && app !== null && !isDry(settings)) reportOneOff(log, app.words, oneOff);
    const code = await runCommand(settings, signals, log);
    if (code !== null || app === null || mode === null) return code ?? 0;

    const { words } = app;
    const program = findApp(words[0]);
    if (mode === "supervise" && app.mode === "auto") {
      log.info(
        { event: "supervise" },
        "Staying as a supervisor: this Node cannot hand all over by exec",
      );
    }
    for (const loss of describeLosses(mode, inheritance)) log.warn({ event: "inheritance" }, loss);
    // A person ends a one-off command.
    if (mode === "exec" && process.pid === 1 && oneOff === null)
      await warnOfLostTerm(log, words, program.file, settings);
    // A signal that has arrived, but whose handler has not run yet, would be lost by the exec.
    await new Promise((resolve) => setImmediate(resolve));
    signals.stop.throwIfAborted();
    if (mode === "exec") return execProgram(program, words, env, inheritance);
    const ended = superviseProgram(program, words, env, inheritance, app.supervise, log);
    signals.release();
    return await ended;
  } catch (error) {
    const code = reportFailure(log, error);
    // process.exit would wait for seconds where a name is being resolved.
    if (error instanceof Stopped) loadLibc()?.exitAtOnce(code);
    return code;
  }
}

/** What the APP of a command line is that names no command; null where it may be a server, and boots. */
async function findOneOff(
  { invocation, named }: Extract<Parsed, { kind: "boot" }>,
  env: Environment,
): Promise<OneOff | null> {
  const [program, ...rest] = invocation.app;
  if (named || program === undefined) return null;
  const { recogniseOneOff } = await commands.load();
  return recogniseOneOff([program, ...rest], readOneOffRules(invocation, env));
}

function reportOneOff(log: Log, words: Words, { reason, migrates }: OneOff): void {
  const details = { event: "starting", app: words, reason };
  const message = `Starting ${words[0]} at once, without a boot, since ${reason}`;
  if (!migrates) return log.info(details, message);
  const hint = "entrypoint migrate migrates under the lock";
  log.warn({ ...details, hint }, `${message}; it takes no lock`);
}

/** A setup step may install the program; a dry run needs none. */
function mayInstallApp(settings: Settings): boolean {
  const setup = "setup" in settings ? settings.setup : [];
  const before = "before" in settings ? settings.before : [];
  return before.length + setup.length > 0 || isDry(settings);
}

function isDry(settings: Settings): boolean {
  return "dryRun" in settings && settings.dryRun;
}

/** PID 1 has no default action for a signal: who has no handler for TERM never gets it. */
async function warnOfLostTerm(
  log: Log,
  words: readonly string[],
  file: string,
  { cwd, env }: Settings,
): Promise<void> {
  // Loaded here: what starts in a container's first process alone pays for it.
  const { findWithoutTermHandler } = await import("./src/process/become/term-handler.ts");
  const seen = findWithoutTermHandler(words, file, { cwd, env });
  if (seen === null) return;
  log.warn(
    {
      event: "no-term-handler",
      hint: "set --mode supervise, or handle SIGTERM in the program; without either, a stop takes the whole grace period and ends with SIGKILL",
    },
    `The application becomes PID 1, which gets SIGTERM only if it handles it, and ${seen} does not`,
  );
}

/** The exit code, or null where the application is to be started. */
async function runCommand(settings: Settings, signals: Signals, log: Log): Promise<number | null> {
  if ("waitFor" in settings && settings.waitFor.length > 0) {
    if (isDry(settings)) {
      const names = settings.waitFor.map(({ name }) => name);
      printResult(`services   would wait for ${names.join(", ")}`);
    } else {
      const { waitForServices } = await import("./src/services/wait-for-services.ts");
      await waitForServices({ settings, signals, log });
    }
  }
  if (settings.command === "supervise" || settings.command === "exec") {
    commands.release();
    if (settings.command === "supervise" || !settings.dryRun) return null;
    printResult(`then       would become ${settings.app.words.join(" ")}, without a boot`);
    return 0;
  }
  const { execute } = await commands.take();
  return await execute(settings, signals);
}

runAtStart(() => void main().then((code) => process.exit(code)));
