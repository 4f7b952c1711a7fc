// The commands that a project runs around its migration: before it, in every replica or under the lock; and after it. Guarantees:
// what runs once per database is recorded only after it has succeeded, so a step that was cut short runs again.

import type { Connection } from "../postgres/connection.ts";
import type { Context, Words } from "../context.ts";
import { Failure } from "../failure.ts";
import { isRefusal } from "../postgres/errors.ts";
import type { MigrationLock } from "../postgres/migration-lock.ts";
import { quoteLiteral, quoteName } from "../postgres/names.ts";
import { runCommand } from "../process/run-command.ts";
import type { BeforeStep, SetupStep, StartSettings, StepSettings } from "../settings/settings.ts";
import { commandFailure } from "./migrate.ts";
import { describeWords } from "../log/words.ts";

const schema = "entrypoint";
const table = `${schema}.once`;

/** Whether every boot needs the lock, and not only one with a pending migration. */
export function lockEveryBoot({ before, setup }: StartSettings): boolean {
  return (
    before.some(({ when }) => when === "locked") || setup.some(({ when }) => when === "always")
  );
}

/** Whether a step is left that runs once per database. */
export async function isAnyDue(
  { setup }: StartSettings,
  connection: Connection | null,
): Promise<boolean> {
  const once = setup.filter(({ when }) => when === "once");
  if (once.length === 0) return false;
  if (connection === null) {
    throw new Failure(
      "bad-settings",
      `cannot run ${once[0]?.text ?? ""} once per database, since no PostgreSQL database is known`,
      { hint: "set DATABASE_URL, or leave when=once out of --setup" },
    );
  }
  const done = await readDone(connection);
  return once.some(({ text }) => !done.has(text));
}

/** Runs those of these kinds. */
export async function runBefore(
  context: Context<StepSettings>,
  kinds: readonly BeforeStep["when"][],
  lock: MigrationLock | null = null,
): Promise<void> {
  for (const { when, words } of context.settings.before) {
    if (!kinds.includes(when)) continue;
    const headline = "A step before the migration failed! Aborting startup.";
    await runStep(context, { event: "before", words, headline }, lock);
  }
}

/** Runs the setup steps in their order; each must exit with code 0. @param migrated by this boot. */
export async function runSetup(
  context: Context<StartSettings>,
  on: {
    readonly lock: MigrationLock | null;
    readonly connection: Connection | null;
    readonly migrated: boolean;
  },
): Promise<void> {
  const { setup } = context.settings;
  const { lock, connection, migrated } = on;
  const anyOnce = connection !== null && setup.some(({ when }) => when === "once");
  const done = anyOnce ? await readDone(connection) : new Set<string>();
  for (const step of setup) {
    const { when, words, text } = step;
    if ((when === "after-migration" && !migrated) || done.has(text)) continue;
    const headline = "A setup step failed! Aborting startup.";
    // Before it runs: who may not record it would run it at every boot.
    if (when === "once" && connection !== null) await makeTable(connection, step);
    await runStep(context, { event: "setup", words, headline }, lock);
    if (when === "once" && connection !== null) {
      await connection.query(
        `insert into ${table} (step) values (${quoteLiteral(text)}) on conflict do nothing`,
      );
    }
  }
}

async function runStep(
  context: Context<StepSettings>,
  { event, words, headline }: { event: "before" | "setup"; words: Words; headline: string },
  lock: MigrationLock | null,
): Promise<void> {
  const { settings, log, signals } = context;
  const { env, cwd } = settings;
  log.info({ event, command: words }, `Running ${describeWords(words)}`);
  const lockLost = lock?.lost ?? null;
  const end = await runCommand(words, { env, cwd, timeoutMs: 0, signals, lockLost, log });
  if (end.kind === "exited" && end.code === 0) return;
  throw commandFailure({ settings: { migrateTimeoutMs: 0 }, signals }, headline, words, end);
}

/** What has run in this database. */
async function readDone(connection: Connection): Promise<ReadonlySet<string>> {
  try {
    const { rows } = await connection.query<{ step: string }>(`select step from ${table}`);
    return new Set(rows.map(({ step }) => step));
  } catch (error) {
    // undefined_table, invalid_schema_name
    if (isRefusal(error) && ["42P01", "3F000"].includes(error.code ?? "")) return new Set();
    throw explain(error, connection);
  }
}

async function makeTable(connection: Connection, { text }: SetupStep): Promise<void> {
  try {
    const { rows } = await connection.query<{ there: boolean }>(
      `select to_regnamespace('${schema}') is not null as there`,
    );
    // IF NOT EXISTS would need the privilege even where the schema exists.
    if (rows[0]?.there !== true) await connection.query(`create schema ${schema}`);
    await connection.query(
      `create table if not exists ${table} (step text primary key, done_at timestamptz not null default clock_timestamp())`,
    );
  } catch (error) {
    throw explain(error, connection, text);
  }
}

function explain(error: unknown, connection: Connection, step = "a setup step"): unknown {
  // insufficient_privilege
  if (!isRefusal(error) || error.code !== "42501") return error;
  return new Failure(
    "database-unavailable",
    `cannot record in ${table} that ${step} has run: ${error.message}`,
    {
      hint: `as the database's owner: create schema if not exists ${schema}; grant usage, create on schema ${schema} to ${quoteName(connection.user)}`,
      cause: error,
    },
  );
}
