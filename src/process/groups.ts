// `kill -TERM -$pid`: process groups, by which a signal reaches a command and all that it has started. Guarantees: a zombie
// is not alive; a process that may not be signalled, since it runs as another user, is.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { signalNumber, type SignalName } from "./signal-table.ts";

/** SIGKILL is certain, but not instant; in milliseconds. */
export const afterKillMs = 1_000;

/** "gone": there is no such process. "refused": it runs as another user. */
export type Delivery = "sent" | "gone" | "refused";

/** Sends a signal to a process, or to the group of a negative number. */
export function sendSignal(pid: number, signal: SignalName): Delivery {
  return kill(pid, signalNumber(signal));
}

export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  /** Its program, cut to 15 characters by the kernel. */
  readonly name: string;
  /** Ended, and not reaped. */
  readonly zombie: boolean;
}

/** Whether a member of the group is alive. */
export function isGroupAlive(group: number): boolean {
  // kill(2) counts zombies too, and their parent may never reap them.
  if (kill(-group, 0) === "gone") return false;
  const list = () => listProcesses().filter((one) => one.group === group);
  const members = list();
  // Without /proc, or where it hides the processes of other users (hidepid), kill(2) alone knows.
  if (members.length === 0) return kill(-group, 0) !== "gone";
  if (members.some(({ zombie }) => !zombie)) return true;
  // A listing takes time: who has ended meanwhile may have started another one, which that listing lacks.
  const ended = new Set(members.map(({ pid }) => pid));
  return list().some(({ pid, zombie }) => !zombie || !ended.has(pid));
}

/** Resolves when no member of the group is alive: to true; or to false once `stop` is aborted. */
export async function waitForGroup(group: number, stop: AbortSignal): Promise<boolean> {
  // The members need not be children of this process, and then nothing reports their end.
  for (let delayMs = 5; isGroupAlive(group); delayMs = Math.min(2 * delayMs, 200)) {
    if (stop.aborted) return false;
    await sleep(delayMs, undefined, { signal: stop }).catch(() => undefined);
  }
  return true;
}

/** `sh (pid 12), python (pid 13)`: the members of the group that are alive. */
export function describeGroup(group: number): string {
  const members = listProcesses().filter((one) => one.group === group && !one.zombie);
  if (members.length === 0) return `group ${group}`;
  return members.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
}

/** All that descend from this process and are alive. */
export function listDescendants(): Process[] {
  const all = listProcesses().filter(({ zombie }) => !zombie);
  const found = all.filter(({ parent }) => parent === process.pid);
  // The list grows during the loop.
  for (const { pid } of found) found.push(...all.filter(({ parent }) => parent === pid));
  return found;
}

/** All processes that /proc shows; none without it, or where it is that of another PID namespace. */
function listProcesses(): Process[] {
  if (readOwnPid() !== process.pid) return [];
  return readNames("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
      } catch {
        return []; // It has ended meanwhile.
      }
    });
}

/** This process's number in the PID namespace that /proc shows. */
function readOwnPid(): number | null {
  try {
    return Number(readlinkSync("/proc/self"));
  } catch {
    return null;
  }
}

/** The text of /proc/PID/stat (proc(5)): `12 (name) S 1 12 …` with state, parent and group after the name. */
export function parseStat(text: string): Process {
  // The name may contain anything, parentheses too.
  const [start, end] = [text.indexOf("("), text.lastIndexOf(")")];
  const [state = "", parent, group] = text.slice(end + 2).split(" ");
  return {
    pid: Number.parseInt(text, 10),
    parent: Number(parent),
    group: Number(group),
    name: text.slice(start + 1, end),
    zombie: "ZX".includes(state),
  };
}

function readNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function kill(pid: number, signal: number): Delivery {
  try {
    process.kill(pid, signal);
    return "sent";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ESRCH") return "gone";
    if (code === "EPERM") return "refused";
    throw error;
  }
}
