// Lints SQL in a test: the parser is the real one, the catalog is what the test says of it.

import type { Catalog, RelationFacts } from "../../src/lint/catalog.ts";
import { checkScript, type Finding } from "../../src/lint/check.ts";
import { readScript } from "../../src/lint/statements.ts";
import { loadSqlParser } from "../../src/sql/parser.ts";

const parser = await loadSqlParser();

interface TableSpec {
  schema?: string;
  /** Live rows; −1: never analysed. */
  rows?: number;
  /** Of eight kilobytes; as many as such rows take unless given. */
  pages?: number;
  kind?: RelationFacts["kind"];
  /** `id int4 not null` */
  columns?: readonly string[];
  constraints?: readonly Partial<RelationFacts["constraints"][number]>[];
  indexes?: Readonly<Record<string, readonly string[]>>;
}

/** A database of these tables; they are in `public`, and have a million rows each, unless it is said otherwise. */
export function catalogOf(
  tables: Readonly<Record<string, TableSpec>>,
  server: Partial<Omit<Catalog, "relations">> = {},
): Catalog {
  const relations = Object.entries(tables).flatMap(([name, spec]): RelationFacts[] => {
    const { schema = "public", rows = 1_000_000, kind = "r", indexes = {} } = spec;
    const pages = spec.pages ?? Math.max(0, Math.ceil(rows / 100));
    const table: RelationFacts = {
      schema,
      name: name.split(".").at(-1) ?? name,
      kind,
      table: null,
      leaves: [{ tuples: rows, pages: rows < 0 ? 0 : pages, bytes: pages * 8192 }],
      columns: (spec.columns ?? []).map((column) => {
        const [, of = "", type = "", modifiers = "", notNull] =
          /^(\w+) (\w+)(?:\(([\d,]+)\))?( not null)?$/.exec(column) ?? [];
        return {
          name: of,
          type,
          typeSchema: "pg_catalog",
          modifiers: modifiers === "" ? [] : modifiers.split(",").map(Number),
          notNull: notNull !== undefined,
        };
      }),
      constraints: (spec.constraints ?? []).map((one) => ({
        name: "c",
        kind: "c",
        valid: true,
        columns: [],
        references: null,
        definition: null,
        ...one,
      })),
      indexes: Object.entries(indexes).map(([index, columns]) => ({
        name: index,
        columns,
        reads: null,
      })),
    };
    const own = Object.keys(indexes).map((index): RelationFacts => ({
      ...table,
      name: index,
      kind: "i",
      table: { schema, name: table.name },
      columns: [],
      constraints: [],
      indexes: [],
    }));
    return [table, ...own];
  });
  return {
    serverVersion: 160_004,
    searchPath: ["public"],
    timeZone: "Europe/Berlin",
    types: [],
    volatilities: {},
    ...server,
    relations,
  };
}

export function findingsOf(sql: string, catalog: Catalog | null = null): Finding[] {
  return checkScript(parser, readScript(parser, sql), {
    catalog,
    smallRows: 10_000,
    together: catalog !== null,
    ownTables: ["alembic_version"],
  });
}

/** `error set-not-null` of each finding. */
export function verdictOf(sql: string, catalog: Catalog | null = null): string[] {
  return findingsOf(sql, catalog).map(({ severity, rule }) => `${severity} ${rule}`);
}

/** The table that most tests are about. */
export const posts = {
  columns: [
    "id int4 not null",
    "title varchar(80)",
    "body text",
    "word_count int4",
    "price numeric(8,2)",
    "at timestamp",
  ],
  constraints: [{ name: "posts_pkey", kind: "p" as const, columns: ["id"] }],
  indexes: { posts_pkey: ["id"], posts_at: ["at"] },
};
