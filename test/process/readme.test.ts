// Every command in README is run for real, in the blog's directory each against an empty
// database of its own. A command that this file does not know is a failure.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { execa } from "execa";
import { expect, test } from "vitest";

import { blogDirectory, plainEnvironment, python } from "./entrypoint.ts";
import { createTestDatabase } from "./postgres.ts";

const root = join(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const head = "0005_require_word_count";
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
};

/** Exit code 0 unless `code` says otherwise; each text has to be in the stream. */
interface Expected {
  readonly code?: number;
  readonly stdout?: readonly string[];
  readonly stderr?: readonly string[];
  /** What must be in neither stream. */
  readonly absent?: readonly string[];
}

const migrated = ["Running database migrations...", `The database is at head ${head}`];
const started = [...migrated, "Migrations complete. Starting application..."];
const uvicorn = ["Running uvicorn"];

const expectations: Readonly<Record<string, Expected>> = {
  "node ../../dist/entrypoint.js --help": { stdout: ["Usage: entrypoint", "--wait-timeout"] },
  "node ../../dist/entrypoint.js --version": { stdout: [version] },
  "node ../../dist/entrypoint.js --dry-run": {
    stdout: ["behind: at no revision", "would run alembic upgrade head under the migration lock"],
    absent: migrated,
  },
  "node ../../dist/entrypoint.js migrate": { stderr: [...migrated, "Migrations complete."] },
  "node ../../dist/entrypoint.js wait --wait-timeout 1": {
    code: 3,
    stderr: [
      `Waiting for the migration to head ${head}: the database is at no revision; pending: 0001`,
      `the database is not at head ${head} after 1 s`,
    ],
    absent: migrated,
  },
  "node ../../dist/entrypoint.js status": {
    code: 3,
    stdout: ["state       behind (5 pending)", "0001_create_posts  ", "lock        free"],
  },
  "node ../../dist/entrypoint.js status --json": {
    code: 3,
    stdout: ['{"state":"behind","current":[],"heads":["0005_require_word_count"]'],
  },
  "node ../../dist/entrypoint.js lint": { stdout: ["nothing unsafe in 5 revisions"] },
  // The database is empty.
  "node ../../dist/entrypoint.js current": { absent: ["000"] },
  "node ../../dist/entrypoint.js heads": { stdout: [`${head} (head)`] },
  "node ../../dist/entrypoint.js history --verbose": {
    stdout: [`Rev: ${head} (head)`, "Parent: <base>", "Path: /"],
  },
  "node ../../dist/entrypoint.js downgrade base": {
    stderr: ["Nothing to undo: the database is at base"],
  },
  "node ../../dist/entrypoint.js uvicorn --version": { stderr: started, stdout: uvicorn },
  "node ../../dist/entrypoint.js -- uvicorn --version": { stderr: started, stdout: uvicorn },
  'node ../../dist/entrypoint.js --setup "alembic current" uvicorn --version': {
    stderr: [...started, "Running alembic current"],
    stdout: [`${head} (head)`, ...uvicorn],
  },
  'node ../../dist/entrypoint.js --migrate "alembic upgrade heads" migrate': { stderr: migrated },
  "node ../../dist/entrypoint.js --no-migrate uvicorn --version": {
    stdout: uvicorn,
    absent: migrated,
  },
  "node ../../dist/entrypoint.js supervise --map-exit 3=0 -- sh -c 'exit 3'": { absent: migrated },
  'ENTRYPOINT_LOG_FORMAT=pretty ENTRYPOINT_APP="uvicorn --version" node ../../dist/entrypoint.js': {
    stderr: started.map((message) => `INFO: ${message}`),
    stdout: uvicorn,
  },
  "node ../../dist/entrypoint.js --wait-timeout soon --on-ahead maybe": {
    code: 64,
    stderr: ["2 settings are not valid", "--wait-timeout", "--on-ahead"],
    absent: migrated,
  },
};

