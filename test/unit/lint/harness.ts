// Lints SQL in a test: the parser is the real one, the catalog is what the test says of it.

import type { Catalog, RelationFacts } from "../../../src/lint/catalog.ts";
import { checkScript, type Finding } from "../../../src/lint/check.ts";
import { readScript } from "../../../src/lint/statements.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";
import { formatStep } from "../../../src/postgres/steps.ts";
import { render } from "../../../src/tools/alembic/operations.ts";
import { findStarts } from "../../../src/tools/alembic/sql.ts";

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
  invalidIndexes?: readonly string[];
  /** Beside those of its primary key and its unique constraints. */
  uniqueIndexes?: readonly string[];
  /** The index that is its replica identity, where that is not the primary key's. */
  identity?: string;
  /** `posts.posts_user_id_fkey by users_pkey` */
  referrers?: readonly string[];
  policies?: boolean;
  defaultPartition?: string;
}

/** A database of these tables; they are in `public`, and have a million rows each, unless it is said otherwise. */
export function catalogOf(
  tables: Readonly<Record<string, TableSpec>>,
  server: Partial<Omit<Catalog, "relations">> = {},
): Catalog {
  const relations = Object.entries(tables).flatMap(([name, spec]): RelationFacts[] => {
    const { schema = "public", rows = 1_000_000, kind = "r", indexes = {} } = spec;
    const ofKind = (...kinds: string[]) =>
      (spec.constraints ?? []).flatMap(({ kind: of = "c", name: constraint = "c" }) =>
        kinds.includes(of) ? [constraint] : [],
      );
    const keys = [...ofKind("p", "u"), ...(spec.uniqueIndexes ?? [])];
    const [primary] = ofKind("p");
    const pages = spec.pages ?? Math.max(0, Math.ceil(rows / 100));
    const table: RelationFacts = {
      schema,
      name: name.split(".").at(-1) ?? name,
      kind,
      table: null,
      storage: { logged: true, accessMethod: "heap", tablespace: "pg_default" },
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
        valid: spec.invalidIndexes?.includes(index) !== true,
        unique: keys.includes(index),
        identity: index === (spec.identity ?? primary),
      })),
      referrers: (spec.referrers ?? []).map((text) => {
        const [, of = "", key = "", by = ""] = /^(\w+)\.(\w+) by (\w+)$/.exec(text) ?? [];
        return { name: key, table: { schema, name: of }, index: by };
      }),
      policies: spec.policies === true,
      defaultPartition:
        spec.defaultPartition === undefined ? null : { schema, name: spec.defaultPartition },
    };
    const own = Object.keys(indexes).map((index): RelationFacts => ({
      ...table,
      name: index,
      kind: "i",
      table: { schema, name: table.name },
      columns: [],
      constraints: [],
      indexes: [],
      referrers: [],
    }));
    return [table, ...own];
  });
  return {
    serverVersion: 160_004,
    searchPath: ["public"],
    timeZone: "Europe/Berlin",
    types: [],
    coercions: ["varchar text", "text varchar", "cidr inet", "xml text", "int4 oid", "oid int4"],
    volatilities: {},
    ...server,
    relations,
  };
}

/** A finding with its safe form as SQL and as Alembic operations. */
interface Found extends Omit<Finding, "safe"> {
  readonly safe: readonly {
    readonly title: string;
    readonly sql: string;
    readonly alembic: string;
    readonly command: readonly string[] | null;
  }[];
}

export function findingsOf(sql: string, catalog: Catalog | null = null): Found[] {
  return checkScript(parser, readScript(parser, sql, findStarts(sql)), {
    catalog,
    smallRows: 10_000,
    together: catalog !== null,
    ownTables: ["alembic_version"],
    ownTransactions: render.ownTransactions,
  }).map(({ safe, ...finding }) => ({
    ...finding,
    safe: safe.map((step) => ({
      title: step.title,
      sql: formatStep(step),
      alembic: render.renderStep(step),
      command: step.command,
    })),
  }));
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
