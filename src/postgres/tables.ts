// Whether there is anything in a database, or in a schema of it.

import type { Connection } from "./connection.ts";
import { quoteLiteral } from "./names.ts";

/**
 * Whether there are tables besides those of extensions and of entrypoint itself.
 * @param on.schema the one that is looked at; null for all but the system's.
 * @param on.excepted the tables `c` of pg_class that do not count, as a condition in SQL.
 */
export async function hasTables(
  connection: Connection,
  on: { readonly schema: string | null; readonly excepted?: string },
): Promise<boolean> {
  const excepted = on.excepted === undefined ? "" : ` and not (${on.excepted})`;
  const { rows } = await connection.query<{ found: boolean }>(`
    select exists (
      select from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p')${excepted}
        and n.nspname not in ('information_schema', 'entrypoint') and n.nspname !~ '^pg_'${inSchema(on.schema)}
        and not exists (
          select from pg_depend d
          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    ) as found`);
  return rows[0]?.found === true;
}

/** A condition for `n` of pg_namespace; none for null. */
export function inSchema(schema: string | null): string {
  return schema === null ? "" : ` and n.nspname = ${quoteLiteral(schema)}`;
}
