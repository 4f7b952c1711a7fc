// `UPDATE posts SET … WHERE …` on a hundred million rows, between two deploys, without anybody noticing. Guarantees:
// each batch is a short transaction that saves the checkpoint too; a crash never updates a row twice; a session that
// waits for a row waits for one batch at most; replicas do not fall behind; in the end no row fulfils the condition.
// A signal ends it after the running batch, and the same command resumes it.

import { setTimeout as sleep } from "node:timers/promises";
import type { Connection } from "../postgres/connection.ts";
import type { Context, Log } from "../context.ts";
import { Failure, Stopped } from "../failure.ts";
import { jitter, unlessAborted } from "../patience.ts";
import { durableSession } from "../postgres/session-settings.ts";
import { advisoryHolderQuery, describeSession, type Session } from "../postgres/sessions.ts";
import { openCheckpoint, removeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import type { Expressions } from "./expressions.ts";
import type { BackfillOptions } from "../settings/settings.ts";
import { backfillApplicationName, type Job } from "./job.ts";
import { createLagClock, readReplication } from "./lag.ts";
import { firstSize } from "./pace.ts";
import { describePlan, findTarget, findTargetAgain, makePlan, type Plan } from "./plan.ts";
import { describeSeconds, formatCount } from "../log/words.ts";
import type { ProgressReport } from "./progress.ts";
import type { BackfillSession } from "./session.ts";
import { walkUntilNoneIsLeft, type RunningJob } from "./walk.ts";

type Signalled = Pick<Context<unknown>, "log" | "signals">;

const lockPollMs = 100;

/** Throws Failure "bad-settings" where the server rejects table or expressions. */
export async function prepareBackfill(
  { connection, configure }: BackfillSession,
  expressions: Expressions,
): Promise<Plan> {
  await configure({
    ...durableSession,
    // Whatever the role's own limits are: the last look for a row that is left is one statement, however long it takes.
    transaction_timeout: "0",
    idle_in_transaction_session_timeout: "0",
    // Rows that a policy hides would count as filled: the server refuses a query that one would change.
    row_security: "off",
    default_transaction_isolation: "read committed",
    // Compiling a batch takes longer than it saves; and without statistics no batch may read a whole table.
    jit: "off",
    enable_seqscan: "off",
  });
  return makePlan(connection, await findTarget(connection, expressions), expressions);
}

/** Resolves once no row fulfils the condition. Throws Failure "lock-timeout" where the same job runs already. */
export async function runBackfill(
  context: Signalled,
  session: BackfillSession,
  given: Pick<RunningJob, "job" | "plan" | "expressions" | "options" | "progress" | "debugging">,
): Promise<void> {
  const { log, signals } = context;
  const { job, plan, options, progress } = given;
  const { connection, configure, requireLock } = session;
  const statementTimeoutMs = Math.max(options.batchTimeMs * 4, 1_000);
  // The last batch of an earlier run that was killed may still run in the server, and hold the lock.
  await acquireLock(context, session, job, statementTimeoutMs + 1_000);
  const checkpoint = await openCheckpoint(connection, job, plan.rows, options);
  announce(log, job, plan, checkpoint);
  const { connection: patient, end } = withPatience(
    context,
    connection,
    progress,
    statementTimeoutMs,
  );
  await configure({
    application_name: backfillApplicationName(job),
    // A batch that waits for a row blocks others on the rows that it has locked.
    lock_timeout: String(Math.max(Math.round(options.batchTimeMs / 5), 1)),
    statement_timeout: String(statementTimeoutMs),
  });
  const startMs = performance.now();
  const running: RunningJob = {
    ...given,
    signals,
    connection: patient,
    configure,
    requireLock,
    rows: checkpoint.rows,
    expected: checkpoint.expected,
    read: checkpoint.position.read ?? 0,
    round: checkpoint.position.round,
    pace: { size: firstSize, reach: firstSize },
    weigh: createScales(progress, patient, options),
    burdens: [],
    reportedMs: -Infinity,
    statementTimeoutMs,
  };
  let { name } = plan.target;
  try {
    await walkUntilNoneIsLeft(running, checkpoint.position);
    await configure({ statement_timeout: "0", lock_timeout: "0" });
    // Queries are planned with what the column contains now. An autovacuum that runs on it does the same.
    ({ name } = await findTargetAgain(connection, plan.target));
    await connection.within({ limitMs: () => Infinity }).query(`analyze (skip_locked) ${name}`);
    await removeCheckpoint(connection, job);
  } catch (error) {
    const details = { event: "interrupted", job: job.name, rows: running.rows };
    const message = `Interrupted: ${formatCount(running.rows)} rows are updated; the same command continues from there`;
    if (error instanceof Stopped) progress.log(() => log.info(details, message));
    throw error;
  } finally {
    end();
  }
  const tookMs = Math.round(performance.now() - startMs);
  progress.close();
  log.info(
    { event: "backfilled", job: job.name, rows: running.rows, tookMs },
    `No row of ${name} is left to fill: ${formatCount(running.rows)} rows updated${checkpoint.resumed ? " in all runs" : ""}, this run took ${describeSeconds(tookMs / 1000)}`,
  );
}

/** Only one run at a time works on a job. Throws Failure "lock-timeout". */
async function acquireLock(
  { log, signals }: Signalled,
  { connection, tryLock }: BackfillSession,
  job: Job,
  timeoutMs: number,
): Promise<void> {
  const { name, lockKey } = job;
  const startMs = performance.now();
  for (let attempt = 0; ; attempt++) {
    if (await tryLock(lockKey, backfillApplicationName(job))) return;
    const { rows: holders } = await connection.query<Session>(advisoryHolderQuery(lockKey));
    const held = holders[0] === undefined ? "" : ` by ${describeSession(holders[0])}`;
    if (performance.now() - startMs >= timeoutMs) {
      throw new Failure("lock-timeout", `the backfill ${name} is already run${held}`, {
        hint: "let it end: entrypoint status shows its progress",
        details: { holder: holders[0] ?? null },
      });
    }
    if (attempt === 0)
      log.info(
        { event: "lock-wait", job: name },
        `Waiting for the lock of the backfill ${name}, held${held}`,
      );
    await unlessAborted(signals.stop, sleep(jitter(lockPollMs)));
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
      `Resuming where an earlier run stopped, after ${formatCount(rows)} rows`,
    );
  }
}

