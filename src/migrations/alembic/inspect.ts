// Step 2, which the shell script lacks: what is pending, without Python and without a lock. The files say what
// there is, the database says what has been applied, and what neither says for certain is not guessed.

import type pg from "pg";
import { readVersionRows } from "../../database/version-rows.ts";
import type { MigrationCommand } from "../command.ts";
import { usualVersionTable, type State, type VersionTable } from "../state.ts";
import { readConfig, type ConfigOptions } from "./config.ts";
import type { FrozenAnswer } from "./frozen.ts";
import { readGraph, resolveState, type GraphAnswer } from "./graph.ts";

/** What the files say. */
export interface History {
  readonly command: MigrationCommand;
  readonly graph: GraphAnswer;
  /** Who has told the graph: the revision files, or Alembic itself as the image was built. */
  readonly source: "files" | "frozen";
  readonly versionTable: VersionTable;
  /** Whether that is known to be the table: by the user's word, or since env.py leaves no doubt. */
  readonly versionTableCertain: boolean;
  /** `sqlalchemy.url` of the Alembic config, where env.py uses it unchanged. */
  readonly url: string | null;
}

/** Reads the Alembic config and the revision files that `command` would read, unless the graph is frozen. */
export async function readHistory(
  command: MigrationCommand,
  options: Omit<ConfigOptions, "frozen"> & { readonly frozen: FrozenAnswer },
): Promise<History> {
  const frozen = options.frozen.kind === "holds" ? options.frozen : null;
  const source = frozen === null ? "files" : "frozen";
  const versionTable = options.versionTable ?? usualVersionTable;
  if (command.kind === "opaque") {
    return {
      command,
      graph: { kind: "cannot-tell", reason: command.reason },
      source: "files",
      versionTable,
      versionTableCertain: options.versionTable !== null,
      url: null,
    };
  }
  const located = frozen?.frozen.located ?? null;
  const answer = await readConfig(command, { ...options, frozen: located });
  if (answer.kind === "cannot-tell") {
    const versionTableCertain = options.versionTable !== null;
    return { command, graph: answer, source, versionTable, versionTableCertain, url: answer.url };
  }
  const { config } = answer;
  // What the database has answered meanwhile is taken up: the revisions are read without a pause.
  await new Promise((proceed) => setImmediate(proceed));
  return {
    command,
    graph: frozen === null ? readGraph(config) : { kind: "known", graph: frozen.graph },
    source,
    versionTable: config.versionTable,
    versionTableCertain: true,
    url: config.url,
  };
}

/** Where the database stands against the files. `client: null` means that we know of no database. */
export async function inspect(history: History, client: pg.Client | null): Promise<State> {
  const { command, graph } = history;
  if (graph.kind === "cannot-tell") return { state: "cannot-tell", reason: graph.reason };
  if (command.kind === "opaque") return { state: "cannot-tell", reason: command.reason };
  if (client === null) return { state: "cannot-tell", reason: "no database URL is known" };
  const answer = await readVersionRows(client, history.versionTable);
  if (answer.kind === "cannot-tell") return { state: "cannot-tell", reason: answer.reason };
  return resolveState(graph.graph, command.target, answer.rows, answer.userTables);
}
