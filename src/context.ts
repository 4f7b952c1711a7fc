// What every step of a start is given: its settings, the log, and the signals that end it. The interfaces stand here, so
// that whoever writes to the log or listens for a signal knows neither pino nor `process`.

/** A command, split into words; never empty. */
export type Words = readonly [string, ...string[]];

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

type Write = (
  details: { readonly event: string; [name: string]: unknown },
  message: string,
) => void;

export type Log = Readonly<Record<Exclude<LogLevel, "silent">, Write>>;

export interface Signals {
  /** Aborted at the first signal, with a Stopped as its reason. */
  readonly stop: AbortSignal;
  /** Calls the listener at each signal from now on; returns how to end that. */
  subscribe(listener: (signal: NodeJS.Signals) => void): () => void;
  /** Restores the default action of every signal. */
  release(): void;
}

export interface Context<Settings> {
  readonly settings: Settings;
  readonly log: Log;
  readonly signals: Signals;
}
