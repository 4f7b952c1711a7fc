// The script itself, in seven steps: wait, inspect, lock, inspect again, migrate, verify; then the caller may start the
// application. Whatever is wrong is thrown as a Failure with the reason and the cure; nothing is started then.

import { setTimeout as sleep } from "node:timers/promises";
import { ConnectionLost, type Connection } from "../postgres/connection.ts";
import type { MigrationLock } from "../postgres/migration-lock.ts";
import type { Context } from "../context.ts";
import { printResult } from "../log/log.ts";
import type { Failure } from "../failure.ts";
import type { Policy } from "../migrate/decide.ts";
import { migrate, migrateAndVerify } from "../migrate/migrate.ts";
import {
  areCurrent,
  commandFor,
  describeHeads,
  detailsOf,
  inspectAgain,
  inspectEach,
  planFor,
  versionTablesOf,
  type Inspected,
  type Migration,
} from "../migrate/migrations.ts";
import { isAnyDue, lockEveryBoot, runBefore, runSetup } from "../migrate/steps.ts";
import { runUnderLock } from "../migrate/under-lock.ts";
import { jitter, unlessAborted } from "../patience.ts";
import { explainDatabaseError } from "../postgres/errors.ts";
import { describeAddress, type DatabaseAddress } from "../postgres/url.ts";
import {
  appOf,
  type MigrateSettings,
  type RunSettings,
  type WaitSettings,
} from "../settings/settings.ts";
import { usualVersionTable } from "../tools/recognise.ts";
import { describePlan, openPatiently, readAndConnect, type Located } from "./survey.ts";
import { describeWords } from "../log/words.ts";

type StartContext = Context<RunSettings | MigrateSettings>;

/** Resolves once the application may be started (or, with --dry-run, with false). */
export async function boot(context: StartContext): Promise<boolean> {
  const steps = startClock();
  // 1. wait
  const read = await readAndConnect(context, (to) => openPatiently(context, to));
  const survey = await completeSurvey(context, read);
  steps.end("wait");
  const migrated = await startOverWhereLost(context, survey, (connection) =>
    approach(context, { ...survey, connection }, steps),
  );
  if (migrated === null) return false;
  const without = context.settings.command === "run" ? "" : "Nothing was migrated.";
  const done = migrated ? "Migrations complete." : without;
  announceStart(context, { done, steps: steps.durations });
  return true;
}

/** Steps 2 to 6, after which the connection is closed. Resolves to whether this boot has migrated, or another replica meanwhile; to null with --dry-run. */
async function approach(
  context: StartContext,
  { migrations, address, connection, unlockable }: Survey,
  steps: Clock,
): Promise<boolean | null> {
  const { settings, log, signals } = context;
  try {
    // 2. inspect, without a lock
    const first = await inspectEach(migrations, connection);
    steps.end("inspect");
    const unlocked = connection !== null && !settings.dryRun;
    const plan = planBoot({ ...settings, unlocked }, first, unlockable);
    if (settings.dryRun) {
      const failure = plan.kind === "fail" ? plan.failure : null;
      const lines = plan.kind === "go" ? describeSteps(context, address, plan.pending) : [];
      const found = { address, inspected: first, failure };
      printResult(describePlan(appOf(settings)?.words ?? null, found, lines));
      return null;
    }
    if (plan.kind === "fail") throw plan.failure;
    for (const { one, warning } of plan.warnings) {
      log.warn({ event: one.state.state, ...detailsOf([one]) }, warning);
    }
    const on = { migrations, first, address, steps };
    const anyDue = await isAnyDue(settings, connection);
    if (plan.pending.length > 0 || anyDue || lockEveryBoot(settings)) {
      return connection === null || address === null
        ? await runUnlocked(context, on)
        : await runLocked(context, { ...on, address, connection });
    }
    if (first.length > 0 && areCurrent(first)) logCurrent(context, on, first);
    return false;
  } catch (error) {
    throw explainDatabaseError(error);
  } finally {
    // After a signal nothing is closed here: the server releases the lock when our process ends.
    if (!signals.stop.aborted) await connection?.close();
  }
}

