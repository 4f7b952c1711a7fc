// What entrypoint says of a project, beside the real tool's own word: one suite for every tool of src/tools/compared/rows.ts
// that can be had here.
// @runs-on executable

import { expect, test } from "vitest";

import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { commandOf, migrationsOf, realTools, type RealTool } from "./harness/real-tools.ts";
import { runBare, toolEnvironment, writeProject } from "./harness/tools.ts";

const codes = { current: 0, behind: 3, ahead: 80, unstamped: 81, broken: 87, "cannot-tell": 86 };

function optionsOf(tool: RealTool, cwd: string, url: string) {
  return { cwd, env: { ...toolEnvironment(url), ENTRYPOINT_MIGRATE: commandOf(tool, url) } };
}

async function run(tool: RealTool, cwd: string, url: string, ...args: readonly string[]) {
  return runEntrypoint(args, optionsOf(tool, cwd, url));
}

function start(tool: RealTool, cwd: string, url: string, ...args: readonly string[]) {
  return startEntrypoint(args, optionsOf(tool, cwd, url));
}

async function statusOf(tool: RealTool, cwd: string, url: string) {
  const { code, stdout, stderr } = await run(tool, cwd, url, "status", "--json");
  expect(stdout, stderr).not.toBe("");
  const status = JSON.parse(stdout) as {
    state: keyof typeof codes;
    pending: string[];
    current: string[];
    reason: string | null;
    cure: string | null;
  };
  expect(code, stdout).toBe(codes[status.state]);
  return status;
}

async function countTables(url: string): Promise<number> {
  const client = await connectClient(url);
  const { rows } = await client.query<{ tables: number }>(
    "select count(*)::int as tables from pg_class where relkind = 'r' and relname ~ '^t[0-9]$'",
  );
  return rows[0]?.tables ?? 0;
}

/** The migration 2 would never be run. */
async function expectSkip(tool: RealTool, cwd: string, url: string): Promise<void> {
  const boot = await run(tool, cwd, url, "migrate");
  expect(boot.code, boot.stderr).toBe(84);
  expect(boot.stderr).toContain(tool.nameOf(2));
  const status = await statusOf(tool, cwd, url);
  expect(status).toMatchObject({ state: "behind", pending: [tool.nameOf(2)] });
  expect(status.cure).not.toBe(null);
}

