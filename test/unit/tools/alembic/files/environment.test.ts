// env.py decides what the files alone cannot tell. What is harmless must not stop the reading, and no hazard may
// be hidden by a comment, a string or a second name.

import { expect, test } from "vitest";
import {
  readEnvironment,
  type Environment,
} from "../../../../../src/tools/alembic/files/environment.ts";

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

const harmless = { tableHazard: null, folderHazard: null, flowHazard: null, repetition: null };

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
  expect(read(source).repetition).toContain("more than once");
});

test("a function of the name run_migrations that calls context.run_migrations() runs once", () => {
  const source = `from alembic import context

def run_migrations(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    async with engine.connect() as connection:
        await connection.run_sync(run_migrations)

asyncio.run(main())
`;
  expect(read(source)).toMatchObject(harmless);
  const twice = source.replace(
    "(run_migrations)\n",
    "(run_migrations)\n        run_migrations(c)\n",
  );
  expect(read(twice).repetition).toContain("more than once");
});

const failing = "except OperationalError:\n            time.sleep(1)";

test.each([
  [
    "break in the try",
    `try:\n            run_migrations_online()\n            break\n        ${failing}`,
  ],
  [
    "break in its else",
    `try:\n            run_migrations_online()\n        ${failing}\n        else:\n            break`,
  ],
  ["break behind a with", "with retry():\n            run_migrations_online()\n        break"],
])("a loop that tries again what has failed runs once: %s", (_name, body) => {
  const lines = `    for attempt in range(5):\n        ${body}\n`;
  const source = usual().replace(/ {4}run_migrations_online\(\)\n$/, lines);
  expect(read(source)).toMatchObject({ flowHazard: null, repetition: null });
});

test.each([
  ["no break", `try:\n            run_migrations_online()\n        ${failing}`],
  ["a break under a condition", `run_migrations_online()\n        if done:\n            break`],
  [
    "a break when it fails",
    `try:\n            run_migrations_online()\n        except E:\n            break`,
  ],
  [
    "two runs and a break",
    "run_migrations_online()\n        run_migrations_online()\n        break",
  ],
  ["a loop in the loop", "for x in y:\n            run_migrations_online()\n        break"],
])("a loop may run more than once: %s", (_name, body) => {
  const lines = `    for tenant in tenants:\n        ${body}\n`;
  const source = usual().replace(/ {4}run_migrations_online\(\)\n$/, lines);
  expect(read(source).repetition).toContain("more than once");
});

test.each([
  [`connection=connection, target_metadata=None`, "v"],
  [`url=config.get_main_option("sqlalchemy.url"), literal_binds=True`, null],
])("the version table of the call with a connection counts: %s", (argument, versionTable) => {
  const source = usual().replace(argument, `${argument}, version_table="v"`);
  expect(read(source)).toMatchObject({ ...harmless, versionTable });
});

