// At three in the morning: where the database stands, what is pending, who is at work and who blocks it.
// Guarantees: no lock is taken, nothing is written, nothing is waited for; Python is started only where the files
// alone leave doubt, and the result says so.

import { quote } from "shlex";
import type { Connection } from "../postgres/connection.ts";
import { checkpointsFound, listBackfills, type KnownBackfill } from "../backfill/checkpoint.ts";
import { describeCount, describeSeconds, formatCount, percentOf } from "../log/words.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../failure.ts";
import { hasColours, printResult } from "../log/log.ts";
import { decide, strictPolicy } from "../migrate/decide.ts";
import { versionTablesOf, withoutTables, type Migration } from "../migrate/migrations.ts";
import { isOutOfTime } from "../postgres/errors.ts";
import { beginReading, readHealth, type Health, type InvalidIndex } from "../postgres/health.ts";
import { describeSession, type Session } from "../postgres/sessions.ts";
import { connectAtOnce } from "../postgres/wait-for-database.ts";
import type { StatusSettings } from "../settings/settings.ts";
import type { State } from "../state.ts";
import type { History, Ledger, Migration as Revision } from "../tools/tool.ts";
import { askOnce, readAndConnect, type Located } from "./survey.ts";

/** Where one history stands. Null is "not known". */
interface Standing {
  readonly state: State["state"];
  /** The rows of the version table. */
  readonly current: readonly string[] | null;
  readonly heads: readonly string[] | null;
  /** In the order in which the tool would run them. */
  readonly pending: readonly string[] | null;
  readonly pendingRevisions: readonly Revision[] | null;
  /** What is wrong, or why the tool was asked. */
  readonly reason: string | null;
  readonly cure: string | null;
  /** Where that comes from: `files`, `frozen` with the image, or the name of the tool that was asked now. */
  readonly source: string;
}

/** What --json prints. Of several histories, the first that stands worst is the database's own standing. */
export interface Status extends Standing {
  /** Each of several; absent where there is one. */
  readonly histories?: readonly (Standing & { readonly name: string | null })[];
  /** Null where no PostgreSQL URL is known: then the tool alone has been asked, and the rest of the facts is missing. */
  readonly database: string | null;
  readonly lock: { readonly held: boolean; readonly holder: Session | null } | null;
  readonly blockedBy: readonly Session[] | null;
  readonly invalidIndexes: readonly InvalidIndex[] | null;
  /** Those that have begun and not ended. */
  readonly backfills: readonly KnownBackfill[] | null;
  readonly pooled: boolean | null;
}

const codes: Readonly<Record<State["state"], number>> = {
  current: 0,
  behind: exitCodes.pending,
  broken: exitCodes.broken,
  unstamped: exitCodes.unstamped,
  ahead: exitCodes.ahead,
  diverged: exitCodes.ahead,
  overlapping: exitCodes.overlapping,
  "multiple-heads": exitCodes["multiple-heads"],
  "cannot-tell": exitCodes["cannot-tell"],
};

const connectTimeoutMs = 2_000;

/** Resolves to the state's exit code. Throws Failure "database-unavailable". */
export async function printStatus(context: Context<StatusSettings>): Promise<number> {
  const { settings } = context;
  const status = await readStatus(context);
  printResult(
    settings.json
      ? formatJson(status)
      : formatStatus(status, { colours: hasColours(settings.env), verbose: settings.verbose }),
  );
  return codes[status.state];
}

