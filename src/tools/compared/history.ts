// A history of migrations as tool.ts has it, of any row: the folder is listed, the table is read, compare.ts compares them.

import { resolve } from "node:path";
import type { Words } from "../../context.ts";
import type { Connection } from "../../postgres/connection.ts";
import { quoteLiteral, quoteRelation } from "../../postgres/names.ts";
import { findAdvisoryHolders, type Session } from "../../postgres/sessions.ts";
import { hasTables } from "../../postgres/tables.ts";
import type { VersionTable } from "../../state.ts";
import { readTable } from "../ledger-table.ts";
import type {
  Cures,
  FileSql,
  History,
  HistoryOptions,
  Ledger,
  LedgerRecord,
  ListCapability,
  MigrationCommand,
} from "../tool.ts";
import { readFrozen, type FrozenAnswer } from "../frozen.ts";
import {
  compare,
  formatMemory,
  isMemory,
  lastOf,
  match,
  type Match,
  type Policies,
} from "./compare.ts";
import type { Entry, Frozen, LedgerColumns, Listing, Project, Row, Found, Place } from "./row.ts";
import type { Reading } from "./words.ts";

/** @param reading what the words say; null where the user alone says that they are this tool's. */
export function createCommand(row: Row, words: Words, reading: Reading | null): MigrationCommand {
  const command: MigrationCommand = {
    words,
    toolName: row.name,
    toolId: row.id,
    opaque: null,
    unrepeatable:
      reading === null
        ? `it is not known what else ${words[0]} does`
        : row.resumes
          ? null
          : `a failed migration of ${row.name} may be half done`,
    readsOptions: row.readsOptions,
    goal: null,
    readHistory: async (options) => readHistory(row, command, reading, options),
    cures: createCures(row),
    ...(row.question === undefined
      ? {}
      : {
          // Loaded where it is wanted: no start needs it.
          freeze: async (options, context) =>
            (await import("./freeze.ts")).freeze(
              row,
              words,
              projectOf(options, reading),
              options.memo,
              context,
            ),
        }),
  };
  return command;
}

function createCures({ name, cures }: Row): Cures {
  return {
    stamp: () => cures.stamp,
    notAtHead: (state) =>
      state !== null &&
      "skipped" in state &&
      state.skipped !== undefined &&
      cures.skipped !== undefined
        ? cures.skipped
        : (cures.notAtHead ??
          `look at the output of ${name}; it may have migrated another database than DATABASE_URL's, or read another folder`),
    repair: () => cures.repair ?? `look at the table of ${name}`,
    skipped: () => cures.skipped ?? "",
    undo: cures.undo,
    cannotTell:
      cures.cannotTell ??
      "name the folder with --versions and the table with --version-table, and the tool with --tool where the command is not its own; or use entrypoint run, which runs the command to be certain",
  };
}

/** What is read, or what stands for it where a file cannot be read. */
function readOrDoubt<T>(read: () => T, instead: (reason: Found<never>) => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error;
    return instead({ kind: "doubt", reason: error.message });
  }
}

function readHistory(
  row: Row,
  command: MigrationCommand,
  reading: Reading | null,
  options: HistoryOptions,
): History {
  const { cwd, versions, versionTable, tenant } = options;
  const project = projectOf(options, reading);
  const place = readOrDoubt<Place>(
    () => row.locate(project),
    (reason) => ({ folders: reason, table: reason }),
  );
  const frozen = findFrozen(row, command, options);
  const holds = frozen.kind === "holds" ? frozen.frozen : null;
  const folders = versions.length > 0 ? { kind: "found" as const, value: versions } : place.folders;
  const table =
    versionTable === null
      ? inTenant(inSchemaOf(holds, place.table), tenant)
      : { kind: "found" as const, value: versionTable };
  const listing =
    holds !== null
      ? { kind: "found" as const, value: holds.listing }
      : folders.kind === "doubt"
        ? folders
        : readOrDoubt(
            () =>
              row.list(
                folders.value.map((folder) => resolve(cwd, folder)),
                project,
              ),
            (reason) => reason,
          );
  const doubt = [...(holds === null ? [folders] : []), table, listing].find(
    (each) => each.kind === "doubt",
  );
  // Whoever names folder and table has said which ones count.
  const named = versions.length > 0 && versionTable !== null;
  return createHistory(row, command, {
    doubt:
      doubt?.kind === "doubt"
        ? doubt.reason
        : named
          ? null
          : (place.doubt ??
            (versionTable === null ? holds?.tableDoubt : null) ??
            holds?.doubt ??
            null),
    source: holds === null ? "files" : "frozen",
    ignored: frozen.kind === "ignored" ? { path: frozen.path, reason: frozen.reason } : null,
    always: holds?.always ?? null,
    listing: listing.kind === "found" ? listing.value : { entries: [] },
    table: table.kind === "found" ? table.value : { schema: null, name: row.id },
    tableCertain: table.kind === "found",
    configured: place.configured ?? null,
    project,
    tenant,
  });
}