test("Flask-Migrate's arguments under a name of their own", () => {
  const lines = `kwargs = {}
configure_args = current_app.extensions["migrate"].configure_args
if configure_args:
    kwargs.update(configure_args)`;
  const source = usual({ lines, configure: ", **kwargs" });
  const hazardOf = (text: string, flask: boolean) =>
    readEnvironment(Buffer.from(text), { flask }) as { environment: Environment };
  expect(hazardOf(source, true).environment).toMatchObject(harmless);
  expect(hazardOf(source, false).environment.tableHazard).toContain("**kwargs");
  const other = source.replace('current_app.extensions["migrate"].configure_args', "load()");
  expect(hazardOf(other, true).environment.tableHazard).toContain("**kwargs");
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

test("a connection that the caller may hand over is an alternative, not a second migration", () => {
  const source = `from alembic import context as c
from sqlalchemy import engine_from_config
def run():
    given = c.config.attributes.get("connection", None)
    if given is None:
        engine = engine_from_config(c.config.get_section(c.config.config_ini_section))
        with engine.connect() as connection:
            c.configure(connection=connection)
            with c.begin_transaction():
                c.run_migrations()
        return
    c.configure(connection=given)
    with c.begin_transaction():
        c.run_migrations()
run()
`;
  expect(read(source)).toMatchObject(harmless);
});

test("a running event loop is an alternative as well", () => {
  const source = usual().replace(
    "else:\n    run_migrations_online()",
    `else:
    async def main():
        run_migrations_online()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main())
    else:
        with ThreadPoolExecutor() as executor:
            executor.submit(asyncio.run, main()).result()`,
  );
  expect(read(source)).toMatchObject(harmless);
});

test("many databases in one env.py are several migrations", () => {
  const source = `import re
from alembic import context
from sqlalchemy import engine_from_config
config = context.config
def run_migrations_online():
    engines = {}
    for name in re.split(r",\\s*", config.get_main_option("databases")):
        engines[name] = {"engine": engine_from_config(config.get_section(name), prefix="sqlalchemy.")}
    for name, rec in engines.items():
        context.configure(connection=rec["engine"].connect(), upgrade_token="%s_upgrades" % name)
        context.run_migrations(engine_name=name)
run_migrations_online()
`;
  expect(read(source).repetition).toContain("more than once");
});

const online = "    run_migrations_online()\n";

test.each([
  ["twice in a row", `${online}${online}`],
  ["in a comprehension", "    [run_migrations_online() for tenant in tenants]\n"],
  ["by map", "    list(map(run_migrations_online, tenants))\n"],
  ["while something holds", "    while True:\n        run_migrations_online()\n"],
  [
    "again when it fails",
    "    try:\n        run_migrations_online()\n    except E:\n        run_migrations_online()\n",
  ],
])("migrating %s is more than once", (_name, lines) => {
  expect(read(usual().replace(/ {4}run_migrations_online\(\)\n$/, lines)).repetition).toContain(
    "more than once",
  );
});

test.each([
  ["MigrationContext.configure(connection)", "what is configured"],
  ["ctx.configure(connection)", "what is configured"],
  ["ctx.run_migrations()", "what is migrated"],
  ["from alembic import command", "commands of Alembic"],
  ["alembic.command.stamp(config, 'head')", "commands of Alembic"],
  ["exec(open('other.py').read())", "exec()"],
])("%s makes the flow uncertain", (lines, reason) => {
  expect(read(usual({ lines })).flowHazard).toContain(reason);
});

test.each([
  ["structlog.configure()", "import structlog\nstructlog.configure()"],
  ["another module's names", "from app.models import *"],
  ["a type's name", "def f(context: MigrationContext): pass"],
  ["a script's head", "head = ScriptDirectory.from_config(config).get_current_head()"],
  ["the script location", 'config.set_main_option("script_location", here)'],
  ["a lock", 'LOCK = "select pg_advisory_lock(1)"'],
])("%s is harmless", (_name, lines) => {
  expect(read(usual({ lines }))).toMatchObject(harmless);
});

test.each([
  ["a dictionary that is written out", 'OPTIONS = {"compare_type": True}', ", **OPTIONS", null],
  [
    "a dictionary that holds a table",
    'OPTIONS = {"version_table": "x"}',
    ", **OPTIONS",
    "version_table",
  ],
  ["a dictionary from elsewhere", "from settings import OPTIONS", ", **OPTIONS", "**OPTIONS"],
  [
    "a dictionary that is changed",
    "OPTIONS = {}\nOPTIONS.update(more)",
    ", **OPTIONS",
    "**OPTIONS",
  ],
  ["a call", "", ", **options()", "**options()"],
])("%s is unpacked: %s", (_name, lines, configure, reason) => {
  const { tableHazard } = read(usual({ lines, configure }));
  if (reason === null) expect(tableHazard).toBeNull();
  else expect(tableHazard).toContain(reason);
});

test("Flask-Migrate's arguments are Flask-Migrate's only", () => {
  const lines = "conf_args = current_app.extensions['migrate'].configure_args";
  const source = Buffer.from(usual({ lines, configure: ", **conf_args" }));
  expect(readEnvironment(source, { flask: true })).toMatchObject({ environment: harmless });
  expect(readEnvironment(source, { flask: false })).toMatchObject({
    environment: { tableHazard: expect.stringContaining("**conf_args") as string },
  });
});

test("an engine that is asked of Flask-SQLAlchemy by a function of the same name is no recursion", () => {
  const lines = "def get_engine():\n    return current_app.extensions['migrate'].db.get_engine()\n";
  expect(read(usual({ lines, url: "get_engine()" }))).toMatchObject({ flowHazard: null });
});

test("a function that migrates, and another one that leads back to it, may do so more than once", () => {
  const lines = `def again():
    first()

def first():
    context.configure(url="")
    context.run_migrations()
    again()

again()
`;
  expect(read(usual({ lines })).repetition).toContain("more than once");
});

test.each([
  ["in the role", "connection.execute(text('SET ROLE app'))"],
  ["in the session's user", 'connection.execute(text(f"set session authorization {user}"))'],
  ["in the dialect", "connection.dialect.default_schema_name = schema"],
  ["in the connection's options", 'args = {"options": f"-csearch_path={schema}"}'],
  [
    "in Alembic's own class",
    "class Impl(PostgresqlImpl):\n    def version_table_impl(self, **kw): pass",
  ],
  ["in the context", "context.get_context().version_table = name"],
])("a schema that is chosen %s is not certain", (_name, lines) => {
  expect(read(usual({ lines })).tableHazard).toEqual(expect.any(String));
});

test("tables that differ between calls are not certain", () => {
  const source = usual({ configure: ', version_table="a"' })
    .replace('version_table="a"', 'version_table="b"')
    .replace('url=config.get_main_option("sqlalchemy.url")', "connection=given");
  expect(read(source).tableHazard).toContain("different version tables");
});

test("a schema is taken together with its table", () => {
  const environment = read(usual({ configure: ', version_table="v", version_table_schema="app"' }));
  expect(environment).toMatchObject({ ...harmless, versionTable: "v", versionTableSchema: "app" });
});

test("a constant that is bound twice is none", () => {
  const lines = 'TABLE = "a"\nif settings.TEST:\n    TABLE = "b"';
  expect(read(usual({ lines, configure: ", version_table=TABLE" })).tableHazard).toContain(
    "not a literal",
  );
});

test.each([
  ["the environment", "url = os.environ['X']"],
  ["a section that is changed", "config.get_section(x)['sqlalchemy.url'] = url"],
  ["a settings file", "load_dotenv()"],
])("the ini's URL does not count beside %s", (_name, lines) => {
  expect(read(usual({ lines })).usesIniUrl).toBe(false);
});

test("a section that is held in a name counts until it is touched", () => {
  const held = "engine_from_config(section, prefix='sqlalchemy.')";
  const lines = "section = config.get_section(config.config_ini_section)";
  expect(read(usual({ lines, url: held })).usesIniUrl).toBe(true);
  expect(
    read(usual({ lines: `${lines}\nsection["sqlalchemy.url"] = url`, url: held })).usesIniUrl,
  ).toBe(false);
  expect(read(usual({ lines: `${lines}\nsection.update(url)`, url: held })).usesIniUrl).toBe(false);
});

test("a file that Python cannot read is not read here either", () => {
  expect(readEnvironment(Buffer.from("x = '"), { flask: false })).toMatchObject({
    kind: "cannot-tell",
  });
});

test.each([
  ["choose_url(config)", false],
  ["choose_url(settings=context.config)", false],
  ["for each in (config,):\n    each.set(1)", false],
  ["if config.config_file_name is not None:\n    fileConfig(config.config_file_name)", true],
  ["cfg = context.config", true],
])("the configuration that %s has is the ini file's: %j", (lines, only) => {
  expect(read(usual({ lines })).usesIniUrl).toBe(only);
});
