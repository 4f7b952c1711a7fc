// What start scripts do, each kind as a small project without one: the settings of its image do the same. The rows are those of
// docker/README.md. With ENTRYPOINT_TEST_SCRIPTS=1 the scripts themselves are run too, and held to the same.

import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { split } from "shlex";
import { describe, expect, onTestFinished, test } from "vitest";
import { startEntrypoint, type Run } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy } from "../harness/proxy.ts";

/** Where a container of the project runs. */
interface Place {
  readonly cwd: string;
  /** Of its database, which answers. */
  readonly url: string;
  /** On which nothing listens yet. */
  readonly port: number;
}

interface Boot {
  /** What `docker run IMAGE` gets. */
  readonly words?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly change?: (place: Place) => void;
  readonly meanwhile?: (run: Run, place: Place) => Promise<unknown>;
  /** What the project's programs have noted. */
  readonly told: readonly string[];
  /** Its exit code is another one than 0. */
  readonly fails?: true;
}

interface Kind {
  readonly script: string;
  /** The Dockerfile, from where it matters. */
  readonly image: string;
  readonly files?: Readonly<Record<string, string>>;
  /** The revision that the database is at before; none is an empty one. */
  readonly at?: string;
  readonly create?: () => string;
  readonly env?: (place: Place) => Record<string, string>;
  readonly boots: readonly Boot[];
  /** Those of the database afterwards. */
  readonly tables: string;
  readonly root?: true;
}

const twoRevisions = () => createProject([{ id: "a1" }, { id: "b2" }]);
const migrated = "alembic_version t_a1 t_b2";
const started = `ENTRYPOINT ["/entrypoint"]`;

