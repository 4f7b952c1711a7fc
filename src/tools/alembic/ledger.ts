// What the database says of itself: the rows of the version table, and whether it holds anything else.
// Two reading statements, or three where nothing has been applied; no lock, no writing.

import type { Connection } from "../../postgres/connection.ts";
import { quoteLiteral } from "../../postgres/names.ts";
import { hasTables } from "../../postgres/tables.ts";
import type { VersionTable } from "../../state.ts";
import { readTable } from "../ledger-table.ts";

export type VersionRows =
  | {
      readonly kind: "known";
      readonly rows: readonly string[];
      /** There are tables besides the version table and those of extensions; asked only where there are no rows. */
      readonly userTables: boolean;
    }
  | { readonly kind: "cannot-tell"; readonly reason: string };

/**
 * Why another table may be the one that counts, where code that has not been read may name it: Flask-Migrate hands the
 * application's `version_table` to env.py. Null where there is no other one.
 */
export async function findOtherVersionTable(
  connection: Connection,
  { name }: VersionTable,
): Promise<string | null> {
  const { rows } = await connection.query<{ found: string }>(`
    select format('%I.%I', n.nspname, c.relname) as found
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relname <> ${quoteLiteral(name)} and n.nspname !~ '^pg_'
      and (select array_agg(a.attname::text) from pg_attribute a
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) = '{version_num}'
    limit 1`);
  const found = rows[0]?.found;
  return found === undefined
    ? null
    : `${found} looks like a version table too, and the application may name it: name one with --version-table`;
}

/** Reads the applied revisions. No version table is the same as an empty one: nothing has been applied. */
export async function readVersionRows(
  connection: Connection,
  table: VersionTable,
  tenant: string | null,
): Promise<VersionRows> {
  const found = await readTable<{ version_num: string | null }>(connection, table, "version_num");
  if (found.kind === "cannot-tell") return found;
  const rows = found.rows.map((row) => row.version_num).filter((id) => id !== null);
  const excepted = `c.relname = ${quoteLiteral(table.name)}`;
  const userTables =
    rows.length === 0 && (await hasTables(connection, { schema: tenant, excepted }));
  return { kind: "known", rows, userTables };
}

/** Whether there are tables besides those of extensions and any that look like a version table. */
export async function findUserTables(
  connection: Connection,
  tenant: string | null,
): Promise<boolean> {
  const column = "v.attrelid = c.oid and v.attname = 'version_num'";
  const excepted = `exists (select from pg_attribute v where ${column})`;
  return hasTables(connection, { schema: tenant, excepted });
}
