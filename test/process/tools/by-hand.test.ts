// The tools that cannot be had here: their projects and tables are made by hand, after their sources. What the real tool would say
// is in the comment of each case.
// @runs-on executable

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";

interface Case {
  readonly name: string;
  readonly command: string;
  /** Null for one that there is not. */
  readonly files: Readonly<Record<string, string | null>>;
  readonly table: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly expected: object;
}

const sha384 = (text: string) => createHash("sha384").update(text).digest("hex");

const prismaFiles = {
  "prisma/schema.prisma": `generator client { provider = "prisma-client-js" }\ndatasource db {\n  provider = "postgresql"\n  url = env("DATABASE_URL")\n}\n`,
  "prisma/migrations/migration_lock.toml": `provider = "postgresql"\n`,
  "prisma/migrations/1_init/migration.sql": "select 1;",
  "prisma/migrations/2_posts/migration.sql": "select 1;",
};
const prismaTable =
  "create table _prisma_migrations (id text, checksum text, finished_at timestamptz, migration_name text, logs text, rolled_back_at timestamptz, started_at timestamptz default now(), applied_steps_count int default 0);";
const prismaRow = (name: string, finished = "now()", rolledBack = "null") =>
  `insert into _prisma_migrations (migration_name, finished_at, rolled_back_at) values ('${name}', ${finished}, ${rolledBack});`;

const sqlxFiles = {
  "migrations/0001_init.sql": "select 1;",
  "migrations/0002_posts.up.sql": "select 2;",
  "migrations/0002_posts.down.sql": "",
};
const sqlxTable =
  "create table _sqlx_migrations (version bigint primary key, description text, installed_on timestamptz default now(), success boolean, checksum bytea, execution_time bigint default 0);";
const sqlxRow = (version: number, text: string, success = true) =>
  `insert into _sqlx_migrations (version, success, checksum) values (${version}, ${success}, '\\x${sha384(text)}');`;

const prisma = { command: "npx prisma migrate deploy", files: prismaFiles };
const sqlx = { command: "sqlx migrate run", files: sqlxFiles };
const diesel = {
  command: "diesel migration run",
  files: {
    "migrations/00000000000000_diesel_initial_setup/up.sql": "",
    "migrations/2026-01-01-000001_posts/up.sql": "",
    "migrations/.keep/x": "",
  },
};
const dieselTable =
  "create table __diesel_schema_migrations (version varchar(50) primary key, run_on timestamp default now());";
const ecto = {
  command: "mix ecto.migrate",
  files: {
    "config/runtime.exs": `config :blog, Blog.Repo, url: System.get_env("DATABASE_URL")`,
    "priv/repo/migrations/20260101000001_init.exs": "",
    "priv/repo/migrations/.formatter.exs": "",
    "priv/repo/migrations/nested/20260101000002_posts.exs": "",
  },
};
const ectoTable =
  "create table schema_migrations (version bigint primary key, inserted_at timestamp);";
const rails = {
  command: "bin/rails db:prepare",
  files: {
    "config/database.yml": "production:\n  url: <%= ENV['DATABASE_URL'] %>\n",
    "db/migrate/20260101000001_init.rb": "",
    "db/migrate/20260101000002_create_posts.blog.rb": "",
  },
};
const railsTable =
  "create table schema_migrations (version varchar primary key); create table ar_internal_metadata ();";

// What Flyway 13.12 wrote for the files below, byte for byte.
const flyway = {
  command: "flyway -locations=filesystem:sql migrate",
  files: {
    "sql/V1.0__init.sql": "\u{feff}create table t1 (id int);\r\n-- ü\n\n",
    "sql/sub/V01_2__posts.sql": "create table t2 (id int);\n",
    "sql/R__some_view.sql": "create or replace view v as select 1 as a;\n",
    "sql/README.md": "",
  },
};
const flywayTable =
  "create table flyway_schema_history (installed_rank int primary key, version varchar(50), description varchar(200), type varchar(20), script varchar(1000), checksum int, installed_by varchar(100) default 'x', installed_on timestamp default now(), execution_time int default 0, success boolean);";
const flywayRow = (
  rank: number,
  version: string | null,
  description: string,
  checksum: number,
  { type = "SQL", success = true } = {},
) =>
  `insert into flyway_schema_history (installed_rank, version, description, type, script, checksum, success) values (${rank}, ${version === null ? "null" : `'${version}'`}, '${description}', '${type}', '', ${checksum}, ${success});`;
