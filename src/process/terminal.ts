// What a shell does with the terminal for its jobs, done for the one group that is the application: it is in the foreground
// where we would be, so that the kernel sends it Ctrl-C, Ctrl-Z and window changes, and us none; when it stops we give
// the terminal back and stop as well, and the shell that started us sees a stopped job. Each side finds the terminal in
// the state in which it left it.
//
// Left out on purpose: stopped members whose leader runs (their parent is told, and we are not); and a PID namespace that
// shares a session with the outside (`unshare --pid` without setsid), in which the groups outside have no numbers: there
// we take ourselves for the foreground, and cannot give the terminal back to them by name.

import { closeSync, constants as files, fstatSync, openSync } from "node:fs";
import { constants } from "node:os";

import { isGroupAlive, listDescendants, sendSignal } from "./children.ts";
import type { Libc } from "./libc.ts";

const { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU } = constants.signals;

/** The kernel picks the thread that handles a SIGCONT, and on a busy machine that one may run later than ours does. */
const continueMs = 50;

export interface Terminal {
  /**
   * What a spawn puts its child in the foreground of; null where the child is to be in the background until it
   * asks for the terminal.
   */
  readonly foregroundOf: number | null;
  /** The application has been started. */
  started(leader: number): void;
  /** The application's leader has been stopped by that signal. */
  stopped(signal: number): void;
  /** A SIGCONT has come to us; whether it has resumed the application, and needs no passing on. */
  continued(): boolean;
  /** The application has ended: leaves the terminal as it was found. */
  end(): void;
}

/** Our controlling terminal, whatever 0, 1 and 2 are; null without one. */
export function findTerminal(libc: Libc): Terminal | null {
  const descriptor = openTerminal(libc);
  if (descriptor === null) return null;
  const ours = libc.getGroup(0);
  let leader = 0;
  /** The states that the two sides left it in. */
  let found = libc.getTerminalState(descriptor);
  let left: Uint8Array | null = null;
  let suspendedBy: number | null = null;
  let refusal: NodeJS.Timeout | undefined;

  const foreground = (): number => libc.getForegroundGroup(descriptor);
  const startsInForeground = foreground() === ours && !isInPipeline();
  /** Handed to the application, and not taken back since. */
  let given = startsInForeground;

  /** Where the terminal is at our group. */
  const give = (): void => {
    found = libc.getTerminalState(descriptor);
    if (left !== null) libc.setTerminalState(descriptor, left);
    left = null;
    libc.setForegroundGroup(descriptor, leader);
    given = true;
  };
  const take = (): void => {
    if (!given || !isOfApplication(foreground())) return;
    given = false;
    left = libc.getTerminalState(descriptor);
    libc.setForegroundGroup(descriptor, ours);
    if (found !== null) libc.setTerminalState(descriptor, found);
  };
  const resume = (): void => {
    if (foreground() === ours) give();
    sendSignal(-leader, "SIGCONT");
  };

  return {
    foregroundOf: startsInForeground ? descriptor : null,
    started(pid) {
      leader = pid;
      // The spawn cannot do it everywhere; a child that has read meanwhile is stopped, and comes to `stopped`.
      if (given && foreground() === ours) libc.setForegroundGroup(descriptor, leader);
    },
    stopped(signal) {
      const wantsTerminal = signal === SIGTTIN || signal === SIGTTOU;
      if (wantsTerminal && [ours, leader].includes(foreground())) return resume();
      if (process.pid === 1) {
        // Nobody could resume us; and what PID 1 is sent from its own container, a SIGSTOP too, stops it as little.
        take();
        if (wantsTerminal) give();
        return resume();
      }
      take();
      suspendedBy = signal;
      libc.stopGroup(wantsTerminal ? signal : SIGTSTP);
      // Back again: by a SIGCONT, which comes to `continued`; or the kernel has refused to stop a group that nobody could
      // resume.
      clearTimeout(refusal);
      refusal = setTimeout(refuse, continueMs);
    },
    continued() {
      if (suspendedBy !== null) {
        suspendedBy = null;
        resume();
        return true;
      }
      // A STOP from outside let the shell take the terminal, and now it has put us into the foreground.
      if (given && foreground() === ours) give();
      return false;
    },
    end() {
      take();
      // Node would set the state that it found at its start, no matter who has the terminal by now.
      process.once("exit", (code) => libc.exitAtOnce(code));
    },
  };

  /** We have not been stopped: the application goes on, unless it could only ask for the terminal again. */
  function refuse(): void {
    if (suspendedBy === null) return;
    const signal = suspendedBy;
    suspendedBy = null;
    if (foreground() === ours) give();
    else if (signal !== SIGTSTP) return;
    if (signal !== SIGSTOP) sendSignal(-leader, "SIGCONT");
  }

  /** The application's, that of a job of its shell, or one that has died out. */
  function isOfApplication(group: number): boolean {
    if (group === ours || group <= 0) return false;
    if (group === leader || !isGroupAlive(group)) return true;
    return listDescendants().some((one) => one.group === group);
  }
}

function openTerminal(libc: Libc): number | null {
  const standard = [0, 1, 2].find((fd) => libc.getForegroundGroup(fd) !== -1);
  if (standard !== undefined) return standard;
  try {
    const opened = openSync("/dev/tty", files.O_RDWR | files.O_NOCTTY);
    if (libc.getForegroundGroup(opened) !== -1) return opened;
    closeSync(opened);
  } catch {
    // There is none.
  }
  return null;
}

/** `entrypoint supervise -- app | less`: others of our group use the terminal, and the application mostly does not. */
function isInPipeline(): boolean {
  return [0, 1].some((fd) => fstatSync(fd).isFIFO());
}
