// ELF programs: what is cut from one, and what tools and the kernel still find in it.

import { describe, expect, test } from "vitest";

import { cutParts, readSegments, stripSymbols } from "../../../../scripts/build/elf.ts";

const page = 0x1000;
const flags = { read: 4, execute: 5, write: 6 };

/** Four pages of read-only data, one of code behind them, and what no segment holds. */
function createProgram(): Buffer {
  const header = Buffer.alloc(0x40);
  header.write("\x7fELF\x02\x01\x01", "latin1");
  header.writeBigUInt64LE(0x40n, 0x20); // e_phoff
  header.writeBigUInt64LE(BigInt(5 * page), 0x28); // e_shoff
  header.writeUInt16LE(0x38, 0x36); // e_phentsize
  header.writeUInt16LE(2, 0x38); // e_phnum
  header.writeUInt16LE(7, 0x3c); // e_shnum
  const pages = ["", "1", "2", "3", "4"].map((text) => Buffer.alloc(page, text));
  Buffer.concat([header, segment(flags.read, 0, 4), segment(flags.execute, 4, 1)]).copy(
    pages[0] ?? header,
  );
  return Buffer.concat([...pages, Buffer.from("and the symbols")]);
}

function segment(flag: number, first: number, count: number): Buffer {
  const header = Buffer.alloc(0x38);
  header.writeUInt32LE(1, 0); // PT_LOAD
  header.writeUInt32LE(flag, 4);
  header.writeBigUInt64LE(BigInt(first * page), 0x08); // p_offset
  for (const field of [0x10, 0x18]) {
    header.writeBigUInt64LE(BigInt(0x400000 + first * page), field); // p_vaddr, p_paddr
  }
  header.writeBigUInt64LE(BigInt(count * page), 0x20); // p_filesz
  header.writeBigUInt64LE(BigInt(count * page), 0x28); // p_memsz
  header.writeBigUInt64LE(BigInt(page), 0x30); // p_align
  return header;
}

describe("strips a program", () => {
  test("down to the end of its last segment", () => {
    const stripped = stripSymbols(createProgram());
    expect(stripped.length).toBe(5 * page);
    expect(stripped.readBigUInt64LE(0x28)).toBe(0n);
    expect(stripSymbols(stripped).equals(stripped)).toBe(true);
  });

  test.for([
    ["a script", Buffer.from("#!/bin/sh\nexec node\n")],
    ["nothing", Buffer.alloc(0)],
    ["a program of big-endian numbers", Buffer.from("\x7fELF\x02\x02\x01", "latin1")],
    ["one that breaks off in its headers", createProgram().subarray(0, 0x80)],
    ["one that breaks off", createProgram().subarray(0, 2 * page)],
  ] as const)("and refuses %s", ([, program]) => {
    expect(() => stripSymbols(program)).toThrow(/^Node (is not a|ends before)/);
  });
});

describe("cuts a program", () => {
  const program = stripSymbols(createProgram());

  test("by whole pages, and the rest stays at its address", () => {
    const cut = cutParts(program, [{ start: page + 5, end: 3 * page + 5 }]);
    expect(cut.length).toBe(program.length - page);
    const loaded = readSegments(cut).map(({ address, offset, fileSize }) => ({
      address,
      length: fileSize,
      text: cut.toString("latin1", offset + fileSize - 1, offset + fileSize),
    }));
    expect(loaded).toEqual([
      { address: 0x400000, length: 2 * page, text: "1" },
      { address: 0x400000 + 3 * page, length: page, text: "3" },
      { address: 0x400000 + 4 * page, length: page, text: "4" },
    ]);
  });

  test("nowhere where a part has no whole page", () => {
    expect(cutParts(program, [{ start: page + 1, end: 3 * page - 1 }]).equals(program)).toBe(true);
  });

  test("to the end of a segment", () => {
    const cut = cutParts(program, [{ start: 2 * page, end: 4 * page }]);
    expect(readSegments(cut).map(({ fileSize }) => fileSize)).toEqual([2 * page, page]);
    expect(cut.length).toBe(3 * page);
  });

  test.for([
    ["its code", { start: 4 * page, end: 5 * page }, /no read-only data/],
    ["two segments", { start: 3 * page, end: 5 * page }, /no read-only data/],
  ] as const)("and does not cut %s", ([, part, reason]) => {
    expect(() => cutParts(program, [part])).toThrow(reason);
  });

  test("and needs room for one more program header", () => {
    const full = Buffer.from(program);
    full.writeUInt8(1, 0x40 + 2 * 0x38);
    const part = { start: page, end: 3 * page };
    expect(() => cutParts(full, [part])).toThrow(/no room/);
  });
});