async function readStatus(context: Context<StatusSettings>): Promise<Status> {
  const found = await readAndConnect(context, (address) =>
    connectAtOnce(context, address, connectTimeoutMs),
  );
  const { migrations } = found;
  const connection = found.connection ?? (await connectWhereTold(context, found));
  const facts =
    connection === null
      ? null
      : await askOnce(context, connection, (queried) => readFacts(migrations, queried));
  const histories: (Standing & { readonly name: string | null })[] = [];
  // Tables without a revision may be another history's, where that one has a revision.
  const shared = facts?.seen.some(
    ({ ledger }) => ledger?.kind === "known" && ledger.rows.length > 0,
  );
  for (const [index, { name, history, tenant }] of migrations.entries()) {
    const seen = facts?.seen[index] ?? null;
    const others = shared === true && migrations.length > 1 && tenant === null;
    histories.push({ name, ...(await findStanding(context, history, seen, others)) });
  }
  const [worst] = histories.toSorted((a, b) => severityOf(b) - severityOf(a));
  if (worst === undefined) throw new Error("there is no history");
  const { name: _, ...standing } = worst;
  const health = facts?.health ?? null;
  return {
    ...standing,
    ...(histories.length > 1 ? { histories } : {}),
    database: health?.database ?? null,
    lock: health === null ? null : { held: health.holder !== null, holder: health.holder },
    blockedBy: health?.blockedBy ?? null,
    invalidIndexes: health?.invalidIndexes ?? null,
    backfills: facts?.backfills ?? null,
    pooled: health?.pooled ?? null,
  };
}

/** To what the tool connects, where nothing else names it. */
async function connectWhereTold(
  context: Context<StatusSettings>,
  { located, migrations }: { readonly located: Located; readonly migrations: readonly Migration[] },
): Promise<Connection | null> {
  const [first] = migrations;
  if (located.kind !== "unknown" || first === undefined) return null;
  const { queryDatabase } = await import("./locate.ts");
  const { located: told, doubt } = await queryDatabase(context, first.history);
  if (told.kind !== "address" || doubt !== null) return null;
  return connectAtOnce(context, told.address, connectTimeoutMs);
}

/** How bad a state is beside another history's: what is pending is less than what must not be started from. */
function severityOf({ state }: Standing): number {
  return ["current", "behind", "unstamped", "cannot-tell"].indexOf(state) + 1 || 5;
}

async function findStanding(
  context: Context<StatusSettings>,
  history: History,
  seen: Seen | null,
  tablesOfOthers: boolean,
): Promise<Standing> {
  const { settings, signals, log } = context;
  const found = resolve(history, seen);
  const certain = tablesOfOthers ? withoutTables(found) : found;
  if (certain.state !== "cannot-tell") return describe(history, certain, null);
  const { reason } = certain;
  const doubtful = (also: string, cure: string | null): Standing => {
    const why = also === reason ? reason : `${reason}; ${also}`;
    const state = { state: "cannot-tell", reason: why } as const;
    return { ...describe(history, state, why), source: "files", cure };
  };
  // Who holds a lock on the version table would keep the tool waiting too.
  if (seen !== null && seen.ledger === null) return doubtful(reason, null);
  const { command } = history;
  if (history.ask === undefined) {
    return doubtful(command.opaque ?? reason, command.cures.cannotTell);
  }
  log.info({ event: "asking", reason }, `Querying ${command.toolName}: ${reason}`);
  const known = {
    ledger: seen?.ledger?.kind === "known" ? seen.ledger : null,
    userTables: seen?.userTables ?? false,
  };
  const { cwd, env } = settings;
  const asked = await history.ask(known, { cwd, env, stop: signals.stop });
  if (asked.kind === "no-answer") return doubtful(asked.reason, asked.cure);
  return describe(asked.history, asked.state, reason);
}

/** What the database says. */
interface Facts {
  readonly health: Health;
  readonly backfills: readonly KnownBackfill[] | null;
  /** Of each history, in their order. */
  readonly seen: readonly Seen[];
}

/** What the database says of one history. */
interface Seen {
  /** Null where somebody has locked the version table. */
  readonly ledger: Ledger | null;
  /** There are tables besides those of the tool; looked up only where the tool will be asked. */
  readonly userTables: boolean;
}