const kinds: Readonly<Record<string, Kind>> = {
  "waits for the database, migrates, writes initial data, takes the port from the environment": {
    script: `set -e
until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new("127.0.0.1:$ENV{DB_PORT}")'; do echo waiting; sleep 0.2; done
alembic upgrade head
./tell initial-data
exec ./tell web --port \${PORT:-8000}`,
    image: `ENV ENTRYPOINT_SETUP="./tell initial-data" ENTRYPOINT_EXPAND=on
${started}
CMD ["./tell", "web", "--port", "\${PORT:-8000}"]`,
    env: ({ url, port }) => {
      const own = new URL(url);
      own.port = String(port);
      return { DATABASE_URL: own.href, DB_PORT: String(port) };
    },
    boots: [
      {
        meanwhile: async (run, { url, port }) => {
          await run.printed("waiting");
          await startProxy(url, undefined, port);
        },
        told: ["initial-data", "web --port 8000"],
      },
      { env: { PORT: "80" }, told: ["initial-data", "web --port 80"] },
    ],
    tables: migrated,
  },

  "checks its settings, and puts flags together by conditions": {
    script: `set -e
: "\${API_KEY:?set the key of the shop}"
ARGS="--workers \${WEB_CONCURRENCY:-2}"
if [ -n "$RELOAD" ]; then ARGS="$ARGS --reload"; fi
if [ -n "$CERT" ]; then ARGS="$ARGS --cert $CERT"; fi
alembic upgrade head
exec ./tell web $ARGS $MORE`,
    image: `ENV ENTRYPOINT_BEFORE='true \${API_KEY:?set the key of the shop}'
ENV ENTRYPOINT_APP='./tell web --workers \${WEB_CONCURRENCY:-2} \${RELOAD:+--reload} \${CERT:+--cert \${CERT}} \${MORE:-}'
CMD ["/entrypoint"]`,
    at: "b2",
    boots: [
      {
        fails: true,
        meanwhile: async (run) => run.printed("set the key of the shop"),
        told: [],
      },
      { env: { API_KEY: "k-1234" }, told: ["web --workers 2"] },
      {
        env: { API_KEY: "k-1234", RELOAD: "1", CERT: "/c.pem", MORE: "--quiet --http2" },
        told: ["web --workers 2 --reload --cert /c.pem --quiet --http2"],
      },
    ],
    tables: "alembic_version",
  },

  "starts one of several processes by its first argument, and any other command": {
    script: `set -e
case "$1" in
  web) shift; alembic upgrade head; exec ./tell web "$@" ;;
  worker) exec ./tell worker --queue default ;;
  *) exec "$@" ;;
esac`,
    image: `${started}
CMD ["web"]`,
    files: {
      "entrypoint.toml": `[roles.web]
command = "./tell web"

[roles.worker]
command = "./tell worker --queue default"
boot = "wait"
`,
    },
    at: "b2",
    boots: [
      { told: ["web"] },
      { words: ["web", "--reload"], told: ["web --reload"] },
      { words: ["worker"], told: ["worker --queue default"] },
      { words: ["sh", "-c", "exec ./tell one off"], told: ["one off"] },
    ],
    tables: "alembic_version",
  },

  "chooses its process, and whether it migrates, by variables of its own": {
    script: `set -e
if [ "$RUN_MIGRATIONS" = true ]; then alembic upgrade head; fi
case "\${SERVICE:-web}" in
  web) exec ./tell web ;;
  beat) exec ./tell beat ;;
esac`,
    image: `ENV ENTRYPOINT_MIGRATE='if=RUN_MIGRATIONS=true alembic upgrade head'
ENV ENTRYPOINT_ROLE='\${SERVICE:-web}'
CMD ["/entrypoint"]`,
    files: {
      "pyproject.toml": `[tool.entrypoint.roles]
web.command = "./tell web"
beat = { command = "./tell beat", boot = "none" }
`,
    },
    boots: [
      { told: ["web"] },
      { env: { SERVICE: "beat" }, told: ["beat"] },
      { env: { RUN_MIGRATIONS: "true" }, told: ["web"] },
    ],
    tables: migrated,
  },

  "creates all tables of an empty database and stamps it, migrates any other": {
    script: `set -e
if python empty.py; then python create.py; else alembic upgrade head; fi
exec ./tell web`,
    image: `ENV ENTRYPOINT_WHEN_EMPTY="python create.py"
${started}
CMD ["./tell", "web"]`,
    files: {
      "create.py": `import os, subprocess
from sqlalchemy import create_engine, text

with create_engine(os.environ["DATABASE_URL"]).begin() as connection:
    connection.execute(text("create table made_at_once (id int)"))
subprocess.check_call(["alembic", "stamp", "head"])
`,
      "empty.py": `import os, sys
from sqlalchemy import create_engine, inspect

sys.exit(len(inspect(create_engine(os.environ["DATABASE_URL"])).get_table_names()))
`,
    },
    boots: [
      { told: ["web"] },
      {
        change: ({ cwd }) => {
          const text = `from alembic import op\nrevision = "c3"\ndown_revision = "b2"\ndef upgrade():\n    op.execute("create table t_c3 (id int)")\n`;
          writeFileSync(join(cwd, "migrations/versions/c3.py"), text);
        },
        told: ["web"],
      },
    ],
    tables: "alembic_version made_at_once t_c3",
  },

  "makes a volume's directory, gives it to PUID and PGID, drops root, sets the umask": {
    script: `set -e
mkdir -p data/uploads
chown -R "\${PUID:-1000}:\${PGID:-1000}" data/uploads
umask 027
exec setpriv --reuid "\${PUID:-1000}" --regid "\${PGID:-1000}" --clear-groups sh -c './tell web && touch data/uploads/x'`,
    image: `ENV ENTRYPOINT_OWN=data/uploads ENTRYPOINT_UMASK=027 ENTRYPOINT_MIGRATE=" "
ENV ENTRYPOINT_USER='\${PUID:-1000}:\${PGID:-1000}'
${started}
CMD ["sh", "-c", "./tell web && touch data/uploads/x"]`,
    boots: [
      { env: { PUID: "54321", PGID: "54322" }, told: ["web; umask=027; uid=54321:54322"] },
      { told: ["web; umask=027; uid=1000:1000"] },
    ],
    tables: "",
    root: true,
  },

  "waits for a broker, and starts a worker under a tracer, without a database": {
    script: `set -e
until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new("$ENV{BROKER_HOST}:$ENV{BROKER_PORT}")'; do echo waiting; sleep 0.2; done
exec ./trace-run ./tell worker`,
    image: `ENV ENTRYPOINT_WAIT_FOR='tcp://\${BROKER_HOST}:\${BROKER_PORT:-5672}' ENTRYPOINT_MIGRATE=" "
${started}
CMD ["./trace-run", "./tell", "worker"]`,
    files: { "trace-run": `#!/usr/bin/perl\n$ENV{TRACED} = "yes";\nexec @ARGV;\n` },
    env: ({ port }) => ({ BROKER_HOST: "127.0.0.1", BROKER_PORT: String(port), TELL: "TRACED" }),
    boots: [
      {
        meanwhile: async (run, { port }) => {
          await run.printed("waiting");
          const broker = createServer().listen(port, "127.0.0.1");
          onTestFinished(() => void broker.close());
        },
        told: ["worker; TRACED=yes"],
      },
    ],
    tables: "",
  },

  "migrates several histories": {
    script: `set -e
alembic upgrade head
alembic -n plugins upgrade head
exec ./tell web`,
    image: `${started}
CMD ["./tell", "web"]`,
    files: {
      "entrypoint.toml": `migrate = ["alembic upgrade head", "alembic -n plugins upgrade head"]\n`,
      "alembic.ini":
        "[alembic]\nscript_location = migrations\n[plugins]\nscript_location = plugins\n",
      "plugins/env.py": `import os
from alembic import context
from sqlalchemy import create_engine

with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection, version_table="plugins_version")
    with context.begin_transaction():
        context.run_migrations()
`,
      "plugins/versions/p1.py": `from alembic import op\nrevision = "p1"\ndown_revision = None\ndef upgrade():\n    op.execute("create table t_p1 (id int)")\n`,
    },
    boots: [{ told: ["web"] }],
    tables: "alembic_version plugins_version t_a1 t_b2 t_p1",
  },

  "makes its keys, takes a secret from a file, works in a directory, migrates and exits": {
    script: `set -e
cd service
export DATABASE_URL="$(cat "$DATABASE_URL_FILE")"
[ -e ../keys.pem ] || ../make-keys
alembic upgrade head
if [ "$1" = migrate ]; then exit 0; fi
exec "$@"`,
    image: `ENV ENTRYPOINT_CHDIR=service ENTRYPOINT_BEFORE="../make-keys --missing"
${started}
CMD ["../tell", "web"]`,
    create: () => {
      const cwd = twoRevisions();
      mkdirSync(join(cwd, "service"));
      const ini = "[alembic]\nscript_location = ../migrations\n";
      writeFileSync(join(cwd, "service/alembic.ini"), ini);
      rmSync(join(cwd, "alembic.ini"));
      return cwd;
    },
    files: {
      "make-keys": `#!/usr/bin/perl
use File::Basename;
chdir dirname(__FILE__);
exit if -e "keys.pem";
open my $keys, ">", "keys.pem";
system "./tell", "keys";
`,
    },
    env: ({ cwd, url }) => {
      writeFileSync(join(cwd, "url"), `${url}\n`);
      return { DATABASE_URL: "", DATABASE_URL_FILE: join(cwd, "url") };
    },
    boots: [
      { words: ["migrate"], told: ["keys"] },
      { words: ["../tell", "web"], told: ["web; in service"] },
    ],
    tables: migrated,
  },

  "creates its database, makes an administrator, seeds it once": {
    script: `set -e
psql -q "$ADMIN_URL" -c "create database $DB_NAME" || true
alembic upgrade head
if [ -n "$ADMIN_EMAIL" ]; then ./tell admin "$ADMIN_EMAIL"; fi
if [ "$SEED_DEMO" = 1 ] && [ ! -e seeded ]; then ./tell seed; touch seeded; fi
exec ./tell web`,
    image: `ENV ENTRYPOINT_CREATE_DATABASE=on
${started}
CMD ["./tell", "web"]`,
    files: {
      "entrypoint.toml": `setup = ["if=ADMIN_EMAIL ./tell admin \${ADMIN_EMAIL}", "when=once if=SEED_DEMO ./tell seed"]\n`,
    },
    env: ({ url }) => {
      const DB_NAME = `${new URL(url).pathname.slice(1)}_new`;
      return { ADMIN_URL: url, DB_NAME, DATABASE_URL: `${url}_new` };
    },
    boots: [
      {
        env: { ADMIN_EMAIL: "a@b.example", SEED_DEMO: "1" },
        told: ["admin a@b.example", "seed", "web"],
      },
      { env: { SEED_DEMO: "1" }, told: ["web"] },
    ],
    tables: migrated,
  },

  "forwards TERM to its application": {
    script: `alembic upgrade head
./tell serve &
pid=$!
trap 'kill -TERM "$pid"' TERM
wait "$pid"
wait "$pid"`,
    image: `${started}
CMD ["./tell", "serve"]`,
    at: "b2",
    boots: [
      {
        meanwhile: async (run) => {
          await run.printed("serving");
          run.process.kill("SIGTERM");
        },
        told: ["serve", "stopped"],
      },
    ],
    tables: "alembic_version",
  },

  "takes variables from a file, and computes others": {
    script: `set -e
set -a
. ./defaults.env
set +a
export APP_VERSION="$(cat VERSION)"
alembic upgrade head
exec ./tell web`,
    image: `ENV ENTRYPOINT_ENV_FILE=defaults.env ENTRYPOINT_APP='sh -c "APP_VERSION=$(cat VERSION) exec ./tell web"'
CMD ["/entrypoint"]`,
    files: { "defaults.env": "COLOUR=green\nSIZE='two words'\n", VERSION: "1.2.3\n" },
    env: () => ({ TELL: "COLOUR SIZE APP_VERSION" }),
    at: "b2",
    boots: [{ told: ["web; COLOUR=green; SIZE=two words; APP_VERSION=1.2.3"] }],
    tables: "alembic_version",
  },
};

