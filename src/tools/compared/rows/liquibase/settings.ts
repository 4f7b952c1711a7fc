// What Liquibase takes from the command line, else from its variables, else from its file of properties.

import type { VersionTable } from "../../../../state.ts";
import { readFirst } from "../../config.ts";
import { readJdbc } from "../../jdbc.ts";
import type { Project } from "../../row.ts";

interface Settings {
  readonly table: VersionTable;
  readonly lockTable: string;
  readonly jdbc: ReturnType<typeof readJdbc>;
  /** Where an option's value comes from, whatever its form: `changelog-file`. */
  readonly read: (option: string) => string | undefined;
  /** Why the settings are not all that count; null where they are. */
  readonly javaOptions: string | null;
  /** The files of properties, which need not be there. */
  readonly files: readonly string[];
}

export function readSettings(project: Project): Settings {
  const { flags, env } = project;
  const variables = readNames(
    Object.entries(env).flatMap(([name, value]) =>
      name.startsWith("LIQUIBASE_") && value
        ? [[name.replace(/^LIQUIBASE_(?:COMMAND_)?/, ""), value] as const]
        : [],
    ),
  );
  const file =
    flags.get("--defaults-file") ?? variables.get("defaultsfile") ?? "liquibase.properties";
  // The first one beats the second.
  const files = [file.replace(/(?=\.\w+$)/, ".local"), file];
  const properties = files.map((name) => parseProperties(readFirst(project, [name])?.text ?? ""));
  const read = (option: string): string | undefined =>
    [
      flags.get(`--${option}`),
      ...[variables, ...properties].map((known) => known.get(plain(option))),
    ].find((value) => value !== undefined);
  const jdbc = readJdbc(
    { url: read("url"), user: read("username"), password: read("password") },
    "Liquibase's url",
  );
  const schema =
    read("liquibase-schema-name") ?? read("default-schema-name") ?? jdbc?.schema ?? null;
  return {
    table: {
      schema:
        schema === null || read("preserve-schema-case") === "true" ? schema : asStored(schema),
      name: asStored(read("database-changelog-table-name") ?? "databasechangelog"),
    },
    lockTable: asStored(read("database-changelog-lock-table-name") ?? "databasechangeloglock"),
    jdbc,
    javaOptions: findJavaOptions(env),
    read,
    files,
  };
}

/** Variables with options of Java's. */
export const javaVariables = ["JAVA_OPTS", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"];

function findJavaOptions(env: Project["env"]): string | null {
  const name = javaVariables.find((one) => /-Dliquibase\./i.test(env[one] ?? ""));
  return name === undefined ? null : `${name} sets options of Liquibase (-Dliquibase.…)`;
}

/** One in capitals is written without quotes. */
function asStored(name: string): string {
  return /[a-z]/.test(name) ? name : name.toLowerCase();
}

/** `changelogfile`, of `changeLogFile`, `changelog-file` and `CHANGELOG_FILE`. */
function plain(name: string): string {
  return name.replaceAll(/[-_.]/g, "").toLowerCase();
}

function parseProperties(text: string): ReadonlyMap<string, string> {
  return readNames(
    [...text.matchAll(/^[ \t]*([\w.-]+)[ \t]*[=: \t][ \t]*(.*?)[ \t\r]*$/gm)].map(
      ([, name = "", value = ""]) =>
        [
          name.replace(/^liquibase\.(?:command\.)?/i, ""),
          value.replaceAll(/\\(.)/g, "$1"),
        ] as const,
    ),
  );
}

/** What is for `update` alone beats what is for all commands. */
function readNames(
  entries: readonly (readonly [name: string, value: string])[],
): ReadonlyMap<string, string> {
  const own = /^update[._]/i;
  return new Map(
    [false, true].flatMap((isOwn) =>
      entries
        .filter(([name]) => own.test(name) === isOwn)
        .map(([name, value]) => [plain(name.replace(own, "")), value] as const),
    ),
  );
}
