// The law by which replicas wait for the migration lock and by which its holder gets a connection for the migration, as a
// model: what it costs a server with 100 connections, of which 3 are reserved and the version before uses 20, while a migration
// takes a minute.

import { expect, test } from "vitest";
import { pauseAfter } from "../../../src/migrate/retry-policy.ts";
import { pauseBetweenLooks } from "../../../src/postgres/migration-lock.ts";

const connections = 97;
/** From the TLS greeting to the end of the connection. */
const lookMs = 30;
const migrationMs = 60_000;
/** From the end of the connection that the holder has secured until the migration command opens its own. */
const importMs = 700;
const firstRetryMs = 50;
const longestRetryMs = 5_000;

interface Load {
  /** Milliseconds for which a replica has got no connection, at most: after --wait-timeout it ends with 69. */
  longestWaitMs: number;
  /** Milliseconds until the migration command has its connection. */
  startedMs: number;
  /** How often the command was run until then. */
  runs: number;
  /** Replicas that have seen the end of the migration. */
  arrived: number;
  /** Looks a second, over the second half of the migration. */
  looksPerSecond: number;
  /** Milliseconds after the end of the migration until the last replica has seen that. */
  lastArrivalMs: number;
}

/** All replicas begin at once. Jitter is by a generator with a seed, so that the result is the same every time. */
function simulate(replicas: number, otherConnections: number): Load {
  let seed = 1;
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  const jitter = (delayMs: number) => delayMs * (0.5 + random() / 2);
  type Event = { atMs: number; act: (nowMs: number) => void };
  const events: Event[] = [];
  const load: Load = {
    longestWaitMs: 0,
    startedMs: 0,
    runs: 0,
    arrived: 0,
    looksPerSecond: 0,
    lastArrivalMs: 0,
  };
  let endMs = Infinity;
  let locked = false;
  let used = otherConnections;
  let looks = 0;
  const at = (atMs: number, act: Event["act"]) => {
    let [low, high] = [0, events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((events[middle]?.atMs ?? 0) > atMs) low = middle + 1;
      else high = middle;
    }
    events.splice(low, 0, { atMs, act });
  };
  const connect = (nowMs: number, tries: number, again: Event["act"]): boolean => {
    if (used < connections) {
      used += 1;
      return true;
    }
    at(nowMs + jitter(Math.min(firstRetryMs * 2 ** tries, longestRetryMs)), again);
    return false;
  };
  /** The holder opens a connection, gives it back, and starts the command, which opens one of its own or is run again. */
  const secure = (tries: number) => (nowMs: number) => {
    if (!connect(nowMs, tries, secure(tries + 1))) return;
    used -= 1;
    at(nowMs + importMs, (startMs) => {
      load.runs += 1;
      if (used >= connections) {
        const limits = { triedForMs: startMs, limitMs: 600_000 };
        at(startMs + (pauseAfter(load.runs, limits, jitter) ?? Infinity), secure(0));
        return;
      }
      used += 1;
      load.startedMs = startMs;
      endMs = startMs + migrationMs;
      // The verification opens another one while the lock's is still there.
      at(endMs, () => (used -= 2));
    });
  };
  const look = (tries: number, sinceMs?: number) => (nowMs: number) => {
    const waitsSinceMs = sinceMs ?? nowMs;
    load.longestWaitMs = Math.max(load.longestWaitMs, nowMs - waitsSinceMs);
    if (!connect(nowMs, tries, look(tries + 1, waitsSinceMs))) return;
    if (!locked) {
      // Its connection stays open.
      locked = true;
      secure(0)(nowMs + lookMs);
      return;
    }
    if (nowMs > endMs - migrationMs / 2 && nowMs < endMs) looks += 1;
    const share = used / connections;
    at(nowMs + lookMs, (overMs) => {
      used -= 1;
      if (nowMs >= endMs) {
        load.arrived += 1;
        load.lastArrivalMs = Math.max(load.lastArrivalMs, overMs - endMs);
      } else at(overMs + jitter(pauseBetweenLooks(overMs, share)), look(0));
    });
  };
  for (let replica = 0; replica < replicas; replica++) at(0, look(0));
  for (let event = events.pop(); event !== undefined; event = events.pop()) event.act(event.atMs);
  load.looksPerSecond = Math.round(looks / (migrationMs / 2 / 1_000));
  return load;
}

test.each([
  { replicas: 8, others: 20, looksPerSecond: 1, longestWaitMs: 0, startedMs: 1_000, runs: 1 },
  { replicas: 128, others: 20, looksPerSecond: 18, longestWaitMs: 200, startedMs: 1_000, runs: 1 },
  {
    replicas: 1_000,
    others: 20,
    looksPerSecond: 140,
    longestWaitMs: 2_000,
    startedMs: 1_000,
    runs: 1,
  },
  // Four are left: one for the lock, one for the migration, and two for all the looks.
  {
    replicas: 1_000,
    others: 93,
    looksPerSecond: 65,
    longestWaitMs: 110_000,
    startedMs: 40_000,
    runs: 8,
  },
])("$replicas replicas beside $others connections", (row) => {
  const { replicas, others, looksPerSecond, longestWaitMs, startedMs, runs } = row;
  const load = simulate(replicas, others);
  expect(load.arrived).toBe(replicas - 1);
  expect(load.startedMs).toBeLessThanOrEqual(startedMs);
  expect(load.runs).toBeLessThanOrEqual(runs);
  expect(load.looksPerSecond).toBeLessThanOrEqual(looksPerSecond);
  expect(load.longestWaitMs).toBeLessThanOrEqual(longestWaitMs);
  expect(load.lastArrivalMs).toBeLessThanOrEqual(others === 20 ? 10_100 : 15_000);
});

test("a look is rarer the longer the wait and the fuller the server, and never rarer than every 10 s", () => {
  expect(pauseBetweenLooks(0, 0)).toBe(100);
  expect(pauseBetweenLooks(10_000, 0)).toBe(2_000);
  expect(pauseBetweenLooks(10_000, 0.5)).toBe(4_000);
  expect(pauseBetweenLooks(0, 1)).toBe(1_000);
  expect(pauseBetweenLooks(600_000, 0)).toBe(10_000);
  expect(pauseBetweenLooks(600_000, 1)).toBe(10_000);
});
