// On a terminal the application is what a shell's job is: in the foreground, so that the kernel sends it what is typed, and
// once; suspended and resumed by the shell that started entrypoint; and the terminal is left as it was found.
// @runs-on bundle, executable

import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { entrypointCommand, executable } from "../harness/entrypoint.ts";
import { quote, startOnTerminal, type TestTerminal } from "./harness/terminal.ts";

const node = join(import.meta.dirname, "../../../node_modules/node/bin/node");
const program = executable === undefined ? entrypointCommand(node) : entrypointCommand();
const supervise = [...program, "supervise"];
const listener = join(import.meta.dirname, "fixtures/listener.pl");
const interactiveShell = ["bash", "--norc", "--noprofile", "-i"];
const ctrl = { c: "\x03", d: "\x04", z: "\x1a", backslash: "\x1c" };

/** A shell at its prompt, as the one from which entrypoint is started. */
async function startShell(): Promise<TestTerminal> {
  const terminal = startOnTerminal(interactiveShell);
  await terminal.shown(/> $/);
  return terminal;
}

/** Starts a listener from a shell, by those words. */
async function startListener(terminal: TestTerminal, words: string, options: string) {
  terminal.type(`${words} ${options}\n`);
  const ready = await terminal.shown(/leader: ready (\d+) under (\d+) (in the \w+)\n/);
  return { leader: Number(ready[1]), entrypoint: Number(ready[2]), place: ready[3] };
}

const startJob = (terminal: TestTerminal, options: string) =>
  startListener(terminal, quote([...supervise, "--", listener]), options);

/** That the shell reads what is typed, and what it says of its last command. */
async function expectShell(terminal: TestTerminal, lastCode?: number): Promise<void> {
  terminal.type('echo "code=$?."\n');
  const [, code] = await terminal.shown(/\ncode=(\d+)\.\n> $/);
  if (lastCode !== undefined) expect(Number(code)).toBe(lastCode);
}

/** That the job is stopped for having read in the background, and reads on in the foreground to its end. */
async function expectReadsOn(terminal: TestTerminal): Promise<void> {
  terminal.type("jobs -l\n");
  await terminal.shown(/\[1\]\+ +\d+ Stopped \(tty input\) .*\n> $/);
  terminal.type("fg\n");
  await terminal.shown(/supervise.*\n/);
  terminal.type("line\n");
  await terminal.shown(/leader: got line\n/);
  terminal.type(ctrl.d);
  await terminal.shown(/> $/);
  await expectShell(terminal, 7);
}

describe("what is typed", () => {
  test("Ctrl-C reaches the leader and the members of its group once", async () => {
    const terminal = startOnTerminal([...supervise, "--", listener, "INT", "member"]);
    await terminal.shown(/member: ready[^]*leader: ready|leader: ready[^]*member: ready/);
    terminal.type(ctrl.c);
    await terminal.shown(/leader: INT 1[^]*member: INT 1|member: INT 1[^]*leader: INT 1/);
    const parent = Number(/under (\d+)/.exec(terminal.screen())?.[1]);
    // TERM takes the way through entrypoint: a second INT would have come on it before.
    process.kill(parent, "SIGTERM");
    expect(await terminal.ended).toBe(4);
    expect(terminal.screen()).toContain("leader: total INT=1\n");
    expect(terminal.screen()).toContain("member: total INT=1\n");
  });

  test.each([
    ["Ctrl-C", ctrl.c, 130],
    ["Ctrl-\\", ctrl.backslash, 131],
  ])("%s ends an application that has no handler", async (_name, key, code) => {
    const terminal = startOnTerminal([...supervise, "--", listener]);
    await terminal.shown(/ready/);
    terminal.type(key);
    expect(await terminal.ended).toBe(code);
  });

  test("a new window size is there, and its SIGWINCH comes once", async () => {
    const terminal = startOnTerminal([...supervise, "--", listener, "WINCH"]);
    const ready = await terminal.shown(/under (\d+)/);
    for (const [time, [rows, columns]] of (
      [
        [40, 120],
        [24, 80],
      ] as const
    ).entries()) {
      terminal.resize(rows, columns);
      await terminal.shown(new RegExp(`WINCH ${time + 1}\n`));
    }
    process.kill(Number(ready[1]), "SIGTERM");
    expect(await terminal.ended).toBe(4);
    expect(terminal.screen()).toContain("total WINCH=2\n");
  });

  test("a closed window is a SIGHUP", async () => {
    const app = "$| = 1; $SIG{HUP} = sub { exit 9 }; print 'ready'; sleep 1 while 1";
    const terminal = startOnTerminal([...supervise, "--", "perl", "-e", app]);
    await terminal.shown(/ready/);
    terminal.hangUp();
    expect(await terminal.ended).toBe(9);
  });
});

