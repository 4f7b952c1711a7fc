// The bundle on each Node that scripts/build/README.md names as tested: what each of them can, and that it falls back where it
// cannot. What is the same for all is left to the other files, which run on the newest.

import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";

import { beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { findFreePort } from "../../../scripts/postgres.ts";
import { forwardedSignals } from "../../../src/process/signal-table.ts";
import { readDocument, readTable } from "../../harness/documents.ts";
import {
  bundle,
  plainEnvironment,
  startEntrypoint,
  type Run,
  type RunOptions,
} from "../harness/entrypoint.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";
import {
  listChildren,
  listDescriptors,
  startCommand,
  reportSignals,
} from "../supervise/harness/supervised.ts";

const root = join(import.meta.dirname, "../../..");

const runtimes = [
  { major: 20, node: findNode(20), canExec: false, keepsAll: false },
  { major: 22, node: findNode(22), canExec: true, keepsAll: false },
  { major: 24, node: findNode(24), canExec: true, keepsAll: false },
  { major: 26, node: join(root, "node_modules/node/bin/node"), canExec: true, keepsAll: true },
];

function findNode(major: number): string {
  return join(import.meta.dirname, `runtimes/node_modules/node-${major}-${process.arch}/bin/node`);
}

/** Applications that tell their process and its parent, and what descriptor 3 is open on. */
const tellProcess = ["sh", "-c", 'echo "$$ $PPID"'];
const readDescriptor = ["sh", "-c", 'echo "$$"; cat <&3'];

beforeAll(() => {
  for (const { node } of runtimes) {
    if (!existsSync(node)) throw new Error(`${node} is missing: scripts/setup --tests`);
  }
});

test("the document on Node names the versions that are tested", () => {
  const table = readTable(readDocument("scripts/build/README.md"), "Node");
  const named = table.flatMap(([, versions = ""]) => versions.split(", "));
  const versions = runtimes.map(({ node }) => spawnSync(node, ["--version"], { encoding: "utf8" }));
  expect(named).toEqual(versions.map(({ stdout }) => stdout.trim().slice(1)));
});

describe.for(runtimes)("Node $major", ({ node, canExec, keepsAll }) => {
  test("says entrypoint's version, and nothing else", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      version: string;
    };
    const said = await run(node, ["--version"]);
    expect(said).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  test("migrates the blog and serves it", async () => {
    const DATABASE_URL = await createTestDatabase();
    const port = await findFreePort();
    const words = ["uvicorn", "app.main:app", "--host", "127.0.0.1", "--port", String(port)];
    const started = start(node, words, { env: { DATABASE_URL } });
    // Killed, a supervisor would leave its child behind.
    onTestFinished(async () => {
      started.process.kill("SIGTERM");
      await started.ended;
    });
    await started.printed("Uvicorn running on");
    const address = `http://127.0.0.1:${port}/posts`;
    expect(await (await fetch(address)).json()).toEqual([]);

    const { msg } = await started.event("migrated");
    expect(msg).toContain("The database is at head 0005_require_word_count (postgresql://");
    const isOurs = readFileSync(`/proc/${started.pid}/cmdline`, "utf8").includes(bundle);
    expect(isOurs).toBe(!canExec);

    started.process.kill("SIGTERM");
    await started.ended;
    expect(started.stderr()).not.toContain("Warning");
    await expect(fetch(address)).rejects.toThrow();
  });

  test(canExec ? "becomes the application" : "has it as a child, and says so", async () => {
    const { pid, code, stdout, lines } = await run(node, ["--no-migrate", ...tellProcess]);
    expect(code).toBe(0);
    expect(stdout.trim().split(" ")[canExec ? 0 : 1]).toBe(String(pid));
    const supervise = lines.filter(({ event }) => event === "supervise").map(({ msg }) => msg);
    expect(supervise).toEqual(
      canExec ? [] : ["Staying as a supervisor: this Node cannot hand all over by exec"],
    );
  });

  test("has the application as a child with --mode supervise", async () => {
    const words = ["--no-migrate", "--mode", "supervise", ...tellProcess];
    const { pid, code, stdout } = await run(node, words);
    expect(code).toBe(0);
    expect(stdout.trim().split(" ")[1]).toBe(String(pid));
  });

  test(`keeps an inherited descriptor, ${keepsAll ? "by exec" : "as a supervisor"}`, async () => {
    const words = ["--no-migrate", ...readDescriptor];
    const { pid, code, stdout, lines } = await run(node, words, { descriptors: [openFile()] });
    expect(code).toBe(0);
    expect(stdout).toContain("\nhanded down");
    expect(stdout.startsWith(`${pid}\n`)).toBe(keepsAll);
    expect(lines.some(({ event }) => event === "supervise")).toBe(!keepsAll);
    const warnings = lines.filter(({ level }) => level === "warn").map(({ event }) => event);
    expect(warnings).toEqual(keepsAll ? [] : ["no-reaping"]);
  });

  test(`a variable that is not UTF-8 is ${keepsAll ? "kept" : "warned of"}`, () => {
    const script = 'ODD="$(printf "a\\351z")"; export ODD; exec "$@"';
    const app = ["sh", "-c", 'printf %s "$ODD" | od -An -tx1'];
    const words = ["-c", script, "sh", node, bundle, "--no-migrate", ...app];
    const options = { env: plainEnvironment(), encoding: "utf8" } as const;
    const { status, stdout, stderr } = spawnSync("sh", words, options);
    expect(status).toBe(0);
    expect(stdout.trim() === "61 e9 7a").toBe(keepsAll);
    expect(stderr.includes("Node has changed what is not UTF-8: ODD")).toBe(!keepsAll);
    expect(stderr).not.toContain("Warning");
  });

  describe("hands back", () => {
    const listen = '$| = 1; print "ready\\n"; sleep 1 while 1';

    test("the application's exit code", async () => {
      expect(await run(node, ["--no-migrate", "sh", "-c", "exit 42"])).toMatchObject({ code: 42 });
    });

    test("what the application makes of TERM", async () => {
      const started = start(node, [
        "--no-migrate",
        "perl",
        "-e",
        `$SIG{TERM} = sub { exit 7 }; ${listen}`,
      ]);
      await started.printed("ready\n");
      started.process.kill("SIGTERM");
      expect(await started.ended).toMatchObject({ code: 7, signal: null });
    });

    test("a death by TERM", async () => {
      const started = start(node, ["--no-migrate", "perl", "-e", listen]);
      await started.printed("ready\n");
      started.process.kill("SIGTERM");
      expect(await started.ended).toMatchObject(
        canExec ? { code: null, signal: "SIGTERM" } : { code: 143, signal: null },
      );
    });
  });

  describe("what cannot be started", () => {
    const elf = readFileSync("/bin/sh");
    // Of no machine that Node runs on.
    elf.writeUInt16LE(2, 18);
    const files: [name: string, content: string | Buffer, mode: number, code: number][] = [
      ["not-executable", "#!/bin/sh\n", 0o644, 126],
      ["noise", "\x00\x01\x02\n", 0o755, 126],
      ["foreign", elf, 0o755, 126],
      ["lost", "#!/opt/x/python\n", 0o755, 127],
    ];

    test.for(files)("%s", async ([name, content, mode, code]) => {
      const cwd = makeDirectory();
      writeFileSync(join(cwd, name), content, { mode });
      const refused = await run(node, ["--no-migrate", `./${name}`], { cwd });
      expect(refused).toMatchObject({ code, stdout: "" });
      expect(refused.lines.at(-1)?.msg).toContain(`cannot start ./${name}: `);
    });

    test("nothing of that name", async () => {
      const refused = await run(node, ["--no-migrate", "nothing-of-that-name"]);
      expect(refused).toMatchObject({ code: 127, stdout: "" });
    });

    test("anything, with a secret that is too long for a variable", async () => {
      const file = join(makeDirectory(), "secret");
      writeFileSync(file, "x".repeat(128 * 1024 - "SECRET=".length));
      const words = ["--no-migrate", "--secret", "SECRET", "echo", "started"];
      const refused = await run(node, words, { env: { SECRET_FILE: file } });
      expect(refused).toMatchObject({ code: 126, stdout: "" });
      expect(refused.lines.at(-1)?.msg).toContain("arguments and environment too long");

      // One less, and it fits.
      writeFileSync(file, "x".repeat(128 * 1024 - "SECRET=".length - 1));
      const taken = await run(node, words, { env: { SECRET_FILE: file } });
      expect(taken).toMatchObject({ code: 0, stdout: "started\n" });
    });
  });

  test("says 1 for a migration that fails, and starts nothing", async () => {
    const DATABASE_URL = await createTestDatabase();
    const cwd = createProject([{ id: "a1", upgrade: 'raise RuntimeError("no")' }]);
    const failed = await run(node, ["echo", "started"], { cwd, env: { DATABASE_URL } });
    expect(failed).toMatchObject({ code: 1, stdout: "" });
    expect(failed.lines.at(-1)?.event).toBe("migration-failed");
  });

  test("stops a migration when told to, and starts nothing", async () => {
    const DATABASE_URL = await createTestDatabase();
    const upgrade = 'print("at work", flush=True)\ntime.sleep(60)';
    const cwd = createProject([{ id: "a1", upgrade }]);
    const started = start(node, ["echo", "started"], { cwd, env: { DATABASE_URL } });
    await started.printed("at work");
    started.process.kill("SIGTERM");
    expect(await started.ended).toMatchObject({ code: 143, signal: null });
    expect(started.stdout()).not.toContain("started");
  });
});

test.for(runtimes.filter(({ canExec }) => !canExec))(
  "Node $major refuses --mode exec before anything is touched",
  async ({ node }) => {
    // Nothing listens there: it would wait.
    const env = { DATABASE_URL: "postgresql://127.0.0.1:1/blog" };
    const { code, lines } = await run(node, ["--mode", "exec", "echo", "started"], { env });
    expect(code).toBe(64);
    expect(lines.map(({ event }) => event)).toEqual(["bad-settings"]);
    expect(lines[0]?.msg).toMatch(/^cannot exec: Node \S+ has no execve$/);
  },
);

test.for(runtimes.filter(({ canExec, keepsAll }) => canExec && !keepsAll))(
  "Node $major closes an inherited descriptor with --mode exec, and warns of it",
  async ({ node }) => {
    const words = ["--no-migrate", "--mode", "exec", ...readDescriptor];
    const { pid, stdout, lines } = await run(node, words, { descriptors: [openFile()] });
    expect(stdout).toBe(`${pid}\n`);
    const warnings = lines.filter(({ level }) => level === "warn").map(({ msg }) => msg);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^The inherited descriptors 3 will be closed: Node \S+ cannot keep them/,
      ),
    ]);
  },
);

