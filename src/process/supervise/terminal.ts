// A shell's job control, for the one job that is the application: its group is in the foreground in place of entrypoint's, so
// that the kernel sends Ctrl-C, Ctrl-Z and window changes to it alone. When it stops, entrypoint returns the terminal and
// stops as well, and the shell that started entrypoint sees a stopped job. Each side finds the terminal as it left it.
//
// Left out on purpose: stopped members whose leader runs (the kernel notifies their parent, not entrypoint); and a PID
// namespace that shares a session with the outside (`unshare --pid` without setsid), in which the groups outside have no
// numbers: entrypoint takes itself for the foreground there, and cannot return the terminal to them.

import { closeSync, constants as files, fstatSync, openSync, readFileSync } from "node:fs";
import { constants } from "node:os";

import { isGroupAlive, listDescendants, sendSignal } from "../groups.ts";
import type { Libc } from "../libc.ts";

const { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU } = constants.signals;

/** The kernel chooses the thread that handles a signal; on a busy machine that may run later than this one. */
const handledMs = 50;

export interface Terminal {
  /**
   * The terminal in whose foreground a spawn puts its child; null where the child stays in the background until it uses
   * the terminal.
   */
  readonly foregroundOf: number | null;
  /** To be called when the application has been started. */
  started(leader: number): void;
  /** To be called when that signal has stopped the application's leader. */
  stopped(signal: number): void;
  /** To be called at a SIGCONT. Returns whether it has resumed the application, so that the signal is not forwarded. */
  continued(): boolean;
  /** To be called when the application has ended: leaves the terminal as it was found. */
  end(): void;
}

/** The controlling terminal, whatever 0, 1 and 2 are; null without one. */
export function findTerminal(libc: Libc): Terminal | null {
  const descriptor = openTerminal(libc);
  if (descriptor === null) return null;
  const ownGroup = libc.getGroup(0);
  let leader = 0;
  /** The states in which the two sides left it. */
  let found = libc.getTerminalState(descriptor);
  let left: Uint8Array | null = null;
  let suspendedBy: number | null = null;
  let timer: NodeJS.Timeout | undefined;

  const foreground = (): number => libc.getForegroundGroup(descriptor);
  const startsInForeground = foreground() === ownGroup && !isInPipeline();
  /** Whether the application has it, and has not been stopped since. */
  let given = startsInForeground;

  /** Only where entrypoint's group is in the foreground. */
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
    libc.setForegroundGroup(descriptor, ownGroup);
    if (found !== null) libc.setTerminalState(descriptor, found);
  };
  const resume = (): void => {
    if (foreground() === ownGroup) give();
    sendSignal(-leader, "SIGCONT");
  };

  return {
    foregroundOf: startsInForeground ? descriptor : null,
    started(pid) {
      leader = pid;
      // Not every spawn can do it. A child that has read meanwhile has stopped, and `stopped` handles it.
      if (given && foreground() === ownGroup) libc.setForegroundGroup(descriptor, leader);
    },
    stopped(signal) {
      const wantsTerminal = signal === SIGTTIN || signal === SIGTTOU;
      if (wantsTerminal && [ownGroup, leader].includes(foreground())) return resume();
      if (process.pid === 1) {
        // Nobody could resume PID 1, and a signal from its own container does not stop it, not even SIGSTOP.
        take();
        if (wantsTerminal) give();
        return resume();
      }
      take();
      suspendedBy = signal;
      libc.stopGroup(wantsTerminal ? signal : SIGTSTP);
      // Resumed by a SIGCONT, which `continued` handles; or the kernel has refused to stop an orphaned group. What was due
      // during a stop comes before that SIGCONT is handled, so that it only starts the wait.
      clearTimeout(timer);
      timer = setTimeout(() => (timer = setTimeout(refuse, handledMs)), handledMs);
    },
    continued() {
      if (suspendedBy !== null) {
        // A shell's `kill` sends SIGTERM with it. The application has to receive that first, as it would alone: once resumed, it
        // may stop at once for reading in the background.
        clearTimeout(timer);
        timer = setTimeout(() => {
          suspendedBy = null;
          resume();
        }, handledMs);
        return true;
      }
      // After a SIGSTOP from outside the shell took the terminal, and now it has put this group into the foreground.
      if (given && foreground() === ownGroup) give();
      return false;
    },
    end() {
      clearTimeout(timer);
      take();
    },
  };

  /** Entrypoint was not stopped: resumes the application, unless it would only try to use the terminal again. */
  function refuse(): void {
    if (suspendedBy === null) return;
    const signal = suspendedBy;
    suspendedBy = null;
    if (foreground() === ownGroup) give();
    else if (signal !== SIGTSTP) return;
    if (signal !== SIGSTOP) sendSignal(-leader, "SIGCONT");
  }

  /** The application's group, that of a job of its shell, or one without members. */
  function isOfApplication(group: number): boolean {
    if (group === ownGroup || group <= 0) return false;
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

/** Whether entrypoint's own group is in the foreground of its controlling terminal. Without /proc, false. */
export function isInForeground(): boolean {
  try {
    const text = readFileSync("/proc/self/stat", "latin1");
    // proc(5): after the name come state, parent, group, session, terminal, and the terminal's foreground group.
    const [, , group, , , foreground] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return group === foreground;
  } catch {
    return false;
  }
}

/** `entrypoint supervise -- app | less`: other members of the group use the terminal, and the application mostly does not. */
function isInPipeline(): boolean {
  return [0, 1].some((fd) => fstatSync(fd).isFIFO());
}
