// `entrypoint freeze` with real Alembic: what only Python can tell is told once, without a database, and then every
// start goes by it without Python, until anything has changed that it was told from. What is stale, damaged or somebody
// else's is ignored with a warning, and reading goes on as if it were not there.
// @runs-on executable

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import type { Status } from "../../../src/commands/status.ts";
import { plainEnvironment, python, runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase, stampRows } from "../harness/postgres.ts";
import {
  addComputedRevision,
  computedTable,
  createPlugins,
  createProject,
  foldersInCode,
  histories,
  pluginsIni as ini,
  shadowAlembic,
} from "../harness/project.ts";

const fileName = "entrypoint.freeze.json";

async function freeze(cwd: string, ...args: string[]) {
  return runEntrypoint(["freeze", ...args], { cwd });
}

/** The heads, in an environment in which Alembic is not there to be asked. */
async function askHeads(cwd: string, ...args: string[]) {
  const { env, mark } = shadowAlembic();
  const { stdout, lines } = await runEntrypoint(["heads", ...args], { cwd, env });
  const ignored = lines.find(({ event }) => event === "freeze-ignored");
  return { stdout, asked: existsSync(mark), ignored };
}

const frozenHeads = { stdout: "b2 (head)\n", asked: false, ignored: undefined };

describe("folders that only env.py knows", () => {
  test("are frozen without a database, and a start at head needs no Python", async () => {
    const cwd = createPlugins();
    const DATABASE_URL = await createTestDatabase();
    const unknown = await runEntrypoint(["--dry-run"], { cwd, env: { DATABASE_URL } });
    expect(unknown.stdout).toContain("cannot tell: env.py, line 6: the folders may be set in code");

    const frozen = await freeze(cwd);
    expect(frozen.code).toBe(0);
    // What no fingerprint covers is named.
    expect(frozen.lines).toMatchObject([{ event: "variables", variables: ["BLOG_PLUGINS"] }]);
    expect(frozen.stdout).toMatch(/freeze\.json: 2 revisions, head b2, by Alembic 1\.\d+\.\d+\n$/);
    expect(statSync(join(cwd, fileName)).mode & 0o777).toBe(0o644);

    const first = await runEntrypoint(["true"], { cwd, env: { DATABASE_URL } });
    expect(first).toMatchObject({ code: 0 });
    expect(first.lines.find(({ event }) => event === "migrated")).toMatchObject({
      current: ["b2"],
      heads: ["b2"],
    });
    const { env, mark } = shadowAlembic();
    const second = await runEntrypoint(["true"], { cwd, env: { ...env, DATABASE_URL } });
    expect(second.code).toBe(0);
    expect(second.lines.map(({ event }) => event)).toEqual(["current", "starting"]);
    const waiting = await runEntrypoint(["wait"], { cwd, env: { ...env, DATABASE_URL } });
    expect(waiting.code).toBe(0);
    expect(existsSync(mark)).toBe(false);
  });

  test("status says where the database stands, and who says so", async () => {
    const cwd = createPlugins();
    await freeze(cwd);
    const DATABASE_URL = await createTestDatabase();
    await stampRows(DATABASE_URL, "a1");
    const { env, mark } = shadowAlembic();
    const options = { cwd, env: { ...env, DATABASE_URL } };
    const { code, stdout, stderr } = await runEntrypoint(["status", "--json"], options);
    expect(code).toBe(3);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout) as Status).toMatchObject({
      state: "behind",
      current: ["a1"],
      heads: ["b2"],
      pendingRevisions: [{ id: "b2", message: "posts", path: join(cwd, "plugins/posts/b2.py") }],
      source: "frozen",
      reason: null,
    });
    const table = await runEntrypoint(["status"], options);
    expect(table.stdout).toContain(`source      ${fileName}, and no file has changed since\n`);
    expect(existsSync(mark)).toBe(false);
  });

  test("are told again after any change, and hold again when it is undone", async () => {
    const cwd = createPlugins();
    await freeze(cwd);
    const reasons: Record<string, unknown> = {};
    const change = async (name: string, act: (path: string) => void) => {
      const path = join(cwd, name);
      const before = existsSync(path) ? readFileSync(path) : null;
      act(path);
      const { asked, ignored } = await askHeads(cwd);
      expect(asked, name).toBe(true);
      expect(ignored?.["hint"]).toContain("run entrypoint freeze again in the Dockerfile");
      reasons[name] = String(ignored?.["reason"]).replaceAll(cwd, "");
      if (before === null) rmSync(path.replace("/d4.py", ""), { recursive: true });
      else writeFileSync(path, before);
      expect(await askHeads(cwd), name).toEqual(frozenHeads);
    };
    const append = (path: string) => appendFileSync(path, "\n");
    await change("migrations/versions/a1.py", append);
    await change("plugins/posts/b2.py", (path) => rmSync(path));
    await change("plugins/posts/c3.py", append);
    await change("plugins/users/d4.py", (path) => {
      mkdirSync(join(path, ".."));
      append(path);
    });
    await change("alembic.ini", append);
    await change("pyproject.toml", append);
    await change("migrations/env.py", append);
    await change("blog_settings.py", append);
    expect(reasons).toEqual({
      "migrations/versions/a1.py":
        "a revision file in /migrations/versions has been added, changed or removed",
      "plugins/posts/b2.py": "a revision file in /plugins/posts has been added, changed or removed",
      "plugins/posts/c3.py": "a revision file in /plugins/posts has been added, changed or removed",
      "plugins/users/d4.py": "something has been added to /plugins, or removed",
      "alembic.ini": "/alembic.ini has changed",
      "pyproject.toml": "/pyproject.toml has been added",
      "migrations/env.py": "/migrations/env.py has changed",
      "blog_settings.py": "/blog_settings.py has changed",
    });
  });

  test("are not frozen where env.py sets them for a connection that is there", async () => {
    const late = foldersInCode
      .replace(/^context\.script.*$/m, "")
      .replace(
        "    engine =",
        '    context.script.version_locations = ["plugins/posts"]\n    engine =',
      );
    const run = await freeze(createPlugins(late));
    expect(run.code).toBe(86);
    expect(run.lines.at(-1)?.msg).toBe(
      "cannot freeze the migration history: env.py, line 9 may set the folders, and it is not run before context.is_offline_mode() or context.configure() is called",
    );
  });

  test("are not frozen where env.py needs what the build does not have", async () => {
    const cwd = createPlugins(
      foldersInCode.replace("context.script", "os.environ['X']\ncontext.script"),
    );
    const run = await freeze(cwd);
    expect(run.code).toBe(86);
    expect(run.lines.at(-1)).toMatchObject({
      msg: expect.stringContaining("env.py, line 6: KeyError: 'X'") as string,
      hint: expect.stringContaining("what they read at import") as string,
    });
    expect(existsSync(join(cwd, fileName))).toBe(false);
  });
});

