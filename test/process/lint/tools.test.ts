// The lint of migrations that are files of SQL: what of a file goes up, the transactions that the tool puts around it, and the
// line of each finding. Each row is run without a database, which no tool of these is needed for.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";

interface Case {
  readonly name: string;
  readonly command: string;
  readonly files: Readonly<Record<string, string>>;
  /** `FILE:LINE RULE` of each finding. */
  readonly expected: readonly string[];
}

const journal = (...tags: readonly string[]) =>
  JSON.stringify({ entries: tags.map((tag, when) => ({ tag, when: when + 1 })) });

const index = "create index concurrently i on posts (id);";
const check = "alter table posts add constraint c check (id > 0) not valid;";
const validate = "alter table posts validate constraint c;";

const cases: readonly Case[] = [
  {
    name: "Prisma: one statement is no transaction, several are one",
    command: "prisma migrate deploy",
    files: {
      "prisma/schema.prisma": `datasource db { provider = "postgresql" }`,
      "prisma/migrations/1_a/migration.sql": `-- alone\n${index}`,
      "prisma/migrations/2_b/migration.sql": `select 1;\n${index}\n`,
    },
    expected: ["prisma/migrations/2_b/migration.sql:2 concurrently-in-transaction"],
  },
  {
    name: "Drizzle: all in one transaction, and its breakpoints",
    command: "drizzle-kit migrate",
    files: {
      "drizzle/meta/_journal.json": journal("0000_a", "0001_b"),
      "drizzle/0000_a.sql": `${check.slice(0, -1)}--> statement-breakpoint\ndrop table gone`,
      "drizzle/0001_b.sql": `-- a comment\n${validate}`,
    },
    expected: ["drizzle/0000_a.sql:2 drop-table", "drizzle/0001_b.sql:2 lock-held"],
  },
  {
    name: "dbmate: what goes up alone, in a transaction or without",
    command: "dbmate up",
    files: {
      "db/migrations/1_a.sql": `-- migrate:up\n${index}\n\n-- migrate:down\ndrop table posts;\n`,
      "db/migrations/2_b.sql": `-- migrate:up transaction:false\n${index}\n-- migrate:down\ndrop table posts;`,
      "db/migrations/3_c.sql": `-- migrate:up transaction:false\n${index}\nselect 1;\n`,
    },
    expected: [
      "db/migrations/1_a.sql:2 concurrently-in-transaction",
      "db/migrations/3_c.sql:2 concurrently-in-transaction",
    ],
  },
  {
    name: "goose: each statement by itself, without a transaction",
    command: "goose -dir db up",
    files: {
      "db/1_a.sql": `-- +goose Up\n${check}\n${validate}\n-- +goose Down\ndrop table posts;\n`,
      "db/2_b.sql": `-- +goose NO TRANSACTION\n-- +goose Up\n${index}\n${check}\n${validate}\n-- +goose Down\ndrop table posts;\n`,
      "db/3_c.sql": `-- +goose Up\n-- +goose StatementBegin\ncreate function f() returns int language plpgsql as $$ begin return 1; end $$;\n-- +goose StatementEnd\n`,
    },
    expected: ["db/1_a.sql:3 lock-held"],
  },
  {
    name: "golang-migrate: a file in one piece, and only those that go up",
    command: "migrate -path db -database $DATABASE_URL up",
    files: {
      "db/1_a.up.sql": index,
      "db/1_a.down.sql": "drop table posts;",
      "db/2_b.up.sql": `${check}\n\n  ${validate}\n`,
      "db/2_b.down.sql": "drop table posts;",
      "db/3_c.up.sql": `begin;\n${check}\ncommit;\n${validate}\n`,
    },
    expected: ["db/2_b.up.sql:3 lock-held"],
  },
  {
    name: "sqlx: -- no-transaction",
    command: "sqlx migrate run",
    files: {
      "migrations/1_a.up.sql": `-- no-transaction\n${index}`,
      "migrations/1_a.down.sql": "drop table posts;",
      "migrations/2_b.sql": index,
    },
    expected: ["migrations/2_b.sql:1 concurrently-in-transaction"],
  },
  {
    name: "diesel: metadata.toml",
    command: "diesel migration run",
    files: {
      "migrations/2026-01-01-000001_a/up.sql": index,
      "migrations/2026-01-01-000001_a/down.sql": "drop table posts;",
      "migrations/2026-01-01-000001_a/metadata.toml": "run_in_transaction = false\n",
      "migrations/2026-01-01-000002_b/up.sql": index,
    },
    expected: ["migrations/2026-01-01-000002_b/up.sql:1 concurrently-in-transaction"],
  },
  {
    name: "Flyway: it finds by itself what refuses a transaction, and placeholders are not known",
    command: "flyway -locations=filesystem:sql migrate",
    files: {
      "sql/V1__a.sql": index,
      "sql/V2__b.sql": `-- not concurrently\n${check}\n${validate}\n`,
      "sql/V3__c.sql": "select '${name}';\n",
    },
    expected: ["sql/V2__b.sql:3 lock-held", "sql/V3__c.sql:1 incomplete"],
  },
  {
    name: "node-pg-migrate: all in one transaction, and JavaScript is not known",
    command: "node-pg-migrate up",
    files: {
      "migrations/1_a.sql": `-- Up Migration\n${check}\n-- Down Migration\ndrop table posts;\n`,
      "migrations/2_b.sql": validate,
      "migrations/3_c.js": "exports.up = () => {};",
    },
    expected: ["migrations/2_b.sql:1 lock-held", "migrations/3_c.js:1 incomplete"],
  },
  {
    name: "node-pg-migrate: a transaction for each",
    command: "node-pg-migrate up --no-single-transaction",
    files: { "migrations/1_a.sql": check, "migrations/2_b.sql": validate },
    expected: [],
  },
  {
    name: "graphile-migrate: --! no-transaction",
    command: "graphile-migrate migrate",
    files: {
      ".gmrc": "{}",
      "migrations/committed/000001.sql": `--! Previous: -\n--! Hash: sha1:1\n\n--! no-transaction\n${index}\n`,
      "migrations/committed/000002.sql": `--! Previous: sha1:1\n--! Hash: sha1:2\n\n${index}\n`,
    },
    expected: ["migrations/committed/000002.sql:4 concurrently-in-transaction"],
  },
  {
    name: "a comment allows an operation of its own statement, once",
    command: "dbmate up",
    files: {
      "db/migrations/1_a.sql": `-- migrate:up\n-- entrypoint: allow drop-table because nothing reads it\ndrop table one;\ndrop table two;\n-- entrypoint: allow drop-table\ndrop table three;\n-- migrate:down\n`,
    },
    expected: [
      "db/migrations/1_a.sql:3 drop-table, allowed",
      "db/migrations/1_a.sql:4 drop-table",
      "db/migrations/1_a.sql:6 bad-suppression",
      "db/migrations/1_a.sql:6 drop-table",
    ],
  },
];

