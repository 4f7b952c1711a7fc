// Piccolo. Each application of the registry has a folder of its own; the id is a constant in the file.

import { dirname, join, resolve } from "node:path";
import { flags } from "../../launchers.ts";
import { readFirst } from "../config.ts";
import { listByName, readText } from "../folder.ts";
import { doubt, found, type Entry, type Found, type Project, type Row } from "../row.ts";

export const piccolo: Row = {
  id: "piccolo",
  name: "Piccolo",
  commands: [
    {
      programs: ["piccolo"],
      modules: ["piccolo.main"],
      verb: [
        ["migrations", "forwards", "all"],
        ["migrations", "forward", "all"],
      ],
      options: { ...flags("--trace"), "--fake": "refused", "--preview": "refused" },
    },
  ],
  locate(project) {
    const name = project.env["PICCOLO_CONF"];
    const path = `${(name || "piccolo_conf").replaceAll(".", "/")}.py`;
    const text = readFirst(project, [path])?.text;
    const database = /\bDATABASE_URL\b/.test(text ?? "");
    return {
      folders:
        text === undefined ? doubt(`${path} cannot be read`) : findFolders(project, path, text),
      table: found({ schema: null, name: "migration" }),
      doubt: database ? null : `${path} takes the database from code`,
    };
  },
  list(folders) {
    const entries: Entry[] = [];
    for (const folder of folders) {
      const app = readApp(readText(join(dirname(folder), "piccolo_app.py")) ?? "", "app_name");
      if (app === null) return doubt(`beside ${folder} no piccolo_app.py names the application`);
      const listing = listByName([folder], {
        pattern: /^(?!__init__\.py$).*\.py$/,
        order: "text",
      });
      if (listing.kind === "doubt") return listing;
      for (const { path } of listing.value.entries) {
        const [first, second] = [
          ...(readText(path) ?? "").matchAll(
            /^ID\s*(?::\s*str\s*)?=\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*$/gm,
          ),
        ];
        const id = first?.[1] ?? first?.[2];
        if (id === undefined || second !== undefined) return doubt(`${path} has no plain ID`);
        const whole = `${app}.${id}`;
        const other = entries.find((each) => each.id === whole);
        if (other !== undefined) return doubt(`${path} and ${other.path} are both ${whole}`);
        entries.push({ id: whole, name: whole, path });
      }
    }
    return found({ entries: entries.toSorted((a, b) => (a.id < b.id ? -1 : 1)) });
  },
  ledger: { id: "app_name || '.' || name" },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: false,
  cures: {
    stamp: "piccolo migrations forwards APP --fake",
    undo: "piccolo migrations backwards",
    notAtHead:
      "piccolo passes over a file without ID: look whether it reads the folders that entrypoint does, and its database",
  },
};

/** Of each application that the registry lists. */
function findFolders(project: Project, path: string, text: string): Found<readonly string[]> {
  const listed = /\bAppRegistry\(\s*(?:apps\s*=\s*)?\[([^\]]*)\]/.exec(text)?.[1];
  if (listed === undefined) return doubt(`${path} does not list its applications in plain words`);
  const words = listed
    .replaceAll(/#.*$/gm, "")
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
  const folders: string[] = [];
  for (const word of words) {
    const module = /^["']([\w.]+)["']$/.exec(word)?.[1];
    if (module === undefined) return doubt(`${path} does not list its applications in plain words`);
    const file = `${module.replaceAll(".", "/")}.py`;
    const app = readText(resolve(project.cwd, file));
    if (app === null) return doubt(`the application ${module} is not in the project`);
    const folder =
      readApp(app, "migrations_folder_path") ??
      /\bmigrations_folder_path\s*=\s*os\.path\.join\(\s*CURRENT_DIRECTORY\s*,\s*["']([^"'\\]*)["']\s*,?\s*\)/.exec(
        app,
      )?.[1];
    if (folder === undefined) return doubt(`${file} does not say its folder in plain words`);
    folders.push(join(dirname(file), folder));
  }
  return found(folders);
}

/** A text that AppConfig is given. */
function readApp(text: string, name: string): string | null {
  return new RegExp(`\\b${name}\\s*=\\s*["']([^"'\\\\]*)["']`).exec(text)?.[1] ?? null;
}