describe.each(["exec", "supervise"])("an interactive shell with --mode %s", (mode) => {
  test("has job control", async () => {
    const start = [...program, "--no-migrate", "--mode", mode, "--log-level", "warn", "--"];
    const terminal = startOnTerminal([...start, ...interactiveShell]);
    await terminal.shown(/^> $/);
    expect((await startListener(terminal, listener, "INT")).place).toBe("in the foreground");
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    await expectShell(terminal, 148);
    terminal.type("jobs\n");
    await terminal.shown(/^\[1\]\+ +Stopped .*listener.*\n> $/m);
    // It reads in the background. A shell that resumes it in the moment in which that stops it does not notice.
    terminal.type("set -b; bg\n");
    await terminal.shown(/^\[1\]\+ .*listener.* &\n[^]*\n\[1\]\+ +Stopped /m);
    terminal.type("jobs -l\n");
    await terminal.shown(/\[1\]\+ +\d+ Stopped \(tty input\) .*\n> $/);
    terminal.type("fg\n");
    await terminal.shown(/\n.*listener.*\n/);
    terminal.type("line\n");
    await terminal.shown(/leader: got line\n/);
    terminal.type(ctrl.c);
    await terminal.shown(/leader: INT 1\n/);
    terminal.type(ctrl.d);
    await terminal.shown(/> $/);
    await expectShell(terminal, 7);
    terminal.type("exit 5\n");
    expect(await terminal.ended).toBe(5);
  });
});

