// What PostgreSQL has to do for somebody, in its own words: its log names every connection and every statement. Nothing
// of it is written while times are taken.

import { setTimeout as sleep } from "node:timers/promises";

import pg from "pg";

import type { Place } from "./place.ts";

export interface Load {
  /** All that have come in, those refused included. */
  readonly connections: number;
  readonly statements: number;
}

/** Counts what comes while `work` goes on; nobody else may use the server meanwhile. */
export async function countLoad(place: Place, work: () => Promise<void>): Promise<Load> {
  await configure(place, "on", "all");
  try {
    const from = place.logSize();
    await work();
    const log = place.readLog(from);
    const count = (what: RegExp): number => log.match(what)?.length ?? 0;
    return {
      connections: count(/LOG: {2}connection received:/g),
      statements: count(/LOG: {2}(?:statement|execute [^:]*):/g),
    };
  } finally {
    await configure(place, "off", "none");
  }
}

async function configure({ admin, postgres }: Place, connections: string, statements: string) {
  await admin.query(`alter system set log_connections = '${connections}'`);
  await admin.query(`alter system set log_statement = '${statements}'`);
  await admin.query("select pg_reload_conf()");
  // A session that begins from now on has them once one has.
  for (;;) {
    const client = new pg.Client({ connectionString: postgres.url("postgres") });
    await client.connect();
    const { rows } = await client.query<{ log_connections: string }>("show log_connections");
    const own = await admin.query<{ log_statement: string }>("show log_statement");
    await client.end();
    const [session, standing] = [rows[0]?.log_connections, own.rows[0]?.log_statement];
    if (session === connections && standing === statements) return;
    await sleep(20);
  }
}
