// How many rows a batch takes, what makes the next one wait, and how far behind a replica is by the primary's own clock.

import fc from "fast-check";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { createLagClock, type Replication } from "../../../src/backfill/lag.ts";
import {
  backoffMs,
  describeBurden,
  firstSize,
  halveSize,
  largestReach,
  largestSize,
  nextPace,
  nextSize,
  smallestSize,
  tooMuch,
  type Burden,
} from "../../../src/backfill/pace.ts";
import { createMeter, describeProgress, reportProgress } from "../../../src/backfill/progress.ts";

const targetMs = 500;

test.each([
  [1_000, 100, 1_200],
  [1_000, 450, 1_111],
  [1_000, 500, 1_000],
  [1_000, 625, 800],
  [1_000, 5_000, 500],
  [50_000, 1, 50_000],
  [100, 5_000, 100],
  [1_000, 0, 1_200],
])("%i rows in %i ms are followed by %i", (size, tookMs, next) => {
  expect(nextSize(size, tookMs, targetMs)).toBe(next);
});

test("whatever a row costs, batches come to take what they should, and stay there", () => {
  const costs = fc.double({ min: 0.02, max: 4, noNaN: true });
  fc.assert(
    fc.property(costs, fc.integer({ min: smallestSize, max: largestSize }), (msOfRow, begin) => {
      let size = begin;
      for (let batch = 0; batch < 60; batch++) size = nextSize(size, size * msOfRow, targetMs);
      expect(size * msOfRow).toBeGreaterThan(targetMs * 0.95);
      expect(size * msOfRow).toBeLessThan(targetMs * 1.05);
    }),
  );
});

test("no size is outside of its bounds", () => {
  const sizes = fc.integer({ min: smallestSize, max: largestSize });
  fc.assert(
    fc.property(sizes, fc.double({ min: 0, max: 1e6, noNaN: true }), (size, tookMs) => {
      for (const next of [nextSize(size, tookMs, targetMs), halveSize(size)]) {
        expect(next).toBeGreaterThanOrEqual(smallestSize);
        expect(next).toBeLessThanOrEqual(largestSize);
        expect(Number.isInteger(next)).toBe(true);
      }
    }),
  );
});

test.each([
  ["many rows to update", { size: 1_000, reach: 1_000 }, { updated: 900 }, [1_200, 1_200]],
  ["few", { size: 1_000, reach: 1_000 }, { updated: 3 }, [1_000, 2_000]],
  [
    "few, in more than it updates",
    { size: 1_000, reach: 64_000 },
    { updated: 0 },
    [1_000, 128_000],
  ],
  ["none, slowly", { size: 1_000, reach: 64_000 }, { updated: 0, tookMs: 2_000 }, [1_000, 32_000]],
  [
    "none, slowly, in a small batch",
    { size: 1_000, reach: 1_000 },
    { updated: 0, tookMs: 2_000 },
    [500, 500],
  ],
  ["half", { size: 1_000, reach: 64_000 }, { updated: 600 }, [1_200, 76_800]],
  ["many at once", { size: 1_000, reach: 64_000 }, { updated: 1_000, full: true }, [1_200, 32_000]],
  [
    "many again",
    { size: 40_000, reach: 60_000 },
    { updated: 40_000, full: true },
    [48_000, 48_000],
  ],
  [
    "none, over and over",
    { size: 1_000, reach: largestReach },
    { updated: 0 },
    [1_000, largestReach],
  ],
] as const)("after a batch with %s", (_, pace, batch, [size, reach]) => {
  const next = nextPace(pace, { full: false, tookMs: 100, ...batch }, targetMs);
  expect(next).toEqual({ size, reach });
});

test("halving comes to the smallest size from the largest one in ten tries", () => {
  let size = largestSize;
  for (let attempt = 0; attempt < 10; attempt++) size = halveSize(size);
  expect(size).toBe(smallestSize);
  expect(halveSize(firstSize)).toBe(500);
});

test("the pauses between tries grow, up to a limit", () => {
  const pauses = Array.from({ length: 12 }, (_, attempt) => backoffMs(attempt));
  expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
  expect(pauses[0]).toBe(50);
  expect(pauses.at(-1)).toBe(5_000);
});

test("a pause begins above the limit, and ends below half of it", () => {
  const burden = (value: number): Burden => ({
    name: "replica a",
    value,
    limit: 5_000,
    unit: "ms",
  });
  const states: boolean[] = [];
  let paused = false;
  for (const value of [0, 4_999, 5_000, 5_001, 4_000, 2_501, 2_500, 4_000, 6_000, 100]) {
    paused = tooMuch([burden(value)], paused).length > 0;
    states.push(paused);
  }
  expect(states).toEqual([false, false, false, true, true, true, false, false, true, false]);
});

test("what delays a batch is described with its limit", () => {
  expect(describeBurden({ name: "replica a", value: 7_234, limit: 5_000, unit: "ms" })).toBe(
    "replica a is 7.2 s behind (limit 5 s)",
  );
  expect(
    describeBurden({ name: "slot b", value: 3 * 2 ** 30, limit: 2 ** 30, unit: "bytes" }),
  ).toBe("slot b retains 3072 MB of WAL (limit 1024 MB)");
});

