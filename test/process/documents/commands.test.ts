// Every command in the documents is run for real. The commands of a block are a session in the blog's directory, on a database
// that is empty at first; a `console` block shows their real output. A command that this file does not know is a failure.

import { dirname, join } from "node:path";

import { execa } from "execa";
import { describe, expect, test } from "vitest";

import { listDocuments, readBlocks, readDocument, readTable } from "../../harness/documents.ts";
import { blogDirectory, plainEnvironment, python } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";

const root = join(import.meta.dirname, "../../..");
const head = "0005_require_word_count";

/** What a command of an `sh` block prints: each text has to be in the stream. */
interface Expected {
  readonly stdout?: readonly string[];
  readonly stderr?: readonly string[];
  /** What must be in neither stream. */
  readonly absent?: readonly string[];
}

const migrated = ["Running database migrations...", `The database is at head ${head}`];
const started = [...migrated, "Migrations complete. Starting application..."];
const uvicorn = ["Running uvicorn"];

const expectations: Readonly<Record<string, Expected>> = {
  "entrypoint --help": { stdout: ["Usage: entrypoint", "--wait-timeout"] },
  "entrypoint --dry-run": {
    stdout: ["behind: at no revision", "would run alembic upgrade head under the migration lock"],
    absent: migrated,
  },
  "entrypoint status": { stdout: ["state       behind (5 pending)", "lock        free"] },
  "entrypoint lint": { stdout: ["nothing unsafe in 5 migrations"] },
  "entrypoint migrate": { stderr: [...migrated, "Migrations complete."] },
  "entrypoint wait -- uvicorn --version": { stdout: uvicorn, absent: migrated.slice(0, 1) },
  "entrypoint current": { absent: ["000"] },
  "entrypoint heads": { stdout: [`${head} (head)`] },
  "entrypoint history --verbose": {
    stdout: [`Rev: ${head} (head)`, "Parent: <base>", "Path: /"],
  },
  'entrypoint --setup "alembic current" uvicorn --version': {
    stderr: [...started, "Running alembic current"],
    stdout: [`${head} (head)`, ...uvicorn],
  },
  "entrypoint --no-migrate uvicorn --version": { stdout: uvicorn, absent: migrated },
  "entrypoint status --json": { stdout: ['{"state":"current"', `"heads":["${head}"]`] },
  'ENTRYPOINT_LOG_FORMAT=pretty ENTRYPOINT_APP="uvicorn --version" entrypoint': {
    stderr: ["INFO: Nothing to migrate", "INFO: Starting application..."],
    stdout: uvicorn,
  },
  "entrypoint wait --wait-timeout 1": {
    stderr: [
      `Waiting for the migration to head ${head}: the database is at no revision; pending: 0001`,
      `the database is not at head ${head} after 1 s`,
    ],
    absent: migrated,
  },
  "entrypoint --wait-timeout soon --on-ahead maybe": {
    stderr: ["2 settings are not valid", "--wait-timeout", "--on-ahead"],
    absent: migrated,
  },
  "entrypoint downgrade base": { stderr: ["Nothing to undo: the database is at base"] },
  "entrypoint supervise --map-exit 3=0 -- sh -c 'exit 3'": { absent: migrated },
};

/** What is done between two commands of a session, after the one that is named. */
const afterwards: Readonly<Record<string, string>> = {
  'entrypoint --migrate "alembic upgrade 0002_add_word_count" migrate':
    "insert into posts (title, body) select 'a', 'b c d' from generate_series(1, 50000)",
};

