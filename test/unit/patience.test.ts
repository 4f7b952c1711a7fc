// What a wait leaves behind: nothing that nobody closes.

import { expect, test } from "vitest";
import { Failure } from "../../src/failure.ts";
import { poll, unlessAborted, waitFor } from "../../src/patience.ts";

/** A resource that is not there yet, and whether it has been closed. */
function createResource() {
  const { promise, resolve } = Promise.withResolvers<string>();
  const closed = Promise.withResolvers<string>();
  return { promise, arrive: () => resolve("it"), close: closed.resolve, closed: closed.promise };
}

const never = new AbortController().signal;
const expired = () => new Failure("lock-timeout", "too late");

test("what comes in time is handed over, and stays open when the signal is aborted later", async () => {
  const stop = new AbortController();
  const { promise, arrive } = createResource();
  const discarded: string[] = [];
  const result = unlessAborted(stop.signal, promise, (late) => discarded.push(late));
  arrive();
  expect(await result).toBe("it");
  stop.abort(new Error("stopped"));
  expect(discarded).toEqual([]);
});

test("what comes after the signal is closed", async () => {
  const stop = new AbortController();
  const { promise, arrive, close, closed } = createResource();
  const result = unlessAborted(stop.signal, promise, close);
  stop.abort(new Error("stopped"));
  await expect(result).rejects.toThrow("stopped");
  arrive();
  expect(await closed).toBe("it");
});

test("what comes to a signal that is aborted already is closed", async () => {
  const { promise, arrive, close, closed } = createResource();
  const result = unlessAborted(AbortSignal.abort(new Error("stopped")), promise, close);
  await expect(result).rejects.toThrow("stopped");
  arrive();
  expect(await closed).toBe("it");
});

test("what comes after the limit is closed", async () => {
  const { promise, arrive, close, closed } = createResource();
  const patience = { stop: never, limitMs: 1, expired };
  await expect(waitFor(promise, patience, close)).rejects.toThrow("too late");
  arrive();
  expect(await closed).toBe("it");
});

test("no limit is one that never comes", async () => {
  const { promise, arrive } = createResource();
  setTimeout(arrive, 20);
  expect(await waitFor(promise, { stop: never, limitMs: Infinity, expired })).toBe("it");
});

test("what a look finds after the signal is closed", async () => {
  const stop = new AbortController();
  const { promise, arrive, close, closed } = createResource();
  const result = poll({
    stop: stop.signal,
    timeoutMs: 60_000,
    delayMs: () => 1,
    look: async () => promise,
    report: async () => true,
    expired: async () => expired(),
    discard: (late) => close(late ?? ""),
  });
  stop.abort(new Error("stopped"));
  await expect(result).rejects.toThrow("stopped");
  arrive();
  expect(await closed).toBe("it");
});
