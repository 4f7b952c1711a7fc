// knex's command line. The names keep their extensions, so that a database that was migrated from .ts refuses an image with .js.

import { dirname, extname, join, resolve } from "node:path";
import { readFirst, readUrl } from "../config.ts";
import { listFolder } from "../folder.ts";
import { flags, values } from "../../launchers.ts";
import { findLiteral, readExport, type Literal } from "../literals.ts";
import { doubt, found, type Found, type Place, type Row } from "../row.ts";

const usualTable = "knex_migrations";
const configNames = ["js", "ts", "cjs", "mjs", "mts", "cts", "coffee", "eg", "ls"].map(
  (end) => `knexfile.${end}`,
);
const extensions = [".co", ".coffee", ".eg", ".iced", ".js", ".cjs", ".litcoffee", ".ls", ".ts"];

export const knex: Row = {
  id: "knex",
  name: "Knex",
  commands: [
    {
      programs: ["knex"],
      verb: [["migrate:latest"]],
      options: {
        ...flags("--debug --verbose --esm --no-color"),
        ...values(
          "--knexfile --cwd --client --connection --env --migrations-directory --migrations-table-name",
        ),
        "--knexpath": "refused",
      },
    },
  ],
  locate(project) {
    const named = project.flags.get("--knexfile");
    const base = resolve(project.cwd, project.flags.get("--cwd") ?? ".");
    const there = configNames.filter((name) => readFirst({ cwd: base }, [name]) !== null);
    if (named === undefined && there.length > 1) return unsure(`there are ${there.join(" and ")}`);
    const file = readFirst({ cwd: base }, named === undefined ? there : [named]);
    const byFlag = project.flags.get("--migrations-directory");
    const table = project.flags.get("--migrations-table-name");
    if (file === null) {
      if (named !== undefined) return unsure(`${named} cannot be read`);
      const url = project.flags.get("--connection");
      return {
        folders: found([join(base, byFlag ?? "migrations")]),
        table: found({ schema: null, name: table ?? usualTable }),
        configured: url === undefined ? null : { url, from: "--connection" },
      };
    }
    if (byFlag !== undefined || table !== undefined) {
      return unsure(`${file.name} and the options both say where the migrations are`);
    }
    return readConfig(readExport(file.text), project, {
      name: file.name,
      folder: dirname(resolve(base, file.name)),
      environment: project.flags.get("--env") ?? (project.env["NODE_ENV"] || "development"),
    });
  },
  list(folders) {
    const entries = folders.flatMap((folder) =>
      listFolder(folder)
        .filter((entry) => extensions.includes(extname(entry.name)))
        .map(({ name }) => ({ id: name, name, path: join(folder, name) })),
    );
    return found({ entries: entries.toSorted((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)) });
  },
  ledger: { id: "name" },
  ownTables: ["knex_migrations_lock"],
  lock: {
    lockTable: ({ schema, name }) => ({ schema, name: `${name}_lock` }),
    held: "is_locked = 1",
  },
  order: "text",
  pending: "missing",
  unknownRow: "refused",
  older: "runs",
  resumes: true,
  readsOptions: true,
  cures: {
    stamp: "insert the name of each file into the table",
    undo: "knex migrate:rollback",
    repair:
      "if no migration runs, a killed one has left its lock: knex migrate:unlock; look first what it has left of its changes, where it has no transaction",
  },
};

function unsure(reason: string): Place {
  return { folders: doubt(reason), table: doubt(reason) };
}

function readConfig(
  exported: Literal | null,
  project: Parameters<Row["locate"]>[0],
  { name, folder, environment }: { name: string; folder: string; environment: string },
): Place {
  // A key of the environment's name, else all of the object.
  const own = findLiteral(exported, environment);
  if (exported === null || own?.kind === "other") {
    return unsure(`${name} does not say in plain words where the migrations are`);
  }
  const config = own ?? exported;
  const migrations = findLiteral(config, "migrations");
  const read = <T>(key: string, initial: T): Found<string | T> => {
    const literal = migrations === null ? null : findLiteral(migrations, key);
    if (literal === null) return found(initial);
    return literal.kind === "text"
      ? found(literal.text)
      : doubt(`migrations.${key} in ${name} is not a plain text`);
  };
  const directory = read("directory", "migrations");
  const table = read("tableName", usualTable);
  const schema = read("schemaName", null);
  const special = ["migrationSource", "loadExtensions", "sortDirsSeparately"].find(
    (key) => migrations !== null && findLiteral(migrations, key) !== null,
  );
  const database = readUrl(readConnection(config), project, name);
  return {
    folders: directory.kind === "found" ? found([resolve(folder, directory.value)]) : directory,
    table:
      table.kind === "doubt"
        ? table
        : schema.kind === "doubt"
          ? schema
          : found({ schema: schema.value, name: table.value }),
    configured: database.configured,
    doubt: special === undefined ? database.doubt : `migrations.${special} is set in ${name}`,
  };
}

function readConnection(config: Literal): Literal | null {
  const connection = findLiteral(config, "connection");
  if (connection?.kind !== "object") return connection;
  return findLiteral(connection, "connectionString") ?? connection;
}
