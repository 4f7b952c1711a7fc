// What flags, variables and defaults make of a boot. All that is wrong is said at once, each with its name, what was
// given and what is allowed; and no password is ever said.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Environment } from "../../src/environment.ts";
import { exitCodes, Failure } from "../../src/exit-codes.ts";
import {
  parseDuration,
  readLogSettings,
  readSettings,
  type Flags,
  type Settings,
} from "../../src/settings.ts";

function read(flags: Flags = {}, env: Environment = {}, app: readonly string[] = []): Settings {
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
    app: "uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2".split(" "),
    migrate: ["alembic", "upgrade", "head"],
    setup: [],
    database: null,
    fallbackDatabase: null,
    waitTimeoutMs: 60_000,
    lockTimeoutMs: 600_000,
    migrateTimeoutMs: 0,
    ddlLockTimeoutMs: null,
    alwaysMigrate: false,
    versionTable: null,
    versions: [],
    onAhead: "abort",
    mode: "auto",
    supervise: {
      drainDelayMs: 0,
      stopTimeoutMs: 30_000,
      signalScope: "group",
      mapSignals: new Map(),
      mapExits: new Map(),
      waitAll: false,
      parentDeathSignal: null,
    },
    backfill: null,
    user: null,
    dryRun: false,
    downgradeTo: null,
    force: false,
    lint: "off",
    lintThreshold: 10_000,
    sqlFile: null,
    range: null,
    format: "text",
    json: false,
    verbose: false,
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
    migrate: ["variable"],
    setup: [["variable"]],
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
    migrate: ["flag"],
    setup: [["flag"]],
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
    'ENTRYPOINT_LOG_FORMAT: given "xml"; allowed: json, pretty, auto',
    'ENTRYPOINT_LOG_LEVEL: given "loud"; allowed: trace, debug, info, warn, error, fatal, silent',
    'ENTRYPOINT_MODE: given "fork"; allowed: auto, exec, supervise',
    'ENTRYPOINT_SECRETS: given "1A"; allowed: names of environment variables',
    "PGHOST, PGPORT, PGSSLMODE: the port is not a number from 1 to 65535",
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
  expect(read(flags, env).migrate).toBeNull();
});

test("--migrate beats an empty variable", () => {
  expect(read({ migrate: "x" }, { ENTRYPOINT_MIGRATE: "" }).migrate).toEqual(["x"]);
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
  expect(read({ migrate: text }).migrate).toEqual(words);
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
  ["a ${PORT:-8000}", "$PORT"],
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
  const steps = [["a", "1"], ["b"]];
  expect(read({ setup: ["a 1", "b"] }).setup).toEqual(steps);
  expect(read({}, { ENTRYPOINT_SETUP: "a 1\r\n\n  b\n" }).setup).toEqual(steps);
});

