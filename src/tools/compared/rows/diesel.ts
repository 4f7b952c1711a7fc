// diesel's command line. Each folder is a migration by its name up to the first underscore, without hyphens.

import { dirname, join, resolve } from "node:path";
import { flags, values } from "../../launchers.ts";
import { listFolder, readText } from "../folder.ts";
import { doubt, found, type Entry, type Row } from "../row.ts";

export const diesel: Row = {
  id: "diesel",
  name: "diesel",
  commands: [
    {
      programs: ["diesel"],
      verb: [["migration", "run"], ["setup"], ["database", "setup"]],
      options: {
        ...flags("--locked-schema"),
        ...values("--database-url --migration-dir --config-file"),
      },
    },
  ],
  locate({ cwd, env, flags: given }) {
    const config = readText(
      resolve(cwd, given.get("--config-file") ?? (env["DIESEL_CONFIG_FILE"] || "diesel.toml")),
    );
    const own = /^\s*\[migrations_directory\][^[]*?^\s*dir\s*=\s*["']([^"'\\]*)["']/ms.exec(
      config ?? "",
    )?.[1];
    const url = given.get("--database-url");
    return {
      folders: found([
        given.get("--migration-dir") ?? (env["MIGRATION_DIRECTORY"] || own) ?? "migrations",
      ]),
      table: found({ schema: null, name: "__diesel_schema_migrations" }),
      configured: url === undefined ? null : { url, from: "--database-url" },
    };
  },
  list(folders) {
    const entries: Entry[] = [];
    for (const folder of folders) {
      for (const entry of listFolder(folder)) {
        if (!entry.isDirectory() || entry.name.startsWith(".")) continue;
        const path = join(folder, entry.name);
        const inside = listFolder(path);
        if (inside.length === 0) continue;
        if (!inside.some(({ name }) => name === "up.sql")) return doubt(`${path} has no up.sql`);
        const id = (entry.name.split("_")[0] ?? "").replaceAll("-", "");
        if (entries.some((other) => other.id === id)) return doubt(`${path} is ${id} once more`);
        entries.push({ id, name: entry.name, path });
      }
    }
    return found({ entries: entries.toSorted((a, b) => (a.id < b.id ? -1 : 1)) });
  },
  ledger: { id: "version" },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  sql: {
    fileOf: (path) => join(path, "up.sql"),
    transaction: "each",
    bare: (path) =>
      /^\s*run_in_transaction\s*=\s*false\b/m.test(
        readText(join(dirname(path), "metadata.toml")) ?? "",
      ),
    bareRuns: "script",
    ownTransactions:
      "run_in_transaction = false in its metadata.toml, and that statement alone in the file",
  },
  cures: {
    stamp: "insert the version of each folder into __diesel_schema_migrations",
    undo: "diesel migration revert",
  },
};