describe("a job of an interactive shell", () => {
  test("is suspended by Ctrl-Z and resumed by fg, twice", async () => {
    const terminal = await startShell();
    const job = await startJob(terminal, "INT CONT");
    expect(job.place).toBe("in the foreground");
    for (const time of [1, 2]) {
      terminal.type(ctrl.z);
      await terminal.shown(/\[1\]\+ +Stopped .*\n> $/);
      await expectShell(terminal, 148);
      terminal.type("fg\n");
      await terminal.shown(new RegExp(`leader: CONT ${time}\n`));
      terminal.type(`line ${time}\n`);
      await terminal.shown(new RegExp(`leader: got line ${time}\n`));
      terminal.type(ctrl.c);
      await terminal.shown(new RegExp(`leader: INT ${time}\n`));
    }
    process.kill(job.entrypoint, "SIGTERM");
    await terminal.shown(/leader: total INT=2 CONT=2\n> $/);
    await expectShell(terminal, 4);
  });

  test("is not sent the SIGCONT that resumed entrypoint as well", async () => {
    const terminal = await startShell();
    // Two at once are one. What is forwarded differs by its name.
    const words = quote([...supervise, "--map-signal", "CONT:USR1", "--", listener]);
    const job = await startListener(terminal, words, "CONT USR1");
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    terminal.type("fg\n");
    await terminal.shown(/leader: CONT 1\n/);
    process.kill(job.entrypoint, "SIGTERM");
    await terminal.shown(/leader: total CONT=1 USR1=0\n> $/);
  });

  test("goes on in the background after bg, and leaves the terminal to the shell", async () => {
    const terminal = await startShell();
    await startJob(terminal, "deaf WINCH");
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    terminal.type("bg\n");
    await terminal.shown(/\[1\]\+ .* &\n> $/);
    // The window is the shell's as well.
    terminal.resize(40, 120);
    terminal.type("line\n");
    await terminal.shown(/line: command not found\n> $/);
    terminal.type("kill -USR2 %1; wait %1\n");
    await terminal.shown(/leader: total WINCH=0\n[^]*> $/);
    await expectShell(terminal, 4);
  });

  test("is stopped when it reads in the background, and reads on after fg", async () => {
    const terminal = await startShell();
    await startJob(terminal, "");
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    // The notice comes at once.
    terminal.type("set -b; bg\n");
    await terminal.shown(/\n\[1\]\+ +Stopped /);
    await expectReadsOn(terminal);
  });

  test("in the background from the start does not take the terminal, and gets it by fg", async () => {
    const terminal = await startShell();
    terminal.type("set -b\n");
    await terminal.shown(/\n> $/);
    const job = await startJob(terminal, "&");
    expect(job.place).toBe("in the background");
    await terminal.shown(/\n\[1\]\+ +Stopped /);
    await expectReadsOn(terminal);
  });

  test("that runs in the background gets the terminal when it reads after fg", async () => {
    const terminal = await startShell();
    const app =
      "$| = 1; $SIG{USR1} = sub { print 'got ' . <STDIN>; exit 6 }; my $parent = getppid;" +
      "print qq(ready $$ under $parent\\n); sleep 1 while 1";
    terminal.type(`${quote([...supervise, "--", "perl", "-e", app])} &\n`);
    const [, pid, parent] = await terminal.shown(/ready (\d+) under (\d+)\n/);
    terminal.type("fg\n");
    // It has not been stopped, so that neither entrypoint nor the application notices.
    await expect.poll(() => isInForeground(Number(parent))).toBe(true);
    process.kill(Number(pid), "SIGUSR1");
    terminal.type("line\n");
    await terminal.shown(/\ngot line\n> $/);
    await expectShell(terminal, 6);
  });

  test("resumed by a SIGCONT from outside goes on in the background, and gets one", async () => {
    const terminal = await startShell();
    const job = await startJob(terminal, "deaf CONT");
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    process.kill(job.entrypoint, "SIGCONT");
    await terminal.shown(/leader: CONT 1\n/);
    terminal.type("set -b\n");
    await terminal.shown(/> $/);
    process.kill(job.entrypoint, "SIGTERM");
    await terminal.shown(/leader: total CONT=1\n/);
    await terminal.shown(/Exit 4 /);
  });

  test("gets the terminal back after a SIGSTOP of entrypoint from outside", async () => {
    const terminal = await startShell();
    // The application does not notice. (If it were reading, it would continue.)
    const job = await startJob(terminal, "deaf CONT INT");
    process.kill(job.entrypoint, "SIGSTOP");
    await terminal.shown(/Stopped .*\n> $/);
    await expectShell(terminal);
    terminal.type("fg\n");
    await terminal.shown(/leader: CONT 1\n/);
    expect(isInForeground(job.leader)).toBe(true);
    terminal.type(ctrl.c);
    await terminal.shown(/leader: INT 1\n/);
    process.kill(job.entrypoint, "SIGTERM");
    await terminal.shown(/leader: total CONT=1 INT=1\n> $/);
    await expectShell(terminal, 4);
  });

  test("can be ended while it is suspended", async () => {
    const terminal = await startShell();
    await startJob(terminal, "");
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    terminal.type("set -b; kill %1\n");
    await terminal.shown(/leader: total[^]*Exit 4 /);
  });

  test("can be ended while it is stopped for reading in the background", async () => {
    const terminal = await startShell();
    terminal.type("set -b\n");
    await terminal.shown(/\n> $/);
    await startJob(terminal, "&");
    await terminal.shown(/\n\[1\]\+ +Stopped /);
    terminal.type("kill %1\n");
    await terminal.shown(/leader: total[^]*Exit 4 /);
  });

  test("is suspended with all of entrypoint's descriptors elsewhere", async () => {
    const terminal = await startShell();
    const app = `exec ${listener} CONT </dev/tty >/dev/tty`;
    const words = quote([...supervise, "--", "sh", "-c", app]);
    terminal.type(`${words} </dev/null >/dev/null 2>&1\n`);
    await terminal.shown(/ready .* in the foreground\n/);
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    terminal.type("fg\n");
    await terminal.shown(/leader: CONT 1\n/);
    terminal.type("line\n");
    await terminal.shown(/leader: got line\n/);
    terminal.type(ctrl.d);
    await terminal.shown(/> $/);
    await expectShell(terminal, 7);
  });
});

