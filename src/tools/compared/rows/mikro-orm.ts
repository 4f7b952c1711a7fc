// MikroORM's command line. The folder may be another one under a loader of TypeScript, so both have to hold the same migrations.

import { join } from "node:path";
import { flags, values } from "../../launchers.ts";
import { parseTable, readFirst, readUrl, textOr } from "../config.ts";
import { listByName, listFolder, readText } from "../folder.ts";
import { findLiteral, readExport, type Literal } from "../literals.ts";
import { doubt, found, type Found, type Place, type Project, type Row } from "../row.ts";

const configNames = ["src", "", "dist", "build"].flatMap((folder) =>
  ["ts", "js"].map((end) => join(folder, `mikro-orm.config.${end}`)),
);

export const mikroOrm: Row = {
  id: "mikro-orm",
  name: "MikroORM",
  commands: [
    {
      programs: ["mikro-orm", "mikro-orm-esm", "@mikro-orm/cli"],
      verb: [["migration:up"]],
      options: {
        ...flags("--quiet"),
        ...values("--config"),
        ...Object.fromEntries(
          ["--contextName", "--context", "--to", "--from", "--only", "--schema"].map((name) => [
            name,
            "refused" as const,
          ]),
        ),
      },
      aliases: { "-q": "--quiet", "-t": "--to", "-f": "--from", "-o": "--only", "-s": "--schema" },
    },
  ],
  locate(project) {
    const variable = Object.keys(project.env).find((name) =>
      /^MIKRO_ORM_(?:MIGRATIONS_|SCHEMA|BASE_DIR|CONTEXT)/.test(name),
    );
    if (variable !== undefined) return unsure(`${variable} is set`);
    const named = project.flags.get("--config") ?? project.env["MIKRO_ORM_CLI_CONFIG"];
    const names = named === undefined ? [...readManifest(project), ...configNames] : [named];
    // Which one is taken depends on the loader: they have to say the same.
    const places = names
      .filter((name) => readFirst(project, [name]) !== null)
      .map((name) => readPlace(project, name));
    const [place, ...others] = places;
    if (place === undefined) return unsure(`${names[0]} cannot be read`);
    const same = others.every(
      ({ folders, table }) =>
        JSON.stringify([folders, table]) === JSON.stringify([place.folders, place.table]),
    );
    return same ? place : unsure("there are several configurations");
  },
  list(folders) {
    const listings = folders
      .filter((folder) => listFolder(folder).length > 0)
      .map((folder) =>
        listByName([folder], {
          pattern: /^([^.].*?)(?:\.[jt]s|(?<=\.cjs))$/,
          ignored: /\.d\.[^.]*$/,
          order: "text",
        }),
      );
    const [first, second] = listings;
    if (first === undefined) return found({ entries: [] });
    const idsOf = (listing: typeof first) =>
      listing.kind === "found" ? listing.value.entries.map(({ id }) => id).join("\n") : "";
    return second === undefined || idsOf(first) === idsOf(second)
      ? first
      : doubt(`${folders.join(" and ")} do not hold the same migrations`);
  },
  ledger: { id: String.raw`regexp_replace(name, '\.[jt]s$', '')` },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  cures: {
    stamp: "mikro-orm migration:log --name NAME, for each migration",
    undo: "mikro-orm migration:down",
  },
};

function unsure(reason: string): Place {
  return { folders: doubt(reason), table: doubt(reason) };
}

/** `configPaths` of package.json. */
function readManifest({ cwd }: Project): string[] {
  const text = readText(join(cwd, "package.json"));
  const paths = /"configPaths"\s*:\s*\[([^\]]*)\]/.exec(text ?? "")?.[1] ?? "";
  return [...paths.matchAll(/"([^"\\]*)"/g)].map((match) => match[1] ?? "");
}

function readPlace(project: Project, name: string): Place {
  const config = readExport(readFirst(project, [name])?.text ?? "");
  const at = (key: string): Literal | null =>
    findLiteral(config, "migrations") === null ? null : findLiteral(config, "migrations", key);
  const special = ["glob", "migrationsList", "includeWildcardSchema"].find(
    (key) => at(key) !== null,
  );
  if (config === null || special !== undefined || findLiteral(config, "baseDir") !== null) {
    return unsure(`${name} does not say in plain words where the migrations are`);
  }
  const table = textOr(at("tableName"), "mikro_orm_migrations", `migrations.tableName in ${name}`);
  const schema = textOr(at("schema") ?? findLiteral(config, "schema"), null, `schema in ${name}`);
  const url = project.env["MIKRO_ORM_CLIENT_URL"];
  const database =
    url === undefined
      ? readUrl(
          findLiteral(config, "clientUrl") ?? { kind: "object", entries: new Map(), open: true },
          project,
          name,
        )
      : { configured: { url, from: "MIKRO_ORM_CLIENT_URL" }, doubt: null };
  return {
    folders: readFolders(project, name, at("path"), at("pathTs")),
    table:
      table.kind === "doubt"
        ? table
        : schema.kind === "doubt"
          ? schema
          : found({ schema: schema.value ?? "public", ...withoutNull(parseTable(table.value)) }),
    ...database,
  };
}

function withoutNull({ schema, name }: ReturnType<typeof parseTable>) {
  return schema === null ? { name } : { schema, name };
}

function readFolders(
  { cwd }: Project,
  name: string,
  path: Literal | null,
  pathTs: Literal | null,
): Found<readonly string[]> {
  if (path === null && pathTs === null) {
    const isThere = (folder: string) => listFolder(join(cwd, folder)).length > 0;
    if (isThere("migrations") || !isThere("src")) return found(["migrations"]);
    const built = ["dist", "build", "src"].find(isThere) ?? "src";
    return found([...new Set([`${built}/migrations`, "src/migrations"])]);
  }
  const folders: string[] = [];
  for (const each of [path, pathTs]) {
    const folder = textOr(each, "migrations", `migrations.path in ${name}`);
    if (folder.kind === "doubt") return folder;
    folders.push(folder.value);
  }
  return found([...new Set(pathTs === null ? folders.slice(0, 1) : folders)]);
}
