// Settings from a file: entrypoint.toml, or [tool.entrypoint] of pyproject.toml, with named roles. Loaded only where there is one.
// Guarantees: a key is a setting's flag name, and anything else a problem that has the nearest name; nothing of it is executed.

import { quote as quoteWord } from "shlex";
import { parse, TomlError, type TomlTable, type TomlValue } from "smol-toml";
import type { Words } from "../context.ts";
import { Failure } from "../failure.ts";
import type { Environment } from "../runtime/environment.ts";
import type { Parsed } from "./cli.ts";
import { quote } from "./secrets.ts";
import {
  concerns,
  flagOf,
  settingTable,
  superviseOptions,
  type FileSettings,
  type FileValue,
  type FileValues,
  type SettingName,
  type SettingRow,
} from "./table.ts";
import { BadTemplate, expandTemplate } from "./template.ts";
import { NotAllowed, parseWords } from "./values.ts";

type Boot = Extract<Parsed, { kind: "boot" }>;

/** What a role starts: after a boot, once the database is at head, or at once. */
export const bootsOfRole = ["migrate", "wait", "none"] as const;

interface Role {
  readonly command: "run" | "wait" | "exec" | "supervise";
  readonly app: FileValue | null;
  readonly values: FileValues;
}

interface SettingsFile {
  readonly name: string;
  readonly values: FileValues;
  readonly app: FileValue | null;
  readonly roles: ReadonlyMap<string, Role>;
  readonly problems: string[];
}

/** What stands in the file beside the settings. */
const fileKeys = ["app", "roles"] as const;
const roleKeys = ["command", "boot"] as const;

/** The key of each setting: its flag without the dashes. */
export function keyOf(row: SettingRow): string {
  return flagOf(row).slice(2);
}

const names = Object.keys(settingTable) as SettingName[];
const nameOf: ReadonlyMap<string, SettingName> = new Map(
  names.map((name) => [keyOf(settingTable[name]), name]),
);

/** The command line with what the file says, and with the role that it names. Throws Failure "bad-settings". */
export function applyFile(
  parsed: Boot,
  { name, text }: { readonly name: string; readonly text: string },
  env: Environment,
): Boot {
  const table = findTable(name, text);
  return table === null ? parsed : selectRole(parsed, readTable(name, table), env);
}

function findTable(name: string, text: string): TomlTable | null {
  let whole: TomlTable;
  try {
    whole = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [what = ""] = error.message.split("\n");
    throw new Failure("bad-settings", `${name}: line ${error.line}: ${what}`, {
      hint: `correct ${name}`,
    });
  }
  if (!name.endsWith("pyproject.toml")) return whole;
  const { tool } = whole;
  const own = isTable(tool) ? tool["entrypoint"] : undefined;
  if (own === undefined || isTable(own)) return own ?? null;
  throw new Failure("bad-settings", `${name}: tool.entrypoint is no table`, {
    hint: `write [tool.entrypoint] in ${name}`,
  });
}

function isTable(value: TomlValue | undefined): value is TomlTable {
  return (
    typeof value === "object" &&
    !Array.isArray(value) &&
    Object.getPrototypeOf(value) !== Date.prototype
  );
}

function readTable(name: string, table: TomlTable): SettingsFile {
  const problems: string[] = [];
  const place = name.endsWith("pyproject.toml") ? `${name}: tool.entrypoint.` : `${name}: `;
  const { roles: given, app, ...settings } = table;
  const roles = new Map<string, Role>();
  if (given !== undefined && !isTable(given)) problems.push(`${place}roles: allowed: [roles.NAME]`);
  for (const [role, value] of isTable(given) ? Object.entries(given) : []) {
    const at = `${place}roles.${role}`;
    if (!isTable(value)) problems.push(`${at}: allowed: a table, [roles.${role}]`);
    else roles.set(role, readRole(at, value, problems));
  }
  return {
    name,
    values: readValues(place, settings, fileKeys, problems),
    app: app === undefined ? null : readCommand(`${place}app`, app, problems),
    roles,
    problems,
  };
}

