// Rows: many that change at once, all of a table that go, and those that nobody sees any more.

import { quoteRelation } from "../../postgres/names.ts";
import { relationOf } from "../../postgres/tree.ts";
import { formatStatement } from "../clauses.ts";
import { backfilledTable, changesIn, conditionOfChange } from "../locks.ts";
import { updateInBatches } from "../safe-forms.ts";
import {
  commandRule,
  isInUse,
  nameTable,
  strongest,
  weigh,
  type Problem,
  type Rule,
} from "./rule.ts";

const changeManyRows: Rule = {
  id: "change-many-rows",
  about:
    "UPDATE, DELETE or MERGE of a large table in one transaction: each row stays locked until the last one is done",
  example: "UPDATE posts SET word_count = 0",
  lock: "those of the rows",
  on: ["UpdateStmt", "DeleteStmt", "MergeStmt", "SelectStmt", "InsertStmt"],
  check(context) {
    const { statement, world, held } = context;
    const change = changesIn(statement.node).find((one) => !("InsertStmt" in one));
    const table = change === undefined ? null : backfilledTable(statement, world);
    // ddl-and-backfill reports what happens under a table's lock.
    if (change === undefined || table === null || strongest(held) !== null) return [];
    if ("SelectStmt" in change) return [];
    const weight = weigh(context, table);
    if (weight !== "live" || !isInUse(table)) return [];
    const sql = quoteRelation(table.name);
    const batches = updateInBatches(statement, world, table);
    const all = conditionOfChange(change) === undefined && !("MergeStmt" in change);
    const deletes = "DeleteStmt" in change;
    const where = all ? "" : " that it matches";
    return [
      {
        severity: all && table.size.rows !== null ? "error" : "warning",
        object: sql,
        message: deletes
          ? `DELETE locks every row of ${sql}${where} until the transaction ends, and vacuum can remove none before`
          : `this statement locks every row of ${sql}${where} until the transaction ends, and writes each anew`,
        work: { kind: "update", table },
        advice: deletes
          ? `delete in batches, each in a transaction of its own: DELETE FROM ${sql} WHERE ctid = ANY (ARRAY (SELECT ctid FROM ${sql} WHERE … LIMIT 5000)), until no row is left`
          : batches === null
            ? "update in batches between two deploys, each in a transaction of its own: entrypoint backfill"
            : "",
        safe: batches === null ? [] : [batches],
        unknown: all ? [] : [`how many rows ${shorten(formatStatement(statement))} matches`],
      },
    ];
  },
};

function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}

const truncate: Rule = {
  id: "truncate",
  about: "TRUNCATE deletes all rows, also those that the version that still runs has just written",
  example: "TRUNCATE posts",
  lock: "ACCESS EXCLUSIVE",
  on: ["TruncateStmt"],
  check({ statement, world }) {
    const { node } = statement;
    if (!("TruncateStmt" in node)) return [];
    const { relations = [], behavior } = node.TruncateStmt;
    return relations.flatMap((one): Problem[] => {
      const target = "RangeVar" in one ? nameTable(world, one.RangeVar) : null;
      if (target === null || !isInUse(target.table)) return [];
      const cascades =
        behavior === "DROP_CASCADE"
          ? ", and of every table that refers to it by a foreign key"
          : "";
      return [
        {
          severity: "warning",
          object: target.sql,
          message: `TRUNCATE deletes all rows of ${target.sql}${cascades}, and locks it until the transaction ends`,
          work: null,
          advice: "",
          safe: [],
          unknown: [],
        },
      ];
    });
  },
};

const rowSecurity = commandRule(
  {
    id: "row-security",
    about: "ROW LEVEL SECURITY without a policy hides every row from all but the table's owner",
    example: "ALTER TABLE posts ENABLE ROW LEVEL SECURITY",
    lock: "ACCESS EXCLUSIVE",
    kinds: ["AT_EnableRowSecurity", "AT_ForceRowSecurity"],
  },
  ({ later }, target, { subtype }, all) => {
    const { table, sql } = target;
    if (!isInUse(table) || table.policies === true) return [];
    // ENABLE reports for both.
    const forced = all.some((one) => one.subtype === "AT_ForceRowSecurity");
    const enabled = all.some((one) => one.subtype === "AT_EnableRowSecurity");
    if (subtype === "AT_ForceRowSecurity" && enabled) return [];
    const follows = later.some((one) => {
      const to =
        "CreatePolicyStmt" in one.node ? relationOf(one.node.CreatePolicyStmt.table) : null;
      return to !== null && quoteRelation(to) === sql;
    });
    if (follows) return [];
    return [
      {
        severity: "warning",
        object: sql,
        message: `${forced ? "FORCE" : "ENABLE"} ROW LEVEL SECURITY without a policy hides every row of ${sql} from every role${forced ? ", its owner among them," : " but its owner"} and lets none write`,
        work: null,
        advice: "create the policy before, or in the same transaction",
        safe: [],
        unknown: table.policies === null ? [`whether ${sql} has a policy`] : [],
      },
    ];
  },
);

export const rowRules: readonly Rule[] = [changeManyRows, truncate, rowSecurity];
