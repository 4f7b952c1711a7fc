// What `entrypoint freeze` keeps of Alembic's own report: the revisions, and where they are.
// Guarantees: what no longer holds, or is no graph, is ignored.

import type { Environment } from "../../../runtime/environment.ts";
import {
  frozenPath,
  readFrozen as read,
  type FrozenAnswer,
  type FrozenPlace,
} from "../../frozen.ts";
import { wordsFor, type AlembicCommand } from "../command.ts";
import type { Located } from "../files/config.ts";
import { buildGraph, type Graph } from "../graph.ts";
import type { Revision } from "../revision.ts";

interface Frozen {
  readonly located: Located;
  readonly revisions: readonly Revision[];
}

export type FrozenGraph =
  | Exclude<FrozenAnswer<Frozen>, { readonly kind: "holds" }>
  | { readonly kind: "holds"; readonly frozen: Frozen; readonly graph: Graph };

interface Place {
  readonly command: AlembicCommand;
  readonly cwd: string;
  readonly env: Environment;
}

/** Variables that say where Alembic looks and what Python imports; never a secret. */
const telling = /^(?:ALEMBIC_CONFIG|PYTHONPATH|FLASK_APP|FLASK_DB_\w+)$/;

export function frozenPlace({ command, cwd, env }: Place): FrozenPlace {
  return { words: wordsFor(command, "history", []), cwd, env, telling };
}

/** What is frozen for this migration command, if it still holds. */
export function readFrozen(place: Place): FrozenGraph {
  const answer = read<Frozen>(frozenPlace(place));
  if (answer.kind !== "holds") return answer;
  const graph = buildGraph(answer.frozen.revisions);
  if (graph.kind === "cannot-tell") {
    return { kind: "ignored", path: frozenPath(place.cwd), reason: graph.reason };
  }
  return { kind: "holds", frozen: answer.frozen, graph: graph.graph };
}
