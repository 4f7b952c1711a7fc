// graphile-migrate. Committed migrations are a chain: each names the hash of the one before. The newest row decides what is run.

import { join } from "node:path";
import { flags, values } from "../../launchers.ts";
import { readFirst, readUrl, textOr } from "../config.ts";
import { listByName, readText } from "../folder.ts";
import { findLiteral, readExport } from "../literals.ts";
import { doubt, found, type Row } from "../row.ts";

export const graphileMigrate: Row = {
  id: "graphile-migrate",
  name: "graphile-migrate",
  commands: [
    {
      programs: ["graphile-migrate"],
      verb: [["migrate"]],
      options: {
        ...values("--config"),
        ...flags("--no-shadow --no-forceActions"),
        "--shadow": "refused",
        "--forceActions": "refused",
      },
      aliases: { "-c": "--config", "--force-actions": "--forceActions" },
    },
  ],
  locate(project) {
    const named = project.flags.get("--config");
    const names = named === undefined ? [".gmrc", ".gmrc.js", ".gmrc.cjs"] : [named];
    const file = readFirst(project, names);
    const from = file?.name ?? names[0] ?? "";
    const config = file === null ? null : readExport(file.text);
    const folder =
      config === null
        ? doubt(`${from} does not say in plain words where the migrations are`)
        : textOr(
            findLiteral(config, "migrationsFolder"),
            "migrations",
            `migrationsFolder in ${from}`,
          );
    const database = readUrl(
      config === null ? null : findLiteral(config, "connectionString"),
      project,
      from,
    );
    return {
      folders: folder.kind === "found" ? found([join(folder.value, "committed")]) : folder,
      table: found({ schema: "graphile_migrate", name: "migrations" }),
      ...database,
    };
  },
  list(folders) {
    const listing = listByName(folders, {
      pattern: /^(\d+)(?:-[-_a-zA-Z0-9]*)?\.sql$/,
      order: "text",
    });
    if (listing.kind === "doubt") return listing;
    let previous = "-";
    for (const { path } of listing.value.entries) {
      const text = readText(path) ?? "";
      const after = readHeader(text, "Previous");
      const hash = readHeader(text, "Hash");
      if (hash === null || after === null) return doubt(`${path} has no header`);
      if (after !== previous) return doubt(`${path} does not follow the one before it`);
      previous = hash;
    }
    return listing;
  },
  ledger: { id: String.raw`regexp_replace(filename, '\.sql$', '')` },
  ownTables: ["current"],
  order: "text",
  advisoryLock: "4727445306447283",
  pending: "missing",
  unknownRow: "ignored",
  older: "skipped",
  resumes: true,
  readsOptions: true,
  sql: {
    transaction: "each",
    bare: /^(?:--! [A-Z].*\n)*\s*--!\s*no-transaction\b/,
    bareRuns: "script",
    unreadable: [[/(?<![:\w]):[A-Z][A-Z_]+\b/, "it has placeholders"]],
    ownTransactions: "--! no-transaction in its first line, and that statement alone in the file",
  },
  cures: {
    stamp: "insert the hash, the previous hash and the file name of each migration into the table",
    undo: "none: write a migration that undoes it",
    skipped:
      "its number is below that of the newest migration that is applied: give it a higher one, and commit it again",
  },
};

/** `--! Hash: sha1:…` */
function readHeader(text: string, name: string): string | null {
  const headers = /^(?:--! .*\n)*/.exec(text)?.[0] ?? "";
  return new RegExp(`^--! ${name}:\\s*(\\S+)\\s*$`, "m").exec(headers)?.[1] ?? null;
}
