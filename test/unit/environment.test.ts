// env.py decides what the files alone cannot tell. What is harmless must not stop the reading, and no hazard may
// be hidden by a comment, a string or a second name.

import { expect, test } from "vitest";
import { readEnvironment, type Environment } from "../../src/migrations/alembic/environment.ts";

function read(source: string): Environment {
  const answer = readEnvironment(Buffer.from(source), { flask: false });
  if (answer.kind === "cannot-tell") throw new Error(answer.reason);
  return answer.environment;
}

/** An env.py of the usual shape, with more arguments for configure() and more lines before the end. */
function usual(options: { configure?: string; lines?: string; url?: string } = {}): string {
  return `from logging.config import fileConfig
from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name)
${options.lines ?? ""}

def run_migrations_offline():
    context.configure(url=config.get_main_option("sqlalchemy.url"), literal_binds=True${options.configure ?? ""})
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    connectable = ${options.url ?? 'engine_from_config(config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool)'}
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=None${options.configure ?? ""})
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
`;
}

const harmless = { tableHazard: null, folderHazard: null, flowHazard: null };

test("the usual env.py is no hazard, and connects to the ini's URL", () => {
  expect(read(usual())).toMatchObject({ ...harmless, versionTable: null, usesIniUrl: true });
});

test("an asynchronous env.py is no hazard", () => {
  const source = `import asyncio
from alembic import context
from sqlalchemy.ext.asyncio import async_engine_from_config

config = context.config

def do_run_migrations(connection):
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()

async def run_async_migrations():
    connectable = async_engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
    async with connectable.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await connectable.dispose()

asyncio.run(run_async_migrations())
`;
  expect(read(source)).toMatchObject(harmless);
});

test("a literal version table is taken", () => {
  const environment = read(usual({ configure: ', version_table="blog_version"' }));
  expect(environment).toMatchObject({ ...harmless, versionTable: "blog_version" });
});

test("a version table that a constant names is taken", () => {
  const environment = read(
    usual({
      lines: 'VERSION_TABLE = "version_table_of_blog"',
      configure: ", version_table=VERSION_TABLE",
    }),
  );
  expect(environment).toMatchObject({ ...harmless, versionTable: "version_table_of_blog" });
});

test("hazards in comments and docstrings are none", () => {
  const lines = '# version_table=x, search_path\n"""version_locations, for tenant in tenants"""';
  expect(read(usual({ lines }))).toMatchObject(harmless);
});

test.each([
  ["a version table that is computed", { configure: ", version_table=NAME" }],
  ["a schema that is computed", { configure: ", version_table_schema=SCHEMA" }],
  ["a search path that is set", { lines: 'event = "set search_path to tenant"' }],
  [
    "a schema that is translated",
    { lines: "engine = engine.execution_options(schema_translate_map={})" },
  ],
])("%s makes the version table uncertain", (_name, options) => {
  expect(read(usual(options)).tableHazard).toEqual(expect.any(String));
});

test("folders that are set in code are uncertain", () => {
  const lines = 'config.set_main_option("version_locations", "a b")';
  expect(read(usual({ lines })).folderHazard).toEqual(expect.any(String));
});

test("a loop over tenants is not read as one migration", () => {
  const source = usual().replace(
    "    run_migrations_online()",
    "    for tenant in tenants:\n        run_migrations_online()",
  );
  expect(read(source).flowHazard).toContain("more than once");
});

test("what cannot be seen to migrate is uncertain", () => {
  expect(read("from app.migrations import run\nrun()\n").flowHazard).toEqual(expect.any(String));
});

test.each([
  ["set in code", { lines: 'config.set_main_option("sqlalchemy.url", settings.url)' }],
  ["bypassed by an engine", { url: "create_engine(settings.url)" }],
])("the ini's URL does not count when it is %s", (_name, options) => {
  expect(read(usual(options)).usesIniUrl).toBe(false);
});

test("arguments of -x that are read are reported", () => {
  const lines = "tenant = context.get_x_argument(as_dictionary=True).get('tenant')";
  expect(read(usual({ lines })).readsXArguments).toBe(true);
});
