// sqlx-cli. A row keeps the checksum of its file; the command line takes no lock.

import { resolve } from "node:path";
import { flags, values } from "../../launchers.ts";
import { listByName, readText } from "../folder.ts";
import { found, type Row } from "../row.ts";

export const sqlx: Row = {
  id: "sqlx",
  name: "sqlx",
  commands: [
    {
      programs: ["sqlx", "sqlx-cli"],
      verb: [
        ["migrate", "run"],
        ["database", "setup"],
      ],
      options: {
        ...flags("--ignore-missing --no-dotenv"),
        ...values("--source --database-url --connect-timeout"),
        "--dry-run": "refused",
        "--target-version": "refused",
        "--config": "refused",
      },
      aliases: { "-D": "--database-url" },
    },
  ],
  locate({ cwd, flags: given }) {
    const url = given.get("--database-url");
    return {
      folders: found([given.get("--source") ?? "migrations"]),
      table: found({ schema: null, name: "_sqlx_migrations" }),
      configured: url === undefined ? null : { url, from: "--database-url" },
      doubt: readText(resolve(cwd, "sqlx.toml")) === null ? null : "sqlx.toml may say more",
    };
  },
  list: (folders) =>
    listByName(folders, {
      pattern: /^(\d+)_.*\.sql$/,
      ignored: /\.down\.sql$/,
      order: "number",
      checksum: "sha384",
    }),
  ledger: { id: "version", broken: "not success", checksum: "encode(checksum, 'hex')" },
  order: "number",
  pending: "missing",
  unknownRow: ({ flags: given }) => (given.has("--ignore-missing") ? "ignored" : "refused"),
  older: "runs",
  resumes: true,
  readsOptions: true,
  sql: {
    transaction: "each",
    bare: /^-- no-transaction/,
    bareRuns: "script",
    ownTransactions: "-- no-transaction in its first line, and that statement alone in the file",
  },
  cures: {
    stamp: "none: run the migrations into an empty database",
    undo: "sqlx migrate revert",
    repair:
      "look at what the failed migration has left and undo that, then delete its row: delete from _sqlx_migrations where not success",
  },
};
