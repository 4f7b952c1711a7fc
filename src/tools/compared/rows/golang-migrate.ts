// golang-migrate's command line. Its table has one row, the newest version: a migration below that is never run, and the command
// ends with 0. So what has been applied is kept in the table's comment.

import { crc32 } from "../../../runtime/crc32.ts";
import { doubt, found, type Row } from "../row.ts";
import { flags, values } from "../../launchers.ts";
import { listByName } from "../folder.ts";

export const golangMigrate: Row = {
  id: "golang-migrate",
  name: "golang-migrate",
  commands: [
    {
      programs: ["migrate"],
      verb: [["up"]],
      anyHyphens: true,
      options: {
        ...flags("-verbose"),
        ...values("-path -source -database -prefetch -lock-timeout"),
      },
    },
  ],
  locate({ flags: given }) {
    const source = given.get("-source");
    const folder = given.get("-path") ?? /^file:\/\/([^?]*)$/.exec(source ?? "")?.[1];
    const url = given.get("-database");
    const [, query = ""] = url?.split("?") ?? [];
    const parameters = new URLSearchParams(query);
    const name = parameters.get("x-migrations-table") ?? "schema_migrations";
    const quoted = parameters.has("x-migrations-table-quoted");
    const left = new URLSearchParams(
      Array.from(parameters).filter(([key]) => !key.startsWith("x-")),
    ).toString();
    return {
      folders:
        folder === undefined
          ? doubt(source === undefined ? "no -path names the folder" : `${source} is no folder`)
          : found([folder]),
      table: found({ schema: parameters.get("search_path"), name }),
      configured:
        url === undefined
          ? null
          : { url: `${url.split("?")[0]}${left === "" ? "" : `?${left}`}`, from: "-database" },
      doubt: quoted ? "x-migrations-table-quoted is set" : null,
    };
  },
  list: (folders) =>
    listByName(folders, {
      pattern: /^(\d+)_.*\.(?:up|down)\..*$/,
      order: "number",
      paired: true,
    }),
  ledger: { id: "version", broken: "dirty", also: "obj_description(tableoid, 'pg_class')" },
  remembers: true,
  order: "number",
  advisoryLock: ({ schema, table, database }) =>
    String(Math.imul(crc32([schema, table, database].join("\0")), 1_486_364_155) >>> 0),
  pending: "above-newest",
  unknownRow: "refused",
  older: "skipped",
  resumes: false,
  readsOptions: true,
  sql: {
    fileOf: (path) => path.replace(/\.down\.([^.]*)$/, ".up.$1"),
    transaction: "script",
    ownTransactions: "a migration with that statement alone",
  },
  cures: {
    stamp: "migrate force VERSION",
    undo: "migrate down 1",
    skipped:
      "its version is below the newest one that is applied: give the file a higher version; if its changes are in the database already, add its version to the comment of the table, which lists what is applied",
    repair:
      "look at what the failed migration has done, undo or complete that by hand, then record the version that the database is at: migrate force VERSION",
  },
};
