// Real migration tools, each with a project in a folder of its own: how its migrations are written, and how it is run.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const modules = join(import.meta.dirname, "../oracles/node_modules");

/** A migration of a test: its number, from 1, and what it runs. */
export interface TestMigration {
  readonly number: number;
  readonly sql: string;
  /** Whether it is run outside of a transaction. */
  readonly bare?: true;
}

export interface RealTool {
  readonly name: string;
  /** The migration command. */
  readonly command: string;
  /** Null where the tool is not installed. */
  readonly missing: string | null;
  /** Writes these migrations, and the configuration beside them, into an empty folder. */
  write(cwd: string, migrations: readonly TestMigration[]): void;
  /** What entrypoint calls the migration. */
  nameOf(number: number): string;
}

function stem(number: number): string {
  return `2026010100000${number}_m${number}`;
}

function node(name: string): Pick<RealTool, "missing"> {
  return { missing: existsSync(join(modules, name)) ? null : `no ${name}: scripts/setup --tests` };
}

function binary(path: string): Pick<RealTool, "missing"> {
  return { missing: existsSync(path) ? null : `no ${path}` };
}

const drizzle: RealTool = {
  ...node("drizzle-kit"),
  name: "drizzle",
  command: "node node_modules/drizzle-kit/bin.cjs migrate",
  nameOf: stem,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, "drizzle.config.ts"),
      `import { defineConfig } from "drizzle-kit";
export default defineConfig({
  dialect: "postgresql",
  out: "./sql", // not the default
  dbCredentials: { url: process.env.DATABASE_URL! },
});
`,
    );
    mkdirSync(join(cwd, "sql/meta"), { recursive: true });
    const entries = migrations.map(({ number }, idx) => ({
      idx,
      version: "7",
      when: 1_767_225_600_000 + number,
      tag: stem(number),
      breakpoints: true,
    }));
    writeFileSync(
      join(cwd, "sql/meta/_journal.json"),
      JSON.stringify({ version: "7", dialect: "postgresql", entries }),
    );
    for (const { number, sql } of migrations) {
      writeFileSync(join(cwd, "sql", `${stem(number)}.sql`), sql);
    }
  },
};

const knex: RealTool = {
  ...node("knex"),
  name: "knex",
  command: "node node_modules/knex/bin/cli.js migrate:latest",
  nameOf: (number) => `${stem(number)}.js`,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, "knexfile.js"),
      `const path = require("path");
module.exports = {
  development: { client: "pg", connection: process.env.DATABASE_URL, migrations: { directory: path.join(__dirname, "db", "migrations") } },
};
`,
    );
    mkdirSync(join(cwd, "db/migrations"), { recursive: true });
    for (const { number, sql, bare } of migrations) {
      writeFileSync(
        join(cwd, "db/migrations", `${stem(number)}.js`),
        `exports.up = (knex) => knex.raw(${JSON.stringify(sql)});\nexports.down = () => {};\n${bare === true ? "exports.config = { transaction: false };\n" : ""}`,
      );
    }
  },
};

const go = process.env["ENTRYPOINT_TEST_GO_TOOLS"] ?? join(process.env["HOME"] ?? "/", "go/bin");

const golangMigrate: RealTool = {
  ...binary(join(go, "migrate")),
  name: "golang-migrate",
  command: `${join(go, "migrate")} -path db -database $DATABASE_URL?sslmode=disable up`,
  nameOf: stem,
  write(cwd, migrations) {
    mkdirSync(join(cwd, "db"));
    for (const { number, sql } of migrations) {
      writeFileSync(join(cwd, "db", `${stem(number)}.up.sql`), sql);
    }
  },
};

const sequelize: RealTool = {
  ...node("sequelize-cli"),
  name: "sequelize",
  command: "node node_modules/sequelize-cli/lib/sequelize db:migrate",
  nameOf: (number) => `${stem(number)}.js`,
  write(cwd, migrations) {
    mkdirSync(join(cwd, "config"));
    writeFileSync(
      join(cwd, "config/config.json"),
      JSON.stringify({ development: { use_env_variable: "DATABASE_URL", dialect: "postgres" } }),
    );
    mkdirSync(join(cwd, "migrations"));
    for (const { number, sql } of migrations) {
      writeFileSync(
        join(cwd, "migrations", `${stem(number)}.js`),
        `module.exports = { up: (queries) => queries.sequelize.query(${JSON.stringify(sql)}), down: () => Promise.resolve() };\n`,
      );
    }
  },
};

const nodePgMigrate: RealTool = {
  ...node("node-pg-migrate"),
  name: "node-pg-migrate",
  command: "node node_modules/node-pg-migrate/bin/node-pg-migrate.js up",
  nameOf: (number) => `${stem(number)}.js`,
  write(cwd, migrations) {
    mkdirSync(join(cwd, "migrations"));
    for (const { number, sql } of migrations) {
      writeFileSync(
        join(cwd, "migrations", `${stem(number)}.js`),
        `exports.up = (pgm) => pgm.sql(${JSON.stringify(sql)});\nexports.down = () => {};\n`,
      );
    }
  },
};

