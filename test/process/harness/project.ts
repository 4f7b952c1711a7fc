// Makes small Alembic projects on disk, with revisions that do what a test needs: succeed, fail, hang, lie.

import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { plainEnvironment } from "./entrypoint.ts";

export interface RevisionFile {
  id: string;
  /** The one before, unless given. */
  down?: string | readonly string[] | null;
  dependsOn?: string;
  label?: string;
  /** The docstring as it stands in the file. */
  doc?: string;
  /** Statements of upgrade(), one a line. */
  upgrade?: string;
  /** Those of downgrade(). */
  downgrade?: string;
}

const environment = `import os
from alembic import context
from sqlalchemy import create_engine

def run_migrations_online():
    engine = create_engine(os.environ["DATABASE_URL"])
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;

/** Returns the directory to run in. `env.py` commits each revision by itself. */
export function createProject(
  revisions: readonly RevisionFile[],
  options: { env?: string; ini?: string } = {},
): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-project-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const versions = join(directory, "migrations", "versions");
  mkdirSync(versions, { recursive: true });
  writeFileSync(
    join(directory, "alembic.ini"),
    options.ini ?? "[alembic]\nscript_location = migrations\n",
  );
  writeFileSync(join(directory, "migrations", "env.py"), options.env ?? environment);
  let previous: string | null = null;
  for (const { id, down, dependsOn, label, doc, upgrade, downgrade } of revisions) {
    const parent: unknown = down === undefined ? previous : down;
    const literal = parent === null ? "None" : JSON.stringify(parent);
    const more = [
      ...(dependsOn === undefined ? [] : [`depends_on = "${dependsOn}"\n`]),
      ...(label === undefined ? [] : [`branch_labels = ("${label}",)\n`]),
    ].join("");
    const body = (statements: string) =>
      statements
        .split("\n")
        .map((line) => `    ${line}`)
        .join("\n");
    const up = body(upgrade ?? `op.execute("create table t_${id} (id int)")`);
    const back = body(downgrade ?? `op.execute("drop table t_${id}")`);
    writeFileSync(
      join(versions, `${id}.py`),
      `${doc === undefined ? "" : `"""${doc}"""\n`}import os, sys, time\nfrom alembic import op\n\nrevision = "${id}"\ndown_revision = ${literal}\n${more}\ndef upgrade():\n${up}\n\ndef downgrade():\n${back}\n`,
    );
    previous = id;
  }
  return directory;
}

/** What Alembic's own template writes at the head of a revision. */
function templateDoc(message: string, id: string, revises: string): string {
  return `${message}\n\nRevision ID: ${id}\nRevises: ${revises}\nCreate Date: 2026-11-23 10:00:00.000000\n\n`;
}

/** Histories of every shape, each told by real Alembic and by entrypoint in several tests. */
export const histories = {
  linear: [
    { id: "a1", doc: templateDoc("create users", "a1", "") },
    { id: "b2", doc: templateDoc("add titles; with 'quotes' and Ümläute", "b2", "a1") },
    { id: "c3", doc: "drop what nobody\nreads any more\n\n  - why\n" },
    { id: "d4" },
  ],
  merged: [
    { id: "a1", doc: "root" },
    { id: "b2", doc: "left" },
    { id: "c3", down: "a1", doc: "right" },
    { id: "c4", doc: "more on the right" },
    { id: "d5", down: ["b2", "c4"], doc: "merge" },
    { id: "e6" },
  ],
  depending: [
    { id: "a1", label: "blog" },
    { id: "a2", doc: "needs the shop", dependsOn: "b2" },
    { id: "b1", down: null, label: "shop" },
    { id: "b2", doc: "a product" },
  ],
  "several heads": [{ id: "a1" }, { id: "b2" }, { id: "c3", down: "a1" }],
} satisfies Record<string, readonly RevisionFile[]>;

/** A revision whose id only Python can tell, after `down`. */
export function addComputedRevision(directory: string, id: string, down: string): void {
  const [first, ...rest] = id;
  writeFileSync(
    join(directory, "migrations", "versions", `${id}.py`),
    `"""computed"""\nfrom alembic import op\nrevision = "${first}" + "${rest.join("")}"\ndown_revision = "${down}"\n\ndef upgrade():\n    op.execute("create table t_${id} (id int)")\n`,
  );
}

/** An env.py with a version table, which here only Python can tell. */
export const computedTable = environment.replace(
  "target_metadata=None",
  'target_metadata=None, version_table="blog" + "_versions"',
);

/** An env.py whose sessions have a name of their own, as those of a driver that ignores PGAPPNAME. */
export const ownSessionName = environment.replace(
  'os.environ["DATABASE_URL"]',
  'os.environ["DATABASE_URL"], connect_args={"application_name": "blog"}',
);

/** `.` is where Python finds the application. */
export const pluginsIni = "[alembic]\nscript_location = migrations\nprepend_sys_path = .\n";

/** An env.py that takes the folders from a module of the application, and needs no database for that. */
export const foldersInCode = `import glob, os
from alembic import context
from sqlalchemy import create_engine
import blog_settings

context.script.version_locations = ["migrations/versions", *sorted(glob.glob(blog_settings.FOLDERS))]

def run_migrations_online():
    engine = create_engine(os.environ["DATABASE_URL"])
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=None)
        with context.begin_transaction():
            context.run_migrations()

if context.is_offline_mode():
    raise RuntimeError("nobody asks for SQL")
else:
    run_migrations_online()
`;

/** Two revisions, of which the second is where only env.py says. */
export function createPlugins(env = foldersInCode): string {
  const cwd = createProject([{ id: "a1" }, { id: "b2", doc: "posts" }], { env, ini: pluginsIni });
  mkdirSync(join(cwd, "plugins/posts"), { recursive: true });
  renameSync(join(cwd, "migrations/versions/b2.py"), join(cwd, "plugins/posts/b2.py"));
  writeFileSync(
    join(cwd, "blog_settings.py"),
    `import os\nFOLDERS = os.environ.get("BLOG_PLUGINS", "plugins") + "/*"\n`,
  );
  return cwd;
}

/** A directory with an `alembic` that only writes a mark, first on PATH. */
export function shadowAlembic(): { env: Record<string, string>; mark: string } {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-shadow-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const mark = join(directory, "was-run");
  for (const name of ["alembic", "python", "python3"]) {
    writeFileSync(join(directory, name), `#!/bin/sh\necho ${name} >> ${mark}\n`);
    chmodSync(join(directory, name), 0o755);
  }
  return { env: { PATH: `${directory}:${plainEnvironment()["PATH"]}` }, mark };
}
