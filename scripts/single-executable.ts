// Makes dist/entrypoint of the bundle: a copy of the Node that runs this, with a start-up snapshot in it, taken after
// every module of the bundle has been loaded. What the snapshot must not carry is the machine that it was taken on: the
// process that takes it has no environment, UTC, no host name, and no path that tells anything.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { dropCodeCache, stripSymbols } from "./shrink.ts";

/** The first Node that has node:ffi without a flag. `--build-sea` is older. */
const oldestNode = [26, 9] as const;

/** Before the bundle in the snapshot. Node sets its own path anew at each start. */
export const snapshotBanner = 'process.execPath = process.argv[0] = process.argv0 = "";';

/**
 * Of V8, for a process that lives for some 50 ms: what would pay only later is left out. Functions and patterns are compiled
 * only once they have run often, as those do that read hundreds of revisions; and the hashes of the snapshot's strings are
 * not made anew from a random seed at each start, which would guard a server whose clients choose the keys of its tables.
 */
const flags = [
  "--no-rehash-snapshot",
  "--regexp-tier-up-ticks=20",
  "--baseline-batch-compilation-threshold=65536",
  "--invocation-count-for-maglev=1500",
];

/** Of Node's own modules, those that may be loaded after the snapshot: assets, foreign functions and TLS. */
const laterModules =
  /^(?:sea|ffi|internal\/ffi.*|tls|internal\/tls\/.*|internal\/js_stream_socket)$/;

/**
 * Writes the executable `output`.
 * @param sources the bundle, as `main.js`, and what it reads while it is loaded: files, by the names that it has for them.
 * @param assets files for `sea.getAsset`, by name.
 * @throws where this Node is too old to make one.
 */
export function buildSingleExecutable(
  output: string,
  sources: Readonly<Record<string, string>>,
  assets: Readonly<Record<string, string>>,
): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])) {
    throw new Error(
      `the single executable needs Node ${oldestNode.join(".")} or newer, this is ${process.versions.node}; run: npm run build`,
    );
  }
  // Some of Node's own state keeps the path of the program that takes the snapshot, so not TMPDIR, which may tell a name.
  const directory = mkdtempSync("/tmp/entrypoint-");
  try {
    const node = join(directory, "node");
    writeFileSync(node, stripSymbols(readFileSync(process.execPath)), { mode: 0o755 });
    for (const [name, file] of Object.entries(sources)) copyFileSync(file, join(directory, name));
    writeProject(join(directory, "project"));
    const config = {
      // Absolute in the snapshot, and so the same everywhere.
      main: "/proc/self/cwd/main.js",
      output: "entrypoint",
      executable: "node",
      useSnapshot: true,
      assets,
      disableExperimentalSEAWarning: true,
      execArgv: flags,
      // The application's NODE_OPTIONS are not for us.
      execArgvExtension: "none",
    };
    writeFileSync(join(directory, "sea.json"), JSON.stringify(config));
    // The warnings say that some of Node's modules have not been verified in a snapshot: our tests do.
    execFileSync(node, ["--no-warnings", "--build-sea", "sea.json"], {
      cwd: directory,
      env: { TZ: "UTC" },
      stdio: ["ignore", "ignore", "inherit"],
    });
    const program = readFileSync(join(directory, "entrypoint"));
    const { length } = readFileSync(node);
    writeFileSync(output, dropCodeCache(program, length, laterModules), { mode: 0o755 });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The project that src/rehearsal.ts reads, with what most of them have: an env.py like that of Alembic's template. */
function writeProject(directory: string): void {
  const versions = join(directory, "migrations", "versions");
  mkdirSync(versions, { recursive: true });
  writeFileSync(
    join(directory, "alembic.ini"),
    "[alembic]\nscript_location = migrations\n# empty\nsqlalchemy.url = postgresql://localhost/blog\n",
  );
  writeFileSync(
    join(directory, "migrations", "env.py"),
    `"""Of no database."""
import os
from logging.config import fileConfig
from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name)
config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"].replace("%", "%%"))
target_metadata = None


def run_migrations_offline() -> None:
    context.configure(url=config.get_main_option("sqlalchemy.url"), target_metadata=target_metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    connectable = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool)
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
`,
  );
  for (const [id, down] of [
    ["a1", "None"],
    ["b2", '"a1"'],
  ] as const) {
    writeFileSync(
      join(versions, `${id}.py`),
      `"""create

Revision ID: ${id}
"""
from typing import Sequence, Union
from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = "${id}"
down_revision: Union[str, Sequence[str], None] = ${down}
branch_labels: Union[str, Sequence[str], None] = None
depends_on = None


def upgrade() -> None:
    op.create_table("posts", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("posts")
`,
    );
  }
}
