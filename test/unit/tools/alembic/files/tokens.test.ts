// Where strings, comments, brackets and lines end, and how a file's bytes become text.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import {
  decodeSource,
  readSource,
  tokenise,
} from "../../../../../src/tools/alembic/files/tokens.ts";

function lines(source: string, skipFunctions = false): string[] {
  const answer = tokenise(source, { skipFunctions });
  if (answer.kind === "unreadable") throw new Error(answer.reason);
  return answer.lines.map(
    (line) => `${line.number}/${line.indent}: ${line.tokens.map((each) => each.text).join(" ")}`,
  );
}

test.for<[string, string, string[]]>([
  ["comments and blank lines", "# a\n\nx = 1 # b\n  # c\n", ["3/0: x = 1"]],
  ["brackets over lines", "x = [\n1,  # a ]\n2]\ny", ["1/0: x = [ 1 , 2 ]", "4/0: y"]],
  ["backslashes", "x = \\\n  1\ny", ["1/0: x = 1", "3/0: y"]],
  ["indentation by tabs", "if x:\n\ty\n        z\n", ["1/0: if x :", "2/8: y", "3/8: z"]],
  ["form feeds", "\f\fx\n  \fy\n", ["1/0: x", "2/0: y"]],
  ["carriage returns", "x\r\ny\rz", ["1/0: x", "2/0: y", "3/0: z"]],
  [
    "strings with hashes and brackets",
    `x = "#(" '\\'' """a\n"b" ["""`,
    [`1/0: x = "#(" '\\'' """a\n"b" ["""`],
  ],
  ["a raw string that ends in a backslash and a quote", `r'\\'' + x`, [`1/0: r'\\'' + x`]],
  ["nested f-strings", `f"{x["a"]}" y`, [`1/0: f"{x["a"]}" y`]],
  ["f-strings that nest themselves", `f"{f"{f"{1}"}"}" y`, [`1/0: f"{f"{f"{1}"}"}" y`]],
  ["formats with quotes and fields", `f'{x!r:"^{w}}' y`, [`1/0: f'{x!r:"^{w}}' y`]],
  ["doubled braces", `f"{{" y; f"}}" z`, [`1/0: f"{{" y ; f"}}" z`]],
  ["named characters", `f"\\N{BULLET}'" y`, [`1/0: f"\\N{BULLET}'" y`]],
  ["names that only look like prefixes", `bar"x" rub 'x'`, [`1/0: bar "x" rub 'x'`]],
  ["names in other letters", "ｒevision = 1", ["1/0: revision = 1"]],
])("reads %s", ([, source, expected]) => {
  expect(lines(source)).toEqual(expected);
});

test("leaves out the bodies of functions, and nothing else", () => {
  const source = "def f():\n    '''\nx = 1\n'''\n    y\nasync def g(): pass\nif a:\n    z\nlast";
  expect(lines(source, true)).toEqual([
    "1/0: def f ( ) :",
    "6/0: async def g ( ) : pass",
    "7/0: if a :",
    "8/4: z",
    "9/0: last",
  ]);
});

test.for<[string, string | null]>([
  ["'a'", "a"],
  ["u'a'", "a"],
  ["R'\\n'", "\\n"],
  ["'\\n\\x41\\u0042\\U00000043\\104\\q'", "\nABCD\\q"],
  ["'''a\\\nb'''", "ab"],
  ["''", ""],
  ["b'a'", null],
  ["f'a'", null],
  ["t'a'", null],
  ["rb'a'", null],
  ["'\\N{BULLET}'", null],
])("knows the value of %s", ([source, value]) => {
  const answer = tokenise(source, { skipFunctions: false });
  expect(answer.kind === "read" ? answer.lines[0]?.tokens[0]?.value : answer).toBe(value);
});

test.for(["x = 'a", "x = '''a", "x = f'{a'", "x = (", "x = )", "x = [1)", "x \\ y", `f"{a`])(
  "refuses %s",
  (source) => {
    expect(tokenise(source, { skipFunctions: false })).toMatchObject({ kind: "unreadable" });
  },
);

test.for<[string, Uint8Array, object]>([
  ["UTF-8", Buffer.from("é"), { text: "é", exact: true }],
  ["a byte order mark", Buffer.from("\uFEFFx"), { text: "x", exact: true }],
  [
    "Latin-1 that says so",
    Buffer.from("# -*- coding: Latin_1 -*-\né", "latin1"),
    { kind: "text", exact: false },
  ],
  [
    "Latin-1 that says so in line two",
    Buffer.from("#!x\n# coding=cp1252\né", "latin1"),
    { kind: "text" },
  ],
  [
    "Latin-1 that says so too late",
    Buffer.from("x\n# coding: latin-1\né", "latin1"),
    { kind: "unreadable" },
  ],
  ["Latin-1 that does not say so", Buffer.from("é", "latin1"), { kind: "unreadable" }],
  ["ASCII that is not", Buffer.from("# coding: ascii\né"), { kind: "unreadable" }],
  [
    "an encoding in which quotes hide",
    Buffer.from("# coding: shift_jis\n"),
    { kind: "unreadable" },
  ],
  ["a mark that contradicts", Buffer.from("\uFEFF# coding: latin-1\n"), { kind: "unreadable" }],
  ["a null byte", Buffer.from("a\0b"), { kind: "unreadable" }],
])("decodes %s", ([, bytes, expected]) => {
  expect(decodeSource(bytes)).toMatchObject(expected);
});

// A file that is all ASCII is read as text at once: the result must be that of its bytes.
const samples: Readonly<Record<string, Buffer>> = {
  ASCII: Buffer.from('"""Add posts."""\r\nrevision = "a1"\n'),
  nothing: Buffer.alloc(0),
  "a null byte": Buffer.from('revision = "a1"\0\n'),
  "a coding cookie for ASCII characters alone": Buffer.from("# coding: latin-1\nrevision = 'a'\n"),
  "a coding cookie of UTF-8": Buffer.from("#!/usr/bin/python\n# -*- coding: utf-8 -*-\nx = 1\n"),
  "a coding cookie in the third line": Buffer.from("#\n#\n# coding: utf-16\n"),
  "a coding cookie that is not understood": Buffer.from("# coding: utf-7\nx = '+AGE-'\n"),
  "UTF-8": Buffer.from("# größe 🐘\nx = 'ö'\n"),
  "a byte order mark": Buffer.from("\uFEFFx = 1\n"),
  "a byte order mark and a coding cookie": Buffer.from("\uFEFF# coding: latin-1\n"),
  "what is not UTF-8": Buffer.from([0x78, 0xff, 0x0a]),
  "a replacement character": Buffer.from("x = '\uFFFD'\n"),
  "Latin-1, said so": Buffer.from("# coding: latin-1\nx = 'gr\xf6\xdfe'\n", "latin1"),
};

test.for(Object.entries(samples))("reads a file of %s", ([, bytes]) => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-source-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "a1.py");
  writeFileSync(path, bytes);
  expect(decodeSource(readSource(path))).toEqual(decodeSource(bytes));
});
