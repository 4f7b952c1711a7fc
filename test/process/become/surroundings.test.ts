// What the shell script does before its exec: cd, umask, and ${VAR:-default} in the words. For real, in what the migration
// command, a setup step and the application find.
// @runs-on bundle, executable

import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { runEntrypoint } from "../harness/entrypoint.ts";

const report = `echo "$1 in $(pwd) with $(umask)"`;

test("--chdir and --umask hold for every command, and for what the settings name", async () => {
  const directory = makeDirectory();
  mkdirSync(join(directory, "inner"));
  writeFileSync(join(directory, "inner/.env"), "WHERE=inner\n");
  writeFileSync(join(directory, "inner/tell"), `#!/bin/sh\n${report}\n`, { mode: 0o755 });
  for (const args of [[], ["supervise"]]) {
    const options = ["--chdir", "${BASE}/inner", "--umask", "027", "--expand"];
    const steps = ["--migrate", "./tell migration", "--setup", './tell "${STEP:-a step}"'];
    const app = ["./tell", "the ${APP:-application} of ${WHERE}"];
    const { code, stdout, stderr } = await runEntrypoint(
      [...options, "--no-lock", ...steps, ...args, "--", ...app],
      { cwd: directory, env: { BASE: directory, ENTRYPOINT_ENV_FILE: ".env" } },
    );
    expect(code, stderr).toBe(0);
    const place = `in ${join(directory, "inner")} with 0027`;
    const told = `the application of inner ${place}`;
    const boot = [`migration ${place}`, `a step ${place}`];
    expect(stdout.trimEnd().split("\n")).toEqual(args.length === 0 ? [...boot, told] : [told]);
  }
});

test("PWD follows, and a directory that is missing is refused", async () => {
  const directory = makeDirectory();
  const options = { cwd: "/", env: { PWD: "/", ENTRYPOINT_CHDIR: directory } };
  const args = ["exec", "--", "printenv", "PWD"];
  expect(await runEntrypoint(args, options)).toMatchObject({ code: 0, stdout: `${directory}\n` });
  const { code, lines } = await runEntrypoint(["--chdir", "missing", ...args], options);
  expect(code).toBe(64);
  expect(lines.at(-1)?.["msg"]).toBe("cannot change to the directory missing: ENOENT");
});

test("no expanded secret is in the log", async () => {
  const env = {
    ENTRYPOINT_SETUP: 'sh -c : x "${API_TOKEN}"',
    ENTRYPOINT_APP: "true ${API_TOKEN} ${BROKER}",
    API_TOKEN: "tok-123456",
    BROKER: "amqp://u:pw-123456@mq",
  };
  const { code, stderr } = await runEntrypoint(["--no-migrate"], { env });
  expect(code).toBe(0);
  expect(stderr).toContain("amqp://u:***@mq");
  expect(stderr).not.toContain("123456");
});

test("a ${ of the application's own stays, with a word where it looks like a mistake", async () => {
  const words = ["printf", "%s\n", "${A:-b}", "${A}", "${A%b}"];
  const { stdout, lines } = await runEntrypoint(["exec", "--", ...words], { env: { A: "x" } });
  expect(stdout).toBe("${A:-b}\n${A}\n${A%b}\n");
  expect(lines.map(({ event }) => event)).toEqual(["settings"]);
});

function makeDirectory(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "entrypoint-surroundings-")));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}
