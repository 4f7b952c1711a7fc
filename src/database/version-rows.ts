// What the database says of itself: the rows of the version table, and whether it holds anything else.
// Two reading statements, no lock, no writing.

import type pg from "pg";
import type { VersionTable } from "../migrations/state.ts";

export type VersionRows =
  | {
      readonly kind: "known";
      readonly rows: readonly string[];
      /** There are tables besides the version table and those of extensions. */
      readonly userTables: boolean;
      readonly database: string;
    }
  | { readonly kind: "cannot-tell"; readonly reason: string };

interface Catalog {
  database: string;
  userTables: boolean;
  places: { schema: string; visible: boolean }[];
}

/** Whether there are tables besides those of extensions and those `c` of pg_class that are `excepted`. */
export function userTablesExist(excepted: string): string {
  return `exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not (${excepted})
          and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
          and not exists (
            select from pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
      )`;
}

/** Reads the applied revisions. No version table is the same as an empty one: nothing has been applied. */
export async function readVersionRows(
  client: pg.Client,
  table: VersionTable,
): Promise<VersionRows> {
  const name = client.escapeLiteral(table.name);
  const { rows: catalogs } = await client.query<Catalog>(`
    select
      current_database() as database,
      ${userTablesExist(`c.relname = ${name}`)} as "userTables",
      coalesce((
        select json_agg(json_build_object('schema', n.nspname, 'visible', pg_table_is_visible(c.oid)))
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relname = ${name} and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_temp'
      ), '[]') as places`);
  const [catalog] = catalogs;
  if (catalog === undefined) return { kind: "cannot-tell", reason: "the server gave no row" };
  const { database, userTables } = catalog;

  const places =
    table.schema === null
      ? catalog.places
      : catalog.places.filter(({ schema }) => schema === table.schema);
  const [place] = places;
  if (place === undefined) return { kind: "known", rows: [], userTables, database };
  if (places.length > 1 || (table.schema === null && !place.visible)) {
    // Alembic takes the one that is visible to its own session, whose search_path may not be ours.
    const where = places.map(({ schema }) => schema).join(", ");
    return {
      kind: "cannot-tell",
      reason: `the table ${table.name} is in ${places.length > 1 ? "several schemas" : "a schema outside the search path"} (${where}); name it with --version-table SCHEMA.${table.name}`,
    };
  }
  const qualified = `${client.escapeIdentifier(place.schema)}.${client.escapeIdentifier(table.name)}`;
  try {
    const { rows } = await client.query<{ version_num: string | null }>(
      `select version_num from ${qualified}`,
    );
    return {
      kind: "known",
      rows: rows.map((row) => row.version_num).filter((id) => id !== null),
      userTables,
      database,
    };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    // Dropped in this moment, no such column, no right to read it: Alembic will say what it makes of that.
    if (code !== undefined && code.startsWith("42")) {
      return { kind: "cannot-tell", reason: `the rows of ${qualified} cannot be read: ${message}` };
    }
    throw error;
  }
}
