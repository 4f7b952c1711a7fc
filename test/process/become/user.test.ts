// --user for real: needs root, which is what a container mostly starts as; skipped elsewhere.
// @runs-on bundle, executable

import { spawnSync } from "node:child_process";

import { describe, expect, test } from "vitest";

import { dropPrivileges } from "../../../src/process/become/user.ts";
import { entrypointCommand } from "../harness/entrypoint.ts";

const report = 'grep -E "^(Uid|Gid|Groups):" /proc/self/status; echo "HOME=$HOME"';

describe.skipIf(process.getuid?.() !== 0)("as root", () => {
  test("becomes another user in all ids, with that user's home", () => {
    const ended = runAs("nobody");
    expect(ended.stdout).toContain("Uid:\t65534\t65534\t65534\t65534\n");
    expect(ended.stdout).toMatch(/Gid:\t(\d+)\t\1\t\1\t\1\nGroups:\t\1 \n/);
    expect(ended.stdout).toContain("HOME=/nonexistent\n");
    expect(ended.status).toBe(0);
  });

  test("takes numbers that are in no file", () => {
    const { stdout } = runAs("54321:54322");
    expect(stdout).toContain(
      "Uid:\t54321\t54321\t54321\t54321\nGid:\t54322\t54322\t54322\t54322\n",
    );
    expect(stdout).toContain("Groups:\t54322 \nHOME=/\n");
  });

  test("takes what the common images call PUID and PGID", () => {
    const user = "${PUID:-1000}:${PGID:-1000}";
    const ids = { PUID: "54321", PGID: "54322" };
    expect(runAs(user, report, ids).stdout).toContain(
      "Uid:\t54321\t54321\t54321\t54321\nGid:\t54322",
    );
    expect(runAs(user).stdout).toContain("Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t");
  });

  test("cannot become root again, and says so with 64", () => {
    const again = [...entrypointCommand(), "--no-migrate", "--user", "root", "--", "true"];
    const ended = spawnSync("/bin/sh", ["-c", '"$@"', "sh", ...again], { uid: 54321, gid: 54321 });
    // Where another user cannot read the checkout, the shell says 126 and there is nothing to see.
    if (ended.status !== 126) expect(ended.status).toBe(64);
    expect(runAs("54321:54321", "kill -0 1").status).not.toBe(0);
  });

  test("changes nothing for the user that it is", () => {
    const env = { HOME: "/somewhere" };
    expect(dropPrivileges("0:0", env)).toBe(env);
  });
});

test("an unknown user is a bad setting", () => {
  const ended = runAs("no-such-user");
  expect(ended.stderr).toContain("cannot switch to user no-such-user: not in /etc/passwd");
  expect(ended.status).toBe(64);
});

function runAs(user: string, script = report, env: Readonly<Record<string, string>> = {}) {
  const words = ["--no-migrate", "--user", user, "--", "/bin/sh", "-c", script];
  const [file, ...before] = entrypointCommand();
  return spawnSync(file, [...before, ...words], {
    encoding: "utf8",
    cwd: "/",
    env: { ...process.env, ...env },
  });
}
