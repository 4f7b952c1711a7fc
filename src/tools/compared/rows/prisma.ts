// Prisma up to 7. Each folder of the migrations' folder is one, whatever is in it. A row that neither ended nor was rolled back stops
// everything (P3009). Prisma 8 keeps its history in another way.

import { dirname, join, resolve } from "node:path";
import { flags, values } from "../../launchers.ts";
import { readFirst, readUrl, schemaOfUrl, textOr } from "../config.ts";
import { listByName, listFolder, readText } from "../folder.ts";
import { findLiteral, readExport, type Literal } from "../literals.ts";
import { doubt, found, type Place, type Project, type Row } from "../row.ts";

const configNames = ["ts", "js", "mts", "mjs", "cts", "cjs"].flatMap((end) => [
  `prisma.config.${end}`,
  `.config/prisma.${end}`,
]);
const usualSchemas = ["prisma/schema.prisma", "schema.prisma"];

export const prisma: Row = {
  id: "prisma",
  name: "Prisma",
  commands: [
    {
      programs: ["prisma"],
      verb: [["migrate", "deploy"]],
      options: { ...flags("--no-hints"), ...values("--schema --config") },
    },
  ],
  locate(project) {
    const version = readVersion(project);
    if (version >= 8) return unsure(`Prisma ${version} keeps its history in another way`);
    const named = project.flags.get("--config");
    const file = readFirst(project, named === undefined ? configNames : [named]);
    if (file === null && named !== undefined) return unsure(`${named} cannot be read`);
    const config = file === null ? null : readExport(file.text);
    const at = (...path: readonly string[]): Literal | null =>
      file === null ? null : findLiteral(config, ...path);
    const schema = findSchema(project, at("schema"));
    if (schema.doubt !== null) return unsure(schema.doubt);
    const from = file?.name ?? "prisma.config.ts";
    const folder = at("migrations") === null ? null : at("migrations", "path");
    const migrations = textOr(
      folder,
      join(schema.folder, "migrations"),
      `migrations.path in ${from}`,
    );
    const url = at("datasource") === null ? null : at("datasource", "url");
    const database = readUrl(
      url ?? readDatasource(schema.text),
      project,
      url === null ? "schema.prisma" : from,
    );
    const provider = /^\s*provider\s*=\s*"(\w+)"/m.exec(blockOf(schema.text))?.[1];
    const foreign = provider !== undefined && !provider.startsWith("postgres");
    const used = database.configured?.url ?? project.env["DATABASE_URL"];
    return {
      folders: migrations.kind === "found" ? found([migrations.value]) : migrations,
      table: found({ schema: schemaOfUrl(used) ?? "public", name: "_prisma_migrations" }),
      configured: database.configured,
      doubt: foreign ? `its provider is ${provider}` : database.doubt,
    };
  },
  list: (folders) => listByName(folders, { pattern: /^/, folders: true, order: "text" }),
  ledger: {
    id: "migration_name",
    where: "rolled_back_at is null",
    broken: "finished_at is null",
  },
  order: "text",
  advisoryLock: "72707369",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: false,
  readsOptions: false,
  sql: {
    fileOf: (path) => join(path, "migration.sql"),
    transaction: "script",
    ownTransactions: "a migration with that statement alone",
  },
  cures: {
    stamp: "prisma migrate resolve --applied NAME, for each migration",
    undo: "none: write a migration that undoes it",
    repair:
      "look at what the failed migration has left, then record that: prisma migrate resolve --rolled-back NAME, once its changes are undone, or --applied NAME, once they are complete",
    notAtHead:
      "prisma ends with 0 where it finds no migration: look whether it reads the folder that entrypoint does, and its database",
  },
};

function unsure(reason: string): Place {
  return { folders: doubt(reason), table: doubt(reason) };
}

function readVersion({ cwd }: Project): number {
  const text = readText(join(cwd, "node_modules/prisma/package.json"));
  return Number(/"version"\s*:\s*"(\d+)\./.exec(text ?? "")?.[1] ?? 0);
}

/** The schema's text, and the folder beside which its migrations are. */
function findSchema(
  project: Project,
  configured: Literal | null,
): { text: string; folder: string; doubt: string | null } {
  const manifest = readText(join(project.cwd, "package.json"));
  const byManifest = /"prisma"\s*:\s*\{[^{}]*"schema"\s*:\s*"([^"]*)"/.exec(manifest ?? "")?.[1];
  const named =
    project.flags.get("--schema") ??
    (configured?.kind === "text" ? configured.text : undefined) ??
    (configured === null ? byManifest : undefined);
  if (named === undefined && configured !== null) {
    return { text: "", folder: "", doubt: "schema in its config is not a plain text" };
  }
  for (const path of named === undefined ? usualSchemas : [named]) {
    const whole = resolve(project.cwd, path);
    const text = readText(whole);
    if (text !== null) return { text, folder: dirname(whole), doubt: null };
    const parts = listFolder(whole).filter(({ name }) => name.endsWith(".prisma"));
    if (parts.length > 0) {
      const texts = parts.map(({ name }) => readText(join(whole, name)) ?? "");
      return { text: texts.join("\n"), folder: whole, doubt: null };
    }
  }
  return { text: "", folder: resolve(project.cwd, "prisma"), doubt: "its schema is not found" };
}

function blockOf(schema: string): string {
  return /^\s*datasource\s+\w+\s*\{[^}]*\}/m.exec(schema)?.[0] ?? "";
}

/** `directUrl = env("DIRECT_URL")`, else `url`. */
function readDatasource(schema: string): Literal | null {
  const block = blockOf(schema);
  const value =
    /^\s*directUrl\s*=\s*(.*?)\s*$/m.exec(block)?.[1] ??
    /^\s*url\s*=\s*(.*?)\s*$/m.exec(block)?.[1];
  if (value === undefined) return null;
  const text = /^"([^"\\]*)"$/.exec(value)?.[1];
  return text === undefined ? { kind: "other", source: value } : { kind: "text", text };
}
