// kysely-ctl. Each file that exports `up` is a migration; one that does not is none, and nobody says so.

import { dirname, resolve } from "node:path";
import { flags, values } from "../../launchers.ts";
import { readFirst, textOr } from "../config.ts";
import { listByName, readText } from "../folder.ts";
import { findLiteral, readExport } from "../literals.ts";
import { doubt, found, type Place, type Project, type Row } from "../row.ts";

const usualTable = "kysely_migration";
const configNames = ["ts", "mts", "cts", "js", "mjs", "cjs"].flatMap((end) => [
  `.config/kysely.config.${end}`,
  `kysely.config.${end}`,
]);

export const kysely: Row = {
  id: "kysely",
  name: "Kysely",
  commands: [
    {
      programs: ["kysely", "kysely-ctl"],
      verb: [["migrate:latest"], ["migrate", "latest"]],
      options: {
        ...flags(
          "--debug --no-outdated-check --no-filesystem-caching --transaction --no-transaction",
        ),
        ...values("--config"),
        "--environment": "refused",
        "--cwd": "refused",
      },
      aliases: { "-c": "--config", "-e": "--environment" },
    },
  ],
  locate(project) {
    const file = readConfig(project);
    if (file === null) return unsure("there is no kysely.config");
    const { name, text } = file;
    const config = readExport(text);
    const special =
      ["migrator", "provider"].find(
        (key) => findLiteral(config, "migrations") !== null && at(config, key) !== null,
      ) ?? (findLiteral(config, "$production") === null ? undefined : "$production");
    if (config === null || special !== undefined) {
      return unsure(`${name} does not say in plain words where the migrations are`);
    }
    const folder = textOr(
      at(config, "migrationFolder"),
      name.startsWith(".config/") ? "../migrations" : "migrations",
      `migrations.migrationFolder in ${name}`,
    );
    const table = textOr(
      at(config, "migrationTableName"),
      usualTable,
      `migrations.migrationTableName in ${name}`,
    );
    const schema = textOr(
      at(config, "migrationTableSchema"),
      null,
      `migrations.migrationTableSchema in ${name}`,
    );
    return {
      folders:
        folder.kind === "found"
          ? found([resolve(project.cwd, dirname(name), folder.value)])
          : folder,
      table:
        schema.kind === "doubt"
          ? schema
          : table.kind === "doubt"
            ? table
            : found({ schema: schema.value, name: table.value }),
      doubt: /\bDATABASE_URL\b/.test(text) ? null : `${name} takes the database from code`,
    };
  },
  list(folders, project) {
    const config = readConfig(project);
    const javascript = config === null ? null : at(readExport(config.text), "allowJS");
    const isAllowed =
      config === null || (javascript?.kind === "other" && javascript.source === "true");
    const listing = listByName(folders, {
      pattern: isAllowed ? /^(.*)\.[cm]?[jt]s$/ : /^(.*)\.[cm]?ts$/,
      ignored: /\.d\.[cm]?ts$/,
      order: "text",
    });
    if (listing.kind === "doubt") return listing;
    const empty = listing.value.entries.find(({ path }) => !/\bup\b/.test(readText(path) ?? ""));
    return empty === undefined ? listing : doubt(`${empty.path} exports no up`);
  },
  ledger: { id: "name" },
  ownTables: ["kysely_migration_lock"],
  order: "text",
  advisoryLock: "3853314791062309107",
  pending: "missing",
  unknownRow: "refused",
  older: "runs",
  resumes: true,
  readsOptions: true,
  cures: {
    stamp: "insert the name of each file into the table",
    undo: "kysely migrate down",
    notAtHead:
      "a script that calls migrateToLatest() has to throw the `error` that it returns: else it ends with 0 after a failed migration; kysely-ctl passes over files of JavaScript without allowJS",
  },
};

function unsure(reason: string): Place {
  return { folders: doubt(reason), table: doubt(reason) };
}

function readConfig(project: Project) {
  const named = project.flags.get("--config");
  return readFirst(project, named === undefined ? configNames : [named]);
}

/** A key of `migrations`. */
function at(config: ReturnType<typeof readExport>, key: string) {
  return findLiteral(config, "migrations") === null ? null : findLiteral(config, "migrations", key);
}
