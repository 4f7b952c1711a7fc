// What the shell script said with `exit 1`, said exactly: each class of failure has a name and a
// number of its own. README's table is held against this one by a test.

import { constants } from "node:os";

/** The exit code for each class of failure; two of them share the 1 of any command. 64 to 78 are those of BSD's sysexits. */
export const exitCodes = {
  "migration-failed": 1,
  "backfill-failed": 1,
  pending: 3,
  "bad-settings": 64,
  "unsafe-migration": 65,
  "service-unavailable": 68,
  "database-unavailable": 69,
  "internal-error": 70,
  "cannot-write": 73,
  "lock-timeout": 75,
  ahead: 80,
  unstamped: 81,
  overlapping: 82,
  "multiple-heads": 83,
  "not-at-head": 84,
  "lock-lost": 85,
  "cannot-tell": 86,
  broken: 87,
  "migration-timeout": 124,
  "not-executable": 126,
  "not-found": 127,
} as const;

export type FailureCode = keyof typeof exitCodes;

/**
 * A failure that is the user's to act on: its message alone is printed, never a stack.
 * Messages start with "cannot" or name the thing that is wrong; `hint` is the cure, one sentence.
 */
export class Failure extends Error {
  readonly code: FailureCode;
  readonly hint: string | undefined;
  /** Facts for the log line: ids, pids, exit codes. Never a password. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: FailureCode,
    message: string,
    options: { hint?: string; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = "Failure";
    this.code = code;
    this.hint = options.hint;
    this.details = options.details ?? {};
  }

  /** The same failure with another message, code or cure; `details` are added to its own. */
  with(other: {
    code?: FailureCode;
    message?: string;
    hint?: string;
    details?: Record<string, unknown>;
  }): Failure {
    const hint = other.hint ?? this.hint;
    return new Failure(other.code ?? this.code, other.message ?? this.message, {
      ...(hint === undefined ? {} : { hint }),
      cause: this.cause,
      details: { ...this.details, ...other.details },
    });
  }
}

/** The boot was told to stop by a signal before the app was started. */
export class Stopped extends Error {
  readonly signal: NodeJS.Signals;
  /** 128 + n, as a shell reports a child that died of signal n. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
    this.name = "Stopped";
    this.signal = signal;
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** The migration tool could not be asked, or has not answered. Every start loads this file: so the class exists once. */
export class NoAnswer extends Error {
  readonly cure: string;

  constructor(
    message: string,
    cure = "see that the application is installed and has the variables that it reads at import",
  ) {
    super(message);
    this.cure = cure;
  }
}
