// The histories of the database: one, or several by a migration command each, or by a schema for each tenant. What is said of
// several commands is said in their order.

import type { Words } from "../context.ts";
import type { Environment } from "../runtime/environment.ts";
import type { VersionTable } from "../state.ts";
import type { Command, HistorySettings, MigrationSetting } from "./settings.ts";
import { parseCondition } from "./steps.ts";
import type { Flags, SettingName } from "./table.ts";
import {
  NotAllowed,
  notEmpty,
  parseTenant,
  parseVersionTable,
  parseWords,
  splitCommands,
} from "./values.ts";

/** What is needed of the reading of all settings. */
interface Reader {
  readonly command: Command;
  readonly flags: Flags;
  readonly inherited: Environment;
  /** The file of settings. */
  readonly file?: {
    readonly values: ReadonlyMap<SettingName, { readonly values: readonly string[] }>;
  };
  /** What is expanded in commands. */
  readonly env: Environment | null;
  readonly problems: string[];
  readonly complain: (name: string, given: string, allowed: string) => void;
  readonly look: (
    name: SettingName,
  ) => { source: string; values: readonly string[]; listed?: boolean } | null;
  readonly readEach: <T>(name: SettingName, separator: RegExp, parse: (text: string) => T) => T[];
}

/** What stands for the tenant's schema. */
const placeholder = "{tenant}";
/** What stands for a command of which nothing is said. */
const nothing = "-";

type Said = Omit<MigrationSetting, "name" | "tenant">;

/**
 * @param needs.use what a migration command is needed for, for the problem where there is none; null where none is needed.
 * @param needs.single why there must be no second one.
 */
export function readHistories(
  reader: Reader,
  needs: { readonly use: string | null; readonly single?: string },
): HistorySettings {
  const { command, problems } = reader;
  const commands = readCommands(reader);
  if (commands.length === 0 && needs.use !== null) {
    problems.push(
      `entrypoint ${command}: no migration command is left${needs.use}; allowed: one that is not empty`,
    );
  }
  const count = commands.length;
  const parseCommand = (text: string) => parseWords(text, reader.env);
  const whenEmpty = readForEach(reader, "whenEmpty", count, parseCommand);
  const inspectAs = readForEach(reader, "inspectAs", count, parseCommand);
  const tools = readForEach(reader, "tool", count, notEmpty("a migration tool"));
  const versionTables = readForEach(reader, "versionTable", count, parseVersionTable);
  const versions = readVersions(reader, count);
  const said = commands.map(({ words }, index): Said => ({
    words,
    whenEmpty: whenEmpty[index] ?? null,
    inspectAs: inspectAs[index] ?? null,
    tool: tools[index] ?? null,
    versionTable: versionTables[index] ?? null,
    versions: versions[index] ?? [],
  }));
  const tenants = reader.readEach("tenants", /[\s,]+/, parseTenant);
  const run = said.filter((_, index) => commands[index]?.holds === true);
  const migrations = nameEach(expand(reader, run, tenants));
  if (needs.single !== undefined && migrations.length > 1) {
    reader.complain(
      `entrypoint ${command}`,
      `${migrations.length} histories`,
      `one, since ${needs.single}: name it with --migrate${tenants.length > 0 ? " and --tenant" : ""}`,
    );
  }
  return { migrations };
}

/**
 * The migration commands; none where the user wants none. `holds` is false where a boot does not run this one, by its condition:
 * `run` alone may be one of many replicas.
 */
function readCommands({
  command,
  flags,
  file,
  inherited,
  env,
  problems,
  complain,
  look,
}: Reader): readonly { readonly words: Words; readonly holds: boolean }[] {
  const flag = typeof flags.migrate === "string" ? [flags.migrate] : flags.migrate;
  const given = Array.isArray(flag) ? (flag as readonly string[]) : null;
  const empty = given?.every((text) => text.trim() === "") === true;
  if (flags.noMigrate === true && given !== null && !empty) {
    problems.push("--migrate and --no-migrate: given both; allowed: one of them");
  }
  const inFile = file?.values.get("migrate")?.values.join("");
  // An empty variable means something here alone: no migration.
  const none =
    flags.noMigrate === true ||
    empty ||
    (given === null && (inherited["ENTRYPOINT_MIGRATE"] ?? inFile)?.trim() === "");
  const found = look("migrate");
  if (none || found === null) return [];
  const texts =
    given ?? (found.listed === true ? found.values : found.values.flatMap(splitCommands));
  const parse = (text: string) => {
    if (!text.trimStart().startsWith("if=")) return { words: parseWords(text, env), holds: true };
    const { holds, rest } = parseCondition(text, env ?? inherited);
    // What it lacks does not matter where it does not run.
    if (!holds && command === "run") return { words: [""] as Words, holds };
    return { words: parseWords(rest, env), holds: true };
  };
  return texts.map(
    (text) => parseOr(complain, found.source, text, parse) ?? { words: [""], holds: true },
  );
}

