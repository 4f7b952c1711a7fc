// What is taken out of the single executable: what nobody loads of the code and the data that Node carries; nothing where it is not
// certain where that is.

import { describe, expect, test } from "vitest";

import {
  dropCodeCache,
  dropLanguages,
  dropOwnCode,
  dropOwnSnapshots,
  dropWasm,
} from "../../../../scripts/build/shrink.ts";

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

const flags = { compiled: Buffer.from("four"), run: Buffer.from("five") };

test("writes the hash of the program's flags into the code that it keeps, where another stands", () => {
  const code = (hash: string) => entry("tls", `magic of V8 ${hash} and the rest`);
  for (const [hash, written] of [
    ["four", "five"],
    ["some", "some"],
  ] as const) {
    const program = Buffer.concat([before, list(151, [code(hash), ...others]), after]);
    const { program: smaller } = dropCodeCache(program, 0, /^tls$/, flags);
    expect(smaller.includes(list(1, [code(written)])), hash).toBe(true);
  }
});

test("keeps what is asked for, and fills the rest with zeros", () => {
  const program = Buffer.concat([before, whole, after]);
  const { program: smaller, spans } = dropCodeCache(program, 0, /^tls$/, flags);
  const kept = list(1, [entry("tls", "of tls")]);
  const zeros = Buffer.alloc(whole.length - kept.length);
  expect(smaller.equals(Buffer.concat([before, kept, zeros, after]))).toBe(true);
  expect(spans).toEqual([
    { start: before.length + kept.length, end: before.length + whole.length },
  ]);
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
  expect(() => dropCodeCache(program, 0, /^tls$/, flags)).toThrow(/lists of compiled modules/);
});

test("looks no further back than it is told to", () => {
  const program = Buffer.concat([whole, before, whole]);
  expect(() => dropCodeCache(program, 1, /^tls$/, flags)).not.toThrow();
});

describe("ICU's data without its languages", () => {
  const header = Buffer.concat([
    Buffer.from([32, 0, 0xda, 0x27, 0x14, 0, 0, 0, 0, 0, 2, 0]),
    Buffer.from("CmnD\x01\0\0\0\x03\0\0\0", "latin1"),
    Buffer.alloc(8),
  ]);

  function archive(files: Readonly<Record<string, string>>): Buffer {
    const names = Object.keys(files).map((name) => Buffer.from(`icudt78l/${name}\0`));
    const table = Buffer.alloc(4 + 8 * names.length);
    table.writeUInt32LE(names.length);
    const pieces = [table, ...names];
    let nameAt = table.length;
    for (const [index, contents] of Object.values(files).entries()) {
      const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
      const padding = Buffer.alloc(-length & 15);
      table.writeUInt32LE(nameAt, 4 + 8 * index);
      table.writeUInt32LE(length + padding.length, 8 + 8 * index);
      nameAt += names[index]?.length ?? 0;
      pieces.push(padding, Buffer.from(contents));
    }
    return Buffer.concat([header, ...pieces]);
  }

  const names = ["coll/ucadata.icu", "de.res", "en.res", "ibm-37.cnv", "nfkc.nrm", "plurals.res"];
  const files = Object.fromEntries(
    [...names, "zu.res"].map((name) => [name, name.toUpperCase().padEnd(64, ".")]),
  );
  const data = archive(files);

  test("keep English, and what belongs to no language", () => {
    const program = Buffer.concat([before, data, after]);
    const { program: smaller, spans } = dropLanguages(program);
    expect(smaller.length).toBe(program.length);
    const kept = names.filter((name) => !/^de|cnv$/.test(name));
    const expected = archive(Object.fromEntries(kept.map((name) => [name, files[name] ?? ""])));
    expect(smaller.subarray(before.length).subarray(0, expected.length).equals(expected)).toBe(
      true,
    );
    // The length of the last file is not known.
    const end = before.length + data.length - 64;
    expect(spans).toEqual([{ start: before.length + expected.length, end }]);
    expect(smaller.subarray(before.length + expected.length, end).every((byte) => byte === 0)).toBe(
      true,
    );
  });

  const unordered = Buffer.from(data);
  unordered.writeUInt32LE(unordered.readUInt32LE(header.length + 8) + 16, header.length + 8 + 8);
  unordered.writeUInt32LE(unordered.readUInt32LE(header.length + 16), header.length + 8);
  test.for([
    ["none", before, /0 archives/],
    ["two", Buffer.concat([data, before, data]), /2 archives/],
    ["big-endian ones", Buffer.from(data).fill(1, 8, 9), /0 archives/],
    ["files in another order", unordered, /another table of contents/],
  ] as const)("stay where there are %s", ([, program, reason]) => {
    expect(() => dropLanguages(program)).toThrow(reason);
  });
});

