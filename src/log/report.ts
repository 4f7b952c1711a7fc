// The last line of a start that fails: what is wrong and how to cure it, in the log and where Kubernetes looks for it.

import type { Log } from "../context.ts";
import { exitCodes, Failure, Stopped } from "../failure.ts";
import { mapStack } from "../runtime/source-map.ts";
import { writeTerminationMessage } from "./log.ts";

/** Reports what has been thrown. Returns the exit code for it. */
export function reportFailure(log: Log, error: unknown): number {
  if (error instanceof Stopped) {
    log.warn({ event: "stopped", signal: error.signal }, `Stopped by ${error.signal}`);
    return error.exitCode;
  }
  if (!(error instanceof Failure)) return reportInternalError(log, error);
  const { code, message, hint, details } = error;
  log.error({ event: code, exitCode: exitCodes[code], hint, ...details }, message);
  writeTerminationMessage(`entrypoint: ${message}\n${hint ?? ""}\n`);
  return exitCodes[code];
}

/** Reports an error that is none of the user's, with its stack in the TypeScript source. */
export function reportInternalError(log: Log, error: unknown): number {
  if (error instanceof Error) error.stack = mapStack(error.stack ?? "");
  log.fatal({ event: "internal-error", err: error }, `Internal error: ${String(error)}`);
  writeTerminationMessage(`entrypoint: internal error: ${String(error)}\n`);
  return exitCodes["internal-error"];
}