test("folders of revisions are a flag each, or separated by colons", () => {
  expect(read({ versions: ["a", "b:c"] }).versions).toEqual(["a", "b:c"]);
  expect(read({}, { ENTRYPOINT_VERSIONS: "a:b:" }).versions).toEqual(["a", "b"]);
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

test.each([
  ["version", { schema: null, name: "version" }],
  ["blog.version", { schema: "blog", name: "version" }],
  [" blog.version ", { schema: "blog", name: "version" }],
])("the version table %j", (text, versionTable) => {
  expect(read({ versionTable: text }).versionTable).toEqual(versionTable);
});

test.each([".", "a.", ".a", "a.b.c", ""])("the version table %j is refused", (text) => {
  expect(problemsOf({ versionTable: text })).toEqual([expect.stringContaining("SCHEMA.NAME")]);
});

test("the application is the command line's, else ENTRYPOINT_APP's", () => {
  const env = { ENTRYPOINT_APP: "gunicorn 'my app'" };
  expect(read({}, env, ["echo", "$PORT", "&&"]).app).toEqual(["echo", "$PORT", "&&"]);
  expect(read({}, env).app).toEqual(["gunicorn", "my app"]);
});

test("migrate has no application, whatever ENTRYPOINT_APP says", () => {
  const invocation = { command: "migrate", flags: {}, app: [] } as const;
  expect(readSettings(invocation, { ENTRYPOINT_APP: "'" }, "/srv").app).toBeNull();
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
  expect(wait("echo", "$PORT").app).toEqual(["echo", "$PORT"]);
  expect(wait().app).toBeNull();
});

test("64: wait without a migration command does not know what for", () => {
  const invocation = { command: "wait", flags: {}, app: [] } as const;
  const reading = () => readSettings(invocation, { ENTRYPOINT_MIGRATE: "" }, "/srv");
  expect(failureOf(reading).details["problems"]).toEqual([
    "entrypoint wait: no migration command is left to say what is waited for; allowed: one that is not empty",
  ]);
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
  expect(readSettings(superviseInvocation, env, "/srv")).toMatchObject({
    command: "supervise",
    app: ["app"],
    mode: "supervise",
    database: null,
    fallbackDatabase: null,
    warnings: [],
    env,
  });
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
  signalScope: "child",
  mapSignal: ["TERM:QUIT", "rtmin+3:TERM", "2:0"],
  mapExit: ["143=0", "0=3"],
  waitAll: true,
  parentDeathSignal: "kill",
};
const superviseVariables: Environment = {
  ENTRYPOINT_DRAIN_DELAY: "5",
  ENTRYPOINT_STOP_TIMEOUT: "0",
  ENTRYPOINT_SIGNAL_SCOPE: "child",
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
  expect(settings.supervise).toEqual({
    drainDelayMs: 5_000,
    stopTimeoutMs: 0,
    signalScope: "child",
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
])("%j and %j make a supervisor, and are refused with --mode exec", (flags, env) => {
  expect(read(flags, env).mode).toBe("supervise");
  expect(read({ ...flags, mode: "supervise" }, env).mode).toBe("supervise");
  const [problem, ...others] = problemsOf({ ...flags, mode: "exec" }, env);
  expect(problem).toMatch(/^--mode exec: given with (--|ENTRYPOINT_)\S+; allowed: --mode auto or/);
  expect(others).toEqual([]);
});

test.each<[Flags, Environment]>([
  [{ drainDelay: "0s" }, {}],
  [{}, { ENTRYPOINT_DRAIN_DELAY: "0", ENTRYPOINT_WAIT_ALL: "off", ENTRYPOINT_MAP_EXIT: "" }],
])("%j and %j ask for nothing that exec could not do", (flags, env) => {
  expect(read(flags, env).mode).toBe("auto");
  expect(read({ ...flags, mode: "exec" }, env).mode).toBe("exec");
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
  [{ signalScope: "all" }, "group, child"],
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
  expect(readSettings(invocation, env, "/srv")).toMatchObject({
    setup: [],
    alwaysMigrate: false,
    lockTimeoutMs: 600_000,
    migrateTimeoutMs: 0,
    warnings: [],
  });
  const migrate = { command: "migrate", flags: {}, app: [] } as const;
  expect(readSettings(migrate, { ENTRYPOINT_MODE: "fork" }, "/srv").mode).toBe("auto");
});

test("a flag that means nothing to the command, given before its name, is warned of and left out", () => {
  const flags = { setup: ["seed"], alwaysMigrate: true, lockTimeout: "junk" } as const;
  const settings = readSettings({ command: "wait", flags, app: [] }, {}, "/srv");
  expect(settings).toMatchObject({ setup: [], alwaysMigrate: false, lockTimeoutMs: 600_000 });
  expect(settings.warnings).toEqual([
    "--setup means nothing to entrypoint wait",
    "--always-migrate means nothing to entrypoint wait",
    "--lock-timeout means nothing to entrypoint wait",
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
  expect(read({}, { DATABASE_URL: "postgres://db/blog" }).warnings).toEqual([
    expect.stringMatching(/^DATABASE_URL: .*postgresql:\/\//),
  ]);
});

test("an ENTRYPOINT_ variable that is no setting is warned of, without its value", () => {
  const env = { ENTRYPOINT_LOCK_TIMOUT: "s3cret", ENTRYPOINT_APP: "x", ENTRYPOINTS: "x" };
  expect(read({}, env).warnings).toEqual([
    "ENTRYPOINT_LOCK_TIMOUT is set, but it is no setting of this version",
  ]);
});

test("the log's settings are known even where others are wrong", () => {
  const env = { ENTRYPOINT_LOG_FORMAT: " json", ENTRYPOINT_LOG_LEVEL: "loud" };
  expect(readLogSettings({}, env)).toEqual({ format: "json", level: "info" });
  expect(readLogSettings({ logLevel: "debug" }, env)).toEqual({ format: "json", level: "debug" });
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
    expect(settings).toMatchObject({ app: null, migrate: ["flask", "db", "upgrade"], json: false });
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
  expect(of("status")).toMatchObject({ json: true, verbose: false });
  expect(of("history")).toMatchObject({ json: false, verbose: true });
  expect(of("run").warnings).toEqual([
    "--json means nothing to entrypoint run",
    "--verbose means nothing to entrypoint run",
  ]);
});

test.each([
  [["-1"], { kind: "relative", steps: 1 }],
  [["-12"], { kind: "relative", steps: 12 }],
  [["base"], { kind: "base" }],
  [["0003-add"], { kind: "revision", name: "0003-add" }],
] as const)("downgrade %j", (app, downgradeTo) => {
  const invocation = { command: "downgrade", flags: {}, app } as const;
  expect(readSettings(invocation, {}, "/srv")).toMatchObject({ downgradeTo, app: null });
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
  expect(of({}).backfill).toEqual({ ...given, name: null, batchTimeMs: 500, maxLagMs: 5_000 });
  expect(of({ name: "n", batchTime: "2s", maxLag: "0" }).backfill).toMatchObject({
    name: "n",
    batchTimeMs: 2_000,
    maxLagMs: 0,
  });
  // It needs no Alembic.
  expect(of({ migrate: "" })).toMatchObject({ migrate: null });
});
