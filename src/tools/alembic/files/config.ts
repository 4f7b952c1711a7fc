// What `alembic` would take from alembic.ini, pyproject.toml and env.py: where the revisions are,
// what the version table is called, and the database's URL where nothing overrides it.
// Guarantees: what several versions of Alembic read differently, or code decides, is "cannot tell".

import { existsSync, readFileSync, realpathSync } from "node:fs";
import { isAbsolute, normalize } from "node:path";

import type { AlembicCommand } from "../command.ts";
import { requireRegularFile } from "../../../runtime/regular-file.ts";
import type { VersionTable } from "../../../state.ts";
import { type Environment, readEnvironment } from "./environment.ts";
import { readFlaskSettings } from "./flask.ts";
import { getOption, type Ini, parseIni, strip } from "./ini.ts";
import { readSource } from "./tokens.ts";

export interface AlembicConfig {
  /** The folder of env.py. */
  readonly scriptLocation: string;
  readonly versionLocations: readonly string[];
  /** Subfolders count as well. */
  readonly recursive: boolean;
  /** Compiled revisions count as well. */
  readonly sourceless: boolean;
  readonly versionTable: VersionTable;
  /** `sqlalchemy.url`, where it is certain that env.py uses it. */
  readonly url: string | null;
}

export type ConfigAnswer =
  | { readonly kind: "known"; readonly config: AlembicConfig }
  | { readonly kind: "cannot-tell"; readonly reason: string; readonly url: string | null };

export interface ConfigOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's word on the version table; null: what env.py says. */
  readonly versionTable: VersionTable | null;
  /** The user's word on the folders; empty: what the configuration says. */
  readonly versions: readonly string[];
  /** The schema of a tenant: by the user's word the version table is in it, and env.py migrates it. */
  readonly tenant: string | null;
  /** Alembic's own word on the folders, where that has been frozen. */
  readonly frozen?: Located | null;
}

class CannotTell extends Error {}

/** Finds and reads the configuration that this command would use. */
export async function readConfig(
  command: AlembicCommand,
  options: ConfigOptions,
): Promise<ConfigAnswer> {
  const trusted: { url: string | null } = { url: null };
  try {
    const config = await (command.layout === "flask"
      ? readFlaskConfig(command, options)
      : readAlembicConfig(command, options, trusted));
    return { kind: "known", config };
  } catch (error) {
    if (error instanceof CannotTell)
      return { kind: "cannot-tell", reason: error.message, url: trusted.url };
    if (error instanceof Error && "syscall" in error) {
      return { kind: "cannot-tell", reason: error.message, url: trusted.url };
    }
    throw error;
  }
}

/** Settings as one reading of the files has them; a failed reading is a reason. */
export type Located = Pick<
  AlembicConfig,
  "scriptLocation" | "versionLocations" | "recursive" | "sourceless"
>;

async function readAlembicConfig(
  command: AlembicCommand,
  options: ConfigOptions,
  trusted: { url: string | null },
): Promise<AlembicConfig> {
  const { iniPath, tomlPath } = chooseFiles(command, options);
  if (command.section === "DEFAULT" || command.section === "")
    refuse(`[${command.section}] is no section`);
  const ini = readIni(iniPath);
  const toml = await readToml(tomlPath);
  refuseDatabases(ini, command.section);
  const frozen = options.frozen ?? null;
  let scriptLocation = frozen?.scriptLocation ?? null;
  let located = frozen;
  try {
    if (frozen === null) {
      scriptLocation = readScriptLocation(ini, toml, command.section, options.cwd);
      located =
        options.versions.length > 0
          ? null
          : locate(ini, toml, command.section, scriptLocation, options.cwd);
      // Alembic before 1.16 knows nothing of pyproject.toml: if that would matter, there is no telling.
      if (toml !== null && option(ini, command.section, "script_location") !== null) {
        const older = readScriptLocation(ini, null, command.section, options.cwd);
        const same =
          older === scriptLocation &&
          (located === null ||
            JSON.stringify(located) ===
              JSON.stringify(locate(ini, null, command.section, older, options.cwd)));
        if (!same)
          refuse(
            "alembic.ini and pyproject.toml differ, and not every version of Alembic reads both",
          );
      }
    }
  } catch (error) {
    // The user may have said all that the files are needed for.
    if (
      !(error instanceof CannotTell) ||
      options.versions.length === 0 ||
      options.versionTable === null
    )
      throw error;
  }
  // What the configuration hides may stand beside the folder that the user names.
  const [named] = options.versions;
  const beside =
    named === undefined
      ? null
      : directoryOf(resolvePath(named, options.cwd, "the versions directory"));
  const script = scriptLocation ?? (existsSync(`${beside}/env.py`) ? beside : null);
  const environment = script === null ? null : readEnvironmentFile(script, false);
  if (
    environment?.usesIniUrl === true &&
    !(environment.readsXArguments && listOwnArguments(command, options).length > 0)
  ) {
    trusted.url = readUrl(ini, command.section);
  }
  return decide(command, options, {
    environment,
    url: trusted.url,
    located: located ?? byTheUsersWord(options, scriptLocation, ini, toml, command.section),
  });
}