interface Printed {
  readonly findings: readonly {
    readonly rule: string;
    readonly file: string | null;
    readonly line: number | null;
    readonly allowed: string | null;
  }[];
}

function write(files: Case["files"]): string {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-lint-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(cwd, path)), { recursive: true });
    writeFileSync(join(cwd, path), text);
  }
  return cwd;
}

async function lint(cwd: string, command: string, env: NodeJS.ProcessEnv, ...args: string[]) {
  const { stdout, stderr } = await runEntrypoint(["lint", "--json", ...args], {
    cwd,
    env: { ENTRYPOINT_MIGRATE: command, ...env },
  });
  expect(stdout, stderr).not.toBe("");
  return (JSON.parse(stdout) as Printed).findings
    .map(({ rule, file, line, allowed }) => {
      const place = line === null ? "?" : `${file}:${line}`;
      return `${place} ${rule}${allowed === null ? "" : ", allowed"}`;
    })
    .toSorted();
}

test.for(cases)("$name", async ({ command, files, expected }) => {
  const cwd = write(files);
  const words = command.replace("$DATABASE_URL", "postgresql://none/none");
  expect(await lint(cwd, words, {}, "--range", "base:head")).toEqual(expected.toSorted());
});

test("only what is pending, by the database, and a boot with --lint error refuses it", async () => {
  const cwd = write({
    "db/migrations/1_a.sql": "-- migrate:up\ndrop table one;\n",
    "db/migrations/2_b.sql": `-- migrate:up\n${index}\n`,
  });
  const url = await createTestDatabase();
  await (
    await connectClient(url)
  ).query(
    "create table schema_migrations (version varchar primary key); insert into schema_migrations values ('1'); create table posts (id int)",
  );
  const env = { DATABASE_URL: url };
  expect(await lint(cwd, "dbmate up", env)).toEqual([
    "db/migrations/2_b.sql:2 concurrently-in-transaction",
  ]);
  // A range that begins where the database is uses its tables; any other one is read from its files.
  expect(await lint(cwd, "dbmate up", env, "--range", "1_a.sql:head")).toEqual([
    "db/migrations/2_b.sql:2 concurrently-in-transaction",
  ]);
  expect(await lint(cwd, "dbmate up", env, "--range", "2_b.sql:head")).toEqual([]);
  const boot = await runEntrypoint(["--lint", "error", "migrate"], {
    cwd,
    env: { ...env, ENTRYPOINT_MIGRATE: "dbmate up" },
  });
  expect(boot.code, boot.stderr).toBe(65);
  expect(boot.lines.at(-1)).toMatchObject({
    msg: expect.stringContaining("db/migrations/2_b.sql:2") as string,
  });
});
