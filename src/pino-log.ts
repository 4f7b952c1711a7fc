// The log of a command that is at work: pino. A supervisor must not hold it, so entrypoint.ts itself has the plain log of
// log.ts; test/process/log.test.ts compares their lines.

import { pino } from "pino";
import { openOutput, type Log, type LogFormat, type LogLevel } from "./log.ts";

/** Every line has `time`, `level`, `event` and `msg`. */
export async function createPinoLog(format: LogFormat, level: LogLevel): Promise<Log> {
  const log: Log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label: string) => ({ level: label }) },
    },
    { write: await openOutput(format) },
  );
  return log;
}
