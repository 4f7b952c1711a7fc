// `entrypoint backfill`: which database and which table; what it prints before, and what comes afterwards.

import { parseExpressions } from "../backfill/expressions.ts";
import { describeJob, type Job } from "../backfill/job.ts";
import { describePlan, findTargetAgain, type Plan } from "../backfill/plan.ts";
import { reportProgress } from "../backfill/progress.ts";
import { prepareBackfill, runBackfill } from "../backfill/run.ts";
import { openSession } from "../backfill/session.ts";
import { describeThirdStep } from "../backfill/third-step.ts";
import type { Context } from "../context.ts";
import { Failure } from "../failure.ts";
import { printResult } from "../log/log.ts";
import { explainDatabaseError, isRefusal } from "../postgres/errors.ts";
import type { Connection } from "../postgres/connection.ts";
import { describeAddress, type DatabaseAddress } from "../postgres/url.ts";
import type { BackfillSettings } from "../settings/settings.ts";
import { openConnection, readMigrations } from "./survey.ts";

/** A sample of a table with a costly condition takes its time. */
const preparationLimitMs = 60_000;

/** Resolves to the exit code 0 once no row fulfils the condition any more, or with --dry-run. */
export async function backfill(context: Context<BackfillSettings>): Promise<number> {
  const { settings, log, signals } = context;
  const options = settings.job;
  const expressions = await parseExpressions(options);
  const histories = (await readMigrations(context)).map((migration) => migration.history);
  const [history = null] = histories;
  const { requireDatabase } = await import("./locate.ts");
  const address = await requireDatabase(context, histories, "that holds the table");
  const open = async () =>
    (await openConnection(context, address)).within({ limitMs: () => preparationLimitMs });
  let session = await openSession(open, log);
  try {
    const plan = await prepareBackfill(session, expressions);
    const job = describeJob(expressions, plan.target, options.name);
    if (settings.dryRun) {
      printResult(describeDryRun(address, job, plan));
      return 0;
    }
    const debugging = ["debug", "trace"].includes(settings.logLevel);
    const progress = await reportProgress(log, settings.logFormat !== "json", settings.env);
    try {
      for (let cuts = 0; ;) {
        const startMs = performance.now();
        try {
          // After a cut the table may have other partitions, and another name.
          const now = cuts === 0 ? plan : await prepareBackfill(session, expressions);
          const given = { job, plan: now, expressions, options, progress, debugging };
          await runBackfill(context, session, given);
          break;
        } catch (error) {
          if (!isCut(error, session.connection) || signals.stop.aborted) throw error;
          cuts = performance.now() - startMs < shortRunMs ? cuts + 1 : 1;
          if (cuts > mostCuts) throw error;
          const reason = (error as Error).message;
          progress.log(() =>
            log.warn(
              { event: "connection-lost", job: job.name, reason },
              `The connection broke, so it is opened again, and the backfill continues from the last batch: ${reason}`,
            ),
          );
          await session.close();
          session = await openSession(open, log);
        }
      }
    } finally {
      progress.close();
    }
    const filled = await findTargetAgain(session.connection, plan.target);
    const [head, ...others] = history?.heads ?? [];
    const sql = await history?.command.loadSql?.();
    const step = describeThirdStep(filled, expressions, {
      major: plan.serverMajor,
      render: sql?.render ?? null,
      head: others.length > 0 ? null : (head ?? null),
    });
    if (step !== null) printResult(step);
    return 0;
  } catch (error) {
    throw explainDatabaseError(error);
  } finally {
    if (!signals.stop.aborted) await session.close();
  }
}

/** Runs that are cut off sooner count together. */
const shortRunMs = 60_000;
const mostCuts = 5;

/** Whether the server has ended the session, or the network has: another session can resume. A refusal or silence is neither. */
function isCut(error: unknown, { lost }: Connection): boolean {
  if (!(error instanceof Failure) || error.code !== "database-unavailable") return false;
  const { cause } = error;
  const silent = cause instanceof Failure || lost.reason instanceof Failure;
  return cause !== undefined && !isRefusal(cause) && !silent;
}

function describeDryRun(address: DatabaseAddress, job: Job, plan: Plan): string {
  return [
    `database   ${describeAddress(address)}`,
    `backfill   ${job.name}`,
    ...describePlan(plan),
    ...plan.warnings.map((warning) => `warning    ${warning}`),
  ].join("\n");
}