const flywayInit = flywayRow(1, "1.0", "init", -15_980_148);
const flywayPosts = flywayRow(2, "01.2", "posts", 867_489_332);
const flywayView = flywayRow(3, null, "some view", -1_466_044_959);

const postgresMigrations = {
  command: "node migrate.js",
  files: {
    "sql/1_init.sql": "create table t1 (id int);\n",
    "sql/2_posts.sql": "create table t2 (id int);\n",
  },
  env: { ENTRYPOINT_TOOL: "postgres-migrations", ENTRYPOINT_VERSIONS: "sql" },
};
// What 5.3 wrote for these files.
const postgresMigrationsTable =
  "create table migrations (id int primary key, name varchar(100) unique not null, hash varchar(40) not null, executed_at timestamp default now()); insert into migrations (id, name, hash) values (0, 'create-migrations-table', 'e18db593bcde2aca2a408c4d1100f6abba2195df'), (1, 'init', 'bf46608221507760c4bb4771579fdae068fe1d55'), (2, 'posts', '1abb1d91c2e31d7269317f3e4a0ec96fa4c2264b')";

const cases: readonly Case[] = [
  {
    ...prisma,
    name: "Prisma: an empty database",
    table: "",
    expected: { state: "behind", pending: ["1_init", "2_posts"] },
  },
  {
    ...prisma,
    name: "Prisma: all applied",
    table: `${prismaTable} ${prismaRow("1_init")} ${prismaRow("2_posts")}`,
    expected: { state: "current", current: ["2_posts"] },
  },
  {
    ...prisma,
    name: "Prisma: rolled back, and applied again",
    table: `${prismaTable} ${prismaRow("1_init", "null", "now()")} ${prismaRow("1_init")} ${prismaRow("2_posts")}`,
    expected: { state: "current" },
  },
  // It counts as not applied, and is run again.
  {
    ...prisma,
    name: "Prisma: rolled back",
    table: `${prismaTable} ${prismaRow("1_init")} ${prismaRow("2_posts", "null", "now()")}`,
    expected: { state: "behind", pending: ["2_posts"] },
  },
  // P3009.
  {
    ...prisma,
    name: "Prisma: a failed one",
    table: `${prismaTable} ${prismaRow("1_init")} ${prismaRow("2_posts", "null")}`,
    expected: { state: "broken" },
  },
  {
    ...prisma,
    name: "Prisma: a failed one that no folder has",
    table: `${prismaTable} ${prismaRow("1_init")} ${prismaRow("2_posts")} ${prismaRow("3_gone", "null")}`,
    expected: { state: "broken" },
  },
  // It runs what is older.
  {
    ...prisma,
    name: "Prisma: an older one pending",
    table: `${prismaTable} ${prismaRow("2_posts")}`,
    expected: { state: "behind", pending: ["1_init"] },
  },
  {
    ...prisma,
    name: "Prisma: a row without a folder",
    table: `${prismaTable} ${prismaRow("0_old")} ${prismaRow("1_init")} ${prismaRow("2_posts")}`,
    expected: { state: "current" },
  },
  {
    ...prisma,
    name: "Prisma: the schema of the URL",
    table: `create schema app; set search_path = app; ${prismaTable} ${prismaRow("1_init")} ${prismaRow("2_posts")}`,
    env: { QUERY: "?schema=app" },
    expected: { state: "current" },
  },
  {
    name: "Prisma: a config in TypeScript",
    command: "prisma migrate deploy",
    files: {
      ...prismaFiles,
      "prisma.config.ts": `import "dotenv/config";\nimport { defineConfig, env } from "prisma/config";\nexport default defineConfig({ schema: "prisma/schema.prisma", migrations: { path: "prisma/migrations" }, datasource: { url: env("DATABASE_URL") } });`,
    },
    table: `${prismaTable} ${prismaRow("1_init")} ${prismaRow("2_posts")}`,
    expected: { state: "current" },
  },
  {
    name: "Prisma 8 is another tool",
    command: "prisma migrate deploy",
    files: { ...prismaFiles, "node_modules/prisma/package.json": `{"version": "8.0.0"}` },
    table: `${prismaTable} ${prismaRow("1_init")} ${prismaRow("2_posts")}`,
    expected: { state: "cannot-tell" },
  },
  {
    ...sqlx,
    name: "sqlx: all applied",
    table: `${sqlxTable} ${sqlxRow(1, "select 1;")} ${sqlxRow(2, "select 2;")}`,
    expected: { state: "current", current: ["0002_posts"] },
  },
  {
    ...sqlx,
    name: "sqlx: one pending",
    table: `${sqlxTable} ${sqlxRow(1, "select 1;")}`,
    expected: { state: "behind", pending: ["0002_posts"] },
  },
  // VersionMismatch.
  {
    ...sqlx,
    name: "sqlx: an edited file",
    table: `${sqlxTable} ${sqlxRow(1, "select 0;")} ${sqlxRow(2, "select 2;")}`,
    expected: { state: "cannot-tell" },
  },
  // Dirty.
  {
    ...sqlx,
    name: "sqlx: a failed one",
    table: `${sqlxTable} ${sqlxRow(1, "select 1;")} ${sqlxRow(2, "select 2;", false)}`,
    expected: { state: "broken", pending: ["0002_posts"] },
  },
  // VersionMissing.
  {
    ...sqlx,
    name: "sqlx: a row without a file",
    table: `${sqlxTable} ${sqlxRow(1, "select 1;")} ${sqlxRow(2, "select 2;")} ${sqlxRow(3, "x")}`,
    expected: { state: "ahead" },
  },
  {
    ...diesel,
    name: "diesel: all applied",
    table: `${dieselTable} insert into __diesel_schema_migrations values ('00000000000000'), ('20260101000001')`,
    expected: { state: "current" },
  },
  {
    ...diesel,
    name: "diesel: one pending",
    table: `${dieselTable} insert into __diesel_schema_migrations values ('00000000000000')`,
    expected: { state: "behind", pending: ["2026-01-01-000001_posts"] },
  },
  {
    ...ecto,
    name: "Ecto: all applied",
    table: `${ectoTable} insert into schema_migrations values (20260101000001), (20260101000002)`,
    expected: { state: "current" },
  },
  {
    ...ecto,
    name: "Ecto: one pending",
    table: `${ectoTable} insert into schema_migrations values (20260101000001)`,
    expected: { state: "behind", pending: ["20260101000002_posts"] },
  },
  {
    ...ecto,
    name: "Ecto: a table that the configuration names",
    files: {
      ...ecto.files,
      "config/config.exs": `config :blog, Blog.Repo, migration_source: "versions"`,
    },
    table: ectoTable,
    expected: { state: "cannot-tell" },
  },
  {
    ...rails,
    name: "Rails: all applied",
    table: `${railsTable} insert into schema_migrations values ('20260101000001'), ('20260101000002')`,
    expected: { state: "current" },
  },
  {
    ...rails,
    name: "Rails: one pending",
    table: `${railsTable} insert into schema_migrations values ('20260101000001')`,
    expected: { state: "behind", pending: ["20260101000002_create_posts.blog"] },
  },
  {
    ...rails,
    name: "Rails: several databases",
    files: { ...rails.files, "db/cache_migrate/20260101000001_x.rb": "" },
    table: railsTable,
    expected: { state: "cannot-tell" },
  },
  {
    ...flyway,
    name: "Flyway: an empty database",
    table: "",
    expected: { state: "behind", pending: ["V1.0__init", "V01_2__posts", "R__some_view"] },
  },
  {
    ...flyway,
    name: "Flyway: all applied",
    table: `${flywayTable} ${flywayInit} ${flywayPosts} ${flywayView}`,
    expected: { state: "current", current: ["R__some_view"] },
  },
  {
    ...flyway,
    name: "Flyway: a repeatable migration whose text is another one",
    table: `${flywayTable} ${flywayInit} ${flywayPosts} ${flywayView} ${flywayRow(4, null, "some view", 7)}`,
    expected: { state: "behind", pending: ["R__some_view"] },
  },
  {
    ...flyway,
    name: "Flyway: a repeatable migration that has run again",
    table: `${flywayTable} ${flywayInit} ${flywayPosts} ${flywayRow(3, null, "some view", 7)} ${flywayView.replace("(3", "(4")}`,
    expected: { state: "current" },
  },
  // It refuses the checksum.
  {
    ...flyway,
    name: "Flyway: an edited file",
    table: `${flywayTable} ${flywayRow(1, "1", "init", 7)} ${flywayPosts} ${flywayView}`,
    expected: { state: "cannot-tell" },
  },
  // It refuses one below the newest file, and ignores one above.
  {
    ...flyway,
    name: "Flyway: an older row without a file",
    table: `${flywayTable} ${flywayInit} ${flywayRow(7, "1.1", "gone", 7)} ${flywayPosts} ${flywayView}`,
    expected: { state: "cannot-tell" },
  },
  {
    ...flyway,
    name: "Flyway: a newer row without a file",
    files: { ...flyway.files, "sql/R__some_view.sql": null },
    table: `${flywayTable} ${flywayInit} ${flywayPosts} ${flywayRow(7, "1.10", "gone", 7)}`,
    expected: { state: "current" },
  },
  {
    ...flyway,
    name: "Flyway: a failed one",
    table: `${flywayTable} ${flywayInit} ${flywayRow(2, "1.2", "posts", 7, { success: false })}`,
    expected: { state: "broken" },
  },
  {
    ...flyway,
    name: "Flyway: a baseline",
    table: `${flywayTable} ${flywayRow(1, "1.0", "base", 7, { type: "BASELINE" })} ${flywayPosts} ${flywayView}`,
    expected: { state: "cannot-tell" },
  },
  {
    ...flyway,
    name: "Flyway: a callback runs every time",
    files: { ...flyway.files, "sql/afterMigrate__grants.sql": "" },
    table: `${flywayTable} ${flywayInit} ${flywayPosts} ${flywayView}`,
    expected: { state: "cannot-tell" },
  },
  {
    ...flyway,
    name: "Flyway: its configuration, and its variables",
    command: "flyway migrate",
    files: {
      ...flyway.files,
      "flyway.conf": "# said elsewhere\nflyway.table = history\n",
    },
    table: `${flywayTable} ${flywayInit} ${flywayPosts} ${flywayView} alter table flyway_schema_history rename to history`,
    env: { FLYWAY_LOCATIONS: "filesystem:sql" },
    expected: { state: "current" },
  },
  {
    ...postgresMigrations,
    name: "postgres-migrations: all applied",
    table: postgresMigrationsTable,
    expected: { state: "current", current: ["2_posts"] },
  },
  {
    ...postgresMigrations,
    name: "postgres-migrations: one pending",
    files: { ...postgresMigrations.files, "sql/3_more.sql": "" },
    table: postgresMigrationsTable,
    expected: { state: "behind", pending: ["3_more"] },
  },
  // "Hashes don't match", and "non-consecutive".
  {
    ...postgresMigrations,
    name: "postgres-migrations: an edited file",
    files: { ...postgresMigrations.files, "sql/1_init.sql": "create table other (id int);" },
    table: postgresMigrationsTable,
    expected: { state: "cannot-tell" },
  },
  {
    ...postgresMigrations,
    name: "postgres-migrations: a number is missing",
    files: { ...postgresMigrations.files, "sql/4_more.sql": "" },
    table: postgresMigrationsTable,
    expected: { state: "cannot-tell" },
  },
  {
    name: "two files of one version",
    command: "dbmate up",
    files: { "db/migrations/1_a.sql": "", "db/migrations/1_b.sql": "" },
    table: "",
    expected: { state: "cannot-tell" },
  },
  {
    name: "a journal whose file is not in the image",
    command: "drizzle-kit migrate",
    files: { "drizzle/meta/_journal.json": `{"entries":[{"when":1,"tag":"0000_a"}]}` },
    table: "",
    expected: { state: "cannot-tell" },
  },
  {
    name: "Drizzle 1.0: folders, and names in the table",
    command: "drizzle-kit migrate",
    files: {
      "drizzle/20260101000001_a/migration.sql": "",
      "drizzle/20260101000002_b/migration.sql": "",
    },
    table: `create schema drizzle; create table drizzle.__drizzle_migrations (id serial, hash text, created_at bigint, name text, applied_at timestamptz); insert into drizzle.__drizzle_migrations (hash, created_at, name) values ('x', 1, '20260101000001_a')`,
    expected: { state: "behind", pending: ["20260101000002_b"] },
  },
  {
    // The tool upgrades the table first.
    name: "Drizzle 1.0: a table of an older version",
    command: "drizzle-kit migrate",
    files: { "drizzle/20260101000001_a/migration.sql": "" },
    table: `create schema drizzle; create table drizzle.__drizzle_migrations (id serial, hash text, created_at bigint); insert into drizzle.__drizzle_migrations (hash, created_at) values ('x', 1)`,
    expected: { state: "cannot-tell" },
  },
  {
    name: "a config that names another database",
    command: "drizzle-kit migrate",
    files: {
      "drizzle.config.ts": `export default { dialect: "postgresql", dbCredentials: { url: makeUrl() } };`,
      "drizzle/meta/_journal.json": `{"entries":[{"when":1,"tag":"0000_a"}]}`,
      "drizzle/0000_a.sql": "",
    },
    table: "",
    expected: { state: "cannot-tell" },
  },
  {
    name: "a home-made runner, by the user's word",
    command: "sh migrate.sh",
    files: { "sql/a.sql": "", "sql/b.sql": "", "sql/README.md": "" },
    table: "create table history (file text); insert into history values ('a')",
    env: {
      ENTRYPOINT_TOOL: String.raw`folder:file:^(.*)\.sql$`,
      ENTRYPOINT_VERSIONS: "sql",
      ENTRYPOINT_VERSION_TABLE: "history",
    },
    expected: { state: "behind", pending: ["b.sql"] },
  },
  {
    name: "a script that runs a tool, by the user's word",
    command: "node dist/migrate.js",
    files: {
      "dist/drizzle/meta/_journal.json": `{"entries":[{"when":1,"tag":"0000_a"}]}`,
      "dist/drizzle/0000_a.sql": "",
    },
    table: `create schema drizzle; create table drizzle.__drizzle_migrations (id serial, hash text, created_at bigint); insert into drizzle.__drizzle_migrations (hash, created_at) values ('x', 1)`,
    env: { ENTRYPOINT_TOOL: "drizzle", ENTRYPOINT_VERSIONS: "dist/drizzle" },
    expected: { state: "current", current: ["0000_a"] },
  },
];