/** Commands that are not run here, and why. */
const exceptions: Readonly<Record<string, string>> = {
  "npm start": "test/process/documents/start.test.ts runs what it starts",
  "npm test": "it is what runs this",
  "npm run release": "test/process/release/release.test.ts runs what it starts",
  "npm run bench": "it takes twelve minutes",
  "npm run build": "scripts/setup runs it before the tests, which need its files",
  "npm run check": ".ci/run runs its parts",
  ...sameReason("it is a part of npm test", [
    "npx vitest run --project unit",
    "npx vitest run --project unit test/unit/settings",
    "npx vitest run --project process test/process/boot",
    "npx vitest run --project executable test/process/boot test/process/commands",
    "npx vitest run --project container",
  ]),
  "docker build -f Dockerfile.backend --target entrypoint -t pg-entrypoint .":
    "test/container/image.test.ts builds it, and the image that README shows",
  ...sameReason("test/container/compose.test.ts does what it does", [
    "docker compose -f docker/compose.yaml up --detach",
    "docker compose -f docker/compose.yaml ps --all --format 'table {{.Name}}\\t{{.Status}}'",
    "curl http://127.0.0.1:8000/posts",
    "docker compose -f docker/compose.yaml logs migrate",
    "docker compose -f docker/compose.yaml down --volumes",
    "docker compose -f docker/compose.boot.yaml up --detach --scale backend=6",
    "docker compose -f docker/compose.boot.yaml port --index 2 backend 8000",
    "docker compose -f docker/compose.boot.yaml down --volumes",
  ]),
  ...sameReason("it needs a cluster; test/unit/docker/kubernetes.test.ts", [
    "kubectl apply -f docker/kubernetes.yaml",
    "kubectl apply -f docker/kubernetes.boot.yaml",
  ]),
};

interface Command {
  readonly words: string;
  /** What the comment above it says. */
  readonly exitCode: number;
  /** What stands below it in a `console` block. */
  readonly output: readonly string[];
}

const documents = listDocuments();
const scripts = documents.flatMap((name) =>
  readBlocks(readDocument(name), "sh").map((lines) => ({ name, commands: readScript(lines) })),
);
const sessions = documents.flatMap((name) =>
  readBlocks(readDocument(name), "console").map((lines) => ({
    name,
    commands: readSession(lines),
  })),
);

test("the documents have no command that no test knows, and no test a command that they have not", () => {
  const inScripts = scripts.flatMap(({ commands }) => commands.map(({ words }) => words));
  const inSessions = sessions
    .flatMap(({ commands }) => commands.map(({ words }) => words))
    .filter((words) => words in exceptions);
  const known = [...Object.keys(expectations), ...Object.keys(exceptions)];
  expect([...new Set([...inScripts, ...inSessions])].toSorted()).toEqual(known.toSorted());
});

describe.for(selectRun(scripts))("a script of %s", ([, commands]) => {
  test(commands[0]?.words ?? "", async () => {
    const run = await startSession({});
    for (const { words, exitCode } of commands) {
      const expected = expectations[words] ?? {};
      const { code, stdout, stderr } = await run(words);
      expect(code, `${words}\n${stderr}`).toBe(exitCode);
      for (const text of expected.stdout ?? []) expect(stdout).toContain(text);
      for (const text of expected.stderr ?? []) expect(stderr).toContain(text);
      for (const text of expected.absent ?? []) expect(stdout + stderr).not.toContain(text);
    }
  });
});

describe.for(selectRun(sessions))("a session of %s", ([, commands]) => {
  test(commands[0]?.words ?? "", async () => {
    const run = await startSession({ ENTRYPOINT_LOG_FORMAT: "pretty" });
    for (const { words, output } of commands) {
      const { code, stdout } = await run(`exec 2>&1; ${words}`);
      expect(code, `${words}\n${stdout}`).toBe(0);
      if (output.length > 0) expectOutput(stdout, output.join("\n"));
      const statement = afterwards[words];
      if (statement !== undefined) await run.query(statement);
    }
  });
});

test("the fields of status --json are those of its table", async () => {
  const run = await startSession({});
  const { stdout } = await run("entrypoint status --json");
  const table = readTable(readDocument("src/commands/README.md", "status"), "Field");
  const named = table.flatMap(([cell = ""]) => cell.match(/\w+/g) ?? []);
  expect(Object.keys(JSON.parse(stdout) as object).toSorted()).toEqual(named.toSorted());
});

