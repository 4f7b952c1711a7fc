// What the groups of the benchmark hand to the report: rows of README.md's tables, figures for results/bench.json, and charts.

import { divide, summarise, type Summary } from "./measure.ts";

/** A row of README.md's tables: a goal, what came out, and where the goal is missed why, in figures. */
export interface Row {
  readonly what: string;
  readonly against: string;
  readonly goal: string;
  readonly measured: string;
  /** Null where there is no goal, or nothing to hold it against. */
  readonly met: boolean | null;
  /** Empty where nothing has to be explained. */
  readonly cause: string;
}

export interface Figure extends Summary {
  readonly what: string;
  readonly who: string;
  readonly unit: string;
}

interface Chart {
  /** The file's name in scripts/bench/results/, without `.svg`. */
  readonly name: string;
  readonly svg: string;
}

export interface Findings {
  readonly rows: readonly Row[];
  readonly figures: readonly Figure[];
  readonly charts: readonly Chart[];
}

/** A figure for each contender. */
export function listFigures(
  what: string,
  unit: string,
  samples: Readonly<Record<string, readonly number[]>>,
): Figure[] {
  return Object.entries(samples).map(([who, values]) => ({
    what,
    who,
    unit,
    ...summarise(values),
  }));
}

/** The row of a ratio that has to be at most `goal`. */
export function ratioRow(
  what: string,
  against: string,
  goal: number,
  measured: { of: readonly number[]; by: readonly number[]; unit: string; cause: string },
): Row {
  const ratio = divide(measured.of, measured.by);
  const met = ratio.median <= goal;
  const [of, by] = [summarise(measured.of), summarise(measured.by)];
  return {
    what,
    against,
    goal: `≤ ${showRatio(goal)}`,
    measured: `${showRatio(ratio.median)} (${show(of.median)} to ${show(by.median)} ${measured.unit}; ${showRatio(ratio.p10)} to ${showRatio(ratio.p90)} in ${ratio.rounds} rounds)`,
    met,
    cause: met ? "" : measured.cause,
  };
}

/** `1/12.3` below a half, else `1.25`. */
export function showRatio(ratio: number): string {
  if (ratio >= 0.5) return String(Number(ratio.toFixed(2)));
  return `1/${Number((1 / ratio).toFixed(1))}`;
}

/** With three digits that mean something. */
export function show(value: number): string {
  return String(value >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}
