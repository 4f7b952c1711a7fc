// What is pending, without Python and without a lock. The files say what there is, the version table says what has been
// applied. Guarantees: what neither says for certain is not guessed.

import type { History, HistoryOptions, MigrationCommand } from "../tool.ts";
import { withoutTenant, type AlembicCommand } from "./command.ts";
import { readConfig, type AlembicConfig } from "./files/config.ts";
import { readFrozen, type FrozenGraph } from "./frozen/frozen.ts";
import { readGraph, resolveState, type GraphAnswer } from "./graph.ts";
import { findOtherVersionTable, findUserTables, readVersionRows } from "./ledger.ts";
import { createList, messageOf } from "./list.ts";
import { createUndo } from "./undo.ts";

/** Alembic's own. */
export const usualVersionTable = { schema: null, name: "alembic_version" };

/** A command as Alembic's, and as the rest of the program has it. */
export interface Commands {
  readonly alembic: AlembicCommand;
  readonly migration: MigrationCommand;
}

/** Reads the Alembic config and the revision files that the command would read, unless the graph is frozen. */
export async function readHistory(
  commands: Commands,
  options: HistoryOptions,
  frozen: FrozenGraph = findFrozen(commands.alembic, options),
): Promise<History> {
  const holds = frozen.kind === "holds" ? frozen : null;
  const source = holds === null ? "files" : "frozen";
  const ignored = frozen.kind === "ignored" ? { path: frozen.path, reason: frozen.reason } : null;
  const answer = await readConfig(commands.alembic, {
    ...options,
    frozen: holds?.frozen.located ?? null,
  });
  const { tenant } = options;
  const byDefault =
    commands.alembic.layout === "flask" && options.versionTable === null && tenant === null;
  const configured = (url: string | null) =>
    url === null ? null : { url, from: "sqlalchemy.url in the Alembic config" };
  if (answer.kind === "cannot-tell") {
    return createHistory(commands, {
      graph: answer,
      source,
      versionTable: options.versionTable ?? { ...usualVersionTable, schema: tenant },
      versionTableCertain: options.versionTable !== null,
      byDefault,
      configured: configured(answer.url),
      ignored,
      tenant,
    });
  }
  const { config } = answer;
  // What the database has answered meanwhile is taken up: the revisions are read without a pause.
  await new Promise((proceed) => setImmediate(proceed));
  return createHistory(commands, {
    graph: holds === null ? readGraphOnce(config, options) : { kind: "known", graph: holds.graph },
    source,
    versionTable: config.versionTable,
    versionTableCertain: true,
    byDefault,
    configured: configured(config.url),
    ignored,
    tenant,
  });
}

/** The user's setting of the folders is stronger than what is frozen. */
function findFrozen(command: AlembicCommand, options: HistoryOptions): FrozenGraph {
  const { versions, cwd, env, tenant, memo } = options;
  if (versions.length > 0) return { kind: "none" };
  const place = { command: withoutTenant(command, tenant), cwd, env };
  return once(memo, `frozen for ${place.command.words.join("\0")}`, () => readFrozen(place));
}

/** The revisions of one folder are those of every tenant. */
function readGraphOnce(config: AlembicConfig, { memo }: HistoryOptions): GraphAnswer {
  const { versionTable: _, url: __, ...folders } = config;
  return once(memo, `graph of ${JSON.stringify(folders)}`, () => readGraph(config));
}

function once<T>(memo: Map<string, unknown>, key: string, read: () => T): T {
  const known = memo.get(key) as T | undefined;
  if (known !== undefined) return known;
  const answer = read();
  memo.set(key, answer);
  return answer;
}

type Facts = Pick<
  History,
  "source" | "versionTable" | "versionTableCertain" | "configured" | "ignored"
> & {
  readonly graph: GraphAnswer;
  /** Only a default names the version table, and an application that has not been seen may name another one. */
  readonly byDefault: boolean;
  readonly tenant: string | null;
};

function createHistory(commands: Commands, facts: Facts): History {
  const { alembic, migration } = commands;
  const { graph: answer, byDefault, tenant, ...shown } = facts;
  const { versionTable, versionTableCertain } = facts;
  const graph = answer.kind === "known" ? answer.graph : null;
  return {
    command: migration,
    doubt: answer.kind === "known" ? null : answer.reason,
    ...shown,
    async readLedger(connection) {
      const other = byDefault ? await findOtherVersionTable(connection, versionTable) : null;
      if (other !== null) return { kind: "cannot-tell", reason: other };
      return readVersionRows(connection, versionTable, tenant);
    },
    findUserTables: (connection) => findUserTables(connection, tenant),
    resolve({ rows, userTables }) {
      if (answer.kind === "cannot-tell") return { state: "cannot-tell", reason: answer.reason };
      return resolveState(answer.graph, alembic.target, rows, userTables);
    },
    heads: graph?.heads ?? [],
    describe: (ids) =>
      ids.flatMap((id) => {
        const revision = graph?.revisions.get(id);
        return revision === undefined
          ? []
          : [{ id, message: messageOf(revision), path: revision.path }];
      }),
    async ask(known, place) {
      // Loaded where it is wanted: no start needs it.
      const { askState } = await import("./asked/state.ts");
      const certain = { graph, versionTable: versionTableCertain };
      const asked = await askState(alembic, certain, known, place);
      if (asked.kind === "no-answer") return asked;
      const { state } = asked;
      const history = createHistory(commands, {
        ...facts,
        source: migration.toolId,
        graph: { kind: "known", graph: asked.graph },
      });
      return { kind: "answered", state, history };
    },
    // Loaded where it is needed: a start mostly knows its database.
    askDatabase: async (place) => (await import("./asked/database.ts")).askDatabase(alembic, place),
    undo: createUndo(alembic, graph),
    list: createList(alembic, answer),
  };
}
