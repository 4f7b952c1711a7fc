// What the usual boot, on which nothing is pending, may cost before the application starts: in counts, which no noise of a
// machine changes, so that it does not grow unnoticed. What makes a count greater on purpose changes it here.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import {
  blogDirectory,
  bundle,
  entrypointCommand,
  executable,
  plainEnvironment,
  runEntrypoint,
} from "./entrypoint.ts";
import { createTestDatabase, stampRows } from "./postgres.ts";
import { startProxy } from "./proxy.ts";
import { findMissing, testUnless } from "./supervised.ts";

const head = "0005_require_word_count";

/** What has run once the usual boot becomes the application: our modules, and the packages. */
const executedModules = [
  "entrypoint.ts",
  "src/boot.ts",
  "src/cli.ts",
  "src/commands.ts",
  "src/database/blockers.ts",
  "src/database/connect.ts",
  "src/database/negotiate.ts",
  "src/database/password-hashes.ts",
  "src/database/url.ts",
  "src/database/version-rows.ts",
  "src/environment.ts",
  "src/exit-codes.ts",
  "src/log.ts",
  "src/migrations/alembic/config.ts",
  "src/migrations/alembic/environment.ts",
  "src/migrations/alembic/frozen.ts",
  "src/migrations/alembic/graph.ts",
  "src/migrations/alembic/ini.ts",
  "src/migrations/alembic/inspect.ts",
  "src/migrations/alembic/literals.ts",
  "src/migrations/alembic/tokens.ts",
  "src/migrations/alembic/versions.ts",
  "src/migrations/command.ts",
  "src/migrations/decide.ts",
  "src/migrations/state.ts",
  "src/pino-log.ts",
  "src/process/exec.ts",
  "src/process/find-program.ts",
  "src/process/inheritance.ts",
  "src/process/libc.ts",
  "src/process/signal-table.ts",
  "src/process/signals.ts",
  "src/process/standard-streams.ts",
  "src/settings.ts",
  "src/survey.ts",
  // Not of this boot, but loaded with the commands: their constants and their classes.
  "src/backfill/checkpoint.ts",
  "src/backfill/pace.ts",
  "src/backfill/progress.ts",
  "src/migrations/alembic/ask.ts",
  "src/migrations/alembic/fingerprint.ts",
  "src/migrations/alembic/flask.ts",
  "src/migrations/alembic/hear.ts",
  "src/migrations/alembic/run.ts",
  "src/migrations/alembic/witness.ts",
  "src/migrations/cures.ts",
  "src/rehearsal.ts",
  // The build's own: what is loaded lazily, and a stand-in.
  "dist/absent:node:child_process",
  "dist/lazy:src/commands.ts",
  // The command line and the settings.
  "commander",
  "ms",
  "shlex",
  // The log.
  "@pinojs/redact",
  "atomic-sleep",
  "dist/absent:thread-stream",
  "dist/nameless:node:os",
  "on-exit-leak-free",
  "pino",
  "pino-std-serializers",
  "quick-format-unescaped",
  "safe-stable-stringify",
  "sonic-boom",
  // The database.
  "pg",
  "pg-connection-string",
  "pg-int8",
  "pg-pool",
  "pg-protocol",
  "pg-types",
  "postgres-array",
  "postgres-bytea",
  "postgres-date",
  "postgres-interval",
  "xtend",
];

testUnless(findMissing("strace"))("reads each of the project's files once", async () => {
  const output = join(makeDirectory(), "strace");
  // -y has the kernel's own word for the path, and -z leaves out what was not there.
  const strace = ["-f", "-qq", "-z", "-e", "trace=openat,execve", "-o", output];
  const { status, stderr } = spawnSync("strace", [...strace, ...entrypointCommand(), "true"], {
    cwd: blogDirectory,
    env: plainEnvironment({ DATABASE_URL: await createStampedDatabase() }),
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
  const calls = readFileSync(output, "utf8");
  const [, boot = ""] = /^(.*)^\d+ +execve\("[^"]*\/true"/ms.exec(calls) ?? [];
  const opened = [...boot.matchAll(/openat\([^"]*"([^"]*)"/g)].map(([, path = ""]) => path);
  const ours = opened.filter((path) => path.startsWith(blogDirectory));
  expect(ours.map((path) => path.slice(blogDirectory.length + 1))).toEqual([
    "alembic.ini",
    "migrations/env.py",
    "migrations/versions",
    "migrations/versions/0001_create_posts.py",
    "migrations/versions/0002_add_word_count.py",
    "migrations/versions/0003_backfill_word_count.py",
    "migrations/versions/0004_check_word_count.py",
    "migrations/versions/0005_require_word_count.py",
    // Once more, to see whether there are revisions in subfolders.
    "migrations/versions",
  ]);
});

test.for([
  // TLS, the greeting, the two halves of the password's proof (SCRAM), the catalog, the version table's rows.
  ["true", 6],
  // What the server knows besides comes before these two.
  ["status", 7],
] as const)("%s takes %i round trips to the database", async ([word, roundTrips]) => {
  const proxy = await startProxy(await createStampedDatabase());
  const { code, stderr } = await runEntrypoint([word], { env: { DATABASE_URL: proxy.url } });
  expect(code, stderr).toBe(0);
  expect(proxy.traffic()).toEqual({ connections: 1, roundTrips });
});

// The single executable has run all modules when its snapshot was taken.
test.skipIf(executable !== undefined)(
  "runs no more modules than those that it is known to run",
  async () => {
    const output = join(makeDirectory(), "modules");
    const preload = ["--import", join(import.meta.dirname, "fixtures/executed-modules.ts")];
    const { status, stderr } = spawnSync(process.execPath, [...preload, bundle, "true"], {
      cwd: blogDirectory,
      env: plainEnvironment({
        DATABASE_URL: await createStampedDatabase(),
        EXECUTED_MODULES: output,
      }),
      encoding: "utf8",
    });
    expect(status, stderr).toBe(0);
    const modules = readFileSync(output, "utf8").split("\n");
    expect(modules).toEqual(executedModules.toSorted());
  },
);

test("the bundle has the bytes that it had", () => {
  // `npm run build -- --explain` says of what they are.
  expect(statSync(bundle).size).toBeLessThan(780_000);
});

async function createStampedDatabase(): Promise<string> {
  const url = await createTestDatabase();
  await stampRows(url, head);
  return url;
}

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-budget-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}
