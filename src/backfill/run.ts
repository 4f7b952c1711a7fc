// `UPDATE posts SET … WHERE …` on a hundred million rows, between two deploys, so that nobody notices. Guarantees:
// each batch is a short transaction that holds the checkpoint too; a row is never updated twice for a crash; whoever
// waits for a row waits for one batch at most; replicas are waited for; in the end no row is left that fulfils the
// condition. Told to end, it ends after the running batch, and the same command goes on.

import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { describeSession, advisoryHolderQuery, type Session } from "../database/blockers.ts";
import {
  configureSession,
  durableSession,
  isPooled,
  jitter,
  type Connection,
} from "../database/connect.ts";
import { describeAddress, type DatabaseAddress } from "../database/url.ts";
import { Failure, Stopped } from "../exit-codes.ts";
import { printResult, type Log } from "../log.ts";
import type { Context } from "../migrations/migrate.ts";
import { unlessStopped } from "../process/signals.ts";
import { explainDatabaseError, findDatabase, openConnection, readMigrations } from "../survey.ts";
import { openCheckpoint, removeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { parseExpressions, type Expressions } from "./expressions.ts";
import { backfillApplicationName, describeJob, type BackfillOptions, type Job } from "./job.ts";
import { createLagClock, readReplication } from "./lag.ts";
import { firstSize } from "./pace.ts";
import {
  describePlan,
  findTarget,
  findTargetAgain,
  makePlan,
  type Plan,
  type Target,
} from "./plan.ts";
import { describeSeconds, formatCount, reportProgress, type ProgressReport } from "./progress.ts";
import { describeThirdStep } from "./third-step.ts";
import { walkUntilNoneIsLeft, type Work } from "./walk.ts";

const lockPollMs = 100;
/** Resolves to the exit code 0 once no row fulfils the condition any more, or with --dry-run. */
export async function backfill(context: Context): Promise<number> {
  const { settings, log, signals } = context;
  const options = settings.backfill;
  if (options === null) throw new Error("the settings of a backfill are missing");
  const expressions = await parseExpressions(options);
  const history =
    settings.migrate === null ? null : await readMigrations(context, settings.migrate);
  const address = findDatabase(context, history);
  if (address === null) {
    throw new Failure("bad-settings", "entrypoint backfill: no PostgreSQL URL is known", {
      hint: "set DATABASE_URL to the database that holds the table",
    });
  }
  const connection = await openConnection(context, address);
  try {
    const { target, plan } = await unlessStopped(signals.stop, prepare(connection, expressions));
    const job = describeJob(expressions, target, options.name);
    if (settings.dryRun) {
      printResult(describeDryRun(address, job, plan));
      return 0;
    }
    const heads = history?.graph.kind === "known" ? history.graph.graph.heads : [];
    const pretty = settings.logFormat !== "json";
    const progress = await reportProgress(log, pretty, settings.env);
    try {
      await runJob(context, connection, { job, plan, expressions, options, progress });
    } finally {
      progress.close();
    }
    const filled = await findTargetAgain(connection, target);
    const step = describeThirdStep(filled, expressions, heads);
    if (step !== null) printResult(step);
    return 0;
  } catch (error) {
    throw explainDatabaseError(error, connection);
  } finally {
    if (!signals.stop.aborted) await connection.close();
  }
}

async function prepare(
  connection: Connection,
  expressions: Expressions,
): Promise<{ target: Target; plan: Plan }> {
  if (await isPooled(connection)) {
    throw new Failure("bad-settings", "the database is reached through a transaction pooler", {
      hint: "give the server's own URL: a backfill holds a lock and settings of its session",
    });
  }
  await configureSession(connection.client, {
    ...durableSession,
    default_transaction_isolation: "read committed",
    // A batch that is worth compiling by its cost is not by its time; and no batch may read a whole table for want
    // of statistics.
    jit: "off",
    enable_seqscan: "off",
  });
  const target = await findTarget(connection, expressions);
  return { target, plan: await makePlan(connection, target, expressions) };
}

async function runJob(
  context: Context,
  connection: Connection,
  given: Pick<Work, "job" | "plan" | "expressions" | "options" | "progress">,
): Promise<void> {
  const { log, signals } = context;
  const { job, plan, options } = given;
  const { client } = connection;
  const statementTimeoutMs = Math.max(options.batchTimeMs * 4, 1_000);
  // An earlier run that was killed has its last batch still in the server, and with it the lock.
  await takeLock(context, connection, job, statementTimeoutMs + 1_000);
  const checkpoint = await openCheckpoint(client, job, plan, options);
  announce(log, job, plan, checkpoint);
  await configureSession(client, {
    application_name: backfillApplicationName(job),
    // A batch that waits for a row lets others wait for those that it has.
    lock_timeout: String(Math.max(Math.round(options.batchTimeMs / 5), 1)),
    statement_timeout: String(statementTimeoutMs),
  });
  const startMs = performance.now();
  const answered = createPatience(context, given.progress, statementTimeoutMs);
  const work: Work = {
    ...given,
    context,
    connection,
    rows: checkpoint.rows,
    expected: checkpoint.expected,
    size: firstSize,
    weigh: createScales(given.progress, client, options),
    burdens: [],
    reportedMs: -Infinity,
    statementTimeoutMs,
    answered,
  };
  let name = plan.target.name;
  try {
    await walkUntilNoneIsLeft(work, checkpoint.position);
    await configureSession(client, { statement_timeout: "0", lock_timeout: "0" });
    // Queries are planned with what the column holds now. An autovacuum that is at work on it does the same.
    ({ name } = await findTargetAgain(connection, plan.target));
    await unlessStopped(signals.stop, client.query(`analyze (skip_locked) ${name}`));
    await removeCheckpoint(client, job);
  } catch (error) {
    const told = { event: "interrupted", job: job.name, rows: work.rows };
    const how = `${formatCount(work.rows)} rows are updated; the same command goes on from there`;
    if (error instanceof Stopped) given.progress.say(() => log.info(told, `Interrupted: ${how}`));
    throw error;
  }
  const tookMs = Math.round(performance.now() - startMs);
  given.progress.close();
  log.info(
    { event: "backfilled", job: job.name, rows: work.rows, tookMs },
    `No row of ${name} is left to be filled: ${formatCount(work.rows)} rows updated${checkpoint.resumed ? " in all runs" : ""}, this run took ${describeSeconds(tookMs / 1000)}`,
  );
}

/** One run at a time works on a job. Throws Failure "lock-timeout". */
async function takeLock(
  { log, signals }: Context,
  { client }: Connection,
  { name, lockKey }: Job,
  patienceMs: number,
): Promise<void> {
  const startMs = performance.now();
  for (let attempt = 0; ; attempt++) {
    const { rows } = await client.query<{ taken: boolean }>(
      `select pg_try_advisory_lock(${lockKey}) as taken`,
    );
    if (rows[0]?.taken === true) return;
    const { rows: holders } = await client.query<Session>(advisoryHolderQuery(lockKey));
    const held = holders[0] === undefined ? "" : ` by ${describeSession(holders[0])}`;
    if (performance.now() - startMs >= patienceMs) {
      throw new Failure("lock-timeout", `the backfill ${name} is being run already${held}`, {
        hint: "let it end: entrypoint status shows how far it is",
        details: { holder: holders[0] ?? null },
      });
    }
    if (attempt === 0)
      log.info(
        { event: "lock-wait", job: name },
        `Waiting for the backfill ${name}, which is run${held}`,
      );
    await unlessStopped(signals.stop, sleep(jitter(lockPollMs)));
  }
}

function announce(log: Log, job: Job, plan: Plan, { resumed, rows }: Checkpoint): void {
  const lines = describePlan(plan);
  const { explain, triggers, indexes, target } = plan;
  log.info(
    {
      event: "plan",
      job: job.name,
      table: target.name,
      rows: plan.rows,
      secondsExpected: Math.ceil(plan.secondsExpected),
      triggers,
      indexes,
      explain,
    },
    [`Backfill ${job.name}`, ...lines].join("\n"),
  );
  for (const warning of plan.warnings) log.warn({ event: "plan" }, warning);
  if (resumed) {
    log.info(
      { event: "resumed", job: job.name, rows },
      `Going on where an earlier run stopped, after ${formatCount(rows)} rows`,
    );
  }
}

function describeDryRun(address: DatabaseAddress, job: Job, plan: Plan): string {
  return [
    `database   ${describeAddress(address)}`,
    `backfill   ${job.name}`,
    ...describePlan(plan),
    ...plan.warnings.map((warning) => `warning    ${warning}`),
  ].join("\n");
}

/** The answers of a server that works on, however many signals come; but a second one has it its way. */
function createPatience(
  { signals }: Context,
  progress: ProgressReport,
  statementTimeoutMs: number,
): Work["answered"] {
  const hurry = new AbortController();
  let told = signals.stop.aborted;
  signals.subscribe((signal) => {
    if (!told) {
      const message = `${signal}: ending after the running batch; a second one ends it at once`;
      progress.say((log) => log.info({ event: "ending", signal }, message));
    }
    if (told) hurry.abort(signals.stop.reason);
    told = true;
  });
  const silenceMs = statementTimeoutMs + 15_000;
  return async (question) => {
    const silence = AbortSignal.timeout(silenceMs);
    try {
      return await unlessStopped(silence, unlessStopped(hurry.signal, question));
    } catch (error) {
      if (error !== silence.reason) throw error;
      throw new Failure(
        "database-unavailable",
        `the database has not answered for ${silenceMs / 1000} s`,
        { hint: "run the same command again: it goes on from the last batch", cause: error },
      );
    }
  };
}

/** Asks what weighs on the server, and says once where the answer is not to be seen. */
function createScales(
  progress: ProgressReport,
  client: pg.Client,
  { maxLagMs }: BackfillOptions,
): Work["weigh"] {
  const clock = createLagClock(maxLagMs);
  let told = false;
  return async () => {
    if (maxLagMs === 0) return [];
    const replication = await readReplication(client);
    const hidden = replication.replicas.filter(({ replayed }) => replayed === null);
    if (hidden.length > 0 && !told) {
      told = true;
      const names = hidden.map(({ name }) => name).join(", ");
      progress.say((log) =>
        log.warn(
          { event: "lag-unknown" },
          `cannot see how far ${names} is behind: grant pg_monitor to the role, or it is not waited for`,
        ),
      );
    }
    return clock.weigh(replication, performance.now());
  };
}
