// --tool folder:COLUMN[:PATTERN]: a runner of the project's own, which keeps the names of its files in a column.

import { Failure } from "../../failure.ts";
import { quoteName } from "../../postgres/names.ts";
import { listByName } from "./folder.ts";
import { doubt, type Row } from "./row.ts";

/** Everything that is not hidden, without its last extension. */
const usualPattern = "^([^.].*?)(?:\\.[^.]*)?$";

/** Null where another tool is named. Throws Failure "bad-settings" for a pattern that is none. */
export function readFolderTool(name: string): Row | null {
  const [, column, pattern = usualPattern] = /^folder(?::([^:]+)(?::(.+))?)?$/s.exec(name) ?? [];
  if (!/^folder(?::|$)/.test(name)) return null;
  if (column === undefined) throw refuse(name, "folder:COLUMN or folder:COLUMN:PATTERN");
  let rules: RegExp;
  try {
    rules = new RegExp(pattern);
  } catch (error) {
    throw refuse(name, `a pattern (${(error as Error).message})`);
  }
  return {
    id: "folder",
    name: "the project's own runner",
    commands: [],
    locate: () => ({
      folders: doubt("--tool folder needs the folder: --versions"),
      table: doubt("--tool folder needs the table: --version-table"),
    }),
    list(folders) {
      return listByName(folders, { pattern: rules, order: "text" });
    },
    ledger: { id: quoteName(column) },
    order: "text",
    pending: "missing",
    unknownRow: "ignored",
    older: "runs",
    resumes: false,
    readsOptions: true,
    cures: {
      stamp: "insert the names into the table",
      undo: "that of the project",
    },
  };
}

function refuse(name: string, allowed: string): Failure {
  return new Failure("bad-settings", `--tool: given ${JSON.stringify(name)}; allowed: ${allowed}`, {
    hint: "the pattern is a regular expression whose first group is what the column holds",
  });
}
