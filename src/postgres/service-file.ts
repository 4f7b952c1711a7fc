// pg_service.conf: a name for where a database is, as libpq reads it. Guarantees: a service that cannot be found, or read to
// its end, is an error that names the files; nothing else is connected to instead.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { requireRegularFile } from "../runtime/regular-file.ts";
import { homeDirectory } from "./home.ts";
import { BadUrl, isParameter, type Variables } from "./parameters.ts";

/** Debian's, and that of the libpq in psycopg's and psycopg2's wheels. */
const systemDirectory = "/etc/postgresql-common";

/**
 * The parameters of a service. Throws BadUrl.
 * @param named the file by the user's word; undefined: the one in the home directory. The system's comes after either.
 */
export function readService(
  service: string,
  named: string | undefined,
  env: Variables,
): ReadonlyMap<string, string> {
  const home = homeDirectory(env["HOME"]);
  const own = named ?? (home === undefined ? undefined : join(home, ".pg_service.conf"));
  const system = join(env["PGSYSCONFDIR"] || systemDirectory, "pg_service.conf");
  const files = own === undefined ? [system] : [own, system];
  for (const file of files) {
    const text = readText(file, file === named);
    const found = text === null ? null : parseService(text, service, file);
    if (found !== null) return found;
  }
  throw new BadUrl(
    `the service "${service}" is not defined in ${files.join(" or ")}: name its file in PGSERVICEFILE`,
  );
}

/** Null where the file is not there, and need not be. */
function readText(file: string, required: boolean): string | null {
  try {
    requireRegularFile(file);
    return readFileSync(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (!required && (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES")) return null;
    throw new BadUrl(`the service file ${file} cannot be read (${code})`, { cause });
  }
}

/** Null where the file does not define the service. */
function parseService(text: string, service: string, file: string): Map<string, string> | null {
  let found: Map<string, string> | null = null;
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("[")) {
      if (found !== null) break;
      if (line.startsWith(`[${service}]`)) found = new Map();
      continue;
    }
    if (found === null) continue;
    const place = `line ${index + 1} of ${file}`;
    if (line.startsWith("ldap")) {
      throw new BadUrl(
        `${place} refers to LDAP, which entrypoint does not query: write host=… there`,
      );
    }
    const equals = line.indexOf("=");
    const name = line.slice(0, Math.max(equals, 0));
    if (!isParameter(name) || name.startsWith("service")) {
      throw new BadUrl(`${place} is not of the form parameter=value, without spaces around the =`);
    }
    // Of a parameter that is there twice libpq takes the first one.
    if (!found.has(name)) found.set(name, line.slice(equals + 1));
  }
  return found;
}
