// The command lines of the migration tools of compared/rows.ts, as one-off.ts asks of them: which end by themselves, or serve the
// person alone who has started them, and which words change the database. No start needs the rows for that.

import { baseName, type Program } from "./launchers.ts";

interface CommandLine {
  readonly programs: string;
  /** Words of which one says that it is no server; none is needed where it is not said. */
  readonly words?: RegExp;
  /** A word that changes the database. */
  readonly changes: RegExp;
}

const commandLines: readonly CommandLine[] = [
  { programs: "prisma", changes: /^(?:deploy|dev|reset|resolve|push|execute|seed)$/ },
  { programs: "drizzle-kit", changes: /^(?:migrate|push)$/ },
  {
    programs: "knex",
    changes: /^(?:migrate:(?:latest|up|down|rollback|unlock|forceunlock)|seed:run)$/,
  },
  {
    programs: "sequelize sequelize-cli",
    changes: /^db:(?:migrate(?::undo.*|:schema.*)?|seed.*|create|drop)$/,
  },
  { programs: "node-pg-migrate", changes: /^(?:up|down|redo)$/ },
  {
    programs: "typeorm typeorm-ts-node-commonjs typeorm-ts-node-esm",
    changes: /^(?:migration:(?:run|revert)|schema:(?:sync|drop)|query)$/,
  },
  { programs: "kysely", changes: /^(?:up|down|latest|rollback|run|migrate:\w+|sql)$/ },
  {
    programs: "mikro-orm mikro-orm-esm @mikro-orm/cli",
    changes: /^(?:migration:(?:up|down|fresh)|schema:\w+|database:create|seeder:run)$/,
  },
  { programs: "graphile-migrate", changes: /^(?:migrate|reset|watch|run)$/ },
  { programs: "dbmate", changes: /^(?:up|migrate|rollback|down|create|drop|load)$/ },
  { programs: "goose", changes: /^(?:up|down|redo|reset)(?:-\w+)*$/ },
  {
    programs: "migrate",
    words: /^(?:create|goto|up|down|drop|force|version)$/,
    changes: /^(?:goto|up|down|drop|force)$/,
  },
  { programs: "sqlx sqlx-cli", changes: /^(?:run|revert|create|drop|reset|setup)$/ },
  { programs: "diesel", changes: /^(?:run|redo|revert|setup|reset|drop)$/ },
  { programs: "flyway", changes: /^(?:migrate|clean|repair|baseline|undo)$/ },
  {
    programs: "liquibase",
    changes: /^(?:update|rollback|changelog-?sync|drop-?all|clear-?checksums|release-?locks|tag)/i,
  },
  { programs: "yoyo yoyo-migrate", changes: /^(?:apply|rollback|reapply|mark|unmark|break-lock)$/ },
  { programs: "aerich", changes: /^(?:upgrade|downgrade|init-db)$/ },
  {
    programs: "piccolo",
    words: /^(?:migrations|schema|shell|sql_shell|fixtures|project|user)$/,
    changes: /^(?:forwards?|backwards?|load|create)$/,
  },
  {
    programs: "mix",
    words: /^ecto\./,
    changes: /^ecto\.(?:migrate|rollback|create|drop|load|setup|reset)$/,
  },
  {
    programs: "rails rake",
    words: /^(?:db:.*|console|c|dbconsole|routes|test|about|stats|notes)$/,
    changes: /^db:(?!version|abort|migrate:status)/,
  },
];

/** Null where the program is none of them, or may serve. */
export function readKnownCommandLine({ kind, name, args }: Program): "changes" | "reads" | null {
  const program =
    kind === "module" ? name.split(".")[0] : kind === "script" ? baseName(name) : name;
  const line = commandLines.find(({ programs }) => programs.split(" ").includes(program ?? ""));
  if (line === undefined) return null;
  const words = args.filter((word) => !word.startsWith("-"));
  // An option's value may come before it.
  if (line.words !== undefined && !words.some((word) => line.words?.test(word))) return null;
  return words.some((word) => line.changes.test(word)) ? "changes" : "reads";
}