test("a folder of plug-ins counts before it is there", async () => {
  const cwd = createProject([{ id: "a1" }, { id: "b2" }], { env: foldersInCode, ini });
  writeFileSync(join(cwd, "blog_settings.py"), 'FOLDERS = "plugins/*"\n');
  await freeze(cwd);
  expect(await askHeads(cwd)).toEqual(frozenHeads);
  mkdirSync(join(cwd, "plugins/posts"), { recursive: true });
  expect((await askHeads(cwd)).ignored?.["reason"]).toBe(`${cwd}/plugins has been added`);
});

describe("a file that is not believed", () => {
  test("is damaged", async () => {
    const cwd = createProject([{ id: "a1" }, { id: "b2" }]);
    await freeze(cwd);
    const path = join(cwd, fileName);
    const whole = readFileSync(path, "utf8");
    const damages = {
      truncated: whole.slice(0, -10),
      empty: "",
      edited: whole.replace('"id":"b2"', '"id":"x9"'),
      "something else": "null",
    };
    for (const [name, text] of Object.entries(damages)) {
      writeFileSync(path, text);
      const { ignored, ...heads } = await askHeads(cwd);
      // The files tell it as well.
      expect(heads, name).toEqual({ stdout: "b2 (head)\n", asked: false });
      expect(ignored, name).toMatchObject({ level: "warn", reason: "it is damaged" });
    }
  });

  test("is one for another command, another place or another environment", async () => {
    const cwd = createProject([{ id: "a1" }, { id: "b2" }]);
    await freeze(cwd);
    expect(await askHeads(cwd)).toEqual(frozenHeads);
    expect(await askHeads(cwd, "--migrate", "alembic upgrade heads")).toEqual(frozenHeads);
    const other = await askHeads(cwd, "--migrate", "alembic -n other upgrade head");
    expect(other.ignored?.["reason"]).toBe(
      "it was frozen for another command, which lists its history with: alembic history",
    );
    const { lines } = await runEntrypoint(["heads"], { cwd, env: { PYTHONPATH: "/srv" } });
    expect(lines[0]?.["reason"]).toBe("PYTHONPATH has changed");
    const elsewhere = createProject([{ id: "a1" }]);
    writeFileSync(join(elsewhere, fileName), readFileSync(join(cwd, fileName)));
    expect((await askHeads(elsewhere)).ignored?.["reason"]).toBe(`it was frozen in ${cwd}`);
  });

  test("is left alone where the user says where the revisions are", async () => {
    const cwd = createProject([{ id: "a1" }, { id: "b2" }]);
    writeFileSync(join(cwd, fileName), "");
    expect(await askHeads(cwd, "--versions", "migrations/versions")).toEqual(frozenHeads);
  });
});