const longestPauseMs = 2_000;

/** Runs `work` again by another connection where its own breaks before any command has run, for --wait-timeout at most. */
async function startOverWhereLost<T>(
  context: StartContext,
  { address, connection }: Survey,
  work: (connection: Connection | null) => Promise<T>,
): Promise<T> {
  const { settings, log, signals } = context;
  const { waitTimeoutMs } = settings;
  let current = connection;
  let [firstLossMs, lastLossMs] = [-Infinity, -Infinity];
  for (let losses = 0; ; losses++) {
    try {
      return await work(current);
    } catch (error) {
      const nowMs = performance.now();
      if (nowMs - lastLossMs > waitTimeoutMs) [firstLossMs, losses] = [nowMs, 0];
      lastLossMs = nowMs;
      const remainingMs = waitTimeoutMs - (nowMs - firstLossMs);
      if (!(error instanceof ConnectionLost) || address === null || remainingMs <= 0) throw error;
      const reason = error.message;
      log.warn({ event: "connection-lost", reason }, `Connecting again: ${reason}`);
      const pauseMs = Math.min(100 * 2 ** losses, longestPauseMs, remainingMs);
      await unlessAborted(signals.stop, sleep(jitter(pauseMs)));
      current = await openPatiently(context, address, remainingMs);
    }
  }
}

type BootPlan =
  | {
      readonly kind: "go";
      /** What is to be migrated, in this order. */
      readonly pending: readonly Inspected[];
      readonly warnings: readonly { readonly one: Inspected; readonly warning: string }[];
    }
  | { readonly kind: "fail"; readonly failure: Failure };

/** What the states mean together: one that must not be started from ends the boot before anything is migrated. */
function planBoot(
  policy: Policy,
  inspected: readonly Inspected[],
  unlockable: Failure | null = null,
): BootPlan {
  const pending: Inspected[] = [];
  const warnings: { one: Inspected; warning: string }[] = [];
  for (const one of inspected) {
    const plan = planFor(policy, one);
    if (plan.kind === "fail") return plan;
    if (plan.migrate) pending.push(one);
    if (plan.warning !== null) warnings.push({ one, warning: plan.warning });
  }
  if (pending.length > 0 && unlockable !== null) return { kind: "fail", failure: unlockable };
  return { kind: "go", pending, warnings };
}

/** How long each step that was taken has lasted. */
interface Clock {
  /** In milliseconds, by `waitMs`, `lockMs`, `migrateMs`. */
  readonly durations: Readonly<Record<string, number>>;
  /** What has passed since the end of the one before is this step's. */
  end(step: "wait" | "inspect" | "lock" | "migrate" | "setup"): void;
}

function startClock(): Clock {
  const durations: Record<string, number> = {};
  let lastMs = performance.now();
  return {
    durations,
    end(step) {
      const nowMs = performance.now();
      durations[`${step}Ms`] = Math.round(nowMs - lastMs);
      lastMs = nowMs;
    },
  };
}

interface Survey {
  readonly migrations: readonly Migration[];
  readonly address: DatabaseAddress | null;
  readonly connection: Connection | null;
  /** What a migration without a lock is refused with; null where there is a lock, or none is wanted. */
  readonly unlockable: Failure | null;
}