const dbmate: RealTool = {
  ...node("@dbmate"),
  name: "dbmate",
  command: `node_modules/@dbmate/linux-${process.arch}/bin/dbmate --no-dump-schema up`,
  nameOf: (number) => `${stem(number)}.sql`,
  write(cwd, migrations) {
    mkdirSync(join(cwd, "db/migrations"), { recursive: true });
    for (const { number, sql } of migrations) {
      writeFileSync(
        join(cwd, "db/migrations", `${stem(number)}.sql`),
        `-- migrate:up\n${sql}\n-- migrate:down\n`,
      );
    }
  },
};

const goose: RealTool = {
  ...binary(join(go, "goose")),
  name: "goose",
  command: `${join(go, "goose")} -dir db postgres $DATABASE_URL?sslmode=disable up`,
  nameOf: stem,
  write(cwd, migrations) {
    mkdirSync(join(cwd, "db"));
    for (const { number, sql } of migrations) {
      writeFileSync(join(cwd, "db", `${stem(number)}.sql`), `-- +goose Up\n${sql}\n`);
    }
  },
};

/** The packages of test/process/tools/oracles/requirements.txt. */
export const pythonPath =
  process.env["ENTRYPOINT_TEST_PYTHON_TOOLS"] ??
  join(import.meta.dirname, "../../../../.cache/tools");

const yoyo: RealTool = {
  ...binary(join(pythonPath, "yoyo")),
  name: "yoyo",
  command: "python -m yoyo apply --batch --no-config-file --database $PSYCOPG_URL sql",
  nameOf: (number) => `${stem(number)}.sql`,
  write(cwd, migrations) {
    mkdirSync(join(cwd, "sql"));
    for (const { number, sql } of migrations) {
      writeFileSync(join(cwd, "sql", `${stem(number)}.sql`), sql);
    }
  },
};

const aerichTable =
  "create table if not exists aerich (id serial primary key, version varchar(255) not null, app varchar(100) not null, content jsonb not null);";

const aerich: RealTool = {
  ...binary(join(pythonPath, "aerich")),
  name: "aerich",
  command: "python -m aerich upgrade",
  nameOf: (number) => `${stem(number)}.py`,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, "pyproject.toml"),
      `[tool.aerich]\ntortoise_orm = "settings.TORTOISE_ORM"\nlocation = "./sql"\nsrc_folder = "./."\n`,
    );
    writeFileSync(
      join(cwd, "settings.py"),
      `import os
TORTOISE_ORM = {
    "connections": {"default": os.environ["DATABASE_URL"].replace("postgresql:", "asyncpg:")},
    "apps": {"models": {"models": ["aerich.models"], "default_connection": "default"}},
}
`,
    );
    mkdirSync(join(cwd, "sql/models"), { recursive: true });
    for (const { number, sql: own } of migrations) {
      // The first one makes the tool's table too.
      const sql = number === 1 ? `${aerichTable} ${own}` : own;
      writeFileSync(
        join(cwd, "sql/models", `${stem(number)}.py`),
        `from tortoise import BaseDBAsyncClient\n\nRUN_IN_TRANSACTION = True\n\nasync def upgrade(db: BaseDBAsyncClient) -> str:\n    return ${JSON.stringify(sql)}\n\nasync def downgrade(db: BaseDBAsyncClient) -> str:\n    return ""\n`,
      );
    }
  },
};

const typeorm: RealTool = {
  ...node("typeorm"),
  name: "typeorm",
  command: "node node_modules/typeorm/cli.js migration:run -d data-source.js",
  nameOf: (number) => `M${number}176722560000${number}`,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, "data-source.js"),
      `const { DataSource } = require("typeorm");
const migrations = "not read";
exports.source = new DataSource({
  type: "postgres",
  url: process.env.DATABASE_URL,
  migrations: [__dirname + "/dist/migrations/*{.ts,.js}"],
});
`,
    );
    mkdirSync(join(cwd, "dist/migrations"), { recursive: true });
    for (const { number, sql } of migrations) {
      writeFileSync(
        join(cwd, "dist/migrations", `176722560000${number}-M${number}.js`),
        `module.exports = class M${number}176722560000${number} {
  up(queries) { return queries.query(${JSON.stringify(sql)}); }
  down() {}
};
`,
      );
    }
  },
};

const kysely: RealTool = {
  ...node("kysely-ctl"),
  name: "kysely",
  command: "node node_modules/kysely-ctl/dist/bin.mjs --no-outdated-check migrate latest",
  nameOf: (number) => `${stem(number)}.ts`,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, "kysely.config.ts"),
      `import { PostgresDialect } from "kysely";
import { defineConfig } from "kysely-ctl";
import { Pool } from "pg";
export default defineConfig({
  dialect: new PostgresDialect({ pool: new Pool({ connectionString: process.env.DATABASE_URL }) }),
  migrations: { migrationFolder: "db" },
});
`,
    );
    mkdirSync(join(cwd, "db"));
    for (const { number, sql } of migrations) {
      writeFileSync(
        join(cwd, "db", `${stem(number)}.ts`),
        `import { sql } from "kysely";\nexport const up = (db: any) => sql.raw(${JSON.stringify(sql)}).execute(db);\n`,
      );
    }
  },
};

