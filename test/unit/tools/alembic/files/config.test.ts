// Where the revisions are, what the version table is called, which URL may be trusted: decided, settled by the
// user's word, or refused with the reason. What Alembic makes of the same files: test/process/alembic/oracle.test.ts.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { type ConfigOptions, readConfig } from "../../../../../src/tools/alembic/files/config.ts";
import { readAlembicCommand } from "../read-command.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "config-"));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

const usual = `from alembic import context
from sqlalchemy import engine_from_config, pool
config = context.config

def run_migrations_online():
    connectable = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
    with connectable.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;
const tenants = usual.replace(
  /^run_migrations_online/m,
  "for tenant in tenants: run_migrations_online",
);
const schema = usual.replace(
  "connection=connection",
  "connection=connection, version_table_schema=settings.SCHEMA",
);
const locations = `${usual}context.script.version_locations = ["a"]\n`;

function write(files: Readonly<Record<string, string>>): void {
  for (const [name, content] of Object.entries({ "migrations/env.py": usual, ...files })) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
}

async function read(
  line = "alembic upgrade head",
  options: Partial<ConfigOptions> = {},
): Promise<unknown> {
  const answer = await readConfig(readAlembicCommand(line), {
    cwd: root,
    env: {},
    versionTable: null,
    versions: [],
    tenant: null,
    ...options,
  });
  return answer.kind === "known" ? answer.config : answer;
}

function refusal(reason: string): object {
  return { kind: "cannot-tell", reason: expect.stringContaining(reason) as string };
}

const plain =
  "[alembic]\nscript_location = migrations\nsqlalchemy.url = postgresql://app:secret@db/app\n";

test("reads the template's configuration whole", async () => {
  write({ "alembic.ini": plain });
  expect(await read()).toEqual({
    scriptLocation: `${root}/migrations`,
    versionLocations: [`${root}/migrations/versions`],
    recursive: false,
    sourceless: false,
    versionTable: { schema: null, name: "alembic_version" },
    url: "postgresql://app:secret@db/app",
  });
});

test.for<[string, string, Record<string, string>, Record<string, string>]>([
  ["-c", "alembic -c conf/x.ini upgrade head", { "conf/x.ini": plain }, {}],
  [
    "ALEMBIC_CONFIG",
    "alembic upgrade head",
    { "conf/x.ini": plain },
    { ALEMBIC_CONFIG: "conf/x.ini" },
  ],
  [
    "-c before ALEMBIC_CONFIG",
    "alembic -c x.ini upgrade head",
    { "x.ini": plain },
    { ALEMBIC_CONFIG: "no.ini" },
  ],
  ["-n", "alembic -n app upgrade head", { "alembic.ini": plain.replace("alembic", "app") }, {}],
])("finds the configuration by %s", async ([, line, files, env]) => {
  write(files);
  expect(await read(line, { env })).toMatchObject({ scriptLocation: `${root}/migrations` });
});

test.for<[string, string, readonly string[]]>([
  ["the legacy separators", "one, two  three", ["one", "two", "three"]],
  ["os", "one:two\nversion_path_separator = os", ["one", "two"]],
  [
    "path_separator first",
    "one;two\nversion_path_separator = os\npath_separator = ;",
    ["one", "two"],
  ],
  ["spaces", "%(here)s/one two\npath_separator = space", ["one", "two"]],
  ["newlines", "\n  one\n  two\npath_separator = newline", ["one", "two"]],
])("splits version_locations by %s", async ([, value, expected]) => {
  write({ "alembic.ini": `${plain}version_locations = ${value}\n` });
  expect(await read()).toMatchObject({
    versionLocations: expected.map((each) => `${root}/${each}`),
  });
});

test("a boolean is true where it says so in just these letters", async () => {
  write({ "alembic.ini": `${plain}recursive_version_locations = true\nsourceless = True\n` });
  expect(await read()).toMatchObject({ recursive: true, sourceless: false });
});

const toml = (lines: string): string => `[project]\nname = "x"\n[tool.alembic]\n${lines}\n`;

test("pyproject.toml alone", async () => {
  write({
    "pyproject.toml": toml(
      'script_location = "%(here)s/migrations"\nversion_locations = ["a%%b"]\nrecursive_version_locations = true',
    ),
  });
  expect(await read()).toMatchObject({
    scriptLocation: `${root}/migrations`,
    versionLocations: [`${root}/a%b`],
    recursive: true,
    url: null,
  });
});

test("the ini file beats pyproject.toml, and where that is not the whole truth nothing is decided", async () => {
  write({ "alembic.ini": plain, "pyproject.toml": toml('script_location = "elsewhere"') });
  expect(await read()).toMatchObject({ scriptLocation: `${root}/migrations` });
  write({ "pyproject.toml": toml('version_locations = ["elsewhere"]') });
  expect(await read()).toMatchObject(refusal("differ"));
});

test("an installed package is found only where prepend_sys_path and its files leave no doubt", async () => {
  const ini = "[alembic]\nscript_location = app.db:migrations\n";
  const files = {
    "app/db/migrations/env.py": usual,
    "app/__init__.py": "",
    "app/db/__init__.py": "",
  };
  write({ ...files, "alembic.ini": ini });
  expect(await read()).toMatchObject(
    refusal("only Python can determine where app.db:migrations is"),
  );
  write({ "alembic.ini": `${ini}prepend_sys_path = .\n` });
  expect(await read()).toMatchObject({
    scriptLocation: expect.stringMatching(/app\/db\/migrations$/) as string,
  });
  rmSync(join(root, "app/db/__init__.py"));
  expect(await read()).toMatchObject(refusal("only Python can determine"));
});

test.for<[string, string | null, string]>([
  ["no file at all", null, "neither an alembic.ini nor"],
  ["no such section", "[x]\nscript_location = migrations\n", "no script_location"],
  ["a broken ini file", "[alembic]\nscript_location = a\nscript_location = b\n", "is there twice"],
  ["a script location that does not exist", "[alembic]\nscript_location = no\n", "does not exist"],
  ["an empty script location", "[alembic]\nscript_location =\n", "is empty"],
  [
    "a percent sign that is none",
    "[alembic]\nscript_location = %(no)s\n",
    "cannot be interpolated",
  ],
  ["a percent sign in another option", `${plain}file_template = %d\n`, "cannot be interpolated"],
  ["a length that is no number", `${plain}truncate_slug_length = ten\n`, "is not a number"],
  ["several databases", `${plain}databases = a, b\n`, "several databases"],
  [
    "an unknown separator",
    `${plain}version_locations = a\npath_separator = ,\n`,
    "is no path_separator",
  ],
  [
    "white space around a path",
    `${plain}version_locations = a : b\npath_separator = os\n`,
    "white space",
  ],
  ["an empty path", `${plain}version_locations = a , b\n`, "an empty entry"],
])("refuses %s", async ([, ini, reason]) => {
  write(ini === null ? {} : { "alembic.ini": ini });
  expect(await read()).toMatchObject(refusal(reason));
});

test.for<[string, string, string]>([
  ["that cannot be parsed", "[tool.alembic", "cannot be parsed"],
  ["with a location that is a number", toml("script_location = 1"), "is not a string"],
  [
    "with a boolean that is a string",
    toml('script_location = "migrations"\nsourceless = "true"'),
    "is not a boolean",
  ],
  [
    "with one location instead of a list",
    toml('script_location = "migrations"\nversion_locations = "a"'),
    "not a list",
  ],
  [
    "with a percent sign that is none",
    toml('script_location = "%(there)s"'),
    "cannot be interpolated",
  ],
])("refuses a pyproject.toml %s", async ([, text, reason]) => {
  write({ "pyproject.toml": text });
  expect(await read()).toMatchObject(refusal(reason));
});

test("refuses a way up that leads through a link", async () => {
  write({
    "deep/conf/x.ini": "[alembic]\nscript_location = %(here)s/../migrations\n",
    "deep/migrations/env.py": usual,
  });
  symlinkSync(join(root, "deep/conf"), join(root, "conf"));
  expect(await read("alembic -c conf/x.ini upgrade head")).toMatchObject(
    refusal("leads through a link"),
  );
});

test.for<[string, string]>([
  ["the placeholder", "driver://user:pass@localhost/dbname"],
  ["nothing", ""],
  ["what cannot be interpolated", "postgresql://a:b%40c@d/e"],
])("does not take %s for a URL", async ([, url]) => {
  write({ "alembic.ini": `[alembic]\nscript_location = migrations\nsqlalchemy.url = ${url}\n` });
  expect(await read()).toMatchObject({ url: null });
});

test("a URL that env.py overrides is not trusted, one that it uses is told even if the rest is not certain", async () => {
  write({
    "alembic.ini": plain,
    "migrations/env.py": `${usual}config.set_main_option("sqlalchemy.url", url)\n`,
  });
  expect(await read()).toMatchObject({ url: null });
  write({ "migrations/env.py": schema });
  expect(await read()).toMatchObject({
    kind: "cannot-tell",
    url: "postgresql://app:secret@db/app",
  });
});

test("the user's word on the version table settles what env.py computes, and beats what it says", async () => {
  const word = { schema: "app", name: "versions" };
  write({ "alembic.ini": plain, "migrations/env.py": schema });
  expect(await read()).toMatchObject(refusal("version_table_schema is not a literal"));
  expect(await read("alembic upgrade head", { versionTable: word })).toMatchObject({
    versionTable: word,
  });
});

test("the user's word on the folders settles what env.py sets", async () => {
  write({ "alembic.ini": plain, "migrations/env.py": locations });
  expect(await read()).toMatchObject(refusal("the folders may be set in code"));
  const told = await read("alembic upgrade head", { versions: ["one", `${root}/two`] });
  expect(told).toMatchObject({ versionLocations: [`${root}/one`, `${root}/two`] });
});

test("both words together settle what only Python can find", async () => {
  write({ "alembic.ini": "[alembic]\nscript_location = app:migrations\n" });
  const versions = ["migrations/versions"];
  expect(await read("alembic upgrade head", { versions })).toMatchObject(
    refusal("only Python can determine"),
  );
  const versionTable = { schema: null, name: "alembic_version" };
  const both = await read("alembic upgrade head", { versions, versionTable });
  expect(both).toMatchObject({
    versionLocations: [`${root}/migrations/versions`],
    versionTable,
    url: null,
  });
});

test("no word settles several migrations in one", async () => {
  write({ "alembic.ini": plain, "migrations/env.py": tenants });
  const words = { versions: ["migrations/versions"], versionTable: { schema: null, name: "v" } };
  expect(await read("alembic upgrade head", words)).toMatchObject(refusal("more than once"));
});

test("-x matters where env.py reads it", async () => {
  write({ "alembic.ini": plain, "migrations/env.py": `${usual}x = context.get_x_argument()\n` });
  expect(await read()).toMatchObject({ scriptLocation: `${root}/migrations` });
  expect(await read("alembic -x tenant=a upgrade head")).toMatchObject(
    refusal("env.py reads what -x says"),
  );
});

test("of a tenant neither -x nor a loop nor a search_path matters, and all else does", async () => {
  const tenant = "acme";
  const loop = `${usual}for each in tenants:\n    context.configure(connection=c, version_table_schema=each)\n    context.run_migrations()\n`;
  const sources = { "-x": `${usual}x = context.get_x_argument()\n`, loop };
  for (const source of Object.values(sources)) {
    write({ "alembic.ini": plain, "migrations/env.py": source });
    for (const argument of ["tenant=acme", "acme"]) {
      expect(await read(`alembic -x ${argument} upgrade head`, { tenant })).toMatchObject({
        versionTable: { schema: "acme", name: "alembic_version" },
      });
    }
  }
  write({ "alembic.ini": plain, "migrations/env.py": sources["-x"] });
  for (const argument of ["tenant=zoo", "tenant=acme.eu", "acme=zoo"]) {
    expect(await read(`alembic -x ${argument} upgrade head`, { tenant })).toMatchObject(
      refusal("env.py reads what -x says"),
    );
  }
  write({ "alembic.ini": plain, "migrations/env.py": `${usual}exec(code)\n` });
  expect(await read("alembic upgrade head", { tenant })).toMatchObject(refusal("exec()"));
  const named = usual.replace("configure(", 'configure(version_table="versions", ');
  write({ "alembic.ini": plain, "migrations/env.py": named });
  expect(await read("alembic upgrade head", { tenant })).toMatchObject({
    versionTable: { schema: "acme", name: "versions" },
  });
});

// ---- Flask-Migrate

const flaskEnvironment = `from flask import current_app
from alembic import context
config = context.config
config.set_main_option('sqlalchemy.url', str(current_app.extensions['migrate'].db.engine.url))