/** A value for each of `count` commands, in their order; null for one of which nothing is said. */
function readForEach<T>(
  { flags, problems, complain, look }: Reader,
  name: SettingName,
  count: number,
  parse: (text: string) => T,
): readonly (T | null)[] {
  const found = look(name);
  if (found === null || count === 0) return [];
  const { source, values, listed } = found;
  // Of one command the last one counts, as of any other setting.
  const texts =
    count === 1
      ? values.slice(-1)
      : flags[name] === undefined && listed !== true
        ? values.flatMap(splitCommands)
        : values;
  if (texts.length !== count) {
    problems.push(
      `${source}: given ${texts.length} for ${count} migration commands; allowed: one for each in their order, ${nothing} where nothing is said`,
    );
    return [];
  }
  return texts.map((text) =>
    count > 1 && text.trim() === nothing ? null : parseOr(complain, source, text, parse),
  );
}

/** The folders of each command. Of several commands, each one's stand in a value, or a line, of their own. */
function readVersions(reader: Reader, count: number): readonly (readonly string[])[] {
  const parse = notEmpty("a folder");
  if (count <= 1) return [reader.readEach("versions", /[:\n]/, parse)];
  const lists = readForEach(reader, "versions", count, (text) => text.split(":").map(parse));
  return lists.map((list) => list ?? []);
}

function parseOr<T>(
  complain: Reader["complain"],
  source: string,
  text: string,
  parse: (text: string) => T,
): T | null {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
    complain(source, text, error.message);
    return null;
  }
}

/** One for each tenant of what mentions them, or of all where nothing does. An image is built before its tenants are known. */
function expand(
  { command, complain }: Reader,
  said: readonly Said[],
  tenants: readonly string[],
): Omit<MigrationSetting, "name">[] {
  const mentioned = said.some(mentionsTenant);
  if (tenants.length === 0 || command === "freeze") {
    const first = said.find(mentionsTenant);
    if (first !== undefined && command !== "freeze") {
      complain("--migrate", first.words.join(" "), `${placeholder} only with --tenant`);
    }
    return said.map((one) => ({ ...one, tenant: null }));
  }
  return said.flatMap((one): Omit<MigrationSetting, "name">[] =>
    mentioned && !mentionsTenant(one)
      ? [{ ...one, tenant: null }]
      : tenants.map((tenant) => ({ ...insert(one, tenant), tenant })),
  );
}

function mentionsTenant({ words, whenEmpty, inspectAs, versionTable }: Said): boolean {
  const commands = [words, whenEmpty ?? [], inspectAs ?? []];
  const texts = [...commands.flat(), versionTable?.schema, versionTable?.name];
  return texts.some((text) => text?.includes(placeholder) === true);
}

function insert(said: Said, tenant: string): Said {
  const text = (one: string) => one.replaceAll(placeholder, tenant);
  const words = ([first, ...rest]: Words): Words => [text(first), ...rest.map(text)];
  const table = ({ schema, name }: VersionTable): VersionTable => ({
    schema: schema === null ? null : text(schema),
    name: text(name),
  });
  return {
    ...said,
    words: words(said.words),
    whenEmpty: said.whenEmpty === null ? null : words(said.whenEmpty),
    inspectAs: said.inspectAs === null ? null : words(said.inspectAs),
    versionTable: said.versionTable === null ? null : table(said.versionTable),
  };
}

/** The tenant's name where one command migrates all of them, else the command's words. */
function nameEach(settings: readonly Omit<MigrationSetting, "name">[]): MigrationSetting[] {
  const tenants = settings.map(({ tenant }) => tenant);
  const byTenant = !tenants.includes(null) && new Set(tenants).size === tenants.length;
  return settings.map((one) => {
    const words = one.words.join(" ");
    const told = one.tenant === null || words.includes(one.tenant);
    const name = byTenant ? one.tenant : told ? words : `${words} (${one.tenant})`;
    return { ...one, name: settings.length === 1 ? null : name };
  });
}
