// `docker run -it` with entrypoint as PID 1 that stays: what is typed reaches the application as if it had the terminal to
// itself, and what PID 1 could never be resumed from does not stop it.

import { resolve } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { startOnTerminal, type TestTerminal } from "../process/supervise/harness/terminal.ts";
import { blogImage, engine, run } from "./engine.ts";

const fixtures = resolve(import.meta.dirname, "../process/supervise/fixtures");
const ctrl = { c: "\x03", d: "\x04", z: "\x1a" };

function runOnTerminal(...words: string[]): TestTerminal {
  const name = `entrypoint-test-terminal-${process.pid}-${Date.now()}`;
  onTestFinished(async () => void (await run("rm", "--force", name)));
  const flags = ["--rm", "--interactive", "--tty", "--name", name];
  const env = ["--env=TERM=dumb", "--env=PS1=> "];
  const mount = `--volume=${fixtures}:/fixtures:ro`;
  const command = [engine ?? "", "run", ...flags, ...env, mount, blogImage, ...words];
  return startOnTerminal(command, process.env);
}

describe.skipIf(engine === null)("on a container's terminal", () => {
  test.each([
    ["supervise", ["/entrypoint", "supervise", "--"]],
    ["--mode supervise", ["/entrypoint", "--no-migrate", "--log-level=warn", "--mode=supervise"]],
    ["--mode exec", ["/entrypoint", "--no-migrate", "--log-level=warn", "--mode=exec"]],
  ])("a shell by %s has job control and the window's size", async (mode, start) => {
    const terminal = runOnTerminal(...start, "bash", "--norc", "--noprofile", "-i");
    // No complaint before the prompt.
    await terminal.shown(/^> $/);
    terminal.type("/fixtures/listener.pl INT WINCH\n");
    await terminal.shown(/leader: ready .* in the foreground\n/);
    terminal.type(ctrl.c);
    await terminal.shown(/leader: INT 1\n/);
    terminal.resize(33, 99);
    await terminal.shown(/leader: WINCH 1\n/);
    terminal.type(ctrl.z);
    await terminal.shown(/Stopped .*\n> $/);
    terminal.type("jobs; stty size; fg\n");
    await terminal.shown(/Stopped .*\n33 99\n.*listener.*\n/);
    terminal.type("line\n");
    await terminal.shown(/leader: got line\n/);
    terminal.type("kill\n");
    await terminal.shown(/leader: total INT=1 WINCH=1\n> $/);
    if (mode !== "--mode exec") {
      terminal.type('suspend; echo "code=$?."\n');
      await terminal.shown(/\ncode=0\.\n> $/);
    }
    terminal.type("exit 5\n");
    expect(await terminal.ended).toBe(5);
  });

  test("Ctrl-Z stops no application that nobody could resume, and Ctrl-C ends it", async () => {
    const terminal = runOnTerminal(
      "/entrypoint",
      "supervise",
      "--",
      "/fixtures/listener.pl",
      "CONT",
    );
    await terminal.shown(/leader: ready .* under 1 in the foreground\n/);
    for (const time of [1, 2]) {
      terminal.type(ctrl.z);
      await terminal.shown(new RegExp(`leader: CONT ${time}\n`));
      terminal.type(`line ${time}\n`);
      await terminal.shown(new RegExp(`leader: got line ${time}\n`));
    }
    terminal.type(ctrl.c);
    expect(await terminal.ended).toBe(130);
  });
});
