// The database that does not exist yet, made by whoever comes first. Guarantees: one that exists is not touched.

import { Failure } from "../failure.ts";
import { connect } from "./connect.ts";
import type { Connection } from "./connection.ts";
import { classify, describeError, isMissingDatabase, sqlState } from "./errors.ts";
import { quoteName } from "./names.ts";
import type { DatabaseAddress } from "./url.ts";
import type { WaitOptions } from "./wait-for-database.ts";

/** Where a role can connect to on most servers, to make another one. */
const maintenanceDatabases = ["postgres", "template1"];
const connectMs = 5_000;
/** The template is copied. */
const creationMs = 60_000;

/**
 * Creates the database of the address, unless another replica does so now. Throws Failure "database-unavailable" where the
 * server refuses that; what passes by itself is left to the next try.
 */
export async function createDatabase(
  address: DatabaseAddress,
  { stop, log }: Pick<WaitOptions, "stop" | "log">,
): Promise<void> {
  const name = address.database ?? address.user;
  if (name === undefined) throw refused("", "the URL names neither a database nor a user", null);
  let connection: Connection | null = null;
  try {
    connection = await connectBeside(address, { stop, log });
    const limited = connection.within({ limitMs: () => creationMs });
    await limited.query(`create database ${quoteName(name)}`);
    log.info({ event: "database-created", database: name }, `Created the database ${name}`);
  } catch (error) {
    if (!isPassing(error)) throw refused(name, describeError(error), error);
  } finally {
    if (!stop.aborted) await connection?.close();
  }
}

async function connectBeside(
  address: DatabaseAddress,
  { stop, log }: Pick<WaitOptions, "stop" | "log">,
): Promise<Connection> {
  let missing: unknown = null;
  for (const database of maintenanceDatabases) {
    try {
      return await connect({ ...address, database }, { timeoutMs: connectMs, stop, log });
    } catch (error) {
      if (!isMissingDatabase(error)) throw error;
      missing = error;
    }
  }
  throw missing;
}

/** Another replica has made it, or makes it now: duplicate_database, unique_violation, object_in_use of the template. */
function isPassing(error: unknown): boolean {
  return (
    ["42P04", "23505", "55006"].includes(sqlState(error) ?? "") || classify(error) === "passing"
  );
}

function refused(name: string, reason: string, cause: unknown): Failure {
  return new Failure("database-unavailable", `cannot create the database ${name}: ${reason}`, {
    cause,
    hint: "let the role create databases (ALTER ROLE … CREATEDB), or create it before the first start",
    details: { sqlState: cause === null ? null : sqlState(cause) },
  });
}