function readFlaskConfig(command: AlembicCommand, options: ConfigOptions): AlembicConfig {
  // click takes every option of `flask db upgrade` from the environment as well.
  const variable = Object.keys(options.env).find((name) => name.startsWith("FLASK_DB_"));
  if (variable !== undefined) refuse(`${variable} may change what flask db upgrade does`);
  const frozen = options.frozen ?? null;
  const directory = frozen?.scriptLocation ?? command.directory ?? "migrations";
  const scriptLocation = resolvePath(directory, options.cwd, "the migrations directory");
  if (!existsSync(`${scriptLocation}/env.py`)) refuse(`there is no ${scriptLocation}/env.py`);
  const ini = readIni(resolvePath(`${directory}/alembic.ini`, options.cwd, "alembic.ini"));
  if (ini === null) refuse(`there is no ${scriptLocation}/alembic.ini`);
  refuseDatabases(ini, command.section);
  // The user's words settle what the application may say in code.
  if (options.versionTable === null || command.directory === null) {
    const { tableHazard, folderHazard } = readFlaskSettings(options.cwd);
    if (options.versionTable === null && tableHazard !== null) refuse(tableHazard);
    const said = command.directory !== null || options.versions.length > 0 || frozen !== null;
    if (folderHazard !== null && !said) refuse(folderHazard);
  }
  const located =
    frozen ??
    (options.versions.length > 0
      ? byTheUsersWord(options, scriptLocation, ini, null, command.section)
      : locate(ini, null, command.section, scriptLocation, options.cwd));
  return decide(command, options, {
    environment: readEnvironmentFile(scriptLocation, true),
    url: null,
    located,
  });
}

interface Findings {
  readonly environment: Environment | null;
  readonly url: string | null;
  readonly located: Located;
}

function decide(
  command: AlembicCommand,
  options: ConfigOptions,
  findings: Findings,
): AlembicConfig {
  const { environment, url, located } = findings;
  if (environment !== null) {
    if (environment.flowHazard !== null) refuse(environment.flowHazard);
    if (environment.repetition !== null && options.tenant === null) refuse(environment.repetition);
    if (environment.readsXArguments && listOwnArguments(command, options).length > 0)
      refuse("env.py reads what -x says");
    const said = options.versions.length > 0 || (options.frozen ?? null) !== null;
    if (environment.folderHazard !== null && !said) refuse(environment.folderHazard);
    if (
      environment.tableHazard !== null &&
      options.versionTable === null &&
      options.tenant === null
    )
      refuse(environment.tableHazard);
  }
  const versionTable = options.versionTable ?? {
    schema: options.tenant ?? environment?.versionTableSchema ?? null,
    name: environment?.versionTable ?? "alembic_version",
  };
  return { ...located, versionTable, url };
}

/** What `-x` says besides which tenant it is. */
function listOwnArguments(
  { xArguments }: AlembicCommand,
  { tenant }: ConfigOptions,
): readonly string[] {
  return xArguments.filter((each) => each !== tenant && !each.endsWith(`=${tenant}`));
}

function chooseFiles(
  command: AlembicCommand,
  options: ConfigOptions,
): { iniPath: string; tomlPath: string } {
  const { ALEMBIC_CONFIG: variable } = options.env;
  if (command.config === null && variable === "")
    refuse("ALEMBIC_CONFIG is empty, which Alembic's versions read differently");
  let ini = "alembic.ini";
  let toml = "pyproject.toml";
  for (const name of [variable, command.config]) {
    if (name === undefined || name === null || name === "") continue;
    if (name.slice(name.lastIndexOf("/") + 1) === "pyproject.toml") {
      toml = name;
      // `-c pyproject.toml` goes with the default ini file, unless the variable names one.
    } else ini = name;
  }
  return {
    iniPath: resolvePath(ini, options.cwd, "the configuration"),
    tomlPath: resolvePath(toml, options.cwd, "pyproject.toml"),
  };
}

function readIni(path: string): Ini | null {
  if (!existsSync(path)) return null;
  requireRegularFile(path);
  const bytes = readFileSync(path);
  let content: string;
  try {
    content = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse(`${path} is not UTF-8`);
  }
  const answer = parseIni(content, { here: directoryOf(path) });
  return answer.kind === "read" ? answer.ini : refuse(`${path}, ${answer.reason}`);
}

