// What a backfill is: a table, assignments and a condition, under a name. Two runs with the same name are the same job,
// and only one runs at a time; the digest shows whether they also mean the same.

import { createHash } from "node:crypto";
import type { Words } from "../context.ts";
import type { BackfillOptions } from "../settings/settings.ts";
import type { Expressions } from "./expressions.ts";

/** The command that starts a backfill or resumes it. */
export function backfillWords(
  options: Pick<BackfillOptions, "table" | "set" | "where"> & { readonly name?: string },
): Words {
  const { table, set, where, name } = options;
  const named = name === undefined ? [] : ["--name", name];
  return ["entrypoint", "backfill", "--table", table, "--set", set, "--where", where, ...named];
}

export interface Job {
  readonly name: string;
  /** Of what is done to which table: another one under the same name is another job. */
  readonly digest: string;
  /** The key of the advisory lock, a bigint in decimal. */
  readonly lockKey: string;
}

/** @param table as the catalog has it; a rename does not change its oid. */
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
