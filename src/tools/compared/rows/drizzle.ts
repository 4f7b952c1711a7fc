// drizzle-kit. Up to 0.x meta/_journal.json lists the migrations, and the newest row decides what is run: an entry whose `when` is
// not above it is skipped for ever, with exit code 0. From 1.0 on each is a folder, and the names of the rows decide.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { readFirst, readUrl, textOr } from "../config.ts";
import { listByName, readText } from "../folder.ts";
import { values } from "../../launchers.ts";
import { findLiteral, readExport } from "../literals.ts";
import { doubt, found, type Entry, type Found, type Listing, type Row } from "../row.ts";

const usualFolder = "drizzle";

export const drizzle: Row = {
  id: "drizzle",
  name: "Drizzle",
  commands: [{ programs: ["drizzle-kit"], verb: [["migrate"]], options: values("--config") }],
  locate(project) {
    const named = project.flags.get("--config");
    const names =
      named === undefined ? ["ts", "js", "json"].map((end) => `drizzle.config.${end}`) : [named];
    const file = readFirst(project, names);
    if (file === null) {
      return {
        folders: found([usualFolder]),
        table: found({ schema: "drizzle", name: "__drizzle_migrations" }),
        doubt: named === undefined ? null : `${named} cannot be read`,
      };
    }
    const { name, text } = file;
    const config = readExport(text);
    const folder = textOr(findLiteral(config, "out"), usualFolder, `out in ${name}`);
    const table = textOr(
      findLiteral(config, "migrations", "table"),
      "__drizzle_migrations",
      `migrations.table in ${name}`,
    );
    const schema = textOr(
      findLiteral(config, "migrations", "schema"),
      "drizzle",
      `migrations.schema in ${name}`,
    );
    const dialect = findLiteral(config, "dialect");
    const foreign =
      dialect?.kind === "text" && dialect.text !== "postgresql"
        ? `its dialect is ${dialect.text}`
        : null;
    const database = readUrl(findLiteral(config, "dbCredentials", "url"), project, name);
    return {
      folders: folder.kind === "found" ? found([folder.value]) : folder,
      table:
        schema.kind === "doubt"
          ? schema
          : table.kind === "doubt"
            ? table
            : found({ schema: schema.value, name: table.value }),
      configured: database.configured,
      doubt: foreign ?? database.doubt,
    };
  },
  list(folders) {
    const [folder = usualFolder] = folders;
    const journal = readText(join(folder, "meta/_journal.json"));
    return journal === null ? listFolders(folders) : readJournal(folder, journal);
  },
  ledger: { id: "created_at", also: "hash" },
  order: "number",
  pending: "missing",
  unknownRow: "ignored",
  older: "skipped",
  resumes: true,
  // What it connects by is one of several drivers.
  readsOptions: false,
  sql: {
    fileOf: (path) => (path.endsWith(".sql") ? path : join(path, "migration.sql")),
    separator: /--> statement-breakpoint/g,
    transaction: "all",
    ownTransactions:
      "Drizzle runs all that are pending in one: deploy them one after the other, and what refuses a transaction by hand",
  },
  cures: {
    stamp: "insert a row for each migration into the table: its hash, and its `when` as created_at",
    undo: "none: write a migration that undoes it",
    skipped:
      "its `when` in meta/_journal.json is not above that of the newest migration that is applied: raise it above that, or drop the file and generate the migration again; if its changes are in the database already, insert its row into the table",
    notAtHead:
      "drizzle-kit ends with 0 where it skips an entry of meta/_journal.json, or reads another folder or database than entrypoint does: look at `out` and `dbCredentials` in its config",
  },
};

function readJournal(folder: string, text: string): Found<Listing> {
  let journal: unknown;
  try {
    journal = JSON.parse(text);
  } catch (error) {
    return doubt(`meta/_journal.json: ${(error as Error).message}`);
  }
  const { entries: listed } = journal as { entries?: unknown };
  if (!Array.isArray(listed)) return doubt("meta/_journal.json has no entries");
  const entries: Entry[] = [];
  for (const { when, tag } of listed as { when?: unknown; tag?: unknown }[]) {
    if (!Number.isSafeInteger(when) || typeof tag !== "string") {
      return doubt("meta/_journal.json has an entry without `when` or `tag`");
    }
    const path = join(folder, `${tag}.sql`);
    const sql = readText(path);
    if (sql === null) return doubt(`${path} is in meta/_journal.json, and not in the image`);
    if (entries.some(({ id }) => id === String(when))) {
      return doubt(`meta/_journal.json has ${String(when)} as \`when\` twice`);
    }
    const also = createHash("sha256").update(sql).digest("hex");
    entries.push({ id: String(when), name: tag, path, also });
  }
  return found({ entries: entries.toSorted((a, b) => Number(a.id) - Number(b.id)) });
}

/** Of 1.0. A table of an older version has no names, and is upgraded by the tool itself. */
function listFolders(folders: readonly string[]): Found<Listing> {
  const listing = listByName(folders, { pattern: /^\d{14}_/, folders: true, order: "text" });
  if (listing.kind === "doubt") return listing;
  const missing = listing.value.entries.find(
    ({ path }) => readText(join(path, "migration.sql")) === null,
  );
  if (missing !== undefined) return doubt(`${missing.path} has no migration.sql`);
  return found({ ...listing.value, ledger: { id: "name" }, older: "runs", order: "text" });
}