interface Toml {
  readonly here: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/** `[tool.alembic]`, or null where there is none. */
async function readToml(path: string): Promise<Toml | null> {
  if (!existsSync(path)) return null;
  requireRegularFile(path);
  const text = readFileSync(path, "utf8");
  // Escapes could spell the word otherwise, but only where there is a quoted key with a backslash.
  if (!text.includes("alembic") && !text.includes("\\u")) return null;
  const { parse } = await import("smol-toml");
  let tool: unknown;
  try {
    tool = parse(text, { integersAsBigInt: "asNeeded" })["tool"];
  } catch (error) {
    return refuse(
      `${path} cannot be parsed: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  const values = isTable(tool) ? tool["alembic"] : undefined;
  if (values === undefined) return null;
  if (!isTable(values)) return refuse(`${path}: tool.alembic is not a table`);
  return { here: directoryOf(path), values };
}

function isTable(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date)
  );
}

/** An option of the ini file's section; interpolation that fails stops Alembic. */
function option(ini: Ini | null, section: string, name: string): string | null {
  if (ini === null) return null;
  const answer = getOption(ini, section, name);
  if (answer.kind === "unreadable") return refuse(answer.reason);
  return answer.kind === "value" ? answer.value : null;
}

/** Several databases mean several version tables. */
function refuseDatabases(ini: Ini | null, section: string): void {
  const answer = ini === null ? null : getOption(ini, section, "databases");
  if (
    answer !== null &&
    answer.kind !== "absent" &&
    !(answer.kind === "value" && answer.value === "")
  ) {
    refuse("the configuration names several databases");
  }
}

function tomlString(toml: Toml, value: unknown, name: string): string {
  if (typeof value !== "string") return refuse(`${name} in pyproject.toml is not a string`);
  return value.replaceAll(/%(\(here\)s|%|.?)/gs, (_, what: string) => {
    if (what === "(here)s") return toml.here;
    return what === "%"
      ? "%"
      : refuse(`${name} in pyproject.toml has a % that cannot be interpolated`);
  });
}

function readScriptLocation(
  ini: Ini | null,
  toml: Toml | null,
  section: string,
  cwd: string,
): string {
  let value = option(ini, section, "script_location");
  if (value === null && toml !== null && "script_location" in toml.values) {
    value = tomlString(toml, toml.values["script_location"], "script_location");
  }
  if (value === null) {
    if (ini === null && toml === null)
      return refuse("there is neither an alembic.ini nor a [tool.alembic]");
    return refuse("the configuration has no script_location");
  }
  for (const name of ["file_template", "timezone", "output_encoding"]) option(ini, section, name);
  const length = option(ini, section, "truncate_slug_length");
  if (length !== null && !/^\s*[-+]?[0-9]+\s*$/.test(length))
    refuse("truncate_slug_length is not a number");
  if (value === "") refuse("script_location is empty");
  const path =
    locatePackage(value, ini, toml, section, cwd) ?? resolvePath(value, cwd, "script_location");
  if (!existsSync(path)) refuse(`the script location ${path} does not exist`);
  return path;
}

// Packages that are loaded before any path of the project's is looked at.
const loadedEarlier = new Set([
  "alembic",
  "sqlalchemy",
  "mako",
  "markupsafe",
  "greenlet",
  "typing_extensions",
  "test",
]);

/**
 * `package:path` is a matter of Python's import. It is certain only where `prepend_sys_path` puts a single
 * directory first, and that holds the package.
 */
function locatePackage(
  value: string,
  ini: Ini | null,
  toml: Toml | null,
  section: string,
  cwd: string,
): string | null {
  if (isAbsolute(value) || !value.includes(":")) return null;
  const [module, ...rest] = value.split(":") as [string, ...string[]];
  const unsure = `only Python can determine where ${value} is`;
  let first = option(ini, section, "prepend_sys_path");
  if (first === null && toml !== null) {
    const listed = toml.values["prepend_sys_path"];
    if (Array.isArray(listed) && listed.length > 0)
      first = tomlString(toml, listed[0], "prepend_sys_path");
  }
  if (first === null || first === "" || /[\s,:;]/.test(first)) return refuse(unsure);
  const names = module.split(".");
  if (loadedEarlier.has(names[0] as string) || names.some((name) => !/^[A-Za-z_]\w*$/.test(name)))
    refuse(unsure);
  let folder = resolvePath(first, cwd, "prepend_sys_path");
  for (const name of names) {
    folder = `${folder}/${name}`;
    if (!existsSync(`${folder}/__init__.py`)) refuse(unsure);
  }
  return [folder, ...rest].join("/");
}

function locate(
  ini: Ini | null,
  toml: Toml | null,
  section: string,
  scriptLocation: string,
  cwd: string,
): Located {
  return {
    scriptLocation,
    versionLocations: readVersionLocations(ini, toml, section, scriptLocation, cwd),
    recursive: readBoolean(ini, toml, section, "recursive_version_locations"),
    sourceless: readBoolean(ini, toml, section, "sourceless"),
  };
}

function byTheUsersWord(
  options: ConfigOptions,
  scriptLocation: string | null,
  ini: Ini | null,
  toml: Toml | null,
  section: string,
): Located {
  const versionLocations = options.versions.map((path) =>
    resolvePath(path, options.cwd, "the versions directory"),
  );
  return {
    scriptLocation: scriptLocation ?? directoryOf(versionLocations[0] ?? options.cwd),
    versionLocations,
    recursive: readBoolean(ini, toml, section, "recursive_version_locations"),
    sourceless: readBoolean(ini, toml, section, "sourceless"),
  };
}

function readBoolean(ini: Ini | null, toml: Toml | null, section: string, name: string): boolean {
  const value = option(ini, section, name);
  // Exactly so: `True`, `yes` and `1` are false.
  if (value !== null) return value === "true";
  const listed = toml?.values[name] ?? false;
  if (typeof listed !== "boolean") return refuse(`${name} in pyproject.toml is not a boolean`);
  return listed;
}

const separators: Readonly<Record<string, string>> = {
  space: " ",
  newline: "\n",
  os: ":",
  ":": ":",
  ";": ";",
};

function readVersionLocations(
  ini: Ini | null,
  toml: Toml | null,
  section: string,
  scriptLocation: string,
  cwd: string,
): string[] {
  const parts = listVersionLocations(ini, toml, section);
  if (parts === null || parts.length === 0) return [`${scriptLocation}/versions`];
  return parts.map((part) => {
    if (part === "")
      return refuse("version_locations holds an empty entry, which is the working directory");
    return (
      locatePackage(part, ini, toml, section, cwd) ?? resolvePath(part, cwd, "version_locations")
    );
  });
}

function listVersionLocations(
  ini: Ini | null,
  toml: Toml | null,
  section: string,
): string[] | null {
  const value = option(ini, section, "version_locations");
  if (value === null || value === "") {
    const listed = toml?.values["version_locations"];
    if (toml === null || listed === undefined) return null;
    if (!Array.isArray(listed)) return refuse("version_locations in pyproject.toml is not a list");
    return listed.map((each) => tomlString(toml, each, "version_locations"));
  }
  const separator =
    option(ini, section, "path_separator") ?? option(ini, section, "version_path_separator");
  if (separator === null) return value.split(/, *|(?: +)/);
  const character = Object.hasOwn(separators, separator) ? separators[separator] : undefined;
  if (character === undefined) return refuse(`${separator} is no path_separator`);
  const parts = value.split(character).filter((part) => part !== "");
  const stripped = parts.map(strip);
  // Before 1.16 the white space was taken for a part of the name.
  if (character !== "\n" && stripped.some((part, index) => part !== parts[index])) {
    return refuse(
      "version_locations has white space around a path, which Alembic's versions read differently",
    );
  }
  return stripped;
}

function readEnvironmentFile(scriptLocation: string, flask: boolean): Environment {
  const path = `${scriptLocation}/env.py`;
  if (!existsSync(path)) return refuse(`there is no ${path}`);
  requireRegularFile(path);
  const answer = readEnvironment(readSource(path), { flask });
  return answer.kind === "known" ? answer.environment : refuse(`${path}: ${answer.reason}`);
}

function readUrl(ini: Ini | null, section: string): string | null {
  const answer = ini === null ? null : getOption(ini, section, "sqlalchemy.url");
  if (answer?.kind !== "value" || answer.value === "" || answer.value.startsWith("driver://"))
    return null;
  return answer.value;
}

/** Absolute, but not shortened: `a/../b` is not `b` where `a` is a link. Python's two ways must agree. */
function resolvePath(path: string, cwd: string, what: string): string {
  const absolute = isAbsolute(path) ? path : `${cwd}/${path}`;
  if (/(?:^|\/)\.\.(?:\/|$)/.test(path) && existsSync(absolute)) {
    const shortened = normalize(absolute);
    if (
      !existsSync(shortened) ||
      realpathSync.native(absolute) !== realpathSync.native(shortened)
    ) {
      refuse(`${what}: ${path} leads through a link`);
    }
  }
  return absolute === "/" ? absolute : absolute.replace(/\/+$/, "");
}

function directoryOf(path: string): string {
  const end = path.lastIndexOf("/");
  return end <= 0 ? "/" : path.slice(0, end);
}

function refuse(reason: string): never {
  throw new CannotTell(reason);
}
