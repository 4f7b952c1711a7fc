// Where entrypoint's options end and the application's words begin: at the first word that is no option, or at
// `--`. What follows belongs to the application, whatever it looks like.

import { beforeAll, expect, test, vi } from "vitest";
import { parseArguments } from "../../../src/settings/cli.ts";
import { exitCodes, Failure } from "../../../src/failure.ts";

// The build replaces it in the bundle.
beforeAll(() => void vi.stubGlobal("ENTRYPOINT_VERSION", "1.2.3"));

function invocationOf(...argv: string[]) {
  const parsed = parseArguments(argv);
  if (parsed.kind !== "boot") throw new Error(`prints ${parsed.text}`);
  return parsed.invocation;
}

function printedBy(...argv: string[]): string {
  const parsed = parseArguments(argv);
  if (parsed.kind !== "print") throw new Error("prints nothing");
  return parsed.text;
}

function failureOf(...argv: string[]): Failure {
  try {
    parseArguments(argv);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error(`${argv.join(" ")} is accepted`);
}

test("no words at all boot with the defaults", () => {
  expect(invocationOf()).toEqual({ command: "run", flags: {}, app: [] });
});

test.each([
  [["uvicorn", "app:app", "--workers", "2"]],
  [["app", "--help"]],
  [["app", "--version"]],
  [["app", "--dry-run"]],
  [["app", "-h", "-V"]],
  [["app", "--", "x"]],
  [["app", "x", "--", "--"]],
  [["app", "migrate"]],
  [["app", ""]],
  [["/bin/sh", "-c", "echo $PORT"]],
])("%j is the application's own", (words) => {
  expect(invocationOf(...words)).toEqual({ command: "run", flags: {}, app: words });
});

test("options end at the first word that is none", () => {
  expect(invocationOf("--dry-run", "app", "--always-migrate")).toEqual({
    command: "run",
    flags: { dryRun: true },
    app: ["app", "--always-migrate"],
  });
});

test("options end at --, which is not the application's", () => {
  expect(invocationOf("--dry-run", "--", "--odd-name", "--x")).toEqual({
    command: "run",
    flags: { dryRun: true },
    app: ["--odd-name", "--x"],
  });
  expect(invocationOf("--").app).toEqual([]);
});

test("only the first -- is taken away", () => {
  expect(invocationOf("--", "--", "x").app).toEqual(["--", "x"]);
});

test.each(["migrate", "run", "status", "wait", "help"])(
  "after -- the word %s is an application",
  (word) => {
    expect(invocationOf("--", word, "x")).toEqual({ command: "run", flags: {}, app: [word, "x"] });
    expect(invocationOf("--dry-run", "--", word).app).toEqual([word]);
  },
);

test.each([
  ["run", "app", "--help"],
  ["run", "--", "app", "--help"],
])("%s %s is the command run", (...argv) => {
  expect(invocationOf(...argv)).toEqual({ command: "run", flags: {}, app: ["app", "--help"] });
});

test("run -- migrate starts an application named migrate", () => {
  expect(invocationOf("run", "--", "migrate")).toEqual({
    command: "run",
    flags: {},
    app: ["migrate"],
  });
});

test.each([
  [["bash"], "run", false],
  [["--", "run", "bash"], "run", false],
  [["--dry-run", "bash"], "run", false],
  [["run", "bash"], "run", true],
  [["run", "--", "bash"], "run", true],
  [["exec", "--", "uvicorn"], "exec", true],
  [["--user", "me", "exec", "uvicorn"], "exec", true],
] as const)("%j: the command %s is named: %s", (argv, command, named) => {
  expect(parseArguments(argv)).toMatchObject({ invocation: { command }, named });
});

test("run alone boots with the default application", () => {
  expect(invocationOf("run").app).toEqual([]);
});

test("options may stand before the command and after it, and the later one counts", () => {
  expect(
    invocationOf("--dry-run", "--lock-timeout", "1", "migrate", "--lock-timeout=2", "--user", "me"),
  ).toEqual({
    command: "migrate",
    flags: { dryRun: true, lockTimeout: "2", user: "me" },
    app: [],
  });
});

test("a repeatable option keeps every value, before the command and after it", () => {
  expect(invocationOf("--setup", "a", "--setup", "b", "run", "--setup", "c", "app").flags).toEqual({
    setup: ["a", "b", "c"],
  });
});

test("an option's value may look like an option, be empty, or hold an =", () => {
  expect(invocationOf("--wait-timeout", "-5", "--migrate=", "--database-url=a=b").flags).toEqual({
    waitTimeout: "-5",
    migrate: [""],
    databaseUrl: "a=b",
  });
});

test("--no-migrate is an option of its own beside --migrate", () => {
  expect(invocationOf("--no-migrate").flags).toEqual({ noMigrate: true });
  expect(invocationOf("--migrate", "x").flags).toEqual({ migrate: ["x"] });
});

test("words after migrate are kept, for the settings to refuse", () => {
  expect(invocationOf("migrate", "app").app).toEqual(["app"]);
});

test("wait takes an application, after -- or not, and none", () => {
  expect(invocationOf("wait", "--wait-timeout", "5m", "--", "app", "--help")).toEqual({
    command: "wait",
    flags: { waitTimeout: "5m" },
    app: ["app", "--help"],
  });
  expect(invocationOf("wait", "app", "--dry-run").app).toEqual(["app", "--dry-run"]);
  expect(invocationOf("wait")).toEqual({ command: "wait", flags: {}, app: [] });
});

test("supervise takes its own options and an application, after -- or not", () => {
  expect(
    invocationOf(
      "supervise",
      "--map-exit",
      "143=0",
      "--map-exit=1=2",
      "--wait-all",
      "--",
      "app",
      "-x",
    ),
  ).toEqual({
    command: "supervise",
    flags: { mapExit: ["143=0", "1=2"], waitAll: true },
    app: ["app", "-x"],
  });
  expect(invocationOf("supervise", "app", "--wait-all")).toEqual({
    command: "supervise",
    flags: {},
    app: ["app", "--wait-all"],
  });
  // Without one it is for the settings to refuse.
  expect(invocationOf("supervise")).toEqual({ command: "supervise", flags: {}, app: [] });
});

test.each([
  [["--no-such-option"], "unknown option '--no-such-option'"],
  [["-x"], "unknown option '-x'"],
  [["migrate", "--no-such-option"], "unknown option '--no-such-option'"],
  [["migrate", "--mode", "exec"], "unknown option '--mode'"],
  [["wait", "--setup", "x"], "unknown option '--setup'"],
  [["wait", "--always-migrate"], "unknown option '--always-migrate'"],
  [["wait", "--lock-timeout", "1"], "unknown option '--lock-timeout'"],
  [["wait", "--migrate-timeout=1"], "unknown option '--migrate-timeout'"],
  [["supervise", "--mode", "exec"], "unknown option '--mode'"],
  [["supervise", "--database-url=x"], "unknown option '--database-url'"],
  [["migrate", "--wait-all"], "unknown option '--wait-all'"],
  [["--lock-timeout"], "option '--lock-timeout <duration>' argument missing"],
  [["--dry-run", "run", "--user"], "option '--user <name[:group]>' argument missing"],
])("64: %j is refused with its reason and a cure", (argv, message) => {
  const failure = failureOf(...argv);
  expect(exitCodes[failure.code]).toBe(64);
  expect(failure.message).toContain(message);
  expect(failure.hint).toContain("--help");
});

test.each(["--databse-url", "-database-url", "--url"])(
  "the password in a mistyped %s=… is not repeated",
  (flag) => {
    const { message } = failureOf(`${flag}=postgresql://blog:it's=s3cret@db/blog`);
    expect(message).toContain(`unknown option '${flag}'`);
    expect(message).not.toContain("s3cret");
  },
);

test.each([["--help"], ["-h"], ["help"]])("%s prints every option, variable and code", (word) => {
  const text = printedBy(word);
  expect(text).toContain("--lock-timeout <duration>");
  expect(text).toContain("ENTRYPOINT_LOCK_TIMEOUT");
  expect(text).toContain("entrypoint migrate");
  for (const code of Object.keys(exitCodes)) expect(text).toContain(code);
});

test("migrate --help prints the command's own options", () => {
  const text = printedBy("migrate", "--help");
  expect(text).toContain("entrypoint migrate [options]");
  expect(text).not.toContain("--mode");
});

test("wait --help prints the command's own options", () => {
  const text = printedBy("wait", "--help");
  expect(text).toContain("entrypoint wait [options] [--] [APP [ARG...]]");
  for (const flag of ["--wait-timeout", "--migrate <", "--mode"]) expect(text).toContain(flag);
  for (const flag of ["--setup", "--always-migrate", "--lock-timeout", "--migrate-timeout"]) {
    expect(text).not.toContain(flag);
  }
});

test("supervise --help prints the command's own options", () => {
  const text = printedBy("supervise", "--help");
  expect(text).toContain("entrypoint supervise [options] [--] APP [ARG...]");
  for (const flag of ["--drain-delay", "--map-signal", "--user"]) expect(text).toContain(flag);
  for (const flag of ["--migrate", "--database-url", "--mode"]) expect(text).not.toContain(flag);
});

test("--version --verbose prints the commit, and the Node.js that is inside", () => {
  vi.stubGlobal("ENTRYPOINT_COMMIT", "0123456789ab");
  const parsed = parseArguments(["--version", "--verbose"]);
  const { node, v8, openssl } = process.versions;
  const text = `1.2.3\ncommit 0123456789ab\nNode.js ${node}\nV8 ${v8}\nOpenSSL ${openssl}\n`;
  expect(parsed).toEqual({ kind: "print", text });
  expect(parseArguments(["--verbose", "--version"])).toEqual(parsed);
});

test.each(["--version", "-V"])("%s prints the version", (word) => {
  expect(printedBy(word)).toBe("1.2.3\n");
});

test("lint has the options that it reads", () => {
  expect(invocationOf("lint", "--json", "--range", "a1:head")).toEqual({
    command: "lint",
    flags: { json: true, range: "a1:head" },
    app: [],
  });
  const text = printedBy("lint", "--help");
  for (const flag of ["--sql", "--format", "--lint-threshold"]) expect(text).toContain(flag);
  expect(text).not.toContain("--lint <");
});

test("status, current, heads and history have the options that they read", () => {
  expect(invocationOf("status", "--json")).toEqual({
    command: "status",
    flags: { json: true },
    app: [],
  });
  expect(invocationOf("--versions", "v", "history", "--verbose")).toEqual({
    command: "history",
    flags: { versions: ["v"], verbose: true },
    app: [],
  });
  for (const word of ["status", "current", "heads", "history"]) {
    const text = printedBy(word, "--help");
    expect(text).toContain(`entrypoint ${word} [options]`);
    expect(text).toContain("--database-url");
    expect(text).not.toContain("--wait-timeout");
  }
  expect(printedBy("heads", "--help")).not.toContain("--json");
});

test("of downgrade the options may come behind the revision, and -1 is no option", () => {
  const { command, flags, app } = invocationOf(
    "downgrade",
    "-1",
    "--dry-run",
    "--lock-timeout",
    "5s",
  );
  expect({ command, flags, app }).toEqual({
    command: "downgrade",
    flags: { dryRun: true, lockTimeout: "5s" },
    app: ["-1"],
  });
});
