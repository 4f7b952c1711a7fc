// One setting, looked up and parsed: a flag beats its variable, a variable beats the file, the file beats the default.
// Guarantees: what is not allowed is collected and not thrown, so that all of it is reported together.

import type { Environment } from "../runtime/environment.ts";
import { quote } from "./secrets.ts";
import {
  concerns,
  flagOf,
  settingTable,
  type Flags,
  type Invocation,
  type SettingName,
  type SettingRow,
} from "./table.ts";
import { BadTemplate, expandTemplate } from "./template.ts";
import { NotAllowed } from "./values.ts";

export interface Reader extends Invocation {
  readonly inherited: Environment;
  /** That of every child. */
  readonly env: Environment;
  readonly problems: string[];
  readonly warnings: string[];
  readonly complain: (name: string, given: string, allowed: string) => void;
  /** Where the setting comes from, and its texts; null where it is not set and has no default. */
  readonly look: (name: SettingName) => {
    source: string;
    values: readonly string[];
    byDefault: boolean;
    listed?: boolean;
  } | null;
  /** The parsed text; the fallback where there is none, or where it is not allowed. */
  readonly read: <T>(name: SettingName, parse: (text: string) => T, fallback: T) => T;
  /** Of a repeatable setting, whose variable has a separator. */
  readonly readEach: <T>(name: SettingName, separator: RegExp, parse: (text: string) => T) => T[];
}

/** They say themselves what is expanded in them, and how a value is written there. */
const withOwnForms = new Set<SettingName>([
  ...(["migrate", "whenEmpty", "inspectAs", "before", "setup", "oneOff", "tool"] as const),
  ...(["databaseUrl", "databasePasswordCommand", "waitFor", "user", "own"] as const),
  ...(["chdir", "envFile", "role", "table", "set", "where", "name", "sqlFile"] as const),
]);

export function createReader(invocation: Invocation, inherited: Environment): Reader {
  const { command, app, file } = invocation;
  const problems: string[] = [...(file?.problems ?? [])];
  const warnings: string[] = [...(file?.warnings ?? [])];
  const flags: Flags = { ...invocation.flags };
  for (const name of Object.keys(flags) as SettingName[]) {
    if (concerns(name, command)) continue;
    // Before the command's name it may be for all the commands of an image, as its variable is.
    warnings.push(`${flagOf(settingTable[name])} has no effect with entrypoint ${command}`);
    delete flags[name];
  }
  const complain: Reader["complain"] = (name, given, allowed) => {
    const problem = `${name}: given ${quote(given)}; allowed: ${allowed}`;
    if (!problems.includes(problem)) problems.push(problem);
  };
  const find: Reader["look"] = (name) => {
    const row: SettingRow = settingTable[name];
    const flag = flags[name];
    const source = flagOf(row);
    if (flag === true) return { source, values: ["on"], byDefault: false };
    if (typeof flag === "string") return { source, values: [flag], byDefault: false };
    if (Array.isArray(flag)) return { source, values: flag, byDefault: false };
    const variable =
      row.variable === null || !concerns(name, command) ? undefined : inherited[row.variable];
    // An empty variable counts as absent, so that `${X:-}` in a Compose file works.
    if (row.variable !== null && variable !== undefined && variable !== "") {
      return { source: row.variable, values: [variable], byDefault: false };
    }
    const inFile = concerns(name, command) ? file?.values.get(name) : undefined;
    if (inFile !== undefined) return { ...inFile, byDefault: false };
    return row.initial === null ? null : { source, values: [row.initial], byDefault: true };
  };
  /** `ENTRYPOINT_UMASK='${UMASK:-027}'`: a variable of the project's own. */
  const look: Reader["look"] = (name) => {
    const found = find(name);
    if (found === null || withOwnForms.has(name)) return found;
    if (!found.values.some((text) => text.includes("${"))) return found;
    const values = found.values.map((text) =>
      parseOr(found.source, text, (one) => expandSetting(one, inherited), ""),
    );
    if (values.some((text) => text !== "")) return { ...found, values };
    const { initial }: SettingRow = settingTable[name];
    return initial === null ? null : { ...found, values: [initial], byDefault: true };
  };
  function parseOr<T>(source: string, text: string, parse: (text: string) => T, fallback: T): T {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof NotAllowed)) throw error;
      complain(source, text, error.message);
      return fallback;
    }
  }
  return {
    command,
    app,
    flags,
    ...(file === undefined ? {} : { file }),
    inherited,
    env: inherited,
    problems,
    warnings,
    complain,
    look,
    read(name, parse, fallback) {
      const found = look(name);
      const text = found?.values[0];
      if (found === null || text === undefined) return fallback;
      return parseOr(found.source, text, parse, fallback);
    },
    readEach<T>(name: SettingName, separator: RegExp, parse: (text: string) => T): T[] {
      const found = look(name);
      if (found === null) return [];
      const texts =
        Array.isArray(flags[name]) || found.listed === true
          ? found.values
          : found.values
              .flatMap((value) => value.split(separator))
              .filter((text) => text.trim() !== "");
      return texts.flatMap((text) => {
        const parsed = parseOr<{ value: T } | null>(
          found.source,
          text,
          (one) => ({ value: parse(one) }),
          null,
        );
        return parsed === null ? [] : [parsed.value];
      });
    },
  };
}

/** A setting's text with its variables in place. Throws NotAllowed. */
export function expandSetting(
  text: string,
  env: Environment,
  expand: (text: string, env: Environment) => string = expandTemplate,
): string {
  try {
    return expand(text, env);
  } catch (error) {
    if (!(error instanceof BadTemplate)) throw error;
    throw new NotAllowed(`all its variables: ${error.message}`);
  }
}
