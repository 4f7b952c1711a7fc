// At three in the morning: where the database stands, what is pending, who is at work and who is in the way.
// Guarantees: no lock is taken, nothing is written, nothing is waited for; Python is started only where the files
// alone leave doubt, and the answer says so.

import { quote } from "shlex";
import { listBackfills, type KnownBackfill } from "./backfill/checkpoint.ts";
import { formatCount, describeSeconds, percentOf } from "./backfill/progress.ts";
import { describeSession, type Session } from "./database/blockers.ts";
import { connectAtOnce, isOutOfTime, type Connection } from "./database/connect.ts";
import { readHealth, type Health, type InvalidIndex } from "./database/health.ts";
import { findUserTables, readVersionRows, type VersionRows } from "./database/version-rows.ts";
import { exitCodes } from "./exit-codes.ts";
import { hasColours, printResult } from "./log.ts";
import { askState } from "./migrations/alembic/ask.ts";
import { resolveState, type Graph } from "./migrations/alembic/graph.ts";
import type { History } from "./migrations/alembic/inspect.ts";
import { messageOf } from "./migrations/alembic/listing.ts";
import { decide } from "./migrations/decide.ts";
import { stampCommand } from "./migrations/cures.ts";
import type { Context } from "./migrations/migrate.ts";
import type { State } from "./migrations/state.ts";
import type { Settings } from "./settings.ts";
import { askOnce, readAndConnect, readMigrations } from "./survey.ts";

/** What --json prints. */
export interface Status {
  readonly state: State["state"];
  /** The rows of the version table. */
  readonly current: readonly string[];
  readonly heads: readonly string[];
  /** In the order in which Alembic would run them. */
  readonly pending: readonly string[];
  readonly pendingRevisions: readonly PendingRevision[];
  /** What is wrong, or why Alembic was asked. */
  readonly reason: string | null;
  readonly cure: string | null;
  /** Who says so: the files alone, Alembic as the image was built, or Alembic itself, now. */
  readonly source: "files" | "frozen" | "alembic";
  /** Null where no PostgreSQL URL is known: then Alembic alone has been asked, and the rest of the facts is missing. */
  readonly database: string | null;
  readonly lock: { readonly held: boolean; readonly holder: Session | null };
  readonly blockedBy: readonly Session[];
  readonly invalidIndexes: readonly InvalidIndex[];
  /** Those that have begun and not ended. */
  readonly backfills: readonly KnownBackfill[];
  readonly pooled: boolean;
}

interface PendingRevision {
  readonly id: string;
  readonly message: string;
  readonly path: string;
}

const codes: Readonly<Record<State["state"], number>> = {
  current: 0,
  behind: exitCodes.pending,
  unstamped: exitCodes.unstamped,
  ahead: exitCodes.ahead,
  overlapping: exitCodes.overlapping,
  "multiple-heads": exitCodes["multiple-heads"],
  "cannot-tell": exitCodes["cannot-tell"],
};

const connectTimeoutMs = 2_000;

/** Resolves to the state's exit code. Throws Failure "database-unavailable". */
export async function printStatus(context: Context): Promise<number> {
  const { settings } = context;
  const status = await readStatus(context);
  printResult(
    settings.json ? JSON.stringify(status) : formatStatus(status, hasColours(settings.env)),
  );
  return codes[status.state];
}

