// The steps of a boot at which something can go wrong, each with the first query that it sends. A new step is a row here, and
// a new fault is a table over these rows.

export interface Step {
  readonly name: string;
  /** The step has begun with the nth message that holds this text. */
  readonly query: string;
  readonly nth: number;
  /** The exit code where no answer comes from there on, with a --lock-timeout and a --wait-timeout of 5 s. */
  readonly code: number;
  /** Another session holds the migration lock. */
  readonly waiting?: true;
  /** Its column in the matrix. */
  readonly column?: string;
}

const inspection = "pg_table_is_visible";

export const steps: readonly Step[] = [
  { name: "inspect", query: inspection, nth: 1, code: 75, column: "inspect" },
  { name: "try the lock", query: "pg_try_advisory_lock", nth: 1, code: 75 },
  {
    name: "try the lock again",
    query: "pg_try_advisory_lock",
    nth: 3,
    code: 75,
    waiting: true,
    column: "wait for the lock",
  },
  { name: "connect again at the lock", query: "application_name", nth: 2, code: 69, waiting: true },
  { name: "inspect at the lock", query: inspection, nth: 2, code: 75, waiting: true },
  { name: "report the holder", query: "pg_stat_progress", nth: 1, code: 69, waiting: true },
  { name: "look for orphans", query: "backend_xid", nth: 1, code: 75, column: "under the lock" },
  { name: "inspect again", query: inspection, nth: 2, code: 75 },
  { name: "prepare the migration", query: "<> '0' as known", nth: 1, code: 75 },
  { name: "verify", query: inspection, nth: 3, code: 69, column: "verify" },
];

/** An env.py that reaches the server without the proxy. @param first lines of Python that run in a transaction before all. */
export function directly(first = "pass"): string {
  return `import os, sys
from alembic import context
from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DIRECT_URL"])
with engine.begin() as connection:
    ${first}

def run_migrations_online():
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()

run_migrations_online()
`;
}
