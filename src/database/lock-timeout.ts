// PostgreSQL's lock_timeout for the migration's sessions, which are not ours: it is handed over in the environment, as far
// as the driver reads that. Where it does not, only the user can set it, and is told how.

import type { Environment } from "../environment.ts";
import { isPooled, type Connection } from "./connect.ts";
import { appendToOptions, type DatabaseAddress } from "./url.ts";

/** The environment of a migration whose statements wait no longer than that for a lock, in milliseconds. */
export function withLockTimeout(env: Environment, lockTimeoutMs: number): Environment {
  const option = `-c lock_timeout=${lockTimeoutMs}`;
  const { PGOPTIONS, DATABASE_URL } = env;
  return {
    ...env,
    PGOPTIONS: PGOPTIONS ? `${PGOPTIONS} ${option}` : option,
    ...(DATABASE_URL ? { DATABASE_URL: appendToOptions(DATABASE_URL, option) } : {}),
  };
}

/** The drivers that are not libpq's and do not read PGOPTIONS: the argument of connect() that takes a session's settings. */
const settingsArguments: Readonly<Record<string, string>> = {
  asyncpg: "server_settings",
  pg8000: "startup_params",
};

export interface Handover {
  /** Whether a connection may ask for it: PgBouncer refuses one that does. */
  readonly allowed: boolean;
  /** Why it does not come to the migration, and the cure. */
  readonly obstacle: { readonly reason: string; readonly hint: string } | null;
  /** The migration's role has a lock_timeout of its own, whatever the driver is. */
  readonly roleHasOne: boolean;
  /** Milliseconds after which the server cancels an autovacuum that somebody waits for. */
  readonly deadlockTimeoutMs: number;
}

/** Whether a lock_timeout in the environment comes to the migration's sessions. */
export async function planHandover(
  connection: Connection,
  on: {
    address: DatabaseAddress;
    /** The address is sqlalchemy.url of the Alembic config, which we cannot change. */
    fromConfig: boolean;
    env: Environment;
    lockTimeoutMs: number;
  },
): Promise<Handover> {
  const { rows } = await connection.client.query<{
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
  const answer = (reason: string, cure: string): Handover => {
    const obstacle = { reason, hint: `${cure}, or: ${alter}` };
    return { allowed, obstacle, roleHasOne, deadlockTimeoutMs };
  };

  const { driver = "", options } = on.address;
  const argument = settingsArguments[driver];
  if (!allowed) {
    return answer("a transaction pooler, which is in between, refuses it", "use a direct URL");
  }
  if (argument !== undefined) {
    return answer(
      `${driver} does not read PGOPTIONS`,
      `in env.py connect_args={"${argument}": {"lock_timeout": "${wanted}"}}`,
    );
  }
  if (on.fromConfig && options !== (on.env["PGOPTIONS"] || undefined)) {
    return answer(
      "sqlalchemy.url in the Alembic config has options=, which takes the place of PGOPTIONS",
      `add -c lock_timeout=${wanted} to it`,
    );
  }
  return { allowed, obstacle: null, roleHasOne, deadlockTimeoutMs };
}