async function readStatus(context: Context): Promise<Status> {
  const { settings, signals, log } = context;
  const { history, connection } = await readAndConnect(
    context,
    () => readMigrations(context, settings.migrate ?? []),
    (address) => connectAtOnce(address, { timeoutMs: connectTimeoutMs, stop: signals.stop }),
  );
  const of = { settings, history };
  const facts =
    connection === null
      ? null
      : await askOnce(context, connection, () => readFacts(history, connection));

  const certain = resolve(history, facts);
  if (certain.state !== "cannot-tell") {
    const graph = history.graph.kind === "known" ? history.graph.graph : null;
    return describe(of, certain, graph, facts, {
      source: history.source,
      reason: null,
    });
  }
  const locked = facts !== null && facts.rows === null;
  if (!locked)
    log.info(
      { event: "asking", reason: certain.reason },
      `Asking Alembic, since ${certain.reason}`,
    );
  const rows = facts?.rows?.kind === "known" ? facts.rows.rows : [];
  const asked = locked
    ? null
    : await askState(
        settings,
        history,
        {
          graph: history.graph.kind === "known" ? history.graph.graph : null,
          rows: facts?.rows?.kind === "known" && history.versionTableCertain ? rows : null,
          doubtfulRows: rows,
          userTables: facts?.userTables ?? false,
        },
        signals.stop,
      );
  if (asked === null || asked.kind === "no-answer") {
    const also = asked?.reason ?? certain.reason;
    const reason = also === certain.reason ? also : `${certain.reason}; ${also}`;
    const state = { state: "cannot-tell", reason } as const;
    const told = { source: "files", reason } as const;
    return { ...describe(of, state, null, facts, told), cure: asked?.cure ?? null };
  }
  return describe(of, asked.state, asked.graph, facts, {
    source: "alembic",
    reason: certain.reason,
  });
}

/** What the database says; `rows` is null where somebody has locked the version table. */
interface Facts {
  readonly health: Health;
  readonly backfills: readonly KnownBackfill[];
  readonly rows: VersionRows | null;
  /** There are tables besides those that hold revisions; looked up only where Alembic will be asked. */
  readonly userTables: boolean;
}

async function readFacts(history: History, connection: Connection): Promise<Facts> {
  const { versionTable } = history;
  const health = await readHealth(connection, versionTable.name);
  const rows = await readVersionRows(connection.client, versionTable).catch((error: unknown) => {
    if (isOutOfTime(error)) return null;
    throw error;
  });
  const backfills = health.backfills ? await listBackfills(connection.client) : [];
  const facts = { health, backfills, rows, userTables: false };
  if (rows === null || resolve(history, facts).state !== "cannot-tell") return facts;
  // What was asked before may have failed, and the transaction with it.
  await connection.client.query("rollback");
  return { ...facts, userTables: await findUserTables(connection.client) };
}

/** What is certain without Python. */
function resolve({ command, graph, versionTable }: History, facts: Facts | null): State {
  const cannotTell = (reason: string): State => ({ state: "cannot-tell", reason });
  if (graph.kind === "cannot-tell") return cannotTell(graph.reason);
  if (command.kind === "opaque") return cannotTell(command.reason);
  if (facts === null) return cannotTell("no PostgreSQL URL is known");
  const { rows } = facts;
  if (rows === null) return cannotTell(`somebody has locked the table ${versionTable.name}`);
  if (rows.kind === "cannot-tell") return cannotTell(rows.reason);
  return resolveState(graph.graph, command.target, rows.rows, rows.userTables);
}

function describe(
  { settings, history: { versionTable } }: { settings: Settings; history: History },
  state: State,
  graph: Graph | null,
  facts: Facts | null,
  told: Pick<Status, "source" | "reason">,
): Status {
  const health = facts?.health ?? null;
  const pending = "pending" in state ? state.pending : [];
  const plan = decide(
    { onAhead: "abort", alwaysMigrate: false, migrate: settings.migrate },
    state,
    versionTable,
  );
  const wrong =
    plan.kind === "fail"
      ? { reason: plan.failure.message, cure: plan.failure.hint ?? null }
      : state.state === "unstamped"
        ? {
            reason: "there are tables, but no revision is recorded",
            cure: `where they are those of head: ${stampCommand(settings.migrate, state.heads)}; else stamp the revision that they are at`,
          }
        : { reason: null, cure: null };
  const reasons = [wrong.reason, told.reason].filter((reason) => reason !== null);
  return {
    state: state.state,
    current: "current" in state ? state.current : [],
    heads: "heads" in state ? state.heads : [],
    pending,
    pendingRevisions: pending.flatMap((id) => {
      const revision = graph?.revisions.get(id);
      return revision === undefined
        ? []
        : [{ id, message: messageOf(revision), path: revision.path }];
    }),
    reason: reasons.length === 0 ? null : reasons.join("; "),
    cure: wrong.cure,
    source: told.source,
    database: health?.database ?? null,
    lock: { held: health !== null && health.holder !== null, holder: health?.holder ?? null },
    blockedBy: health?.blockedBy ?? [],
    invalidIndexes: health?.invalidIndexes ?? [],
    backfills: facts?.backfills ?? [],
    pooled: health?.pooled ?? false,
  };
}