for (const tool of realTools) {
  const testTool = test.skipIf(tool.missing !== null);
  const names = (...numbers: readonly number[]) => numbers.map((number) => tool.nameOf(number));

  const journey = `${tool.name}: from an empty database to a newer one than the image`;
  testTool(journey, async () => {
    const url = await createTestDatabase();
    const empty = writeProject(tool, []);
    const first = writeProject(tool, migrationsOf(1, 2));
    const second = writeProject(tool, migrationsOf(1, 2, 3));

    // A folder that is not in the image is never current.
    expect(await statusOf(tool, empty, url)).toMatchObject({ state: "cannot-tell" });
    expect(await statusOf(tool, first, url)).toMatchObject({
      state: "behind",
      pending: names(1, 2),
    });
    const migrated = await run(tool, first, url, "migrate");
    expect(migrated.code, migrated.stderr).toBe(0);
    expect(migrated.lines.map(({ event }) => event)).toContain("migrated");
    expect(await countTables(url)).toBe(2);
    const again = await run(tool, first, url, "migrate");
    expect(again.lines.map(({ event }) => event)).not.toContain("migrating");
    expect(again.code, again.stderr).toBe(0);
    expect(runBare(tool, first, url), "the tool itself").toMatchObject({ code: 0 });
    expect(await countTables(url)).toBe(2);

    // A new migration.
    const [one, two, three] = names(1, 2, 3);
    expect((await run(tool, second, url, "heads")).stdout).toBe(`${three}\n`);
    expect((await run(tool, second, url, "current")).stdout).toBe(`${two}\n`);
    expect((await run(tool, second, url, "history")).stdout).toBe(
      `applied  ${one}\napplied  ${two}\npending  ${three}\n`,
    );
    const dry = await run(tool, second, url, "--dry-run", "migrate");
    expect(dry.stdout).toContain(`behind: at ${two}, head ${three}; pending: ${three}`);
    expect(await countTables(url)).toBe(2);
    const waiter = start(tool, second, url, "wait", "--", "echo", "served");
    await waiter.event("waiting");
    expect(runBare(tool, second, url), "the tool itself").toMatchObject({ code: 0 });
    expect((await waiter.ended).code, waiter.stderr()).toBe(0);
    expect(waiter.stdout()).toContain("served\n");
    expect(await countTables(url)).toBe(3);
    expect(await statusOf(tool, second, url)).toMatchObject({
      state: "current",
      current: [three],
      pending: [],
    });

    // An older image.
    const bare = runBare(tool, first, url);
    const { state } = await statusOf(tool, first, url);
    expect(state, bare.output).toBe(bare.code === 0 ? "current" : "ahead");
    const boot = await run(tool, first, url, "migrate");
    expect(boot.code, boot.stderr).toBe(codes[state]);
    const allowed = await run(tool, first, url, "--on-ahead", "start", "migrate");
    expect(allowed.code, allowed.stderr).toBe(0);
    const back = await run(tool, second, url, "downgrade", "-1");
    expect(back.code).toBe(64);
    expect(back.stderr).toMatch(/run its own command: /);
    expect(await run(tool, empty, url, "migrate")).toMatchObject({ code: codes.ahead });
  });

  testTool(`${tool.name}: an older migration that comes later`, async () => {
    const url = await createTestDatabase();
    runBare(tool, writeProject(tool, migrationsOf(1, 3)), url);
    const cwd = writeProject(tool, migrationsOf(1, 2, 3));
    const status = await statusOf(tool, cwd, url);
    const boot = await run(tool, cwd, url, "migrate");
    const bare = runBare(tool, cwd, url);
    const runs = (await countTables(url)) === 3;
    if (runs) {
      expect(status).toMatchObject({ state: "behind", pending: names(2) });
      expect(boot.code, boot.stderr).toBe(0);
    } else if (bare.code !== 0) {
      expect(boot.code, boot.stderr).toBe(1);
    } else {
      // Its table may hold the newest version alone: then only what entrypoint keeps can say what was skipped.
      if (status.state === "current") {
        const clean = await createTestDatabase();
        const before = writeProject(tool, migrationsOf(1, 3));
        expect((await run(tool, before, clean, "migrate")).code).toBe(0);
        await expectSkip(tool, cwd, clean);
      } else await expectSkip(tool, cwd, url);
    }
  });

  testTool(`${tool.name}: a migration that fails, and is mended`, async () => {
    const url = await createTestDatabase();
    const bad = { number: 2, sql: "create table t2 (id int); select no_such_function();" };
    const cwd = writeProject(tool, [...migrationsOf(1), bad]);
    const boot = await run(tool, cwd, url, "migrate");
    expect(boot.code, boot.stderr).toBe(1);
    const { state, cure } = await statusOf(tool, cwd, url);
    if (state === "broken") {
      expect(boot.lines.at(-1)).toMatchObject({ hint: cure });
      const mended = writeProject(tool, migrationsOf(1, 2));
      expect(runBare(tool, mended, url).code, "the tool itself refuses for ever").not.toBe(0);
      expect(await run(tool, mended, url, "migrate")).toMatchObject({ code: codes.broken });
      return;
    }
    expect(state).toBe("behind");
    const mended = writeProject(tool, migrationsOf(1, 2));
    const again = await run(tool, mended, url, "migrate");
    expect(again.code, again.stderr).toBe(0);
  });

  testTool(`${tool.name}: tables that somebody else has made`, async () => {
    const url = await createTestDatabase();
    const client = await connectClient(url);
    await client.query("create table posts ()");
    expect(await statusOf(tool, writeProject(tool, migrationsOf(1)), url)).toMatchObject({
      state: "unstamped",
    });
  });
}
