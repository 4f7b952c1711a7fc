// Signals from an emitter in place of the process: the first ends the boot, each one reaches whoever has
// subscribed, and nothing is left behind.

import { EventEmitter, getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { Stopped } from "../../../src/failure.ts";
import { catchSignals, findEarlySignal } from "../../../src/process/signals.ts";
import { unlessAborted } from "../../../src/patience.ts";

const ending = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"] as const;

function createSource() {
  const source = new EventEmitter();
  return { source, signals: catchSignals(source) };
}

test.each(ending)("%s ends the boot", (signal) => {
  const { source, signals } = createSource();
  expect(signals.stop.aborted).toBe(false);
  source.emit(signal, signal);
  expect(signals.stop.reason).toEqual(new Stopped(signal));
});

test("the first signal stays the reason", () => {
  const { source, signals } = createSource();
  source.emit("SIGINT", "SIGINT");
  source.emit("SIGTERM", "SIGTERM");
  expect(signals.stop.reason).toMatchObject({ signal: "SIGINT" });
});

test("SIGUSR1, on which Node would open its debugger, is caught and ends nothing", () => {
  const { source, signals } = createSource();
  expect(source.emit("SIGUSR1", "SIGUSR1")).toBe(true);
  expect(signals.stop.aborted).toBe(false);
});

test("whoever subscribes gets the second signal too", () => {
  const { source, signals } = createSource();
  const received: string[] = [];
  source.emit("SIGTERM", "SIGTERM");
  signals.subscribe((signal) => received.push(signal));
  source.emit("SIGINT", "SIGINT");
  source.emit("SIGTERM", "SIGTERM");
  expect(received).toEqual(["SIGINT", "SIGTERM"]);
});

test("whoever has unsubscribed gets no signal", () => {
  const { source, signals } = createSource();
  const received: string[] = [];
  const unsubscribe = signals.subscribe((signal) => received.push(signal));
  source.emit("SIGTERM", "SIGTERM");
  unsubscribe();
  source.emit("SIGTERM", "SIGTERM");
  expect(received).toEqual(["SIGTERM"]);
});

test("release removes every listener", () => {
  const { source, signals } = createSource();
  expect(source.eventNames()).toEqual([...ending, "SIGUSR1"]);
  signals.release();
  expect(source.eventNames()).toEqual([]);
});

test("unlessAborted gives the promise's value and leaves no listener behind", async () => {
  const { signals } = createSource();
  await expect(unlessAborted(signals.stop, Promise.resolve("done"))).resolves.toBe("done");
  expect(getEventListeners(signals.stop, "abort")).toEqual([]);
});

test("unlessAborted gives the promise's error and leaves no listener behind", async () => {
  const { signals } = createSource();
  const failing = Promise.reject(new Error("no"));
  await expect(unlessAborted(signals.stop, failing)).rejects.toThrow("no");
  expect(getEventListeners(signals.stop, "abort")).toEqual([]);
});

test("unlessAborted throws Stopped at the signal and leaves no listener behind", async () => {
  const { source, signals } = createSource();
  const waiting = unlessAborted(signals.stop, new Promise(() => undefined));
  source.emit("SIGTERM", "SIGTERM");
  await expect(waiting).rejects.toEqual(new Stopped("SIGTERM"));
  expect(getEventListeners(signals.stop, "abort")).toEqual([]);
});

test("after the signal unlessAborted throws at once, and a promise that fails later is not unhandled", async () => {
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.prependListener("unhandledRejection", note);
  const { source, signals } = createSource();
  source.emit("SIGTERM", "SIGTERM");
  const failing = Promise.reject(new Error("too late"));
  await expect(unlessAborted(signals.stop, failing)).rejects.toEqual(new Stopped("SIGTERM"));
  // Node reports a rejection as unhandled before the next turn of its loop.
  await new Promise((resolve) => setImmediate(resolve));
  process.off("unhandledRejection", note);
  expect(unhandled).toEqual([]);
});

test.each([
  ["none has come", "0000000100004602", null],
  ["TERM has come", "0000000100000602", "SIGTERM"],
  ["INT has come", "0000000100004600", "SIGINT"],
  ["a Node without handlers of its own", "0000000100000600", null],
])("before there is any JavaScript: %s", (_, caught, signal) => {
  expect(findEarlySignal(`SigIgn:\t0000000001001000\nSigCgt:\t${caught}\nCapInh:\t0\n`)).toBe(
    signal,
  );
});