describe("where nobody could resume it", () => {
  // The leader of the terminal's session, as over ssh: the kernel stops nobody of such a group.
  test("Ctrl-Z stops nothing", async () => {
    const terminal = startOnTerminal([...supervise, "--", listener, "CONT"]);
    await terminal.shown(/ready/);
    for (const time of [1, 2]) {
      terminal.type(ctrl.z);
      await terminal.shown(new RegExp(`leader: CONT ${time}\n`));
      terminal.type(`line ${time}\n`);
      await terminal.shown(new RegExp(`leader: got line ${time}\n`));
    }
    terminal.type(ctrl.d);
    expect(await terminal.ended).toBe(7);
  });

  test.each(["TTIN", "TTOU"])("a %s that stops it does not last", async (name) => {
    const terminal = startOnTerminal([...supervise, "--", listener, "CONT"]);
    const [, leader] = await terminal.shown(/ready (\d+) /);
    process.kill(Number(leader), `SIG${name}`);
    await terminal.shown(/leader: CONT 1\n/);
    terminal.type(ctrl.d);
    expect(await terminal.ended).toBe(7);
  });

  test("a SIGSTOP lasts until a SIGCONT", async () => {
    const terminal = startOnTerminal([...supervise, "--", listener, "CONT"]);
    const [, leader, parent] = await terminal.shown(/ready (\d+) under (\d+)/);
    process.kill(Number(leader), "SIGSTOP");
    await expect.poll(() => readStat(Number(leader)).state).toBe("T");
    // Nothing else resumes it. While entrypoint deals with the stop, the kernel drops a SIGCONT that waits for it.
    const resume = (): string => {
      const { state } = readStat(Number(leader));
      if (state === "T") process.kill(Number(parent), "SIGCONT");
      return state;
    };
    await expect.poll(resume, { interval: 500 }).not.toBe("T");
    await terminal.shown(/leader: CONT 1\n/);
    terminal.type("line\n");
    await terminal.shown(/leader: got line\n/);
    process.kill(Number(parent), "SIGTERM");
    await terminal.shown(/total CONT=1\n/);
    expect(await terminal.ended).toBe(4);
  });
});

describe("a pipeline", () => {
  test("leaves the terminal to the others of it", async () => {
    const terminal = await startShell();
    // As a pager does.
    const mate = `stty -echo </dev/tty; read -r ready; echo "$ready"; read -r line </dev/tty; echo "mate got $line"
      cat; stty -a </dev/tty | grep -o -e "-echo "; stty echo </dev/tty`;
    const piped = `${quote([...supervise, "--", listener])} deaf | ${quote(["sh", "-c", mate])}`;
    terminal.type(`${piped.replaceAll("\n", ";")}\n`);
    const [, parent] = await terminal.shown(/under (\d+) in the background\n/);
    terminal.type("line\n");
    await terminal.shown(/mate got line\n/);
    process.kill(Number(parent), "SIGTERM");
    await terminal.shown(/total [^]*\n-echo \n> $/);
  });

  test("gives it to the application that reads it", async () => {
    const terminal = await startShell();
    const app = `exec ${listener} CONT </dev/tty`;
    terminal.type(`${quote([...supervise, "--", "sh", "-c", app])} | cat\n`);
    await terminal.shown(/ready .* in the background\n/);
    terminal.type("line\n");
    // One came after the kernel had stopped it for its reading in the background.
    await terminal.shown(/leader: CONT 1\n[^]*leader: got line\n/);
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    terminal.type("fg\n");
    await terminal.shown(/leader: CONT 2\n/);
    terminal.type(ctrl.d);
    await terminal.shown(/> $/);
    await expectShell(terminal);
  });
});

