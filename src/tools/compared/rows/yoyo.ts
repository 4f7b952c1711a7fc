// yoyo. A folder that is not there is an empty one to it, and exit code 0.

import { dirname, resolve } from "node:path";
import { flags, values } from "../../launchers.ts";
import { readFirst } from "../config.ts";
import { listByName } from "../folder.ts";
import { doubt, found, type Row } from "../row.ts";

export const yoyo: Row = {
  id: "yoyo",
  name: "yoyo",
  commands: [
    {
      programs: ["yoyo", "yoyo-migrate"],
      modules: ["yoyo"],
      verb: [["apply"]],
      words: 20,
      options: {
        ...flags("--batch --no-batch --no-config-file --no-cache -v -vv -vvv"),
        ...values("--database --config --migration-table --verbosity"),
        "--all": "refused",
        "--force": "refused",
        "--one": "refused",
        "--revision": "refused",
        "--match": "refused",
        "--prompt-password": "refused",
      },
      aliases: {
        "-b": "--batch",
        "-d": "--database",
        "-c": "--config",
        "-r": "--revision",
        "-m": "--match",
        "-f": "--force",
        "-a": "--all",
        "-1": "--one",
        "-p": "--prompt-password",
      },
    },
  ],
  locate(project) {
    const { flags: given, rest } = project;
    const file = given.has("--no-config-file")
      ? null
      : readFirst(project, [given.get("--config") ?? "yoyo.ini"]);
    const read = (key: string): string | undefined => {
      const value = new RegExp(`^${key}\\s*[=:]\\s*(.*)$`, "m").exec(file?.text ?? "")?.[1]?.trim();
      return value?.replaceAll("%(here)s", dirname(resolve(project.cwd, file?.name ?? "")));
    };
    const sources = rest.length > 0 ? rest : (read("sources")?.split(/\s+/) ?? []);
    const special = /%\((?!here\))|^%?(?:include|inherit)\b/m.test(file?.text ?? "");
    const url = given.get("--database") ?? read("database");
    const wildcard = sources.find((source) => /[*?:[]/.test(source));
    return {
      folders:
        wildcard === undefined && !special
          ? found(sources)
          : doubt(`${wildcard ?? file?.name} names no plain folder`),
      table: found({
        schema: null,
        name: given.get("--migration-table") ?? read("migration_table") ?? "_yoyo_migration",
      }),
      configured:
        url === undefined
          ? null
          : { url, from: given.has("--database") ? "--database" : "yoyo.ini" },
    };
  },
  list: (folders) =>
    listByName(folders, {
      pattern: /^(?!__|post-apply)(.*)\.(?:py|sql)$/,
      ignored: /\.rollback\.sql$/,
      order: "text",
    }),
  ledger: { id: "migration_id" },
  ownTables: ["_yoyo_log", "_yoyo_version", "yoyo_lock"],
  lock: { lockTable: () => ({ schema: null, name: "yoyo_lock" }), held: "true" },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  cures: {
    stamp: "yoyo mark",
    undo: "yoyo rollback",
    repair: "if no migration runs, a killed one has left its lock: yoyo break-lock",
    notAtHead:
      "yoyo ends with 0 where its folder is not there: look whether it reads the folder that entrypoint does, and its database",
  },
};