describe("what is frozen is what Alembic prints", () => {
  test.each(Object.entries(histories))("%s", async (_name, revisions) => {
    const cwd = createProject(revisions);
    const files = await Promise.all(
      ["heads", "history"].map((command) => runEntrypoint([command, "--verbose"], { cwd })),
    );
    expect((await freeze(cwd)).code).toBe(0);
    const frozen = await Promise.all(
      ["heads", "history"].map((command) => runEntrypoint([command, "--verbose"], { cwd })),
    );
    expect(frozen.map(({ stdout }) => stdout)).toEqual(files.map(({ stdout }) => stdout));
    expect(frozen.map(({ stderr }) => stderr)).toEqual(["", ""]);
  });

  test("of ids that are computed", async () => {
    const cwd = createProject([{ id: "a1" }]);
    addComputedRevision(cwd, "b2", "a1");
    expect(await askHeads(cwd)).toMatchObject({ asked: true });
    await freeze(cwd);
    expect(await askHeads(cwd)).toEqual(frozenHeads);
  });

  test("of folders in a package, which is imported", async () => {
    const cwd = createProject([{ id: "a1" }, { id: "b2" }], {
      ini: `${ini}version_locations = blog.core:history\n`,
    });
    mkdirSync(join(cwd, "blog/core"), { recursive: true });
    writeFileSync(join(cwd, "blog/core/__init__.py"), "");
    renameSync(join(cwd, "migrations/versions"), join(cwd, "blog/core/history"));
    expect(await askHeads(cwd)).toMatchObject({ asked: true });
    await freeze(cwd);
    expect(await askHeads(cwd)).toEqual(frozenHeads);
  });

  test("of bytecode without a source", async () => {
    const cwd = createProject([{ id: "a1" }, { id: "b2" }], { ini: `${ini}sourceless = true\n` });
    const versions = join(cwd, "migrations/versions");
    await execa(python, ["-m", "compileall", "-q", "-b", versions], { env: plainEnvironment() });
    rmSync(join(versions, "b2.py"));
    expect(await askHeads(cwd)).toMatchObject({ asked: true });
    await freeze(cwd);
    expect(await askHeads(cwd)).toEqual(frozenHeads);
    rmSync(join(versions, "b2.pyc"));
    expect((await askHeads(cwd)).ignored?.["reason"]).toContain("added, changed or removed");
  });

  test("of two thousand revisions", async () => {
    const ids = Array.from({ length: 2_000 }, (_, index) => `r${index}`);
    const cwd = createProject(ids.map((id) => ({ id })));
    const files = await runEntrypoint(["history"], { cwd });
    expect((await freeze(cwd)).stdout).toContain("2,000 revisions, head r1999");
    expect((await runEntrypoint(["history"], { cwd })).stdout).toBe(files.stdout);
  });
});

test("a version table that is set in code is still not known, and freeze says so", async () => {
  const cwd = createProject([{ id: "a1" }], { env: computedTable });
  const run = await freeze(cwd);
  expect(run.code).toBe(0);
  expect(run.lines).toMatchObject([{ level: "warn", event: "cannot-tell" }]);
  expect(run.lines[0]?.msg).toContain("version_table is not a literal");
  const named = await freeze(cwd, "--version-table", "blog_versions");
  expect(named).toMatchObject({ code: 0, lines: [] });
});

test("a customisation of Python that is there already is kept", async () => {
  const cwd = createProject([{ id: "a1" }]);
  writeFileSync(join(cwd, "sitecustomize.py"), `open("customised", "w").close()\n`);
  const run = await runEntrypoint(["freeze"], { cwd, env: { PYTHONPATH: cwd } });
  expect(run).toMatchObject({ code: 0, lines: [] });
  expect(existsSync(join(cwd, "customised"))).toBe(true);
});

