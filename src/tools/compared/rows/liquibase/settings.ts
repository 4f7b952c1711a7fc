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
  /** The files of properties, which need not be there. */
  readonly files: readonly string[];
}

export function readSettings(project: Project): Settings {
  const { flags, env } = project;
  const variables = new Map(
    Object.entries(env).flatMap(([name, value]) =>
      name.startsWith("LIQUIBASE_") && value
        ? [[plain(name.replace(/^LIQUIBASE_(?:COMMAND_(?:UPDATE_)?)?/, "")), value] as const]
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
  const schema = read("liquibase-schema-name") ?? read("default-schema-name") ?? jdbc?.schema;
  return {
    table: {
      schema: schema ?? null,
      name: asStored(read("database-changelog-table-name") ?? "databasechangelog"),
    },
    lockTable: asStored(read("database-changelog-lock-table-name") ?? "databasechangeloglock"),
    jdbc,
    read,
    files,
  };
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
  return new Map(
    [...text.matchAll(/^[ \t]*([\w.-]+)[ \t]*[=: \t][ \t]*(.*?)[ \t\r]*$/gm)].map(
      ([, name = "", value = ""]) => [
        plain(name.replace(/^liquibase\.(?:command\.(?:update\.)?)?/i, "")),
        value.replaceAll(/\\(.)/g, "$1"),
      ],
    ),
  );
}