function readRole(at: string, table: TomlTable, problems: string[]): Role {
  const { command, boot = "migrate", ...settings } = table;
  const known = bootsOfRole.find((one) => one === boot);
  if (known === undefined) {
    problems.push(`${at}.boot: given ${JSON.stringify(boot)}; allowed: ${bootsOfRole.join(", ")}`);
  }
  const values = readValues(`${at}.`, settings, roleKeys, problems);
  const app = command === undefined ? null : readCommand(`${at}.command`, command, problems);
  if (known !== "none") return { command: known === "wait" ? "wait" : "run", app, values };
  if (app === null) problems.push(`${at}: boot = "none" without a command; allowed: command = …`);
  // An exec at once has no options; a supervisor has.
  const supervised =
    values.get("mode")?.values[0] === "supervise" ||
    superviseOptions.some((name) => values.has(name));
  const others = new Map([...values].filter(([name]) => name !== "mode"));
  return { command: supervised ? "supervise" : "exec", app, values: others };
}

/** A command as a text, or as a list of its words. */
function readCommand(at: string, value: TomlValue, problems: string[]): FileValue | null {
  const text = toTexts(value);
  const words = Array.isArray(value) && text !== null ? joinWords(text) : null;
  const command = words ?? (Array.isArray(value) ? undefined : text?.[0]);
  try {
    if (command === undefined) throw new NotAllowed("a command, or a list of its words");
    // The variables of a role that is not started need not be there.
    parseWords(command.replaceAll(/\$\{[^{}]*\}/g, "x"));
    return { source: at, values: [command], listed: false };
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
    problems.push(`${at}: given ${quote(JSON.stringify(value))}; allowed: ${error.message}`);
    return null;
  }
}

function joinWords(words: readonly string[]): string {
  return words.map(quoteWord).join(" ");
}

/** The texts of a value, or of a list of values; null where one is neither a text, a number nor a switch. */
function toTexts(value: TomlValue): string[] | null {
  const list = Array.isArray(value) ? value : [value];
  const texts = list.map((one) => {
    if (typeof one === "string") return one;
    if (typeof one === "boolean") return one ? "on" : "off";
    return typeof one === "number" || typeof one === "bigint" ? String(one) : null;
  });
  return texts.includes(null) ? null : (texts as string[]);
}

function readValues(
  place: string,
  table: TomlTable,
  otherKeys: readonly string[],
  problems: string[],
): FileValues {
  const values = new Map<SettingName, FileValue>();
  for (const [key, value] of Object.entries(table)) {
    const source = `${place}${key}`;
    const name = nameOf.get(key);
    if (name === undefined) {
      const near = findNearest(key, [...nameOf.keys(), ...otherKeys]);
      problems.push(`${source}: no such setting${near === null ? "" : `; did you mean ${near}?`}`);
      continue;
    }
    const row: SettingRow = settingTable[name];
    const texts = toTexts(value);
    const listed = Array.isArray(value);
    const isCommand = row.flags.endsWith("<command>") && row.repeatable !== true;
    if (texts === null || (listed && row.repeatable !== true && !isCommand)) {
      const allowed = `a value${row.repeatable === true ? ", or a list of values" : ""}`;
      problems.push(`${source}: given ${quote(JSON.stringify(value))}; allowed: ${allowed}`);
    } else if (listed && isCommand) {
      values.set(name, { source, values: [joinWords(texts)], listed: false });
    } else {
      values.set(name, { source, values: texts, listed: true });
    }
  }
  const off = values.get("noMigrate");
  values.delete("noMigrate");
  if (off?.values[0] !== "on") return values;
  // The same as an empty command, which a flag and a variable beat as they beat any other.
  if (values.has("migrate"))
    problems.push(`${off.source}: given with migrate; allowed: one of them`);
  else values.set("migrate", { ...off, values: [""] });
  return values;
}

/** The name that differs in the fewest letters; null where none is near. */
export function findNearest(given: string, known: readonly string[]): string | null {
  const word = given.toLowerCase().replaceAll("_", "-");
  const distances = known.map((name) => ({ name, distance: countEdits(word, name) }));
  const [nearest] = distances.toSorted((one, other) => one.distance - other.distance);
  const most = Math.max(Math.floor(word.length / 3), 1);
  return nearest !== undefined && nearest.distance <= most ? nearest.name : null;
}

