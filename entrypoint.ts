#!/usr/bin/env node
// The script that stands in for entrypoint.sh: read the settings, boot, become the application.
// It holds the only process.exit; every failure ends here, with one line that says why.

import "./src/process/standard-streams.ts";
import "./src/environment.ts";

import { startupSnapshot } from "node:v8";
import { parseArguments } from "./src/cli.ts";
import { exitCodes, Failure, signalExitCode, Stopped } from "./src/exit-codes.ts";
import { createLog, printResult, writeTerminationMessage, type Log } from "./src/log.ts";
import { chooseMode, describeLosses, execProgram } from "./src/process/exec.ts";
import { findProgram } from "./src/process/find-program.ts";
import { readInheritance } from "./src/process/inheritance.ts";
import { loadLibc } from "./src/process/libc.ts";
import { catchSignals, type Signals } from "./src/process/signals.ts";
import { superviseProgram } from "./src/process/supervise.ts";
import { dropPrivileges } from "./src/process/user.ts";
import { readLogSettings, readSettings, type Settings } from "./src/settings.ts";
import { mapStack } from "./src/source-map.ts";

/** Loaded with the single executable, until it is taken. */
let commands: Promise<typeof import("./src/commands.ts")> | null = null;

async function main(): Promise<number> {
  const inheritance = readInheritance();
  const signals = catchSignals();
  let log = await createLog("auto", "info");
  // What is thrown where nobody waits for it is an internal error like any other.
  process.on("uncaughtException", (error) => process.exit(reportInternalError(log, error)));
  try {
    const parsed = parseArguments(process.argv.slice(2));
    if (parsed.kind === "print") {
      printResult(parsed.text);
      return 0;
    }
    const logSettings = readLogSettings(parsed.invocation.flags);
    log = await createLog(logSettings.format, logSettings.level);
    let settings: Settings = readSettings(parsed.invocation);
    for (const warning of settings.warnings) log.warn({ event: "settings" }, warning);
    if (settings.user !== null) {
      settings = { ...settings, env: dropPrivileges(settings.user, settings.env) };
    }
    const { app, env, cwd } = settings;
    const findApp = (name: string) => findProgram(name, { path: env["PATH"], cwd });
    const mode = chooseMode(settings.mode, inheritance);
    // Better now than after the migration; but a setup step may yet bring the program.
    if (app !== null && settings.setup.length === 0 && !settings.dryRun) findApp(app[0]);

    const code = await runCommand(settings, signals);
    if (code !== null) return code;
    if (app === null) return 0;

    const program = findApp(app[0]);
    if (mode === "supervise" && settings.mode === "auto") {
      log.info(
        { event: "supervise" },
        "Staying as a supervisor: this Node cannot hand all over by exec",
      );
    }
    for (const loss of describeLosses(mode, inheritance)) log.warn({ event: "inheritance" }, loss);
    // A signal that has arrived, but whose handler has not run yet, would be lost by the exec.
    await new Promise((resolve) => setImmediate(resolve));
    signals.stop.throwIfAborted();
    if (mode === "exec") return execProgram(program, app, env, inheritance);
    const ended = superviseProgram(program, app, env, inheritance, settings.supervise, log);
    signals.release();
    return await ended;
  } catch (error) {
    if (error instanceof Stopped) {
      log.warn({ event: "stopped", signal: error.signal }, `Stopped by ${error.signal}`);
      const code = signalExitCode(error.signal);
      // process.exit would wait for seconds where a name is being resolved.
      loadLibc()?.exitAtOnce(code);
      return code;
    }
    if (!(error instanceof Failure)) return reportInternalError(log, error);
    const { code, message, hint, details } = error;
    log.error({ event: code, exitCode: exitCodes[code], hint, ...details }, message);
    writeTerminationMessage(`entrypoint: ${message}\n${hint ?? ""}\n`);
    return exitCodes[code];
  }
}

/**
 * The command itself, up to the start of the application; null if there is one to start. Nothing that it loads is held
 * any longer then.
 */
async function runCommand(settings: Settings, signals: Signals): Promise<number | null> {
  const loaded = commands;
  commands = null;
  if (settings.command === "supervise") return null;
  const { runCommand: run } = await (loaded ?? import("./src/commands.ts"));
  return await run(settings, signals);
}

function reportInternalError(log: Log, error: unknown): number {
  if (error instanceof Error) error.stack = mapStack(error.stack ?? "");
  log.fatal({ event: "internal-error", err: error }, `Internal error: ${String(error)}`);
  writeTerminationMessage(`entrypoint: internal error: ${String(error)}\n`);
  return exitCodes["internal-error"];
}

function start(): void {
  void main().then((code) => process.exit(code));
}

async function rehearseStart(loaded: NonNullable<typeof commands>): Promise<void> {
  const { rehearse, forget } = await loaded;
  await rehearse("project", "b2");
  await forget();
}

// The single executable is built by taking a snapshot here, with everything loaded, and starts from it.
if (startupSnapshot.isBuildingSnapshot()) {
  startupSnapshot.setDeserializeMainFunction(start);
  commands = import("./src/commands.ts");
  void rehearseStart(commands);
} else start();
