// A program cannot tell whether a shell's exec started it or entrypoint did: a probe writes down all that it
// inherits, once after `sh -c 'exec probe'`, once after entrypoint, and the two must be the same.
// @runs-on bundle, executable

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { entrypointCommand, executable, python } from "../harness/entrypoint.ts";

/** The words that start the program after them; any Node would do, but only 26 keeps everything. */
const node = join(import.meta.dirname, "../../../node_modules/node/bin/node");
const program = executable === undefined ? entrypointCommand(node) : entrypointCommand();
const entrypoint = [...program, "--no-migrate", "--"];
const fixture = join(import.meta.dirname, "../harness/fixtures/probe.pl");

let directory: string;
let probe: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "entrypoint-exec-"));
  // Found on PATH, as an application mostly is; and a path without surprises in its name.
  mkdirSync(join(directory, "bin"));
  probe = join(directory, "bin/probe.pl");
  writeFileSync(probe, readFileSync(fixture));
  chmodSync(probe, 0o755);
});

afterAll(() => rmSync(directory, { recursive: true }));

type Facts = Record<string, string>;
type Stdio = ("ignore" | "pipe" | number)[];

/**
 * What the probe says when a shell has run `script`, whose "$@" is the command, started directly or by
 * entrypoint. The environment is the same small one for both.
 */
function compare(
  script: string,
  { stdio = ["ignore", "pipe", "pipe"], through = [] }: { stdio?: Stdio; through?: string[] } = {},
): { shell: Facts; own: Facts } {
  const [shell, own] = [[], entrypoint].map((starter, index) => {
    const report = join(directory, `report-${index}`);
    writeFileSync(report, "");
    const words = [...starter, "probe.pl", report, "one", "two words", "", "ünï"];
    const command = [...through, "/bin/sh", "-c", script, "sh", ...words];
    const { status, stderr } = spawnSync(command[0] ?? "", command.slice(1), {
      cwd: directory,
      env: {
        PATH: `${join(directory, "bin")}:/usr/bin:/bin`,
        HOME: "/root",
        EMPTY: "",
        LINES_OF_TEXT: "one\ntwo=2\n",
        UMLAUT: "ünï \u{1f600}",
      },
      stdio,
    });
    expect(status, String(stderr)).toBe(0);
    return readFacts(report);
  });
  return { shell: shell ?? {}, own: own ?? {} };
}

function readFacts(report: string): Facts {
  const lines = readFileSync(report, "utf8").trimEnd().split("\n");
  const facts = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
  expect(Number(facts["pid"])).toBeGreaterThan(0);
  delete facts["pid"];
  return facts;
}

describe("the probe tells the same of entrypoint as of a shell's exec", () => {
  test("with pipes, and everything that a shell can set", () => {
    const { shell, own } = compare(
      `cat /dev/null | {
        umask 027; export ENTRYPOINT_LOG_FORMAT=pretty; ulimit -c 0; ulimit -s 4096; ulimit -Sn 700; ulimit -Hn 700
        echo 321 > /proc/self/oom_score_adj
        exec nice -n 3 "$@"
      } 2>&1 | cat`,
    );
    // Or nothing would be compared.
    expect(own).toMatchObject({ nice: "3", oom_score_adj: "321\\x0a", Umask: "0027" });
    expect(own["fd 0"]).toBe("pipe:[N] 00");
    expect(own["fd 1"]).toBe("pipe:[N] 01");
    expect(own["environment"]).toContain("UMLAUT=\\xc3\\xbcn\\xc3\\xaf \\xf0\\x9f\\x98\\x80");
    expect(own).toEqual(shell);
  });

  test("with files, in the process that the shell was", () => {
    const { shell, own } = compare(
      'echo "$$" > shell.pid; exec "$@" < /etc/passwd > out 2>> out.log',
    );
    expect(own["fd 2"]).toContain("/out.log");
    expect(own).toEqual(shell);
  });

  test("keeps the process id", () => {
    const report = join(directory, "report-pid");
    const { pid } = spawnSync(entrypoint[0] ?? "", [...entrypoint.slice(1), probe, report]);
    expect(readFileSync(report, "utf8")).toContain(`\npid=${pid}\n`);
  });

  test("on a terminal of its own, in the foreground", () => {
    const onTerminal =
      "import os, pty, signal, sys\n" +
      "for s in (signal.SIGPIPE, signal.SIGXFSZ): signal.signal(s, signal.SIG_DFL)\n" +
      "sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    const { shell, own } = compare('exec "$@"', { through: [python, "-c", onTerminal] });
    expect(own).toMatchObject({
      terminal: "one",
      session: "self",
      group: "self",
      "foreground group": "self",
    });
    expect(own).toEqual(shell);
  });

  test("with descriptors handed down to it: files, sockets, far ones", () => {
    const files = [openSync("/etc/passwd", "r"), openSync(join(directory, "log"), "a")];
    const stdio: Stdio = ["ignore", "pipe", "pipe", "pipe", "ignore", "pipe"];
    stdio[9] = files[0] ?? 0;
    stdio[12] = files[1] ?? 0;
    stdio[30] = files[0] ?? 0;
    for (const fd of stdio.keys()) stdio[fd] ??= "ignore";
    const { shell, own } = compare('exec "$@"', { stdio });
    expect(Object.keys(own)).toEqual(
      expect.arrayContaining([3, 5, 9, 12, 30].map((fd) => `fd ${fd}`)),
    );
    expect(own["fd 3"]).toMatch(/^socket:\[N\] /);
    expect(own).toEqual(shell);
  });

  test("with a pipe of which it gets both ends, as from make", () => {
    const bothEnds = ["perl", "-e", "$^F = 99; pipe R, W or die; exec @ARGV"];
    const { shell, own } = compare('exec "$@"', { through: bothEnds });
    expect(own).toMatchObject({ "fd 3": "pipe:[N] 00", "fd 4": "pipe:[N] 01" });
    expect(own).toEqual(shell);
  });

  test("with bytes that are not UTF-8, in environment and arguments", () => {
    const { shell, own } = compare(
      `export ODD="$(printf 'a\\351\\377z')" ODDER="$(printf '\\360\\237')" MARK="$(printf '\\357\\277\\275')"
      exec "$@" "$(printf 'caf\\351')" after`,
    );
    expect(own["environment"]).toContain("ODD=a\\xe9\\xffz");
    expect(own["environment"]).toContain("ODDER=\\xf0\\x9f");
    expect(own["environment"]).toContain("MARK=\\xef\\xbf\\xbd");
    expect(own["arguments"]).toContain("|caf\\xe9|after");
    expect(own).toEqual(shell);
  });

  test("with a script that is not on PATH, by the name that it was given", () => {
    writeFileSync(join(directory, "script"), '#!/bin/sh\necho "$0"\n', { mode: 0o755 });
    const started = runEntrypoint(["./script"]);
    expect(started).toMatchObject({ status: 0, stdout: "./script\n" });
  });
});

