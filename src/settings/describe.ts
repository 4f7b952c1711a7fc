// What `entrypoint config` shows: every setting in force, and where it comes from.

import { describeAddress } from "../postgres/url.ts";
import { readCommand, hideWords } from "./command-settings.ts";
import { createReader, type Reader } from "./lookup.ts";
import type {
  CommonSettings,
  ConfigSettings,
  DatabaseSettings,
  Entry,
  Settings,
} from "./settings.ts";
import { concerns, flagOf, settingTable, type SettingName, type SettingRow } from "./table.ts";
import { parseSwitch } from "./values.ts";
import { describeWords } from "../log/words.ts";

/** Every setting in force for what would be started, and where it comes from. */
export function describeSettings(reader: Reader, common: CommonSettings): ConfigSettings {
  const { app, file, inherited, problems, complain, read } = reader;
  if (file === undefined && app.length > 0) {
    complain("entrypoint config", app.join(" "), "a role of entrypoint.toml, and there is none");
  }
  const command = file?.starts ?? "run";
  const words = file === undefined ? [] : app;
  const target = createReader({ ...reader, command, app: words }, inherited);
  const settings = readCommand({ ...target, command }, common);
  problems.push(...target.problems.filter((problem) => !problems.includes(problem)));
  hideWords(settings);
  const names = (Object.keys(settingTable) as SettingName[]).filter(
    (name) =>
      name !== "noMigrate" &&
      name !== "role" &&
      concerns(name, command) &&
      (settingTable[name].variable !== null || target.look(name)?.byDefault === false),
  );
  const role = file?.role ?? null;
  const starts = {
    name: "command",
    value: command,
    source: role === null ? "default" : "the role",
  };
  return {
    command: "config",
    ...common,
    role,
    entries: [
      { name: "role", value: role, source: file?.roleSource ?? "default" },
      starts,
      ...("app" in settings && settings.app !== null
        ? [{ name: "app", value: describeWords(settings.app.words), source: sourceOfApp(target) }]
        : []),
      ...names.map((name) => describeSetting(name, target, settings)),
    ],
    json: read("json", parseSwitch, false),
  };
}

function sourceOfApp({ app, file, inherited }: Reader): string {
  if (app.length === 0 && inherited["ENTRYPOINT_APP"]) return "ENTRYPOINT_APP";
  return file?.app?.source ?? "default";
}

function describeSetting(name: SettingName, reader: Reader, settings: Settings): Entry {
  const { flags, file, inherited, look } = reader;
  const row: SettingRow = settingTable[name];
  const key = flagOf(row).slice(2);
  if (name === "databaseUrl" && "database" in settings)
    return { name: key, ...describeDatabase(settings) };
  if (name === "migrate" && "migrations" in settings && settings.migrations.length === 0) {
    const given =
      flags.noMigrate === true ? "--no-migrate" : flags.migrate === undefined ? null : "--migrate";
    const variable = inherited[row.variable ?? ""] === undefined ? null : row.variable;
    return {
      name: key,
      value: null,
      source: given ?? variable ?? file?.values.get(name)?.source ?? "",
    };
  }
  if (
    name === "mode" &&
    "app" in settings &&
    settings.app !== null &&
    settings.app.mode !== look(name)?.values[0]
  ) {
    return { name: key, value: settings.app.mode, source: "an option of supervise" };
  }
  const found = look(name);
  if (found === null) return { name: key, value: null, source: "default" };
  const { values, byDefault, source } = found;
  const [only = ""] = values;
  return {
    name: key,
    value: values.length === 1 ? only : values,
    source: byDefault ? "default" : source,
  };
}

function describeDatabase({
  database,
  fallbackDatabase,
  guess,
}: DatabaseSettings): Omit<Entry, "name"> {
  if (database?.kind === "address") {
    return { value: describeAddress(database.address), source: database.from };
  }
  if (database?.kind === "foreign") {
    return { value: `a ${database.dialect} database`, source: database.from };
  }
  if (fallbackDatabase !== null) {
    return { value: describeAddress(fallbackDatabase), source: "libpq's variables" };
  }
  if (guess === null) return { value: null, source: "default" };
  return { value: describeAddress(guess.address), source: guess.names.join(", ") };
}
