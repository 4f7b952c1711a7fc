// Projects as they are: the address is made of variables of their own, a computed one, or in code. No setting of
// entrypoint's is needed, and replicas never race.
// @runs-on executable

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** env.py of a project whose settings are in a module of the application. */
function environmentOf(url: string, imports = "from app.core.config import settings"): string {
  return `import os, sys
sys.path.insert(0, os.getcwd())
from alembic import context
from sqlalchemy import create_engine
${imports}

def run_migrations_online():
    engine = create_engine(${url})
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=None)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;
}

const slowRevisions = [
  { id: "a1", upgrade: `op.execute("create table users (id int)")\ntime.sleep(0.3)` },
  { id: "b2" },
];

/** The parts of a fresh database's URL, as the well-known FastAPI template names them. */
async function createParts(password?: string) {
  const url = await createTestDatabase();
  const { hostname, port, username, pathname, password: own } = new URL(url);
  const parts = {
    POSTGRES_SERVER: hostname,
    POSTGRES_PORT: port,
    POSTGRES_USER: username,
    POSTGRES_PASSWORD: password ?? decodeURIComponent(own),
    POSTGRES_DB: pathname.slice(1),
  };
  return { url, parts };
}

const config = `import os
from pydantic import BaseModel
from sqlalchemy import URL

class Settings(BaseModel):
    POSTGRES_SERVER: str
    POSTGRES_PORT: int = 5432
    POSTGRES_USER: str
    POSTGRES_PASSWORD: str = ""
    POSTGRES_DB: str = ""

    @property
    def SQLALCHEMY_DATABASE_URI(self):
        return URL.create("postgresql+psycopg", self.POSTGRES_USER, self.POSTGRES_PASSWORD, self.POSTGRES_SERVER, self.POSTGRES_PORT, self.POSTGRES_DB)

settings = Settings(**{name: os.environ[name] for name in Settings.model_fields})
`;

function createTemplate(): string {
  const cwd = createProject(slowRevisions, {
    env: environmentOf("settings.SQLALCHEMY_DATABASE_URI"),
  });
  write(join(cwd, "app/core/config.py"), config);
  return cwd;
}

/** The settings as pydantic's prefixes have them: no name of a variable stands in the code. */
function createPrefixed(): string {
  const cwd = createProject(slowRevisions, {
    env: environmentOf("settings.url"),
  });
  const names = "SERVER PORT USER PASSWORD DB".split(" ").map((name) => `"${name}"`);
  const code = `import os
from sqlalchemy import URL
class settings:
    s, p, u, w, d = [os.environ["POSTGRES" + "_" + name] for name in (${names.join(", ")})]
    url = URL.create("postgresql+psycopg", u, w, s, int(p), d)
`;
  write(join(cwd, "app/core/config.py"), code);
  return cwd;
}

async function bootFour(cwd: string, env: Record<string, string>) {
  const boots = Array.from({ length: 4 }, () => runEntrypoint(["echo", "served"], { cwd, env }));
  const runs = await Promise.all(boots);
  const failed = runs.find((run) => run.code !== 0);
  expect(failed?.stderr).toBeUndefined();
  expect(runs.map(({ stdout }) => stdout.trim().split("\n").at(-1))).toEqual(
    runs.map(() => "served"),
  );
  expect(runs.filter(({ lines }) => lines.some(({ event }) => event === "migrating"))).toHaveLength(
    1,
  );
  return runs;
}

describe("four replicas on an empty database, without any setting", () => {
  test("the parts of the FastAPI template, which its code is seen to read", async () => {
    const { url, parts } = await createParts();
    const cwd = createTemplate();
    const [run] = await bootFour(cwd, parts);
    const found = run?.lines.find(({ event }) => event === "database-found");
    expect(found?.msg).toMatch(
      /^Using the database postgresql:\/\/\S+ of POSTGRES_SERVER, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, which \S+config\.py reads$/,
    );
    const client = await connectClient(url);
    expect((await client.query("select * from alembic_version")).rows).toEqual([
      { version_num: "b2" },
    ]);
    // The next boot starts no Python: PATH has none.
    const next = await runEntrypoint(["/bin/true"], { cwd, env: { ...parts, PATH: "/nowhere" } });
    expect(next.code, next.stderr).toBe(0);
    expect(next.lines.map(({ event }) => event)).toContain("current");
  });

  test("names that stand nowhere in the code: Alembic says what it connects to", async () => {
    const { parts } = await createParts();
    const runs = await bootFour(createPrefixed(), parts);
    const found = runs[0]?.lines.find(({ event }) => event === "database-found");
    expect(found?.msg).toContain("to which Alembic connects");
  });

  test("an address that is made in code alone", async () => {
    const url = new URL(await createTestDatabase());
    url.protocol = "postgresql+psycopg:";
    const cwd = createProject(slowRevisions, { env: environmentOf("settings") });
    write(join(cwd, "app/core/config.py"), `settings = ${JSON.stringify(url.href)}\n`);
    await bootFour(cwd, {});
  });

  test("a URL under another name", async () => {
    const url = new URL(await createTestDatabase());
    url.protocol = "postgresql+psycopg:";
    const cwd = createProject(slowRevisions, {
      env: environmentOf('os.environ["BLOG_DB_URI"]', ""),
    });
    const [run] = await bootFour(cwd, { BLOG_DB_URI: url.href });
    const found = run?.lines.find(({ event }) => event === "database-found");
    expect(found).toMatchObject({ variables: ["BLOG_DB_URI"] });
  });
});

test("variables that no code is seen to read do not skip a migration on their database", async () => {
  const { url, parts } = await createParts();
  const other = new URL(await createTestDatabase());
  other.protocol = "postgresql+psycopg:";
  const cwd = createProject([{ id: "a1" }], { env: environmentOf("settings") });
  write(join(cwd, "app/core/config.py"), `settings = ${JSON.stringify(other.href)}\n`);
  const client = await connectClient(url);
  await client.query("create table alembic_version (version_num varchar(32) primary key)");
  await client.query("insert into alembic_version values ('a1')");
  const run = await runEntrypoint(["true"], { cwd, env: parts });
  expect(run.code, run.stderr).toBe(0);
  expect(run.lines.map(({ event }) => event)).toContain("migrated");
});

describe("where Alembic does not say what it connects to", () => {
  const broken = environmentOf("settings.url").replace(
    "engine = create_engine(settings.url)",
    `if os.environ.get("PYTHONPATH"):\n        raise RuntimeError("not now")\n    engine = create_engine(os.environ["BLOG"])`,
  );

  test("a guess serves to wait and to lock, and the migration runs", async () => {
    const { url, parts } = await createParts();
    const own = new URL(url);
    own.protocol = "postgresql+psycopg:";
    const cwd = createProject([{ id: "a1" }], {
      env: broken.replace("from app.core.config import settings", ""),
    });
    const env = { ...parts, BLOG: own.href };
    for (const _ of [1, 2]) {
      const run = await runEntrypoint(["true"], { cwd, env });
      expect(run.code, run.stderr).toBe(0);
      const events = run.lines.map(({ event }) => event);
      expect(events).toEqual(expect.arrayContaining(["database-found", "migrating", "unverified"]));
      expect(events).not.toContain("unlocked");
    }
  });

  test("64: a migration without a lock is refused, unless --no-lock allows it", async () => {
    const own = new URL(await createTestDatabase());
    own.protocol = "postgresql+psycopg:";
    const cwd = createProject([{ id: "a1" }], {
      env: broken.replace("from app.core.config import settings", ""),
    });
    const env = { BLOG: own.href };
    const refused = await runEntrypoint(["true"], { cwd, env });
    expect(refused.code).toBe(64);
    expect(refused.lines.at(-1)?.msg).toBe(
      "cannot lock the migration, since no PostgreSQL database is known: env.py cannot be run up to its connection: RuntimeError: not now",
    );
    const allowed = await runEntrypoint(["--no-lock", "true"], { cwd, env });
    expect(allowed.code, allowed.stderr).toBe(0);
    expect(allowed.lines.map(({ event }) => event)).toEqual(
      expect.arrayContaining(["unlocked", "migrating"]),
    );
  });
});

test("SQLite is not refused, and the log says what it lacks", async () => {
  const cwd = createProject([{ id: "a1" }], {
    env: environmentOf('"sqlite:///blog.db"', ""),
  });
  const run = await runEntrypoint(["true"], { cwd });
  expect(run.code, run.stderr).toBe(0);
  expect(run.lines.find(({ event }) => event === "no-database")?.msg).toBe(
    "Alembic names a sqlite database: only PostgreSQL can be waited for, inspected and locked",
  );
});

test("ENTRYPOINT_DATABASE_URL is made of the project's variables, whatever a value holds", async () => {
  const { url, parts } = await createParts();
  const client = await connectClient(url);
  const role = `blog_${parts.POSTGRES_DB}`;
  const password = "p@ss/w%40rd:#?&'\\";
  await client.query(
    `create role ${role} login superuser password ${client.escapeLiteral(password)}`,
  );
  const cwd = createProject([{ id: "a1" }], {
    env: environmentOf(
      'URL.create("postgresql+psycopg", os.environ["U"], os.environ["W"], os.environ["H"], int(os.environ["P"]), os.environ["D"])',
      "from sqlalchemy import URL",
    ),
  });
  const values = {
    U: role,
    W: password,
    H: parts.POSTGRES_SERVER,
    P: parts.POSTGRES_PORT,
    D: parts.POSTGRES_DB,
  };
  const template = "postgresql+psycopg://${U}:${W}@${H}:${P:-5432}/${D}";
  const run = await runEntrypoint(["true"], {
    cwd,
    env: { ...values, ENTRYPOINT_DATABASE_URL: template, DATABASE_URL: "sqlite:///app.db" },
  });
  expect(run.code, run.stderr).toBe(0);
  expect(run.lines.map(({ event }) => event)).toContain("migrated");
  expect(run.stderr).not.toContain(password);
});

test("--env-file gives the variables to entrypoint, the migration and the application", async () => {
  const { parts } = await createParts();
  const cwd = createTemplate();
  const { POSTGRES_DB, ...rest } = parts;
  const lines = Object.entries(rest).map(([name, value]) => `${name}="${value}"`);
  write(
    join(cwd, ".env"),
    `# made up\n${lines.join("\n")}\nPOSTGRES_DB=other\nexport GREETING='hi'\n`,
  );
  const run = await runEntrypoint(
    ["--env-file", ".env", "sh", "-c", "echo $GREETING $POSTGRES_DB"],
    {
      cwd,
      env: { POSTGRES_DB },
    },
  );
  expect(run.code, run.stderr).toBe(0);
  expect(run.stdout.trim().split("\n").at(-1)).toBe(`hi ${POSTGRES_DB}`);
});

