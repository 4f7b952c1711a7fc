// A Python in which Alembic migrates nothing, whoever has it upgrade: no revision runs, and no version table is written.

import type { Environment } from "../../../runtime/environment.ts";
import { preparePython as prepare, withPython as ask } from "../../python.ts";

export const withPython: typeof ask = (env, code, act) => ask(env, `${guard}${code}`, act);

/** One try, whose output is not for entrypoint to read. */
export function withPlainPython<T>(
  env: Environment,
  act: (env: Environment) => Promise<T>,
): Promise<T> {
  return prepare(env, guard, (prepared) => act(prepared.env));
}

const guard = `
def without_migrations(module):
    context = module.MigrationContext
    run = context.run_migrations

    def run_migrations(self, **options):
        if self.as_sql:
            return run(self, **options)
        # What a command reports, it reports from here; the revisions that it names are not run.
        if self._migrations_fn is not None:
            self._migrations_fn(self.get_current_heads(), self)

    context.run_migrations = run_migrations
    context._ensure_version_table = lambda self, *arguments, **options: None


after("alembic.runtime.migration", without_migrations)
`;
