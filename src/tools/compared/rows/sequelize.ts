// sequelize-cli. The names keep their extensions; no lock, and no transaction.

import { flags, values } from "../../launchers.ts";
import { readFirst, readUrl, textOr } from "../config.ts";
import { listByName } from "../folder.ts";
import { findLiteral, readExport, type Literal } from "../literals.ts";
import { doubt, found, type Place, type Row } from "../row.ts";

const usualTable = "SequelizeMeta";

export const sequelize: Row = {
  id: "sequelize",
  name: "Sequelize",
  commands: [
    {
      programs: ["sequelize", "sequelize-cli"],
      verb: [["db:migrate"]],
      options: {
        ...flags("--debug --no-debug"),
        ...values(
          "--env --config --options-path --migrations-path --models-path --seeders-path --url",
        ),
      },
    },
  ],
  locate(project) {
    const file = readFirst(project, [project.flags.get("--options-path") ?? ".sequelizerc"]);
    const options = file === null ? null : readExport(file.text);
    const at = (key: string): Literal | null => {
      const flag = project.flags.get(`--${key}`);
      if (flag !== undefined) return { kind: "text", text: flag };
      return file === null ? null : findLiteral(options, key);
    };
    const folder = textOr(at("migrations-path"), "migrations", "migrations-path in .sequelizerc");
    const folders = folder.kind === "found" ? found([folder.value]) : folder;
    const url = at("url");
    if (url !== null) {
      const { configured, doubt: reason } = readUrl(url, project, "--url");
      return {
        folders,
        table: found({ schema: null, name: usualTable }),
        configured,
        doubt: reason,
      };
    }
    const named = at("config");
    if (named?.kind === "other") return unsure("config in .sequelizerc is not a plain text");
    const paths =
      named?.kind === "text" ? [named.text] : ["config/config.js", "config/config.json"];
    const config = readFirst(project, paths);
    if (config === null) return unsure(`${paths.join(" and ")} cannot be read`);
    return { folders, ...readConfig(config, project) };
  },
  list: (folders) =>
    listByName(folders, { pattern: /^(?!.*\.d\.ts$).*\.(?:cjs|js|cts|ts)$/, order: "text" }),
  ledger: { id: "name" },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: false,
  readsOptions: true,
  cures: {
    stamp: "insert the name of each file into the table",
    undo: "sequelize-cli db:migrate:undo",
  },
};

function unsure(reason: string): Place {
  return { folders: doubt(reason), table: doubt(reason) };
}

function readConfig(
  { name, text }: { readonly name: string; readonly text: string },
  project: Parameters<Row["locate"]>[0],
): Pick<Place, "table" | "configured" | "doubt"> {
  const environment = project.flags.get("--env") ?? (project.env["NODE_ENV"] || "development");
  const whole = readExport(text);
  const own = findLiteral(whole, environment);
  if (own?.kind === "other") return { table: doubt(`${name} does not say it in plain words`) };
  const config = own ?? whole;
  const storage = findLiteral(config, "migrationStorage");
  if (storage !== null && !(storage.kind === "text" && storage.text === "sequelize")) {
    return { table: doubt(`migrationStorage is set in ${name}`) };
  }
  const table = textOr(
    findLiteral(config, "migrationStorageTableName"),
    usualTable,
    `migrationStorageTableName in ${name}`,
  );
  const schema = textOr(
    findLiteral(config, "migrationStorageTableSchema"),
    null,
    `migrationStorageTableSchema in ${name}`,
  );
  const variable = findLiteral(config, "use_env_variable");
  const url =
    findLiteral(config, "url") ??
    (variable?.kind === "text"
      ? ({ kind: "other", source: `process.env.${variable.text}` } as const)
      : variable);
  // Host, user and password by themselves.
  const database = readUrl(
    url ?? { kind: "object", entries: new Map(), open: true },
    project,
    name,
  );
  return {
    table:
      table.kind === "doubt"
        ? table
        : schema.kind === "doubt"
          ? schema
          : found({ schema: schema.value, name: table.value }),
    configured: database.configured,
    doubt: database.doubt,
  };
}
