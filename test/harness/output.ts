// What a program under test prints, as it comes: its lines, and waiting for something to be among them. Both kinds of
// tests that run entrypoint read it through this.

import { EventEmitter, once } from "node:events";

/** One of entrypoint's own lines. */
export interface LogLine {
  level: string;
  event: string;
  msg: string;
  [detail: string]: unknown;
}

/** entrypoint's own lines among `text`, which may hold others; the last one counts when it is whole. */
export function readLines(text: string): LogLine[] {
  return text
    .split(/\r?\n/)
    .slice(0, -1)
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as LogLine);
}

export interface Output {
  /** To be called whenever there is more to look at. */
  readonly more: () => void;
  /**
   * The first answer of `look` that is not undefined, now or when there is more; rejects once `ended` has resolved and
   * there is still none.
   * @param what names it in the error.
   */
  readonly until: <T>(look: () => T | undefined, what: string) => Promise<T>;
}

/**
 * @param ended resolves when nothing more will come.
 * @param show what to print with an error.
 */
export function watchOutput(ended: () => Promise<unknown>, show: () => string): Output {
  const printing = new EventEmitter().setMaxListeners(0);
  return {
    more: () => void printing.emit("more"),
    async until(look, what) {
      for (;;) {
        const found = look();
        if (found !== undefined) return found;
        const more = once(printing, "more").then(() => true);
        if (await Promise.race([more, ended().then(() => false)])) continue;
        const last = look();
        if (last !== undefined) return last;
        throw new Error(`it ended before ${what}:\n${show()}`);
      }
    },
  };
}