function replication(position: number, replayed: number | null, extra: object = {}): Replication {
  return {
    position,
    replicas: [{ name: "a", replayed, replayLagMs: null }],
    retained: [],
    retainedLimit: 1_000,
    ...extra,
  };
}

test("a replica that stands still is further behind with every look", () => {
  const clock = createLagClock(5_000);
  const lagAt = (nowMs: number, position: number, replayed: number) =>
    clock.weigh(replication(position, replayed), nowMs)[0]?.value;
  expect(lagAt(0, 100, 100)).toBe(0);
  expect(lagAt(1_000, 200, 100)).toBe(0); // it misses what has just been written
  expect(lagAt(2_000, 300, 100)).toBe(1_000);
  expect(lagAt(9_000, 300, 100)).toBe(8_000);
  // It has replayed what was there at 1,000, but not yet at 2,000.
  expect(lagAt(9_500, 300, 200)).toBe(7_500);
  expect(lagAt(10_000, 300, 300)).toBe(0);
  // With nothing written it cannot be behind, however long that lasts.
  expect(lagAt(99_000, 300, 300)).toBe(0);
});

test("what the server says counts for a replica that was behind before we came", () => {
  const clock = createLagClock(5_000);
  const replicas = [{ name: "a", replayed: 50, replayLagMs: 60_000 }];
  expect(clock.weigh(replication(100, 50, { replicas }), 0)[0]?.value).toBe(60_000);
  const caughtUp = [{ name: "a", replayed: 100, replayLagMs: 60_000 }];
  expect(clock.weigh(replication(100, 100, { replicas: caughtUp }), 10)[0]?.value).toBe(0);
});

test("slots and the archive are held against what the server keeps in any case", () => {
  const retained = [{ name: "slot b", bytes: 1_001 }];
  const burdens = createLagClock(5_000).weigh(replication(9, 9, { retained }), 0);
  expect(tooMuch(burdens, false)).toEqual([
    { name: "slot b", value: 1_001, limit: 1_000, unit: "bytes" },
  ]);
});

test("a replica that cannot be seen holds nobody back, and without a limit nobody does", () => {
  expect(createLagClock(5_000).weigh(replication(100, null), 0)[0]?.value).toBe(0);
  expect(createLagClock(0).weigh(replication(100, 0), 0)).toEqual([]);
});

test("the rate is that of the last half minute", () => {
  const meter = createMeter();
  const at = (rows: number, nowMs: number) =>
    meter({ rows, expected: 0, reading: { read: rows * 5, toRead: 0 } }, nowMs);
  expect(at(0, 0)).toBe(null);
  expect(at(1_000, 1_000)).toEqual({ updated: 1_000, read: 5_000 });
  for (let second = 2; second <= 100; second++) at(1_000 + second, second * 1_000);
  expect(at(1_101, 101_000)?.updated).toBeCloseTo(1);
});

test("elsewhere than on a terminal there is a line every ten seconds", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const lines: Record<string, unknown>[] = [];
  const stream = { write: (line: string) => void lines.push(JSON.parse(line) as never) };
  const report = await reportProgress(pino({}, stream), false, {});
  for (let second = 1; second <= 35; second++) {
    vi.advanceTimersByTime(1_000);
    const rows = second * 100;
    const reading = { read: second * 200, toRead: 20_000 };
    report.update({ rows, expected: 5_000, reading, size: 100, lagMs: null, paused: [] });
  }
  // It is the rows to read that take the time.
  expect(lines.map((line) => [line["event"], line["rows"], line["rowsPerSecond"]])).toEqual(
    [1_000, 2_000, 3_000].map((rows) => ["progress", rows, 100]),
  );
  expect(lines.map((line) => [line["percent"], line["secondsLeft"]])).toEqual([
    [10, 90],
    [20, 80],
    [30, 70],
  ]);
});

test("progress for people", () => {
  const progress = {
    rows: 420_000,
    expected: 1_000_000,
    reading: null,
    size: 34_000,
    lagMs: 100,
    paused: [],
  };
  expect(describeProgress(progress, { updated: 68_000, read: 0 })).toBe(
    "42 %, 420,000 of about 1,000,000 rows, 68,000 rows/s, 9 s left, lag 0.1 s, batches of 34,000",
  );
  const paused: Burden[] = [{ name: "replica a", value: 7_000, limit: 5_000, unit: "ms" }];
  expect(
    describeProgress(
      { ...progress, rows: 1_100_000, lagMs: null, paused },
      { updated: 0, read: 0 },
    ),
  ).toBe(
    "100 %, 1,100,000 of about 1,100,000 rows, 0 rows/s, paused: replica a is 7.0 s behind (limit 5 s)",
  );
  const reading = { read: 2_000_000, toRead: 8_000_000 };
  const few = { ...progress, rows: 3, expected: 9, reading, lagMs: null };
  expect(describeProgress(few, { updated: 0, read: 500_000 })).toBe(
    "25 %, 3 of about 9 rows, 0 rows/s, 2,000,000 of about 8,000,000 rows read, 12 s left, batches of 34,000",
  );
});