test.for(cases)("$name", async ({ command, files, table, env = {}, expected }) => {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-by-hand-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    if (text === null) continue;
    mkdirSync(dirname(join(cwd, path)), { recursive: true });
    writeFileSync(join(cwd, path), text);
  }
  const url = await createTestDatabase();
  if (table !== "") await (await connectClient(url)).query(table);
  const { QUERY = "", ...variables } = env;
  const { stdout, stderr } = await runEntrypoint(["status", "--json"], {
    cwd,
    env: { DATABASE_URL: `${url}${QUERY}`, ENTRYPOINT_MIGRATE: command, ...variables },
  });
  expect(stdout, stderr).not.toBe("");
  const status: unknown = JSON.parse(stdout);
  expect(status).toMatchObject(expected);
});

// The keys are those that Flyway 11.8 took for these tables. It polls for its lock, so that no session is seen to wait.
test.for([
  ["", "77433833903597"],
  [" -schemas=app -table=history", "77432926606014"],
] as const)("Flyway's own lock is named: migrate%s", async ([options, key]) => {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-by-hand-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  mkdirSync(join(cwd, "sql"));
  writeFileSync(join(cwd, "sql/V1__init.sql"), "select 1;");
  writeFileSync(
    join(cwd, "flyway"),
    "#!/bin/sh\nwhile [ ! -e give-up ]; do sleep 0.1; done\nexit 1\n",
    { mode: 0o755 },
  );
  const url = await createTestDatabase();
  const holder = await connectClient(url);
  const { rows } = await holder.query<{ pid: number }>(
    `select pg_advisory_lock(${key}), pg_backend_pid() as pid`,
  );
  const pid = rows[0]?.pid ?? 0;
  const run = startEntrypoint(["migrate"], {
    cwd,
    env: {
      DATABASE_URL: url,
      ENTRYPOINT_MIGRATE: `./flyway -locations=filesystem:sql${options} migrate`,
    },
  });
  const { msg } = await run.event("blocked");
  expect(msg).toMatch(new RegExp(`; pid ${pid} holds Flyway's own advisory lock$`));
  writeFileSync(join(cwd, "give-up"), "");
  expect((await run.ended).code, run.stderr()).toBe(1);
  expect(run.lines().at(-1)).toMatchObject({
    msg: expect.stringContaining(`own advisory lock is held by pid ${pid} `) as string,
    hint: expect.stringContaining(`pg_terminate_backend(${pid})`) as string,
  });
});

test.for([
  ["diesel migration run", false],
  ["node migrate.js", false],
  ["alembic upgrade head", true],
  ["python migrate.py", true],
] as const)("postgres:// is warned of where SQLAlchemy reads it: %s", async ([command, warned]) => {
  const DATABASE_URL = (await createTestDatabase()).replace("postgresql:", "postgres:");
  const { lines } = await runEntrypoint(["status"], {
    env: { DATABASE_URL, ENTRYPOINT_MIGRATE: command },
  });
  const warnings = lines.filter(({ event }) => event === "settings").map(({ msg }) => msg);
  expect(warnings).toHaveLength(warned ? 1 : 0);
});
