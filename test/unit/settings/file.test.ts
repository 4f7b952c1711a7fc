// entrypoint.toml: which key is which setting, what beats what, which role is meant, and what is refused with which word.

import { expect, test, vi } from "vitest";
import { Failure } from "../../../src/failure.ts";
import { parseArguments } from "../../../src/settings/cli.ts";
import { applyFile, findNearest, keyOf } from "../../../src/settings/file.ts";
import { readSettings } from "../../../src/settings/reading.ts";
import type { Settings } from "../../../src/settings/settings.ts";
import { settingTable, type SettingRow } from "../../../src/settings/table.ts";

vi.stubGlobal("ENTRYPOINT_VERSION", "1.2.3");

const url = "postgresql://blog@db/blog";

interface Given {
  readonly text: string;
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly name?: string;
}

function apply({ text, argv = [], env = {}, name = "entrypoint.toml" }: Given) {
  const parsed = parseArguments(argv);
  if (parsed.kind !== "boot") throw new Error(`prints ${parsed.text}`);
  return applyFile(parsed, { name, text }, env);
}

function read(given: Given): Settings {
  const { invocation } = apply(given);
  return readSettings(invocation, { DATABASE_URL: url, ...given.env }, "/srv");
}

function problemsOf(given: Given): unknown {
  try {
    read(given);
  } catch (error) {
    if (error instanceof Failure) return error.details["problems"] ?? error.message;
    throw error;
  }
  return [];
}

const roles = `
wait-timeout = "2m"
[roles.web]
command = "uvicorn app:app --host ::"
drain-delay = "5s"
wait-timeout = 5
[roles.worker]
command = ["celery", "-A", "my app", "worker"]
boot = "wait"
[roles.cron]
command = "cron -f"
boot = "none"
[roles.init]
command = "sleep 1"
boot = "none"
wait-all = true
[roles.plain]
lock-timeout = "1m"
`;

test("every setting of the table is a key, under its flag's name", () => {
  for (const row of Object.values(settingTable) as SettingRow[]) {
    const { invocation, ...rest } = apply({ text: `${keyOf(row)} = "x"\n[roles.x]` });
    expect(invocation.file?.problems, keyOf(row)).toEqual([]);
    expect(rest.kind).toBe("boot");
  }
});

