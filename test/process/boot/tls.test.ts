// A real PostgreSQL that speaks TLS, and one that does not: by default the connection is encrypted where it can be, and one
// connection is enough to find that out.
// @runs-on executable

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startPostgres } from "../../../scripts/postgres.ts";
import { createLog } from "../../../src/log/log.ts";
import { connect } from "../../../src/postgres/connect.ts";
import { parseDatabaseUrl } from "../../../src/postgres/url.ts";
import { certificate, privateKey } from "./fixtures/tls.ts";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";

/** Whether our session is encrypted. */
async function askSession(url: string, env: Record<string, string> = {}) {
  const answer = parseDatabaseUrl(url, { HOME: "/no/such/home", ...env });
  if (answer.kind !== "postgres") throw new Error("it is no PostgreSQL");
  const connection = await connect(answer.address, {
    timeoutMs: 20_000,
    stop: new AbortController().signal,
    log: createLog("json", "silent"),
  });
  try {
    const { rows } = await connection.query<{ encrypted: boolean }>(
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

    // The certificate is its own issuer, and localhost's.
    const home = mkdtempSync(join(tmpdir(), "entrypoint-home-"));
    onTestFinished(() => rmSync(home, { recursive: true }));
    mkdirSync(join(home, ".postgresql"));
    writeFileSync(join(home, ".postgresql/root.crt"), certificate);
    const verified = `${url}?sslmode=verify-full`;
    expect(await askSession(`${verified}&sslrootcert=${home}/.postgresql/root.crt`)).toBe(true);
    expect(await askSession(verified, { HOME: home })).toBe(true);
    // The name is the host's, wherever that is.
    const named = (name: string) => `${verified}&hostaddr=127.0.0.1&host=${name}`;
    expect(await askSession(named("localhost"), { HOME: home })).toBe(true);
    expect(await askSession(`${named("localhost")}&sslsni=0`, { HOME: home })).toBe(true);
    await expect(askSession(named("db.example"), { HOME: home })).rejects.toThrow(/altnames/);
    await expect(askSession(`${named("db.example")}&sslsni=0`, { HOME: home })).rejects.toThrow(
      /altnames/,
    );
    expect(
      await askSession(named("db.example").replace("verify-full", "verify-ca"), { HOME: home }),
    ).toBe(true);

    expect(await askSession(`${url}?sslmode=require&sslnegotiation=direct`)).toBe(true);
    expect(await askSession(`${url}?channel_binding=require`)).toBe(true);
    expect(await askSession(`${url}?require_auth=scram-sha-256`)).toBe(true);
    await expect(askSession(`${url}?sslmode=disable&channel_binding=require`)).rejects.toThrow(
      "channel_binding=require allows only SCRAM over TLS",
    );
    await expect(
      askSession(`${url}?sslmode=require&ssl_max_protocol_version=TLSv1.1`),
    ).rejects.toThrow();
    await admin.end();
  } finally {
    await server.stop();
  }
});