/** The instructions of a Dockerfile that say how a container of it starts. */
function readImage(text: string): { env: Record<string, string>; start: string[]; cmd: string[] } {
  const each = (word: string) =>
    text
      .split("\n")
      .flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length)] : []));
  const variables = each("ENV").flatMap((line) => split(line));
  const words = (word: string) => JSON.parse(each(word)[0] ?? "[]") as string[];
  return {
    env: Object.fromEntries(
      variables.map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)]),
    ),
    start: words("ENTRYPOINT"),
    cmd: words("CMD"),
  };
}

async function prepare(kind: Kind): Promise<Place> {
  const cwd = (kind.create ?? twoRevisions)();
  for (const [name, text] of Object.entries(kind.files ?? {})) {
    mkdirSync(dirname(join(cwd, name)), { recursive: true });
    writeFileSync(join(cwd, name), text, { mode: text.startsWith("#!") ? 0o755 : 0o644 });
  }
  copyFileSync(join(import.meta.dirname, "fixtures/tell.pl"), join(cwd, "tell"));
  chmodSync(join(cwd, "tell"), 0o755);
  // Another user works there too.
  chmodSync(cwd, 0o777);
  const url = await createTestDatabase();
  if (kind.at !== undefined) await stampRows(url, kind.at);
  return { cwd, url, port: await findQuietPort() };
}

