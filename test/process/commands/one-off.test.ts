// One image, many commands: what `docker run IMAGE X` does where entrypoint is the image's ENTRYPOINT and the database is down.
// The table in the documents is what is seen here.
// @runs-on executable

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { split } from "shlex";
import { expect, onTestFinished, test } from "vitest";

import { fillMarks, formatTable } from "../../../scripts/markdown.ts";
import { readDocument } from "../../harness/documents.ts";
import { python, runEntrypoint, type RunOptions } from "../harness/entrypoint.ts";

const document = "src/commands/README.md";

/** What an image is asked to run. */
const commands = [
  "bash",
  "sh -c 'pytest -q'",
  "alembic current",
  "alembic upgrade head",
  "psql",
  "pytest -q",
  "python",
  "python -m pip list",
  "python manage.py shell",
  "celery -A blog inspect ping",
  "celery -A blog worker",
  "uvicorn app.main:app",
  "sh -c 'alembic upgrade head && uvicorn app.main:app'",
  "sh start.sh",
  "python -m blog.report",
  "run -- bash",
  "exec -- python -m blog.report",
];

/** Programs that the image of the tests lacks, which tell that they were started. */
const others = ["psql", "pytest", "celery"];

test("the table of what an image does with a command is what is seen", async () => {
  const options = createImage();
  const rows = await Promise.all(
    commands.map(async (command) => [`\`${command}\``, ...(await observe(command, options))]),
  );
  const table = formatTable(["`docker run IMAGE …`", "What is done", "Why"], rows);
  const text = readDocument(document);
  expect(text).toBe(fillMarks(text, "commands", table));
});

test("a setting adds to the list, and takes away from it", async () => {
  const { env, ...place } = createImage();
  const setting = "celery -A blog worker\n!psql";
  const options = { ...place, env: { ...env, ENTRYPOINT_ONE_OFF: setting } };
  const why = "celery -A blog worker is a one-off command by the settings";
  expect(await observe("celery -A blog worker -c 2", options)).toEqual(["at once", why]);
  expect(await observe("psql", options)).toEqual(boots);
  expect(await observe("pytest", options)).toEqual(["at once", "pytest is a test or a check"]);
  expect(await observe("--one-off off pytest", options)).toEqual(boots);
});

test("settings of a boot do not keep a shell from starting, however wrong they are", async () => {
  const { env, ...place } = createImage();
  const wrong = {
    DATABASE_URL: undefined,
    DATABASE_URL_FILE: "/nowhere",
    ENTRYPOINT_WAIT_TIMEOUT: "soon",
    ENTRYPOINT_MIGRATE: "'",
    ENTRYPOINT_MODE: "supervise",
  };
  const { code, stderr, lines } = await runEntrypoint(["--setup", "false", "bash"], {
    ...place,
    env: { ...env, ...wrong },
  });
  expect(code, stderr).toBe(0);
  expect(lines.map(({ event }) => event)).toEqual(["settings", "starting"]);
  expect(lines[0]?.["msg"]).toContain("DATABASE_URL_FILE");
});

test("the end and the output are the command's own, and a dry run only says so", async () => {
  const options = createImage();
  const ended = await runEntrypoint(["exec", "--", "sh", "-c", "echo $$; exit 5"], options);
  expect(ended).toMatchObject({ code: 5, stderr: "" });
  const foreseen = await runEntrypoint(["--dry-run", "psql", "-l"], options);
  expect(foreseen).toMatchObject({
    code: 0,
    stdout: "then       would become psql -l, without a boot\n",
    stderr: "",
  });
});

test("exec without an application is refused", async () => {
  const { code, lines } = await runEntrypoint(["exec"], createImage());
  expect(code).toBe(64);
  expect(lines.at(-1)?.["problems"]).toEqual([
    "entrypoint exec: no APP is given; allowed: entrypoint exec -- APP",
  ]);
});

const boots = ["boots", ""];

/** What was done with a command, and why. */
async function observe(command: string, options: RunOptions): Promise<string[]> {
  const { code, stderr, lines } = await runEntrypoint(split(command), options);
  if (code === 69) {
    // The database is what every boot waits for first.
    expect(lines.map(({ event }) => event)).toEqual(["database-unavailable"]);
    return boots;
  }
  const started = lines.find(({ event }) => event === "starting");
  expect(started !== undefined || command.startsWith("exec "), stderr).toBe(true);
  const warning = started?.level === "warn" ? ", with a warning" : "";
  return [`at once${warning}`, (started?.["reason"] as string | undefined) ?? ""];
}

/** A project with the programs of an image, whose database is down. */
function createImage(): RunOptions {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-image-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  for (const name of others) {
    writeFileSync(join(directory, name), "#!/bin/sh\n");
    chmodSync(join(directory, name), 0o755);
  }
  writeFileSync(join(directory, "manage.py"), "");
  const env = {
    PATH: `${directory}:${dirname(python)}:/usr/local/bin:/usr/bin:/bin`,
    DATABASE_URL: "postgresql://blog:secret@127.0.0.1:1/blog",
    ENTRYPOINT_WAIT_TIMEOUT: "0",
    ENTRYPOINT_LOG_FORMAT: "json",
  };
  return { cwd: directory, env };
}
