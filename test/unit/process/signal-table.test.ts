// The names and numbers of signals, and that none of them is forgotten.

import { constants } from "node:os";

import { expect, test } from "vitest";

import {
  canBeForwarded,
  forwardedSignals,
  nameSignal,
  parseSignal,
  signalNumber,
  unforwardedSignals,
  type SignalName,
} from "../../../src/process/signal-table.ts";

const named = Object.keys(constants.signals) as NodeJS.Signals[];

test("every signal is passed on, or there is a reason why not; and none is both", () => {
  const listed = [...forwardedSignals, ...Object.keys(unforwardedSignals)];
  expect(new Set(listed).size).toBe(listed.length);
  const numbers = listed.map((name) => signalNumber(name as NodeJS.Signals));
  // Some have two names: SIGPOLL is SIGIO, SIGIOT is SIGABRT.
  expect(new Set(numbers)).toEqual(new Set(Object.values(constants.signals)));
  expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 31 }, (_, n) => n + 1));
});

test("what Node can listen to and we pass on is what canBeForwarded says", () => {
  for (const name of forwardedSignals) expect(canBeForwarded(name), name).toBe(true);
  for (const name of Object.keys(unforwardedSignals) as SignalName[]) {
    expect(canBeForwarded(name), name).toBe(false);
  }
  for (let number = 34; number <= 64; number++) {
    expect(canBeForwarded(nameSignal(number) ?? "SIGKILL"), String(number)).toBe(true);
  }
});

test.each(Array.from({ length: 64 }, (_, index) => index + 1))("%i has one name", (number) => {
  const name = nameSignal(number);
  // The C library keeps these to itself.
  if (number === 32 || number === 33) return expect(name).toBeNull();
  expect(name).not.toBeNull();
  expect(signalNumber(name ?? "SIGKILL")).toBe(number);
  expect(parseSignal(String(number))).toBe(name);
  expect(parseSignal(name ?? "")).toBe(name);
});

test.each(named)("%s, with and without SIG, in either case", (name) => {
  const number = signalNumber(name);
  for (const text of [
    name,
    name.slice(3),
    name.toLowerCase(),
    ` ${name.slice(3).toLowerCase()} `,
  ]) {
    expect(signalNumber(parseSignal(text) ?? "SIGKILL"), text).toBe(number);
  }
});

test.each([
  ["RTMIN", 34],
  ["SIGRTMIN", 34],
  ["rtmin+3", 37],
  ["SIGRTMIN+30", 64],
  ["RTMAX", 64],
  ["SIGRTMAX-1", 63],
  ["RTMAX-30", 34],
])("%s is %i", (text, number) => {
  expect(signalNumber(parseSignal(text) ?? "SIGKILL")).toBe(number);
});

test.each([
  ["SIGPOLL", "SIGIO"],
  ["SIGIOT", "SIGABRT"],
])("%s is %s", (double, name) => {
  expect(parseSignal(double)).toBe(name);
});

test.each([
  "",
  "0",
  "65",
  "32",
  "33",
  "-15",
  "1.5",
  "TERMINATE",
  "SIG",
  "SIGSIGTERM",
  "RTMIN+31",
  "RTMIN-1",
  "RTMAX+1",
  "RTMAX-31",
  "RTMIN+",
  "CONSTRUCTOR",
  "TERM KILL",
])("%j is no signal", (text) => {
  expect(parseSignal(text)).toBeNull();
});
