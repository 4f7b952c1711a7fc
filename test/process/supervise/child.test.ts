// What a supervised application starts with, and what its supervisor costs it: nothing but memory.
// @runs-on bundle, executable

import { spawnSync } from "node:child_process";
import {
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, onTestFinished } from "vitest";

import { plainEnvironment } from "../harness/entrypoint.ts";
import {
  firstProcess,
  findMissing,
  listChildren,
  listDescriptors,
  places,
  startCommand,
  startSupervised,
  supervise,
  reportSignals,
  testUnless,
} from "./harness/supervised.ts";

const { SIGUSR1 } = constants.signals;
const probe = join(import.meta.dirname, "../harness/fixtures/probe.pl");

describe.each(places)("as $name", (place) => {
  const testHere = testUnless(place.missing);
  testHere("the probe reports the same as after a shell's exec", () => {
    const cwd = makeDirectory();
    const file = openSync("/etc/passwd", "r");
    // Node raises the limit of open files at its start; with no room to do so the two can be compared.
    const script = "trap '' USR2; umask 027; ulimit -Sn 900; ulimit -Hn 900; exec \"$@\"";
    const [shell, own] = [place.words, supervise([], place)].map((starter, index) => {
      const report = join(cwd, `report-${index}`);
      const words = [...starter, probe, report, "one", "two words", "", "ünï"];
      const { status, stderr } = spawnSync("sh", ["-c", script, "sh", ...words], {
        cwd,
        env: { ...plainEnvironment(), EMPTY: "", UMLAUT: "ünï", LINES_OF_TEXT: "one\ntwo=2\n" },
        stdio: ["ignore", "pipe", "pipe", file, "ignore", "pipe", "ignore", file],
      });
      expect(status, String(stderr)).toBe(0);
      return readFacts(report);
    });
    // A group of its own, in the session that it was started in.
    expect(own).toMatchObject({ group: "self", cwd: realpathSync(cwd) });
    expect(own?.["SigBlk"]).toBe("0000000000000000");
    // SIGFPE is perl's own doing. That the parent ignored USR2 is lost, as in exec mode.
    expect(own?.["SigIgn"]).toBe("0000000000000080");
    expect(shell?.["SigIgn"]).toBe("0000000000000880");
    for (const fd of [3, 5, 7]) expect(own?.[`fd ${fd}`]).toMatch(/passwd|socket/);
    for (const facts of [shell, own]) {
      for (const name of ["pid", "group", "session", "SigIgn"]) delete facts?.[name];
    }
    expect(own).toEqual(shell);
  });

  testHere("bytes that are not UTF-8 arrive as they were", () => {
    const script = `export ODD="$(printf 'a\\351z')"; exec "$@" "$(printf 'caf\\351')"`;
    const app = ["sh", "-c", 'printf "%s %s" "$ODD" "$1" | od -An -tx1', "sh"];
    const words = ["-c", script, "sh", ...supervise([], place), ...app];
    const { stdout, stderr } = spawnSync("sh", words, {
      encoding: "utf8",
      env: plainEnvironment(),
    });
    expect(stdout.trim()).toBe("61 e9 7a 20 63 61 66 e9");
    expect(stderr).toBe("");
  });

  testHere("keeps its directory and what was handed down, and the supervisor neither", async () => {
    const cwd = makeDirectory();
    // Node marks descriptors up to a gap alone: two ways to the child, and one for us.
    const gap = Array<"ignore">(20).fill("ignore");
    const descriptors = ["pipe", ...gap, "pipe"] as const;
    const started = startSupervised([], reportSignals([SIGUSR1]), { place, cwd, descriptors });
    await started.printed("leader ready\n");
    // A signal is not looked at before all is done.
    started.kill("SIGUSR1");
    await started.printed(`leader ${SIGUSR1}\n`);
    const supervisor = started.pid();
    const [application = 0] = listChildren(supervisor);
    expect(readlinkSync(`/proc/${application}/cwd`)).toBe(realpathSync(cwd));
    expect(readlinkSync(`/proc/${supervisor}/cwd`)).toBe("/");
    for (const fd of [3, 24]) {
      const handedDown = readlinkSync(`/proc/${application}/fd/${fd}`);
      expect(handedDown).toMatch(/^socket:/);
      expect(listDescriptors(supervisor)).not.toContain(handedDown);
    }
    started.process.stdin?.end();
    expect(await started.ended).toBe(7);
  });

  testHere("has left its directory when the application starts, which starts in it", async () => {
    const cwd = makeDirectory();
    const script = "readlink /proc/$PPID/cwd; readlink /proc/self/cwd";
    for (const [file, app] of [
      ["/bin/sh", ["/bin/sh", "-c", script]],
      ["./app", ["./app"]],
    ] as const) {
      if (file === "./app") writeFileSync(join(cwd, file), `#!/bin/sh\n${script}`, { mode: 0o755 });
      const started = startSupervised([], app, { place, cwd });
      expect(await started.ended).toBe(0);
      expect(started.stdout()).toBe(`/\n${realpathSync(cwd)}\n`);
    }
  });

  testUnless(place.missing, findMissing("strace"))(
    "an idle supervisor makes no system call in ten seconds",
    async () => {
      const started = startSupervised([], ["sh", "-c", "echo ready; read line"], { place });
      await started.printed("ready\n");
      const output = join(makeDirectory(), "strace");
      const pid = String(started.pid());
      const strace = ["strace", "-f", "-qq", "-ttt", "-o", output, "-p", pid];
      const watching = startCommand(["timeout", "--signal=INT", "20", ...strace]);
      await watching.ended;
      const endSeconds = Date.now() / 1000;
      expect(watching.stderr()).toBe("");
      const lines = readFileSync(output, "utf8").trim().split("\n");
      // At first it tidies up, and V8 has a timer of 8 s for pages that it has freed.
      const threads = listThreads(started.pid());
      for (const line of lines) {
        expect(endSeconds - Number(line.split(/ +/)[1]), line).toBeGreaterThan(10);
      }
      // Each thread waits, in the last call that was seen of it.
      const last = new Map(lines.map((line) => [line.split(" ", 1)[0], line]));
      expect(last.size).toBe(threads);
      for (const line of last.values()) {
        expect(line).toMatch(/ (epoll_pwait|futex)\(.*<(unfinished|detached) \.\.\.>$/);
      }
      started.process.stdin?.end();
      await started.ended;
    },
  );
});

testUnless(firstProcess.missing)(
  "a boot's orphan is reaped although its SIGCHLD came before the supervision",
  async () => {
    // It ends before its parent does, which is the migration: Node's own child, and the last one of the boot.
    const migrate = "sh -c 'true & exec sleep 0.1'";
    const script = `my $parent = getppid;
    while (1) {
      open my $file, "<", "/proc/$parent/task/$parent/children";
      last if <$file> =~ /^$$ ?$/ }
    exit 42`;
    const words = supervise([], firstProcess).slice(0, -2);
    const options = ["--mode", "supervise", "--migrate", migrate, "--no-lock", "--"];
    const started = startCommand([...words, ...options, "perl", "-e", script]);
    expect(await started.ended, started.stderr()).toBe(42);
    expect(started.events()).toContain("unlocked");
  },
);

function listThreads(pid: number): number {
  const [, threads] = /^Threads:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  expect(listChildren(pid)).toHaveLength(1);
  return Number(threads);
}

function readFacts(report: string): Record<string, string> {
  const lines = readFileSync(report, "utf8").trimEnd().split("\n");
  return Object.fromEntries(
    lines.map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );
}

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-supervise-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}
