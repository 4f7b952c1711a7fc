// ~/.pgpass, as libpq reads it. Guarantees: it is read only when the server requires a password and none is given, and never
// when users other than its owner can access it.

import { readFileSync, statSync } from "node:fs";
import { hide } from "../log/mask.ts";

export interface PasswordFor {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

export type PasswordAnswer =
  | { readonly kind: "found"; readonly password: string }
  /** In words that follow "no password is given": what to do about it. */
  | { readonly kind: "none"; readonly reason: string };

/** libpq's own directory for sockets: that of Debian and of psycopg's wheels, and PostgreSQL's. Its host is `localhost`. */
export const socketDirectories: readonly string[] = ["/var/run/postgresql", "/tmp"];

/** `HOST:PORT:DATABASE:USER:PASSWORD`, where a backslash takes the meaning of a colon or of another backslash. */
const linePattern = new RegExp(
  `^${String.raw`((?:\\.|[^:\\])*):`.repeat(4)}${String.raw`((?:\\.|[^:])*)`}`,
  "s",
);

/** The password of the first line that fits. */
export function findPassword(file: string, wanted: PasswordFor): PasswordAnswer {
  const text = readPasswordFile(file);
  if (typeof text !== "string") return { kind: "none", reason: text.reason };
  const { host, port, database, user } = wanted;
  const hosts = socketDirectories.includes(host) ? [host, "localhost"] : [host];
  const fields = [hosts, [String(port)], [database], [user]];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#")) continue;
    const [, ...written] = linePattern.exec(line) ?? [];
    if (written.length === 0) continue;
    const fits = fields.every(
      (names, index) =>
        written[index] === "*" || names.includes(removeEscapes(written[index] ?? "")),
    );
    const password = removeEscapes(written[4] ?? "");
    if (fits && password !== "") {
      hide(password, [host, database, user]);
      return { kind: "found", password };
    }
    if (fits) break;
  }
  return { kind: "none", reason: `no line of ${file} is for ${host}:${port}:${database}:${user}` };
}

function readPasswordFile(file: string): string | { readonly reason: string } {
  try {
    const status = statSync(file);
    if (!status.isFile()) return { reason: `${file} is not a regular file` };
    if ((status.mode & 0o077) !== 0) {
      return {
        reason: `${file} is ignored, since users other than its owner can access it: chmod 600 it`,
      };
    }
    return readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") {
      return { reason: `set it in the URL, in PGPASSWORD, or in ${file}` };
    }
    return { reason: `${file} cannot be read (${code})` };
  }
}

function removeEscapes(text: string): string {
  return text.replaceAll(/\\(.)/gs, "$1");
}
