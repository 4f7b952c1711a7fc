// What supervise.ts needs of children, however they are started: init.ts does it as an init should, plain-child.ts as far
// as Node alone can.

import { readdirSync, readFileSync } from "node:fs";

import type { Environment } from "../environment.ts";
import type { Program } from "./find-program.ts";
import type { Inheritance } from "./inheritance.ts";
import { signalNumber, type SignalName } from "./signal-table.ts";

export interface Children {
  /**
   * Calls back for each child that has ended from now on, an adopted one too, with its exit code or 128+n, and after
   * each batch of them.
   */
  watch(receive: (pid: number, code: number) => void, settled: () => void): void;
  /**
   * Starts the application as the leader of a process group, on our own standard descriptors and the inherited ones.
   * @returns its pid.
   * @throws {Failure} "not-found" (127) or "not-executable" (126), where it cannot be started.
   */
  start(
    program: Program,
    argv: readonly string[],
    env: Environment,
    inheritance: Inheritance,
  ): Promise<number>;
  /** Whether anybody is left of all that descends from us. */
  descendantsLeft(): boolean;
  /** A SIGCONT has come to us; whether it has resumed the application, and needs no passing on. */
  continued(): boolean;
  /** Gives back what was taken, once all is over. */
  end(): void;
}

/** Sends a signal to a process, or to the group of a negative number; "gone" where nobody is there to get it. */
export function sendSignal(pid: number, signal: SignalName): "sent" | "gone" | "refused" {
  return kill(pid, signalNumber(signal));
}

/** Whether anybody in the group is alive. */
export function isGroupAlive(group: number): boolean {
  // A zombie counts for kill(2), and its parent may never reap it.
  return kill(-group, 0) !== "gone" && listProcesses().some((one) => one.group === group);
}

export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
}

/** All that descend from us and are alive. */
export function listDescendants(): Process[] {
  const all = listProcesses();
  const found = all.filter(({ parent }) => parent === process.pid);
  // It grows while it is walked through.
  for (const { pid } of found) found.push(...all.filter(({ parent }) => parent === pid));
  return found;
}

/** All processes that are alive, as /proc shows them. */
function listProcesses(): Process[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      // After the name, which may hold anything: state, parent, group.
      const [state = "", parent, group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if ("ZX".includes(state)) return [];
      return [{ pid: Number(pid), parent: Number(parent), group: Number(group) }];
    } catch {
      return []; // It has ended meanwhile.
    }
  });
}

function kill(pid: number, signal: number): "sent" | "gone" | "refused" {
  try {
    process.kill(pid, signal);
    return "sent";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ESRCH") return "gone";
    // It has become another user: there, and not for us to signal.
    if (code === "EPERM") return "refused";
    throw error;
  }
}