test("the line of the log in the documents is the one that a migration ends with", async () => {
  const [[quoted = ""] = []] = readBlocks(readDocument("src/process/README.md"), "jsonl");
  const run = await startSession({});
  const { stderr } = await run("entrypoint migrate");
  const real = stderr.split("\n").find((line) => line.includes('"event":"migrated"')) ?? "";
  const withoutTime = (line: string) =>
    normalise(line.replace(/"time":"[-0-9T:.]+Z"/, '"time":""'));
  expect(withoutTime(real)).toBe(withoutTime(quoted));
});

function sameReason(reason: string, commands: readonly string[]): Record<string, string> {
  return Object.fromEntries(commands.map((command) => [command, reason]));
}

/** The blocks of which anything is run, with what is run of them. */
function selectRun(
  blocks: readonly { readonly name: string; readonly commands: readonly Command[] }[],
): (readonly [string, readonly Command[]])[] {
  return blocks
    .map(
      ({ name, commands }) =>
        [name, commands.filter(({ words }) => !(words in exceptions))] as const,
    )
    .filter(([, commands]) => commands.length > 0);
}

function readScript(lines: readonly string[]): Command[] {
  return lines.flatMap((words, index) => {
    if (words.startsWith("#") || words === "") return [];
    const comment = lines[index - 1] ?? "";
    const [, exitCode = "0"] = /^#.*exit code (\d+)/.exec(comment) ?? [];
    return [{ words, exitCode: Number(exitCode), output: [] }];
  });
}

function readSession(lines: readonly string[]): Command[] {
  const starts = lines.flatMap((line, index) => (line.startsWith("$ ") ? [index] : []));
  return starts.map((start, index) => ({
    words: lines[start]?.slice(2) ?? "",
    exitCode: 0,
    output: lines.slice(start + 1, starts[index + 1]),
  }));
}

/** `…` stands for any lines. Times, versions, and where the database and the blog are may differ. */
function expectOutput(real: string, quoted: string): void {
  const [actual, expected] = [normalise(real.trimEnd()), normalise(quoted)];
  const pattern = expected
    .split("\n")
    .map((line) =>
      line === "…" ? "(?:.*\n)*?" : `${line.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")}\n`,
    )
    .join("");
  if (!new RegExp(`^${pattern}$`).test(`${actual}\n`)) expect(actual).toBe(expected);
}

function normalise(text: string): string {
  return text
    .replaceAll(blogDirectory, "/app")
    .replaceAll(/\w+@[\w.]+:\d+\/\w+/g, "blog@db:5432/blog")
    .replaceAll(/\btest_[0-9a-f]{12}\b/g, "blog")
    .replaceAll(/^\[[\d:]{8}\]/gm, "[00:00:00]")
    .replaceAll(/\b\d+\.\d+\.\d+\b/g, "0.0.0")
    .replaceAll(/\b\d+(?:\.\d+)? s\b/g, "0 s");
}

/** A database of its own, and a shell for each command. */
async function startSession(extra: Record<string, string>) {
  const url = await createTestDatabase();
  const env = plainEnvironment({ DATABASE_URL: url, ...extra });
  const ownPrograms = [join(root, "dist"), dirname(python)].join(":");
  const run = async (words: string) => {
    const { exitCode, stdout, stderr } = await execa("sh", ["-c", words], {
      cwd: blogDirectory,
      env: { ...env, PATH: `${ownPrograms}:${env["PATH"]}` },
      extendEnv: false,
      stdin: "ignore",
      reject: false,
    });
    return { code: exitCode, stdout, stderr };
  };
  return Object.assign(run, {
    query: async (statement: string) => void (await (await connectClient(url)).query(statement)),
  });
}
