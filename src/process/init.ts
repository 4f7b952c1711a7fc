// What an init does, through libc: a child in a process group of our session, with the terminal where there is one, and
// every orphan reaped, as PID 1 or as a subreaper. libuv knows nothing of these children, so waiting for any child
// steals nothing from it; and nothing else here may start a child through child_process while this is at work.

import { getSystemErrorName } from "node:util";

import { describeError, restoreBytes } from "./exec.ts";
import type { Libc } from "./libc.ts";
import type { Children } from "./children.ts";
import { findTerminal } from "./terminal.ts";

/** linux/prctl.h */
const PR_SET_CHILD_SUBREAPER = 36;

export function createInit(libc: Libc): Children {
  let receive: (pid: number, code: number) => void = () => {};
  let settled = () => {};
  let leader = 0;
  let childrenLeft = false;
  const terminal = findTerminal(libc);

  return {
    watch(...listeners) {
      [receive, settled] = listeners;
      // PID 1 gets the orphans of its namespace anyway.
      if (process.pid !== 1) libc.prctl(PR_SET_CHILD_SUBREAPER, 1);
      process.on("SIGCHLD", reap);
      // What the boot has left behind: nobody tells of it any more.
      reap();
    },
    async start(program, argv, env, { descriptors, undecodable }) {
      const [shell] = program.shell;
      const words = shell === undefined ? argv : [...program.shell, program.file, ...argv.slice(1)];
      const started = libc.spawn(
        Buffer.from(shell ?? program.file),
        words.map((word) => restoreBytes(word, undecodable)),
        Object.entries(env)
          .filter(([, value]) => value !== undefined)
          .map(([name, value]) => restoreBytes(`${name}=${value}`, undecodable)),
        { descriptors: [0, 1, 2, ...descriptors], terminal: terminal?.foregroundOf ?? null },
      );
      if ("errno" in started) throw describeError(program, getSystemErrorName(-started.errno));
      leader = started.pid;
      terminal?.started(leader);
      childrenLeft = true;
      return leader;
    },
    // Where there are no children there are no descendants either: we adopt each one that loses its parent.
    descendantsLeft: () => childrenLeft,
    continued: () => terminal?.continued() ?? false,
    end: () => terminal?.end(),
  };

  /** Signals coalesce: one SIGCHLD may stand for any number of children. */
  function reap(): void {
    for (;;) {
      const next = libc.waitForAny();
      if (next === "running" || next === "none") {
        childrenLeft = next === "running";
        return settled();
      }
      const { pid, status } = next;
      if ((status & 0xff) !== 0x7f) receive(pid, readStatus(status));
      else if (pid === leader) terminal?.stopped(status >> 8);
    }
  }
}

/** wait(2)'s status of a child that has ended, as a shell tells it: its exit code, or 128+n. */
function readStatus(status: number): number {
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}