describe("the terminal is left as it was found", () => {
  const raw = "stty raw -echo;";
  const ends: [name: string, app: string, code: number][] = [
    ["exits", `${raw} exit 3`, 3],
    ["dies of SIGKILL", `${raw} kill -KILL $$`, 137],
    ["dies of a SIGTERM to entrypoint", `${raw} kill -TERM $PPID; sleep 1000`, 143],
    ["is killed", `trap "" TERM; ${raw} kill -TERM $PPID; while :; do sleep 1; done`, 137],
  ];
  const redirections = [
    "",
    "</dev/null",
    ">/dev/null",
    ">/dev/null 2>&1",
    "</dev/null 2>/dev/null",
  ];

  test.each(ends)("when the application %s in raw mode", async (_name, app, code) => {
    await expectLeftAsFound(["sh", "-c", app], code, "");
  });

  test("when the kernel refuses to start the application", async () => {
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-terminal-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const busy = join(directory, "busy");
    cpSync("/bin/true", busy);
    // A file that is open for writing is not executed (ETXTBSY).
    await expectLeftAsFound([busy], 126, `3>>${busy}`);
  });

  test.each([...redirections, "</dev/null >/dev/null 2>&1"])("with '%s'", async (redirection) => {
    const app = `stty raw -echo </dev/tty; kill -KILL $$`;
    await expectLeftAsFound(["sh", "-c", app], 137, redirection);
  });

  test("when a shell is killed while a job of its has the terminal", async () => {
    // It lives on, out of everybody's reach, for as long as there is the terminal.
    const job = 'stty raw -echo; kill -KILL "$PPID"; while [ -t 0 ]; do sleep 1; done';
    const app = `set -m; ${quote(["sh", "-c", job])}; :`;
    await expectLeftAsFound(["bash", "-c", app], 137, "");
  });

  test("when it is suspended, and the application has its own state again by fg", async () => {
    const terminal = startOnTerminal(["dash", "-i"]);
    await terminal.shown(/> $/);
    // Not a shell's: a Ctrl-Z in the middle of its vfork would leave it there.
    const app =
      "$| = 1; system 'stty -echo -icanon'; $SIG{CONT} = sub { print qq(resumed\\n) };" +
      "$SIG{INT} = sub { system 'stty -a | grep -o -e -icanon'; exit 5 };" +
      "print qq(ready\\n); sleep 1 while 1";
    terminal.type(`${quote([...supervise, "--", "perl", "-e", app])}\n`);
    await terminal.shown(/\nready\n/);
    terminal.type(ctrl.z);
    await terminal.shown(/> $/);
    terminal.type("stty -a\n");
    await terminal.shown(/ icanon [^]* echo [^]*> $/);
    terminal.type("fg\n");
    await terminal.shown(/\nresumed\n/);
    terminal.type(ctrl.c);
    await terminal.shown(/-icanon\n/);
    await terminal.shown(/> $/);
    terminal.type("stty -a\n");
    await terminal.shown(/ icanon [^]* echo [^]*> $/);
  });

  test("when entrypoint ends in the background, whoever has set it meanwhile", async () => {
    const start = quote([...supervise, "--", listener]);
    const script = `set -m; ${start} deaf & read -r line; stty -echo; kill %1; wait %1; echo "code $?"; stty -a`;
    const terminal = startOnTerminal(["bash", "-c", script]);
    await terminal.shown(/ready .* in the background\n/);
    terminal.type("go\n");
    await terminal.shown(/code 4\n[^]* -echo /);
    expect(await terminal.ended).toBe(0);
  });

  /** A script that is no job control of its own: what entrypoint leaves is what it goes on with. */
  async function expectLeftAsFound(words: readonly string[], code: number, redirection: string) {
    const start = [
      ...supervise,
      "--log-level",
      "silent",
      "--stop-timeout",
      "100ms",
      "--",
      ...words,
    ];
    const script = `stty -g; ${quote(start)} ${redirection}; echo "code $?"; stty -g; read -r line; echo "got $line"`;
    const terminal = startOnTerminal(["sh", "-c", script]);
    const [, before] = await terminal.shown(/([\w:]+)\n/);
    const [, ended, after] = await terminal.shown(/code (\d+)\n([\w:]+)\n/);
    expect(Number(ended)).toBe(code);
    expect(after).toBe(before);
    terminal.type("line\n");
    await terminal.shown(/got line\n/);
    expect(await terminal.ended).toBe(0);
  }
});

test("a line of the log is written under `stty tostop`, too", async () => {
  const start = [...supervise, "--drain-delay", "1ms", "--", listener];
  const terminal = startOnTerminal(["sh", "-c", `stty tostop; exec ${quote(start)}`]);
  const [, parent] = await terminal.shown(/under (\d+)/);
  process.kill(Number(parent), "SIGTERM");
  await terminal.shown(/draining for/);
  await terminal.shown(/leader: total/);
  expect(await terminal.ended).toBe(4);
});

function readStat(pid: number): { state: string; group: number; foreground: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const [state = "", , group, , , foreground] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { state, group: Number(group), foreground: Number(foreground) };
}

function isInForeground(pid: number): boolean {
  const { group, foreground } = readStat(pid);
  return group === foreground;
}
