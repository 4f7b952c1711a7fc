import { describe, expect, test } from "vitest";

import {
  type OpenDescriptor,
  selectInherited,
  selectUndecodable,
} from "../../../../src/process/become/inheritance.ts";

const open = (...targets: [number, string, boolean?][]): OpenDescriptor[] =>
  targets.map(([fd, target, closeOnExec = true]) => ({ fd, target, closeOnExec }));

/** What Node 26 has open when it starts with 0, 1, 2 and nothing else; numbers from `first` on. */
const ofNode = (first: number): [number, string][] =>
  [
    "anon_inode:[eventpoll]",
    "anon_inode:[io_uring]",
    "pipe:[1]",
    "pipe:[1]",
    "pipe:[2]",
    "pipe:[2]",
    "anon_inode:[eventfd]",
  ].map((target, index) => [first + index, target]);

const standard: [number, string][] = [
  [0, "/dev/null"],
  [1, "pipe:[8]"],
  [2, "pipe:[8]"],
];

describe("of the open descriptors, inherited are", () => {
  test("none, where there are Node's own alone", () => {
    expect(selectInherited(open(...standard, ...ofNode(3)))).toEqual([]);
  });

  test("files, sockets, and pipes of one end, wherever they lie", () => {
    const inherited: [number, string][] = [
      [15, "pipe:[9]"],
      [3, "socket:[5]"],
      [14, "/var/log/app"],
    ];
    expect(selectInherited(open(...standard, ...ofNode(4), ...inherited))).toEqual([3, 14, 15]);
  });

  test("a pipe with both ends below Node's first", () => {
    const jobserver: [number, string][] = [
      [3, "pipe:[7]"],
      [4, "pipe:[7]"],
    ];
    expect(selectInherited(open(...standard, ...jobserver, ...ofNode(5)))).toEqual([3, 4]);
  });

  test("an eventfd below Node's first, and other anonymous ones anywhere", () => {
    const inherited: [number, string][] = [
      [3, "anon_inode:[eventfd]"],
      [12, "anon_inode:[signalfd]"],
    ];
    expect(selectInherited(open(...standard, ...ofNode(4), ...inherited))).toEqual([3, 12]);
  });

  test("not those that an exec leaves open anyway", () => {
    expect(selectInherited(open(...standard, ...ofNode(3), [40, "/etc/passwd", false]))).toEqual(
      [],
    );
  });

  test("a pipe of which standard output is the other end", () => {
    expect(selectInherited(open(...standard, ...ofNode(3), [12, "pipe:[8]"]))).toEqual([12]);
  });
});

test("strings that are not UTF-8 are found in a block of them", () => {
  const block = Buffer.from("A=ok\0B=\xff\0C=\xc3\xbc\0\xe9=D\0", "latin1");
  expect(selectUndecodable(block).map((bytes) => Buffer.from(bytes).toString("latin1"))).toEqual([
    "B=\xff",
    "\xe9=D",
  ]);
  expect(selectUndecodable(Buffer.from("A=ü\0"))).toEqual([]);
});