function projectOf(
  { cwd, env }: Pick<HistoryOptions, "cwd" | "env">,
  reading: Reading | null,
): Project {
  return { cwd, env, flags: reading?.flags ?? new Map(), rest: reading?.rest ?? [] };
}

function findFrozen(
  { question }: Row,
  { words }: MigrationCommand,
  options: HistoryOptions,
): FrozenAnswer<Frozen> {
  if (question === undefined) return { kind: "none" };
  const { cwd, env } = options;
  const key = `frozen for ${words.join("\0")}`;
  const kept = options.memo.get(key) as FrozenAnswer<Frozen> | undefined;
  const answer = kept ?? readFrozen<Frozen>({ words, cwd, env, telling: question.telling });
  options.memo.set(key, answer);
  return answer;
}

/** The table in the schema that the tool has reported. */
function inSchemaOf(
  frozen: Frozen | null,
  table: ReturnType<Row["locate"]>["table"],
): ReturnType<Row["locate"]>["table"] {
  if (table.kind === "doubt" || frozen === null || frozen.schema === null) return table;
  return { kind: "found", value: { ...table.value, schema: frozen.schema } };
}

/** The table in the schema of a tenant. */
function inTenant(
  table: ReturnType<Row["locate"]>["table"],
  tenant: string | null,
): ReturnType<Row["locate"]>["table"] {
  if (table.kind === "doubt" || tenant === null) return table;
  return { kind: "found", value: { ...table.value, schema: tenant } };
}

/** The application is imported. */
const databaseTimeoutMs = 60_000;

interface Facts {
  readonly doubt: string | null;
  readonly source: string;
  readonly ignored: History["ignored"];
  readonly always: string | null;
  readonly listing: Listing;
  readonly table: VersionTable;
  readonly tableCertain: boolean;
  readonly configured: History["configured"];
  readonly project: Project;
  readonly tenant: string | null;
}

function createHistory(row: Row, command: MigrationCommand, facts: Facts): History {
  const {
    doubt,
    source,
    ignored,
    always,
    listing,
    table,
    tableCertain,
    configured,
    project,
    tenant,
  } = facts;
  const { entries } = listing;
  const columns = listing.ledger ?? row.ledger;
  const { unknownRow } = row;
  const policies: Policies = {
    name: row.name,
    order: listing.order ?? row.order,
    pending: row.pending,
    older: listing.older ?? row.older,
    unknownRow: typeof unknownRow === "function" ? unknownRow(project) : unknownRow,
  };
  const { lock: ownLock, question } = row;
  const askDatabase = question?.askDatabase;
  const ownTables = [table.name, ...(row.ownTables ?? [])];
  const findUserTables = (connection: Connection) =>
    hasTables(connection, {
      schema: tenant,
      excepted: ownTables.map((name) => `c.relname = ${quoteLiteral(name)}`).join(" or "),
    });
  const matchRecords = (records: readonly LedgerRecord[]) => match(policies, entries, records);
  let sql: Promise<FileSql> | null = null;
  return {
    command,
    doubt,
    source,
    always,
    versionTable: table,
    versionTableCertain: tableCertain,
    configured,
    ignored,
    async readLedger(connection): Promise<Ledger> {
      const answer = await readRecords(connection, table, columns);
      if (answer.kind === "cannot-tell") return answer;
      const { records } = answer;
      const { applied, pending, unknown } = matchRecords(records);
      const rows = [...applied.map(({ name }) => name), ...unknown];
      // A lock keeps nobody from finding nothing to do.
      const lock =
        ownLock !== undefined && pending.length > 0
          ? await findHeld(connection, ownLock.lockTable(table, project), ownLock.held)
          : null;
      const userTables = records.length === 0 && (await findUserTables(connection));
      return { kind: "known", rows, userTables, records, lock };
    },
    findUserTables,
    resolve({ records = [], userTables, lock = null }) {
      return compare(policies, entries, { records, userTables, lock });
    },
    heads: lastOf(entries).map(({ name }) => name),
    describe: (names) =>
      names.flatMap((name) => {
        const entry = entries.find((each) => each.name === name);
        return entry === undefined ? [] : [{ id: name, message: "", path: entry.path }];
      }),
    ...(row.remembers === true
      ? {
          async remember(connection: Connection) {
            const answer = await readRecords(connection, table, columns);
            if (answer.kind === "cannot-tell") return;
            const [record] = answer.records;
            // A comment that somebody else has written stays.
            const other = record?.also != null && !isMemory(record.also);
            if (record === undefined || other) return;
            const ids = matchRecords(answer.records).applied.map(({ id }) => id);
            await connection.query(
              `comment on table ${quoteRelation(table)} is ${quoteLiteral(formatMemory(ids))}`,
            );
          },
        }
      : {}),
    ...(row.sql === undefined && question?.loadSql === undefined
      ? {}
      : {
          // What it has printed, it knows as it renders.
          loadSql: () => (sql ??= loadSql(row, command.words, entries, project)),
          newest({ records = [] }) {
            if (doubt !== null) return null;
            const { applied, unknown } = matchRecords(records);
            const counted = policies.unknownRow === "ignored" ? [] : unknown;
            return [...lastOf(applied).map(({ name }) => name), ...counted];
          },
        }),
    ...(row.advisoryLock === undefined
      ? {}
      : {
          findOwnLock: (connection: Connection, agoMs: number, runs: boolean) =>
            findOwnLock(connection, row, {
              project,
              table,
              olderMs: runs && row.polls !== true ? null : agoMs,
            }),
        }),
    list: createList(doubt, entries, matchRecords),
    ...(askDatabase === undefined
      ? {}
      : {
          askDatabase: async (at) =>
            askDatabase(command.words, project, { ...at, timeoutMs: databaseTimeoutMs }),
        }),
    ...(question === undefined || source !== "files"
      ? {}
      : {
          // Loaded where it is wanted: no start needs it.
          ask: async (seen, place) =>
            (await import("./ask.ts")).ask(row, command.words, project, {
              known: seen,
              place,
              create: (frozen) =>
                createHistory(row, command, {
                  ...facts,
                  doubt: null,
                  source: row.id,
                  listing: frozen.listing,
                }),
            }),
        }),
  };
}

