// A rollout: replicas of an old and a new version of entrypoint, with an old and a new image's revisions, start on one database.
// What is promised in scripts/release/README.md. No older version has been released: the old one is this code under another
// number.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, expect, test } from "vitest";

import { bundle, runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const directory = mkdtempSync(join(tmpdir(), "entrypoint-old-"));
afterAll(() => rmSync(directory, { recursive: true }));
const old = join(directory, "entrypoint.js");
const text = readFileSync(bundle, "utf8");
const project = JSON.parse(readFileSync("package.json", "utf8")) as { readonly version: string };
writeFileSync(old, text.replaceAll(`"${project.version}"`, '"0.0.9"'));

const versions = {
  old: { instead: [process.execPath, old] },
  new: { instead: [process.execPath, bundle] },
} as const;
const alterBusy = { id: "a1", upgrade: 'op.execute("alter table busy add column c int")' };
const addMore = { id: "b2", upgrade: 'op.execute("alter table busy add column d int")' };
const projects = { old: [alterBusy], new: [alterBusy, addMore] };

test.for([
  ["old", "new", 0],
  // The old image does not know the database's revision any longer.
  ["new", "old", 80],
] as const)(
  "the %s version migrates, and the %s one waits for it",
  async ([first, second, code]) => {
    const { stdout } = await runEntrypoint(["--version"], versions.old);
    expect(stdout).toBe("0.0.9\n");
    const DATABASE_URL = await createTestDatabase();
    const client = await connectClient(DATABASE_URL);
    await client.query("create table busy (id int)");
    await client.query("begin");
    await client.query("select from busy");
    const start = (version: "old" | "new", ...words: string[]) =>
      startEntrypoint(["migrate", ...words], {
        ...versions[version],
        cwd: createProject(projects[version]),
        env: { DATABASE_URL },
      });
    const migrates = start(first);
    await migrates.event("migrating");
    const waits = start(second);
    const starts = start(second, "--on-ahead", "start");
    for (const one of [waits, starts]) await one.event("lock-wait");
    await client.query("commit");
    expect((await migrates.ended).code, migrates.stderr()).toBe(0);
    expect((await waits.ended).code, waits.stderr()).toBe(code);
    expect((await starts.ended).code, starts.stderr()).toBe(0);
    const { rows } = await client.query("select version_num from alembic_version");
    expect(rows).toEqual([{ version_num: "b2" }]);
  },
);
