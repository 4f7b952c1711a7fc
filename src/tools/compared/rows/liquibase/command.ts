// How Liquibase's command is spelled.

import { flags, values, type Options } from "../../../launchers.ts";
import type { CommandForm } from "../../row.ts";

const options: Options = {
  ...values(
    "--allow-duplicated-changeset-identifiers --analytics-enabled --changelog-lock-poll-rate --changelog-lock-wait-time-in-minutes",
  ),
  ...values(
    "--classpath --database-changelog-lock-table-name --database-changelog-table-name --ddl-lock-timeout --defaults-file",
  ),
  ...values(
    "--duplicate-file-mode --file-encoding --headless --include-system-classpath --license-key --liquibase-catalog-name",
  ),
  ...values(
    "--liquibase-schema-name --liquibase-tablespace-name --log-channels --log-file --log-format --log-level --monitor-performance",
  ),
  ...values(
    "--on-missing-include-changelog --on-missing-sql-file --preserve-schema-case --search-path --secure-parsing --show-banner",
  ),
  ...values("--sql-log-level --strict --support-property-escaping --ui-service"),
  ...values(
    "--changelog-file --url --username --password --driver --driver-properties-file --default-schema-name --default-catalog-name",
  ),
  ...values("--contexts --context-filter --label-filter --show-summary --show-summary-output"),
  ...flags("--force-on-partial-changes"),
  "-D": "values",
  "--should-run": "refused",
};

/** `--searchPath`, and `--changeLogFile`, as they were once. */
const aliases = Object.fromEntries(
  Object.keys(options).flatMap((name) => {
    const camel = name.replaceAll(/\b-([a-z])/g, (_, sign: string) => sign.toUpperCase());
    return [
      camel,
      camel.replace(/changelog/i, (word) => (word.startsWith("C") ? "ChangeLog" : "changeLog")),
    ]
      .filter((other) => other !== name)
      .map((other) => [other, name]);
  }),
);

export const command: CommandForm = {
  programs: ["liquibase"],
  verb: [["update"]],
  options,
  aliases: { ...aliases, "--labels": "--label-filter", "-D": "-D" },
};
