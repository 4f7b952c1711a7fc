// What only the single executable has to prove: it is Node inside, and neither the application nor anything else may
// notice that; and it was built on one machine and carries nothing of it to another.
// @runs-on executable

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import * as esbuild from "esbuild";
import { afterAll, describe, expect, inject, onTestFinished, test } from "vitest";

import { buildSingleExecutable, snapshotBanner } from "../../../scripts/build/executable.ts";
import { sourceMapAsset } from "../../../src/runtime/source-map.ts";
import { entrypointCommand, plainEnvironment, runEntrypoint } from "../harness/entrypoint.ts";
import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { startOnTerminal } from "../supervise/harness/terminal.ts";

const root = resolve(import.meta.dirname, "../../..");
const [executable] = entrypointCommand();

describe("the application's NODE_ variables are handed on and change nothing here", () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-node-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const variables: readonly [name: string, value: string][] = [
    ["NODE_OPTIONS", "--require /nonexistent.js --inspect-brk=127.0.0.1:1"],
    ["NODE_V8_COVERAGE", join(directory, "coverage")],
    ["NODE_REDIRECT_WARNINGS", join(directory, "warnings")],
    ["NODE_DEBUG", "*"],
    ["NODE_CHANNEL_FD", "1"],
    ["NODE_CHANNEL_SERIALIZATION_MODE", "advanced"],
    ["NODE_UNIQUE_ID", "1"],
    ["NODE_TEST_CONTEXT", "child-v8"],
    ["NODE_USE_ENV_PROXY", "1"],
    ["NODE_PENDING_DEPRECATION", "1"],
    ["NODE_PATH", "/nonexistent"],
    ["NODE_ICU_DATA", "/nonexistent"],
    ["NODE_ENV", "production"],
    ["NODE_PG_FORCE_NATIVE", "1"],
  ];

  let without: ReturnType<typeof boot> | undefined;
  test.for(variables)("%s", ([name, value]) => {
    without ??= boot({});
    const withIt = boot({ [name]: value });
    expect(without.status, without.stderr).toBe(0);
    expect(withIt.status, withIt.stderr).toBe(0);
    expect(withIt.stdout).toBe(`${without.stdout}${name}=${value}\n`);
    expect(withoutTimes(withIt.stderr)).toBe(withoutTimes(without.stderr));
    expect(readdirSync(directory)).toEqual([]);
  });

  /** With a database, since sockets are where Node's variables bite; the application prints its NODE_ variables. */
  function boot(env: Record<string, string>) {
    const show = ["sh", "-c", "env | grep ^NODE_; true"];
    const words = ["--migrate", "true", "--database-url", inject("postgresUrl"), "--", ...show];
    return spawnSync(executable, words, {
      cwd: "/",
      env: plainEnvironment(env),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  function withoutTimes(lines: string): string {
    return lines.replaceAll(
      /"(time|seconds|waitMs|inspectMs|lockMs|migrateMs)":[^,}]*|took [0-9.]+ s/g,
      "",
    );
  }
});

test("its own lines are all that it prints: no warning of Node's", () => {
  const { stderr } = spawnSync(executable, ["--no-migrate", "true"], { encoding: "utf8" });
  for (const line of stderr.trimEnd().split("\n")) expect(line).toMatch(/^\S+Z (?:INFO|WARN) /);
});

test("the rehearsal's password is no secret in the snapshot", () => {
  const { stdout } = spawnSync(executable, ["config"], { encoding: "utf8" });
  expect(stdout).toMatch(/^secret +DATABASE_URL +default$/m);
});

test("what a start draws at random is not in the snapshot", async () => {
  const nonces: string[] = [];
  const server = createServer((socket) => {
    // pg answers a reset too.
    socket.on("error", () => {});
    socket.on("data", (data) => {
      const nonce = /n,,n=.*,r=(.*)$/s.exec(data.toString("latin1"))?.[1];
      if (nonce !== undefined) {
        nonces.push(nonce);
        socket.destroy();
      } else if (data.length === 8) socket.write("N");
      else socket.write(Buffer.from("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "latin1"));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const database = ["--database-url", `postgresql://blog:secret@127.0.0.1:${port}/blog`];
  const env = { ENTRYPOINT_MIGRATE: "alembic upgrade head" };
  for (let turn = 0; turn < 2; turn++) {
    await runEntrypoint(["status", ...database], { cwd: "/", env });
  }
  const [first, second] = nonces;
  expect(first).toMatch(/^[\w+/]{24}$/);
  expect(second).toMatch(/^[\w+/]{24}$/);
  expect(second).not.toBe(first);
});

test("V8 accepts the compiled code of Node's modules that it keeps", () => {
  const words = ["-c", '"$0" supervise true 2>&1 | cat', executable];
  const env = plainEnvironment({ NODE_DEBUG_NATIVE: "CODE_CACHE" });
  const output = execFileSync("sh", words, { env, encoding: "utf8" });
  const answers = output.match(/is (?:accepted|rejected)/g) ?? [];
  expect(new Set(answers)).toEqual(new Set(["is accepted"]));
});

test("takes the words after its name as they are, those of Node's own options too", () => {
  const words = ["--no-migrate", "sh", "-c", 'echo "$@"', "sh", "--inspect", "--eval=1"];
  expect(execFileSync(executable, words, { encoding: "utf8", stdio: "pipe" })).toBe(
    "--inspect --eval=1\n",
  );
  const refused = spawnSync(executable, ["--eval", "1"], { encoding: "utf8" });
  expect(refused.stderr).toContain("unknown option '--eval'");
  expect(refused.status).toBe(64);
});

test("tells the time of the zone that it runs in", () => {
  // No machine is set to it, and it has no whole hours.
  const { stderr } = spawnSync(
    executable,
    ["--database-url", "postgresql://127.0.0.1:1/x", "--wait-timeout", "0", "--dry-run", "true"],
    { cwd: "/", env: plainEnvironment({ TZ: "Asia/Kathmandu", ENTRYPOINT_LOG_FORMAT: "pretty" }) },
  );
  const [, hours, minutes] = /(\d\d):(\d\d):\d\d/.exec(String(stderr)) ?? [];
  const away = Number(hours) * 60 + Number(minutes) - 345 - minutesOfUtc();
  // The minute may have changed meanwhile.
  expect([0, -1]).toContain(((away + 720 + 1440) % 1440) - 720);
});

function minutesOfUtc(): number {
  const now = new Date();
  return now.getUTCHours() * 60 + now.getUTCMinutes();
}

test("another build, by another user in another folder, makes the same bytes, with nothing of its machine", () => {
  const checkout = copyCheckout();
  const details = execFileSync(executable, ["--version", "--verbose"], { encoding: "utf8" });
  const build = [process.execPath, "scripts/build/build.ts"];
  // A host's name can be given to one process by root alone, and not by every root.
  const named = [
    "unshare",
    "--uts",
    "sh",
    "-c",
    'echo marked-host > /proc/sys/kernel/hostname; exec "$@"',
    "sh",
  ];
  const mayName = spawnSync("unshare", ["--uts", "true"]).status === 0;
  const [file = "", ...words] = mayName ? [...named, ...build] : build;
  const { status, stderr } = spawnSync(file, words, {
    cwd: checkout,
    encoding: "utf8",
    env: {
      PATH: process.env["PATH"],
      ENTRYPOINT_COMMIT: /^commit (\S+)$/m.exec(details)?.[1],
      SOURCE_DATE_EPOCH: "1",
      TZ: "Asia/Kathmandu",
      USER: "marked-user",
      HOME: "/marked-home",
      TMPDIR: checkout,
      LANG: "marked-language",
      PGUSER: "marked-pguser",
      NODE_ENV: "marked-node",
      SECRET: "marked-secret",
    },
  });
  // Nothing is left out of it either.
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const bytes = readFileSync(join(checkout, "dist/entrypoint"));
  for (const encoding of ["latin1", "utf16le"] as const) {
    const found = bytes.indexOf(Buffer.from("marked-", encoding));
    expect(bytes.subarray(found, found + 60).toString("latin1")).toBe("");
    for (const path of [root, process.execPath]) {
      expect(bytes.includes(Buffer.from(path, encoding)), path).toBe(false);
    }
  }
  const made = ["entrypoint", "entrypoint.map", "entrypoint.js", "entrypoint.js.map"];
  const sums = (folder: string) =>
    made.map((name) => {
      const sum = createHash("sha256").update(readFileSync(join(folder, "dist", name)));
      return `${sum.digest("hex")}  ${name}`;
    });
  expect(sums(checkout)).toEqual(sums(root));
});

/** What a build reads, in another folder. */
function copyCheckout(): string {
  const copy = mkdtempSync(join(tmpdir(), "marked-"));
  onTestFinished(() => rmSync(copy, { recursive: true }));
  const lock = readFileSync(join(root, "package-lock.json"), "utf8");
  const { packages } = JSON.parse(lock) as { packages: Record<string, { dev?: boolean }> };
  const needed = Object.keys(packages).filter((path) => packages[path]?.dev !== true);
  const files = ["entrypoint.ts", "package.json", "tsconfig.json", "scripts", "src"];
  for (const path of [...files, ...needed]) {
    const from = join(root, path);
    if (path !== "" && existsSync(from)) cpSync(from, join(copy, path), { recursive: true });
  }
  return copy;
}

test("a backfill has PostgreSQL's parser and the bar with it", async () => {
  const url = await createTestDatabase();
  const client = await connectClient(url);
  await client.query("create table t (id int primary key, n int); insert into t values (1), (2)");
  const words = ["backfill", "--table", "t", "--set", "n = 1", "--where", "n is null"];
  const terminal = startOnTerminal([executable, ...words], { DATABASE_URL: url, TERM: "xterm" });
  await terminal.shown(/\[[=-]+\] \d+ %/);
  await terminal.shown(/No row of public\.t is left to fill: 2 rows updated/);
  expect(await terminal.ended).toBe(0);
  const { rows } = await client.query("select n from t");
  expect(rows).toEqual([{ n: 1 }, { n: 1 }]);
});

test("each start draws random numbers of its own, and an error's places are those of the source", async () => {
  const directory = createDirectory();
  const main = join(directory, "main.js");
  await esbuild.build({
    entryPoints: [join(import.meta.dirname, "fixtures/snapshot.ts")],
    outfile: main,
    bundle: true,
    minify: true,
    platform: "node",
    sourcemap: "external",
    banner: { js: snapshotBanner },
  });
  const program = join(directory, "program");
  const sources = { "main.js": main };
  const assets = { [sourceMapAsset]: `${main}.map` };
  const warn = (line: string) => expect.unreachable(line);
  buildSingleExecutable(program, { version: "1.0", sources, rehearsal: null, assets }, { warn });
  const [first, second] = [1, 2].map(
    () => JSON.parse(execFileSync(program, { encoding: "utf8" })) as Record<string, string>,
  );
  expect(first?.["stack"]).toMatch(/fixtures\/snapshot\.ts:\d+:\d+/);
  for (const key of ["math", "bytes"]) expect(first?.[key], key).not.toBe(second?.[key]);
});

test("the source maps are beside both programs", () => {
  for (const name of ["entrypoint.js.map", "entrypoint.map"]) {
    const file = join(root, "dist", name);
    type Sources = { readonly sources: readonly string[] };
    const { sources: own, lazy } = JSON.parse(readFileSync(file, "utf8")) as Sources & {
      readonly lazy: Readonly<Record<string, Sources>>;
    };
    const sources = [own, ...Object.values(lazy).map((map) => map.sources)].flat();
    for (const source of ["../entrypoint.ts", "../src/commands/run.ts"])
      expect(sources).toContain(source);
    for (const source of sources.filter((one) => one.startsWith("../src/"))) {
      expect(existsSync(resolve(file, "..", source)), source).toBe(true);
    }
  }
});

function createDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-build-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

test("it carries PostgreSQL's parser: SQL is linted without a file beside it", () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-lint-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "up.sql"), "ALTER TABLE posts ADD COLUMN n int NOT NULL;\n");
  const options = { cwd: directory, env: plainEnvironment(), encoding: "utf8" } as const;
  const linted = spawnSync(executable, ["lint", "--sql", "up.sql"], options);
  expect(linted.stdout).toContain("error[add-column-not-null]");
  expect(linted.status).toBe(65);
});
