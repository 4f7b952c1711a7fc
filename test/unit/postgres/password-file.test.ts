// ~/.pgpass as libpq reads it; where libpq itself is asked is test/process/address.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findPassword } from "../../../src/postgres/password-file.ts";

function createFile(text: string, mode = 0o600): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-pgpass-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = join(directory, ".pgpass");
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

const wanted = { host: "db", port: 5432, database: "blog", user: "me" };

test.each([
  ["db:5432:blog:me:secret", "secret"],
  ["*:*:*:*:secret", "secret"],
  ["db:5432:blog:me:secret\r\n", "secret"],
  ["# a comment\n#db:5432:blog:me:no\n\ndb:5432:blog:me:secret", "secret"],
  ["db2:5432:blog:me:no\ndb:5432:blog:me:first\n*:*:*:*:second", "first"],
  [String.raw`db:5432:blog:me:a\:b\\c\d`, String.raw`a:b\cd`],
  ["db:5432:blog:me:secret:more", "secret"],
  ["db:5432:blog:me: spaces count ", " spaces count "],
])("the password in %j is %s", (text, password) => {
  expect(findPassword(createFile(text), wanted)).toEqual({ kind: "found", password });
});

test.each([
  "db:5432:blog:me",
  "db:5432:blog:me:",
  "db:5432:blog:you:secret",
  "db:54:blog:me:secret",
  "d*:5432:blog:me:secret",
  String.raw`\*:5432:blog:me:secret`,
  " db:5432:blog:me:secret",
])("there is no password in %j", (text) => {
  const file = createFile(text);
  expect(findPassword(file, wanted)).toEqual({
    kind: "none",
    reason: `no line of ${file} is for db:5432:blog:me`,
  });
});

test("colons and backslashes of a name are escaped", () => {
  const file = createFile(String.raw`fe80\:\:1:5432:a\\b:me:secret`);
  expect(findPassword(file, { ...wanted, host: "fe80::1", database: String.raw`a\b` })).toEqual({
    kind: "found",
    password: "secret",
  });
});

test.each([
  ["/var/run/postgresql", "localhost", true],
  ["/var/run/postgresql", "/var/run/postgresql", true],
  ["/run/pg", "/run/pg", true],
  ["/run/pg", "localhost", false],
])("a socket in %s is the host %s: %s", (host, written, found) => {
  const file = createFile(`${written}:5432:blog:me:secret`);
  const answer = findPassword(file, { ...wanted, host });
  expect(answer.kind).toBe(found ? "found" : "none");
});

test.each([0o640, 0o604, 0o622, 0o710])(
  "a file that others may use is ignored, and that is the reason: mode %o",
  (mode) => {
    const file = createFile("*:*:*:*:secret", mode);
    expect(findPassword(file, wanted)).toEqual({
      kind: "none",
      reason: `${file} is ignored, since users other than its owner can access it: chmod 600 it`,
    });
  },
);

test("a file that is not there, or is none, is the reason", () => {
  expect(findPassword("/no/such/file", wanted)).toMatchObject({
    reason: "set it in the URL, in PGPASSWORD, or in /no/such/file",
  });
  expect(findPassword("/dev/null", wanted)).toMatchObject({
    reason: "/dev/null is not a regular file",
  });
});
