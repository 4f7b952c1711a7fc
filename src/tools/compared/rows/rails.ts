// Rails, with one database. `db:prepare` does the same on a database that has been migrated once.

import { resolve } from "node:path";
import { crc32 } from "../../../runtime/crc32.ts";
import { flags } from "../../launchers.ts";
import { listByName, listFolder, readText } from "../folder.ts";
import { doubt, found, type Project, type Row } from "../row.ts";

export const rails: Row = {
  id: "rails",
  name: "Rails",
  commands: [
    {
      programs: ["rails", "rake"],
      verb: [["db:migrate"], ["db:prepare"]],
      options: flags("--trace --quiet --silent -q -s"),
    },
  ],
  locate(project) {
    const reason = findReason(project);
    return {
      folders: reason === null ? found(["db/migrate"]) : doubt(reason),
      table: found({ schema: null, name: "schema_migrations" }),
      // It lets DATABASE_URL win over config/database.yml.
      doubt: null,
    };
  },
  list: (folders) =>
    listByName(folders, {
      pattern: /^(\d+)_[_a-z0-9]*\.?[_a-z0-9]*\.rb$/,
      recursive: true,
      order: "number",
    }),
  ledger: { id: "version" },
  ownTables: ["ar_internal_metadata"],
  order: "number",
  advisoryLock: ({ database }) => String(2_053_462_845n * BigInt(crc32(database))),
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  cures: {
    stamp: "insert the number of each file into schema_migrations",
    undo: "bin/rails db:rollback",
  },
};

/** What the comparison of one folder with one table would miss. */
function findReason({ cwd }: Project): string | null {
  const several = listFolder(resolve(cwd, "db")).find(({ name }) => name.endsWith("_migrate"));
  if (several !== undefined) return `db/${several.name}: there are several databases`;
  if (/\bmigrations_paths\b/.test(readText(resolve(cwd, "config/database.yml")) ?? "")) {
    return "config/database.yml has migrations_paths";
  }
  const places = ["config", "config/environments", "config/initializers"];
  for (const place of places) {
    for (const { name } of listFolder(resolve(cwd, place))) {
      const text = name.endsWith(".rb") ? readText(resolve(cwd, place, name)) : null;
      const word =
        /\b(?:schema_migrations_table_name|migrations_paths?|table_name_(?:prefix|suffix)|db\/migrate)\b/.exec(
          text ?? "",
        )?.[0];
      if (word !== undefined) return `${place}/${name} has ${word}`;
    }
  }
  return null;
}
