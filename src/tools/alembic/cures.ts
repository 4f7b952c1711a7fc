// The commands that cure a state, exact enough to be pasted: with the program and the options of the user's own migration
// command, the version table's name, and the ids in question.

import { quoteLiteral, quoteRelation } from "../../postgres/names.ts";
import type { Cures } from "../tool.ts";
import { wordsFor, type AlembicCommand } from "./command.ts";
import { describeWords } from "../../log/words.ts";

export const namingCure =
  "if env.py chooses the folders or the version table in code, name them with --versions or --version-table";

/** The drivers that do not read PGOPTIONS: the argument of connect() that takes a session's settings. */
const settingsArguments: Readonly<Record<string, string>> = {
  asyncpg: "server_settings",
  pg8000: "startup_params",
};

export function createCures(command: AlembicCommand): Cures {
  const spell = (verb: "stamp" | "merge" | "upgrade", words: readonly string[]) =>
    describeWords(wordsFor(command, verb, words));
  return {
    stamp: (heads) => spell("stamp", heads),
    join(heads) {
      const merge = spell("merge", ["-m", `merge ${heads.join(" and ")}`, ...heads]);
      return `join them, and commit the new revision: ${merge}; or migrate all of them: ${describeWords(["--migrate", spell("upgrade", ["heads"])])}`;
    },
    deleteRow: (table, row) =>
      `delete from ${quoteRelation(table)} where version_num = ${quoteLiteral(row)}`,
    notAtHead: () =>
      "look for sys.exit() in a revision, SQL before context.configure() in env.py, or another database than DATABASE_URL's",
    cannotTell: `${namingCure}; where only Python can determine the revisions, run entrypoint freeze as the image is built; else use entrypoint run, which runs the migration command to be certain`,
    sessionSetting(driver, name, value) {
      const argument = settingsArguments[driver];
      return argument === undefined
        ? null
        : `in env.py connect_args={"${argument}": {"${name}": "${value}"}}`;
    },
  };
}