describe("the exceptions", () => {
  test("the soft limit of open files is raised to the hard one", () => {
    const { shell, own } = compare('ulimit -Sn 300; ulimit -Hn 900; exec "$@"');
    expect(shell["limit Max open files"]).toBe("300 900");
    expect(own["limit Max open files"]).toBe("900 900");
    expect({ ...own, "limit Max open files": "" }).toEqual({
      ...shell,
      "limit Max open files": "",
    });
  });

  test("a signal that the parent ignored has its default action", () => {
    const { shell, own } = compare("trap '' HUP; exec \"$@\"");
    // 0x80 is SIGFPE, perl's own doing; 0x01 SIGHUP.
    expect(shell["SigIgn"]).toBe("0000000000000081");
    expect({ ...own, SigIgn: "0000000000000081" }).toEqual(shell);
    expect(own["SigIgn"]).toBe("0000000000000080");
  });

  test("a closed standard descriptor is open on /dev/null", () => {
    const { shell, own } = compare('exec "$@" 0<&- 2>&-');
    expect(own["fd 0"]).toBe("/dev/null 0100002");
    expect(own["fd 2"]).toBe("/dev/null 0100002");
    delete own["fd 0"];
    delete own["fd 2"];
    expect(own).toEqual(shell);
  });
});

describe.each(["exec", "supervise"])("what cannot be started, with --mode %s", (mode) => {
  const files: [name: string, text: string, status: number, says: string][] = [
    ["not-executable", "#!/bin/sh\n", 126, "./not-executable is not executable"],
    ["lost", "#!/opt/x/python\n", 127, "its interpreter /opt/x/python does not exist"],
    ["windows", "#!/bin/sh\r\n", 127, "its interpreter /bin/sh\\r does not exist"],
    ["cut", "\x7fELF\x02\x01\x01", 126, "cut is truncated"],
    ["noise", "\x00\x01\x02\n", 126, "./noise is neither a binary of this system nor a script"],
  ];

  test.each(files)("%s", (name, text, status, says) => {
    writeFileSync(join(directory, name), text, { mode: name === "not-executable" ? 0o644 : 0o755 });
    const ended = runEntrypoint([`./${name}`], mode);
    expect(ended.stderr).toContain(says.replaceAll("\\", "\\\\"));
    expect(ended.status).toBe(status);
  });

  test.each([
    ["nothing-of-that-name", 127, "not found on PATH (/usr/bin:/bin)"],
    ["./nothing-of-that-name", 127, "./nothing-of-that-name does not exist"],
    ["/etc", 126, "/etc is a directory"],
  ])("%s", (name, status, says) => {
    const ended = runEntrypoint([name], mode);
    expect(ended.stderr).toContain(says);
    expect(ended.status).toBe(status);
  });

  test("a script without a shebang is run by /bin/sh, as a shell's exec would", () => {
    writeFileSync(join(directory, "plain"), 'echo "$0|$1|$#"; exit 5\n', { mode: 0o755 });
    expect(runEntrypoint(["./plain", "a b"], mode)).toMatchObject({
      status: 5,
      stdout: "./plain|a b|1\n",
    });
  });
});

test("an exec that fails raises no warning of Node's", () => {
  const { stderr } = runEntrypoint(["./noise"], "exec");
  expect(stderr).not.toContain("Warning");
});

function runEntrypoint(words: string[], mode = "exec") {
  return spawnSync(
    entrypoint[0] ?? "",
    [...entrypoint.slice(1, -1), "--log-format", "json", "--mode", mode, "--", ...words],
    { cwd: directory, env: { PATH: "/usr/bin:/bin" }, encoding: "utf8" },
  );
}
