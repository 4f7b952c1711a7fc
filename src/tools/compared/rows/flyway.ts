// Flyway's command line. Versions compare as numbers between dots; a repeatable migration runs again when its text changes.

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { crc32 } from "../../../runtime/crc32.ts";
import { quoteName } from "../../../postgres/names.ts";
import { requireRegularFile } from "../../../runtime/regular-file.ts";
import { flags, values } from "../../launchers.ts";
import { readFirst } from "../config.ts";
import { readJdbc } from "../jdbc.ts";
import { listFolder } from "../folder.ts";
import { doubt, found, type Entry, type Listing, type Project, type Row } from "../row.ts";

const settings =
  "-url -user -password -locations -table -schemas -defaultSchema -connectRetries -outOfOrder -group";

export const flyway: Row = {
  id: "flyway",
  name: "Flyway",
  commands: [
    {
      programs: ["flyway"],
      verb: [["migrate"]],
      anyHyphens: true,
      options: { ...values(settings), ...flags("-X -q -n -community") },
    },
  ],
  locate(project) {
    const file = readFirst(project, ["flyway.conf", "conf/flyway.conf"]);
    const read = (name: string): string | undefined => {
      const variable = `FLYWAY_${name.replaceAll(/[A-Z]/g, (sign) => `_${sign}`).toUpperCase()}`;
      const line = new RegExp(`^\\s*flyway\\.${name}\\s*[=:]\\s*(.*?)\\s*$`, "m");
      return (
        project.flags.get(`-${name}`) ??
        (project.env[variable] || undefined) ??
        line.exec(file?.text ?? "")?.[1]
      );
    };
    const locations = read("locations")
      ?.split(",")
      .map((each) => each.trim());
    const folders = locations?.map((each) => /^filesystem:([^*?]+)$/.exec(each)?.[1]);
    const [url, user, password] = ["url", "user", "password"].map(read);
    const jdbc = readJdbc({ url, user, password }, "flyway's url");
    const schema =
      read("defaultSchema") ?? read("schemas")?.split(",")[0]?.trim() ?? jdbc?.schema ?? null;
    return {
      folders: folders?.every((folder) => folder !== undefined)
        ? found(folders)
        : doubt(
            locations === undefined
              ? "no -locations names the folder"
              : `${locations.join(",")} is no plain folder`,
          ),
      table: found({ schema, name: read("table") ?? "flyway_schema_history" }),
      configured: jdbc?.configured ?? null,
      doubt: findReason(project, file?.text ?? ""),
    };
  },
  list(folders) {
    const entries: Entry[] = [];
    for (const path of folders.flatMap(findFiles)) {
      const entry = readEntry(path);
      if (entry === null) continue;
      if (typeof entry === "string") return doubt(entry);
      const other = entries.find(({ id }) => id === entry.id);
      if (other !== undefined) return doubt(`${path} and ${other.path} are both ${entry.name}`);
      entries.push(entry);
    }
    return found<Listing>({ entries: entries.toSorted((a, b) => byVersion(a.id, b.id)) });
  },
  ledger: {
    id: String.raw`coalesce('v' || regexp_replace(regexp_replace(version, '(^|\.)0+(?=\d)', '\1', 'g'), '(\.0)+$', ''), 'r' || description)`,
    where: "type <> 'SCHEMA'",
    broken: "not success",
    // A baseline stands for all that is older; undo migrations take others back.
    undone: "type <> 'SQL'",
    checksum:
      "(first_value(checksum) over (partition by version, description order by installed_rank desc))::text",
  },
  order: byVersion,
  advisoryLock: ({ schema, table }) =>
    String(lockBase + BigInt(hashText([schema, table].map(quoteAlways).join(".")))),
  polls: true,
  pending: "missing",
  unknownRow: "refused-older",
  older: "runs",
  resumes: true,
  readsOptions: false,
  sql: {
    transaction: "each",
    // It finds by itself what refuses a transaction.
    bare: (_path, text) =>
      /\bconcurrently\b|^\s*(?:vacuum|alter\s+system|(?:create|drop)\s+(?:database|tablespace))\b/im.test(
        text.replaceAll(/--.*|\/\*[^]*?\*\//g, ""),
      ),
    unreadable: [[/\$\{/, "it has placeholders"]],
    ownTransactions: "a migration with that statement alone",
  },
  cures: {
    stamp: "flyway baseline -baselineVersion=VERSION",
    undo: "flyway undo",
    repair:
      "look at what the failed migration has left and undo that, then delete its row: flyway repair",
  },
};

/** Its name, as a number. */
const lockBase = 0x46_6c_79_77_61_79n;

function quoteAlways(name: string): string {
  const quoted = quoteName(name);
  return quoted.startsWith('"') ? quoted : `"${quoted}"`;
}

/** As Java does. */
function hashText(text: string): number {
  let hash = 0;
  for (let index = 0; index < text.length; index += 1) {
    hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0;
  }
  return hash;
}

/** What the comparison of the folders with the table would miss. */
function findReason(project: Project, text: string): string | null {
  if (readFirst(project, ["flyway.toml"]) !== null) return "flyway.toml may say more";
  const known =
    /^(?:URL|USER|PASSWORD|LOCATIONS|TABLE|SCHEMAS|DEFAULT_SCHEMA|CONNECT_RETRIES|OUT_OF_ORDER|GROUP|EDITION|HOME)$/;
  const variable = Object.keys(project.env).find(
    (name) => name.startsWith("FLYWAY_") && !known.test(name.slice("FLYWAY_".length)),
  );
  if (variable !== undefined) return `${variable} is set`;
  const options = settings.split(" ").map((name) => name.slice(1));
  const other = [...text.matchAll(/^\s*flyway\.([\w.]+)\s*[=:]/gm)]
    .map((match) => match[1] ?? "")
    .find((name) => !options.includes(name));
  return other === undefined ? null : `flyway.${other} is set`;
}

function findFiles(folder: string): readonly string[] {
  return listFolder(folder).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? findFiles(path) : [path];
  });
}

