// Indexes: built and dropped while others write, or not.

import type { IndexStmt } from "libpg-query";
import { isConcurrent } from "../locks.ts";
import { autocommitStep } from "../safe-forms.ts";
import {
  quoteName,
  quotePython,
  quoteRelation,
  relationOfWords,
  schemaArgument,
  wordsOf,
} from "../sql.ts";
import {
  severityOf,
  targetOf,
  weigh,
  type Problem,
  type Rule,
  type RuleContext,
  type Target,
} from "./rule.ts";

const createIndex: Rule = {
  id: "create-index",
  about: "CREATE INDEX locks the table against writes until the index is built",
  check(context) {
    const { node, text } = context.statement;
    if (context.statement.opaque || !("IndexStmt" in node)) return [];
    const { relation, idxname, concurrent } = node.IndexStmt;
    const target = targetOf(context.world, relation);
    if (target === null) return [];
    const exists = idxname !== undefined && target.table.indexes.has(idxname);
    if (exists && node.IndexStmt.if_not_exists === true) return [];
    const name = idxname === undefined ? target.sql : quoteName(idxname);
    const partitioned = target.table.kind === "p";
    const advice = partitioned
      ? `${target.sql} is partitioned: CREATE INDEX … ON ONLY ${target.sql}, then one CONCURRENTLY on each partition, and ALTER INDEX … ATTACH PARTITION`
      : "";
    const common = { object: name, advice, unknown: [] };
    if (concurrent === true) {
      if (!partitioned) return [];
      return [
        {
          ...common,
          severity: "error",
          message: `CREATE INDEX CONCURRENTLY fails on ${target.sql}, which is partitioned`,
          work: null,
          safe: [],
        },
      ];
    }
    const severity = severityOf(context, target.table);
    // ON ONLY a partitioned table builds nothing.
    if (severity === null || (partitioned && relation?.inh !== true)) return [];
    return [
      {
        ...common,
        severity,
        message: `CREATE INDEX ${name} builds an index of the whole of ${target.sql}`,
        work: { kind: "index", table: target.table },
        safe: partitioned
          ? []
          : [
              autocommitStep(
                "a revision of its own; an invalid index is left behind where it fails: drop that before the next try",
                text.replace(/\bINDEX\b/i, (word) => `${word} CONCURRENTLY`),
                describeOperation(target, node.IndexStmt),
              ),
            ],
      },
    ];
  },
};

/** `op.create_index(…)`, where there is nothing in the statement that it does not know. */
function describeOperation(target: Target, index: IndexStmt): string | undefined {
  const columns = (index.indexParams ?? []).map((one) =>
    "IndexElem" in one &&
    one.IndexElem.ordering === "SORTBY_DEFAULT" &&
    one.IndexElem.nulls_ordering === "SORTBY_NULLS_DEFAULT" &&
    one.IndexElem.opclass === undefined &&
    one.IndexElem.collation === undefined
      ? one.IndexElem.name
      : undefined,
  );
  const plain =
    index.whereClause === undefined &&
    index.options === undefined &&
    index.indexIncludingParams === undefined &&
    index.tableSpace === undefined &&
    index.nulls_not_distinct !== true &&
    columns.every((column) => column !== undefined);
  if (!plain || index.idxname === undefined) return undefined;
  const unique = index.unique === true ? ", unique=True" : "";
  const method =
    index.accessMethod === undefined || index.accessMethod === "btree"
      ? ""
      : `, postgresql_using=${quotePython(index.accessMethod)}`;
  const exists = index.if_not_exists === true ? ", if_not_exists=True" : "";
  return `op.create_index(${quotePython(index.idxname)}, ${quotePython(target.name.name)}, [${columns.map((column) => quotePython(column ?? "")).join(", ")}]${unique}${schemaArgument(target.name)}${method}${exists}, postgresql_concurrently=True)`;
}

