// A downgrade, typed at three in the morning: under the migration lock, what will be undone printed first, what
// could not be undone refused, and the end believed only when the database agrees.

import type { Connection } from "../postgres/connection.ts";
import type { Context, Words } from "../context.ts";
import { Failure } from "../failure.ts";
import { printResult } from "../log/log.ts";
import { describeCount, describeWords } from "../log/words.ts";
import { decide, strictPolicy } from "../migrate/decide.ts";
import { queryAfresh, runReporting, runStep } from "../migrate/migrate.ts";
import { runUnderLock } from "../migrate/under-lock.ts";
import type { MigrationLock } from "../postgres/migration-lock.ts";
import { describeSession, findClients, type Clients } from "../postgres/sessions.ts";
import { explainDatabaseError } from "../postgres/errors.ts";
import { describeAddress, type DatabaseAddress } from "../postgres/url.ts";
import type { DowngradeSettings } from "../settings/settings.ts";
import type { History, Undo, UndoCapability } from "../tools/tool.ts";
import { openPatiently, queryPatiently, readMigration } from "./survey.ts";

type DowngradeContext = Context<DowngradeSettings>;

/** Where the database is among the migrations, without doubt. */
interface Position {
  readonly history: History;
  readonly rows: readonly string[];
}

/** What will be undone, and the safety checks that fail. */
interface Plan extends Undo, Pick<Position, "history"> {
  readonly objections: readonly string[];
  readonly clients: Clients;
}

/** Resolves to the exit code once the database is where it was told to go (or, with --dry-run, at once). */
export async function downgrade(context: DowngradeContext): Promise<number> {
  const { settings, signals } = context;
  const history = await readMigration(context);
  const words = undoOf(history).words(settings.target);
  const { requireDatabase } = await import("./locate.ts");
  const address = await requireDatabase(context, [history], "to downgrade");
  const startMs = performance.now();
  let connection = await openPatiently(context, address);
  const adopt = (opened: Connection) => (connection = opened);
  const planNow = (by: Connection) => makePlan(context, history, by);
  try {
    // A mistake is reported at once, not after a wait for the lock.
    const on = { address, connection, startMs, adopt };
    const first = await queryPatiently(context, on, planNow);
    if (settings.dryRun) {
      printResult(describeDryRun(settings, address, first, words));
      return 0;
    }
    const under = {
      connection,
      versionTables: [history.versionTable.name],
      findCurrent: () => Promise.resolve(null),
      connect: (timeoutMs: number) => openPatiently(context, address, timeoutMs),
    };
    await runUnderLock(context, under, async (lock, locked) =>
      carryOut(context, {
        history,
        address,
        connection: locked,
        lock,
        words,
        plan: await planNow(locked),
      }),
    );
    return 0;
  } catch (error) {
    throw explainDatabaseError(error);
  } finally {
    if (!signals.stop.aborted) await connection.close();
  }
}

function undoOf({ command, undo }: History): UndoCapability {
  if (undo !== undefined) return undo;
  const why =
    command.opaque === null
      ? `entrypoint cannot undo a migration of ${command.toolName}`
      : `the migration command is not understood: ${describeWords(command.words)}`;
  throw new Failure("bad-settings", `entrypoint downgrade: ${why}`, {
    hint:
      command.cures.undo === undefined
        ? "name the migration tool's own command with --inspect-as, or run the downgrade of your own command"
        : `run its own command: ${command.cures.undo}`,
  });
}

async function makePlan(
  context: DowngradeContext,
  files: History,
  connection: Connection,
): Promise<Plan> {
  const { history, rows } = await locate(context, files, connection);
  const planned = undoOf(history).plan(context.settings.target, rows);
  if (planned.kind === "refused") {
    const decision = decide(strictPolicy, planned.state, history);
    if (decision.kind === "go") throw new Error(`nothing is wrong with ${planned.state.state}`);
    const { failure } = decision;
    throw failure.code === "ahead"
      ? failure.with({
          hint: "only an image that has this revision can undo it: run the downgrade with that one",
        })
      : failure;
  }
  const objections = planned.irreversible.map(
    (id) => `undoing ${describeMigrations(history, [id])} has no effect: its undo is empty`,
  );
  const clients = await findClients(connection);
  if (planned.undone.length > 0 && clients.own.length > 0) {
    const names = clients.own.map(describeSession).join("; ");
    objections.push(
      `an application may be running that needs ${planned.from.join(", ")}, since these sessions are connected: ${names}`,
    );
  }
  return { ...planned, history, objections, clients };
}

/** Asks the tool where the files leave doubt. Throws Failure "cannot-tell" where that does not help. */
async function locate(
  { settings, signals, log }: DowngradeContext,
  history: History,
  connection: Connection,
): Promise<Position> {
  const ledger = await history.readLedger(connection);
  if (history.doubt === null && ledger.kind === "known") return { history, rows: ledger.rows };
  const reason = history.doubt ?? (ledger.kind === "cannot-tell" ? ledger.reason : "");
  const cannotTell = (also: string, hint: string) =>
    new Failure("cannot-tell", `cannot tell what a downgrade would undo: ${reason}${also}`, {
      hint,
    });
  const { command } = history;
  if (history.ask === undefined) throw cannotTell("", command.cures.cannotTell);
  log.info({ event: "asking", reason }, `Querying ${command.toolName}: ${reason}`);
  const { cwd, env } = settings;
  const known = { ledger: ledger.kind === "known" ? ledger : null, userTables: false };
  const asked = await history.ask(known, { cwd, env, stop: signals.stop });
  if (asked.kind === "no-answer") throw cannotTell(`; ${asked.reason}`, asked.cure);
  return { history: asked.history, rows: asked.state.current };
}

