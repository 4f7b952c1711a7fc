// Indexes: built and dropped while others write, or not.

import type { IndexStmt } from "libpg-query";
import { quoteName, quoteRelation } from "../../postgres/names.ts";
import {
  createIndex,
  dropIndex,
  makeStep,
  plainStatement,
  type PlainIndex,
} from "../../postgres/steps.ts";
import { relationOfWords, wordsOf } from "../../postgres/tree.ts";
import { insertBehind } from "../clauses.ts";
import { commandsOf, isConcurrent } from "../locks.ts";
import { nameTable, severityOf, weigh, type Problem, type Rule, type RuleContext } from "./rule.ts";

const createIndexRule: Rule = {
  id: "create-index",
  about: "CREATE INDEX blocks writes to the table until the index is built",
  example: "CREATE INDEX i ON posts (title)",
  lock: "SHARE",
  on: ["IndexStmt"],
  check(context) {
    const { node } = context.statement;
    if (!("IndexStmt" in node)) return [];
    const { relation, idxname, concurrent } = node.IndexStmt;
    const target = nameTable(context.world, relation);
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
        message: `CREATE INDEX ${name} builds an index of ${target.sql}`,
        work: { kind: "index", table: target.table },
        safe: partitioned
          ? []
          : [
              makeStep(
                "a migration of its own; if it fails it leaves an invalid index: drop that before the next try",
                [
                  createIndex(
                    insertBehind(context.statement, ["index"], "CONCURRENTLY"),
                    target.name,
                    describeIndex(node.IndexStmt),
                  ),
                ],
                "outside",
              ),
            ],
      },
    ];
  },
};

/** Null where the statement says more than a tool's operation does. */
function describeIndex(index: IndexStmt): PlainIndex | null {
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
    index.if_not_exists !== true;
  const known = columns.filter((column) => column !== undefined);
  if (!plain || index.idxname === undefined || known.length < columns.length) return null;
  const method = index.accessMethod === "btree" ? null : (index.accessMethod ?? null);
  return { name: index.idxname, columns: known, unique: index.unique === true, method };
}

const invalidIndex: Rule = {
  id: "invalid-index",
  about:
    "An invalid index, which a failed build has left: IF NOT EXISTS leaves it so, USING INDEX fails",
  example: "CREATE INDEX CONCURRENTLY IF NOT EXISTS posts_word_count ON posts (word_count)",
  lock: "SHARE UPDATE EXCLUSIVE",
  on: ["IndexStmt", "AlterTableStmt"],
  check({ statement, world }) {
    const { node } = statement;
    const relation =
      "IndexStmt" in node
        ? node.IndexStmt.relation
        : "AlterTableStmt" in node
          ? node.AlterTableStmt.relation
          : undefined;
    const target = nameTable(world, relation);
    if (target === null || target.table.invalidIndexes.size === 0) return [];
    const names =
      "IndexStmt" in node
        ? [node.IndexStmt.if_not_exists === true ? node.IndexStmt.idxname : undefined]
        : commandsOf(node).map(({ def }) =>
            def !== undefined && "Constraint" in def ? def.Constraint.indexname : undefined,
          );
    return names.flatMap((name): Problem[] => {
      if (name === undefined || !target.table.invalidIndexes.has(name)) return [];
      const index = quoteName(name);
      return [
        {
          severity: "error",
          object: index,
          message:
            "IndexStmt" in node
              ? `the index ${index} of ${target.sql} exists and is invalid: IF NOT EXISTS leaves it so, and no query uses it`
              : `USING INDEX ${index} fails: the index is invalid`,
          work: null,
          advice: "a build that failed has left it: drop it, and build it again",
          safe: [
            makeStep(
              "a migration of its own",
              [dropIndex({ ...target.name, name }, target.name)],
              "outside",
            ),
          ],
          unknown: [],
        },
      ];
    });
  },
};

const dropIndexRule: Rule = {
  id: "drop-index",
  about:
    "DROP INDEX locks the index's table: it waits for every query on it, and others queue behind",
  example: "DROP INDEX posts_at",
  lock: "ACCESS EXCLUSIVE",
  on: ["DropStmt"],
  check(context) {
    const { world, statement, dropped } = context;
    const { node } = statement;
    if (!("DropStmt" in node)) return [];
    const { removeType, objects = [], concurrent } = node.DropStmt;
    if (removeType !== "OBJECT_INDEX" || concurrent === true) return [];
    return objects.flatMap((object): Problem[] => {
      const name = "List" in object ? relationOfWords(wordsOf(object.List.items)) : null;
      if (name === null) return [];
      const table = world.tableOfIndex(name);
      if (table !== null && dropped.has(table.key)) return [];
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
            ? "an index of a partitioned table cannot be dropped CONCURRENTLY: drop it with a lock timeout, in a transaction of its own"
            : "",
          safe: partitioned
            ? []
            : [
                makeStep(
                  "a migration of its own",
                  [dropIndex(name, table?.name ?? null)],
                  "outside",
                ),
              ],
          unknown: table === null ? [`the table of ${index}`] : [],
        },
      ];
    });
  },
};

const reindexed = ["index", "table", "schema", "database", "system"];

const reindex: Rule = {
  id: "reindex",
  about: "REINDEX blocks writes to the table, and queries that would use the index",
  example: "REINDEX TABLE posts",
  lock: "SHARE",
  on: ["ReindexStmt"],
  check(context) {
    const { node } = context.statement;
    if (!("ReindexStmt" in node) || isConcurrent(node)) return [];
    const { kind, relation } = node.ReindexStmt;
    const target = nameTable(context.world, relation);
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
        message: `REINDEX rebuilds the index and blocks writes to its table meanwhile`,
        work: table === null ? null : { kind: "index", table },
        advice: since12 ? "" : "build another index CONCURRENTLY, then drop the old one",
        safe: since12
          ? [
              makeStep(
                "a migration of its own",
                [plainStatement(insertBehind(context.statement, reindexed, "CONCURRENTLY"))],
                "outside",
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
  about: "PostgreSQL 14.0 to 14.3 may omit rows from an index that is built CONCURRENTLY",
  example: "CREATE INDEX CONCURRENTLY i ON posts (title)",
  lock: "SHARE UPDATE EXCLUSIVE",
  on: ["IndexStmt", "ReindexStmt"],
  check({ statement, world }: RuleContext) {
    const version = world.catalog?.serverVersion ?? 0;
    const { node } = statement;
    const builds = "IndexStmt" in node || "ReindexStmt" in node;
    if (!builds || !isConcurrent(node)) return [];
    if (version < 140_000 || version > 140_003) return [];
    return [
      {
        severity: "error",
        object: `PostgreSQL 14.${version % 100}`,
        message: `PostgreSQL 14.${version % 100} may omit rows from an index that is built CONCURRENTLY`,
        work: null,
        advice: "update the server to 14.4 or later first",
        safe: [],
        unknown: [],
      },
    ];
  },
};

export const indexRules: readonly Rule[] = [
  createIndexRule,
  invalidIndex,
  dropIndexRule,
  reindex,
  concurrentlyCorrupt,
];
