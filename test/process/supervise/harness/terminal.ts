// A terminal with a program on it, for tests: what is typed, what is shown, how it ends. Tests wait for what is shown,
// never for a time.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

import { onTestFailed, onTestFinished } from "vitest";

import { watchOutput } from "../../../harness/output.ts";
import { plainEnvironment, python } from "../../harness/entrypoint.ts";

const fixture = join(import.meta.dirname, "../fixtures/terminal.py");

export interface TestTerminal {
  type(text: string): void;
  resize(rows: number, columns: number): void;
  /** As when the window is closed. */
  hangUp(): void;
  /**
   * The first match in what has been shown since the last match, now or later; rejects when the program ends without
   * one.
   */
  shown(pattern: RegExp): Promise<RegExpExecArray>;
  /** All that has been shown so far. */
  screen(): string;
  /** The exit code, 128+n for signal n. */
  ended: Promise<number>;
}

/** Starts the command as the leader of a session on a terminal; whoever is left of it when the test ends is killed. */
export function startOnTerminal(
  words: readonly string[],
  env: Record<string, string | undefined> = {},
): TestTerminal {
  const driver = spawn(python, [fixture, ...words], {
    env: plainEnvironment({
      TERM: "dumb",
      HISTFILE: "",
      PS1: "> ",
      // As a person reads it.
      ENTRYPOINT_LOG_FORMAT: undefined,
      ...env,
    }),
    stdio: ["pipe", "pipe", "inherit"],
  });
  // It may have ended before what is typed reaches it.
  driver.stdin.on("error", () => {});
  let screen = "";
  let seen = 0;
  driver.stdout.on("data", (chunk: Buffer) => {
    screen += chunk.toString().replaceAll("\r", "");
    more();
  });
  const ended = once(driver, "close").then(([code]: unknown[]) => code as number);
  const { more, until } = watchOutput(
    () => ended,
    () => screen,
  );
  onTestFinished(async () => {
    driver.stdin.end();
    await ended;
  });
  onTestFailed(() => console.log(`The terminal showed:\n${screen}`));
  const act = (what: unknown): void => void driver.stdin.write(`${JSON.stringify(what)}\n`);
  return {
    type: (text) => act({ type: text }),
    resize: (rows, columns) => act({ resize: [rows, columns] }),
    hangUp: () => act({ hangUp: true }),
    shown: (pattern) =>
      until(() => {
        const match = pattern.exec(screen.slice(seen));
        if (match === null) return undefined;
        seen += match.index + match[0].length;
        return match;
      }, String(pattern)),
    screen: () => screen,
    ended,
  };
}

/** A word for a shell. */
export function quote(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}
