// TypeORM's command line. A migration is a class, by the name of the class or by its property `name`, which end with 13 digits. A
// pattern that matches no file is an empty folder to it, and exit code 0.

import { dirname, join, resolve } from "node:path";
import { values } from "../../launchers.ts";
import { readFirst, readUrl, textOr } from "../config.ts";
import { listFolder, readText } from "../folder.ts";
import { findLiteral, mask, readArgument, readList, type Literal } from "../literals.ts";
import { doubt, found, type Entry, type Found, type Place, type Row } from "../row.ts";

const sources = /\.[cm]?[jt]s$/;

export const typeorm: Row = {
  id: "typeorm",
  name: "TypeORM",
  commands: [
    {
      programs: ["typeorm", "typeorm-ts-node-commonjs", "typeorm-ts-node-esm"],
      verb: [["migration:run"]],
      options: { ...values("--dataSource --transaction"), "--fake": "refused" },
      aliases: { "-d": "--dataSource", "-t": "--transaction", "-f": "--fake" },
    },
  ],
  locate(project) {
    const named = project.flags.get("--dataSource");
    if (named === undefined) return unsure("no -d names the data source");
    const file = readFirst(project, [named, `${named}.js`, `${named}.ts`]);
    if (file === null) return unsure(`${named} cannot be read`);
    const options = readArgument(file.text, /\bnew\s+(?:[\w$]+\.)?DataSource\s*\(\s*/g);
    if (options === null) return unsure(`${named} does not say its options in plain words`);
    const type = findLiteral(options, "type");
    const name = textOr(
      findLiteral(options, "migrationsTableName"),
      "migrations",
      `migrationsTableName in ${named}`,
    );
    const schema = textOr(findLiteral(options, "schema"), null, `schema in ${named}`);
    const database = readUrl(
      findLiteral(options, "url") ?? { kind: "object", entries: new Map(), open: true },
      project,
      named,
    );
    return {
      folders: readPatterns(options, named, dirname(resolve(project.cwd, named))),
      table:
        schema.kind === "doubt"
          ? schema
          : name.kind === "doubt"
            ? name
            : found({ schema: schema.value, name: name.value }),
      configured: database.configured,
      doubt:
        type?.kind === "text" && type.text !== "postgres"
          ? `its type is ${type.text}`
          : database.doubt,
    };
  },
  list(folders) {
    const entries: Entry[] = [];
    for (const path of folders.flatMap(findFiles)) {
      const entry = readClass(path);
      if (entry.kind === "doubt") return entry;
      const { id } = entry.value;
      const other = entries.find((each) => each.id === id);
      if (other !== undefined) return doubt(`${path} and ${other.path} are both ${id}`);
      entries.push(entry.value);
    }
    return found({ entries: entries.toSorted((a, b) => byEnd(a.id, b.id)) });
  },
  ledger: { id: "name" },
  ownTables: ["typeorm_metadata"],
  order: byEnd,
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  cures: {
    stamp: "typeorm migration:run --fake",
    undo: "typeorm migration:revert",
    notAtHead:
      "typeorm ends with 0 where its pattern of `migrations` matches no file: look whether it reads the folder that entrypoint does, and its database",
  },
};

function unsure(reason: string): Place {
  return { folders: doubt(reason), table: doubt(reason) };
}

/** By the digits at the end, as the tool runs them. */
function byEnd(one: string, other: string): number {
  const [first, second] = [one, other].map((id) => id.slice(-13) + id) as [string, string];
  return first < second ? -1 : first > second ? 1 : 0;
}

/** Patterns as `migrations/*.js`; a path of the file's own folder begins there. */
function readPatterns(options: Literal, named: string, beside: string): Found<readonly string[]> {
  const elements = readList(findLiteral(options, "migrations"));
  const patterns: string[] = [];
  for (const element of elements ?? []) {
    const text = element.kind === "text" ? element.text : "";
    const inside = text.replace(/(?:\/\*\*)?\/[^/]*$/, "");
    if (element.kind !== "text" || !text.includes("/") || /[*?{[]/.test(inside)) {
      return doubt(`migrations in ${named} are no patterns in plain words`);
    }
    patterns.push(element.beside === true ? join(beside, text) : text);
  }
  return elements === null
    ? doubt(`migrations in ${named} are no list in plain words`)
    : found(patterns);
}

/** The files of a pattern such as `DIR/*.js`, or `DIR/**` and a name, or of a whole folder. */
function findFiles(pattern: string): readonly string[] {
  const parts = /^(.*?)(\/\*\*)?\/([^/]*[*{?][^/]*|[^/]*\.[cm]?[jt]s)$/.exec(pattern);
  const [, folder = pattern, deep, name = "*"] = parts ?? [];
  const escaped = name
    .replaceAll(/[.+^$()|[\]\\]/g, String.raw`\$&`)
    .replaceAll("*", "[^/]*")
    .replaceAll("?", "[^/]")
    .replaceAll(/\{([^{}]*)\}/g, (_, words: string) => `(?:${words.replaceAll(",", "|")})`);
  const rules = new RegExp(`^${escaped}$`);
  const collect = (within: string): readonly string[] =>
    listFolder(within).flatMap((entry) => {
      const path = join(within, entry.name);
      if (entry.isDirectory()) return deep === undefined ? [] : collect(path);
      const counts = rules.test(entry.name) && !entry.name.startsWith(".");
      return counts && sources.test(entry.name) && !entry.name.endsWith(".d.ts") ? [path] : [];
    });
  return collect(folder);
}

function readClass(path: string): Found<Entry> {
  const text = readText(path) ?? "";
  const masked = mask(text);
  const names = [...masked.matchAll(/\bclass\s+([\w$]+)/g)].map((match) => match[1] ?? "");
  const [name, ...others] = new Set(names);
  const given = [...masked.matchAll(/\bname\s*(?::\s*string\s*)?=\s*"/g)].map(
    ({ index, 0: match }) => /^[^"'`\\]*/.exec(text.slice(index + match.length))?.[0] ?? "",
  );
  const id = given[0] ?? name ?? "";
  const twice = /\bexport\s+class\b/.test(masked) && /\bexport\s+default\b/.test(masked);
  return others.length > 0 || given.length > 1 || twice || !/\d{13}$/.test(id)
    ? doubt(`${path} is not one class whose name ends with 13 digits`)
    : found({ id, name: id, path });
}
