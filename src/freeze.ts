// At image build: `RUN entrypoint freeze` asks the real Alembic once for the revision graph and writes it down, for
// every start to read. Guarantees: no database is needed, nothing is migrated, and nothing is written that Alembic
// itself has doubts about, or that would not hold at once.

import { rmSync } from "node:fs";
import { Failure } from "./exit-codes.ts";
import { printResult } from "./log.ts";
import type { Covered } from "./migrations/alembic/fingerprint.ts";
import { frozenPath, readFrozen, seal, writeFrozen } from "./migrations/alembic/frozen.ts";
import { hearGraph, type Heard } from "./migrations/alembic/hear.ts";
import { readHistory } from "./migrations/alembic/inspect.ts";
import { NoAnswer } from "./migrations/alembic/run.ts";
import type { Testimony } from "./migrations/alembic/witness.ts";
import { recogniseCommand, type MigrationCommand } from "./migrations/command.ts";
import type { Context } from "./migrations/migrate.ts";
import { readMigrations } from "./survey.ts";

type AlembicCommand = Extract<MigrationCommand, { kind: "alembic" }>;

/** A Flask application and thousands of revisions are imported, on a machine that builds other things too. */
const timeoutMs = 300_000;

/** Resolves to 0. Failure "cannot-tell" where Alembic does not answer or refuses the revisions, "cannot-write". */
export async function freeze(context: Context): Promise<number> {
  const { settings, log } = context;
  const words = settings.migrate ?? [];
  const command = recogniseCommand(words);
  if (command.kind === "opaque") {
    throw cannotFreeze(
      command.reason,
      "freeze is for commands that are understood: alembic upgrade, flask db upgrade",
    );
  }
  const { cwd, env, versionTable, versions } = settings;
  const place = { words, cwd, env };
  const byFiles = await readHistory(command, {
    cwd,
    env,
    versionTable,
    versions,
    frozen: { kind: "none" },
  });
  const { testimony, graph } = await hear(context, command);
  const { scriptLocation, versionLocations, recursive, sourceless, revisions } = testimony;
  const located = { scriptLocation, versionLocations, recursive, sourceless };
  const path = frozenPath(cwd);
  const text = explained(
    () => seal(place, { located, revisions }, listCovered(testimony, command, cwd)),
    (error) => cannotFreeze(error.message, "let the user of the build read all of the project"),
  );
  explained(
    () => writeFrozen(path, text),
    (error) =>
      new Failure("cannot-write", `cannot write ${path}: ${error.message}`, {
        hint: "run it before USER in the Dockerfile, or let that user write there",
        cause: error,
      }),
  );
  const written = readFrozen(place);
  if (written.kind !== "holds") {
    rmSync(path, { force: true });
    const reason = written.kind === "ignored" ? written.reason : "it is gone";
    throw cannotFreeze(
      `it would not hold: ${reason}`,
      "something writes to the project's files whenever Python runs",
    );
  }
  const count = revisions.length === 1 ? "1 revision" : `${revisions.length} revisions`;
  printResult(
    `${path}: ${count}, ${graph.realHeads.length === 1 ? "head" : "heads"} ${graph.realHeads.join(", ")}, by Alembic ${testimony.alembic}`,
  );
  const { variables } = testimony;
  if (byFiles.graph.kind === "cannot-tell" && variables.length > 0) {
    log.info(
      { event: "variables", variables },
      `Told with these variables as they are in this build, which must not change the graph: ${variables.join(", ")}`,
    );
  }
  // The version table and the way in which env.py migrates are not Alembic's to tell without a database.
  const history = await readMigrations(context, words);
  if (history.graph.kind === "cannot-tell") {
    log.warn(
      { event: "cannot-tell", reason: history.graph.reason },
      `A start will run the migration command all the same, since ${history.graph.reason}`,
    );
  }
  return 0;
}

async function hear({ settings, signals }: Context, command: AlembicCommand): Promise<Heard> {
  try {
    return await hearGraph(settings, command, { database: false, stop: signals.stop, timeoutMs });
  } catch (error) {
    signals.stop.throwIfAborted();
    if (!(error instanceof NoAnswer)) throw error;
    throw cannotFreeze(error.message, error.cure);
  }
}

/** All that the answer may depend on, as far as it is in files. */
function listCovered(testimony: Testimony, command: AlembicCommand, cwd: string): Covered[] {
  const { versionLocations, recursive, sourceless } = testimony;
  const revisions = new Set(testimony.revisions.map(({ path }) => path));
  const inFolders = (path: string) => versionLocations.some((each) => path.startsWith(`${each}/`));
  const files = new Set([
    ...testimony.configFiles,
    // Also where they are not there: they would count if they came.
    `${cwd}/alembic.ini`,
    `${cwd}/pyproject.toml`,
    ...(command.layout === "flask" ? [`${cwd}/.flaskenv`, `${cwd}/.env`] : []),
    testimony.environmentFile,
    ...testimony.files.filter((path) => !revisions.has(path)),
  ]);
  files.delete(frozenPath(cwd));
  return [
    ...[...files].map((path) => ({ kind: "file", path }) as const),
    ...testimony.installations.map((path) => ({ kind: "packages", path }) as const),
    ...testimony.listed
      .filter((path) => !versionLocations.includes(path) && !inFolders(path))
      .map((path) => ({ kind: "names", path }) as const),
    ...versionLocations.map(
      (path) => ({ kind: "revisions", path, recursive, sourceless }) as const,
    ),
  ];
}

/** What the file system says against it, as a failure. */
function explained<T>(act: () => T, failureOf: (error: Error) => Failure): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof Error && "syscall" in error) throw failureOf(error);
    throw error;
  }
}

function cannotFreeze(reason: string, hint: string): Failure {
  return new Failure("cannot-tell", `cannot freeze the revision graph: ${reason}`, { hint });
}
