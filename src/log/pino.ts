// The log while a command runs: pino. A supervisor must not keep it in memory, so entrypoint.ts uses the plain log of log.ts;
// test/process/boot/log.test.ts compares the lines of both.

import { pino } from "pino";
import { openOutput, type LogFormat } from "./log.ts";
import type { Log, LogLevel } from "../context.ts";

let output: (line: string) => void = () => undefined;
// Created with the module, which is in the snapshot of the single executable: it takes a millisecond.
const log = pino(
  {
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  },
  { write: (line: string) => output(line) },
);

/** Every line has `time`, `level`, `event` and `msg`. There is one such log: another call changes its format and level. */
export function openPinoLog(format: LogFormat, level: LogLevel): Log {
  output = openOutput(format);
  log.level = level;
  return log;
}
