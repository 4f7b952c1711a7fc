// What a Flask application tells Flask-Migrate in code: `Migrate(app, db, directory=…, version_table=…)`.
// env.py shows nothing of it, so the application's own files are looked through.
// Guarantees: a table or a folder that the application's source names is never silently taken for the default.

import { readdirSync, readFileSync } from "node:fs";

import { readArguments, readLiteral } from "./literals.ts";
import { decodeSource, type Token, tokenise } from "./tokens.ts";

export interface FlaskSettings {
  /** Why the version table is not certain. */
  readonly tableHazard: string | null;
  /** Why the folder is not certain. */
  readonly folderHazard: string | null;
}

const maximumFiles = 4000;
const foreign = new Set([
  "node_modules",
  "site-packages",
  "__pycache__",
  "venv",
  "env",
  "test",
  "tests",
  "docs",
]);

/** Looks through the Python files below `cwd`, but for environments, caches and tests. */
export function readFlaskSettings(cwd: string): FlaskSettings {
  let tableHazard: string | null = null;
  let folderHazard: string | null = null;
  let files = 0;
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!entry.name.startsWith(".") && !foreign.has(entry.name)) visit(path);
        continue;
      }
      if (!entry.isFile() || !entry.name.endsWith(".py") || files > maximumFiles) continue;
      files += 1;
      const bytes = readFileSync(path);
      // The folder of migrations is judged by itself.
      if (entry.name !== "env.py" && bytes.includes("version_table")) {
        tableHazard ??= `${path} names a version_table, which Flask-Migrate may hand to env.py`;
      }
      if (bytes.includes("Migrate")) folderHazard ??= findDirectory(path, bytes);
      if (bytes.includes(".configure") && bytes.includes("flask_migrate")) {
        folderHazard ??= findCallback(path, bytes);
      }
    }
  };
  visit(cwd);
  if (files <= maximumFiles) return { tableHazard, folderHazard };
  const reason = `${cwd} holds too many Python files to see what the application passes to Flask-Migrate`;
  return { tableHazard: tableHazard ?? reason, folderHazard: folderHazard ?? reason };
}

function readLines(bytes: Uint8Array): (readonly Token[])[] | null {
  const decoded = decodeSource(bytes);
  if (decoded.kind === "unreadable") return null;
  const tokens = tokenise(decoded.text, { skipFunctions: false });
  return tokens.kind === "read" ? tokens.lines.map((line) => line.tokens) : null;
}

/** `Migrate(…)` or `migrate.init_app(…)` with a directory that is not the usual one. */
function findDirectory(path: string, bytes: Uint8Array): string | null {
  const unsure = `${path} may pass another directory to Flask-Migrate: name it with -d`;
  const lines = readLines(bytes);
  if (lines === null) return unsure;
  for (const tokens of lines) {
    for (const [index, token] of tokens.entries()) {
      const call =
        token.text === "Migrate" ||
        (token.text === "init_app" && /migrate/i.test(tokens[index - 2]?.text ?? ""));
      if (!call || tokens[index + 1]?.text !== "(" || tokens[0]?.text === "class") continue;
      const given = readArguments(tokens, index + 1);
      for (const [position, argument] of given.entries()) {
        if (argument[0]?.text === "*" || argument[0]?.text === "**") return unsure;
        const keyword = argument[1]?.text === "=" ? argument[0]?.text : null;
        if (keyword !== "directory" && !(keyword === null && position === 2)) continue;
        const value = readLiteral(keyword === null ? argument : argument.slice(2));
        if (value?.kind !== "string" || value.value !== "migrations") return unsure;
      }
    }
  }
  return null;
}

/** `@migrate.configure` may change any setting. */
function findCallback(path: string, bytes: Uint8Array): string | null {
  const decorated = readLines(bytes)?.some(
    ([at, ...rest]) =>
      at?.text === "@" && rest.at(-1)?.text === "configure" && /migrate/i.test(rest[0]?.text ?? ""),
  );
  return decorated === false ? null : `${path} may change Flask-Migrate's configuration`;
}
