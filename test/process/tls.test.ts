// A real PostgreSQL that speaks TLS, and one that does not: by default the connection is encrypted where it can be, and one
// connection is enough to find that out.

import { expect, test } from "vitest";
import { startPostgres } from "../../scripts/postgres.ts";
import { connect } from "../../src/database/connect.ts";
import { parseDatabaseUrl } from "../../src/database/url.ts";
import { certificate, privateKey } from "./fixtures/tls.ts";
import { runEntrypoint } from "./entrypoint.ts";
import { connectClient, createTestDatabase } from "./postgres.ts";

/** Whether our session is encrypted, and how many connections it took. */
async function askSession(url: string) {
  const answer = parseDatabaseUrl(url);
  if (answer.kind !== "postgres") throw new Error("it is no PostgreSQL");
  const connection = await connect(answer.address, { timeoutMs: 20_000 });
  try {
    const { rows } = await connection.client.query<{ encrypted: boolean }>(
      "select ssl as encrypted from pg_stat_ssl where pid = pg_backend_pid()",
    );
    return rows[0]?.encrypted;
  } finally {
    await connection.close();
  }
}

test("a server without TLS gets no second connection", async () => {
  expect(await askSession(await createTestDatabase())).toBe(false);
});

test("a server with TLS gets an encrypted one, and a certificate that is asked for is checked", async () => {
  const server = await startPostgres();
  try {
    const url = server.url("postgres");
    const admin = await connectClient(url);
    for (const [name, text] of Object.entries({ crt: certificate, key: privateKey })) {
      const lines = admin.escapeLiteral(text.trim());
      await admin.query(
        `copy (select regexp_split_to_table(${lines}, '\n')) to program 'cat > server.${name} && chmod 600 server.${name}'`,
      );
    }
    await admin.query("alter system set ssl = on");
    await admin.query("select pg_reload_conf()");
    await expect.poll(async () => (await admin.query("show ssl")).rows).toEqual([{ ssl: "on" }]);

    expect(await askSession(url)).toBe(true);
    expect(await askSession(`${url}?sslmode=disable`)).toBe(false);
    expect(await askSession(`${url}?sslmode=require`)).toBe(true);
    // As it is built.
    const status = await runEntrypoint(["status", "--json"], { env: { DATABASE_URL: url } });
    expect(status).toMatchObject({ code: 3 });
    expect(JSON.parse(status.stdout)).toMatchObject({ database: "postgres" });
    await expect(askSession(`${url}?sslmode=verify-full`)).rejects.toThrow(/self.signed/i);
    await admin.end();
  } finally {
    await server.stop();
  }
});
