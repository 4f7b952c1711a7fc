// What a server refuses, and what the operating system does: the line names the cause and the cure.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { findFreePort, startPostgres, type Postgres } from "../../../scripts/postgres.ts";
import {
  entrypointCommand,
  migrationLockKey,
  plainEnvironment,
  runEntrypoint,
  startEntrypoint,
} from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { startProxy } from "../harness/proxy.ts";
import { certificate, privateKey } from "./fixtures/tls.ts";

let server: Postgres;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());

/** A database of that name, and the URL of a role `app` that may connect to it. */
async function createDatabase(name: string, admin: (client: Client) => Promise<unknown>) {
  const url = new URL(await server.createDatabase(name));
  const client = await connectClient(server.url("postgres"));
  await client.query(`drop role if exists app_${name}`);
  await client.query(`create role app_${name} login password 'se-cret'`);
  url.username = `app_${name}`;
  url.password = "se-cret";
  await admin(client);
  return url;
}

interface Row {
  readonly name: string;
  readonly sql?: string;
  readonly change?: (url: URL) => unknown;
  readonly message: string;
  readonly hint: string;
}

const rows: readonly Row[] = [
  {
    name: "no password is set",
    change: (url) => (url.password = ""),
    message: "the server requires a password, and none is given",
    hint: "put the password into the URL, into PGPASSWORD, or into a password file",
  },
  {
    name: "a wrong password",
    change: (url) => (url.password = "wrong-one"),
    message: "(SQLSTATE 28P01)",
    hint: "check the user and the password in the URL",
  },
  {
    name: "CONNECT is not granted",
    sql: "revoke connect on database NAME from public",
    message: "(SQLSTATE 42501)",
    hint: "grant connect on database NAME to app_NAME",
  },
  {
    name: "a role that may not log in",
    sql: "alter role app_NAME nologin",
    message: "(SQLSTATE 28000)",
    hint: "alter role app_NAME login",
  },
  {
    name: "no such database",
    sql: "drop database NAME",
    message: "(SQLSTATE 3D000)",
    hint: "create database NAME",
  },
  {
    name: "a database that takes no connections",
    sql: "alter database NAME with allow_connections false",
    message: "(SQLSTATE 55000)",
    hint: "alter database NAME with allow_connections true",
  },
  {
    name: "a role without a connection left",
    sql: "alter role app_NAME connection limit 0",
    message: "(SQLSTATE 53300)",
    hint: "or raise max_connections or the connection limit of app_NAME",
  },
  {
    name: "an option that the server does not have",
    change: (url) => (url.search = "?options=-cno_such_setting=1"),
    message: "(SQLSTATE 42704)",
    hint: "correct PGOPTIONS, or options= in the URL",
  },
  {
    name: "an option that the role may not set",
    change: (url) => (url.search = "?options=-clog_statement=all"),
    message: "(SQLSTATE 42501)",
    hint: "grant to the role what the message names, or leave it out",
  },
  {
    name: "a server without TLS",
    change: (url) => (url.search = "?sslmode=require"),
    message: "does not support SSL",
    hint: "switch TLS on in the server (ssl = on), or do without: sslmode=prefer",
  },
  {
    name: "a way of authentication that require_auth does not allow",
    change: (url) => (url.search = "?require_auth=md5"),
    message: "which require_auth does not allow",
    hint: "change require_auth or channel_binding in the URL",
  },
];

test.each(rows.map((row, index) => ({ ...row, database: `refused_${index}` })))(
  "69: $name",
  async ({ sql, change, message, hint, database }) => {
    const named = (text: string) => text.replaceAll("NAME", database);
    const url = await createDatabase(database, async (client) =>
      sql === undefined ? null : client.query(named(sql)),
    );
    change?.(url);
    await expectRefusal(url.href, message, named(hint));
  },
);

async function expectRefusal(url: string, message: string, hint: string) {
  const run = await runEntrypoint(["--wait-timeout", "10s", "true"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: url, HOME: "/no/such/home" },
  });
  expect(run.code, run.stderr).toBe(69);
  expect(run.lines.at(-1)?.msg).toContain(message);
  expect(run.lines.at(-1)?.["hint"]).toContain(hint);
}

test("69: no line of pg_hba.conf, and one for encrypted connections alone", async () => {
  const url = await createDatabase("no_line", async () => undefined);
  const client = await connectClient(server.url("postgres"));
  const { rows: found } = await client.query<{ file: string; text: string }>(
    "select current_setting('hba_file') as file, pg_read_file(current_setting('hba_file')) as text",
  );
  const { file, text } = found[0] ?? { file: "", text: "" };
  const write = async (line: string) => {
    writeFileSync(file, `${line}\n${text}`);
    await client.query("select pg_reload_conf()");
  };
  onTestFinished(() => write(""));
  await write(`host ${url.pathname.slice(1)} all 127.0.0.1/32 reject`);
  await expectRefusal(url.href, "pg_hba.conf", "sslmode=require, or let a line");
  const unknown = text.replaceAll(/^host.*\n/gm, "");
  writeFileSync(file, `host postgres postgres 127.0.0.1/32 scram-sha-256\n${unknown}`);
  await client.query("select pg_reload_conf()");
  await expectRefusal(url.href, "pg_hba.conf", "let a line of the server's pg_hba.conf allow this");
});