async function readFacts(migrations: readonly Migration[], connection: Connection): Promise<Facts> {
  const health = await readHealth(connection, versionTablesOf(migrations), checkpointsFound);
  const ledgers: (Ledger | null)[] = [];
  for (const { history } of migrations) {
    const ledger = await history.readLedger(connection).catch((error: unknown) => {
      if (isOutOfTime(error)) return null;
      throw error;
    });
    ledgers.push(ledger);
    // What was asked may have failed, and the transaction with it.
    if (ledger?.kind !== "known") await connection.query(`rollback; ${beginReading}`);
  }
  const backfills =
    health.checkpoints === "readable"
      ? await listBackfills(connection)
      : health.checkpoints === "hidden"
        ? null
        : [];
  const seen: Seen[] = [];
  for (const [index, { history }] of migrations.entries()) {
    const found: Seen = { ledger: ledgers[index] ?? null, userTables: false };
    const asked = found.ledger !== null && resolve(history, found).state === "cannot-tell";
    seen.push(asked ? { ...found, userTables: await history.findUserTables(connection) } : found);
  }
  return { health, backfills, seen };
}

/** What is certain without the tool. */
function resolve(history: History, seen: Seen | null): State {
  const cannotTell = (reason: string): State => ({ state: "cannot-tell", reason });
  if (history.doubt !== null) return cannotTell(history.doubt);
  if (seen === null) return cannotTell("no PostgreSQL URL is known");
  const { ledger } = seen;
  if (ledger === null) {
    return cannotTell(`somebody has locked the table ${history.versionTable.name}`);
  }
  return ledger.kind === "cannot-tell" ? cannotTell(ledger.reason) : history.resolve(ledger);
}

/** Null where nobody knows what would be run: the tool refuses the state, or a row that no file has may have brought anything along. */
function pendingOf(state: State): readonly string[] | null {
  if ("pending" in state) return state.pending;
  const known =
    state.state === "current" ||
    (state.state === "ahead" && state.current.length > state.unknown.length);
  return known ? [] : null;
}

/** @param reason why the tool was asked. */
function describe(history: History, state: State, reason: string | null): Standing {
  const known = state.state !== "cannot-tell";
  const pending = pendingOf(state);
  const plan = decide(strictPolicy, state, history);
  const wrong =
    plan.kind === "fail"
      ? { reason: plan.failure.message, cure: plan.failure.hint ?? null }
      : state.state === "unstamped"
        ? {
            reason: "there are tables, but no revision is recorded",
            cure: `if the tables match head: ${history.command.cures.stamp(state.heads)}; else stamp the revision that they are at`,
          }
        : { reason: null, cure: null };
  const reasons = [wrong.reason, reason].filter((one) => one !== null);
  return {
    state: state.state,
    current: known ? state.current : null,
    heads: known ? state.heads : null,
    pending,
    pendingRevisions: pending === null ? null : history.describe(pending),
    reason: reasons.length === 0 ? null : reasons.join("; "),
    cure: wrong.cure,
    source: history.source,
  };
}

/** One object; null is what is not known. */
function formatJson(status: Status): string {
  const { lock, blockedBy, backfills, ...rest } = status;
  return JSON.stringify({
    ...rest,
    lock: lock === null ? null : { ...lock, holder: withoutUnseen(lock.holder) },
    blockedBy: blockedBy?.map(withoutUnseen) ?? null,
    backfills:
      backfills?.map(({ session, ...one }) => ({ ...one, session: withoutUnseen(session) })) ??
      null,
  });
}

/** A role that may not see another one's sessions sees that they are there. */
function withoutUnseen(session: Session | null) {
  if (session?.forSeconds !== null) return session;
  return { ...session, state: null, query: null };
}

const [red, green, yellow] = [31, 32, 33];

/** The tool that was asked stands there by its name. */
const sources: Readonly<Record<string, string>> = {
  files: "the revision files",
  frozen: "entrypoint.freeze.json, and no file has changed since",
};

/** How many pending migrations are listed without --verbose. */
const mostPending = 10;

/** A name, and the lines beside it; none where there is nothing to say. */
type Row = readonly [string, readonly string[]];

