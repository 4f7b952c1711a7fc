// At image build: `RUN entrypoint freeze` asks the real Alembic once for the revision graph and writes it down, for
// every start to read. Guarantees: no database is needed, nothing is migrated, and nothing is written that Alembic
// itself has doubts about, or that would not hold at once.

import { readFileSync, rmSync } from "node:fs";
import { Failure } from "./exit-codes.ts";
import { printResult } from "./log.ts";
import { NoAnswer } from "./migrations/alembic/ask.ts";
import { readEnvironment } from "./migrations/alembic/environment.ts";
import type { Covered } from "./migrations/alembic/fingerprint.ts";
import { frozenPath, readFrozen, seal, writeFrozen } from "./migrations/alembic/frozen.ts";
import { buildGraph, type Graph } from "./migrations/alembic/graph.ts";
import { readHistory } from "./migrations/alembic/inspect.ts";
import { hearAlembic, type Testimony } from "./migrations/alembic/witness.ts";
import { recogniseCommand, type MigrationCommand } from "./migrations/command.ts";
import type { Context } from "./migrations/migrate.ts";
import { readMigrations } from "./survey.ts";

type AlembicCommand = Extract<MigrationCommand, { kind: "alembic" }>;

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
  const testimony = await hear(context, command);
  const graph = readOwn(testimony);
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

/** Runs env.py only where it may set the folders: it may need what an image's build does not have. */
async function hear(context: Context, command: AlembicCommand): Promise<Testimony> {
  const asked = await ask(context, false);
  const source = explained(
    () => readFileSync(asked.environmentFile),
    (error) => cannotFreeze(error.message, "copy env.py into the image first"),
  );
  const answer = readEnvironment(source, { flask: command.layout === "flask" });
  if (answer.kind === "cannot-tell") {
    throw cannotFreeze(`${asked.environmentFile}: ${answer.reason}`, "mend env.py");
  }
  const { folderLines } = answer.environment;
  if (folderLines.length === 0) return asked;
  const run = await ask(context, true);
  const unseen = folderLines.find(
    ([first, last]) => !run.environmentLines.some((line) => line >= first && line <= last),
  );
  if (unseen !== undefined) {
    throw cannotFreeze(
      `env.py, line ${unseen[0]} may set the folders, and it is not run before context.is_offline_mode() or context.configure() is called`,
      "set the folders at the beginning of env.py, or in the Alembic config",
    );
  }
  return run;
}

async function ask({ settings, signals }: Context, runEnvironment: boolean): Promise<Testimony> {
  try {
    const answer = await hearAlembic(settings, { runEnvironment, stop: signals.stop });
    if (answer.kind === "told") return answer.testimony;
    throw cannotFreeze(
      answer.reason,
      "mend what Alembic says, and give the build what env.py or the application reads at import",
    );
  } catch (error) {
    signals.stop.throwIfAborted();
    if (!(error instanceof NoAnswer)) throw error;
    throw cannotFreeze(
      error.message,
      "install the application first, and give the build the variables that it reads at import",
    );
  }
}

/** What Alembic has told has to make sense to us as well, and the same. */
function readOwn({ revisions, heads, realHeads, versionLocations }: Testimony): Graph {
  if (revisions.length === 0) {
    throw cannotFreeze(
      `Alembic finds no revision in ${versionLocations.join(", ")}`,
      "copy the revisions into the image first",
    );
  }
  const answer = buildGraph(revisions);
  if (answer.kind === "cannot-tell") throw cannotFreeze(answer.reason, "mend the revisions");
  const same = (ours: readonly string[], theirs: readonly string[]) =>
    ours.toSorted().join("\n") === theirs.toSorted().join("\n");
  const { graph } = answer;
  if (!same(graph.heads, heads) || !same(graph.realHeads, realHeads)) {
    throw cannotFreeze(
      `Alembic says that the heads are ${heads.join(", ")}, and the revisions say ${graph.heads.join(", ")}`,
      "do without freeze: Alembic is asked where the files leave doubt",
    );
  }
  return graph;
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
