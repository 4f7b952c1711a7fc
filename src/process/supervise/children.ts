// The interface of supervise.ts to child processes: reaping.ts implements it as an init does, plain-child.ts as far as Node
// alone can.

import type { Environment } from "../../runtime/environment.ts";
import type { Program } from "../become/find-program.ts";
import type { Inheritance } from "../become/inheritance.ts";

export interface Children {
  /**
   * From now on calls `ended` for each child that ends, an adopted one too, with its exit code or 128+n, and `settled`
   * after each batch of them.
   */
  watch(ended: (pid: number, code: number) => void, settled: () => void): void;
  /**
   * Starts the application as the leader of a process group, with entrypoint's standard descriptors and the inherited
   * ones.
   * @returns its pid.
   * @throws {Failure} "not-found" (127) or "not-executable" (126), where it cannot be started.
   */
  start(
    program: Program,
    argv: readonly string[],
    env: Environment,
    inheritance: Inheritance,
  ): Promise<number>;
  /** Whether a descendant of this process is alive. */
  hasDescendants(): boolean;
  /** To be called at a SIGCONT. Returns whether it has resumed the application, so that the signal is not forwarded. */
  continued(): boolean;
  /** To be called when all have ended, right before this process exits: restores the terminal. */
  end(): void;
}
