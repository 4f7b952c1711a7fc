// What rows need to read a project's configuration.

import { resolve } from "node:path";
import type { VersionTable } from "../../state.ts";
import type { ConfiguredUrl } from "../tool.ts";
import { readText } from "./folder.ts";
import { readVariable, type Literal } from "./literals.ts";
import { doubt, found, type Found, type Project } from "./row.ts";

/** The first of these files that there is; null where none is. */
export function readFirst(
  { cwd }: Pick<Project, "cwd">,
  names: readonly string[],
): { readonly name: string; readonly text: string } | null {
  for (const name of names) {
    const text = readText(resolve(cwd, name));
    if (text !== null) return { name, text };
  }
  return null;
}

/** A text, or the default where there certainly is none. @param what a message calls it. */
export function textOr<T>(literal: Literal | null, initial: T, what: string): Found<string | T> {
  if (literal === null) return found(initial);
  if (literal.kind === "text") return found(literal.text);
  return doubt(`${what} is not a plain text`);
}

/** `public.schema_migrations` */
export function parseTable(text: string): VersionTable {
  const [first = "", second] = text.split(".");
  return second === undefined ? { schema: null, name: first } : { schema: first, name: second };
}

/** What a configuration says of the database. */
export interface ConfiguredDatabase {
  readonly configured: ConfiguredUrl | null;
  readonly doubt: string | null;
}

/** @param literal of the URL; null where the tool takes DATABASE_URL by itself. */
export function readUrl(
  literal: Literal | null,
  { env }: Pick<Project, "env">,
  from: string,
): ConfiguredDatabase {
  const none = { configured: null, doubt: null };
  if (literal === null) return none;
  if (literal.kind === "text") return { configured: { url: literal.text, from }, doubt: null };
  if (literal.kind === "object") {
    return { configured: null, doubt: `${from} does not name the database by its URL` };
  }
  const name = readVariable(literal);
  if (name === null) {
    return /\bDATABASE_URL\b/.test(literal.source)
      ? none
      : { configured: null, doubt: `${from} takes the database from code` };
  }
  const url = env[name];
  return url === undefined || url === ""
    ? { configured: null, doubt: `${from} takes the database from ${name}, which is not set` }
    : { configured: { url, from: name }, doubt: null };
}

/** The schema that a URL names as some drivers take it; null for none. */
export function schemaOfUrl(url: string | undefined): string | null {
  const [, query = ""] = url?.split("?") ?? [];
  return new URLSearchParams(query).get("schema");
}