function formatStanding(
  standing: Standing,
  paint: (text: string, colour: number) => string,
  verbose: boolean,
): Row[] {
  const { state } = standing;
  const all = standing.pendingRevisions ?? [];
  const pending = verbose ? all : all.slice(0, mostPending);
  const left = all.length - pending.length;
  const list = (ids: readonly string[] | null) =>
    ids === null ? ["not known"] : ids.length === 0 ? ["none"] : ids;
  const colour = state === "current" ? green : state === "behind" ? yellow : red;
  const total = standing.pending?.length ?? 0;
  const count = total === 0 ? "" : ` (${total} pending)`;
  const idWidth = Math.max(0, ...pending.map(({ id }) => id.length));
  const messageWidth = Math.max(0, ...pending.map(({ message }) => oneLine(message).length));
  return [
    ["state", [`${paint(state, colour)}${count}`]],
    ["reason", standing.reason === null ? [] : [standing.reason]],
    ["cure", standing.cure === null ? [] : [standing.cure]],
    ["current", list(standing.current)],
    ["heads", list(standing.heads)],
    [
      "pending",
      [
        ...pending.map(
          ({ id, message, path }) =>
            `${id.padEnd(idWidth)}  ${oneLine(message).padEnd(messageWidth)}  ${path}`,
        ),
        ...(left === 0 ? [] : [`… and ${formatCount(left)} more: --verbose lists them`]),
      ],
    ],
    ["source", [sources[standing.source] ?? standing.source]],
  ];
}

/** The table for people. */
export function formatStatus(
  status: Status,
  { colours, verbose }: { readonly colours: boolean; readonly verbose: boolean },
): string {
  const paint = (text: string, colour: number) =>
    colours ? `\u001B[1;${colour}m${text}\u001B[0m` : text;
  const { lock } = status;
  const session = (one: Session) => {
    // An entrypoint is idle while its migration is at work.
    if (one.application.startsWith("entrypoint ")) return describeSession(one);
    const query = one.query === "" ? "" : `: ${one.query}`;
    return `${describeSession(one)}, ${one.state || "state unknown"}${query}`;
  };
  const several = status.histories ?? null;
  const shown = several?.filter(({ state }) => verbose || state !== "current") ?? [];
  const rows: Row[] = [
    ...(several === null
      ? formatStanding(status, paint, verbose)
      : shown.flatMap((one): Row[] => [
          ["history", [one.name ?? ""]],
          ...formatStanding(one, paint, verbose),
        ])),
    [
      "at head",
      several === null || shown.length === several.length
        ? []
        : [
            `${shown.length === 0 ? "all of " : ""}${describeCount(several.length - shown.length, "history", "histories")}`,
          ],
    ],
    ["database", [status.database ?? "none known: set DATABASE_URL"]],
    [
      "lock",
      lock === null
        ? []
        : [lock.holder === null ? "free" : paint(`held by ${session(lock.holder)}`, yellow)],
    ],
    ["blocked by", (status.blockedBy ?? []).map((one) => paint(session(one), red))],
    [
      "invalid",
      (status.invalidIndexes ?? []).map(({ name, table }) =>
        paint(`index ${name} on ${table}: drop it, and create it again`, red),
      ),
    ],
    [
      "backfill",
      (status.backfills ?? []).flatMap((one) => {
        const done = `${one.name}: ${percentOf(one.rows, one.expected)} %, ${formatCount(one.rows)} of about ${formatCount(Math.max(one.expected, one.rows))} rows`;
        if (one.session !== null) return [`${done}, run by ${describeSession(one.session)}`];
        const words = ["--table", one.table, "--set", one.set, "--where", one.where];
        return [
          `${done}, ${paint(`interrupted ${describeSeconds(one.idleSeconds)} ago`, yellow)}; to resume:`,
          `entrypoint backfill ${[...words, "--name", one.name].map(quote).join(" ")}`,
        ];
      }),
    ],
    ["pooler", status.pooled === true ? ["yes: a direct URL is safer for migrations"] : []],
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
