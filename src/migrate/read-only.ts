// Why a migration may have changed nothing although its revisions are right: the server, or the role, takes no changes. It is
// read after a migration that failed, by entrypoint's own session.

import type { Connection } from "../postgres/connection.ts";
import { quoteName } from "../postgres/names.ts";

export interface ReadOnly {
  readonly reason: string;
  readonly hint: string;
}

/** Where a session's setting comes from, by pg_settings.source: how it is taken back. */
const cures: Readonly<Record<string, (role: string, database: string) => string>> = {
  user: (role) => `alter role ${role} reset default_transaction_read_only`,
  database: (_, database) => `alter database ${database} reset default_transaction_read_only`,
  "database user": (role, database) =>
    `alter role ${role} in database ${database} reset default_transaction_read_only`,
  client: () => "leave default_transaction_read_only out of PGOPTIONS and of options= in the URL",
};
const ofServer = () =>
  "find why the server is set to default_transaction_read_only: some services do that when the disk is full";

/** Null where the session may write and create tables. */
export async function findReadOnly(connection: Connection): Promise<ReadOnly | null> {
  const { rows } = await connection.query<{
    standby: boolean;
    source: string | null;
    schema: string | null;
    nowhere: boolean;
    path: string;
    closed: string | null;
    role: string;
    database: string;
  }>(`
    select pg_is_in_recovery() as standby,
      (select source from pg_settings where name = 'default_transaction_read_only' and setting = 'on') as source,
      case when not has_schema_privilege(current_schema(), 'create') then current_schema()::text end as schema,
      current_schema() is null as nowhere, current_setting('search_path') as path,
      (select min(nspname::text) from pg_namespace
        where nspname = any(string_to_array(translate(current_setting('search_path'), ' "', ''), ','))) as closed,
      current_user as role, current_database() as database`);
  const [row] = rows;
  if (row === undefined) return null;
  const { standby, source, schema } = row;
  const [role, database] = [quoteName(row.role), quoteName(row.database)];
  if (standby) {
    return {
      reason: "the server is a standby, which takes no changes",
      hint: "give the primary's URL, or several hosts with target_session_attrs=read-write; replicas beside a standby start with entrypoint wait",
    };
  }
  if (source !== null) {
    return {
      reason: `the sessions of ${role} are read-only, by default_transaction_read_only`,
      hint: (cures[source] ?? ofServer)(role, database),
    };
  }
  if (row.nowhere) {
    const { path, closed } = row;
    return {
      reason: `${role} may use no schema of its search_path (${path})`,
      hint:
        closed === null
          ? `create a schema of that name, or: alter role ${role} reset search_path`
          : `grant usage, create on schema ${quoteName(closed)} to ${role}`,
    };
  }
  if (schema === null) return null;
  return {
    reason: `${role} may create nothing in the schema ${quoteName(schema)}`,
    hint: `grant create on schema ${quoteName(schema)} to ${role}`,
  };
}
