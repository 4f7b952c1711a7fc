// dbmate. No lock; each file is a migration by the digits that it begins with.

import { flags, values } from "../../launchers.ts";
import { parseTable } from "../config.ts";
import { listByName } from "../folder.ts";
import { found, type Row } from "../row.ts";

export const dbmate: Row = {
  id: "dbmate",
  name: "dbmate",
  commands: [
    {
      programs: ["dbmate"],
      verb: [["up"], ["migrate"]],
      options: {
        ...flags("--no-dump-schema --wait --verbose --strict"),
        ...values(
          "--url --env --env-file --migrations-dir --migrations-table --schema-file --wait-timeout --wait-interval --driver",
        ),
      },
      aliases: {
        "-u": "--url",
        "-e": "--env",
        "-d": "--migrations-dir",
        "-s": "--schema-file",
        "-v": "--verbose",
      },
    },
  ],
  locate({ env, flags: given }) {
    const variable = given.get("--env") ?? "DATABASE_URL";
    const url = given.get("--url") ?? env[variable];
    return {
      folders: found([
        given.get("--migrations-dir") ?? (env["DBMATE_MIGRATIONS_DIR"] || "db/migrations"),
      ]),
      table: found(
        parseTable(
          given.get("--migrations-table") ??
            (env["DBMATE_MIGRATIONS_TABLE"] || "schema_migrations"),
        ),
      ),
      configured: url ? { url, from: given.has("--url") ? "--url" : variable } : null,
    };
  },
  // The digits as they are, and compared as text.
  list: (folders) => listByName(folders, { pattern: /^(\d+).*\.sql$/, order: "text" }),
  ledger: { id: "version" },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  sql: {
    up: /^--[ \t]*migrate:up\b/m,
    down: /^--[ \t]*migrate:down\b/m,
    transaction: "each",
    bare: /^--[ \t]*migrate:up\b.*\btransaction:false\b/m,
    bareRuns: "script",
    ownTransactions: "-- migrate:up transaction:false, and that statement alone in the file",
  },
  cures: {
    stamp: "insert the digits of each file into the table",
    undo: "dbmate rollback",
  },
};