/** Null for what is no migration; the reason of a doubt. */
function readEntry(path: string): Entry | string | null {
  const name = basename(path);
  if (/^(?:before|after|createSchema)\w*\.(?:sql|class)$/.test(name)) {
    return `${path} may run at every migrate`;
  }
  if (/^(?:[BVR]\d*.*__.*\.class|B\d.*__.*\.sql|.*\.sql\.conf)$/.test(name)) {
    return `${path} is no plain migration`;
  }
  const [, version, description = ""] = /^(?:V([\d._]+?)|R)__(.*)\.sql$/.exec(name) ?? [];
  if (!/^[VR].*__.*\.sql$/.test(name)) return null;
  const plain = /^\d+(?:[._]\d+)*$/;
  if (name.startsWith("V") && (version === undefined || !plain.test(version))) {
    return `${path} has no plain version`;
  }
  requireRegularFile(path);
  const text = readFileSync(path);
  if (version === undefined && text.includes("${")) return `${path} has a placeholder`;
  const id =
    version === undefined
      ? `r${description.replaceAll("_", " ")}`
      : `v${version
          .replaceAll("_", ".")
          .replaceAll(/(^|\.)0+(?=\d)/g, "$1")
          .replace(/(?:\.0)+$/, "")}`;
  const checksum = String(sumLines(text.toString("utf8")));
  const entry: Entry = { id, name: name.replace(/\.sql$/, ""), path, checksum };
  return version === undefined ? { ...entry, reruns: true } : entry;
}

/** Over the lines without their ends, as a signed number. */
function sumLines(text: string): number {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/);
  return crc32(lines.join("")) | 0;
}

/** The versions by their numbers, then what is repeatable. */
function byVersion(one: string, other: string): number {
  if (one[0] !== other[0]) return one.startsWith("v") ? -1 : 1;
  if (one.startsWith("r")) return one < other ? -1 : one > other ? 1 : 0;
  const [first = [], second = []] = [one, other].map((id) => id.slice(1).split(".").map(BigInt));
  for (let index = 0; index < Math.max(first.length, second.length); index += 1) {
    const [a, b] = [first[index] ?? 0n, second[index] ?? 0n];
    if (a !== b) return a < b ? -1 : 1;
  }
  return 0;
}
