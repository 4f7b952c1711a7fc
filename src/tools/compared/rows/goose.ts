// goose's command line. A pending migration below the newest applied one is refused, unless -allow-missing is given.

import { flags, values } from "../../launchers.ts";
import { parseTable } from "../config.ts";
import { doubt, found, type Row } from "../row.ts";
import { listByName, listFolder } from "../folder.ts";

export const goose: Row = {
  id: "goose",
  name: "goose",
  commands: [
    {
      programs: ["goose"],
      verb: [["up"], ["postgres"]],
      words: 2,
      anyHyphens: true,
      options: {
        ...flags("-v -allow-missing -no-color"),
        ...values("-dir -table -certfile -ssl-cert -ssl-key -timeout"),
        "-no-versioning": "refused",
        "-env": "refused",
      },
    },
  ],
  locate({ env, flags: given, rest }) {
    const [first, second] = rest;
    // `up` alone, or `postgres DSN up`.
    const url = second === "up" ? first : first === undefined ? env["GOOSE_DBSTRING"] : undefined;
    const driver = first === undefined ? env["GOOSE_DRIVER"] : "postgres";
    const wrong =
      first !== undefined && second !== "up"
        ? "it is not goose up"
        : driver !== undefined && !/^(?:postgres|pgx)$/.test(driver)
          ? `its driver is ${driver}`
          : null;
    return {
      folders: found([given.get("-dir") ?? (env["GOOSE_MIGRATION_DIR"] || ".")]),
      table: found(parseTable(given.get("-table") ?? (env["GOOSE_TABLE"] || "goose_db_version"))),
      configured: url
        ? { url, from: first === undefined ? "GOOSE_DBSTRING" : "goose's own words" }
        : null,
      doubt: wrong,
    };
  },
  list(folders) {
    for (const folder of folders) {
      const compiled = listFolder(folder).find(({ name }) => /^\d+_.*(?<!_test)\.go$/.test(name));
      if (compiled !== undefined)
        return doubt(`${compiled.name} counts only where it is compiled in`);
    }
    return listByName(folders, {
      pattern: /^(\d+)_.*\.sql$/,
      refused: [/\.sql$/, "goose refuses a name without a number"],
      order: "number",
    });
  },
  ledger: { id: "version_id", where: "version_id > 0", undone: "not is_applied" },
  order: "number",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: false,
  sql: {
    up: /^--[ \t]*\+goose[ \t]+up\b/im,
    down: /^--[ \t]*\+goose[ \t]+down\b/im,
    transaction: "each",
    bare: /^--[ \t]*\+goose[ \t]+no[ \t]+transaction\b/im,
    unreadable: [[/^--[ \t]*\+goose[ \t]+envsub[ \t]+on\b/im, "goose puts variables into it"]],
    ownTransactions: "-- +goose NO TRANSACTION at its beginning",
  },
  cures: {
    stamp: "insert the number of each file into the table",
    undo: "goose down",
  },
};
