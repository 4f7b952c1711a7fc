// Where settings are given besides the command line: a file of settings, files of variables, the directory to work in.

import type { LogLevel } from "../context.ts";
import { Failure } from "../failure.ts";
import { logFormats, logLevels, type LogFormat } from "../log/log.ts";
import { inheritedEnvironment, type Environment } from "../runtime/environment.ts";
import { readFileSync, statSync } from "node:fs";
import type { Parsed } from "./cli.ts";
import { settingTable, type Invocation } from "./table.ts";
import { BadTemplate, betweenPaths, expandTemplate } from "./template.ts";

type Boot = Extract<Parsed, { kind: "boot" }>;

/** Where settings may stand besides, the first that is there. */
const settingsFiles = ["entrypoint.toml", "pyproject.toml"] as const;

/** The environment that the settings are read from, with the variables of --env-file. Throws Failure "bad-settings". */
export async function readEnvironment(
  { flags, file }: Pick<Invocation, "flags" | "file">,
  inherited: Environment = inheritedEnvironment(),
): Promise<Environment> {
  const flag = flags.envFile;
  const paths = Array.isArray(flag)
    ? (flag as readonly string[])
    : (inherited[settingTable.envFile.variable]?.split(betweenPaths) ??
      file?.values.get("envFile")?.values ??
      []);
  const given = paths
    .map((path) => expandPath(path, "--env-file", inherited))
    .filter((path) => path !== "");
  if (given.length === 0) return inherited;
  // Loaded here: most starts have no such file.
  const { addFiles } = await import("./env-file.ts");
  return addFiles(given, inherited);
}

/** The directory to work in. Throws Failure "bad-settings". */
function readDirectory({ flags, file }: Invocation, env: Environment): string | null {
  const { variable } = settingTable.chdir;
  const given =
    typeof flags.chdir === "string"
      ? flags.chdir
      : env[variable] || file?.values.get("chdir")?.values[0];
  return given === undefined ? null : expandPath(given, "--chdir", env) || null;
}

function expandPath(text: string, flag: string, env: Environment): string {
  if (!text.includes("${")) return text;
  try {
    return expandTemplate(text, env);
  } catch (error) {
    if (!(error instanceof BadTemplate)) throw error;
    throw new Failure("bad-settings", `${flag}: ${error.message}`);
  }
}

/**
 * The command line with what a file of settings says, and the environment with the variables of --env-file.
 * @param enter changes to the directory of --chdir, and returns the environment there.
 */
export async function readSources(
  parsed: Boot,
  enter: (directory: string | null, env: Environment) => Environment,
): Promise<{ parsed: Boot; environment: Environment }> {
  const inherited = inheritedEnvironment();
  const file = findSettingsFile();
  // Loaded here: most projects have no such file.
  const reader = file === null ? null : await import("./file.ts");
  const apply = (env: Environment) =>
    file === null || reader === null ? parsed : reader.applyFile(parsed, file, env);
  const early = apply(inherited).invocation;
  const entered = enter(readDirectory(early, inherited), inherited);
  const environment = await readEnvironment(early, entered);
  // The file of variables may name the role, and what its command is made of.
  return { parsed: apply(environment), environment };
}

function findSettingsFile(): { name: string; text: string } | null {
  for (const name of settingsFiles) {
    try {
      if (statSync(name, { throwIfNoEntry: false })?.isFile() !== true) continue;
      const text = readFileSync(name, "utf8");
      // Most projects have a pyproject.toml, and nothing of this in it.
      return name === "pyproject.toml" && !text.includes("entrypoint") ? null : { name, text };
    } catch (error) {
      const { code = String(error) } = error as NodeJS.ErrnoException;
      throw new Failure("bad-settings", `${name}: it cannot be read (${code})`, {
        hint: `let the user that starts entrypoint read ${name}`,
      });
    }
  }
  return null;
}

/** How to log before the settings are known, or when they are wrong. */
export function readLogSettings(
  { flags, file }: Pick<Invocation, "flags" | "file">,
  env: Environment = inheritedEnvironment(),
): { format: LogFormat; level: LogLevel } {
  const find = (name: "logFormat" | "logLevel") =>
    flags[name] ?? (env[settingTable[name].variable] || file?.values.get(name)?.values[0]);
  const [format, level] = [find("logFormat"), find("logLevel")].map((given) => {
    try {
      const text = String(given);
      return text.includes("${") ? expandTemplate(text, env) : text;
    } catch (error) {
      if (!(error instanceof BadTemplate)) throw error;
      // It is reported with all other settings.
      return "";
    }
  });
  return {
    format: logFormats.find((known) => known === format?.trim()) ?? "auto",
    level: logLevels.find((known) => known === level?.trim()) ?? "info",
  };
}
