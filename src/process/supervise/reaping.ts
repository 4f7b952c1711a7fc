// What an init does: the application as the leader of a process group of entrypoint's session, in the terminal's foreground,
// and every orphan reaped, as PID 1 or as a subreaper. It is not started through execa, which would start a new session, and
// whose libuv reaps its own children alone. Nothing else may start a child through libuv while waitpid(-1) is used here.

import { closeSync } from "node:fs";
import { getSystemErrorName } from "node:util";

import { describeError, restoreBytes } from "../become/exec.ts";
import type { Libc } from "../libc.ts";
import type { Children } from "./children.ts";
import { findTerminal } from "./terminal.ts";

/** linux/prctl.h */
const PR_SET_CHILD_SUBREAPER = 36;

export function createReapingChildren(libc: Libc): Children {
  let ended: (pid: number, code: number) => void = () => {};
  let settled = () => {};
  let leader = 0;
  let hasChildren = false;
  const terminal = findTerminal(libc);

  return {
    watch(...listeners) {
      [ended, settled] = listeners;
      // PID 1 adopts the orphans of its namespace anyway.
      if (process.pid !== 1) libc.prctl(PR_SET_CHILD_SUBREAPER, 1);
      process.on("SIGCHLD", reap);
      // Those that ended before the handler was installed.
      reap();
    },
    async start(program, argv, env, { descriptors, undecodable }) {
      const [shell] = program.shell;
      const words = shell === undefined ? argv : [...program.shell, program.file, ...argv.slice(1)];
      const directory = libc.leaveDirectory();
      const started = libc.spawn(
        Buffer.from(shell ?? program.file),
        words.map((word) => restoreBytes(word, undecodable)),
        Object.entries(env)
          .filter(([, value]) => value !== undefined)
          .map(([name, value]) => restoreBytes(`${name}=${value}`, undecodable)),
        {
          descriptors: [0, 1, 2, ...descriptors],
          directory,
          terminal: terminal?.foregroundOf ?? null,
        },
      );
      if (directory !== null) closeSync(directory);
      if ("errno" in started) throw describeError(program, getSystemErrorName(-started.errno));
      leader = started.pid;
      terminal?.started(leader);
      hasChildren = true;
      return leader;
    },
    // Without children there are no descendants: this process adopts each one that loses its parent.
    hasDescendants: () => hasChildren,
    continued: () => terminal?.continued() ?? false,
    end() {
      terminal?.end();
      // Node would take some milliseconds to free what the kernel frees anyway, and restore the state that it found the
      // terminal in at its start, whoever has it now.
      process.once("exit", (code) => libc.exitAtOnce(code));
    },
  };

  /** Signals coalesce: one SIGCHLD may mean several children. */
  function reap(): void {
    for (;;) {
      const next = libc.waitForAny();
      if (next === "running" || next === "none") {
        hasChildren = next === "running";
        return settled();
      }
      const { pid, status } = next;
      if ((status & 0xff) !== 0x7f) ended(pid, readStatus(status));
      else if (pid === leader) terminal?.stopped(status >> 8);
    }
  }
}

/** wait(2)'s status of a child that has ended, as a shell reports it: its exit code, or 128+n. */
function readStatus(status: number): number {
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}
