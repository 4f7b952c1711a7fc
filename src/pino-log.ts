// The log of a command that is at work: pino. A supervisor must not hold it, so entrypoint.ts itself has the plain log of
// log.ts; test/process/log.test.ts compares their lines.

import { pino } from "pino";
import { openOutput, type Log, type LogFormat, type LogLevel } from "./log.ts";

let output: (line: string) => void = () => undefined;
// Made with the module, which the single executable has in its snapshot: it takes a millisecond.
const log = pino(
  {
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  },
  { write: (line: string) => output(line) },
);

/** Every line has `time`, `level`, `event` and `msg`. There is one log: another call changes where it goes. */
export async function openPinoLog(format: LogFormat, level: LogLevel): Promise<Log> {
  output = await openOutput(format);
  log.level = level;
  return log;
}
