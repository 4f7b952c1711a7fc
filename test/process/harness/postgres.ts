// A fresh database for one test, on the server that global-setup.ts has started.

import { randomBytes } from "node:crypto";

import { Client } from "pg";
import { inject, onTestFinished } from "vitest";

import { createDatabase } from "../../../scripts/postgres.ts";

/** The superuser's URL of the run's server, on the database `postgres`. */
function serverUrl(): string {
  return inject("postgresUrl");
}

/** Makes an empty database with a name of its own and returns its URL. It ends with the server. */
export async function createTestDatabase(): Promise<string> {
  return createDatabase(serverUrl(), `test_${randomBytes(6).toString("hex")}`);
}

/** A connected client, closed when the test that asked for it has finished. */
export async function connectClient(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}

/** Makes the version table as Alembic would, with these rows. */
export async function stampRows(url: string, ...rows: string[]): Promise<void> {
  const client = await connectClient(url);
  await client.query("create table alembic_version (version_num varchar(32) primary key)");
  for (const row of rows) await client.query("insert into alembic_version values ($1)", [row]);
}
