// `entrypoint current`, `heads` and `history` beside Alembic's own commands, on histories of every shape: the same text
// for a linear one, the same lines where Alembic's order of branches is its own. No Python is started for it, but where
// the files leave doubt the real command is run.
// @runs-on executable

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { blogDirectory, plainEnvironment, python, runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import {
  addComputedRevision,
  computedTable,
  createProject,
  histories,
  shadowAlembic,
} from "../harness/project.ts";

const commands = ["history", "heads", "current"] as const;
const variants = commands.flatMap((command) => [command, `${command} --verbose`]);

/** What real Alembic prints on standard output. */
async function askAlembic(words: readonly string[], cwd: string, env: Record<string, string>) {
  const { stdout } = await execa(python, ["-m", "alembic", ...words], {
    cwd,
    env: plainEnvironment(env),
    extendEnv: false,
    stripFinalNewline: false,
  });
  // The URL's driver is not in the files, and Alembic shows a password as ***.
  return stdout.replace(/^(Current revision\(s\) for) .*:$/m, "$1 …:");
}

/** The same of entrypoint, in an environment in which no Python can be started unnoticed. */
async function askEntrypoint(words: readonly string[], cwd: string, env: Record<string, string>) {
  const shadow = shadowAlembic();
  const run = await runEntrypoint(words, { cwd, env: { ...env, ...shadow.env } });
  expect(run.stderr).toBe("");
  expect(run.code).toBe(0);
  expect(() => readFileSync(shadow.mark)).toThrow("ENOENT");
  return run.stdout.replace(/^(Current revision\(s\) for) .*:$/m, "$1 …:");
}

/** The lines in an order of their own; what Alembic lists in an order of chance within a line, sorted. */
function asSet(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/^((?:Branches into|Branch names): )(.*)$/, sortList))
    .toSorted();
}

function sortList(_line: string, name: string, list: string): string {
  return name + list.split(", ").toSorted().join(", ");
}

describe("a linear history is printed as Alembic prints it, letter for letter", () => {
  test.for(variants)("%s", async (variant) => {
    const words = variant.split(" ");
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, "b2");
    const cwd = createProject(histories.linear);
    const alembic = await askAlembic(words, cwd, { DATABASE_URL });
    expect(alembic).toMatch(/\b(?:b2|d4)\b/);
    expect(await askEntrypoint(words, cwd, { DATABASE_URL })).toBe(alembic);
  });

  test("and so is the blog's", async () => {
    const DATABASE_URL = await createTestDatabase();
    for (const words of [["history", "--verbose"], ["history"], ["heads"]]) {
      const alembic = await askAlembic(words, blogDirectory, { DATABASE_URL });
      expect(await askEntrypoint(words, blogDirectory, { DATABASE_URL })).toBe(alembic);
    }
  });
});

describe.for([
  ["merged", ["d5"]],
  ["merged", ["b2", "c3"]],
  ["depending", ["a2"]],
  ["depending", ["a1", "b1"]],
  ["several heads", ["b2", "c3"]],
] as const)("%s, at %j: the lines are Alembic's", ([shape, rows]) => {
  test.for(variants)("%s", async (variant) => {
    const words = variant.split(" ");
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, ...rows);
    const cwd = createProject(histories[shape]);
    const alembic = await askAlembic(words, cwd, { DATABASE_URL });
    const own = await askEntrypoint(words, cwd, { DATABASE_URL });
    expect(asSet(own)).toEqual(asSet(alembic));
  });
});

test("every revision comes before those that it waits for", async () => {
  const cwd = createProject(histories.merged);
  const text = await askEntrypoint(["history"], cwd, {});
  const ids = text.split("\n").map((line) => / -> (\w+)/.exec(line)?.[1]);
  expect(ids.slice(0, 2)).toEqual(["e6", "d5"]);
  expect(ids.indexOf("c4")).toBeLessThan(ids.indexOf("c3"));
  expect(ids.at(-2)).toBe("a1");
});

describe("current", () => {
  test("prints nothing where nothing is recorded, as Alembic does", async () => {
    const DATABASE_URL = await createTestDatabase();
    const cwd = createProject(histories.linear);
    expect(await askAlembic(["current"], cwd, { DATABASE_URL })).toBe("");
    expect(await askEntrypoint(["current"], cwd, { DATABASE_URL })).toBe("");
  });

  test("80: a revision that no file has", async () => {
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, "z9");
    const options = { cwd: createProject(histories.linear), env: { DATABASE_URL } };
    const run = await runEntrypoint(["current"], options);
    expect(run).toMatchObject({ code: 80, stdout: "" });
    expect(run.lines.at(-1)?.msg).toContain("z9, which no migration file has");
  });

  test("69: the database does not answer, and is not waited for", async () => {
    const DATABASE_URL = "postgresql://127.0.0.1:1/blog";
    const options = { cwd: createProject(histories.linear), env: { DATABASE_URL } };
    const run = await runEntrypoint(["current"], options);
    expect(run).toMatchObject({ code: 69, stdout: "" });
    expect(run.lines.map((line) => line.event)).toEqual(["database-unavailable"]);
  });
});

