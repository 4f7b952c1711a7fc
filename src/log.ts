// What `echo` was in the shell script: one JSON object a line on standard error, or coloured lines on a
// terminal. Written synchronously to the descriptor itself, since process.stderr would make a pipe
// non-blocking for the application that comes after us.

import { closeSync, constants, openSync, statSync, writeSync } from "node:fs";
import { isatty } from "node:tty";
import type { Environment } from "./environment.ts";

export const logFormats = ["json", "pretty", "auto"] as const;
export type LogFormat = (typeof logFormats)[number];

/** In the order of their weight. */
export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

type Write = (
  details: { readonly event: string; [name: string]: unknown },
  message: string,
) => void;
export type Log = Readonly<Record<Exclude<LogLevel, "silent">, Write>>;

export const standardError = 2;

/** Every line has `time`, `level`, `event` and `msg`. For as long as nothing is loaded that pino comes with. */
export async function createLog(format: LogFormat, level: LogLevel): Promise<Log> {
  const write = await openOutput(format);
  const least = logLevels.indexOf(level);
  const writer = (own: keyof Log): Write => {
    if (logLevels.indexOf(own) < least) return () => undefined;
    return (details, message) => {
      const fields = { level: own, time: new Date().toISOString(), ...details };
      write(`${JSON.stringify({ ...fields, msg: message }, spellError)}\n`);
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

/** Takes a line of JSON, and writes it as it is or for people. */
export async function openOutput(format: LogFormat): Promise<(line: string) => void> {
  const pretty = format === "pretty" || (format === "auto" && isatty(standardError));
  const present = pretty ? await loadPretty() : (line: string) => line;
  return (line) => {
    try {
      writeAll(standardError, present(line));
    } catch {
      // A full disk, a terminal that is gone: no reason to end the application.
    }
  };
}

/** An error's fields are not enumerable: JSON would have it empty. */
function spellError(_name: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  return { type: value.name, message: value.message, stack: value.stack, cause: value.cause };
}

/** Colours and columns, for a line at a time; it takes as long to load as all the rest. */
async function loadPretty(): Promise<(line: string) => string> {
  const { prettyFactory } = await import("pino-pretty");
  return prettyFactory({
    colorize: isatty(standardError),
    translateTime: "SYS:HH:MM:ss",
    hideObject: true,
    messageFormat: (line, key) => formatForPeople(line, String(line[key])),
  });
}

/** On a terminal: the message, one line for each of several problems, the cure, and the stack of an internal error. */
function formatForPeople(line: Record<string, unknown>, message: string): string {
  const { problems, hint, err } = line as {
    problems?: readonly string[];
    hint?: string;
    err?: { stack?: string };
  };
  const text =
    problems === undefined
      ? [message]
      : [message.slice(0, message.indexOf(": ") + 1), ...problems.map((one) => `  ${one}`)];
  if (hint !== undefined) text.push(`  cure: ${hint}`);
  if (err?.stack !== undefined) text.push(err.stack);
  return text.join("\n");
}

/** Whether a result on standard output is to be coloured. */
export function hasColours(env: Environment): boolean {
  return isatty(1) && !env["NO_COLOR"] && env["TERM"] !== "dumb";
}

/** For a result that was asked for: help, a dry run. */
export function printResult(text: string): void {
  writeAll(1, text.endsWith("\n") ? text : `${text}\n`);
}

/** Kubernetes shows this file's text in `kubectl describe pod`; elsewhere it does not exist. */
export function writeTerminationMessage(text: string): void {
  const path = "/dev/termination-log";
  try {
    if (!statSync(path).isFile()) return;
    const file = openSync(path, constants.O_WRONLY | constants.O_APPEND);
    // The kubelet keeps 4096 bytes.
    writeSync(file, Buffer.from(text).subarray(0, 4096));
    closeSync(file);
  } catch {
    // It is a courtesy: the log has told all, and the exit code is what counts.
  }
}

/** Writes all of it before it returns, so that the order of what is written is that of the calls. */
export function writeAll(descriptor: number, content: string | Buffer): void {
  let bytes = typeof content === "string" ? Buffer.from(content) : content;
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(descriptor, bytes));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // Somebody else made this pipe non-blocking, and it is full: wait for its reader.
      if (code === "EAGAIN") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
      else if (code === "EPIPE") return;
      else throw error;
    }
  }
}
