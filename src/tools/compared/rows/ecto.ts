// Ecto's mix task. Its configuration is code: a release runs its migrations by code of its own, so --tool names it there.

import { resolve } from "node:path";
import { flags, values } from "../../launchers.ts";
import { listByName, listFolder, readText } from "../folder.ts";
import { doubt, found, type Project, type Row } from "../row.ts";

export const ecto: Row = {
  id: "ecto",
  name: "Ecto",
  commands: [
    {
      programs: ["mix"],
      verb: [["ecto.migrate"]],
      options: {
        ...flags(
          "--quiet --no-compile --no-deps-check --no-start --strict-version-order --log-migrations-sql --log-migrator-sql",
        ),
        ...values("--prefix --migrations-path --pool-size --log-level --repo"),
      },
      aliases: { "-r": "--repo" },
    },
  ],
  locate(project) {
    const given = project.flags.get("--migrations-path");
    const folders = given === undefined ? findFolders(project) : [given];
    const [first, second] = folders;
    const code = readConfig(project);
    const custom = /\bmigration_(?:source|repo|default_prefix|primary_key_prefix)\b/.test(code);
    const reads = code === "" || /\bDATABASE_URL\b/.test(code);
    return {
      folders:
        second === undefined
          ? found([first ?? "priv/repo/migrations"])
          : doubt(`there are ${folders.join(" and ")}`),
      table: custom
        ? doubt("config/*.exs names the table")
        : found({ schema: project.flags.get("--prefix") ?? null, name: "schema_migrations" }),
      doubt: reads ? null : "config/*.exs takes the database from elsewhere than DATABASE_URL",
    };
  },
  list: (folders) =>
    listByName(folders, { pattern: /^(\d+)_.*\.exs$/, recursive: true, order: "number" }),
  ledger: { id: "version" },
  order: "number",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: false,
  cures: {
    stamp: "insert the number of each file into schema_migrations",
    undo: "mix ecto.rollback",
  },
};

/** One for each repository. */
function findFolders({ cwd }: Project): string[] {
  return listFolder(resolve(cwd, "priv"))
    .filter(({ name }) => listFolder(resolve(cwd, "priv", name, "migrations")).length > 0)
    .map(({ name }) => `priv/${name}/migrations`);
}

function readConfig({ cwd }: Project): string {
  return listFolder(resolve(cwd, "config"))
    .filter(({ name }) => name.endsWith(".exs"))
    .map(({ name }) => readText(resolve(cwd, "config", name)) ?? "")
    .join("\n");
}
