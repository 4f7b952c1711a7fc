// PostgreSQL's lock_timeout for the migration's sessions, which are not ours: entrypoint appends it to PGOPTIONS, and reports
// the cure where the migration's driver does not read that.

import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../context.ts";
import { waitingMigration } from "../postgres/sessions.ts";
import { isPooled, type Connection } from "../postgres/connection.ts";
import type { Environment } from "../runtime/environment.ts";
import { unreadByDriver } from "../postgres/parameters.ts";
import { appendToOptions, type DatabaseAddress } from "../postgres/url.ts";
import type { ConfiguredUrl, MigrationCommand } from "../tools/tool.ts";

/** The environment of a migration whose statements wait no longer than that for a table lock, in milliseconds. */
export function withLockTimeout(env: Environment, lockTimeoutMs: number): Environment {
  const option = `-c lock_timeout=${lockTimeoutMs}`;
  const { PGOPTIONS, DATABASE_URL } = env;
  return {
    ...env,
    PGOPTIONS: PGOPTIONS ? `${PGOPTIONS} ${option}` : option,
    ...(DATABASE_URL ? { DATABASE_URL: appendToOptions(DATABASE_URL, option) } : {}),
  };
}

export interface Handover {
  /** Whether a connection may set it when it is made: PgBouncer refuses one that does. */
  readonly allowed: boolean;
  /** Why it does not reach the migration, and the cure. */
  readonly obstacle: { readonly reason: string; readonly hint: string } | null;
  /** The migration's role has a lock_timeout of its own, whatever the driver is. */
  readonly roleHasOne: boolean;
  /** Milliseconds after which the server cancels an autovacuum that somebody waits for. */
  readonly deadlockTimeoutMs: number;
}

/** Whether a lock_timeout in the environment reaches the migration's sessions. */
export async function planHandover(
  connection: Connection,
  on: {
    address: DatabaseAddress;
    /** The URL that the address comes from, where that is the tool's configuration, which entrypoint cannot change. */
    configured: ConfiguredUrl | null;
    command: Pick<MigrationCommand, "toolName" | "readsOptions" | "cures">;
    env: Environment;
    lockTimeoutMs: number;
  },
): Promise<Handover> {
  const { rows } = await connection.query<{
    role: string;
    database: string;
    deadlockTimeoutMs: number;
    roleHasOne: boolean;
  }>(`
    select quote_ident(session_user) as role, quote_ident(current_database()) as database,
      (select setting::int from pg_settings where name = 'deadlock_timeout') as "deadlockTimeoutMs",
      exists (
        select from pg_db_role_setting s, unnest(s.setconfig) as setting
        where s.setrole in (0, (select oid from pg_roles where rolname = session_user))
          and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
          and setting ~ '^lock_timeout=.*[1-9]') as "roleHasOne"`);
  const { role = "", database = "", deadlockTimeoutMs = 0, roleHasOne = false } = rows[0] ?? {};
  const allowed = !(await isPooled(connection));
  const wanted = `${on.lockTimeoutMs}ms`;
  const alter = `ALTER ROLE ${role} IN DATABASE ${database} SET lock_timeout = '${wanted}'`;
  const answer = (reason: string, cure: string | null | undefined): Handover => {
    const hint = cure ? `${cure}, or: ${alter}` : alter;
    return { allowed, obstacle: { reason, hint }, roleHasOne, deadlockTimeoutMs };
  };

  const { driver = "", options, optionsFromService } = on.address;
  if (!allowed) {
    return answer("a pooler, which is in between, refuses it", "use a direct URL");
  }
  if (unreadByDriver[driver]?.includes("options") === true) {
    const cure = on.command.cures.sessionSetting?.(driver, "lock_timeout", wanted);
    return answer(`${driver} does not read PGOPTIONS`, cure);
  }
  if (!on.command.readsOptions) {
    return answer(`${on.command.toolName} may not read PGOPTIONS`, null);
  }
  const configured = options === (on.env["PGOPTIONS"] || undefined) ? null : on.configured;
  const from = optionsFromService ? "the service file" : configured?.from;
  if (from !== undefined) {
    return answer(
      `${from} has options=, which takes the place of PGOPTIONS`,
      `add -c lock_timeout=${wanted} to it`,
    );
  }
  return { allowed, obstacle: null, roleHasOne, deadlockTimeoutMs };
}

const waitsEveryMs = 250;
/** How much longer than its limit a wait may seem to be. */
const toleranceMs = 1_000;

/**
 * Runs attempts, and warns once where a session of the migration waits for a lock for longer than it may: then its code has a
 * setting of its own, which no one else can read.
 */
export function createWaitWarning(
  { log }: { readonly log: Log },
  connection: Connection,
  on: { readonly versionTables: readonly string[]; readonly longestMs: number },
): <T>(lockTimeoutMs: number, run: () => Promise<T>) => Promise<T> {
  let warned = false;
  return async (lockTimeoutMs, run) => {
    const ended = new AbortController();
    const look = async () => {
      const sinceMs = new Map<string, number>();
      while (!warned && !ended.signal.aborted && !connection.lost.aborted) {
        const waits = await findWaits(connection, on.versionTables);
        const nowMs = performance.now();
        for (const known of sinceMs.keys()) {
          if (!waits.some(({ wait }) => wait === known)) sinceMs.delete(known);
        }
        for (const { pid, wait } of waits) {
          const waitedMs = nowMs - (sinceMs.get(wait) ?? nowMs);
          sinceMs.set(wait, nowMs - waitedMs);
          if (waitedMs < lockTimeoutMs + toleranceMs || ended.signal.aborted) continue;
          warned = true;
          log.warn(
            {
              event: "ddl-lock-timeout",
              pid,
              hint: `look for options or lock_timeout in the migration's own code: leave them out, or set lock_timeout = '${on.longestMs}ms' there`,
            },
            `--ddl-lock-timeout does not reach the migration: pid ${pid} has waited for a lock for more than ${lockTimeoutMs / 1000} s`,
          );
          return;
        }
        await sleep(waitsEveryMs, undefined, { signal: ended.signal });
      }
    };
    // A lost connection is the lock's business.
    look().catch(() => undefined);
    try {
      return await run();
    } finally {
      ended.abort();
    }
  };
}

/** What sessions of the migration wait for; CREATE INDEX CONCURRENTLY blocks nobody while it waits for transactions. */
async function findWaits(
  connection: Connection,
  versionTables: readonly string[],
): Promise<readonly { readonly pid: number; readonly wait: string }[]> {
  const { rows } = await connection.query<{ pid: number; wait: string }>(`
    select m.pid, concat_ws(' ', m.pid, m.query_start, l.locktype, l.mode, l.relation, l.transactionid, l.objid) as wait
    from pg_stat_activity m join pg_locks l on l.pid = m.pid
    where m.datname = current_database() and not l.granted and l.locktype <> 'virtualxid'
      and ${waitingMigration(versionTables)}`);
  return rows;
}
