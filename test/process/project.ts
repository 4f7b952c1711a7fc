// Makes small Alembic projects on disk, with revisions that do what a test needs: succeed, fail, hang, lie.

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { plainEnvironment } from "./entrypoint.ts";

export interface RevisionFile {
  id: string;
  /** The one before, unless given. */
  down?: string | readonly string[] | null;
  /** Statements of upgrade(), one a line. */
  upgrade?: string;
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
  for (const { id, down, upgrade } of revisions) {
    const parent: unknown = down === undefined ? previous : down;
    const literal = parent === null ? "None" : JSON.stringify(parent);
    const body = (upgrade ?? `op.execute("create table t_${id} (id int)")`)
      .split("\n")
      .map((line) => `    ${line}`)
      .join("\n");
    writeFileSync(
      join(versions, `${id}.py`),
      `import os, sys, time\nfrom alembic import op\n\nrevision = "${id}"\ndown_revision = ${literal}\n\ndef upgrade():\n${body}\n\ndef downgrade():\n    pass\n`,
    );
    previous = id;
  }
  return directory;
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
