// node-pg-migrate. Each file that is not hidden is a migration; its lock is not waited for.

import { flags, values } from "../../launchers.ts";
import { listFolder, listByName } from "../folder.ts";
import { resolve } from "node:path";
import { doubt, found, type Row } from "../row.ts";

export const nodePgMigrate: Row = {
  id: "node-pg-migrate",
  name: "node-pg-migrate",
  commands: [
    {
      programs: ["node-pg-migrate"],
      verb: [["up"]],
      options: {
        ...flags(
          "--verbose --no-verbose --check-order --no-check-order --lock --no-lock --single-transaction --no-single-transaction --reject-unauthorized --no-reject-unauthorized --create-schema --create-migrations-schema --decamelize",
        ),
        ...values(
          "--migrations-dir --migrations-table --migrations-schema --schema --database-url-var --envPath --lock-value --advisory-lock-mode --tsconfig --tsconfig-paths --migration-file-language -j",
        ),
        "--fake": "refused",
        "--dry-run": "refused",
        "--config-file": "refused",
        "--use-glob": "refused",
        "--ignore-pattern": "refused",
      },
      aliases: {
        "-m": "--migrations-dir",
        "-t": "--migrations-table",
        "-s": "--schema",
        "-d": "--database-url-var",
        "-f": "--config-file",
      },
    },
  ],
  locate({ cwd, env, flags: given }) {
    const variable = given.get("--database-url-var") ?? "DATABASE_URL";
    const url = env[variable];
    // The package `config` reads it, where it is installed.
    const packaged =
      listFolder(resolve(cwd, "config")).length > 0 &&
      listFolder(resolve(cwd, "node_modules/config")).length > 0;
    return {
      folders: found([given.get("--migrations-dir") ?? "migrations"]),
      table: found({
        schema: given.get("--migrations-schema") ?? given.get("--schema") ?? "public",
        name: given.get("--migrations-table") ?? "pgmigrations",
      }),
      configured: url ? { url, from: variable } : null,
      doubt: packaged ? "the package config may say more" : null,
    };
  },
  list(folders) {
    const listing = listByName(folders, {
      pattern: /^([^.].*?)(?:\.[^.]*)?$/,
      order: "text",
    });
    if (listing.kind === "doubt") return listing;
    // Only its loader of SQL pairs them, and the usual one runs both.
    const pair = listing.value.entries.find(({ id }) => /\.(?:up|down)$/.test(id));
    return pair === undefined
      ? listing
      : doubt(`${pair.path} may be half of a pair, or a migration`);
  },
  ledger: { id: "name" },
  order: "text",
  advisoryLock: ({ project }) =>
    project.flags.get("--lock-value")?.match(/^\d+$/)?.[0] ?? "7241865325823964",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  sql: {
    up: /^\s*--[\s-]*up\s+migration/im,
    down: /^\s*--[\s-]*down\s+migration/im,
    transaction: ({ flags: given }) => (given.has("--no-single-transaction") ? "each" : "all"),
    ownTransactions: "node-pg-migrate up --no-single-transaction",
  },
  cures: {
    stamp: "node-pg-migrate up --fake",
    undo: "node-pg-migrate down",
  },
};
