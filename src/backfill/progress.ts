// The progress: a bar on a terminal, else one line every ten seconds. The bar is removed before a line of the log is
// written, and drawn again below it.

import { isatty } from "node:tty";
import { writeAll } from "../log/log.ts";
import { describeBurden, type Burden } from "./pace.ts";
import type { Log } from "../context.ts";
import { describeSeconds, formatCount, percentOf } from "../log/words.ts";

export interface Progress {
  readonly rows: number;
  /** How many there will be in the end, as an estimate. */
  readonly expected: number;
  /** Of the first pass over the table, in rows, about; null in a sweep. */
  readonly reading: { readonly read: number; readonly toRead: number } | null;
  /** Of the next batch, in rows. */
  readonly size: number;
  /** Of the slowest replica; null where none is visible. */
  readonly lagMs: number | null;
  /** What it waits for; empty while it runs. */
  readonly paused: readonly Burden[];
}

type Counted = Pick<Progress, "rows" | "expected" | "reading">;

export interface ProgressReport {
  /** To be called after every batch, and while it is paused. */
  update(progress: Progress): void;
  /** Writes to the log without the bar in between. */
  log(write: (log: Log) => void): void;
  /** Restores the terminal. */
  close(): void;
}

const rateWindowMs = 30_000;

/** Rows a second over the last half minute: those that were updated, and those that were read. */
export interface Rates {
  readonly updated: number;
  readonly read: number;
}

/** From samples of the progress; null before there are two. */
export function createMeter(): (progress: Counted, nowMs: number) => Rates | null {
  const samples: { rows: number; read: number; atMs: number }[] = [];
  return ({ rows, reading }, nowMs) => {
    const read = reading?.read ?? 0;
    samples.push({ rows, read, atMs: nowMs });
    while (samples.length > 2 && nowMs - (samples[1]?.atMs ?? nowMs) >= rateWindowMs) {
      samples.shift();
    }
    const [first] = samples;
    if (first === undefined || nowMs <= first.atMs) return null;
    const rateOf = (count: number) => (count * 1000) / (nowMs - first.atMs);
    return { updated: rateOf(rows - first.rows), read: rateOf(read - first.read) };
  };
}

/** `42 %, 420,000 of about 1,000,000 rows, 68,000 rows/s, 9 s left, lag 0.1 s, batches of 34,000` */
export function describeProgress(progress: Progress, rates: Rates | null): string {
  const { rows, expected, reading, size, lagMs, paused } = progress;
  const left = secondsLeft(progress, rates);
  // Where it has to read many more rows than it updates, that is what takes the time.
  const reads = reading !== null && reading.toRead > 2 * expected;
  return [
    `${percentDone(progress)} %`,
    `${formatCount(rows)} of about ${formatCount(Math.max(expected, rows))} rows`,
    ...(rates === null ? [] : [`${formatCount(rates.updated)} rows/s`]),
    ...(reads
      ? [
          `${formatCount(reading.read)} of about ${formatCount(Math.max(reading.toRead, reading.read))} rows read`,
        ]
      : []),
    ...(left === null ? [] : [`${describeSeconds(left)} left`]),
    ...(lagMs === null ? [] : [`lag ${(lagMs / 1000).toFixed(1)} s`]),
    ...(paused.length === 0
      ? [`batches of ${formatCount(size)}`]
      : [`paused: ${paused.map(describeBurden).join("; ")}`]),
  ].join(", ");
}

/** Of the walk through the table; in a sweep, of the rows to update. */
function percentDone({ rows, expected, reading }: Counted): number {
  return reading === null ? percentOf(rows, expected) : percentOf(reading.read, reading.toRead);
}

function secondsLeft({ rows, expected, reading }: Counted, rates: Rates | null): number | null {
  const [left, rate] =
    reading === null
      ? [expected - rows, rates?.updated ?? 0]
      : [reading.toRead - reading.read, rates?.read ?? 0];
  return rate <= 0 ? null : Math.max(left, 0) / rate;
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
  // The library would use process.stderr, which becomes a stream then.
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
    // It would handle signals.
    gracefulExit: false,
  });
  let shown: Progress | null = null;
  let text = "";
  const draw = (progress: Progress) => bar.start(100, percentDone(progress), { text });
  return {
    update(progress) {
      text = describeProgress(progress, meter(progress, performance.now()));
      if (shown === null) draw(progress);
      bar.update(percentDone(progress), { text });
      shown = progress;
    },
    log(write) {
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

function reportByLines(log: Log, meter: ReturnType<typeof createMeter>): ProgressReport {
  let writtenMs = performance.now();
  return {
    update(progress) {
      const nowMs = performance.now();
      const rates = meter(progress, nowMs);
      if (nowMs - writtenMs < lineEveryMs) return;
      writtenMs = nowMs;
      const { rows, expected, reading, size, lagMs, paused } = progress;
      const left = secondsLeft(progress, rates);
      log.info(
        {
          event: "progress",
          rows,
          expected,
          ...reading,
          percent: percentDone(progress),
          rowsPerSecond: rates === null ? null : Math.round(rates.updated),
          secondsLeft: left === null ? null : Math.ceil(left),
          lagMs: lagMs === null ? null : Math.round(lagMs),
          size,
          paused: paused.length > 0,
        },
        describeProgress(progress, rates),
      );
    },
    log: (write) => write(log),
    close: () => undefined,
  };
}
