// How far it is: a bar on a terminal, one line every ten seconds elsewhere. The bar is taken away before a line of the
// log is written and drawn again below it.

import { isatty } from "node:tty";
import { writeAll, type Log } from "../log.ts";
import { describeBurden, type Burden } from "./pace.ts";

export interface Progress {
  readonly rows: number;
  /** How many there will be, as an estimate. */
  readonly expected: number;
  /** Of the next batch, in rows. */
  readonly size: number;
  /** Of the slowest replica; null where there is none to be seen. */
  readonly lagMs: number | null;
  /** What it waits for. */
  readonly paused: readonly Burden[];
}

export interface ProgressReport {
  /** To be called after every batch, and while nothing goes on. */
  update(progress: Progress): void;
  /** Writes to the log without the bar in between. */
  say(write: (log: Log) => void): void;
  /** Leaves the terminal as it was found. */
  close(): void;
}

/** Percent that are done: an estimate that is too low is no more than all. */
export function percentOf({ rows, expected }: Pick<Progress, "rows" | "expected">): number {
  return expected <= 0 ? 100 : Math.min(Math.floor((100 * rows) / expected), 100);
}

const rateWindowMs = 30_000;

/** Rows a second over the last half minute, from the rows that there were at what time; null before there are two. */
export function createMeter(): (rows: number, nowMs: number) => number | null {
  const samples: { rows: number; atMs: number }[] = [];
  return (rows, nowMs) => {
    samples.push({ rows, atMs: nowMs });
    while (samples.length > 2 && nowMs - (samples[1]?.atMs ?? nowMs) >= rateWindowMs) {
      samples.shift();
    }
    const [first] = samples;
    if (first === undefined || nowMs <= first.atMs) return null;
    return ((rows - first.rows) * 1000) / (nowMs - first.atMs);
  };
}

/** `42 %, 420,000 of about 1,000,000 rows, 68,000 rows/s, 9 s left, lag 0.1 s, batches of 34,000` */
export function describeProgress(progress: Progress, rate: number | null): string {
  const { rows, expected, size, lagMs, paused } = progress;
  const left = secondsLeft(progress, rate);
  return [
    `${percentOf(progress)} %`,
    `${formatCount(rows)} of about ${formatCount(Math.max(expected, rows))} rows`,
    ...(rate === null ? [] : [`${formatCount(rate)} rows/s`]),
    ...(left === null ? [] : [`${describeSeconds(left)} left`]),
    ...(lagMs === null ? [] : [`lag ${(lagMs / 1000).toFixed(1)} s`]),
    ...(paused.length === 0
      ? [`batches of ${formatCount(size)}`]
      : [`paused: ${paused.map(describeBurden).join("; ")}`]),
  ].join(", ");
}

function secondsLeft({ rows, expected }: Progress, rate: number | null): number | null {
  return rate === null || rate <= 0 ? null : Math.max(expected - rows, 0) / rate;
}

/** `12 s`, `3 min`, `2.5 h` */
export function describeSeconds(seconds: number): string {
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}

/** `1,000,000` */
export function formatCount(number: number): string {
  return Math.round(number).toLocaleString("en-US");
}

const lineEveryMs = 10_000;
const barWidth = 20;

/** @param pretty whether the log's lines are for people. */
export async function reportProgress(
  log: Log,
  pretty: boolean,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ProgressReport> {
  const meter = createMeter();
  if (!pretty || !isatty(2) || env["TERM"] === "dumb") return reportByLines(log, meter);

  const { SingleBar } = await import("cli-progress");
  // The library would take process.stderr, and make a stream of it.
  const stream = { isTTY: true, write: (text: string) => (writeAll(2, text), true) };
  const bar = new SingleBar({
    stream: stream as unknown as NodeJS.WritableStream,
    format: ({ barCompleteString = "", barIncompleteString = "" }, { progress }, payload) => {
      const done = Math.floor(progress * barWidth);
      const cells = barCompleteString.slice(0, done) + barIncompleteString.slice(done, barWidth);
      return `[${cells}] ${(payload as { text: string }).text}`;
    },
    barsize: barWidth,
    barCompleteChar: "=",
    barIncompleteChar: "-",
    clearOnComplete: true,
    // Signals are ours.
    gracefulExit: false,
  });
  let shown: Progress | null = null;
  let text = "";
  const draw = ({ rows, expected }: Progress) =>
    bar.start(Math.max(expected, rows, 1), rows, { text });
  return {
    update(progress) {
      text = describeProgress(progress, meter(progress.rows, performance.now()));
      if (shown === null) draw(progress);
      bar.setTotal(Math.max(progress.expected, progress.rows, 1));
      bar.update(progress.rows, { text });
      shown = progress;
    },
    say(write) {
      bar.stop();
      write(log);
      if (shown !== null) draw(shown);
    },
    close() {
      bar.stop();
      shown = null;
    },
  };
}

function reportByLines(
  log: Log,
  meter: (rows: number, nowMs: number) => number | null,
): ProgressReport {
  let writtenMs = performance.now();
  return {
    update(progress) {
      const nowMs = performance.now();
      const rate = meter(progress.rows, nowMs);
      if (nowMs - writtenMs < lineEveryMs) return;
      writtenMs = nowMs;
      const { rows, expected, size, lagMs, paused } = progress;
      const left = secondsLeft(progress, rate);
      log.info(
        {
          event: "progress",
          rows,
          expected,
          percent: percentOf(progress),
          rowsPerSecond: rate === null ? null : Math.round(rate),
          secondsLeft: left === null ? null : Math.ceil(left),
          lagMs: lagMs === null ? null : Math.round(lagMs),
          size,
          paused: paused.length > 0,
        },
        describeProgress(progress, rate),
      );
    },
    say: (write) => write(log),
    close: () => undefined,
  };
}
