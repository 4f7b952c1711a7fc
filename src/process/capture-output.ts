// `$(…)` of the shell script: a command that changes nothing, run for its output. Guarantees: when this resolves or rejects,
// nothing of the command is left, since there is nothing that it would have to roll back.

import type { Readable } from "node:stream";

import type { Words } from "../context.ts";
import { afterKillMs, waitForGroup } from "./groups.ts";
import { startCommand, type Place } from "./start-command.ts";

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
  readonly end: "succeeded" | "failed" | "timed-out";
}

/** Of either stream. A command that writes more has failed. */
const maxBytes = 2 ** 28;

/**
 * Runs a command without input, and kills its group when its leader has ended, when the time limit is over, and in the
 * moment in which `stop` is aborted, whose reason is then thrown. Throws Failure "not-found" or "not-executable" where it
 * cannot be started.
 */
export async function captureOutput(
  words: Words,
  { stop, timeoutMs, ...place }: Place & { readonly stop: AbortSignal; readonly timeoutMs: number },
): Promise<Output> {
  const command = await startCommand(words, place, ["ignore", "pipe", "pipe"], stop);
  /** Aborted when there is nothing left to wait for. */
  const expired = new AbortController();
  let expiry: NodeJS.Timeout | undefined;
  let end: Output["end"] | null = null;
  const kill = () => {
    command.send("SIGKILL");
    expiry ??= setTimeout(() => expired.abort(), afterKillMs);
  };
  const fail = (reason: "failed" | "timed-out") => {
    end ??= reason;
    kill();
  };
  const overflow = () => fail("failed");
  const stdout = collect(command.stdout, overflow);
  const stderr = collect(command.stderr, overflow);
  const limit = setTimeout(fail, timeoutMs, "timed-out");
  stop.addEventListener("abort", kill, { once: true });
  if (stop.aborted) kill();
  try {
    const leader = await command.waitForLeader(expired.signal);
    clearTimeout(limit);
    end ??= leader?.kind === "exited" && leader.code === 0 ? "succeeded" : "failed";
    kill();
    await waitForGroup(command.group, expired.signal);
    // Without a leader's end SIGKILL had no effect: it runs as another user.
    if (leader !== null && !stop.aborted) await command.finish();
    stop.throwIfAborted();
    return { stdout: stdout(), stderr: stderr(), end };
  } finally {
    for (const timer of [limit, expiry]) clearTimeout(timer);
    stop.removeEventListener("abort", kill);
    await command.release();
  }
}

/** Reads a stream; returns what has come so far as text. */
function collect(stream: Readable | null, overflow: () => void): () => string {
  const chunks: Buffer[] = [];
  let length = 0;
  stream?.on("data", (chunk: Buffer) => {
    length += chunk.length;
    if (length > maxBytes) return overflow();
    chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString();
}