test.each<[name: string, given: Given, expected: object]>([
  ["the file beats the default", { text: 'wait-timeout = "2m"' }, { waitTimeoutMs: 120_000 }],
  ["a number is seconds", { text: "wait-timeout = 2.5" }, { waitTimeoutMs: 2_500 }],
  [
    "a variable beats the file",
    { text: 'wait-timeout = "2m"', env: { ENTRYPOINT_WAIT_TIMEOUT: "3" } },
    { waitTimeoutMs: 3_000 },
  ],
  [
    "an empty variable does not",
    { text: 'wait-timeout = "2m"', env: { ENTRYPOINT_WAIT_TIMEOUT: "" } },
    { waitTimeoutMs: 120_000 },
  ],
  [
    "a flag beats both",
    {
      text: 'wait-timeout = "2m"',
      env: { ENTRYPOINT_WAIT_TIMEOUT: "3" },
      argv: ["--wait-timeout", "4"],
    },
    { waitTimeoutMs: 4_000 },
  ],
  ["a switch", { text: "always-migrate = true" }, { alwaysMigrate: true }],
  ["a flag without a variable", { text: "dry-run = true" }, { dryRun: true }],
  ["such a flag that is off", { text: "dry-run = false" }, { dryRun: false }],
  [
    "a list of commands",
    { text: 'setup = ["a b", "c"]' },
    { setup: [{ words: ["a", "b"] }, { words: ["c"] }] },
  ],
  [
    "one value of a list is not split",
    { text: 'versions = "a"' },
    { migrations: [{ versions: ["a"] }] },
  ],
  [
    "a command as words",
    { text: 'database-password-command = ["x", "y z"]' },
    { passwordCommand: ["x", "y z"] },
  ],
  [
    "several migration commands",
    { text: 'migrate = ["x y", "z"]\nversion-table = ["-", "s.t"]' },
    {
      migrations: [
        { words: ["x", "y"], versionTable: null },
        { words: ["z"], versionTable: { schema: "s", name: "t" } },
      ],
    },
  ],
  ["no migration", { text: "no-migrate = true" }, { migrations: [] }],
  ["an empty migration", { text: 'migrate = ""' }, { migrations: [] }],
  [
    "the flag of a migration beats no-migrate of the file",
    { text: "no-migrate = true", argv: ["--migrate", "x"] },
    { migrations: [{ words: ["x"] }] },
  ],
  ["the application", { text: 'app = ["a", "b"]' }, { app: { words: ["a", "b"] } }],
  [
    "ENTRYPOINT_APP beats it",
    { text: 'app = ["a", "b"]', env: { ENTRYPOINT_APP: "c" } },
    { app: { words: ["c"] } },
  ],
  [
    "[tool.entrypoint] of pyproject.toml",
    { name: "pyproject.toml", text: '[project]\nname = "x"\n[tool.entrypoint]\nuser = "app"' },
    { user: "app" },
  ],
  [
    "DATABASE_URL beats the file's",
    { text: 'database-url = "postgresql://other/other"' },
    { database: { from: "DATABASE_URL" } },
  ],
  [
    "the file's URL is composed of variables",
    { text: 'database-url = "postgresql://${H:-h}/d"', env: { DATABASE_URL: "", H: "db" } },
    { database: { from: "entrypoint.toml: database-url", address: { database: "d" } } },
  ],
])("%s", (_, given, expected) => {
  expect(read(given)).toMatchObject(expected);
});

test.each<[name: string, argv: string[], env: Record<string, string>, expected: object]>([
  [
    "by its name",
    ["web"],
    {},
    {
      command: "run",
      waitTimeoutMs: 5_000,
      app: {
        words: ["uvicorn", "app:app", "--host", "::"],
        mode: "supervise",
        supervise: { drainDelayMs: 5_000 },
      },
    },
  ],
  ["with more words", ["cron", "-l", "2"], {}, { app: { words: ["cron", "-f", "-l", "2"] } }],
  ["behind options", ["--lock-timeout", "1", "web"], {}, { lockTimeoutMs: 1_000 }],
  ["by the flag", ["--role", "worker"], {}, { command: "wait", waitTimeoutMs: 120_000 }],
  [
    "by the variable",
    [],
    { ENTRYPOINT_ROLE: "worker" },
    { command: "wait", app: { words: ["celery", "-A", "my app", "worker"] } },
  ],
  [
    "by a variable of the project's own",
    [],
    { ENTRYPOINT_ROLE: "${SERVICE:-web}", SERVICE: "worker" },
    { command: "wait", app: { words: ["celery", "-A", "my app", "worker"] } },
  ],
  [
    "by nothing that is left",
    ["x"],
    { ENTRYPOINT_ROLE: "${SERVICE:-}" },
    { command: "run", app: { words: ["x"] } },
  ],
  [
    "the flag beats the variable",
    ["--role", "cron"],
    { ENTRYPOINT_ROLE: "web" },
    { command: "exec" },
  ],
  ["the word beats the variable", ["cron"], { ENTRYPOINT_ROLE: "web" }, { command: "exec" }],
  [
    "neither boots nor waits, with an option of supervise",
    ["init"],
    {},
    { command: "supervise", app: { words: ["sleep", "1"], supervise: { waitAll: true } } },
  ],
  [
    "another APP in the role of the variable",
    ["other"],
    { ENTRYPOINT_ROLE: "worker" },
    { command: "wait", app: { words: ["other"] } },
  ],
  ["behind -- it is an APP", ["--", "web"], {}, { command: "run", app: { words: ["web"] } }],
  ["behind a command too", ["run", "web"], {}, { command: "run", app: { words: ["web"] } }],
  [
    "wait in an init container starts nothing",
    ["wait"],
    { ENTRYPOINT_ROLE: "web" },
    { command: "wait", app: null, waitTimeoutMs: 5_000 },
  ],
  [
    "supervise starts the role's",
    ["supervise"],
    { ENTRYPOINT_ROLE: "cron" },
    { command: "supervise", app: { words: ["cron", "-f"] } },
  ],
  [
    "ENTRYPOINT_APP beats the command of a role that a variable names",
    [],
    { ENTRYPOINT_ROLE: "web", ENTRYPOINT_APP: "x" },
    { app: { words: ["x"] } },
  ],
  [
    "and not of one that is named",
    ["web"],
    { ENTRYPOINT_APP: "x" },
    { app: { words: ["uvicorn", "app:app", "--host", "::"] } },
  ],
  [
    "a role without a command",
    ["plain"],
    { ENTRYPOINT_APP: "x" },
    { lockTimeoutMs: 60_000, app: { words: ["x"] } },
  ],
])("a role: %s", (_, argv, env, expected) => {
  expect(read({ text: roles, argv, env })).toMatchObject(expected);
});