/** Queries the migration tool for its database where nothing else has named it. */
async function completeSurvey(
  context: StartContext,
  found: Omit<Survey, "unlockable"> & { readonly located: Located },
): Promise<Survey> {
  const { settings } = context;
  const { migrations, located } = found;
  const [first] = migrations;
  if (first === undefined || located.kind !== "unknown") return { ...found, unlockable: null };
  const { queryDatabase, noLock } = await import("./locate.ts");
  const queried = await queryDatabase(context, first.history);
  const { doubt } = queried;
  if (queried.located.kind !== "address") {
    const allowed = queried.located.kind === "foreign" || settings.noLock;
    return { ...found, unlockable: allowed ? null : noLock(doubt ?? "") };
  }
  const { address } = queried.located;
  const connection = await openPatiently(context, address);
  const read = (one: Migration) =>
    doubt === null ? one : { ...one, history: { ...one.history, doubt } };
  return { migrations: migrations.map(read), address, connection, unlockable: null };
}

/** Announces step 7; by now the lock is released and every connection closed. */
export function announceStart(
  { settings, log, signals }: Context<RunSettings | MigrateSettings | WaitSettings>,
  { done, steps }: { done: string; steps: Clock["durations"] },
): void {
  signals.stop.throwIfAborted();
  const app = appOf(settings);
  const message = app === null ? done : `${done} Starting application...`.trim();
  log.info({ event: "starting", app: app?.words ?? null, ...steps }, message);
}

/** At head: it has been all along, or another replica has migrated while we waited. */
function logCurrent(
  { log }: StartContext,
  { first, address }: Pick<Ground, "first" | "address">,
  now: readonly Inspected[],
): void {
  const reason = areCurrent(first) ? "Nothing to migrate" : "Another replica has migrated";
  const database = address === null ? null : describeAddress(address);
  log.info(
    { event: "current", ...detailsOf(now), database },
    `${reason}: the database is at ${describeHeads(now)} (${database})`,
  );
}

/** What the steps 3 to 6 are given. */
interface Ground {
  readonly migrations: readonly Migration[];
  /** As they were without the lock. */
  readonly first: readonly Inspected[];
  readonly address: DatabaseAddress | null;
  readonly steps: Clock;
}

/** The database, while the lock is held. */
interface Locked {
  readonly address: DatabaseAddress;
  readonly connection: Connection;
  readonly lock: MigrationLock;
}

/** No database is known: the commands are all that there is, as in the shell script. Resolves to whether one was run. */
async function runUnlocked(context: StartContext, on: Ground): Promise<boolean> {
  const { settings, log } = context;
  log.warn(
    { event: "unlocked" },
    "No PostgreSQL database is known, so nothing keeps other replicas from migrating at the same time",
  );
  if (settings.ddlLockTimeoutMs !== null) {
    log.warn(
      { event: "ddl-lock-timeout", hint: "set DATABASE_URL" },
      "--ddl-lock-timeout does nothing where no PostgreSQL URL is known",
    );
  }
  if (settings.migrations.some(({ whenEmpty }) => whenEmpty !== null)) {
    log.warn(
      { event: "settings" },
      "--when-empty does nothing where no PostgreSQL URL is known, since nobody can tell what is empty",
    );
  }
  return migratePending(context, on, null);
}

/** Steps 3 to 6. Resolves to whether this boot has migrated, or another replica meanwhile. */
async function runLocked(
  context: StartContext,
  on: Ground & { readonly address: DatabaseAddress; readonly connection: Connection },
): Promise<boolean> {
  const { settings } = context;
  const { migrations, address, connection, first, steps } = on;
  let migrated = false;
  const under = {
    connection,
    versionTables: migrations.length === 0 ? [usualVersionTable.name] : versionTablesOf(migrations),
    async findCurrent(queried: Connection) {
      const needed =
        lockEveryBoot(settings) ||
        settings.alwaysMigrate ||
        migrations.some(({ history }) => (history.always ?? null) !== null);
      if (needed || migrations.length === 0 || (await isAnyDue(settings, queried))) return null;
      const now = await inspectEach(migrations, queried);
      return areCurrent(now) ? now : null;
    },
    connect: (timeoutMs: number) => openPatiently(context, address, timeoutMs),
  };
  // 3. lock
  const current = await runUnderLock(context, under, async (lock, locked) => {
    steps.end("lock");
    migrated = await migratePending(context, on, { address, lock, connection: locked });
  });
  if (current === null) return migrated;
  steps.end("lock");
  logCurrent(context, on, current);
  return !areCurrent(first);
}