async function findOwnLock(
  connection: Connection,
  { advisoryLock = "null" }: Row,
  at: { project: Project; table: VersionTable; olderMs: number | null },
): Promise<readonly Session[]> {
  const { project, table, olderMs } = at;
  if (typeof advisoryLock === "string") {
    return findAdvisoryHolders(connection, advisoryLock, olderMs);
  }
  const { rows } = await connection.query<{ database: string; schema: string | null }>(
    "select current_database() as database, current_schema() as schema",
  );
  const [place] = rows;
  const key = advisoryLock({
    project,
    database: place?.database ?? "",
    schema: table.schema ?? place?.schema ?? "",
    table: table.name,
  });
  return findAdvisoryHolders(connection, key, olderMs);
}

async function loadSql(
  { sql, question }: Row,
  words: Words,
  entries: readonly Entry[],
  project: Project,
): Promise<FileSql> {
  if (sql !== undefined) return (await import("./sql.ts")).createSql(sql, entries, project);
  if (question?.loadSql === undefined) throw new Error("the tool prints no SQL");
  return question.loadSql(words, project);
}

async function readRecords(
  connection: Connection,
  table: VersionTable,
  columns: LedgerColumns,
): Promise<{ kind: "known"; records: LedgerRecord[] } | { kind: "cannot-tell"; reason: string }> {
  const { id, where = "true", broken = "false", undone = "false", also, checksum } = columns;
  const state = `case when ${broken} then 'broken' when ${undone} then 'undone' else 'applied' end`;
  const answer = await readTable<{ [Key in keyof LedgerRecord]: LedgerRecord[Key] }>(
    connection,
    table,
    `(${id})::text as id, ${state} as state, ${also ?? "null"} as also, ${checksum ?? "null"} as checksum`,
    where,
  );
  return answer.kind === "known" ? { kind: "known", records: [...answer.rows] } : answer;
}

/** The name of the tool's table of locks, where one is held; null where none is. */
async function findHeld(
  connection: Connection,
  table: VersionTable,
  held: string,
): Promise<string | null> {
  const answer = await readTable<{ held: boolean }>(connection, table, `(${held}) as held`);
  return answer.kind === "known" && answer.rows.some((each) => each.held) ? table.name : null;
}

function createList(
  doubt: string | null,
  entries: readonly Entry[],
  matchRecords: (records: readonly LedgerRecord[]) => Match,
): ListCapability {
  return {
    needsRows: ["current", "history"],
    print(verb, { ledger }) {
      if (doubt !== null) return { kind: "cannot-tell", reason: doubt };
      if (entries.length === 0) {
        return { kind: "cannot-tell", reason: "there is no migration in the image" };
      }
      if (verb === "heads") return known(lastOf(entries).map(({ name }) => name));
      const { applied, run, unknown } = matchRecords(ledger?.records ?? []);
      if (verb === "current") {
        return known(
          applied.length === 0 ? unknown.slice(-1) : lastOf(applied).map(({ name }) => name),
        );
      }
      const isApplied = new Set(applied);
      const shown = new Set([...applied, ...run]);
      return known([
        ...entries
          .filter((entry) => shown.has(entry))
          .map((entry) => `${isApplied.has(entry) ? "applied" : "pending"}  ${entry.name}`),
        ...unknown.map((id) => `no file  ${id}`),
      ]);
    },
  };
}

function known(lines: readonly string[]) {
  return { kind: "known", text: lines.map((line) => `${line}\n`).join("") } as const;
}
