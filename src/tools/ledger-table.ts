// The table in which a migration tool keeps what is applied. A tool's words say which one, and which columns count.
// One reading statement finds the table, one reads its rows; no lock, no writing. Each has a backend that has just started fill
// its caches, so what is asked for is kept small.

import type { Connection } from "../postgres/connection.ts";
import { quoteLiteral, quoteRelation } from "../postgres/names.ts";
import { inSchema } from "../postgres/tables.ts";
import type { VersionTable } from "../state.ts";

export type TableRows<Row> =
  | { readonly kind: "known"; readonly rows: readonly Row[] }
  | { readonly kind: "cannot-tell"; readonly reason: string };

/** Reads a table's rows. No such table is the same as an empty one. @param columns the select list, as SQL; so is `where`. */
export async function readTable<Row extends Record<string, unknown>>(
  connection: Connection,
  table: VersionTable,
  columns: string,
  where = "true",
): Promise<TableRows<Row>> {
  const { rows: places } = await connection.query<{ schema: string; visible: boolean }>(`
    select n.nspname as schema, pg_table_is_visible(c.oid) as visible
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = ${quoteLiteral(table.name)} and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_temp'${inSchema(table.schema)}`);
  const [place] = places;
  if (place === undefined) return { kind: "known", rows: [] };
  if (places.length > 1 || (table.schema === null && !place.visible)) {
    // The tool takes the one that is visible to its own session, whose search_path may not be ours.
    const schemas = places.map(({ schema }) => schema).join(", ");
    return {
      kind: "cannot-tell",
      reason: `the table ${table.name} is in ${places.length > 1 ? "several schemas" : "a schema outside the search path"} (${schemas}); name it with --version-table SCHEMA.${table.name}`,
    };
  }
  const qualified = quoteRelation({ schema: place.schema, name: table.name });
  try {
    const condition = where === "true" ? "" : ` where ${where}`;
    const { rows } = await connection.query<Row>(`select ${columns} from ${qualified}${condition}`);
    return { kind: "known", rows };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    // Dropped in this moment, no such column, no right to read it: the tool will say what it makes of that.
    if (code !== undefined && code.startsWith("42")) {
      return { kind: "cannot-tell", reason: `the rows of ${qualified} cannot be read: ${message}` };
    }
    throw error;
  }
}
