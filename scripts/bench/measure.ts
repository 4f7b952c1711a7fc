// The arithmetic of the benchmark: rounds in turn (A B A B …), so that whatever else the machine does falls on all alike;
// medians, since one slow round says nothing; and ratios round by round, each with its spread.

/** Of one quantity over all rounds, in its own unit. */
export interface Summary {
  readonly median: number;
  /** A tenth of the rounds was below, and a tenth above. */
  readonly p10: number;
  readonly p90: number;
  readonly rounds: number;
}

/** The values of each contender, round by round. */
export type Samples<Name extends string> = Readonly<Record<Name, readonly number[]>>;

/** @throws where there is nothing to summarise. */
export function summarise(values: readonly number[]): Summary {
  return {
    median: quantile(values, 0.5),
    p10: quantile(values, 0.1),
    p90: quantile(values, 0.9),
    rounds: values.length,
  };
}

/** The value below which `share` (0 to 1) of all lie, between two neighbours by proportion. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  if (below === undefined || above === undefined) throw new Error("nothing has been measured");
  return below + (above - below) * (at - Math.floor(at));
}

/** `of` divided by `by`: the ratio of the medians, and the spread of the rounds' own ratios. */
export function divide(of: readonly number[], by: readonly number[]): Summary {
  const ratios = of.map((value, round) => value / (by[round] ?? Number.NaN));
  return { ...summarise(ratios), median: quantile(of, 0.5) / quantile(by, 0.5) };
}

/**
 * Runs every contender once in a round, for so many rounds. The first ones, which fill the caches, are not counted; who
 * begins changes from round to round.
 */
export async function takeTurns<Name extends string>(
  contenders: Readonly<Record<Name, () => number | Promise<number>>>,
  { rounds, warmUps = 1 }: { rounds: number; warmUps?: number },
): Promise<Samples<Name>> {
  const names = Object.keys(contenders) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<
    Name,
    number[]
  >;
  for (let round = -warmUps; round < rounds; round++) {
    const first = (round + warmUps) % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      const value = await contenders[name]();
      if (round >= 0) samples[name].push(value);
    }
  }
  return samples;
}