describe.for(runtimes.filter(({ keepsAll }) => !keepsAll))(
  "a supervisor on Node $major",
  ({ node }) => {
    const supervise = (options: readonly string[], app: readonly string[]) =>
      start(node, ["supervise", ...options, "--", ...app]);

    test("says once what it cannot do, and what can", async () => {
      const started = supervise(["--wait-all", "--parent-death-signal", "TERM"], tellProcess);
      expect(await started.ended).toMatchObject({ code: 0 });
      expect(started.stderr()).not.toContain("Warning");
      const [line, ...others] = started.lines();
      expect(line).toMatchObject({ level: "warn", event: "no-reaping" });
      expect(line?.msg).toMatch(
        /^Node \S+ cannot reap orphans, .*: use Node 26\.9 or newer, or the single executable$/,
      );
      expect(others).toEqual([]);
    });

    test("forwards every signal that Node knows, each once", async () => {
      const listen = `$| = 1; $SIG{$_} = sub { print "SIG$_[0]\\n"; exit 4 if $_[0] eq "TERM" && $ends++ } for @ARGV; print "ready\\n"; sleep 1 while 1`;
      const names = forwardedSignals.map((signal) => signal.slice(3));
      const app = ["perl", "-e", listen, ...names];
      const started = supervise(["--second-term", "forward"], app);
      await started.printed("ready\n");
      for (const signal of forwardedSignals) {
        started.process.kill(signal);
        await started.printed(`${signal}\n`);
      }
      started.process.kill("SIGTERM");
      expect(await started.ended).toMatchObject({ code: 4 });
      expect(started.stdout()).toBe(["ready", ...forwardedSignals, "SIGTERM", ""].join("\n"));
    });

    test("drains, kills after the grace period, and takes the group along", async () => {
      const script = `$| = 1; $SIG{TERM} = "IGNORE"; fork; print "ready\\n"; sleep 60`;
      const options = ["--drain-delay", "100ms", "--stop-timeout", "100ms"];
      const started = supervise(options, ["perl", "-e", script]);
      await started.printed("ready\nready\n");
      started.process.kill("SIGTERM");
      expect(await started.ended).toMatchObject({ code: 137 });
      const events = started.lines().map(({ event }) => event);
      expect(events).toEqual(["no-reaping", "drain", "drained", "kill"]);
    });

    test("is in / itself and keeps nothing of the application's, which leads a session", async () => {
      const words = [
        node,
        bundle,
        "supervise",
        "--",
        ...reportSignals([constants.signals.SIGUSR1]),
      ];
      const started = startCommand(words, { cwd: "/tmp", descriptors: [openFile()] });
      await started.printed("leader ready\n");
      // A signal is not looked at before all is done.
      started.kill("SIGUSR1");
      await started.printed(`leader ${constants.signals.SIGUSR1}\n`);
      const [application = 0] = listChildren(started.pid());
      expect(readlinkSync(`/proc/${application}/cwd`)).toBe("/tmp");
      expect(readlinkSync(`/proc/${started.pid()}/cwd`)).toBe("/");
      const handedDown = readlinkSync(`/proc/${application}/fd/3`);
      expect(listDescriptors(started.pid())).not.toContain(handedDown);
      const stat = readFileSync(`/proc/${application}/stat`, "latin1").split(") ")[1]?.split(" ");
      expect(stat?.slice(2, 4)).toEqual([String(application), String(application)]);
      started.process.stdin?.end();
      expect(await started.ended).toBe(7);
    });
  },
);

function start(node: string, words: readonly string[], options: RunOptions = {}): Run {
  return startEntrypoint(words, { ...options, node });
}

/** Runs to the end. Node itself has said nothing: no warning, no trace. */
async function run(node: string, words: readonly string[], options: RunOptions = {}) {
  const started = start(node, words, options);
  const { code, signal } = await started.ended;
  const [stdout, stderr] = [started.stdout(), started.stderr()];
  expect(stderr).not.toMatch(/Warning|^node:|Native stack trace/m);
  return { pid: started.pid, code, signal, stdout, stderr, lines: started.lines() };
}

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-runtimes-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** A descriptor on a file that holds "handed down". */
function openFile(): number {
  const file = join(makeDirectory(), "file");
  writeFileSync(file, "handed down");
  const fd = openSync(file, "r");
  onTestFinished(() => closeSync(fd));
  return fd;
}
