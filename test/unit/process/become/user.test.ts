import { expect, test } from "vitest";

import { Failure } from "../../../../src/failure.ts";
import { resolveUser } from "../../../../src/process/become/user.ts";

const passwd = `root:x:0:0:root:/root:/bin/bash
# a comment
app:x:1000:1001:The app:/home/app:/bin/sh
homeless:x:1002:1002:::
1000x:x:1003:1003::/home/x:/bin/sh
`;
const group = `root:x:0:
app:x:1001:
www:x:33:other,app
adm:x:4:app
app-two:x:5:apple
`;
const resolve = (spec: string) => resolveUser(spec, passwd, group);

test("a name has its own group and those that list it", () => {
  expect(resolve("app")).toEqual({
    uid: 1000,
    gid: 1001,
    groups: [1001, 33, 4],
    home: "/home/app",
  });
});

test("a number is an id, and finds its entry", () => {
  expect(resolve("1000")).toEqual(resolve("app"));
});

test("a number in no file has group 0 and home /", () => {
  expect(resolve("4242")).toEqual({ uid: 4242, gid: 0, groups: [0], home: "/" });
});

test.each([
  ["app:www", 33],
  ["app:33", 33],
  ["app:4242", 4242],
])("%s is in that group alone", (spec, gid) => {
  expect(resolve(spec)).toEqual({ uid: 1000, gid, groups: [gid], home: "/home/app" });
});

test("an empty home is /", () => {
  expect(resolve("homeless").home).toBe("/");
});

test("a name may begin with digits", () => {
  expect(resolve("1000x").uid).toBe(1003);
});

test.each([
  ["nobody", "cannot switch to user nobody: not in /etc/passwd"],
  ["app:wheel", "cannot switch to group wheel: not in /etc/group"],
  ["", 'cannot switch to user "": not NAME or NAME:GROUP'],
  [":app", 'cannot switch to user ":app": not NAME or NAME:GROUP'],
  ["app:", 'cannot switch to user "app:": not NAME or NAME:GROUP'],
  ["app:www:x", 'cannot switch to user "app:www:x": not NAME or NAME:GROUP'],
  // -1 as an unsigned number, which to the kernel means "do not change".
  ["4294967295", "cannot switch to user 4294967295: not in /etc/passwd"],
  ["-1", "cannot switch to user -1: not in /etc/passwd"],
])("%j is a bad setting", (spec, message) => {
  expect(() => resolve(spec)).toThrow(expect.objectContaining({ code: "bad-settings", message }));
  expect(() => resolve(spec)).toThrow(Failure);
});
