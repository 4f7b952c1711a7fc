// Secrets: read from the files that NAME_FILE variables name, and masked where a value is quoted.

import { readWithinLimit } from "../runtime/regular-file.ts";
import { hide, hidePasswords, maskPasswords } from "../log/mask.ts";

/** What was given, without the passwords that a URL or a command may hold. */
export function quote(given: string): string {
  return JSON.stringify(
    maskPasswords(given).replaceAll(
      /((?:password|passwd|secret|token)\w*['"]?[\s=:]+)[^\s&]+/gi,
      "$1***",
    ),
  );
}

/** Replaces NAME_FILE by NAME, as the official images do: both set is an error, trailing newlines are dropped. */
export function readSecret(env: Record<string, string | undefined>, name: string): string | null {
  const path = env[`${name}_FILE`];
  if (path === undefined || path === "") return null;
  if (env[name] !== undefined && env[name] !== "") {
    return `${name} and ${name}_FILE: given both; allowed: one of them`;
  }
  try {
    env[name] = readWithinLimit(path).replace(/[\r\n]+$/, "");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return `${name}_FILE: given ${quote(path)}; allowed: a file that can be read (${code ?? String(error)})`;
  }
  // An orchestrator that has not filled the file yet: without the URL it would migrate without a lock.
  if (name === "DATABASE_URL" && env[name] === "") {
    return `${name}_FILE: given ${quote(path)}; allowed: a file that is not empty`;
  }
  delete env[`${name}_FILE`];
  return null;
}

/** Keeps the value of a secret out of the log: of a URL its password, which is not the rest of DATABASE_URL. */
export function hideSecret(name: string, value: string): void {
  if (hidePasswords([value])) return;
  const readable = name === "DATABASE_URL" && /^\s*\w[\w+.-]*(?::\/\/|\s*=)/.test(value);
  if (!readable) hide(value);
}