test("69: certificates", async () => {
  const client = await connectClient(server.url("postgres"));
  for (const [name, text] of Object.entries({ crt: certificate, key: privateKey })) {
    const lines = client.escapeLiteral(text.trim());
    await client.query(
      `copy (select regexp_split_to_table(${lines}, '\n')) to program 'cat > server.${name} && chmod 600 server.${name}'`,
    );
  }
  await client.query("alter system set ssl = on");
  onTestFinished(async () => void (await client.query("alter system reset ssl")));
  await client.query("select pg_reload_conf()");
  await expect.poll(async () => (await client.query("show ssl")).rows).toEqual([{ ssl: "on" }]);
  const url = server.url("postgres");
  const home = mkdtempSync(join(tmpdir(), "entrypoint-home-"));
  onTestFinished(() => rmSync(home, { recursive: true }));
  writeFileSync(join(home, "root.crt"), certificate);
  await expectRefusal(
    `${url}?sslmode=verify-full`,
    "self-signed certificate",
    "in sslrootcert= (PGSSLROOTCERT), or encrypt without checking it: sslmode=require",
  );
  await expectRefusal(
    `${url}?sslmode=verify-full&sslrootcert=${home}/root.crt&host=db.example&hostaddr=127.0.0.1`,
    "altnames",
    "sslmode=verify-ca",
  );
});

test("69: an authentication that entrypoint does not speak", async () => {
  const scram = Buffer.from([0x52, 0, 0, 0, 23, 0, 0, 0, 10]);
  const gss = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 7]);
  const proxy = await startProxy(await createTestDatabase(), (data) =>
    data.subarray(0, 9).equals(scram) ? gss : data,
  );
  await expectRefusal(
    proxy.url,
    "the server requests GSSAPI authentication, which entrypoint does not speak",
    "let a line of the server's pg_hba.conf request scram-sha-256",
  );
});

test("69: what is no PostgreSQL", async () => {
  const garbage = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 99]);
  const proxy = await startProxy(await createTestDatabase(), (data) =>
    data[0] === 0x52 ? garbage : data,
  );
  await expectRefusal(proxy.url, "which entrypoint does not know: number 99", "pg_hba.conf");
});

test("69: of several hosts each one's error is told", async () => {
  const [first, second] = [await findFreePort(), await findFreePort()];
  await expectRefusal(
    `postgresql://app:se-cret@127.0.0.1:${first},127.0.0.1:${second}/blog`,
    `127.0.0.1:${first}: connect ECONNREFUSED 127.0.0.1:${first}; 127.0.0.1:${second}: connect ECONNREFUSED 127.0.0.1:${second}`,
    "check that the database is started",
  );
});

test("69: a wrong password at the first of several hosts is final, as it is for libpq", async () => {
  const url = new URL(server.url("postgres"));
  url.password = "wrong-one";
  await expectRefusal(
    url.href.replace(`:${url.port}/`, `:${url.port},127.0.0.1:${await findFreePort()}/`),
    "(SQLSTATE 28P01)",
    "check the user and the password",
  );
});

test("69: too many open files, while a replica waits", async () => {
  const url = await createTestDatabase();
  await (await connectClient(url)).query(`select pg_advisory_lock(${migrationLockKey})`);
  const run = startEntrypoint(["true"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: url },
  });
  await run.event("lock-wait");
  spawnSync("prlimit", ["--pid", String(run.pid), "--nofile=3"]);
  expect((await run.ended).code, run.stderr()).toBe(69);
  expect(run.lines().at(-1)?.msg).toContain("too many files are open here (EMFILE)");
  expect(run.lines().at(-1)?.["hint"]).toContain("ulimit -n");
});

test("126: too many open files, as a command starts", () => {
  const words = entrypointCommand().map((word) => `'${word}'`);
  const start = `${words.join(" ")} --no-migrate --no-lock --setup true true`;
  const codes = new Set<number | null>();
  // With fewer Node itself does not start, and with more all is well.
  for (let limit = 32; limit > 20 && !codes.has(126); limit--) {
    const run = spawnSync("sh", ["-c", `ulimit -n ${limit}; exec ${start}`], {
      env: plainEnvironment(),
      encoding: "utf8",
    });
    codes.add(run.status);
    if (run.status === 126) {
      expect(run.stderr).toContain("cannot start true: too many files are open here (EMFILE)");
    }
  }
  expect([...codes]).toEqual([0, 126]);
});

test.each([
  {
    name: "a read-only role",
    sql: "alter role ROLE set default_transaction_read_only = on",
    message: "the sessions of ROLE are read-only, by default_transaction_read_only",
    hint: "alter role ROLE reset default_transaction_read_only",
  },
  {
    name: "a read-only database",
    sql: "alter database DATABASE set default_transaction_read_only = on",
    message: "the sessions of ROLE are read-only, by default_transaction_read_only",
    hint: "alter database DATABASE reset default_transaction_read_only",
  },
  {
    name: "a schema in which the role may create nothing",
    sql: "revoke create on schema public from ROLE",
    message: "ROLE may create nothing in the schema public",
    hint: "grant create on schema public to ROLE",
  },
])("1: $name", async ({ sql, message, hint }) => {
  const url = new URL(await createTestDatabase());
  const database = url.pathname.slice(1);
  const role = `app_${database}`;
  const named = (text: string) => text.replaceAll("ROLE", role).replaceAll("DATABASE", database);
  const admin = await connectClient(url.href);
  await admin.query(`create role ${role} login password 'se-cret'`);
  await admin.query(`grant all on schema public to ${role}`);
  await admin.query(named(sql));
  url.username = role;
  url.password = "se-cret";
  await expectReason(url.href, named(message), named(hint));
});

async function expectReason(url: string, message: string, hint: string) {
  const run = await runEntrypoint(["true"], {
    cwd: createProject([{ id: "a1" }]),
    env: { DATABASE_URL: url },
  });
  expect(run.code, run.stderr).toBe(1);
  expect(run.lines.at(-1)?.msg).toContain(`; ${message}; its last error: `);
  expect(run.lines.at(-1)?.["hint"]).toContain(hint);
}
