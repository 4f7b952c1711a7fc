// Step 2, which the shell script lacks: what is pending, without Python and without a lock. The files say what
// there is, the database says what has been applied, and what neither says for certain is not guessed.

import type pg from "pg";
import { readVersionRows } from "../../database/version-rows.ts";
import type { MigrationCommand } from "../command.ts";
import { usualVersionTable, type State, type VersionTable } from "../state.ts";
import { readConfig, type ConfigOptions } from "./config.ts";
import { readGraph, resolveState, type GraphAnswer } from "./graph.ts";

/** What the files say. */
export interface History {
  readonly command: MigrationCommand;
  readonly graph: GraphAnswer;
  readonly versionTable: VersionTable;
  /** Whether that is known to be the table: by the user's word, or since env.py leaves no doubt. */
  readonly versionTableCertain: boolean;
  /** `sqlalchemy.url` of the Alembic config, where env.py uses it unchanged. */
  readonly url: string | null;
}

/** Reads the Alembic config and the revision files that `command` would read. */
export async function readHistory(
  command: MigrationCommand,
  options: ConfigOptions,
): Promise<History> {
  const versionTable = options.versionTable ?? usualVersionTable;
  if (command.kind === "opaque") {
    return {
      command,
      graph: { kind: "cannot-tell", reason: command.reason },
      versionTable,
      versionTableCertain: options.versionTable !== null,
      url: null,
    };
  }
  const answer = await readConfig(command, options);
  if (answer.kind === "cannot-tell") {
    const versionTableCertain = options.versionTable !== null;
    return { command, graph: answer, versionTable, versionTableCertain, url: answer.url };
  }
  const { config } = answer;
  return {
    command,
    graph: readGraph(config),
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
