// How counts, durations, percentages and commands are written in log lines, errors and results.

import { mask } from "./mask.ts";

/** `1,000,000`; rounded. */
export function formatCount(number: number): string {
  // toLocaleString() would load the tables of languages.
  return String(Math.round(number)).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** `1 revision`, `2 revisions`, `1,000 tries`. */
export function describeCount(number: number, noun: string, plural = `${noun}s`): string {
  return `${formatCount(number)} ${number === 1 ? noun : plural}`;
}

/** A limit as it was set, `0.3 s`, `600 s`. */
export function describeDuration(ms: number): string {
  return `${ms / 1000} s`;
}

/** An estimate: `12 s`, `3 min`, `2.5 h`. */
export function describeSeconds(seconds: number): string {
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}

/** Whole percent, rounded down, and never more than 100: the total may be an estimate that is too low. */
export function percentOf(part: number, total: number): number {
  return total <= 0 ? 100 : Math.min(Math.floor((100 * part) / total), 100);
}

/** A command as a shell reads it. What is masked, `***` among it, stays as it is. */
export function describeWords(words: readonly string[]): string {
  return words
    .map(mask)
    .map((word) =>
      /[\s'"\\;&|<>()$`#]|^$/.test(word) ? `'${word.replaceAll("'", String.raw`'\''`)}'` : word,
    )
    .join(" ");
}