/** Commands that are not run here, and why. */
const exceptions: Readonly<Record<string, string>> = {
  "npm start": "test/process/start.test.ts runs what it starts",
  "npm test": "it is what runs this",
  "npm run bench": "it takes twelve minutes",
  "npm run build": "scripts/setup runs it before the tests, which need its bundle",
  "docker build -f Dockerfile.backend --target entrypoint -t entrypoint .":
    "test/container/image.test.ts builds it, and the image that README shows",
  ...Object.fromEntries(
    [
      "docker compose -f docker/compose.yaml up --detach",
      "docker compose -f docker/compose.yaml ps --all --format 'table {{.Name}}\\t{{.Status}}'",
      "curl http://127.0.0.1:8000/posts",
      "docker compose -f docker/compose.yaml logs migrate",
      "docker compose -f docker/compose.yaml down --volumes",
      "docker compose -f docker/compose.boot.yaml up --detach --scale backend=6",
      "docker compose -f docker/compose.boot.yaml port --index 2 backend 8000",
      "docker compose -f docker/compose.boot.yaml down --volumes",
    ].map((command) => [command, "test/container/compose.test.ts does what it does"]),
  ),
  "docker exec blog-backend-1 entrypoint downgrade -2 --dry-run":
    "test/container/boot.test.ts does what it does",
  "entrypoint lint": "test/process/lint.test.ts lints that third step",
  ...Object.fromEntries(
    [
      'entrypoint --migrate "alembic upgrade 0002_add_word_count" migrate',
      `entrypoint backfill --table posts --set "word_count = array_length(regexp_split_to_array(trim(body), E'\\\\s+'), 1)" --where "word_count IS NULL"`,
      "entrypoint migrate",
    ].map((command) => [command, "test/process/backfill.test.ts goes these steps on the blog"]),
  ),
  "kubectl apply -f docker/kubernetes.yaml": "it needs a cluster; test/unit/kubernetes.test.ts",
  "kubectl apply -f docker/kubernetes.boot.yaml": "it needs a cluster",
  "npm run check": ".ci/run runs its parts",
  "npx vitest run --project unit": "it is a part of npm test",
  "npx vitest run test/process/blog.test.ts": "it is a part of npm test",
};

const commands = readCommands();

test("README has no command that no test knows, and no test a command that README has not", () => {
  const known = [...Object.keys(expectations), ...Object.keys(exceptions)];
  expect(commands.toSorted()).toEqual(known.toSorted());
});

test.for(Object.entries(expectations))("%s", async ([command, expected]) => {
  const { exitCode, stdout, stderr } = await runCommand(command);
  expect(exitCode, stderr).toBe(expected.code ?? 0);
  for (const text of expected.stdout ?? []) expect(stdout).toContain(text);
  for (const text of expected.stderr ?? []) expect(stderr).toContain(text);
  for (const text of expected.absent ?? []) expect(stdout + stderr).not.toContain(text);
});

test("README's log line is the one that a migration ends with", async () => {
  const quoted = /```jsonl\n(.*)\n```/.exec(readme)?.[1] ?? "";
  const { stderr } = await runCommand("node ../../dist/entrypoint.js migrate");
  const real = stderr.split("\n").find((line) => line.includes('"event":"migrated"')) ?? "";
  const withoutTime = (line: string) => line.replace(/"time":"[-0-9T:.]+Z"/, '"time":""');
  expect(withoutTime(real)).toBe(withoutTime(quoted));
});

/** The lines of all blocks that README marks as commands, without comments and without output. */
function readCommands(): string[] {
  return [...readme.matchAll(/^```(sh|console)\n([^]*?)^```$/gm)].flatMap(([, kind, body = ""]) => {
    const lines = body.split("\n").map((line) => line.trim());
    if (kind === "console") {
      return lines.filter((line) => line.startsWith("$ ")).map((line) => line.slice(2));
    }
    return lines.filter((line) => line !== "" && !line.startsWith("#"));
  });
}

async function runCommand(command: string) {
  const env = plainEnvironment({ DATABASE_URL: await createTestDatabase() });
  const ownPrograms = [dirname(python), dirname(process.execPath)].join(":");
  return execa("sh", ["-c", command], {
    cwd: blogDirectory,
    env: { ...env, PATH: `${ownPrograms}:${env["PATH"]}` },
    extendEnv: false,
    stdin: "ignore",
    reject: false,
  });
}
