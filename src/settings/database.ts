// Where the database is, by the settings: a URL, or PGHOST and the other variables of libpq.

import {
  addressFromEnvironment,
  BadUrl,
  parseDatabaseUrl,
  type DatabaseAddress,
} from "../postgres/url.ts";
import type { Environment } from "../runtime/environment.ts";
import type { DatabaseSetting } from "./settings.ts";
import type { FileValue, Flags } from "./table.ts";
import { BadTemplate, expandDatabaseUrl } from "./template.ts";

/** Like DATABASE_URL, which is the application's own, but for entrypoint alone. */
export const ownUrlVariable = "ENTRYPOINT_DATABASE_URL";

export function readDatabase(
  flags: Flags,
  env: Environment,
  problems: string[],
  warnings: string[],
  inFile: FileValue | null = null,
): DatabaseSetting | null {
  const flag = flags.databaseUrl;
  if (flag === "") problems.push('--database-url: given ""; allowed: a SQLAlchemy or libpq URL');
  const [from, url] =
    typeof flag === "string"
      ? ["--database-url", flag]
      : ([
          ...[ownUrlVariable, "DATABASE_URL"].map((name) => [name, env[name]] as const),
          ...(inFile === null ? [] : [[inFile.source, inFile.values[0]] as const]),
        ].find(([, value]) => value !== undefined && value.trim() !== "") ?? []);
  if (from === undefined || url === undefined || url.trim() === "") return null;
  try {
    // What the application reads as it is stays as it is.
    const expanded = from === "DATABASE_URL" ? url : expandDatabaseUrl(url, env);
    const answer = parseDatabaseUrl(expanded, env);
    if (answer.kind === "foreign") return { kind: "foreign", dialect: answer.dialect, from };
    warnings.push(...answer.warnings.map((warning) => `${from}: ${warning}`));
    const { address, inSqlAlchemy } = answer;
    const setting = { kind: "address", address, from } as const;
    return inSqlAlchemy === null
      ? setting
      : { ...setting, inSqlAlchemy: `${from}: ${inSqlAlchemy}` };
  } catch (error) {
    if (!(error instanceof BadUrl || error instanceof BadTemplate)) throw error;
    // The URL itself is not repeated: it holds a password.
    problems.push(`${from}: ${error.message}; allowed: a SQLAlchemy or libpq URL`);
    return null;
  }
}

export function readFallbackDatabase(env: Environment, problems: string[]): DatabaseAddress | null {
  try {
    return addressFromEnvironment(env);
  } catch (error) {
    if (!(error instanceof BadUrl)) throw error;
    problems.push(`the PG* variables: ${error.message}`);
    return null;
  }
}
