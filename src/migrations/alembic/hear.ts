// The revision graph by Alembic's own word, for those who need it whatever the files leave in doubt: status, downgrade
// and lint now, freeze for later. Guarantees: it is the graph that an upgrade works on, also where env.py sets the
// folders, which `alembic history` does not run; and where that cannot be made sure of, there is no answer.

import { readFileSync } from "node:fs";
import type { Settings } from "../../settings.ts";
import type { MigrationCommand } from "../command.ts";
import { readEnvironment, type Environment } from "./environment.ts";
import { buildGraph, type Graph } from "./graph.ts";
import { NoAnswer } from "./run.ts";
import { hearAlembic, type Stage, type Testimony, type TestimonyAnswer } from "./witness.ts";

export interface Heard {
  readonly testimony: Testimony;
  readonly graph: Graph;
}

export interface Hearing {
  /** env.py may connect to its database; an image's build has none. */
  readonly database: boolean;
  readonly stop: AbortSignal;
  /** For all of it. */
  readonly timeoutMs: number;
}

/** Throws NoAnswer, and Failure "not-found" or "not-executable". */
export async function hearGraph(
  settings: Settings,
  command: Extract<MigrationCommand, { kind: "alembic" }>,
  hearing: Hearing,
): Promise<Heard> {
  const deadline = performance.now() + hearing.timeoutMs;
  const ask = async (stage: Stage): Promise<TestimonyAnswer> => {
    const timeoutMs = Math.max(1, Math.ceil(deadline - performance.now()));
    return hearAlembic(settings, { stage, stop: hearing.stop, timeoutMs });
  };
  const asked = await ask("config");
  const { environmentFile } = asked.kind === "told" ? asked.testimony : asked;
  const environment = environmentFile === null ? null : readSource(environmentFile, command);
  // It may need what an image's build does not have, so it is run only where it may set the folders.
  const testimony =
    environment === null || environment.folderLines.length === 0
      ? acceptTold(asked)
      : hearing.database
        ? await askUntilMigration(ask, environment)
        : await askUntilConnection(ask, environment);
  return { testimony, graph: readOwn(testimony) };
}

function acceptTold(answer: TestimonyAnswer): Testimony {
  if (answer.kind === "told") return answer.testimony;
  throw new NoAnswer(
    answer.reason,
    "mend what Alembic says, and see that env.py and the application have what they read at import",
  );
}

function readSource(
  path: string,
  { layout }: Extract<MigrationCommand, { kind: "alembic" }>,
): Environment {
  let source: Uint8Array;
  try {
    source = readFileSync(path);
  } catch (error) {
    throw new NoAnswer((error as Error).message, "copy env.py into the image");
  }
  const answer = readEnvironment(source, { flask: layout === "flask" });
  if (answer.kind === "known") return answer.environment;
  throw new NoAnswer(`${path}: ${answer.reason}`, "mend env.py");
}

/** An env.py that migrates once has set by then whatever it sets. */
async function askUntilMigration(
  ask: (stage: Stage) => Promise<TestimonyAnswer>,
  { flowHazard, folderHazard }: Environment,
): Promise<Testimony> {
  if (flowHazard === null) return acceptTold(await ask("migration"));
  throw new NoAnswer(
    `${folderHazard}, and each time others: ${flowHazard}`,
    "name the folders with --versions, or set them in the Alembic config",
  );
}

/** What it sets later is not seen. */
async function askUntilConnection(
  ask: (stage: Stage) => Promise<TestimonyAnswer>,
  { folderLines }: Environment,
): Promise<Testimony> {
  const testimony = acceptTold(await ask("connection"));
  const unseen = folderLines.find(
    ([first, last]) => !testimony.environmentLines.some((line) => line >= first && line <= last),
  );
  if (unseen === undefined) return testimony;
  throw new NoAnswer(
    `env.py, line ${unseen[0]} may set the folders, and it is not run before context.is_offline_mode() or context.configure() is called`,
    "set the folders at the beginning of env.py, or in the Alembic config",
  );
}

/** What Alembic has told has to make sense to us as well, and the same. */
function readOwn({ revisions, heads, realHeads, versionLocations }: Testimony): Graph {
  if (revisions.length === 0) {
    throw new NoAnswer(
      `Alembic finds no revision in ${versionLocations.join(", ")}`,
      "copy the revisions into the image",
    );
  }
  const answer = buildGraph(revisions);
  if (answer.kind === "cannot-tell") throw new NoAnswer(answer.reason, "mend the revisions");
  const same = (ours: readonly string[], theirs: readonly string[]) =>
    ours.toSorted().join("\n") === theirs.toSorted().join("\n");
  const { graph } = answer;
  if (same(graph.heads, heads) && same(graph.realHeads, realHeads)) return graph;
  throw new NoAnswer(
    `Alembic says that the heads are ${heads.join(", ")}, and the revisions say ${graph.heads.join(", ")}`,
    "go by Alembic's own commands",
  );
}
