// What a backfill is: a table, assignments and a condition, under a name. Two runs with the same name are the same job,
// of which one is at work at a time; the digest tells whether they also mean the same.

import { createHash } from "node:crypto";
import type { Expressions } from "./expressions.ts";

/** As the command line has it. */
export interface BackfillOptions {
  readonly table: string;
  readonly set: string;
  readonly where: string;
  /** Null: the table and the columns make one. */
  readonly name: string | null;
  /** What a batch should take. */
  readonly batchTimeMs: number;
  /** How far a replica may be behind; 0 means no limit. */
  readonly maxLagMs: number;
}

export interface Job {
  readonly name: string;
  /** Of what is done to which table: another one under the same name is another job. */
  readonly digest: string;
  /** The key of the advisory lock, a bigint in decimal. */
  readonly lockKey: string;
}

/** @param table the table as the catalog has it; a new name leaves its oid as it is. */
export function describeJob(
  { columns, set, where }: Expressions,
  table: { readonly oid: number; readonly schema: string; readonly relation: string },
  given: string | null,
): Job {
  const schema = table.schema === "public" ? "" : `${table.schema}.`;
  const name = given ?? `${schema}${table.relation}.${columns.join("+")}`;
  return {
    name,
    digest: sha256(JSON.stringify([table.oid, set, where])).toString("hex"),
    lockKey: sha256(`entrypoint backfill ${name}`).readBigInt64BE().toString(),
  };
}

/** How the job's session is named in pg_stat_activity. */
export function backfillApplicationName({ name }: Job): string {
  return `entrypoint-backfill ${name}`;
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