const mikroOrm: RealTool = {
  ...node("@mikro-orm/cli"),
  name: "mikro-orm",
  command: "node node_modules/@mikro-orm/cli/cli.js migration:up",
  nameOf: (number) => `Migration${stem(number)}.js`,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, "package.json"),
      `{ "type": "module", "dependencies": { "@mikro-orm/cli": "*" } }`,
    );
    // It loads a loader of TypeScript.
    writeFileSync(join(cwd, "tsconfig.json"), "{}");
    writeFileSync(
      join(cwd, "mikro-orm.config.js"),
      `import { defineConfig } from "@mikro-orm/postgresql";
import { Migrator } from "@mikro-orm/migrations";
export default defineConfig({
  clientUrl: process.env.DATABASE_URL,
  entities: [],
  discovery: { warnWhenNoEntities: false },
  extensions: [Migrator],
  migrations: { path: "dist/sql", pathTs: "src/sql" },
});
`,
    );
    for (const folder of ["dist/sql", "src/sql"]) {
      mkdirSync(join(cwd, folder), { recursive: true });
      for (const { number, sql } of migrations) {
        writeFileSync(
          join(cwd, folder, `Migration${stem(number)}.js`),
          `import { Migration } from "@mikro-orm/migrations";
export class Migration${stem(number)} extends Migration {
  up() { this.addSql(${JSON.stringify(sql)}); }
}
`,
        );
      }
    }
  },
};

const graphileMigrate: RealTool = {
  ...node("graphile-migrate"),
  name: "graphile-migrate",
  command: "node node_modules/graphile-migrate/dist/cli.js migrate",
  nameOf: (number) => `00000${number}-m.sql`,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, ".gmrc"),
      `{\n  // its own form of JSON\n  "migrationsFolder": "./db",\n  "pgSettings": {},\n}\n`,
    );
    mkdirSync(join(cwd, "db/committed"), { recursive: true });
    let previous = "";
    for (const { number, sql } of migrations) {
      const body = `${previous}\n${sql}`.trim();
      const hash = `sha1:${createHash("sha1").update(`${body}\n`).digest("hex")}`;
      writeFileSync(
        join(cwd, "db/committed", `00000${number}-m.sql`),
        `--! Previous: ${previous || "-"}\n--! Hash: ${hash}\n\n${sql}\n`,
      );
      previous = hash;
    }
  },
};

const piccolo: RealTool = {
  ...binary(join(pythonPath, "piccolo")),
  name: "piccolo",
  command: "python -m piccolo.main migrations forwards all",
  nameOf: (number) => `blog.2026-01-01T00:00:0${number}:000000`,
  write(cwd, migrations) {
    writeFileSync(
      join(cwd, "piccolo_conf.py"),
      `import os
from piccolo.conf.apps import AppRegistry
from piccolo.engine.postgres import PostgresEngine

DB = PostgresEngine(config={"dsn": os.environ["DATABASE_URL"]})
APP_REGISTRY = AppRegistry(apps=["blog.piccolo_app"])
`,
    );
    mkdirSync(join(cwd, "blog/piccolo_migrations"), { recursive: true });
    writeFileSync(join(cwd, "blog/__init__.py"), "");
    writeFileSync(
      join(cwd, "blog/piccolo_app.py"),
      `import os
from piccolo.conf.apps import AppConfig

CURRENT_DIRECTORY = os.path.dirname(os.path.abspath(__file__))
APP_CONFIG = AppConfig(
    app_name="blog",
    migrations_folder_path=os.path.join(CURRENT_DIRECTORY, "piccolo_migrations"),
    table_classes=[],
    migration_dependencies=[],
)
`,
    );
    for (const { number, sql } of migrations) {
      const id = `2026-01-01T00:00:0${number}:000000`;
      writeFileSync(
        join(cwd, "blog/piccolo_migrations", `blog_${stem(number)}.py`),
        `from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "${id}"
VERSION = "1.38.0"
DESCRIPTION = ""

async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="blog", description=DESCRIPTION)
    async def run():
        await engine_finder().run_ddl(${JSON.stringify(sql)})
    manager.add_raw(run)
    return manager
`,
      );
    }
  },
};

export const realTools: readonly RealTool[] = [
  drizzle,
  knex,
  sequelize,
  nodePgMigrate,
  golangMigrate,
  goose,
  dbmate,
  yoyo,
  aerich,
  typeorm,
  kysely,
  mikroOrm,
  graphileMigrate,
  piccolo,
];

/** Numbers as migrations, each with a table of its own. */
export function migrationsOf(...numbers: readonly number[]): TestMigration[] {
  return numbers.map((number) => ({ number, sql: `create table t${number} (id int);` }));
}

/** The command with the database's URL, where the tool takes that as a word. */
export function commandOf(tool: RealTool, url: string): string {
  return tool.command
    .replace("$DATABASE_URL", url)
    .replace("$PSYCOPG_URL", url.replace("postgresql:", "postgresql+psycopg:"));
}
