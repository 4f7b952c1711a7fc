// What the database says of itself: the rows of the version table, and whether it holds anything else.
// Two reading statements, or three where nothing has been applied; no lock, no writing. Each has a backend that has just
// started fill its caches, so what is asked for is kept small.

import type pg from "pg";
import type { VersionTable } from "../migrations/state.ts";

export type VersionRows =
  | {
      readonly kind: "known";
      readonly rows: readonly string[];
      /** There are tables besides the version table and those of extensions; asked only where there are no rows. */
      readonly userTables: boolean;
    }
  | { readonly kind: "cannot-tell"; readonly reason: string };

interface Place {
  readonly schema: string;
  readonly visible: boolean;
}

/** Reads the applied revisions. No version table is the same as an empty one: nothing has been applied. */
export async function readVersionRows(
  client: pg.Client,
  table: VersionTable,
): Promise<VersionRows> {
  const name = client.escapeLiteral(table.name);
  const { rows: found } = await client.query<Place>(`
    select n.nspname as schema, pg_table_is_visible(c.oid) as visible
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = ${name} and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_temp'`);
  const places =
    table.schema === null ? found : found.filter(({ schema }) => schema === table.schema);
  const [place] = places;
  if (place === undefined) return nothingApplied(client, name);
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
    const ids = rows.map((row) => row.version_num).filter((id) => id !== null);
    if (ids.length > 0) return { kind: "known", rows: ids, userTables: false };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    // Dropped in this moment, no such column, no right to read it: Alembic will say what it makes of that.
    if (code !== undefined && code.startsWith("42")) {
      return { kind: "cannot-tell", reason: `the rows of ${qualified} cannot be read: ${message}` };
    }
    throw error;
  }
  return nothingApplied(client, name);
}

/** `name` is the version table's, as a literal. */
async function nothingApplied(client: pg.Client, name: string): Promise<VersionRows> {
  const userTables = await findTables(client, `c.relname = ${name}`);
  return { kind: "known", rows: [], userTables };
}

/** Whether there are tables besides those of extensions and any that look like a version table. */
export async function findUserTables(client: pg.Client): Promise<boolean> {
  const column = "v.attrelid = c.oid and v.attname = 'version_num'";
  return findTables(client, `exists (select from pg_attribute v where ${column})`);
}

/** Whether there are tables besides those of extensions and those `c` of pg_class that are `excepted`. */
async function findTables(client: pg.Client, excepted: string): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>(`
    select exists (
      select from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and not (${excepted})
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
        and not exists (
          select from pg_depend d
          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    ) as found`);
  return rows[0]?.found === true;
}