/**
 * Steps 4 to 6 and the setup steps; without a lock, and without step 6, where no database is known. Resolves to whether this
 * boot has migrated, or another replica since the first look.
 */
async function migratePending(
  context: StartContext,
  on: Ground,
  locked: Locked | null,
): Promise<boolean> {
  const { settings } = context;
  const { migrations, first, steps } = on;
  const { lock, connection } = locked ?? { lock: null, connection: null };
  // 4. inspect again: another replica may have been here first
  const before = await inspectEach(migrations, connection);
  const plan = planBoot(settings, before);
  if (plan.kind === "fail") throw plan.failure;
  await runBefore(context, ["locked"], lock);
  const run = new Set<string>();
  for (const one of plan.pending) {
    // A command that has been run may have migrated this history too.
    const now = run.size === 0 ? one : await inspectAgain(one, connection);
    const command = commandFor(now).join("\0");
    if (run.has(command) && ["current", "cannot-tell"].includes(now.state.state)) continue;
    const again = run.size === 0 ? null : planFor(settings, now);
    if (again?.kind === "fail") throw again.failure;
    if (again?.migrate === false) continue;
    if (run.size === 0) await runBefore(context, ["before-migration"], lock);
    await migrateOne(context, now, locked);
    run.add(command);
  }
  const found = run.size === 0 && before.length > 0 && areCurrent(before);
  if (found) logCurrent(context, on, before);
  if (run.size > 0) steps.end("migrate");
  await runSetup(context, { lock, connection, migrated: run.size > 0 });
  if (settings.setup.length > 0) steps.end("setup");
  return run.size > 0 || (found && !areCurrent(first));
}

/** 5. migrate, 6. verify */
async function migrateOne(
  context: StartContext,
  one: Inspected,
  locked: Locked | null,
): Promise<void> {
  const { settings } = context;
  if (locked !== null && commandFor(one) !== one.words) {
    const state = await migrateAndVerify(context, { ...locked, migration: one });
    if (state.state !== "behind") return;
    return migrateOne(context, { ...one, state, empty: false }, locked);
  }
  const { history, words, state } = one;
  if (settings.lint !== "off") {
    const { lintBeforeMigration } = await import("./lint.ts");
    const database = locked?.address ?? null;
    await lintBeforeMigration(context, { history, database, before: state });
  }
  if (locked === null) await migrate(context, words, settings.env, null);
  else await migrateAndVerify(context, { ...locked, migration: one });
}

/** Steps 3 to 6 as --dry-run shows them. */
function describeSteps(
  { settings }: StartContext,
  address: DatabaseAddress | null,
  pending: readonly Inspected[],
): string[] {
  const locked = address === null ? "without a lock" : "under the migration lock";
  const migrating = pending.length > 0;
  const before = settings.before
    .filter(({ when }) => when !== "before-migration" || migrating)
    .map(({ when, words }) => {
      const place = when === "always" ? "first of all" : locked;
      return `before     would run ${describeWords(words)} ${place}`;
    });
  return [
    ...before,
    ...(migrating && settings.lint !== "off"
      ? [
          `lint       would ${settings.lint === "error" ? "refuse" : "log"} what is unsafe in the pending migrations`,
        ]
      : []),
    ...(migrating ? [] : ["migrate    would run nothing"]),
    ...new Set(
      pending.map((one) => `migrate    would run ${describeWords(commandFor(one))} ${locked}`),
    ),
    ...settings.setup
      .filter(({ when }) => when !== "after-migration" || migrating)
      .map(({ when, words }) => {
        const once = when === "once" ? ", unless it has run in this database" : "";
        return `setup      would run ${describeWords(words)} ${locked}${once}`;
      }),
  ];
}
