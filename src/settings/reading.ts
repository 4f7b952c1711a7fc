// What to run, where the database is, how long to wait: the flags and variables, read and checked.
// Guarantees: all that is wrong is reported together, before anything has been touched; no file outside of src/settings reads a setting.

import { Failure } from "../failure.ts";
import { logFormats, logLevels } from "../log/log.ts";
import { inheritedEnvironment, type Environment } from "../runtime/environment.ts";
import { readCommand, hideWords } from "./command-settings.ts";
import { ownUrlVariable } from "./database.ts";
import { describeSettings } from "./describe.ts";
import { expandArgument, startsShell } from "./expansion.ts";
import { createReader, expandSetting, type Reader } from "./lookup.ts";
import { hideSecret, readSecret } from "./secrets.ts";
import type { Command, CommonSettings, OneOffRule, Settings } from "./settings.ts";
import {
  concerns,
  settingTable,
  startingCommands,
  type Invocation,
  type SettingName,
} from "./table.ts";
import { BadTemplate, betweenPaths } from "./template.ts";
import {
  notEmpty,
  oneOf,
  parseOneOffRule,
  parseSwitch,
  parseUmask,
  parseVariableName,
} from "./values.ts";

/** Variables of this project that are no row of the table. */
const otherVariables = new Set(["ENTRYPOINT_APP", ownUrlVariable]);

/** Reads every setting of the command: a flag beats its variable, a variable beats the default. Throws Failure "bad-settings". */
export function readSettings<C extends Command>(
  invocation: Invocation<C>,
  inherited: Environment = inheritedEnvironment(),
  cwd: string = findWorkingDirectory(),
): Extract<Settings, { readonly command: C }> {
  const plain = createReader(invocation, inherited);
  const { problems, warnings } = plain;
  const env = readSecrets(plain);
  const reader: Reader = { ...plain, env, app: expandApp(plain, env) };
  for (const name of Object.keys(inherited)) {
    if (!name.startsWith("ENTRYPOINT_") || otherVariables.has(name)) continue;
    if (Object.values(settingTable).some((row) => row.variable === name)) continue;
    warnings.push(`${name} is set, but this version has no such setting`);
  }
  const { command, read, look } = reader;
  const role = look("role");
  if (role !== null && invocation.file === undefined) {
    reader.complain(
      role.source,
      role.values[0] ?? "",
      "a role of entrypoint.toml, or of [tool.entrypoint] in pyproject.toml, and there is none",
    );
  }
  const common: CommonSettings = {
    user: read<string | null>(
      "user",
      (text) => notEmpty("NAME or NAME:GROUP")(expandSetting(text, env)),
      null,
    ),
    own: reader.readEach("own", betweenPaths, (text) =>
      notEmpty("a directory")(expandSetting(text, env)),
    ),
    umask: read<number | null>("umask", parseUmask, null),
    logFormat: read("logFormat", oneOf(logFormats), "auto"),
    logLevel: read("logLevel", oneOf(logLevels), "info"),
    cwd,
    env,
    warnings,
  };
  const settings =
    command === "config"
      ? describeSettings(reader, common)
      : readCommand({ ...reader, command }, common);
  hideWords(settings);
  refuseApp(reader);
  if (problems.length > 0) {
    const count = problems.length === 1 ? "a setting is" : `${problems.length} settings are`;
    throw new Failure("bad-settings", `${count} not valid: ${problems.join("; ")}`, {
      hint: "entrypoint --help lists every setting",
      details: { problems },
    });
  }
  return Object.freeze(settings) as Extract<Settings, { readonly command: C }>;
}

function findWorkingDirectory(): string {
  try {
    return process.cwd();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    throw new Failure("bad-settings", "the working directory has been deleted", {
      cause,
      hint: "start entrypoint in a directory that exists: WORKDIR of the image, working_dir, --workdir",
    });
  }
}

/** The environment for every child. */
function readSecrets(reader: Reader): Environment {
  const { command, flags, inherited, problems, warnings, readEach } = reader;
  const env: Record<string, string | undefined> = { ...inherited };
  const secrets = new Set(["DATABASE_URL", ...readEach("secrets", /[\s,]+/, parseVariableName)]);
  for (const name of secrets) {
    const problem = readSecret(env, name);
    // A secret that is mounted as the container starts does not exist yet while its image is built.
    // A shell is what finds out why a secret is missing.
    if (problem !== null && command === "exec") warnings.push(problem);
    else if (problem !== null && command !== "freeze") problems.push(problem);
    hideSecret(name, env[name] ?? "");
  }
  const urls = [flags.databaseUrl, reader.file?.values.get("databaseUrl")?.values[0]];
  for (const url of urls) if (typeof url === "string") hideSecret("DATABASE_URL", url);
  return env;
}

/** The words of the command line's APP, expanded where the user wants that: one may have a ${ for itself. */
function expandApp(
  { app, command, complain, read, warnings }: Reader,
  env: Environment,
): readonly string[] {
  const starts = command === "exec" || (startingCommands as readonly Command[]).includes(command);
  if (!starts || !app.some((word) => word.includes("${")) || startsShell(app)) return app;
  if (!read("expand", parseSwitch, false)) {
    const likely = app.find((word) => /\$\{[A-Za-z_]\w*:[-+?]/.test(word));
    if (likely !== undefined) {
      warnings.push(`${likely} is passed to ${app[0]} as it is: --expand replaces it by its value`);
    }
    return app;
  }
  return app.flatMap((word) => {
    try {
      return expandArgument(word, env);
    } catch (error) {
      if (!(error instanceof BadTemplate)) throw error;
      complain("APP", word, `all its variables: ${error.message}`);
      return [word];
    }
  });
}

function refuseApp({ command, app, complain }: Reader): void {
  const starts = (startingCommands as readonly Command[]).includes(command);
  const others: readonly Command[] = ["exec", "downgrade", "config"];
  if (starts || others.includes(command) || app.length === 0) return;
  complain(`entrypoint ${command}`, app.join(" "), "no APP, since none is started");
}

/** What the user says of one-off commands. What is wrong with it is reported with the other settings. */
export function readOneOffRules(invocation: Invocation, env: Environment): OneOffRule[] {
  return createReader(invocation, env).readEach("oneOff", /\n/, parseOneOffRule);
}

/** `exec` in the place of `run`, to which alone the other flags mean something. */
export function withoutBoot({ flags, app, file }: Invocation): Invocation<"exec"> {
  const kept = Object.entries(flags).filter(([name]) => concerns(name as SettingName, "exec"));
  return {
    command: "exec",
    flags: Object.fromEntries(kept),
    app,
    ...(file === undefined ? {} : { file }),
  };
}
