// Aerich, for an application of Tortoise ORM's.

import { resolve } from "node:path";
import { flags, values } from "../../launchers.ts";
import { readFirst } from "../config.ts";
import { listByName, listFolder } from "../folder.ts";
import { doubt, found, type Row } from "../row.ts";

export const aerich: Row = {
  id: "aerich",
  name: "Aerich",
  commands: [
    {
      programs: ["aerich"],
      modules: ["aerich"],
      verb: [["upgrade"]],
      options: {
        ...flags("--in-transaction --no-input"),
        ...values("--config --app"),
        "--fake": "refused",
      },
      aliases: { "-c": "--config" },
    },
  ],
  locate(project) {
    const config = project.flags.get("--config") ?? "pyproject.toml";
    const file = readFirst(project, [config]);
    const section = /^\[tool\.(?:aerich|tortoise)\]\n((?!\[).*\n?)*/m.exec(file?.text ?? "")?.[0];
    if (section === undefined) {
      const reason = `${config} has no [tool.aerich]`;
      return { folders: doubt(reason), table: doubt(reason) };
    }
    const location = /^location\s*=\s*["']([^"']*)["']/m.exec(section)?.[1] ?? "./migrations";
    const apps = listFolder(resolve(project.cwd, location))
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("__"))
      .map(({ name }) => name);
    const app = project.flags.get("--app") ?? (apps.length > 1 ? undefined : (apps[0] ?? "models"));
    return {
      folders:
        app === undefined
          ? doubt(`there are several applications in ${location}`)
          : found([`${location}/${app}`]),
      table: found({ schema: null, name: "aerich" }),
      doubt: apps.length > 1 ? `there are several applications in ${location}` : null,
    };
  },
  list: (folders) => listByName(folders, { pattern: /^\d+_.*\.py$/, order: "text" }),
  ledger: { id: "version" },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: false,
  cures: {
    stamp: "aerich upgrade --fake",
    undo: "aerich downgrade",
  },
};