test("the file itself may name the role", () => {
  const text = `role = "cron"\n${roles}`;
  expect(read({ text })).toMatchObject({ command: "exec" });
  expect(read({ text, env: { ENTRYPOINT_ROLE: "worker" } })).toMatchObject({ command: "wait" });
});

test("a shell in the role of a variable is still a one-off command, and a role is none", () => {
  const env = { ENTRYPOINT_ROLE: "worker" };
  expect(apply({ text: roles, argv: ["bash"], env }).named).toBe(false);
  expect(apply({ text: roles, argv: ["worker"] }).named).toBe(true);
  expect(apply({ text: roles, env }).named).toBe(true);
});

test("a role of a variable that is not set is refused", () => {
  const env = { ENTRYPOINT_ROLE: "${SERVICE}" };
  expect(() => read({ text: roles, env })).toThrow("SERVICE is not set or empty");
});

test("what has no effect in a role is warned of", () => {
  const text = '[roles.x]\ncommand = "x"\nboot = "wait"\nsetup = "y"';
  expect(read({ text, argv: ["x"] }).warnings).toEqual([
    "entrypoint.toml: roles.x.setup has no effect with entrypoint wait",
  ]);
  // At the top it may be for another command.
  expect(read({ text: 'setup = "y"', argv: ["wait"] }).warnings).toEqual([]);
});

