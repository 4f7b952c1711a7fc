// A setting that a server refuses is no reason to fail, and keeps none of the others from being set.

import { expect, onTestFinished, test } from "vitest";
import { configureSession } from "../../../src/postgres/session-settings.ts";
import { parseDatabaseUrl } from "../../../src/postgres/url.ts";
import { connectAtOnce } from "../../../src/postgres/wait-for-database.ts";
import { createTestDatabase } from "../harness/postgres.ts";

async function connect() {
  const parsed = parseDatabaseUrl(await createTestDatabase());
  if (parsed.kind === "foreign") throw new Error(parsed.dialect);
  const write = () => undefined;
  const log = { trace: write, debug: write, info: write, warn: write, error: write, fatal: write };
  const stop = new AbortController().signal;
  const signals = { stop, subscribe: () => write, release: write };
  const connection = await connectAtOnce({ log, signals }, parsed.address, 10_000);
  onTestFinished(() => connection.close());
  return connection;
}

test("all but the refused ones are set", async () => {
  const connection = await connect();
  const settings = { work_mem: "7MB", max_stack_depth: "99GB", no_such_setting: "1", jit: "off" };
  await configureSession(connection, settings);
  const { rows } = await connection.query<{ name: string; setting: string }>(
    "select name, setting from pg_settings where name in ('work_mem', 'jit') order by name",
  );
  expect(rows.map(({ setting }) => setting)).toEqual(["off", "7168"]);
});

test("any other error stays one", async () => {
  const connection = await connect();
  await connection.query("begin");
  await connection.query("select nonsense").catch(() => undefined);
  await expect(configureSession(connection, { jit: "off" })).rejects.toMatchObject({
    code: "25P02",
  });
});