const dropIndex: Rule = {
  id: "drop-index",
  about:
    "DROP INDEX locks the index's table, and waits for all who use it while others queue behind",
  check(context) {
    const { world, statement } = context;
    const { node } = statement;
    if (statement.opaque || !("DropStmt" in node)) return [];
    const { removeType, objects = [], concurrent } = node.DropStmt;
    if (removeType !== "OBJECT_INDEX" || concurrent === true) return [];
    return objects.flatMap((object): Problem[] => {
      const name = "List" in object ? relationOfWords(wordsOf(object.List.items)) : null;
      if (name === null) return [];
      const table = world.tableOfIndex(name);
      const weight = table === null ? "live" : weigh(context, table);
      if (weight === "unseen" || weight === "empty") return [];
      const index = quoteRelation(name);
      const of = table === null ? "its table" : quoteRelation(table.name);
      const partitioned = table?.kind === "p";
      return [
        {
          severity: weight === "small" ? "note" : "warning",
          object: index,
          message: `DROP INDEX ${index} locks ${of} until the transaction ends`,
          work: null,
          advice: partitioned
            ? "an index of a partitioned table cannot be dropped CONCURRENTLY: do it with a lock timeout, alone in its transaction"
            : "",
          safe: partitioned
            ? []
            : [
                autocommitStep(
                  "a revision of its own",
                  `DROP INDEX CONCURRENTLY ${index}`,
                  `op.drop_index(${quotePython(name.name)}${table === null ? "" : `, table_name=${quotePython(table.name.name)}`}${schemaArgument(name)}, postgresql_concurrently=True)`,
                ),
              ],
          unknown: table === null ? [`the table of ${index}`] : [],
        },
      ];
    });
  },
};

const reindex: Rule = {
  id: "reindex",
  about: "REINDEX locks the table against writes, and the index against all who would read by it",
  check(context) {
    const { node, text } = context.statement;
    if (context.statement.opaque || !("ReindexStmt" in node) || isConcurrent(node)) return [];
    const { kind, relation } = node.ReindexStmt;
    const target = targetOf(context.world, relation);
    const table =
      target === null
        ? null
        : kind === "REINDEX_OBJECT_INDEX"
          ? context.world.tableOfIndex(target.name)
          : target.table;
    const severity = table === null ? "error" : severityOf(context, table);
    if (severity === null) return [];
    const since12 = (context.world.serverMajor ?? 12) >= 12;
    return [
      {
        severity,
        object: target?.sql ?? "the database",
        message: `REINDEX builds the index anew while nobody writes to its table`,
        work: table === null ? null : { kind: "index", table },
        advice: since12 ? "" : "build another index CONCURRENTLY, then drop the old one",
        safe: since12
          ? [
              autocommitStep(
                "a revision of its own",
                text.replace(
                  /\b(INDEX|TABLE|SCHEMA|DATABASE|SYSTEM)\b/i,
                  (word) => `${word} CONCURRENTLY`,
                ),
              ),
            ]
          : [],
        unknown: table === null && target !== null ? [`the table of ${target.sql}`] : [],
      },
    ];
  },
};

const concurrentlyCorrupt: Rule = {
  id: "concurrently-corrupt",
  about: "PostgreSQL 14.0 to 14.3 may leave rows out of an index that is built CONCURRENTLY",
  check({ statement, world }: RuleContext) {
    const version = world.catalog?.serverVersion ?? 0;
    const { node } = statement;
    const builds = "IndexStmt" in node || "ReindexStmt" in node;
    if (statement.opaque || !builds || !isConcurrent(node)) return [];
    if (version < 140_000 || version > 140_003) return [];
    return [
      {
        severity: "error",
        object: `PostgreSQL 14.${version % 100}`,
        message: `PostgreSQL 14.${version % 100} may leave rows out of an index that is built CONCURRENTLY`,
        work: null,
        advice: "update the server to 14.4 or later first",
        safe: [],
        unknown: [],
      },
    ];
  },
};

export const indexRules: readonly Rule[] = [createIndex, dropIndex, reindex, concurrentlyCorrupt];