/** Levenshtein's distance: letters to insert, to delete or to replace. */
function countEdits(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [index, letter] of Array.from(one).entries()) {
    const next = [index + 1];
    for (let at = 1; at <= other.length; at += 1) {
      const replaced = (row[at - 1] ?? 0) + (letter === other[at - 1] ? 0 : 1);
      next.push(Math.min((row[at] ?? 0) + 1, (next[at - 1] ?? 0) + 1, replaced));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** `${SERVICE:-web}`: a variable of the project's own names the role. Undefined where nothing is left of it. */
function expandName(
  text: string,
  source: string,
  { file, env }: { readonly file: SettingsFile; readonly env: Environment },
): string | undefined {
  try {
    return expandTemplate(text, env).trim() || undefined;
  } catch (error) {
    if (!(error instanceof BadTemplate)) throw error;
    file.problems.push(
      `${source}: given ${quote(text)}; allowed: all its variables: ${error.message}`,
    );
    return undefined;
  }
}

/** The role of the first word, else of --role, of its variable or of the file. */
function selectRole(parsed: Boot, file: SettingsFile, env: Environment): Boot {
  const { invocation, named, separated } = parsed;
  const { command, flags, app } = invocation;
  const [word = "", ...rest] = app;
  const takesRole = command === "config" || (!named && !separated);
  const byWord = takesRole && file.roles.has(word);
  const { variable } = settingTable.role;
  const [given, source] = byWord
    ? [word, "the command line"]
    : typeof flags.role === "string"
      ? [flags.role, "--role"]
      : env[variable]
        ? [env[variable], variable]
        : [file.values.get("role")?.values[0], file.values.get("role")?.source ?? ""];
  const name = byWord || given === undefined ? given : expandName(given, source, { file, env });
  const settings: FileSettings = {
    values: file.values,
    app: file.app,
    problems: file.problems,
    warnings: [],
    role: null,
    roleSource: null,
  };
  if (name === undefined) {
    const problems =
      command === "config" && app.length > 0
        ? [...file.problems, describeUnknownRole("entrypoint config", app.join(" "), file)]
        : file.problems;
    return { ...parsed, invocation: { ...invocation, file: { ...settings, problems } } };
  }
  const role = file.roles.get(name);
  if (role === undefined) {
    const problem = describeUnknownRole(source, name, file);
    const problems = [...file.problems, problem];
    return { ...parsed, invocation: { ...invocation, file: { ...settings, problems } } };
  }
  const values = new Map([...file.values, ...role.values]);
  const own: FileSettings = {
    ...settings,
    values,
    app: role.app ?? file.app,
    role: name,
    roleSource: source,
  };
  const found = { byWord, role, file, env };
  if (command === "config") {
    const more = byWord ? rest : app;
    if (more.length > 0) {
      file.problems.push(`entrypoint config: given ${quote(more.join(" "))}; allowed: one role`);
    }
    const words = findWords(byWord ? [word] : [], found);
    const shown: FileSettings = { ...own, starts: role.command };
    return { ...parsed, invocation: { ...invocation, app: words, file: shown } };
  }
  if (named) {
    // `wait` without an APP is an init container's, whatever the role of the pod.
    const needsApp = (command === "exec" || command === "supervise") && app.length === 0;
    const words = needsApp ? wordsOf(own.app, env, file.problems) : app;
    return { ...parsed, invocation: { ...invocation, app: words, file: own } };
  }
  const warnings = [...role.values]
    .filter(([each]) => !concerns(each, role.command))
    .map(([, { source: at }]) => `${at} has no effect with entrypoint ${role.command}`);
  return {
    ...parsed,
    named: byWord || app.length === 0,
    invocation: {
      ...invocation,
      command: role.command,
      app: findWords(app, found),
      file: { ...own, warnings },
    },
  };
}

/** What is given after the role's name is its command's, as it is after the name of an image. */
function findWords(
  app: readonly string[],
  {
    byWord,
    role,
    file,
    env,
  }: { byWord: boolean; role: Role; file: SettingsFile; env: Environment },
): readonly string[] {
  if (byWord) return [...wordsOf(role.app, env, file.problems), ...app.slice(1)];
  // With `run` ENTRYPOINT_APP beats the file.
  return app.length > 0 || role.command === "run"
    ? app
    : wordsOf(role.app ?? file.app, env, file.problems);
}

function describeUnknownRole(source: string, name: string, file: SettingsFile): string {
  const known = [...file.roles.keys()];
  const allowed = known.length === 0 ? `a role, and ${file.name} has none` : known.join(", ");
  return `${source}: given ${JSON.stringify(name)}; allowed: ${allowed}`;
}

function wordsOf(app: FileValue | null, env: Environment, problems: string[]): Words | readonly [] {
  if (app === null) return [];
  try {
    return parseWords(app.values[0] ?? "", env);
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
    problems.push(`${app.source}: allowed: ${error.message}`);
    return [];
  }
}