test("69: current does not wait for a version table that somebody has locked", async () => {
  const DATABASE_URL = await createTestDatabase();
  await stampRows(DATABASE_URL, "b2");
  const client = await connectClient(DATABASE_URL);
  await client.query("begin");
  await client.query("lock table alembic_version");
  const options = { cwd: createProject(histories.linear), env: { DATABASE_URL } };
  const run = await runEntrypoint(["current"], options);
  expect(run).toMatchObject({ code: 69, stdout: "" });
  expect(run.lines.at(-1)?.msg).toBe("the database has not answered a query for 3 s");
});

describe("where the files leave doubt the real command is run, and its output passes through", () => {
  test.for(variants)("a computed revision: %s", async (variant) => {
    const words = variant.split(" ");
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, "b2");
    const cwd = createProject(histories.linear);
    addComputedRevision(cwd, "e5", "d4");
    const run = await runEntrypoint(words, { cwd, env: { DATABASE_URL } });
    expect(run.code).toBe(0);
    expect(run.lines.map((line) => line.event)).toEqual(["asking"]);
    expect(run.lines[0]?.msg).toContain(`Running alembic ${words.join(" ")}: `);
    const said = run.stdout.replace(/^(Current revision\(s\) for) .*:$/m, "$1 …:");
    expect(said).toBe(await askAlembic(words, cwd, { DATABASE_URL }));
  });

  test("a version table that env.py computes, a docstring that Python 3.13 changes, a label", async () => {
    const DATABASE_URL = await createTestDatabase();
    const computed = createProject(histories.linear, { env: computedTable });
    await execa(python, ["-m", "alembic", "upgrade", "b2"], {
      cwd: computed,
      env: plainEnvironment({ DATABASE_URL }),
    });
    const current = await runEntrypoint(["current"], { cwd: computed, env: { DATABASE_URL } });
    expect(current).toMatchObject({ code: 0, stdout: "b2\n" });

    const indented = createProject([{ id: "a1", doc: "what\n\n    indented\n    " }]);
    const verbose = await runEntrypoint(["heads", "--verbose"], { cwd: indented });
    expect(verbose.lines.map((line) => line.event)).toEqual(["asking"]);
    expect(verbose.stdout).toBe(await askAlembic(["heads", "--verbose"], indented, {}));
    expect((await runEntrypoint(["heads"], { cwd: indented })).lines).toEqual([]);

    const labelled = createProject([{ id: "a1" }]);
    writeFileSync(
      join(labelled, "migrations/versions/b2.py"),
      'revision = "b2"\ndown_revision = "a1"\nbranch_labels = ("x" + "y",)\n',
    );
    const heads = await runEntrypoint(["heads"], { cwd: labelled });
    expect(heads.lines.map((line) => line.event)).toEqual(["asking"]);
    expect(heads.stdout).toBe("b2 (xy) (head)\n");
  });

  test("its options and its program are the migration command's", async () => {
    const cwd = createProject(histories.linear, {
      ini: "[alembic]\nscript_location = nowhere\n[blog]\nscript_location = migrations\n",
    });
    addComputedRevision(cwd, "e5", "d4");
    const args = ["history", "--migrate", "python -m alembic -n blog upgrade head"];
    const run = await runEntrypoint(args, { cwd });
    expect(run.lines[0]?.["command"]).toEqual("python -m alembic -n blog history".split(" "));
    expect(run.stdout).toContain("d4 -> e5 (head), ");
  });

  test("86: Alembic fails as well, or the command is not Alembic's", async () => {
    const cwd = createProject([{ id: "a1" }, { id: "b2", down: "missing" }]);
    const run = await runEntrypoint(["history"], { cwd });
    expect(run.code).toBe(86);
    expect(run.lines.at(-1)).toMatchObject({
      event: "cannot-tell",
      msg: expect.stringContaining("alembic history exited with code"),
    });
    const shell = await runEntrypoint(["heads", "--migrate", "sh -c 'alembic upgrade head'"], {
      cwd,
    });
    expect(shell).toMatchObject({ code: 86, stdout: "" });
    expect(shell.lines.at(-1)?.msg).toContain("a shell runs it");
  });
});
