// The commands that cure a state, exact enough to be pasted: with the program and the options of the user's own migration
// command, the version table's name, and the ids in question.

import { askAlembic } from "./command.ts";
import type { VersionTable } from "./state.ts";

/** `alembic -c a.ini stamp d4` for a database whose tables are those of head. */
export function stampCommand(migrate: readonly string[] | null, heads: readonly string[]): string {
  return tell(migrate, "stamp", heads);
}

/** `alembic merge -m "merge b2 and c3" b2 c3` */
export function mergeCommand(migrate: readonly string[] | null, heads: readonly string[]): string {
  return tell(migrate, "merge", ["-m", `"merge ${heads.join(" and ")}"`, ...heads]);
}

/** `alembic upgrade heads` */
export function upgradeAllCommand(migrate: readonly string[] | null): string {
  return tell(migrate, "upgrade", ["heads"]);
}

/** `delete from alembic_version where version_num = 'a1'` */
export function deleteRowStatement({ schema, name }: VersionTable, row: string): string {
  const identifier = (text: string) =>
    /^[a-z_][a-z0-9_]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`;
  const table = [...(schema === null ? [] : [schema]), name].map(identifier).join(".");
  return `delete from ${table} where version_num = '${row.replaceAll("'", "''")}'`;
}

function tell(
  migrate: readonly string[] | null,
  verb: "stamp" | "merge" | "upgrade",
  words: readonly string[],
): string {
  return (askAlembic(migrate ?? [], verb, words) ?? ["alembic", verb, ...words]).join(" ");
}
