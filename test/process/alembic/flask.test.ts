// Flask-Migrate hands the application's version table to env.py. An application outside of the working directory may name one
// that no file of the project shows, and only the database has.

import { renameSync } from "node:fs";
import { expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const env = `from alembic import context
from flask import current_app

def run_migrations_online():
    conf_args = current_app.extensions["migrate"].configure_args
    with current_app.extensions["migrate"].db.engine.connect() as connection:
        context.configure(connection=connection, **conf_args)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;

test("another table that looks like a version table leaves it to the command, until one is named", async () => {
  const DATABASE_URL = await createTestDatabase();
  const cwd = createProject([{ id: "a1" }], { env, ini: "[alembic]\n" });
  renameSync(`${cwd}/alembic.ini`, `${cwd}/migrations/alembic.ini`);
  await stampRows(DATABASE_URL, "a1");
  const foresee = async (...more: string[]) => {
    const options = ["--dry-run", "--migrate", "flask db upgrade", ...more, "true"];
    const run = await runEntrypoint(options, { cwd, env: { DATABASE_URL } });
    expect(run.code, run.stderr).toBe(0);
    return run.stdout;
  };
  expect(await foresee()).toContain("current: at a1");
  const client = await connectClient(DATABASE_URL);
  await client.query(`create table unrelated (version_num text, name text)`);
  expect(await foresee()).toContain("current: at a1");
  await client.query(`create table blog_versions (version_num varchar(32) primary key)`);
  expect(await foresee()).toContain(
    "cannot tell: public.blog_versions looks like a version table too",
  );
  expect(await foresee("--version-table", "alembic_version")).toContain("current: at a1");
});