/** The first signal leaves a query its time; the second one ends it, and so does a server that does not answer. */
function withPatience(
  { log, signals }: Signalled,
  connection: Connection,
  progress: ProgressReport,
  statementTimeoutMs: number,
): { readonly connection: Connection; readonly end: () => void } {
  const hurry = new AbortController();
  let signalled = signals.stop.aborted;
  const end = signals.subscribe((signal) => {
    if (!signalled) {
      const message = `${signal}: ending after the running batch; a second signal ends it at once`;
      progress.log(() => log.info({ event: "ending", signal }, message));
    }
    if (signalled) hurry.abort(signals.stop.reason);
    signalled = true;
  });
  const patient = connection.within({
    stop: hurry.signal,
    limitMs: () => statementTimeoutMs + 15_000,
    hint: "run the same command again: it continues from the last batch",
  });
  return { connection: patient, end };
}

/** Queries the lag, and warns once where it is not visible. */
function createScales(
  progress: ProgressReport,
  connection: Connection,
  { maxLagMs }: BackfillOptions,
): RunningJob["weigh"] {
  const clock = createLagClock(maxLagMs);
  let warned = false;
  return async () => {
    if (maxLagMs === 0) return [];
    const replication = await readReplication(connection);
    const hidden = replication.replicas.filter(({ replayed }) => replayed === null);
    if (hidden.length > 0 && !warned) {
      warned = true;
      const names = hidden.map(({ name }) => name).join(", ");
      progress.log((log) =>
        log.warn(
          { event: "lag-unknown" },
          `cannot see the lag of ${names}, so the backfill does not wait for it: grant pg_monitor to the role`,
        ),
      );
    }
    return clock.weigh(replication, performance.now());
  };
}
