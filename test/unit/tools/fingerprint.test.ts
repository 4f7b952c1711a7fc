// Whatever a migration tool could read differently changes the fingerprint, times and sizes notwithstanding; what it does not
// read leaves it as it is.

import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { takeFingerprint, type Covered } from "../../../src/tools/fingerprint.ts";

let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "entrypoint-fingerprint-"));
  write("versions/a1.py", 'revision = "a1"\n');
  write("versions/b2.py", 'revision = "b2"\ndown_revision = "a1"\n');
  write("versions/shop/c3.py", 'revision = "c3"\n');
});

afterEach(() => rmSync(root, { recursive: true }));

function write(name: string, content: string): void {
  const path = join(root, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, content);
}

function take(covered: Partial<Covered> & Pick<Covered, "kind">): string {
  const folder = { path: join(root, "versions"), recursive: false, sourceless: false };
  return takeFingerprint({ ...folder, ...covered }, join(root, "versions", "left-out"));
}

const flat = { kind: "revisions" } as const;
const recursive = { kind: "revisions", recursive: true } as const;
const sourceless = { kind: "revisions", sourceless: true } as const;

type Case = readonly [name: string, covered: Parameters<typeof take>[0], change: () => void];

const tree = { kind: "tree" } as const;
const changing: Case[] = [
  ["any file of a tree", tree, () => write("versions/shop/deep/x.sql", "")],
  ["what is in a file of a tree", tree, () => write("versions/shop/c3.py", "other")],
  ["a link of a tree to another file", tree, () => symlinkSync("a1.py", join(root, "versions/x"))],
  ["a revision that is added", flat, () => write("versions/c3.py", "")],
  ["a revision that is removed", flat, () => rmSync(join(root, "versions/b2.py"))],
  [
    "a revision that is renamed",
    flat,
    () => renameSync(join(root, "versions/b2.py"), join(root, "versions/b3.py")),
  ],
  ["contents that change places", flat, swapContents],
  ["an empty file", flat, () => write("versions/.hidden.py", "")],
  ["a link to a revision", flat, () => symlinkSync("a1.py", join(root, "versions/c3.py"))],
  ["a folder that looks like one", flat, () => write("versions/c3.py/x", "")],
  ["a revision in a subfolder", recursive, () => write("versions/shop/d4.py", "")],
  [
    "a subfolder that is renamed",
    recursive,
    () => renameSync(join(root, "versions/shop"), join(root, "versions/blog")),
  ],
  ["bytecode without a source", sourceless, () => write("versions/c3.pyc", "")],
  ["and in the cache", sourceless, () => write("versions/__pycache__/c3.cpython-313.pyc", "")],
  ["the folder itself", flat, () => rmSync(join(root, "versions"), { recursive: true })],
  ["a name", { kind: "names" }, () => write("versions/blog/x", "")],
  [
    "a package",
    { kind: "packages" },
    () => write("versions/alembic-1.20.1.dist-info/METADATA", ""),
  ],
];

const indifferent: Case[] = [
  ["a text file", flat, () => write("versions/README", "")],
  ["bytecode", flat, () => write("versions/__pycache__/a1.cpython-313.pyc", "")],
  ["bytecode of a source", sourceless, () => write("versions/__pycache__/a1.cpython-313.pyc", "")],
  ["a revision in a subfolder", flat, () => write("versions/shop/d4.py", "")],
  ["other times", flat, () => utimesSync(join(root, "versions/a1.py"), 1, 1)],
  ["the file that is left out of a tree", tree, () => write("versions/left-out", "")],
  ["the file that is left out", { kind: "names" }, () => write("versions/left-out", "")],
  ["other contents", { kind: "names" }, () => write("versions/a1.py", "")],
  ["a module", { kind: "packages" }, () => write("versions/alembic/env.py", "")],
];

test.each(changing)("%s changes it", (_name, covered, change) => {
  const before = take(covered);
  change();
  expect(take(covered)).not.toBe(before);
});

test.each(indifferent)("%s does not", (_name, covered, change) => {
  const before = take(covered);
  change();
  expect(take(covered)).toBe(before);
});

test("an id of the same length at the same time changes it", () => {
  const path = join(root, "versions/b2.py");
  const { size, atime, mtime } = statSync(path);
  const before = take(flat);
  writeFileSync(path, readFileSync(path, "utf8").replace('"a1"', '"z1"'));
  utimesSync(path, atime, mtime);
  expect(statSync(path)).toMatchObject({ size, mtimeMs: mtime.getTime() });
  expect(take(flat)).not.toBe(before);
});

describe("a file", () => {
  const file = () => takeFingerprint({ kind: "file", path: join(root, "alembic.ini") }, "");

  test("that is not there is absent, and an empty one is not", () => {
    expect(file()).toBe("absent");
    write("alembic.ini", "");
    expect(file()).not.toBe("absent");
  });

  test("that is larger than what is read at once counts to its end", () => {
    write("alembic.ini", `${"x".repeat(200_000)}a`);
    const before = file();
    write("alembic.ini", `${"x".repeat(200_000)}b`);
    expect(file()).not.toBe(before);
  });

  test("that has become a folder is an error, and no fingerprint", () => {
    write("alembic.ini/x", "");
    expect(file).toThrow("EISDIR");
  });
});

function swapContents(): void {
  const [a, b] = ["a1", "b2"].map((id) => readFileSync(join(root, `versions/${id}.py`), "utf8"));
  write("versions/a1.py", b ?? "");
  write("versions/b2.py", a ?? "");
}
