// The migrations in a folder, by the names of its files or folders.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { requireRegularFile } from "../../runtime/regular-file.ts";
import { doubt, found, type Entry, type Found, type Listing, type Order } from "./row.ts";

export interface NameRules {
  /** A name that counts; its first group is the id, or all of it is. */
  readonly pattern: RegExp;
  /** A name that the tool refuses, or that makes the list uncertain, and the reason. */
  readonly refused?: readonly [RegExp, string];
  /** Names that look right and do not count. */
  readonly ignored?: RegExp;
  /** Each migration is a folder. */
  readonly folders?: true;
  readonly recursive?: true;
  readonly order: "number" | "text";
  /** Several files may be one migration: one that goes up, and one that goes back. */
  readonly paired?: true;
  /** Of the contents, where the table keeps one. */
  readonly checksum?: "sha384";
}

/** Lists folders by the names in them. A folder that is not there is an empty one: no tool is believed without an entry. */
export function listByName(folders: readonly string[], rules: NameRules): Found<Listing> {
  const entries = new Map<string, Entry>();
  for (const folder of folders) {
    for (const { name, path, isFolder } of readFolder(folder, rules.recursive === true)) {
      if (isFolder !== (rules.folders === true) || rules.ignored?.test(name) === true) continue;
      const match = rules.pattern.exec(name);
      if (match === null) {
        const [pattern, reason] = rules.refused ?? [];
        if (pattern?.test(name) === true) return doubt(`${path}: ${reason}`);
        continue;
      }
      const text = match[1] ?? name;
      const id = rules.order === "number" ? canonical(text) : text;
      const other = entries.get(id);
      if (other !== undefined) {
        if (rules.paired === true) continue;
        return doubt(`${path} and ${other.path} are both ${id}`);
      }
      const checksum =
        rules.checksum === undefined
          ? {}
          : { checksum: createHash(rules.checksum).update(readRegular(path)).digest("hex") };
      entries.set(id, { id, name: nameOf(name, rules), path, ...checksum });
    }
  }
  const compare = compareIds(rules.order);
  return found({ entries: [...entries.values()].toSorted((a, b) => compare(a.id, b.id)) });
}

/** What a message calls it: without what all names end with. */
function nameOf(name: string, { folders, order }: NameRules): string {
  return folders === true || order === "text" ? name : name.replace(/(?:\.up|\.down)?\.\w+$/, "");
}

/** How ids follow each other. */
export function compareIds(order: Order): (one: string, other: string) => number {
  if (typeof order === "function") return order;
  if (order === "text") return (one, other) => (one < other ? -1 : one > other ? 1 : 0);
  return (one, other) => {
    const difference = BigInt(one) - BigInt(other);
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  };
}

/** `0012` is `12`. */
export function canonical(digits: string): string {
  return digits.replace(/^0+(?=\d)/, "");
}

function* readFolder(
  folder: string,
  recursive: boolean,
): Generator<{ name: string; path: string; isFolder: boolean }> {
  for (const entry of listFolder(folder)) {
    const path = join(folder, entry.name);
    yield { name: entry.name, path, isFolder: entry.isDirectory() };
    if (recursive && entry.isDirectory()) yield* readFolder(path, true);
  }
}

/** The entries of a folder; none where it is not there. */
export function listFolder(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** The text of a file; null where it is not there, or is a pipe or a device. */
export function readText(path: string): string | null {
  try {
    requireRegularFile(path);
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function readRegular(path: string): Buffer {
  requireRegularFile(path);
  return readFileSync(path);
}

function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "EISDIR", "ENXIO"].includes((error as { code?: string }).code ?? "");
}