/** `d4 (drop titles), c3 (add titles)` */
function describeMigrations(history: History, ids: readonly string[]): string {
  const found = new Map(history.describe(ids).map(({ id, message }) => [id, message]));
  return ids
    .map((id) => {
      const message = (found.get(id) ?? "").replaceAll(/\s+/g, " ");
      return message === "" ? id : `${id} (${message})`;
    })
    .join(", ");
}

/** Under the lock: logs what will be undone, undoes it, and verifies it. */
async function carryOut(
  context: DowngradeContext,
  on: {
    history: History;
    address: DatabaseAddress;
    connection: Connection;
    lock: MigrationLock;
    words: Words;
    plan: Plan;
  },
): Promise<void> {
  const { settings, log, signals } = context;
  const { history, from, undone, to, objections, clients } = on.plan;
  if (undone.length === 0) {
    log.info(
      { event: "current", current: from },
      `Nothing to undo: the database is at ${at(from)}`,
    );
    return;
  }
  if (objections.length > 0 && !settings.force) throw refusal(objections);
  for (const objection of objections)
    log.warn({ event: "forced" }, `Proceeding despite a failed safety check: ${objection}`);
  log.info(
    {
      event: "downgrading",
      command: on.words,
      from,
      undone,
      to,
      role: clients.role,
      otherSessions: clients.others,
    },
    `Undoing ${describeMigrations(history, undone)}: the database goes from ${at(from)} back to ${at(to)}; ${describeClients(clients)}`,
  );
  const failure = await runReporting(context, on.connection, on.history, (env) =>
    runStep(context, on.words, env, on.lock.lost, "Downgrade failed!"),
  );
  const found = await queryAfresh(context, on.address, failure, async (connection) =>
    locate(context, on.history, connection),
  ).catch((error: unknown) => {
    if (error instanceof Failure) return error;
    throw error;
  });
  const rows = found instanceof Failure ? null : found.rows;
  const progress = rows === null ? null : describeUndone(on.plan, rows);
  const details = { from, undone, to, current: rows };
  if (failure !== null) {
    throw failure.with({
      message: `${failure.message}${progress === null ? "" : `: ${progress}`}`,
      details,
    });
  }
  signals.stop.throwIfAborted();
  if (found instanceof Failure) {
    throw found.with({
      message: `the downgrade exited with 0, but it is not known how far it came: ${found.message}`,
      details,
    });
  }
  if (countUndone(on.plan, found.rows) < undone.length) {
    throw new Failure(
      "not-at-head",
      `${describeWords(on.words)} exited with 0, but the database is not at ${at(to)}: ${progress}`,
      {
        hint: history.command.cures.notAtHead(null),
        details,
      },
    );
  }
  log.info({ event: "downgraded", ...details }, `The database is at ${at(found.rows)}`);
}

/** What was looked at, and what cannot be seen. */
function describeClients({ own, others }: Clients): string {
  const found = own.length === 0 ? "no session" : describeCount(own.length, "session");
  const seen = `${found} of this role or of another entrypoint ${own.length > 1 ? "are" : "is"} connected`;
  const shown = others.slice(0, mostNamed).map(describeSession).join("; ");
  const more = others.length > mostNamed ? ` and ${others.length - mostNamed} more` : "";
  const ignored =
    others.length === 0 ? "" : `; of other roles, which do not count: ${shown}${more}`;
  return own.length > 0
    ? `${seen}${ignored}`
    : `${seen} (an application without an open connection is not seen)${ignored}`;
}

/** How many sessions of others a line names. */
const mostNamed = 5;

function refusal(objections: readonly string[]): Failure {
  return new Failure("unsafe-migration", `the downgrade is refused: ${objections.join("; ")}`, {
    hint: "stop the application and add the missing undo code, or override with --force",
    details: { objections },
  });
}

/** How many of those that were to be undone are not applied any more. */
function countUndone({ history, undone }: Plan, rows: readonly string[]): number {
  return undoOf(history).countUndone(undone, rows);
}

/** `of 3 revisions 1 was undone: the database is at c3, between d4 and b2` */
function describeUndone(plan: Plan, rows: readonly string[]): string {
  const count = countUndone(plan, rows);
  const total = plan.undone.length;
  return `of ${describeCount(total, "revision")} ${count} ${count === 1 ? "was" : "were"} undone: the database is at ${at(rows)}, between ${at(plan.from)} and ${at(plan.to)}`;
}

function at(rows: readonly string[]): string {
  return rows.length === 0 ? "base" : rows.join(", ");
}

/** What --dry-run prints. */
function describeDryRun(
  { force }: DowngradeSettings,
  address: DatabaseAddress,
  { history, from, undone, to, objections, clients }: Plan,
  words: Words,
): string {
  const lines = [`database   ${describeAddress(address)}`, `current    ${at(from)}`];
  if (undone.length === 0) return [...lines, "downgrade  would undo nothing"].join("\n");
  const { message, hint } = refusal(objections);
  if (objections.length > 0 && !force) lines.push(`would stop ${message}`, `cure       ${hint}`);
  lines.push(
    `downgrade  would undo ${describeMigrations(history, undone)}`,
    `           would run ${describeWords(words)} under the migration lock`,
    `sessions   ${describeClients(clients)}`,
    `then       would be at ${at(to)}`,
  );
  return lines.join("\n");
}
