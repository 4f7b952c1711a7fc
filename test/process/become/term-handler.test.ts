// An application that becomes PID 1 without a handler for TERM never gets it: entrypoint says so where it is certain. The kernel
// is the oracle: what it shows as caught once the application runs is what was to be foreseen.
// @runs-on bundle, executable

import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { silentModules } from "../../../src/process/become/term-handler.ts";
import { readLines, watchOutput } from "../../harness/output.ts";
import { entrypointCommand, plainEnvironment, python } from "../harness/entrypoint.ts";
import { firstProcess, testUnless } from "../supervise/harness/supervised.ts";

/** Prints whether TERM is caught, as the kernel has it, and waits. */
const report = `import time
for line in open("/proc/self/status"):
    if line.startswith("SigCgt"):
        print("caught" if int(line.split()[1], 16) >> 14 & 1 else "not caught", flush=True)
while True:
    time.sleep(60)
`;
const reportOfShell = `grep SigCgt /proc/$$/status | { read -r _ mask; [ $((0x$mask >> 14 & 1)) = 1 ] && echo caught || echo not caught; }
while :; do sleep 60; done
`;
const handler = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: exit(0))\n";

interface Row {
  readonly name: string;
  readonly words: readonly string[];
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  /** What the warning calls it; null where there is none. */
  readonly seen: string | null;
  /** Whether the application catches TERM. */
  readonly caught: boolean;
}

const script = { words: ["python", "worker.py"] } as const;
const rows: readonly Row[] = [
  { ...script, name: "a worker", files: { "worker.py": report }, seen: "worker.py", caught: false },
  {
    ...script,
    name: "a worker with modules of the project",
    files: {
      "worker.py": `from app.jobs import tick\nimport app.more as more\n${report}`,
      "app/__init__.py": "",
      "app/jobs.py": "from . import more\nimport json, os\ndef tick(): pass\n",
      "app/more.py": "from time import (\n  sleep,  # a comment\n)\n",
    },
    seen: "worker.py and what it imports",
    caught: false,
  },
  {
    name: "a module",
    words: ["python3", "-u", "-m", "app.worker"],
    files: { "app/__init__.py": "", "app/worker.py": report },
    seen: "worker.py and what it imports",
    caught: false,
  },
  { name: "code", words: ["python", "-c", report], seen: "the code of -c", caught: false },
  {
    name: "a script with its interpreter",
    words: ["./worker"],
    files: { worker: `#!/usr/bin/env python3\n${report}` },
    seen: "worker",
    caught: false,
  },
  {
    name: "a shell's loop",
    words: ["sh", "run.sh"],
    files: { "run.sh": reportOfShell },
    seen: "run.sh",
    caught: false,
  },
  {
    name: "a shell's loop behind env",
    words: ["env", "A=b", "sh", "-c", reportOfShell.trim()],
    seen: "the shell's commands",
    caught: false,
  },
  {
    ...script,
    name: "a worker with a handler",
    files: { "worker.py": `${handler}${report}` },
    seen: null,
    caught: true,
  },
  {
    ...script,
    name: "a worker whose module has a handler",
    files: {
      "worker.py": `def start():\n    from app import stop; stop.install()\nstart()\n${report}`,
      "app/stop.py": `def install():\n    ${handler.replaceAll("\n", "; ")}\n`,
    },
    seen: null,
    caught: true,
  },
  {
    ...script,
    name: "a worker whose package has a handler",
    files: {
      "worker.py": `import app.jobs\n${report}`,
      "app/__init__.py": handler,
      "app/jobs.py": "",
    },
    seen: null,
    caught: true,
  },
  {
    ...script,
    name: "a worker on a library that is not seen",
    files: { "worker.py": `import alembic\n${report}` },
    seen: null,
    caught: false,
  },
  {
    ...script,
    name: "a module that hides Python's own",
    files: { "worker.py": `import queue\n${report}`, "queue.py": handler },
    seen: null,
    caught: true,
  },
  {
    ...script,
    name: "what Python runs by itself",
    files: { "worker.py": report, "lib/sitecustomize.py": handler },
    env: { PYTHONPATH: "lib" },
    seen: null,
    caught: true,
  },
  {
    name: "a shell with a trap",
    words: ["sh", "run.sh"],
    files: { "run.sh": `trap 'exit 0' TERM\n${reportOfShell}` },
    seen: null,
    caught: true,
  },
  {
    name: "a shell that becomes another program",
    words: ["sh", "run.sh"],
    files: { "run.sh": "exec python worker.py\n", "worker.py": `${handler}${report}` },
    seen: null,
    caught: true,
  },
];

describe("as PID 1", () => {
  testUnless(firstProcess.missing).each([...rows])("$name", async (row) => {
    const folder = mkdtempSync(join(tmpdir(), "entrypoint-term-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    for (const [name, text] of Object.entries(row.files ?? {})) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text, { mode: 0o755 });
    }
    const [file, ...args] = [...firstProcess.words, ...entrypointCommand(), "--no-migrate"];
    const child = spawn(file, [...args, "--", ...row.words], {
      cwd: folder,
      env: plainEnvironment(row.env),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const ended = new Promise((resolve) => child.once("close", resolve));
    onTestFinished(async () => {
      child.kill("SIGKILL");
      await ended;
    });
    let [stdout, stderr] = ["", ""];
    const { more, until } = watchOutput(
      () => ended,
      () => stderr,
    );
    child.stdout.on("data", (data: Buffer) => {
      stdout += data.toString();
      more();
    });
    child.stderr.on("data", (data: Buffer) => void (stderr += data.toString()));
    await until(() => (stdout.endsWith("caught\n") ? true : undefined), "the report");
    expect(stdout).toBe(row.caught ? "caught\n" : "not caught\n");
    const warnings = readLines(stderr).filter(({ event }) => event === "no-term-handler");
    const message = `The application becomes PID 1, which gets SIGTERM only if it handles it, and ${row.seen} does not`;
    expect(warnings.map(({ msg }) => msg)).toEqual(row.seen === null ? [] : [message]);
  });
});

test("Python's own modules that count as silent install no handler", () => {
  const code = `import importlib, signal, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, name
print("done")`;
  expect(execFileSync(python, ["-c", code, ...silentModules], { encoding: "utf8" })).toBe("done\n");
});
