// `echo`: one line of text on standard error, or one JSON object, or coloured lines on a terminal. It writes synchronously to
// the descriptor, since process.stderr would make a pipe non-blocking, and the application inherits that.

import { closeSync, constants, openSync, statSync, writeSync } from "node:fs";
import { isatty } from "node:tty";
import type { Log, LogLevel } from "../context.ts";
import type { Environment } from "../runtime/environment.ts";
import { mask, maskJson } from "./mask.ts";
import { formatPretty, formatText } from "./text.ts";

export const logFormats = ["json", "text", "pretty", "auto"] as const;
export type LogFormat = (typeof logFormats)[number];

/** In ascending order. */
export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

export const standardError = 2;

/** The log without pino. Every line has `time`, `level`, `event` and `msg`. */
export function createLog(format: LogFormat, level: LogLevel): Log {
  const write = openOutput(format);
  const lowest = logLevels.indexOf(level);
  const writer = (own: keyof Log): Log["info"] => {
    if (logLevels.indexOf(own) < lowest) return () => undefined;
    return (details, msg) => {
      const line = { level: own, time: new Date().toISOString(), ...details, msg };
      write(`${JSON.stringify(line, serializeError)}\n`);
    };
  };
  return {
    trace: writer("trace"),
    debug: writer("debug"),
    info: writer("info"),
    warn: writer("warn"),
    error: writer("error"),
    fatal: writer("fatal"),
  };
}

/** Returns a function that writes a line of JSON, as it is or as text. */
export function openOutput(format: LogFormat): (line: string) => void {
  const terminal = isatty(standardError);
  const form = format === "auto" ? (terminal ? "pretty" : "text") : format;
  const convert = {
    json: (line: string) => line,
    text: formatText,
    pretty: (line: string) => formatPretty(line, terminal),
  }[form];
  return (line) => {
    try {
      writeAll(standardError, convert(maskJson(line)));
    } catch {
      // A full disk or a closed terminal must not end the application.
    }
  };
}

/** The fields of an error are not enumerable, so that JSON omits them. */
function serializeError(_name: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  return { type: value.name, message: value.message, stack: value.stack, cause: value.cause };
}

/** Whether to colour a result on standard output. */
export function hasColours(env: Environment): boolean {
  return isatty(1) && !env["NO_COLOR"] && env["TERM"] !== "dumb";
}

/** Prints the result of a command, such as help or a dry run, to standard output. */
export function printResult(text: string): void {
  const shown = isJson(text) ? maskJson(text) : mask(text);
  writeAll(1, shown.endsWith("\n") ? shown : `${shown}\n`);
}

function isJson(text: string): boolean {
  if (!/^[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Writes to the file that `kubectl describe pod` shows; outside of Kubernetes it does not exist. */
export function writeTerminationMessage(text: string): void {
  const path = "/dev/termination-log";
  try {
    if (!statSync(path).isFile()) return;
    const file = openSync(path, constants.O_WRONLY | constants.O_APPEND);
    // The kubelet keeps 4096 bytes.
    writeSync(file, Buffer.from(mask(text)).subarray(0, 4096));
    closeSync(file);
  } catch {
    // The log has the same text.
  }
}

/** Writes everything before it returns, so that the order of the output is that of the calls. */
export function writeAll(descriptor: number, content: string | Buffer): void {
  let bytes = typeof content === "string" ? Buffer.from(content) : content;
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(descriptor, bytes));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // Another process has made this pipe non-blocking, and it is full: wait for its reader.
      if (code === "EAGAIN") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
      else if (code === "EPIPE") return;
      else throw error;
    }
  }
}