/** On which nothing listens, below those that the system gives to whoever asks for any: it stays free until it is used. */
async function findQuietPort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    const server = createServer().listen(port, "127.0.0.1");
    const free = await once(server, "listening").then(
      () => true,
      () => false,
    );
    server.close();
    if (free) return port;
  }
}

const runners =
  process.env["ENTRYPOINT_TEST_SCRIPTS"] === "1" ? ["entrypoint", "the script"] : ["entrypoint"];

describe.each(Object.entries(kinds))("a script that %s", (_, kind) => {
  const missing = kind.root === true && process.getuid?.() !== 0;
  test.skipIf(missing).each(runners)("by %s", async (runner) => {
    const place = await prepare(kind);
    const { cwd, url } = place;
    const image = readImage(kind.image);
    const own: Record<string, string> = { DATABASE_URL: url, ...kind.env?.(place) };
    const script = join(cwd, "../", `${cwd.split("/").at(-1)}.sh`);
    if (runner !== "entrypoint") {
      writeFileSync(script, kind.script);
      onTestFinished(() => rmSync(script));
    }
    for (const { words, env, change, meanwhile, told, fails } of kind.boots) {
      change?.(place);
      rmSync(join(cwd, "told"), { force: true });
      const [, ...args] = [...image.start, ...(words ?? image.cmd)];
      const run =
        runner === "entrypoint"
          ? startEntrypoint(args, { cwd, env: { ...image.env, ...own, ...env } })
          : startEntrypoint(args, { cwd, env: { ...own, ...env }, instead: ["sh", script] });
      await meanwhile?.(run, place);
      const { code } = await run.ended;
      expect(code === 0, run.stderr()).toBe(fails !== true);
      const file = join(cwd, "told");
      const lines = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
      expect(lines, run.stderr()).toEqual(told);
    }
    const client = await connectClient(own["DATABASE_URL"] || url);
    const { rows } = await client.query<{ name: string }>(
      "select table_name as name from information_schema.tables where table_schema = 'public' order by 1",
    );
    expect(rows.map(({ name }) => name).join(" ")).toBe(kind.tables);
  });
});
