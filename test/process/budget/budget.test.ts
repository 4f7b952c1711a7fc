// What the usual boot, on which nothing is pending, may cost before the application starts: in counts, which no noise of a
// machine changes. Nothing heavy gets in by accident: who adds to a count on purpose changes its number here.
// @runs-on bundle, executable

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import {
  blogDirectory,
  bundle,
  entrypointCommand,
  executable,
  plainEnvironment,
  runEntrypoint,
} from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase, stampRows } from "../harness/postgres.ts";
import { startProxy } from "../harness/proxy.ts";
import { findMissing, testUnless } from "../supervise/harness/supervised.ts";

const head = "0005_require_word_count";
const versions = join(blogDirectory, "migrations/versions");

/** Of the project's own modules, those of which a function has run once the usual boot becomes the application. */
const mostModules = 92;
/** What the build adds: lazy modules and stand-ins. */
const mostBuildModules = 5;
/** Of dist/entrypoint.js; `npm run build -- --explain` lists what they are of. */
const mostBytes = 1074_000;

/** The packages of which a function has run by then. */
const packages = [
  // The command line and the settings.
  "commander",
  "ms",
  "shlex",
  // The log.
  "@pinojs/redact",
  "atomic-sleep",
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
  const revisions = readdirSync(versions).filter((name) => name.endsWith(".py"));
  expect(countBy(ours, kindOfFile), ours.join("\n")).toEqual({
    "alembic.ini": 1,
    "env.py": 1,
    "a revision": revisions.length,
    // The second time to see whether there are revisions in subfolders.
    "the folder of revisions": 2,
  });
  expect(new Set(ours).size).toBe(ours.length - 1);
});

function kindOfFile(path: string): string {
  if (path === versions) return "the folder of revisions";
  return dirname(path) === versions ? "a revision" : basename(path);
}

test.for([
  // TLS, the greeting, the two halves of the password's proof (SCRAM), the catalog, the version table's rows.
  { word: "true", roundTrips: 6, statements: 2 },
  // What else the server knows comes before these two.
  { word: "status", roundTrips: 7, statements: 3 },
])(
  "$word takes $roundTrips round trips to the database, $statements of them for statements",
  async ({ word, roundTrips, statements }) => {
    const url = await createStampedDatabase();
    const readStatements = await logStatements(url);
    const proxy = await startProxy(url);
    const { code, stderr } = await runEntrypoint([word], { env: { DATABASE_URL: proxy.url } });
    expect(code, stderr).toBe(0);
    expect(proxy.traffic()).toEqual({ connections: 1, roundTrips });
    expect(readStatements()).toHaveLength(statements);
  },
);

/** The server's log has every statement in this database from now on: how to read those. */
async function logStatements(url: string): Promise<() => string[]> {
  const client = await connectClient(url);
  const name = client.escapeIdentifier(client.database ?? "");
  const { rows } = await client.query<{ folder: string }>(
    "select current_setting('data_directory') as folder",
  );
  const log = join(rows[0]?.folder ?? "", "server.log");
  const { size } = statSync(log);
  await client.query(`alter database ${name} set log_statement = 'all'`);
  return () => {
    const text = readFileSync(log).subarray(size).toString();
    return text.match(/LOG: {2}(?:statement|execute [^:]*):/g) ?? [];
  };
}

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
    const own = modules.filter((name) => /^(?:entrypoint\.ts$|src\/)/.test(name));
    const built = modules.filter((name) => name.startsWith("dist/"));
    const others = modules.filter((name) => !own.includes(name) && !built.includes(name));
    expect(others).toEqual(packages.toSorted());
    expect(own.length, own.join("\n")).toBeLessThanOrEqual(mostModules);
    expect(built.length, built.join("\n")).toBeLessThanOrEqual(mostBuildModules);
  },
);

test("the bundle has no more bytes than it may have", () => {
  expect(statSync(bundle).size).toBeLessThanOrEqual(mostBytes);
});

function countBy<T>(items: readonly T[], nameOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of items.map(nameOf)) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

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
