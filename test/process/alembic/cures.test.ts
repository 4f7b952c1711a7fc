// The cure of each state that stops a boot, pasted as the log says it: real Alembic and PostgreSQL take it, and the next
// boot starts the application.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { createCures } from "../../../src/tools/alembic/cures.ts";
import { readAlembicCommand } from "../../unit/tools/alembic/read-command.ts";
import type { Place } from "../harness/alembic.ts";
import { plainEnvironment, runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { createProject, histories, type RevisionFile } from "../harness/project.ts";

const migrate = ["--migrate", "alembic -c other.ini upgrade head"];
const cures = createCures(readAlembicCommand("alembic upgrade head"));

async function placeOf(revisions: readonly RevisionFile[]): Promise<Place> {
  const cwd = createProject(revisions);
  const ini = "[alembic]\nscript_location = migrations\n";
  writeFileSync(join(cwd, "other.ini"), ini);
  return { cwd, env: { DATABASE_URL: await createTestDatabase() } };
}

async function boot(place: Place) {
  const { code, lines } = await runEntrypoint([...migrate, "sh", "-c", "exit 42"], place);
  return { code, hint: String(lines.findLast(({ hint }) => hint !== undefined)?.hint), lines };
}

/** As a shell takes it. */
async function paste({ cwd, env }: Place, command: string | undefined): Promise<void> {
  await execa("sh", ["-c", command ?? "false"], {
    cwd,
    env: plainEnvironment(env),
    extendEnv: false,
  });
}

test("82, overlapping: the statement that deletes the ancestor's row", async () => {
  const place = await placeOf(histories.linear);
  const client = await connectClient(place.env["DATABASE_URL"] ?? "");
  await paste(place, "alembic -c other.ini upgrade head");
  await client.query("insert into alembic_version values ('b2')");
  const before = await boot(place);
  expect(before.code).toBe(82);
  await client.query(before.hint.split(": ")[1] ?? "");
  expect((await boot(place)).code).toBe(42);
});

test("82, overlapping: the statement is taken whatever the version table is called", async () => {
  const client = await connectClient(await createTestDatabase());
  const { rows } = await client.query<{ word: string }>("select word from pg_get_keywords()");
  const names = [...rows.map(({ word }) => word), 'Versions "of" blog', "it's", "été"];
  for (const schema of [null, "user"]) {
    if (schema !== null)
      await client.query(`create schema "${schema}"; set search_path = "${schema}"`);
    for (const name of names) {
      const quoted = `"${name.replaceAll('"', '""')}"`;
      await client.query(
        `create table ${quoted} (version_num text); insert into ${quoted} values ('it''s\\')`,
      );
      const { rowCount } = await client.query(cures.deleteRow?.({ schema, name }, "it's\\") ?? "");
      expect([name, rowCount]).toEqual([name, 1]);
    }
  }
});

test("83, multiple heads: the command that joins them", async () => {
  const place = await placeOf(histories["several heads"]);
  writeFileSync(
    join(place.cwd, "migrations", "script.py.mako"),
    "revision = ${repr(up_revision)}\ndown_revision = ${repr(down_revision)}\n\ndef upgrade():\n    pass\n\ndef downgrade():\n    pass\n",
  );
  const before = await boot(place);
  expect(before.code).toBe(83);
  await paste(place, /(alembic -c other\.ini merge .*?);/.exec(before.hint)?.[1]);
  expect((await boot(place)).code).toBe(42);
});

test("83, multiple heads: the option that migrates all of them", async () => {
  const place = await placeOf(histories["several heads"]);
  const { hint } = await boot(place);
  const words = /--migrate '(.*)'/.exec(hint)?.[1] ?? "";
  const run = await runEntrypoint(["--migrate", words, "sh", "-c", "exit 42"], place);
  expect(run.code).toBe(42);
});

test("81, unstamped: the command that records head, which a boot's warning has too", async () => {
  const place = await placeOf([{ id: "a1" }]);
  const client = await connectClient(place.env["DATABASE_URL"] ?? "");
  await client.query("create table t_a1 (id int)");
  const warned = await boot(place);
  expect(warned.code).toBe(1);
  const words = "alembic -c other.ini stamp a1";
  expect(warned.lines.find(({ event }) => event === "unstamped")?.msg).toContain(words);

  const status = await runEntrypoint([...migrate, "status", "--json"], place);
  expect(status.code).toBe(81);
  const { cure } = JSON.parse(status.stdout) as { cure: string };
  await paste(place, /: (.*);/.exec(cure)?.[1]);
  expect((await boot(place)).code).toBe(42);
});

test("80, ahead: to start all the same, with a warning", async () => {
  const place = await placeOf([{ id: "a1" }]);
  await paste(place, "alembic -c other.ini upgrade head");
  const client = await connectClient(place.env["DATABASE_URL"] ?? "");
  await client.query("update alembic_version set version_num = 'z9'");
  const before = await boot(place);
  expect(before.code).toBe(80);
  const option = /--on-ahead start/.exec(before.hint)?.[0].split(" ") ?? [];
  const run = await runEntrypoint([...migrate, ...option, "sh", "-c", "exit 42"], place);
  expect(run).toMatchObject({ code: 42 });
  expect(run.lines[0]).toMatchObject({ level: "warn", event: "ahead" });
});
