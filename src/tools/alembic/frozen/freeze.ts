// At image build: the real Alembic reports the revision graph once, and it is written down for every start to read.
// Guarantees: no database is needed, nothing is migrated, and nothing is written that Alembic itself has doubts about, or
// that a start would ignore at once.

import { NoAnswer } from "../../../failure.ts";
import type { Context } from "../../../context.ts";
import { describeCount } from "../../../log/words.ts";
import type { Covered } from "../../fingerprint.ts";
import { cannotFreeze, keep, reportCreated } from "../../freeze.ts";
import { frozenPath } from "../../frozen.ts";
import type { HistoryOptions } from "../../tool.ts";
import { askGraph, type AskedGraph } from "../asked/graph.ts";
import type { Report } from "../asked/report.ts";
import type { AlembicCommand } from "../command.ts";
import { readHistory, type Commands } from "../history.ts";
import { frozenPlace, readFrozen } from "./frozen.ts";

/** A Flask application and thousands of revisions are imported, on a machine that builds other things too. */
const timeoutMs = 300_000;

/** Returns what was written. Throws Failure "cannot-tell" where Alembic does not answer or refuses the revisions, "cannot-write". */
export async function freeze(
  commands: Commands,
  options: HistoryOptions,
  { log, signals }: Omit<Context<unknown>, "settings">,
): Promise<string> {
  const command = commands.alembic;
  const { cwd, env } = options;
  const place = { command, cwd, env };
  const byFiles = await readHistory(commands, options, { kind: "none" });
  const { report, graph } = await ask(command, options, signals.stop);
  const { scriptLocation, versionLocations, recursive, sourceless, revisions } = report;
  const located = { scriptLocation, versionLocations, recursive, sourceless };
  keep(frozenPlace(place), options.memo, {
    frozen: { located, revisions },
    covered: listCovered(report, command, cwd),
  });
  const written = readFrozen(place);
  if (written.kind === "ignored") throw cannotFreeze(written.reason, "fix the revisions");
  const { variables } = report;
  reportCreated(log, report.created);
  if (byFiles.doubt !== null && variables.length > 0) {
    log.info(
      { event: "variables", variables },
      `The project read these variables, and they must have the same values at start: ${variables.join(", ")}`,
    );
  }
  // Without a database Alembic does not report the version table, nor how env.py migrates.
  const { doubt } = await readHistory(commands, options);
  if (doubt !== null) {
    log.warn(
      { event: "cannot-tell", reason: doubt },
      `Every start will still run the migration command: ${doubt}`,
    );
  }
  const count = describeCount(revisions.length, "revision");
  return `${frozenPath(cwd)}: ${count}, ${graph.realHeads.length === 1 ? "head" : "heads"} ${graph.realHeads.join(", ")}, by Alembic ${report.alembic}`;
}

async function ask(
  command: AlembicCommand,
  { cwd, env }: HistoryOptions,
  stop: AbortSignal,
): Promise<AskedGraph> {
  try {
    return await askGraph(command, { cwd, env, stop, timeoutMs, database: false });
  } catch (error) {
    stop.throwIfAborted();
    if (!(error instanceof NoAnswer)) throw error;
    throw cannotFreeze(error.message, error.cure);
  }
}

/** The files that the graph may depend on. */
function listCovered(report: Report, command: AlembicCommand, cwd: string): Covered[] {
  const { versionLocations, recursive, sourceless } = report;
  const revisions = new Set(report.revisions.map(({ path }) => path));
  const inFolders = (path: string) => versionLocations.some((each) => path.startsWith(`${each}/`));
  const files = new Set([
    ...report.configFiles,
    // Also where they are not there: they would count if they came.
    `${cwd}/alembic.ini`,
    `${cwd}/pyproject.toml`,
    ...(command.layout === "flask" ? [`${cwd}/.flaskenv`, `${cwd}/.env`] : []),
    report.environmentFile,
    ...report.files.filter((path) => !revisions.has(path)),
  ]);
  files.delete(frozenPath(cwd));
  return [
    ...[...files].map((path) => ({ kind: "file", path }) as const),
    ...report.installations.map((path) => ({ kind: "packages", path }) as const),
    ...report.listed
      .filter((path) => !versionLocations.includes(path) && !inFolders(path))
      .map((path) => ({ kind: "names", path }) as const),
    ...versionLocations.map(
      (path) => ({ kind: "revisions", path, recursive, sourceless }) as const,
    ),
  ];
}
