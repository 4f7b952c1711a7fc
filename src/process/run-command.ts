// The line of the shell script that does the work. Guarantees: a command leads a process group of
// its own, and is over only when no process of the group is alive; what does not end is killed, or after a success named in
// the log.

import type { Log, Signals, Words } from "../context.ts";
import { standardError, writeAll } from "../log/log.ts";
import { describeDuration } from "../log/words.ts";
import { afterKillMs, describeGroup, isGroupAlive, waitForGroup } from "./groups.ts";
import { startCommand, type LeaderEnd, type Place } from "./start-command.ts";

export type CommandEnd =
  | LeaderEnd
  | { readonly kind: "timed-out" }
  | { readonly kind: "lock-lost"; readonly reason: Error }
  /** By a signal to entrypoint, which was forwarded to it. */
  | { readonly kind: "stopped" };

/** From SIGTERM to SIGKILL, and from the leader's end to that of its group. */
const graceMs = 10_000;
/** A group that ends sooner after its leader is not worth a line of the log. */
const reportGroupMs = 1_000;

/**
 * Runs a command to its end; its output passes through. Throws Failure "not-found" or "not-executable" when it cannot be
 * started.
 *
 * The first signal is forwarded to the command's group, a second one kills the group. The time limit (`timeoutMs`, 0 for
 * none) and the loss of the lock send SIGTERM to it, and SIGKILL after a grace period.
 *
 * The end of the leader is not the end, since a member of its group may be the migration. After exit code 0 the group has
 * the grace period to end by itself, and is left running then: it may be a daemon that was started on purpose, a proxy for
 * the application. After any other end it gets SIGTERM, and SIGKILL after the grace period.
 */
export async function runCommand(
  words: Words,
  options: Place & {
    timeoutMs: number;
    signals: Signals;
    lockLost: AbortSignal | null;
    log: Log;
    /** Gets what the command writes to standard error as well, which then is a pipe for it. */
    watchErrors?: (bytes: Buffer) => void;
  },
): Promise<CommandEnd> {
  const { timeoutMs, signals, lockLost, log, watchErrors } = options;
  const [name] = words;
  const errors = watchErrors === undefined ? "inherit" : "pipe";
  const streams = ["inherit", "inherit", errors] as const;
  const command = await startCommand(words, options, streams, signals.stop);
  command.stderr?.on("data", (bytes: Buffer) => {
    watchErrors?.(bytes);
    writeAll(standardError, bytes);
  });

  let end = null as CommandEnd | null;
  const hasSucceeded = () => end?.kind === "exited" && end.code === 0;
  const sent = new Set<NodeJS.Signals>();
  const send = (signal: NodeJS.Signals) => {
    sent.add(signal);
    if (command.send(signal) !== "refused") return;
    const message = `Cannot send ${signal} to ${name}: it runs as another user`;
    log.warn({ event: "refused", signal }, message);
  };

  /** Aborted when there is nothing left to wait for. */
  const expired = new AbortController();
  let deadline: NodeJS.Timeout | undefined;
  const setDeadline = (ms: number, act: () => void) => {
    clearTimeout(deadline);
    deadline = setTimeout(act, ms);
  };
  const kill = () => {
    if (sent.has("SIGKILL")) return;
    send("SIGKILL");
    setDeadline(afterKillMs, () => expired.abort());
  };
  const startGrace = () => {
    if (sent.has("SIGKILL")) return;
    setDeadline(graceMs, () => {
      if (hasSucceeded()) return expired.abort();
      const reason = `${name} has not ended within ${describeDuration(graceMs)}`;
      log.warn({ event: "kill" }, `${reason}: sending SIGKILL to ${describeGroup(command.group)}`);
      kill();
    });
  };
  const terminate = (reason: CommandEnd) => {
    if (end !== null && !hasSucceeded()) return;
    end = reason;
    send("SIGTERM");
    startGrace();
  };

  let leaderEnded = false;
  let received = 0;
  const unsubscribe = signals.subscribe((signal) => {
    received++;
    const [forwarded, message] =
      received === 1
        ? [signal, `Received ${signal}: forwarding it to ${name}`]
        : ["SIGKILL", `Received ${signal}, the second signal: sending SIGKILL to ${name}`];
    log.warn({ event: "forwarded", signal, forwarded }, message);
    end = { kind: "stopped" };
    if (received > 1) return kill();
    send(signal);
    // No limit while the leader lives, since a rollback takes time: who stops a container sends SIGKILL after a limit.
    if (leaderEnded) startGrace();
  });
  const onLockLost = () => terminate({ kind: "lock-lost", reason: lockLost?.reason as Error });
  lockLost?.addEventListener("abort", onLockLost, { once: true });
  if (lockLost?.aborted === true) onLockLost();
  const limit = timeoutMs > 0 ? setTimeout(terminate, timeoutMs, { kind: "timed-out" }) : undefined;
  let groupReport: NodeJS.Timeout | undefined;

  try {
    const leader = await command.waitForLeader(expired.signal);
    clearTimeout(limit);
    leaderEnded = leader !== null;
    end ??= leader;
    if (isGroupAlive(command.group)) {
      // What a shell starts with & ignores SIGINT and SIGQUIT.
      if (!hasSucceeded() && !sent.has("SIGTERM")) send("SIGTERM");
      if (deadline === undefined) startGrace();
      groupReport = setTimeout(() => {
        const message = `${name} has ended, waiting for the rest of its process group`;
        log.info({ event: "leader-ended" }, `${message}: ${describeGroup(command.group)}`);
      }, reportGroupMs);
      const over = await waitForGroup(command.group, expired.signal);
      if (!over) reportRest(log, name, command.group, hasSucceeded());
    }
    if (leader !== null) await command.finish();
    if (end === null) throw new Error("a command has ended for no reason");
    return end;
  } finally {
    for (const timer of [limit, deadline, groupReport]) clearTimeout(timer);
    lockLost?.removeEventListener("abort", onLockLost);
    unsubscribe();
    await command.release();
  }
}

function reportRest(log: Log, name: string, group: number, succeeded: boolean): void {
  const [message, hint] = succeeded
    ? [
        `${name} has succeeded and left running`,
        "end them in the command, or start them with setsid",
      ]
    : [`Cannot end what ${name} has started`, undefined];
  log.warn({ event: "left-running", hint }, `${message}: ${describeGroup(group)}`);
}
