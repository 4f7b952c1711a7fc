// Liquibase's command line. Only Liquibase can list its change sets, with their checksums: it is asked as the image is built.

import { doubt, found, type Row } from "../row.ts";
import { command } from "./liquibase/command.ts";
import { readSettings } from "./liquibase/settings.ts";

const unfrozen =
  "only Liquibase can list its change sets: run entrypoint freeze as the image is built";

export const liquibase: Row = {
  id: "liquibase",
  name: "Liquibase",
  commands: [command],
  locate(project) {
    const { table, jdbc, javaOptions } = readSettings(project);
    return {
      folders: doubt(unfrozen),
      table: found(table),
      configured: jdbc?.configured ?? null,
      doubt: javaOptions,
    };
  },
  list: () => doubt(unfrozen),
  question: {
    // Nothing secret, and not what names the database or the output.
    telling:
      /^LIQUIBASE_(?!.*(?:URL|USERNAME|PASSWORD|KEY|TOKEN|SECRET|_LOG_|_LOCK_|BANNER|SUMMARY|HEADLESS))/,
    // Loaded where it is wanted: no start needs it.
    ask: async (words, project, run) =>
      (await import("./liquibase/ask.ts")).ask(words, project, run),
  },
  ledger: {
    // As it compares them itself.
    id: String.raw`regexp_replace(replace(filename, '\', '/'), '^(classpath:)?/?(\./)*', '') || '::' || id || '::' || author`,
    // A change set that runs again may get a row of its own.
    checksum:
      "first_value(md5sum) over (partition by filename, id, author order by orderexecuted desc)",
  },
  ownTables: ["databasechangeloglock"],
  lock: {
    lockTable: ({ schema }, project) => ({ schema, name: readSettings(project).lockTable }),
    // It waits as long for one that works. The time is that of its holder's time zone: a session of Java's may be the holder.
    held: "locked and lockgranted < localtimestamp - interval '5 minutes' and not exists (select from pg_stat_activity where datname = current_database() and application_name = 'PostgreSQL JDBC Driver')",
  },
  // Change sets follow each other as the change log has them.
  order: () => 0,
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: false,
  cures: {
    stamp: "liquibase changelog-sync",
    undo: "liquibase rollback",
    repair:
      "if no Liquibase runs, a killed one has left its lock: liquibase release-locks; look first what it has left of its changes, where a change set has no transaction",
    notAtHead:
      "look at the output of Liquibase: it may have migrated another database than DATABASE_URL's, or read another change log, other contexts or other labels than were frozen",
    cannotTell:
      "run entrypoint freeze as the image is built, with the same migration command; where the text of an applied change set has changed, restore it, or give it a validCheckSum",
  },
};
