// What the server itself is, as src/migrate/README.md has it in a table: not there, another password, a real standby, a disk that is full. The exit
// code, what the last line says, and a plain second boot once the cause is gone.
// @runs-on executable

import { execFileSync, spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readDocument, readTable } from "../../harness/documents.ts";
import { findFreePort, startPostgres } from "../../../scripts/postgres.ts";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import { testUnless } from "../supervise/harness/supervised.ts";

interface Place {
  readonly url: string;
  /** Of the revision. */
  readonly upgrade?: string;
  /** The cure, or a part of it. */
  readonly hint?: string;
  /** Takes the cause away. @returns the URL for the second boot. */
  readonly mend: () => Promise<string>;
}

/** A role of its own in a database of its own. */
async function createRole(): Promise<{
  url: URL;
  role: string;
  database: string;
  run: (sql: string) => Promise<unknown>;
}> {
  const url = new URL(await createTestDatabase());
  const admin = await connectClient(url.href);
  const database = url.pathname.slice(1);
  const role = `app_${database}`;
  await admin.query(`create role ${role} login password 'se-cret'`);
  await admin.query(`grant all on schema public to ${role}`);
  [url.username, url.password] = [role, "se-cret"];
  return { url, role, database, run: async (sql) => admin.query(sql) };
}

async function withRole(
  before: (role: string, database: string) => string,
  after: (role: string, database: string) => string,
): Promise<Place> {
  const { url, role, database, run } = await createRole();
  for (const sql of before(role, database).split("; ")) await run(sql);
  return {
    url: url.href,
    async mend() {
      await run(after(role, database));
      return url.href;
    },
  };
}

const rows: Readonly<Record<string, () => Promise<Place>>> = {
  "nothing listens": async () => {
    const url = await createTestDatabase();
    const elsewhere = new URL(url);
    elsewhere.port = String(await findFreePort());
    return { url: elsewhere.href, mend: async () => url };
  },
  "another password": async () => {
    const { url } = await createRole();
    const wrong = new URL(url);
    wrong.password = "other-secret";
    return { url: wrong.href, mend: async () => url.href };
  },
  "no password": async () => {
    const { url } = await createRole();
    const without = new URL(url);
    without.password = "";
    return { url: without.href, mend: async () => url.href };
  },
  "the role may not log in": async () =>
    withRole(
      (role) => `alter role ${role} nologin`,
      (role) => `alter role ${role} login`,
    ),
  "the role may not connect to the database": async () =>
    withRole(
      (_, database) => `revoke connect on database ${database} from public`,
      (role, database) => `grant connect on database ${database} to ${role}`,
    ),
  "the role may create nothing in its schema": async () =>
    withRole(
      (role) => `revoke create on schema public from ${role}`,
      (role) => `grant create on schema public to ${role}`,
    ),
  "the role may use no schema": async () =>
    withRole(
      (role) => `revoke all on schema public from ${role}; revoke all on schema public from public`,
      (role) => `grant all on schema public to ${role}`,
    ),
  "the search path names no schema that exists": async () =>
    withRole(
      (role) => `alter role ${role} set search_path = blog`,
      (role) => `alter role ${role} reset search_path`,
    ),
  "the disk is full (53100)": async () => {
    const disk = mkdtempSync(join(tmpdir(), "entrypoint-disk-"));
    const mount = (options: string) =>
      execFileSync("mount", ["-t", "tmpfs", "-o", options, "none", disk]);
    mount("size=1m");
    onTestFinished(() => {
      execFileSync("umount", [disk]);
      rmSync(disk, { recursive: true });
    });
    // With it end the files that it has open there.
    const server = await startPostgres({ settings: { fsync: "off" } });
    onTestFinished(() => server.stop());
    const url = await server.createDatabase("blog");
    const admin = await connectClient(url);
    const {
      rows: [row],
    } = await admin.query<{ data_directory: string }>("show data_directory");
    const { uid, gid } = statSync(row?.data_directory ?? "");
    chownSync(disk, uid, gid);
    await admin.query(`create tablespace small location '${disk}'`);
    await admin.query("alter database blog set default_tablespace = small");
    return {
      url,
      upgrade: `op.execute("create table t as select repeat('x', 1000) from generate_series(1, 3000)")`,
      async mend() {
        mount("remount,size=64m");
        return url;
      },
    };
  },
  "a standby": async () => {
    const primary = await startPostgres({ settings: { fsync: "off" } });
    onTestFinished(() => primary.stop());
    await primary.createDatabase("blog");
    const standby = await primary.startStandby();
    onTestFinished(() => standby.stop());
    const url = standby.url("blog");
    return {
      url,
      hint: "target_session_attrs=read-write",
      async mend() {
        await (await connectClient(url)).query("select pg_promote()");
        return url;
      },
    };
  },
};

/** Null where a file system of a given size can be mounted. */
const noMount = (() => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-disk-"));
  const { status } = spawnSync("mount", ["-t", "tmpfs", "none", directory]);
  if (status === 0) spawnSync("umount", [directory]);
  rmSync(directory, { recursive: true });
  return status === 0 ? null : "no file system can be mounted here";
})();

const missing: Readonly<Record<string, string | null>> = { "the disk is full (53100)": noMount };

const chapter = readDocument("src/migrate/README.md", "When something fails");
const heading = "What the server is";
const app = ["echo", "the app was started"];

async function check(name: string, start: () => Promise<Place>): Promise<void> {
  const [, code, message = "?"] = readTable(chapter, heading).find(([one]) => one === name) ?? [];
  const { url, upgrade, hint = "", mend } = await start();
  const cwd = createProject([{ id: "a1", ...(upgrade === undefined ? {} : { upgrade }) }]);
  const boot = async (DATABASE_URL: string) =>
    runEntrypoint(["--wait-timeout", "10s", ...app], { cwd, env: { DATABASE_URL } });
  const first = await boot(url);
  expect(String(first.code), first.stderr).toBe(code);
  expect(first.lines.at(-1)?.msg).toContain(message);
  expect(first.lines.at(-1)?.["hint"]).toBeTruthy();
  expect(first.lines.at(-1)?.["hint"]).toContain(hint);
  expect(first.stderr).not.toMatch(/^ {4}at /m);
  expect(first.stdout).not.toContain("the app was started");
  const second = await boot(await mend());
  expect(second.code, second.stderr).toBe(0);
  expect(second.stdout).toContain("the app was started");
}

// Those that get no connection mostly wait, and do so at once.
const entries = Object.entries(rows);
const refused = entries.slice(0, 5);

test(refused.map(([name]) => name).join("; "), async () => {
  await Promise.all(refused.map(async (row) => check(...row)));
});

for (const [name, start] of entries.slice(refused.length)) {
  testUnless(missing[name] ?? null)(name, async () => check(name, start));
}

test("the table has these rows", () => {
  expect(readTable(chapter, heading).map(([name]) => name)).toEqual(Object.keys(rows));
});