const [red, green, yellow] = [31, 32, 33];

const sources: Readonly<Record<Status["source"], string>> = {
  files: "the revision files",
  frozen: "entrypoint.freeze.json, and no file has changed since",
  alembic: "alembic",
};

/** The table for people. */
export function formatStatus(status: Status, colours: boolean): string {
  const paint = (text: string, colour: number) =>
    colours ? `\u001B[1;${colour}m${text}\u001B[0m` : text;
  const { state, pendingRevisions: pending, lock } = status;
  const list = (ids: readonly string[]) => (ids.length === 0 ? ["none"] : ids);
  const colour = state === "current" ? green : state === "behind" ? yellow : red;
  const count = status.pending.length === 0 ? "" : ` (${status.pending.length} pending)`;
  const idWidth = Math.max(0, ...pending.map(({ id }) => id.length));
  const messageWidth = Math.max(0, ...pending.map(({ message }) => oneLine(message).length));
  const session = (one: Session) => {
    const query = one.query === "" ? "" : `: ${one.query}`;
    return `${describeSession(one)}, ${one.state || "state unknown"}${query}`;
  };
  const rows: (readonly [string, readonly string[]])[] = [
    ["state", [`${paint(state, colour)}${count}`]],
    ["reason", status.reason === null ? [] : [status.reason]],
    ["cure", status.cure === null ? [] : [status.cure]],
    ["current", state === "cannot-tell" ? ["not known"] : list(status.current)],
    ["heads", state === "cannot-tell" ? ["not known"] : list(status.heads)],
    [
      "pending",
      pending.map(
        ({ id, message, path }) =>
          `${id.padEnd(idWidth)}  ${oneLine(message).padEnd(messageWidth)}  ${path}`,
      ),
    ],
    ["source", [sources[status.source]]],
    ["database", [status.database ?? "none known: set DATABASE_URL"]],
    [
      "lock",
      status.database === null
        ? []
        : [lock.holder === null ? "free" : paint(`held by ${session(lock.holder)}`, yellow)],
    ],
    ["blocked by", status.blockedBy.map((one) => paint(session(one), red))],
    [
      "invalid",
      status.invalidIndexes.map(({ name, table }) =>
        paint(`index ${name} on ${table}: drop it, and create it again`, red),
      ),
    ],
    [
      "backfill",
      status.backfills.flatMap((one) => {
        const done = `${one.name}: ${percentOf(one)} %, ${formatCount(one.rows)} of about ${formatCount(Math.max(one.expected, one.rows))} rows`;
        if (one.session !== null) return [`${done}, run by ${describeSession(one.session)}`];
        const words = ["--table", one.table, "--set", one.set, "--where", one.where];
        return [
          `${done}, ${paint(`interrupted ${describeSeconds(one.idleSeconds)} ago`, yellow)}; to go on:`,
          `entrypoint backfill ${[...words, "--name", one.name].map(quote).join(" ")}`,
        ];
      }),
    ],
    ["pooler", status.pooled ? ["yes: a direct URL is safer for migrations"] : []],
  ];
  return rows
    .flatMap(([name, lines]) =>
      lines.map((line, index) => `${(index === 0 ? name : "").padEnd(10)}  ${line}`.trimEnd()),
    )
    .join("\n");
}

function oneLine(message: string): string {
  return message.replaceAll(/\s+/g, " ");
}