describe("the compiled code that Node carries for itself", () => {
  const magic = Buffer.from("a906dec001020304", "hex");
  const piece = (length: number) => {
    const bytes = Buffer.alloc(32 + length, "code");
    magic.copy(bytes);
    bytes.writeUInt32LE(length, 20);
    return bytes;
  };
  const pieces = Buffer.concat(
    Array.from({ length: 120 }, (_, index) => Buffer.concat([piece(index), Buffer.alloc(1)])),
  );

  test("goes as a whole, and not that of the snapshot behind it", () => {
    const program = Buffer.concat([before, pieces, after, piece(3)]);
    const { program: smaller, spans } = dropOwnCode(program, magic, before.length + pieces.length);
    expect(spans).toEqual([{ start: before.length, end: before.length + pieces.length - 1 }]);
    const zeros = Buffer.alloc(pieces.length);
    expect(smaller.equals(Buffer.concat([before, zeros, after, piece(3)]))).toBe(true);
  });

  test.for([
    ["none of it", before],
    ["a few pieces", pieces.subarray(0, 900)],
    ["something between", Buffer.concat([pieces, Buffer.alloc(100), pieces])],
  ] as const)("stays where there is %s", ([, program]) => {
    expect(() => dropOwnCode(program, magic, program.length)).toThrow(/pieces of compiled code/);
  });
});

describe("the snapshots of V8's and of Node's", () => {
  function snapshot(length: number): Buffer {
    const bytes = Buffer.alloc(length, "x");
    bytes.write("14.6\0".padEnd(64, "\0"), 16, "latin1");
    for (const [index, offset] of [200, length - 300, length - 100, 7].entries()) {
      bytes.writeUInt32LE(offset, 80 + 4 * index);
    }
    return bytes;
  }
  const own = Buffer.concat([before, snapshot(20_000), after, snapshot(50_000)]);

  test("go up to the last part of each, and not the program's own behind them", () => {
    const program = Buffer.concat([own, snapshot(30_000)]);
    const { program: smaller, spans } = dropOwnSnapshots(program, "14.6", own.length);
    expect(spans.map(({ start, end }) => end - start)).toEqual([19_900, 49_900]);
    for (const { start, end } of spans) {
      expect(smaller.subarray(start, end).every((byte) => byte === 0)).toBe(true);
    }
    expect(smaller.subarray(own.length).equals(snapshot(30_000))).toBe(true);
  });

  test.for([
    ["one", snapshot(20_000)],
    ["a small one", Buffer.concat([snapshot(20_000), snapshot(600)])],
    ["one of another version", Buffer.concat([snapshot(20_000), before])],
  ] as const)("stay where there is %s", ([, program]) => {
    expect(() => dropOwnSnapshots(program, "14.6", program.length)).toThrow(/snapshots of V8/);
  });
});

test("WebAssembly in Node's modules becomes As, and its quotes stay", () => {
  const wasm = `"AGFzbQ${"bC+/9".repeat(300)}=="`;
  const program = Buffer.from(`require(${wasm}) "AGFzbQ" ${wasm}`);
  const smaller = dropWasm(program, program.length - wasm.length).toString();
  expect(smaller).toBe(`require("${"A".repeat(wasm.length - 4)}==") "AGFzbQ" ${wasm}`);
  expect(() => dropWasm(before, before.length)).toThrow(/no WebAssembly/);
});
