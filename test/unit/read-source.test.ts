// A file that is all ASCII is read as text at once: what comes of it must be what its bytes give.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { decodeSource, readSource } from "../../src/migrations/alembic/tokens.ts";

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

test.for(Object.entries(samples))("%s", ([, bytes]) => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-source-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "a1.py");
  writeFileSync(path, bytes);
  expect(decodeSource(readSource(path))).toEqual(decodeSource(bytes));
});
