// The revision graph by Alembic's own report, whatever the files leave in doubt: for status, downgrade and lint now, and
// for freeze. Guarantees: it is the graph that an upgrade works on, also where env.py sets the folders, which
// `alembic history` does not run; where that is not certain, there is no answer.

import { readFileSync } from "node:fs";
import { NoAnswer } from "../../../failure.ts";
import { requireRegularFile } from "../../../runtime/regular-file.ts";
import type { AlembicCommand } from "../command.ts";
import { readEnvironment, type Environment } from "../files/environment.ts";
import { buildGraph, type Graph } from "../graph.ts";
import type { Run } from "../../question.ts";
import { requestReport, type Stage, type Report, type ReportAnswer } from "./report.ts";

export interface AskedGraph {
  readonly report: Report;
  readonly graph: Graph;
}

/** The time limit is for all runs together. */
export interface AskOptions extends Run {
  /** Whether env.py may connect to its database; an image's build has none. */
  readonly database: boolean;
}

/** Throws NoAnswer, and Failure "not-found" or "not-executable". */
export async function askGraph(command: AlembicCommand, options: AskOptions): Promise<AskedGraph> {
  const deadline = performance.now() + options.timeoutMs;
  const ask = async (stage: Stage): Promise<ReportAnswer> => {
    const timeoutMs = Math.max(1, Math.ceil(deadline - performance.now()));
    return requestReport(command, stage, { ...options, timeoutMs });
  };
  const asked = await ask("config");
  const { environmentFile } = asked.kind === "reported" ? asked.report : asked;
  const environment = environmentFile === null ? null : readSource(environmentFile, command);
  // It may need what an image's build does not have, so it is run only where it may set the folders.
  const report =
    environment === null || environment.folderLines.length === 0
      ? acceptReport(asked)
      : options.database
        ? await askUntilMigration(ask, environment)
        : await askUntilConnection(ask, environment);
  const before = asked.kind === "reported" ? asked.report.created : [];
  const created = [...new Set([...before, ...report.created])];
  return { report: { ...report, created }, graph: readOwn(report) };
}

function acceptReport(answer: ReportAnswer): Report {
  if (answer.kind === "reported") return answer.report;
  throw new NoAnswer(
    answer.reason,
    "fix what Alembic reports, and make sure that env.py and the application have what they read at import",
  );
}

function readSource(path: string, { layout }: AlembicCommand): Environment {
  let source: Uint8Array;
  try {
    requireRegularFile(path);
    source = readFileSync(path);
  } catch (error) {
    throw new NoAnswer((error as Error).message, "copy env.py into the image");
  }
  const answer = readEnvironment(source, { flask: layout === "flask" });
  if (answer.kind === "known") return answer.environment;
  throw new NoAnswer(`${path}: ${answer.reason}`, "fix env.py");
}

/** An env.py that migrates once has set by then whatever it sets. */
async function askUntilMigration(
  ask: (stage: Stage) => Promise<ReportAnswer>,
  { flowHazard, repetition, folderHazard }: Environment,
): Promise<Report> {
  const hazard = flowHazard ?? repetition;
  if (hazard === null) return acceptReport(await ask("migration"));
  throw new NoAnswer(
    `${folderHazard}, and each time others: ${hazard}`,
    "name the folders with --versions, or set them in the Alembic config",
  );
}

/** What it sets later is not seen. */
async function askUntilConnection(
  ask: (stage: Stage) => Promise<ReportAnswer>,
  { folderLines }: Environment,
): Promise<Report> {
  const report = acceptReport(await ask("connection"));
  const unseen = folderLines.find(
    ([first, last]) => !report.environmentLines.some((line) => line >= first && line <= last),
  );
  if (unseen === undefined) return report;
  throw new NoAnswer(
    `env.py, line ${unseen[0]} may set the folders, and it is not run before context.is_offline_mode() or context.configure() is called`,
    "set the folders at the beginning of env.py, or in the Alembic config",
  );
}

/** Alembic and this program must compute the same heads from the same revisions. */
function readOwn({ revisions, heads, realHeads, versionLocations }: Report): Graph {
  if (revisions.length === 0) {
    throw new NoAnswer(
      `Alembic finds no revision in ${versionLocations.join(", ")}`,
      "copy the revisions into the image",
    );
  }
  const answer = buildGraph(revisions);
  if (answer.kind === "cannot-tell") throw new NoAnswer(answer.reason, "fix the revisions");
  const same = (ours: readonly string[], theirs: readonly string[]) =>
    ours.toSorted().join("\n") === theirs.toSorted().join("\n");
  const { graph } = answer;
  if (same(graph.heads, heads) && same(graph.realHeads, realHeads)) return graph;
  throw new NoAnswer(
    `Alembic says that the heads are ${heads.join(", ")}, and the revisions say ${graph.heads.join(", ")}`,
    "use Alembic's own commands",
  );
}
