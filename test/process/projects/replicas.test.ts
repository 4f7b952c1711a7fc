// Projects of well-known kinds as their frameworks make them: four replicas at once on an empty database. One migrates, none dies,
// and nothing is set but what the documents say. (The FastAPI template is in ../address, histories and tenants in ../histories.)

import { chmodSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { python, runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject, pluginsIni } from "../harness/project.ts";

/** What Python's packages bring along. */
const packages = globSync(join(dirname(python), "../lib/python3*/site-packages"))[0] ?? "";
const readPackage = (path: string) => readFileSync(join(packages, path), "utf8");
const isInstalled = globSync(join(packages, "flask_migrate")).length > 0;

const revisions = [
  { id: "a1", upgrade: `op.execute("create table users (id int)")\ntime.sleep(0.3)` },
  { id: "b2" },
];

interface Project {
  /** @param parts DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME */
  readonly create: (parts: Readonly<Record<string, string>>) => {
    readonly cwd: string;
    readonly env: Readonly<Record<string, string>>;
  };
  /** The next boot starts no Python. */
  readonly known: boolean;
}

const projects: Readonly<Record<string, Project>> = {
  "Flask-Migrate, with an application factory": {
    create: (parts) => {
      const template = "flask_migrate/templates/flask";
      const cwd = createProject(revisions, { env: readPackage(`${template}/env.py`) });
      writeFileSync(
        join(cwd, "migrations/alembic.ini"),
        readPackage(`${template}/alembic.ini.mako`),
      );
      writeFileSync(
        join(cwd, "shop.py"),
        `import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()

def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg://{DB_USER}:{DB_PASSWORD}@{DB_HOST}:{DB_PORT}/{DB_NAME}".format(**os.environ)
    db.init_app(app)
    Migrate(app, db)
    return app
`,
      );
      const env = {
        ...parts,
        FLASK_APP: "shop:create_app",
        ENTRYPOINT_MIGRATE: "flask db upgrade",
      };
      return { cwd, env };
    },
    known: true,
  },

  "an async env.py, asyncpg, and pydantic settings that read .env": {
    create: (parts) => {
      const imports = "from app.config import settings\n";
      const set = `config.set_main_option("sqlalchemy.url", settings.url)\n`;
      const template = readPackage("alembic/templates/async/env.py");
      const env = template.replace("config = context.config\n", (line) => imports + line + set);
      const ini =
        "[alembic]\nscript_location = migrations\nprepend_sys_path = .\n[loggers]\nkeys = root\n[handlers]\nkeys =\n[formatters]\nkeys =\n[logger_root]\nhandlers =\n";
      const cwd = createProject(revisions, { env, ini });
      mkdirSync(join(cwd, "app"));
      writeFileSync(
        join(cwd, "app/config.py"),
        `from pydantic_settings import BaseSettings, SettingsConfigDict

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")
    DB_HOST: str
    DB_PORT: int = 5432
    DB_USER: str
    DB_PASSWORD: str
    DB_NAME: str

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{self.DB_USER}:{self.DB_PASSWORD}@{self.DB_HOST}:{self.DB_PORT}/{self.DB_NAME}"

settings = Settings()
`,
      );
      const lines = Object.entries(parts).map(([name, value]) => `${name}=${value}\n`);
      writeFileSync(join(cwd, ".env"), lines.join(""));
      return { cwd, env: {} };
    },
    known: false,
  },

  "a command line of its own, named by --inspect-as": {
    create: (parts) => {
      const cwd = createProject(revisions, {
        ini: pluginsIni,
        env: `from alembic import context
from sqlalchemy import create_engine
from shopctl import url

with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`,
      });
      writeFileSync(
        join(cwd, "shopctl.py"),
        `#!/usr/bin/env python
import os, sys

url = "postgresql+psycopg://%(DB_USER)s:%(DB_PASSWORD)s@%(DB_HOST)s:%(DB_PORT)s/%(DB_NAME)s" % os.environ

if __name__ == "__main__":
    from alembic import command
    from alembic.config import Config

    sys.path.insert(0, os.getcwd())
    command.upgrade(Config("alembic.ini"), "head")
`,
      );
      chmodSync(join(cwd, "shopctl.py"), 0o755);
      const migrate = { ENTRYPOINT_MIGRATE: "./shopctl.py migrate" };
      return { cwd, env: { ...parts, ...migrate, ENTRYPOINT_INSPECT_AS: "alembic upgrade head" } };
    },
    known: true,
  },
};

describe.skipIf(!isInstalled).each(Object.entries(projects))("%s", (_, { create, known }) => {
  test("of four replicas one migrates, and all start on a database at head", async () => {
    const url = new URL(await createTestDatabase());
    const { cwd, env } = create({
      DB_HOST: url.hostname,
      DB_PORT: url.port,
      DB_USER: url.username,
      DB_PASSWORD: url.password,
      DB_NAME: url.pathname.slice(1),
    });
    const replicas = await Promise.all(
      Array.from({ length: 4 }, () => runEntrypoint(["echo", "served"], { cwd, env })),
    );
    for (const { code, stdout, stderr } of replicas) {
      expect(code, stderr).toBe(0);
      expect(stdout.endsWith("served\n"), stdout).toBe(true);
    }
    const events = replicas.flatMap(({ lines }) => lines.map(({ event }) => event));
    expect(events.filter((event) => event === "migrating")).toHaveLength(1);
    expect(events.filter((event) => event === "migrated")).toHaveLength(1);
    const client = await connectClient(url.href);
    const { rows } = await client.query("select version_num from alembic_version");
    expect(rows).toEqual([{ version_num: "b2" }]);

    const place = { cwd, env: known ? { ...env, PATH: "/nowhere" } : env };
    const words = known ? ["/bin/echo", "again"] : ["wait", "--", "/bin/echo", "again"];
    const next = await runEntrypoint(words, place);
    expect(next, next.stderr).toMatchObject({ code: 0, stdout: "again\n" });
    expect(next.lines.map(({ event }) => event)).toContain("current");
    const status = await runEntrypoint(["status", "--json"], place);
    expect(JSON.parse(status.stdout), status.stderr).toMatchObject({
      state: "current",
      source: "files",
      database: url.pathname.slice(1),
      lock: { held: false },
    });
  });
});