def run_migrations_online():
    conf_args = current_app.extensions['migrate'].configure_args
    with current_app.extensions['migrate'].db.engine.connect() as connection:
        context.configure(connection=connection, **conf_args)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;

function writeFlask(app: string, directory = "migrations"): void {
  write({
    [`${directory}/env.py`]: flaskEnvironment,
    [`${directory}/alembic.ini`]: "[alembic]\n",
    "app.py": app,
  });
}

test("Flask-Migrate's folder is its script location", async () => {
  writeFlask("from flask_migrate import Migrate\nmigrate = Migrate(app, db)\n");
  expect(await read("flask db upgrade")).toEqual({
    scriptLocation: `${root}/migrations`,
    versionLocations: [`${root}/migrations/versions`],
    recursive: false,
    sourceless: false,
    versionTable: { schema: null, name: "alembic_version" },
    url: null,
  });
});

test("Flask-Migrate's folder may be named", async () => {
  writeFlask("x = 1\n", "db/migrations");
  expect(await read("flask db upgrade -d db/migrations")).toMatchObject({
    scriptLocation: `${root}/db/migrations`,
  });
});

test.for<[string, string, string]>([
  ["a version table", "Migrate(app, db, version_table='x')", "names a version_table"],
  ["a directory", "Migrate(app, db, directory=DIRECTORY)", "another directory"],
  ["a directory by its place", "migrate.init_app(app, db, 'other')", "another directory"],
  ["arguments that cannot be seen", "Migrate(app, db, **settings)", "another directory"],
  [
    "a change of the configuration",
    "@migrate.configure\ndef change(config): return config",
    "may change",
  ],
])("refuses an application that gives Flask-Migrate %s", async ([, line, reason]) => {
  writeFlask(`from flask_migrate import Migrate\n${line}\n`);
  expect(await read("flask db upgrade")).toMatchObject(refusal(reason));
});

test("options that Flask takes from the environment are not overlooked", async () => {
  writeFlask("x = 1\n");
  expect(
    await read("flask db upgrade", { env: { FLASK_DB_UPGRADE_DIRECTORY: "x" } }),
  ).toMatchObject(refusal("FLASK_DB_UPGRADE_DIRECTORY"));
});

test("an env.py beside the folder that the user names is read, although no configuration leads to it", async () => {
  const table = { schema: null, name: "alembic_version" };
  const options = { versions: ["migrations/versions"], versionTable: table };
  write({});
  expect(await read("alembic upgrade head", options)).toMatchObject({ versionTable: table });
  write({ "migrations/env.py": tenants });
  expect(await read("alembic upgrade head", options)).toMatchObject(refusal("more than once"));
});
