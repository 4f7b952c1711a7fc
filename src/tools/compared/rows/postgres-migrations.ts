// The library postgres-migrations, which a script of the project's own calls. Its ids are consecutive, and 0 is its own.

import { createHash } from "node:crypto";
import { basename } from "node:path";
import { listByName, readText } from "../folder.ts";
import { doubt, found, type Row } from "../row.ts";

export const postgresMigrations: Row = {
  id: "postgres-migrations",
  name: "postgres-migrations",
  commands: [],
  locate: () => ({
    folders: doubt("--tool postgres-migrations needs the folder: --versions"),
    table: found({ schema: null, name: "migrations" }),
  }),
  list(folders) {
    const listing = listByName(folders, {
      pattern: /^(\d+)[-_]?.*\.sql$/i,
      refused: [/\.(?:sql|js)$/i, "what it runs is not known"],
      order: "number",
    });
    if (listing.kind === "doubt") return listing;
    const { entries } = listing.value;
    const gap = entries.find(({ id }, index) => id !== String(index + 1));
    if (gap !== undefined) return doubt(`${gap.path} does not follow the number before it`);
    return found({
      entries: entries.map((entry) => ({
        ...entry,
        checksum: createHash("sha1")
          .update(basename(entry.path) + (readText(entry.path) ?? ""))
          .digest("hex"),
      })),
    });
  },
  ledger: { id: "id", where: "id > 0", checksum: "hash" },
  order: "number",
  advisoryLock: "-8525285245963000605",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  sql: {
    transaction: "each",
    bare: /-- postgres-migrations disable-transaction/,
    bareRuns: "script",
    ownTransactions: "-- postgres-migrations disable-transaction",
  },
  cures: {
    stamp: "insert the number, the name and the hash of each file into the table",
    undo: "none: write a migration that undoes it",
  },
};
