// The processes of a replica, as /proc has them.

import { readdirSync, readFileSync } from "node:fs";
import { parseStat, type Process } from "../../../src/process/groups.ts";

function listProcesses(): Process[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
      } catch {
        return [];
      }
    })
    .filter(({ zombie }) => !zombie);
}

/** All that descend from the process and are alive, from the top down. */
export function listDescendants(pid: number): Process[] {
  const all = listProcesses();
  const found = all.filter(({ parent }) => parent === pid);
  // The list grows during the loop.
  for (const one of found) found.push(...all.filter(({ parent }) => parent === one.pid));
  return found;
}

/** Those whose environment holds the text. */
export function findByEnvironment(text: string): Process[] {
  return listProcesses().filter(({ pid }) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "latin1").includes(text);
    } catch {
      return false;
    }
  });
}

export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}