test.each<[text: string, problems: unknown, argv?: string[]]>([
  [
    'wait-timout = "1"\nlock_timeout = 1\nnonsense-of-all = 1',
    [
      "entrypoint.toml: wait-timout: no such setting; did you mean wait-timeout?",
      "entrypoint.toml: lock_timeout: no such setting; did you mean lock-timeout?",
      "entrypoint.toml: nonsense-of-all: no such setting",
    ],
  ],
  [
    '[roles.web]\ncomand = "x"',
    ["entrypoint.toml: roles.web.comand: no such setting; did you mean command?"],
  ],
  [
    '[role.web]\ncommand = "x"',
    ['entrypoint.toml: role: given "{\\"web\\":{\\"command\\":\\"x\\"}}"; allowed: a value'],
  ],
  ["roles = 1", ["entrypoint.toml: roles: allowed: [roles.NAME]"]],
  ["[roles]\nweb = 1", ["entrypoint.toml: roles.web: allowed: a table, [roles.web]"]],
  [
    '[roles.a]\nboot = "never"',
    ['entrypoint.toml: roles.a.boot: given "never"; allowed: migrate, wait, none'],
  ],
  [
    '[roles.a]\nboot = "none"',
    ['entrypoint.toml: roles.a: boot = "none" without a command; allowed: command = …'],
  ],
  ['wait-timeout = ["1"]', ['entrypoint.toml: wait-timeout: given "[\\"1\\"]"; allowed: a value']],
  [
    'wait-timeout = "soon"\n[roles.a]\non-ahead = "x"',
    [
      'entrypoint.toml: roles.a.on-ahead: given "x"; allowed: abort, start',
      'entrypoint.toml: wait-timeout: given "soon"; allowed: a duration such as 500ms, 60s, 10m or 2h; a bare number is seconds',
    ],
    ["a"],
  ],
  [
    'migrate = "x"\nno-migrate = true',
    ["entrypoint.toml: no-migrate: given with migrate; allowed: one of them"],
  ],
  ['[roles.web]\ncommand = "x"', ['--role: given "wbe"; allowed: web'], ["--role", "wbe"]],
  ["", ['--role: given "web"; allowed: a role, and entrypoint.toml has none'], ["--role", "web"]],
  [
    "a = ",
    "entrypoint.toml: line 1: Invalid TOML document: incomplete key-value: cannot find end of line",
  ],
])("refused: %j", (text, problems, argv = []) => {
  const found = problemsOf({ text, argv });
  if (!Array.isArray(problems)) expect(found).toMatch(/^entrypoint\.toml: line 1: /);
  else expect(new Set(found as string[])).toEqual(new Set(problems));
});

test("a role without a file is refused", () => {
  const invocation = { command: "run", flags: {}, app: [] } as const;
  expect(() => readSettings(invocation, { ENTRYPOINT_ROLE: "web" }, "/srv")).toThrow(
    'ENTRYPOINT_ROLE: given "web"; allowed: a role of entrypoint.toml',
  );
});

test.each([
  ["wait-timeut", "wait-timeout"],
  ["WAIT_TIMEOUT", "wait-timeout"],
  ["user", "user"],
  ["zzz", null],
])("the name that is nearest to %s is %s", (given, nearest) => {
  expect(findNearest(given, ["wait-timeout", "lock-timeout", "user"])).toBe(nearest);
});

test("config shows every setting in force, and where it comes from", () => {
  const settings = read({
    text: roles,
    argv: ["--lock-timeout", "9", "config", "web"],
    env: { ENTRYPOINT_STOP_TIMEOUT: "8" },
  });
  if (settings.command !== "config") throw new Error(settings.command);
  const entries = Object.fromEntries(settings.entries.map(({ name, ...rest }) => [name, rest]));
  expect(entries).toMatchObject({
    role: { value: "web", source: "the command line" },
    command: { value: "run" },
    app: { value: "uvicorn app:app --host ::", source: "entrypoint.toml: roles.web.command" },
    "database-url": { value: "postgresql://blog@db:5432/blog", source: "DATABASE_URL" },
    "wait-timeout": { value: "5", source: "entrypoint.toml: roles.web.wait-timeout" },
    "lock-timeout": { value: "9", source: "--lock-timeout" },
    "stop-timeout": { value: "8", source: "ENTRYPOINT_STOP_TIMEOUT" },
    mode: { value: "supervise", source: "an option of supervise" },
    setup: { value: null, source: "default" },
    migrate: { value: "alembic upgrade head", source: "default" },
  });
  expect(entries).not.toHaveProperty("table");
  const none = read({ text: roles, argv: ["config"], env: { ENTRYPOINT_MIGRATE: "" } });
  expect(none).toMatchObject({
    entries: expect.arrayContaining([
      { name: "migrate", value: null, source: "ENTRYPOINT_MIGRATE" },
      { name: "role", value: null, source: "default" },
    ]),
  });
  expect(problemsOf({ text: roles, argv: ["config", "nobody"] })).toEqual([
    'entrypoint config: given "nobody"; allowed: web, worker, cron, init, plain',
  ]);
});