describe("--database-password-command", () => {
  /** A role with a password, a URL without it, and env.py that has it from elsewhere. */
  async function createSecret() {
    const { url, parts } = await createParts();
    const client = await connectClient(url);
    const role = `token_${parts.POSTGRES_DB}`;
    await client.query(`create role ${role} login superuser password 'geheim'`);
    const address = new URL(url);
    address.username = role;
    address.password = "";
    const cwd = createProject([{ id: "a1" }], {
      env: environmentOf('os.environ["DATABASE_URL"], connect_args={"password": "geheim"}', ""),
    });
    address.protocol = "postgresql+psycopg:";
    return { cwd, env: { DATABASE_URL: address.href } };
  }

  test("its last line is the password of each connection, and is never logged", async () => {
    const { cwd, env } = await createSecret();
    const command = `sh -c 'echo run >> calls; echo a warning; echo geheim'`;
    for (const words of [["true"], ["status"]]) {
      const run = await runEntrypoint(words, {
        cwd,
        env: {
          ...env,
          ENTRYPOINT_DATABASE_PASSWORD_COMMAND: command,
          ENTRYPOINT_LOG_LEVEL: "trace",
        },
      });
      expect(run.code, run.stderr).toBe(0);
      expect(run.stderr).not.toContain("geheim");
      expect(run.stderr).not.toContain("a warning");
    }
  });

  test("69: it fails, and nothing of its output is in the reason", async () => {
    const { cwd, env } = await createSecret();
    const command = "sh -c 'echo geheim >&2; exit 3'";
    const run = await runEntrypoint(["--database-password-command", command, "true"], {
      cwd,
      env: { ...env, ENTRYPOINT_WAIT_TIMEOUT: "0" },
    });
    expect(run.code, run.stderr).toBe(69);
    expect(run.lines.at(-1)?.msg).toContain("--database-password-command: sh has failed");
    expect(run.stderr).not.toContain("geheim");
  });
});