describe("nothing is frozen, and nothing is written", () => {
  async function refuse(cwd: string, ...args: string[]) {
    const { code, lines, stdout } = await freeze(cwd, ...args);
    expect(stdout).toBe("");
    expect(existsSync(join(cwd, fileName))).toBe(false);
    expect(lines.at(-1)?.["hint"]).toEqual(expect.any(String));
    return `${code}: ${lines.at(-1)?.msg}`;
  }

  test("where Alembic refuses the revisions, in its own words", async () => {
    const twice = createProject([{ id: "a1" }]);
    const source = readFileSync(join(twice, "migrations/versions/a1.py"));
    writeFileSync(join(twice, "migrations/versions/b2.py"), source);
    expect(await refuse(twice)).toContain(
      "86: cannot freeze the migration history: Revision a1 is present more",
    );
    const missing = createProject([{ id: "a1", down: "z9" }]);
    expect(await refuse(missing)).toContain("Revision z9 referenced from z9 -> a1 (head)");
    const broken = createProject([{ id: "a1" }]);
    appendFileSync(join(broken, "migrations/versions/a1.py"), "import nowhere\n");
    expect(await refuse(broken)).toContain("ModuleNotFoundError: No module named 'nowhere'");
    const cycle = createProject([{ id: "a1", down: "b2" }, { id: "b2" }]);
    expect(await refuse(cycle)).toMatch(/Cycle is detected in revisions \((?:a1, b2|b2, a1)\)/);
    expect(await refuse(createProject([]))).toContain("Alembic finds no revision in");
  });

  test("where there is no Alembic, or no config", async () => {
    const cwd = createProject([{ id: "a1" }]);
    expect(await refuse(cwd, "--migrate", "no-alembic/alembic upgrade head")).toMatch(/^127: /);
    expect(await refuse(cwd, "--migrate", "alembic -c none.ini upgrade head")).toMatch(
      /^86: .*(?:No 'script_location' key|No config file 'none\.ini') found/,
    );
    expect(await refuse(cwd, "--migrate", "python -I -m alembic upgrade head")).toContain(
      "is Python run with -I or -E",
    );
  });

  test("for a command that is not understood, and for settings that make no sense", async () => {
    const cwd = createProject([{ id: "a1" }]);
    expect(await refuse(cwd, "--migrate", "sh -c 'alembic upgrade head'")).toContain(
      "86: cannot freeze the migration history: a shell runs it",
    );
    expect(await refuse(cwd, "app")).toMatch(/^64: .*no APP/);
    expect(await refuse(cwd, "--versions", "x")).toMatch(
      /^64: .*the migration tool itself reports/,
    );
    expect(await refuse(cwd, "--no-migrate")).toMatch(/^64: .*no migration command/);
  });
});

test("73: where the file cannot be written, with the cure", async () => {
  const cwd = createProject([{ id: "a1" }]);
  mkdirSync(join(cwd, fileName, "x"), { recursive: true });
  const run = await freeze(cwd);
  expect(run.code).toBe(73);
  expect(run.lines.at(-1)).toMatchObject({
    event: "cannot-write",
    msg: expect.stringContaining(`cannot write ${join(cwd, fileName)}: `) as string,
    hint: "run it before USER in the Dockerfile, or let that user write there",
  });
});

test("a secret that is mounted only later does not keep an image from being built", async () => {
  const cwd = createProject([{ id: "a1" }]);
  const env = { DATABASE_URL_FILE: "/run/secrets/nowhere" };
  expect(await runEntrypoint(["freeze"], { cwd, env })).toMatchObject({ code: 0, lines: [] });
});

test("143: told to stop, it takes Alembic along and leaves nothing behind", async () => {
  const cwd = createProject([{ id: "a1" }]);
  const source = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n";
  appendFileSync(join(cwd, "migrations/versions/a1.py"), source);
  mkdirSync(join(cwd, "tmp"));
  const run = startEntrypoint(["freeze"], { cwd, env: { TMPDIR: join(cwd, "tmp") } });
  const readPid = () => Number(readFileSync(join(cwd, "pid"), "utf8"));
  await expect.poll(readPid).toBeGreaterThan(0);
  run.process.kill("SIGTERM");
  expect(await run.ended).toMatchObject({ code: 143 });
  // Gone, or a zombie that nobody has reaped yet: then it has no command line.
  const commandLine = `/proc/${readPid()}/cmdline`;
  const isGone = () => !existsSync(commandLine) || readFileSync(commandLine, "utf8") === "";
  await expect.poll(isGone).toBe(true);
  expect(readdirSync(join(cwd, "tmp"))).toEqual([]);
  expect(existsSync(join(cwd, fileName))).toBe(false);
});

test("the graph is the one by which Alembic upgrades", async () => {
  const cwd = createPlugins();
  await freeze(cwd);
  const DATABASE_URL = await createTestDatabase();
  await execa(python, ["-m", "alembic", "upgrade", "head"], {
    cwd,
    env: plainEnvironment({ DATABASE_URL }),
    extendEnv: false,
  });
  const run = await runEntrypoint(["current"], { cwd, env: { DATABASE_URL } });
  expect(run.stdout).toBe("b2 (head)\n");
});
