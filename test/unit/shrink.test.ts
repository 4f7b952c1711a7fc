// What is taken out of the single executable: exactly the compiled code of modules that nobody loads, and nothing where it is
// not certain where that is.

import { expect, test } from "vitest";

import { dropCodeCache } from "../../scripts/shrink.ts";

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function entry(id: string, code: string): Buffer {
  return Buffer.concat([
    number(id.length),
    Buffer.from(id),
    number(code.length),
    Buffer.from(code),
  ]);
}

const others = Array.from({ length: 150 }, (_, index) => entry(`internal/m${index}`, "\0code\0"));
const list = (count: number, entries: readonly Buffer[]) =>
  Buffer.concat([number(count), ...entries]);
const whole = list(152, [entry("tls", "of tls"), ...others, entry("tls/x", "of another")]);
const before = Buffer.from("\0\x01\0\0\0\0\0\0\0 all that comes before");
const after = Buffer.from("\0\0 the assets");

test("keeps what is asked for, and fills the rest with zeros", () => {
  const program = Buffer.concat([before, whole, after]);
  const smaller = dropCodeCache(program, 0, /^tls$/);
  const kept = list(1, [entry("tls", "of tls")]);
  const zeros = Buffer.alloc(whole.length - kept.length);
  expect(smaller.equals(Buffer.concat([before, kept, zeros, after]))).toBe(true);
  expect(program.includes("of another")).toBe(true);
});

test.for([
  ["none", Buffer.concat([before, after])],
  ["one that breaks off", Buffer.concat([before, whole.subarray(0, -1)])],
  [
    "one with a strange id",
    Buffer.concat([before, list(151, [...others, entry("a b", "c")]), after]),
  ],
  ["a short one", Buffer.concat([before, list(2, others.slice(0, 2)), after])],
  ["two", Buffer.concat([before, whole, before, whole, after])],
] as const)("refuses a program with %s", ([, program]) => {
  expect(() => dropCodeCache(program, 0, /^tls$/)).toThrow(/lists of compiled modules/);
});

test("looks no further back than it is told to", () => {
  const program = Buffer.concat([whole, before, whole]);
  expect(() => dropCodeCache(program, 1, /^tls$/)).not.toThrow();
});
