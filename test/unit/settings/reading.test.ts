// What flags, variables and defaults make of a boot. All that is wrong is said at once, each with its name, what was
// given and what is allowed; and no password is ever said.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Words } from "../../../src/context.ts";
import type { Environment } from "../../../src/runtime/environment.ts";
import { exitCodes, Failure } from "../../../src/failure.ts";
import { readSettings } from "../../../src/settings/reading.ts";
import { readLogSettings } from "../../../src/settings/sources.ts";
import type { Flags } from "../../../src/settings/table.ts";
import type { MigrationSetting, RunSettings } from "../../../src/settings/settings.ts";
import { parseDuration } from "../../../src/settings/values.ts";

function read(flags: Flags = {}, env: Environment = {}, app: readonly string[] = []): RunSettings {
  return readSettings({ command: "run", flags, app }, env, "/srv");
}

function failureOf(reading: () => unknown): Failure {
  try {
    reading();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error("nothing is wrong");
}

const problemsOf = (flags: Flags, env: Environment = {}, app: readonly string[] = []) =>
  failureOf(() => read(flags, env, app)).details["problems"] as readonly string[];

/** The setting of a migration command of which nothing else is said. */
const plain = (...words: Words): MigrationSetting => ({
  name: null,
  words,
  whenEmpty: null,
  inspectAs: null,
  tool: null,
  versionTable: null,
  versions: [],
  tenant: null,
});

function writeSecret(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "entrypoint-settings-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "secret");
  writeFileSync(path, text);
  return path;
}

test("without a word the settings do what entrypoint.sh does", () => {
  expect(read()).toEqual({
    command: "run",
    app: {
      words: "uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2".split(" "),
      mode: "auto",
      supervise: {
        drainDelayMs: 0,
        stopTimeoutMs: 30_000,
        signalScope: "child",
        secondTerm: "kill",
        mapSignals: new Map(),
        mapExits: new Map(),
        waitAll: false,
        leaveGroup: false,
        parentDeathSignal: null,
      },
    },
    migrations: [plain("alembic", "upgrade", "head")],
    before: [],
    setup: [],
    database: null,
    fallbackDatabase: null,
    guess: null,
    conflicting: [],
    passwordCommand: null,
    own: [],
    umask: null,
    waitFor: [],
    waitTimeoutMs: 60_000,
    lockTimeoutMs: 600_000,
    migrateTimeoutMs: 0,
    ddlLockTimeoutMs: null,
    alwaysMigrate: false,
    missingDatabase: "refuse",
    noLock: false,
    onAhead: "abort",
    onUnstamped: "migrate",
    user: null,
    dryRun: false,
    lint: "off",
    lintThreshold: 10_000,
    logFormat: "auto",
    logLevel: "info",
    cwd: "/srv",
    env: {},
    warnings: [],
  });
});

test("the settings are frozen", () => {
  expect(Object.isFrozen(read())).toBe(true);
});

test("a flag beats its variable, and a variable beats the default", () => {
  const env = {
    ENTRYPOINT_MIGRATE: "variable",
    ENTRYPOINT_SETUP: "variable",
    ENTRYPOINT_WAIT_TIMEOUT: "2",
    ENTRYPOINT_ON_AHEAD: "start",
    ENTRYPOINT_USER: "variable",
    DATABASE_URL: "postgresql://variable/blog",
  };
  expect(read({}, env)).toMatchObject({
    migrations: [{ words: ["variable"] }],
    setup: [{ words: ["variable"] }],
    waitTimeoutMs: 2_000,
    onAhead: "start",
    user: "variable",
    database: { from: "DATABASE_URL" },
  });
  const flags = {
    migrate: "flag",
    setup: ["flag"],
    waitTimeout: "3",
    onAhead: "abort",
    user: "flag",
    databaseUrl: "postgresql://flag/blog",
  };
  expect(read(flags, env)).toMatchObject({
    migrations: [{ words: ["flag"] }],
    setup: [{ words: ["flag"] }],
    waitTimeoutMs: 3_000,
    onAhead: "abort",
    user: "flag",
    database: { from: "--database-url", address: { hosts: [{ host: "flag" }] } },
  });
});

test("a bad variable does no harm where a flag beats it", () => {
  expect(read({ lockTimeout: "1" }, { ENTRYPOINT_LOCK_TIMEOUT: "junk" }).lockTimeoutMs).toBe(1_000);
});

test("64: all that is wrong is said at once, with its name, what was given and what is allowed", () => {
  const failure = failureOf(() =>
    read(
      { waitTimeout: "soon", onAhead: "maybe", versionTable: "a.b.c" },
      {
        ENTRYPOINT_LOCK_TIMEOUT: "-1",
        ENTRYPOINT_ALWAYS_MIGRATE: "perhaps",
        ENTRYPOINT_MODE: "fork",
        ENTRYPOINT_LOG_LEVEL: "loud",
        ENTRYPOINT_LOG_FORMAT: "xml",
        ENTRYPOINT_SECRETS: "1A",
        ENTRYPOINT_APP: "'",
        DATABASE_URL: "nonsense",
        PGHOST: "db",
        PGPORT: "0",
      },
    ),
  );
  expect(exitCodes[failure.code]).toBe(64);
  expect(failure.hint).toContain("--help");
  expect(failure.message).toContain("12 settings are not valid: ");
  const problems = failure.details["problems"] as string[];
  for (const problem of problems) expect(failure.message).toContain(problem);
  expect(problems.toSorted()).toEqual([
    '--on-ahead: given "maybe"; allowed: abort, start',
    '--version-table: given "a.b.c"; allowed: NAME or SCHEMA.NAME',
    expect.stringMatching(/^--wait-timeout: given "soon"; allowed: a duration such as 500ms/),
    expect.stringMatching(/^DATABASE_URL: .*; allowed: a SQLAlchemy or libpq URL$/),
    'ENTRYPOINT_ALWAYS_MIGRATE: given "perhaps"; allowed: 1, true, yes, on, 0, false, no, off',
    expect.stringMatching(/^ENTRYPOINT_APP: given "'"; allowed: balanced quotes/),
    expect.stringMatching(/^ENTRYPOINT_LOCK_TIMEOUT: given "-1"; allowed: a duration/),
    'ENTRYPOINT_LOG_FORMAT: given "xml"; allowed: json, text, pretty, auto',
    'ENTRYPOINT_LOG_LEVEL: given "loud"; allowed: trace, debug, info, warn, error, fatal, silent',
    'ENTRYPOINT_MODE: given "fork"; allowed: auto, exec, supervise',
    'ENTRYPOINT_SECRETS: given "1A"; allowed: names of environment variables',
    "the PG* variables: the port is not a number from 1 to 65535",
  ]);
});

test.each([
  ["0", 0],
  ["0s", 0],
  ["90", 90_000],
  ["500ms", 500],
  ["60s", 60_000],
  ["10m", 600_000],
  ["2h", 7_200_000],
  ["1d", 86_400_000],
  ["1.5m", 90_000],
  ["1.1s", 1_100],
  [" 5s ", 5_000],
  ["0.1ms", 1],
  ["24d", 2_073_600_000],
])("the duration %j is %i ms", (text, duration) => {
  expect(parseDuration(text)).toBe(duration);
});

test.each([
  "",
  "soon",
  "-5s",
  "+5s",
  "5 s",
  "5M",
  "1e3",
  ".5s",
  "5w",
  "5s5",
  "Infinity",
  "25d",
  "2147484",
  "9".repeat(101),
  "0".repeat(200),
])("%j is no duration", (text) => {
  expect(() => parseDuration(text)).toThrow("a duration such as 500ms");
});

test("empty variables count as absent", () => {
  const env = {
    ENTRYPOINT_APP: "",
    ENTRYPOINT_SETUP: "",
    ENTRYPOINT_WAIT_TIMEOUT: "",
    ENTRYPOINT_ON_AHEAD: "",
    ENTRYPOINT_USER: "",
    ENTRYPOINT_VERSIONS: "",
    ENTRYPOINT_ALWAYS_MIGRATE: "",
    ENTRYPOINT_SECRETS: "",
    DATABASE_URL: "",
    DATABASE_URL_FILE: "",
  };
  expect(read({}, env)).toEqual({ ...read(), env });
});

test.each<[Flags, string]>([
  [{ user: "" }, "--user"],
  [{ versions: [""] }, "--versions"],
  [{ setup: [" "] }, "--setup"],
  [{ databaseUrl: "" }, "--database-url"],
  [{ waitTimeout: "" }, "--wait-timeout"],
  [{ secrets: [""] }, "--secret"],
])("the empty flag %j is refused, since a variable in it was not set", (flags, name) => {
  expect(problemsOf(flags)).toEqual([expect.stringContaining(`${name}: given "`)]);
});

test.each<[Flags, Environment]>([
  [{}, { ENTRYPOINT_MIGRATE: "" }],
  [{}, { ENTRYPOINT_MIGRATE: " " }],
  [{ migrate: "" }, {}],
  [{ migrate: " " }, {}],
  [{ migrate: "" }, { ENTRYPOINT_MIGRATE: "x" }],
  [{ noMigrate: true }, { ENTRYPOINT_MIGRATE: "x" }],
])("no migration by %j and %j", (flags, env) => {
  expect(read(flags, env).migrations).toEqual([]);
});

test("--migrate beats an empty variable", () => {
  expect(read({ migrate: ["x"] }, { ENTRYPOINT_MIGRATE: "" }).migrations).toEqual([plain("x")]);
});

test("--migrate and --no-migrate together are refused", () => {
  expect(problemsOf({ migrate: "x", noMigrate: true })).toEqual([
    "--migrate and --no-migrate: given both; allowed: one of them",
  ]);
});

test.each([
  [
    "alembic -c 'my config.ini' upgrade head",
    ["alembic", "-c", "my config.ini", "upgrade", "head"],
  ],
  ['alembic -x "a b" upgrade head', ["alembic", "-x", "a b", "upgrade", "head"]],
  [String.raw`alembic my\ file`, ["alembic", "my file"]],
  ["  alembic\n upgrade\thead ", ["alembic", "upgrade", "head"]],
  ['alembic ""', ["alembic", ""]],
  ["alembic -x 'a;b&c|d>e$PORT'", ["alembic", "-x", "a;b&c|d>e$PORT"]],
  ['alembic "a;b" c\\&d', ["alembic", "a;b", "c&d"]],
  ["sh -c 'a && b'", ["sh", "-c", "a && b"]],
  ['sh -c "app --port $PORT"', ["sh", "-c", "app --port $PORT"]],
  ['su-exec app /bin/sh -c "exec $0"', ["su-exec", "app", "/bin/sh", "-c", "exec $0"]],
  ["alembic upgrade heads*", ["alembic", "upgrade", "heads*"]],
  ["costs 5$", ["costs", "5$"]],
])("%s is split as a shell would", (text, words) => {
  expect(read({ migrate: [text] }).migrations).toMatchObject([{ words }]);
});

test.each([
  ["a && b", "&&"],
  ["a&&b", "&&"],
  ["a; b", ";"],
  ["a || b", "||"],
  ["a | b", "|"],
  ["a &", "&"],
  ["a > file", ">"],
  ["a >file", ">"],
  ["a 2>&1", ">&"],
  ["a < file", "<"],
  ["a $PORT", "$PORT"],
  ["a --port=$PORT", "$PORT"],
  ["a -b 0.0.0.0:$PORT", "$PORT"],
  ['a "$PORT"', "$PORT"],
  ['a "$@"', "$@"],
  ["a $(date)", "$("],
  ["a `date`", "`"],
  ["sh -c 'a' && b", "&&"],
])("%s needs a shell, and none runs it", (text, special) => {
  expect(problemsOf({ migrate: text })).toEqual([
    `--migrate: given ${JSON.stringify(text)}; allowed: no ${special}, since no shell runs it: write sh -c '…', or quote it`,
  ]);
});

test.each(["alembic 'head", 'alembic "head', "alembic \\"])("%s is not balanced", (text) => {
  expect(problemsOf({ setup: [text] })).toEqual([
    expect.stringContaining("allowed: balanced quotes"),
  ]);
});

test("a variable before the program is refused with its cure", () => {
  expect(problemsOf({ migrate: "PYTHONPATH=. alembic upgrade head" })).toEqual([
    expect.stringContaining("write env PYTHONPATH=. …"),
  ]);
});

test("setup steps keep their order: a flag each, or a line each of the variable", () => {
  const steps = [
    { when: "always", words: ["a", "1"], text: "a 1" },
    { when: "always", words: ["b"], text: "b" },
  ];
  expect(read({ setup: ["a 1", "b"] }).setup).toEqual(steps);
  expect(read({}, { ENTRYPOINT_SETUP: "a 1\r\n\n  b\n" }).setup).toEqual(steps);
});

test("folders of revisions are a flag each, or separated by colons", () => {
  const of = (flags: Flags, env: Environment = {}) => read(flags, env).migrations[0]?.versions;
  expect(of({ versions: ["a", "b:c"] })).toEqual(["a", "b:c"]);
  expect(of({}, { ENTRYPOINT_VERSIONS: "a:b:" })).toEqual(["a", "b"]);
});

test.each([
  ["1", true],
  ["TRUE", true],
  ["yes", true],
  ["on", true],
  ["0", false],
  ["false", false],
  ["No", false],
  ["off", false],
])("ENTRYPOINT_ALWAYS_MIGRATE=%s is %s", (text, alwaysMigrate) => {
  expect(read({}, { ENTRYPOINT_ALWAYS_MIGRATE: text }).alwaysMigrate).toBe(alwaysMigrate);
});

describe("variables of the project's own in any setting", () => {
  test.each<[Environment, object]>([
    [{ ENTRYPOINT_UMASK: "${MASK:-027}" }, { umask: 0o027 }],
    [{ ENTRYPOINT_UMASK: "${MASK}", MASK: "077" }, { umask: 0o077 }],
    [{ ENTRYPOINT_WAIT_TIMEOUT: "${DB_WAIT:-5}s", DB_WAIT: "9" }, { waitTimeoutMs: 9_000 }],
    [{ ENTRYPOINT_WAIT_TIMEOUT: "${DB_WAIT:-}" }, { waitTimeoutMs: 60_000 }],
    [{ ENTRYPOINT_LINT: "${STRICT:+error}" }, { lint: "off" }],
    [{ ENTRYPOINT_LINT: "${STRICT:+error}", STRICT: "1" }, { lint: "error" }],
  ])("%o", (env, expected) => {
    expect(read({}, env)).toMatchObject(expected);
  });

  test("a list of several is one of several", () => {
    const env = {
      ENTRYPOINT_TENANTS: "${SHOPS}",
      SHOPS: "acme,zoo",
      ENTRYPOINT_MIGRATE: "x {tenant}",
    };
    expect(read({}, env).migrations).toMatchObject([{ tenant: "acme" }, { tenant: "zoo" }]);
  });

  test("one that is not set is reported, once", () => {
    expect(problemsOf({}, { ENTRYPOINT_UMASK: "${MASK}", ENTRYPOINT_MODE: "${HOW}" })).toEqual([
      expect.stringContaining("ENTRYPOINT_UMASK: given"),
      expect.stringContaining("HOW is not set or empty"),
    ]);
  });
});

describe("a migration under a condition", () => {
  test.each([
    ["if=RUN x", { RUN: "1" }, [plain("x")]],
    ["if=RUN x ${NONE}", { RUN: "false" }, []],
    ["if=!RUN if=KIND=web x", { KIND: "web" }, [plain("x")]],
  ])("%s with %o", (text, env, expected) => {
    expect(read({ migrate: text }, env).migrations).toEqual(expected);
  });

  test("what is said of each command stays with it", () => {
    const commands = "if=A alembic -n a upgrade head\nalembic -n b upgrade head";
    const env = { ENTRYPOINT_MIGRATE: commands, ENTRYPOINT_VERSION_TABLE: "of_a\nof_b" };
    expect(read({}, env).migrations).toMatchObject([{ versionTable: { name: "of_b" } }]);
    expect(read({}, { ...env, A: "on" }).migrations).toHaveLength(2);
  });

  test("only run obeys it: who asks, or migrates on purpose, means that command", () => {
    for (const command of ["migrate", "wait", "status"] as const) {
      const invocation = { command, flags: { migrate: "if=RUN x" }, app: [] };
      expect(readSettings(invocation, {}, "/srv").migrations).toEqual([plain("x")]);
    }
  });
});

describe("several histories", () => {
  const several = "alembic -n a upgrade head\nalembic -n b upgrade head";

  test("a migration command each: a flag, or a line of the variable, which ends outside of quotes", () => {
    const words = [
      ["a", "1"],
      ["sh", "-c", "b\nc"],
      ["d", "e"],
    ];
    const migrations = words.map((one) => ({ words: one, name: one.join(" ") }));
    expect(read({ migrate: ["a 1", "sh -c 'b\nc'", "d e"] }).migrations).toMatchObject(migrations);
    const text = "a 1\r\n\n  sh -c 'b\nc'\nd \\\n e\n";
    expect(read({}, { ENTRYPOINT_MIGRATE: text }).migrations).toMatchObject(migrations);
  });

  test.each<[Flags, Environment]>([
    [
      {
        inspectAs: ["x", "-"],
        versionTable: ["-", "s.t"],
        versions: ["v:w", "-"],
        whenEmpty: ["-", "c"],
      },
      {},
    ],
    [
      {},
      {
        ENTRYPOINT_INSPECT_AS: "x\n-",
        ENTRYPOINT_VERSION_TABLE: "-\ns.t\n",
        ENTRYPOINT_VERSIONS: "v:w\n-",
        ENTRYPOINT_WHEN_EMPTY: "-\nc",
      },
    ],
  ])("what is said of each stands in their order: %j %j", (flags, env) => {
    expect(read(flags, { ENTRYPOINT_MIGRATE: several, ...env }).migrations).toMatchObject([
      { inspectAs: ["x"], versionTable: null, versions: ["v", "w"], whenEmpty: null },
      {
        inspectAs: null,
        versionTable: { schema: "s", name: "t" },
        versions: [],
        whenEmpty: ["c"],
      },
    ]);
  });

  test("64: what is said of some, and not of others", () => {
    const flags = { versionTable: ["a"], inspectAs: ["a", "b", "c"] };
    expect(problemsOf(flags, { ENTRYPOINT_MIGRATE: several, ENTRYPOINT_VERSIONS: "a:b" })).toEqual([
      expect.stringMatching(
        /^--inspect-as: given 3 for 2 migration commands; allowed: one for each/,
      ),
      expect.stringMatching(/^--version-table: given 1 for 2 migration commands/),
      expect.stringMatching(/^ENTRYPOINT_VERSIONS: given 1 for 2 migration commands/),
    ]);
  });

  test("of one command the last word counts, before the command's name or after it", () => {
    expect(read({ versionTable: ["a", "b"], inspectAs: ["a", "b"] }).migrations).toMatchObject([
      { versionTable: { name: "b" }, inspectAs: ["b"] },
    ]);
  });

  test.each<[string, readonly string[], readonly object[]]>([
    [
      "alembic upgrade head",
      [],
      [
        { name: "a", tenant: "a", words: ["alembic", "upgrade", "head"], versionTable: null },
        { name: "b", tenant: "b", words: ["alembic", "upgrade", "head"], versionTable: null },
      ],
    ],
    [
      "alembic -x tenant={tenant} upgrade head",
      ["{tenant}.versions_{tenant}"],
      [
        {
          name: "a",
          words: ["alembic", "-x", "tenant=a", "upgrade", "head"],
          versionTable: { schema: "a", name: "versions_a" },
        },
        {
          name: "b",
          words: ["alembic", "-x", "tenant=b", "upgrade", "head"],
          versionTable: { schema: "b", name: "versions_b" },
        },
      ],
    ],
    [
      "shared\nown {tenant}",
      [],
      [
        { name: "shared", tenant: null, words: ["shared"] },
        { name: "own a", tenant: "a", words: ["own", "a"] },
        { name: "own b", tenant: "b", words: ["own", "b"] },
      ],
    ],
    [
      "shared\nloop",
      ["-", "{tenant}.versions"],
      [
        { name: "shared", tenant: null, versionTable: null },
        { name: "loop (a)", tenant: "a", versionTable: { schema: "a", name: "versions" } },
        { name: "loop (b)", tenant: "b", versionTable: { schema: "b", name: "versions" } },
      ],
    ],
  ])("the tenants a and b with %j and %j", (commands, versionTable, migrations) => {
    const flags = versionTable.length === 0 ? {} : { versionTable };
    const env = { ENTRYPOINT_MIGRATE: commands, ENTRYPOINT_TENANTS: "a, b" };
    expect(read(flags, env).migrations).toMatchObject(migrations);
    const byFlag = { ...flags, tenants: ["a", "b"] };
    expect(read(byFlag, { ENTRYPOINT_MIGRATE: commands }).migrations).toEqual(
      read(flags, env).migrations,
    );
  });

  test("64: {tenant} without a tenant, and a tenant that is no name", () => {
    expect(problemsOf({ migrate: ["a {tenant}"] })).toEqual([
      '--migrate: given "a {tenant}"; allowed: {tenant} only with --tenant',
    ]);
    expect(problemsOf({ tenants: ["a", "b;c"] })).toEqual([
      '--tenant: given "b;c"; allowed: names of schemas, of letters, digits, _ and -',
    ]);
  });

  test("freeze leaves {tenant} as it stands: an image is built before its tenants are known", () => {
    const flags = { migrate: ["alembic -x tenant={tenant} upgrade head"] };
    const settings = readSettings({ command: "freeze", flags, app: [] }, {}, "/srv");
    expect(settings.migrations).toMatchObject([{ tenant: null, words: { 2: "tenant={tenant}" } }]);
  });

  test("64: a downgrade goes back in one of them, and a range is of one", () => {
    const of = (command: "downgrade" | "lint", flags: Flags, app: readonly string[] = []) => {
      const given = { ...flags, migrate: ["a", "b"], tenants: ["c"] };
      return failureOf(() => readSettings({ command, flags: given, app }, {}, "/srv")).details;
    };
    const allowed = "name it with --migrate and --tenant";
    expect(of("downgrade", {}, ["-1"])["problems"]).toEqual([
      `entrypoint downgrade: given "2 histories"; allowed: one, since it goes back in one history: ${allowed}`,
    ]);
    expect(of("lint", { range: "base:head" })["problems"]).toEqual([
      `entrypoint lint: given "2 histories"; allowed: one, since a range is of one history: ${allowed}`,
    ]);
  });
});

test.each([
  ["version", { schema: null, name: "version" }],
  ["blog.version", { schema: "blog", name: "version" }],
  [" blog.version ", { schema: "blog", name: "version" }],
])("the version table %j", (text, versionTable) => {
  expect(read({ versionTable: text }).migrations).toMatchObject([{ versionTable }]);
});

test.each([".", "a.", ".a", "a.b.c", ""])("the version table %j is refused", (text) => {
  expect(problemsOf({ versionTable: text })).toEqual([expect.stringContaining("SCHEMA.NAME")]);
});

test("the application is the command line's, else ENTRYPOINT_APP's", () => {
  const env = { ENTRYPOINT_APP: "gunicorn 'my app'" };
  expect(read({}, env, ["echo", "$PORT", "&&"]).app.words).toEqual(["echo", "$PORT", "&&"]);
  expect(read({}, env).app.words).toEqual(["gunicorn", "my app"]);
});

test("migrate has no application, whatever ENTRYPOINT_APP says", () => {
  const invocation = { command: "migrate", flags: {}, app: [] } as const;
  expect(readSettings(invocation, { ENTRYPOINT_APP: "'" }, "/srv")).not.toHaveProperty("app");
});

test("64: migrate with an application is refused", () => {
  const invocation = { command: "migrate", flags: {}, app: ["uvicorn", "x"] } as const;
  expect(failureOf(() => readSettings(invocation, {}, "/srv")).details["problems"]).toEqual([
    'entrypoint migrate: given "uvicorn x"; allowed: no APP, since none is started',
  ]);
});

test("64: migrate without a migration command is refused", () => {
  const invocation = { command: "migrate", flags: { noMigrate: true }, app: [] } as const;
  expect(failureOf(() => readSettings(invocation, {}, "/srv")).message).toContain(
    "no migration command is left",
  );
});

test("wait becomes what its command line names, and nothing else", () => {
  const env = { ENTRYPOINT_APP: "'" };
  const wait = (...app: string[]) => readSettings({ command: "wait", flags: {}, app }, env, "/srv");
  expect(wait("echo", "$PORT").app?.words).toEqual(["echo", "$PORT"]);
  expect(wait().app).toBeNull();
});

test("64: wait without a migration command does not know what for", () => {
  const invocation = { command: "wait", flags: {}, app: [] } as const;
  const reading = () => readSettings(invocation, { ENTRYPOINT_MIGRATE: "" }, "/srv");
  expect(failureOf(reading).details["problems"]).toEqual([
    "entrypoint wait: no migration command is left to say what is waited for; allowed: one that is not empty",
  ]);
});

test("--wait-for expands variables, and leaves out what is empty", () => {
  const names = (flags: Flags, env: Environment) =>
    read(flags, env).waitFor.map(({ name }) => name);
  const env = {
    HOST: "cache",
    SECRET: "a@b/c",
    ENTRYPOINT_WAIT_FOR: " db:1\n${URL:-} tcp://mq:5 ",
  };
  expect(names({}, env)).toEqual(["tcp://db:1", "tcp://mq:5"]);
  const waitFor = ["redis://:${SECRET}@${HOST}:${PORT:-7}", "http://${HOST}/${PAGE:-x}"];
  expect(names({ waitFor }, env)).toEqual(["redis://cache:7", "http://cache/x"]);
  expect(read({ waitFor }, env).waitFor[0]?.password).toBe("a@b/c");
  expect(problemsOf({ waitFor: ["redis://${HOST}", "mysql://db:3306"] })).toEqual([
    expect.stringContaining("HOST is not set or empty"),
    expect.stringContaining('--wait-for: given "mysql://db:3306"; allowed: tcp://HOST:PORT, '),
  ]);
});

test("with --wait-for, wait needs no migration command, and supervise reads the time-out", () => {
  const flags = { noMigrate: true, waitFor: ["cache:6379"] } as const;
  expect(readSettings({ command: "wait", flags, app: [] }, {}, "/srv")).toMatchObject({
    migrations: [],
    waitFor: [{ name: "tcp://cache:6379" }],
  });
  const env = { ENTRYPOINT_WAIT_TIMEOUT: "5s", ENTRYPOINT_WAIT_FOR: "cache:6379" };
  const settings = readSettings({ command: "supervise", flags: {}, app: ["app"] }, env, "/srv");
  expect(settings).toMatchObject({ waitTimeoutMs: 5_000, waitFor: [{}] });
});

test("the commands of settings expand variables, secrets that come from files among them", () => {
  const env = {
    PORT: "80",
    ENTRYPOINT_APP: "serve --port ${PORT:-8000} ${MORE:-}",
    ENTRYPOINT_SETUP: "seed ${PORT}\nseed ${NAME}",
    ENTRYPOINT_SECRETS: "NAME",
    NAME_FILE: writeSecret("a b"),
  };
  const settings = read(
    { migrate: "migrate --at ${PORT}", inspectAs: "alembic -x p=${PORT} upgrade head" },
    env,
  );
  expect(settings).toMatchObject({
    app: { words: ["serve", "--port", "80"] },
    migrations: [
      {
        words: ["migrate", "--at", "80"],
        inspectAs: ["alembic", "-x", "p=80", "upgrade", "head"],
      },
    ],
    setup: [
      { words: ["seed", "80"], text: "seed ${PORT}" },
      { words: ["seed", "a", "b"], text: "seed ${NAME}" },
    ],
  });
  expect(problemsOf({ setup: ["seed ${NONE}"] })).toEqual([
    '--setup: given "seed ${NONE}"; allowed: all its variables: NONE is not set or empty: write ${NONE:-} where that is meant',
  ]);
});

test("the words of the command line are expanded on request alone", () => {
  const app = ["serve", "--port", "${PORT:-80}", "${PORT%0}", "${MORE:-}"];
  const env = { ENTRYPOINT_EXPAND: "on" };
  expect(read({}, {}, app)).toMatchObject({
    app: { words: app },
    warnings: ["${PORT:-80} is passed to serve as it is: --expand replaces it by its value"],
  });
  expect(read({}, env, app).app.words).toEqual(["serve", "--port", "80", "${PORT%0}"]);
  // A shell expands by itself.
  const shell = ["sh", "-c", "echo ${PORT:-80}"];
  for (const more of [{}, env])
    expect(read({}, more, shell)).toMatchObject({ app: { words: shell }, warnings: [] });
  expect(problemsOf({ expand: true }, {}, ["serve", "${PORT}"])).toEqual([
    expect.stringContaining('APP: given "${PORT}"; allowed: all its variables: PORT is not set'),
  ]);
});

test("--user expands what the common images call PUID and PGID", () => {
  const user = "${PUID:-1000}:${PGID:-1000}";
  expect(read({ user }).user).toBe("1000:1000");
  expect(read({}, { ENTRYPOINT_USER: user, PUID: "1234", PGID: "5" }).user).toBe("1234:5");
});

test.each([
  ["027", 0o27],
  ["0022", 0o22],
  ["7", 7],
])("the umask %s", (text, mask) => {
  expect(read({ umask: text }).umask).toBe(mask);
});

test.each(["u=rwx", "8", "1777", "-1"])("64: the umask %s", (text) => {
  expect(problemsOf({ umask: text })).toEqual([expect.stringContaining("an octal mask")]);
});

const superviseInvocation = { command: "supervise", flags: {}, app: ["app"] } as const;

test("supervise starts its APP, and no database matters to it", () => {
  const env = {
    DATABASE_URL: "nonsense",
    PGPORT: "0",
    ENTRYPOINT_WAIT_TIMEOUT: "soon",
    ENTRYPOINT_MIGRATE: "'",
    ENTRYPOINT_MODE: "exec",
  };
  const settings = readSettings(superviseInvocation, env, "/srv");
  expect(settings).toMatchObject({
    command: "supervise",
    app: { words: ["app"], mode: "supervise" },
    warnings: [],
    env,
  });
  expect(Object.keys(settings)).not.toContain("database");
});

test("64: supervise without an APP, whatever ENTRYPOINT_APP says", () => {
  const reading = () =>
    readSettings({ ...superviseInvocation, app: [] }, { ENTRYPOINT_APP: "app" }, "/srv");
  expect(exitCodes[failureOf(reading).code]).toBe(64);
  expect(failureOf(reading).details["problems"]).toEqual([
    "entrypoint supervise: no APP is given; allowed: entrypoint supervise -- APP",
  ]);
});

const superviseFlags: Flags = {
  drainDelay: "5",
  stopTimeout: "0",
  signalScope: "group",
  secondTerm: "forward",
  mapSignal: ["TERM:QUIT", "rtmin+3:TERM", "2:0"],
  mapExit: ["143=0", "0=3"],
  waitAll: true,
  parentDeathSignal: "kill",
};
const superviseVariables: Environment = {
  ENTRYPOINT_DRAIN_DELAY: "5",
  ENTRYPOINT_STOP_TIMEOUT: "0",
  ENTRYPOINT_SIGNAL_SCOPE: "group",
  ENTRYPOINT_SECOND_TERM: "forward",
  ENTRYPOINT_MAP_SIGNAL: "TERM:QUIT,rtmin+3:TERM, 2:0",
  ENTRYPOINT_MAP_EXIT: "143=0 0=3",
  ENTRYPOINT_WAIT_ALL: "yes",
  ENTRYPOINT_PARENT_DEATH_SIGNAL: "kill",
};

test.each<[string, Flags, Environment]>([
  ["flags", superviseFlags, {}],
  ["variables", {}, superviseVariables],
])("what a supervisor is told by %s", (_name, flags, env) => {
  const settings = readSettings({ ...superviseInvocation, flags }, env, "/srv");
  expect(settings.app.supervise).toEqual({
    drainDelayMs: 5_000,
    stopTimeoutMs: 0,
    signalScope: "group",
    secondTerm: "forward",
    mapSignals: new Map([
      ["SIGTERM", "SIGQUIT"],
      ["SIGRTMIN+3", "SIGTERM"],
      ["SIGINT", null],
    ]),
    mapExits: new Map([
      [143, 0],
      [0, 3],
    ]),
    waitAll: true,
    leaveGroup: false,
    parentDeathSignal: "SIGKILL",
  });
});

test.each<[Flags, Environment]>([
  ...Object.entries(superviseFlags).map(([name, value]): [Flags, Environment] => [
    { [name]: value },
    {},
  ]),
  ...Object.entries(superviseVariables).map(([name, value]): [Flags, Environment] => [
    {},
    { [name]: value },
  ]),
  [{ stopTimeout: "30s" }, {}],
  [{ leaveGroup: true }, {}],
  [{}, { ENTRYPOINT_LEAVE_GROUP: "on" }],
])("%j and %j make a supervisor, and are refused with --mode exec", (flags, env) => {
  expect(read(flags, env).app.mode).toBe("supervise");
  expect(read({ ...flags, mode: "supervise" }, env).app.mode).toBe("supervise");
  const [problem, ...others] = problemsOf({ ...flags, mode: "exec" }, env);
  expect(problem).toMatch(/^--mode exec: given with (--|ENTRYPOINT_)\S+; allowed: --mode auto or/);
  expect(others).toEqual([]);
});

test.each<[Flags, Environment]>([
  [{ drainDelay: "0s" }, {}],
  [{}, { ENTRYPOINT_DRAIN_DELAY: "0", ENTRYPOINT_WAIT_ALL: "off", ENTRYPOINT_MAP_EXIT: "" }],
  [{}, { ENTRYPOINT_LEAVE_GROUP: "off" }],
])("%j and %j ask for nothing that exec could not do", (flags, env) => {
  expect(read(flags, env).app.mode).toBe("auto");
  expect(read({ ...flags, mode: "exec" }, env).app.mode).toBe("exec");
});

test.each<[Flags, string]>([
  [{ mapSignal: ["TERM"] }, "FROM:TO"],
  [{ mapSignal: ["TERM:"] }, "FROM:TO"],
  [{ mapSignal: ["TERM:QUIT:INT"] }, "FROM:TO"],
  [{ mapSignal: ["0:TERM"] }, "FROM:TO"],
  [{ mapSignal: ["TERM:NONE"] }, "FROM:TO"],
  [{ mapSignal: ["KILL:TERM"] }, "FROM one that can be caught"],
  [{ mapSignal: ["CHLD:TERM"] }, "FROM one that can be caught"],
  [{ mapExit: ["143"] }, "FROM=TO"],
  [{ mapExit: ["143=256"] }, "FROM=TO"],
  [{ mapExit: ["-1=0"] }, "FROM=TO"],
  [{ mapExit: ["143=0=1"] }, "FROM=TO"],
  [{ signalScope: "all" }, "child, group"],
  [{ secondTerm: "drop" }, "kill, forward"],
  [
    { leaveGroup: true, waitAll: true },
    "--leave-group: given with --wait-all; allowed: one of them",
  ],
  [{ drainDelay: "soon" }, "a duration"],
  [{ stopTimeout: "-1" }, "a duration"],
  [{ parentDeathSignal: "PARENT" }, "a signal: TERM, SIGTERM, 15, RTMIN+3"],
])("64: %j is refused", (flags, allowed) => {
  const reading = () => readSettings({ ...superviseInvocation, flags }, {}, "/srv");
  expect(failureOf(reading).details["problems"]).toEqual([expect.stringContaining(allowed)]);
});

test.each([
  ["off", null],
  ["0", null],
  ["2s", 2_000],
  ["2000ms", 2_000],
  ["1m", 60_000],
])("--ddl-lock-timeout %s is %s", (ddlLockTimeout, expected) => {
  expect(read({ ddlLockTimeout }).ddlLockTimeoutMs).toBe(expected);
  expect(read({}, { ENTRYPOINT_DDL_LOCK_TIMEOUT: ddlLockTimeout }).ddlLockTimeoutMs).toBe(expected);
});

test.each(["1999ms", "500ms", "soon", "on", "25d"])(
  "64: --ddl-lock-timeout %s is refused, with the reason",
  (ddlLockTimeout) => {
    expect(failureOf(() => read({ ddlLockTimeout })).message).toContain(
      "allowed: off, or a duration of 2s or more, since an autovacuum gives way only after 1s",
    );
  },
);

test("variables that mean nothing to the command are not looked at", () => {
  const env = {
    ENTRYPOINT_SETUP: "a && b",
    ENTRYPOINT_ALWAYS_MIGRATE: "perhaps",
    ENTRYPOINT_LOCK_TIMEOUT: "junk",
    ENTRYPOINT_MIGRATE_TIMEOUT: "junk",
  };
  const invocation = { command: "wait", flags: {}, app: [] } as const;
  expect(readSettings(invocation, env, "/srv")).toMatchObject({ command: "wait", warnings: [] });
  const migrate = { command: "migrate", flags: {}, app: [] } as const;
  expect(readSettings(migrate, { ENTRYPOINT_MODE: "fork" }, "/srv").warnings).toEqual([]);
});

test("a flag that means nothing to the command, given before its name, is warned of and left out", () => {
  const flags = { setup: ["seed"], alwaysMigrate: true, lockTimeout: "junk" } as const;
  const settings = readSettings({ command: "wait", flags, app: [] }, {}, "/srv");
  expect(Object.keys(settings)).not.toContain("setup");
  expect(settings.warnings).toEqual([
    "--setup has no effect with entrypoint wait",
    "--always-migrate has no effect with entrypoint wait",
    "--lock-timeout has no effect with entrypoint wait",
  ]);
});

test("a secret is read from its file, without the newline at its end, and NAME_FILE is gone", () => {
  const path = writeSecret("postgresql://blog:secret@db/blog\r\n");
  const settings = read({}, { DATABASE_URL_FILE: path, HOME: "/root" });
  expect(settings.env).toEqual({ DATABASE_URL: "postgresql://blog:secret@db/blog", HOME: "/root" });
  expect(settings.database).toMatchObject({ address: { password: "secret", database: "blog" } });
});

test("an empty file for DATABASE_URL is refused: without a URL the boot would have no lock", () => {
  const path = writeSecret("\n");
  expect(problemsOf({}, { DATABASE_URL_FILE: path })).toEqual([
    `DATABASE_URL_FILE: given "${path}"; allowed: a file that is not empty`,
  ]);
});

test("further secrets are named by the flag, or by the variable with commas, beside DATABASE_URL", () => {
  const env = {
    A_FILE: writeSecret(" a b "),
    B_FILE: writeSecret("b\n"),
    DATABASE_URL_FILE: writeSecret("sqlite:///x"),
  };
  const children = { A: " a b ", B: "b", DATABASE_URL: "sqlite:///x" };
  expect(read({ secrets: ["A", "B"] }, env).env).toEqual(children);
  const ENTRYPOINT_SECRETS = "A, B,";
  expect(read({}, { ...env, ENTRYPOINT_SECRETS }).env).toEqual({ ...children, ENTRYPOINT_SECRETS });
});

test("a file that belongs to no secret is left alone", () => {
  expect(read({}, { A_FILE: "/no/such/file" }).env).toEqual({ A_FILE: "/no/such/file" });
});

test("a secret of PostgreSQL's own counts for the database", () => {
  const env = { PGHOST: "db", PGPASSWORD_FILE: writeSecret("secret\n") };
  expect(read({ secrets: ["PGPASSWORD"] }, env).fallbackDatabase).toMatchObject({
    password: "secret",
  });
});

test("a secret given both ways is refused, unless one is empty", () => {
  const DATABASE_URL_FILE = writeSecret("sqlite:///x");
  expect(problemsOf({}, { DATABASE_URL: "sqlite:///y", DATABASE_URL_FILE })).toEqual([
    "DATABASE_URL and DATABASE_URL_FILE: given both; allowed: one of them",
  ]);
  expect(read({}, { DATABASE_URL: "", DATABASE_URL_FILE }).env).toEqual({
    DATABASE_URL: "sqlite:///x",
  });
});

test.each([
  ["/no/such/file", "ENOENT"],
  ["/", "EISDIR"],
])("a secret's file %s that cannot be read is refused with the reason", (path, reason) => {
  expect(problemsOf({}, { DATABASE_URL_FILE: path })).toEqual([
    `DATABASE_URL_FILE: given "${path}"; allowed: a file that can be read (${reason})`,
  ]);
});

const url = "postgresql://blog:s3cret@db:0/blog";
test.each<[string, Flags, Environment, string[]]>([
  ["--database-url", { databaseUrl: url }, {}, []],
  ["DATABASE_URL", {}, { DATABASE_URL: url }, []],
  ["DATABASE_URL_FILE", {}, { DATABASE_URL_FILE: url }, []],
  ["--migrate", { migrate: `alembic -x url=${url} && x` }, {}, []],
  ["--setup", { setup: ["psql --password=s3cret; x", "psql password='s3cret' & x"] }, {}, []],
  ["ENTRYPOINT_APP", {}, { ENTRYPOINT_APP: "app --token s3cret 'x" }, []],
  ["--secret", { secrets: [url] }, {}, []],
  ["PGPASSWORD", {}, { PGHOST: "db:x", PGPASSWORD: "s3cret" }, []],
])("no password is in what is said about a bad %s", (_name, flags, env, app) => {
  const failure = failureOf(() => read(flags, env, app));
  expect(JSON.stringify([failure.message, failure.hint, failure.details])).not.toContain("s3cret");
});

test("a database of another system is known as such", () => {
  expect(read({}, { DATABASE_URL: "sqlite:///x" }).database).toEqual({
    kind: "foreign",
    dialect: "sqlite",
    from: "DATABASE_URL",
  });
});

test("PGHOST and its kin are kept apart, since the Alembic config comes before them", () => {
  expect(read({}, { PGHOST: "db", PGDATABASE: "blog" })).toMatchObject({
    database: null,
    fallbackDatabase: { hosts: [{ host: "db", port: 5432 }], database: "blog" },
  });
});

test("postgres:// is warned of, with where it comes from", () => {
  const { warnings, ...settings } = read({}, { DATABASE_URL: "postgres://db/blog" });
  expect(warnings).toEqual([]);
  expect(settings).toMatchObject({
    database: { inSqlAlchemy: expect.stringMatching(/^DATABASE_URL: .*postgresql:\/\//) as string },
  });
});

test("an ENTRYPOINT_ variable that is no setting is warned of, without its value", () => {
  const env = { ENTRYPOINT_LOCK_TIMOUT: "s3cret", ENTRYPOINT_APP: "x", ENTRYPOINTS: "x" };
  expect(read({}, env).warnings).toEqual([
    "ENTRYPOINT_LOCK_TIMOUT is set, but this version has no such setting",
  ]);
});

test("the log's settings are known even where others are wrong", () => {
  const env = { ENTRYPOINT_LOG_FORMAT: " json", ENTRYPOINT_LOG_LEVEL: "loud" };
  expect(readLogSettings({ flags: {} }, env)).toEqual({ format: "json", level: "info" });
  expect(readLogSettings({ flags: { logLevel: "debug" } }, env)).toEqual({
    format: "json",
    level: "debug",
  });
});

test.each(["status", "current", "heads", "history"] as const)(
  "%s reads what a migration would read, and starts nothing",
  (command) => {
    const env = {
      ENTRYPOINT_APP: "'",
      ENTRYPOINT_WAIT_TIMEOUT: "junk",
      ENTRYPOINT_MIGRATE: "flask db upgrade",
    };
    const settings = readSettings({ command, flags: {}, app: [] }, env, "/srv");
    expect(settings).toMatchObject({ command, migrations: [plain("flask", "db", "upgrade")] });
    expect(settings).not.toHaveProperty("app");
    const wrong = { command, flags: { noMigrate: true }, app: ["uvicorn"] } as const;
    expect(failureOf(() => readSettings(wrong, {}, "/srv")).details["problems"]).toEqual([
      `entrypoint ${command}: no migration command is left to say where the revisions are; allowed: one that is not empty`,
      `entrypoint ${command}: given "uvicorn"; allowed: no APP, since none is started`,
    ]);
  },
);

test("--json and --verbose are for the commands that print", () => {
  const of = (command: "run" | "status" | "history") =>
    readSettings({ command, flags: { json: true, verbose: true }, app: [] }, {}, "/srv");
  expect(of("status")).toMatchObject({ json: true });
  expect(of("history")).toMatchObject({ verbose: true });
  expect(of("run").warnings).toEqual([
    "--json has no effect with entrypoint run",
    "--verbose has no effect with entrypoint run",
  ]);
});

test.each([
  [["-1"], { kind: "relative", steps: 1 }],
  [["-12"], { kind: "relative", steps: 12 }],
  [["base"], { kind: "base" }],
  [["0003-add"], { kind: "revision", name: "0003-add" }],
] as const)("downgrade %j", (app, target) => {
  const invocation = { command: "downgrade", flags: {}, app } as const;
  expect(readSettings(invocation, {}, "/srv")).toMatchObject({ target });
});

test.each([[[]], [["-0"]], [["+1"]], [["blog@base"]], [["--1"]], [["a1", "b2"]]])(
  "64: downgrade %j",
  (app) => {
    const invocation = { command: "downgrade", flags: {}, app } as const;
    expect(failureOf(() => readSettings(invocation, {}, "/srv")).details["problems"]).toEqual([
      `entrypoint downgrade: given ${JSON.stringify(app.join(" "))}; allowed: one REVISION: -1, an id, base`,
    ]);
  },
);
test("lint takes a range of revisions, and base is no revision", () => {
  const lint = (flags: Flags) => readSettings({ command: "lint", flags, app: [] }, {}, "/srv");
  expect(lint({ range: "a1:head" }).range).toEqual({ from: ["a1"], to: "head" });
  expect(lint({ range: "base:heads" }).range).toEqual({ from: [], to: "heads" });
  expect(failureOf(() => lint({ range: "a1", lintThreshold: "many" })).details["problems"]).toEqual(
    [
      '--lint-threshold: given "many"; allowed: a whole number',
      '--range: given "a1"; allowed: FROM:TO, revisions such as base:head',
    ],
  );
  expect(lint({ json: true, format: "sarif" }).format).toBe("json");
});

test("a backfill has a table, assignments and a condition, and its own pace", () => {
  const given = { table: "posts", set: "n = 1", where: "n is null" };
  const of = (flags: Flags) =>
    readSettings({ command: "backfill", flags: { ...given, ...flags }, app: [] }, {}, "/srv");
  expect(of({}).job).toEqual({ ...given, name: null, batchTimeMs: 500, maxLagMs: 5_000 });
  expect(of({ name: "n", batchTime: "2s", maxLag: "0" }).job).toMatchObject({
    name: "n",
    batchTimeMs: 2_000,
    maxLagMs: 0,
  });
  // It needs no Alembic.
  expect(of({ migrate: "" })).toMatchObject({ migrations: [] });
});
