// Waiting for a database: what is waited for, what is believed at once, and how long a try and the whole wait may
// take. The servers are real listeners on the loopback; none of them is a PostgreSQL.

import { expect, test } from "vitest";
import { findFreePort } from "../../../scripts/postgres.ts";
import type { DatabaseAddress } from "../../../src/postgres/url.ts";
import { connectAtOnce, waitForDatabase } from "../../../src/postgres/wait-for-database.ts";
import { exitCodes, Failure, Stopped } from "../../../src/failure.ts";
import type { Log } from "../../../src/context.ts";
import { createLog } from "../../../src/log/log.ts";
import { addressOf, authentication, readyForQuery, refuse, startServer } from "./harness.ts";

const log = createLog("json", "silent");

/** What a command is given, with that signal. */
function withSignal(stop: AbortSignal) {
  return { log, signals: { stop, subscribe: () => () => undefined, release: () => undefined } };
}

/** A log that keeps its lines of the level info, and calls `more` at each. */
function recordLines(more: () => void = () => undefined) {
  const lines: (Record<string, unknown> & { msg: string })[] = [];
  const info: Log["info"] = (details, msg) => {
    lines.push({ ...details, msg });
    more();
  };
  return { lines, log: { ...log, info } };
}

async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  const error = await promise.then(
    () => new Error("it connects"),
    (reason: unknown) => reason,
  );
  if (error instanceof Failure) return error;
  throw error;
}

test.each(["prefer", "disable", "require", "allow"])(
  "the last try is cut at the wait's limit, with sslmode %s",
  async (mode) => {
    const { port } = await startServer(() => undefined);
    const query = `sslmode=${mode}&connect_timeout=60`;
    const start = performance.now();
    const failure = await failureOf(
      waitForDatabase(addressOf(`postgresql://127.0.0.1:${port}/blog?${query}`), {
        timeoutMs: 200,
        stop: new AbortController().signal,
        log,
      }),
    );
    expect(failure.code).toBe("database-unavailable");
    expect(performance.now() - start).toBeLessThan(30_000);
  },
);

test("69: a port that stays closed fails at the limit, with the host, the reason and the limit", async () => {
  const port = await findFreePort();
  const failure = await failureOf(
    waitForDatabase(addressOf(`postgresql://blog:s3cret@127.0.0.1:${port}/blog`), {
      timeoutMs: 300,
      stop: new AbortController().signal,
      log,
    }),
  );
  expect(exitCodes[failure.code]).toBe(69);
  expect(failure.message).toBe(
    `cannot connect to postgresql://blog@127.0.0.1:${port}/blog: within 0.3 s: connect ECONNREFUSED 127.0.0.1:${port}`,
  );
  expect(failure.hint).toContain("--wait-timeout");
  expect(JSON.stringify(failure.details)).not.toContain("s3cret");
});

test("a limit of 0 is a single try", async () => {
  let connections = 0;
  const { port } = await startServer((socket) => {
    connections++;
    refuse(socket, "57P03", "the database system is starting up");
  });
  const failure = await failureOf(
    waitForDatabase(addressOf(`postgresql://127.0.0.1:${port}/blog?sslmode=disable`), {
      timeoutMs: 0,
      stop: new AbortController().signal,
      log,
    }),
  );
  expect(failure.message).toContain("the database system is starting up (SQLSTATE 57P03)");
  expect(connections).toBe(1);
});

test("a server that is starting up is tried again", async () => {
  const stop = new AbortController();
  let connections = 0;
  const { port } = await startServer((socket) => {
    refuse(socket, "57P03", "the database system is starting up");
    if (++connections === 3) stop.abort(new Stopped("SIGTERM"));
  });
  await expect(
    waitForDatabase(addressOf(`postgresql://127.0.0.1:${port}/blog?sslmode=disable`), {
      timeoutMs: 60_000,
      stop: stop.signal,
      log,
    }),
  ).rejects.toEqual(new Stopped("SIGTERM"));
  expect(connections).toBe(3);
});

test("69: what a pooler refuses ends the wait in seconds, with its cure, and not in its whole time", async () => {
  const { port } = await startServer((socket) =>
    refuse(socket, "08P01", "unsupported startup parameter: options"),
  );
  const start = performance.now();
  const failure = await failureOf(
    waitForDatabase(addressOf(`postgresql://127.0.0.1:${port}/blog?options=-c%20a.b=1`), {
      timeoutMs: 60_000,
      stop: new AbortController().signal,
      log,
    }),
  );
  expect(failure).toMatchObject({ code: "database-unavailable" });
  expect(failure.message).toContain("the server refuses: unsupported startup parameter: options");
  expect(failure.hint).toContain("the pooler in between does not take PGOPTIONS");
  expect(performance.now() - start).toBeLessThan(20_000);
});

test("69: wrong credentials are said to be refused, with their own cure", async () => {
  const { port } = await startServer((socket) =>
    refuse(socket, "28P01", 'password authentication failed for user "blog"'),
  );
  const failure = await failureOf(
    waitForDatabase(addressOf(`postgresql://blog:s3cret@127.0.0.1:${port}/blog?sslmode=disable`), {
      timeoutMs: 100,
      stop: new AbortController().signal,
      log,
    }),
  );
  expect(exitCodes[failure.code]).toBe(69);
  expect(failure.message).toContain("the server refuses: password authentication failed");
  expect(failure.hint).toContain("password");
  expect(failure.details).toMatchObject({ sqlState: "28P01" });
});

test("64: a TLS file that cannot be read is a bad setting, and is not waited for", async () => {
  const port = await findFreePort();
  const url = `postgresql://127.0.0.1:${port}/blog?sslmode=verify-full&sslrootcert=/no/such/ca.pem`;
  const failure = await failureOf(
    waitForDatabase(addressOf(url), {
      timeoutMs: 60_000,
      stop: new AbortController().signal,
      log,
    }),
  );
  expect(exitCodes[failure.code]).toBe(64);
  expect(failure.message).toContain("/no/such/ca.pem");
});

test.each([
  ["while a try hangs", false],
  ["between two tries", true],
])("a stop signal %s ends the wait at once", async (_when, closed) => {
  const stop = new AbortController();
  let abortedMs = 0;
  const abort = () => {
    abortedMs = performance.now();
    stop.abort(new Stopped("SIGTERM"));
  };
  const { port } = await startServer((socket) => {
    if (closed) socket.once("close", abort).destroy();
    else abort();
  });
  await expect(
    waitForDatabase(addressOf(`postgresql://127.0.0.1:${port}/blog`), {
      timeoutMs: 60_000,
      stop: stop.signal,
      log,
    }),
  ).rejects.toEqual(new Stopped("SIGTERM"));
  expect(performance.now() - abortedMs).toBeLessThan(10_000);
});

test("a wait is reported at once, and again when the reason changes, with how long it takes and may take", async () => {
  const reasons = ["starting up", "starting up", "recovering", "recovering", "starting up"];
  const stop = new AbortController();
  const { port } = await startServer((socket) => {
    const reason = reasons.shift();
    if (reason === undefined) stop.abort(new Stopped("SIGTERM"));
    refuse(socket, "57P03", reason ?? "");
  });
  const url = `postgresql://127.0.0.1:${port}/blog?sslmode=disable`;
  const { lines, log: recorded } = recordLines();
  const options = { timeoutMs: 60_000, stop: stop.signal, log: recorded };
  await expect(waitForDatabase(addressOf(url), options)).rejects.toEqual(new Stopped("SIGTERM"));
  const database = `postgresql://127.0.0.1:${port}/blog`;
  expect(lines).toEqual(
    // What has been reported is not news: it comes again after 15 s.
    ["starting up", "recovering"].map((reason) => ({
      event: "waiting",
      database,
      reason: `${reason} (SQLSTATE 57P03)`,
      waitedMs: expect.any(Number),
      timeoutMs: 60_000,
      msg: expect.stringMatching(
        new RegExp(
          `^Waiting for the database at ${database} \\(\\d+ s of 60 s\\): ${reason} \\(SQLSTATE 57P03\\)$`,
        ),
      ),
    })),
  );
});

test("a single try reports nothing but its end", async () => {
  const port = await findFreePort();
  const { lines, log: recorded } = recordLines();
  const options = { timeoutMs: 0, stop: new AbortController().signal, log: recorded };
  const url = `postgresql://127.0.0.1:${port}/blog`;
  await failureOf(waitForDatabase(addressOf(url), options));
  expect(lines).toEqual([]);
});

test("connect_timeout limits a try, and not entrypoint's own limit", async () => {
  const stop = new AbortController();
  const { port } = await startServer(() => undefined);
  const url = `postgresql://127.0.0.1:${port}/blog?sslmode=disable&connect_timeout=6`;
  const startMs = performance.now();
  const { log: recorded } = recordLines(() => stop.abort(new Stopped("SIGTERM")));
  const options = { timeoutMs: 60_000, stop: stop.signal, log: recorded };
  await expect(waitForDatabase(addressOf(url), options)).rejects.toEqual(new Stopped("SIGTERM"));
  // Without it, it is 5 s.
  expect(performance.now() - startMs).toBeGreaterThan(5_900);
  expect(performance.now() - startMs).toBeLessThan(30_000);
});

/** A server that lets in whoever connects once `open` is called; `closed` resolves when he has gone. */
async function startLateServer() {
  const opened = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  const { port } = await startServer((socket) => {
    socket.once("close", closed.resolve);
    socket.once("data", () => {
      asked.resolve();
      void opened.promise.then(() =>
        socket.write(Buffer.concat([authentication(0), readyForQuery])),
      );
    });
  });
  return { port, open: opened.resolve, asked: asked.promise, closed: closed.promise };
}

test("a connection that is made after the signal is closed", async () => {
  for (const connecting of [
    (address: DatabaseAddress, stop: AbortSignal) =>
      waitForDatabase(address, { timeoutMs: 60_000, stop, log }),
    (address: DatabaseAddress, stop: AbortSignal) =>
      connectAtOnce(withSignal(stop), address, 60_000),
  ]) {
    const stop = new AbortController();
    const server = await startLateServer();
    const address = addressOf(`postgresql://127.0.0.1:${server.port}/blog?sslmode=disable`);
    const result = connecting(address, stop.signal);
    await server.asked;
    stop.abort(new Stopped("SIGTERM"));
    await expect(result).rejects.toEqual(new Stopped("SIGTERM"));
    server.open();
    await server.closed;
  }
});

test("69: a connection that is made after the limit is closed", async () => {
  const silent = await startServer(() => undefined);
  const late = await startLateServer();
  const hosts = `127.0.0.1:${silent.port},127.0.0.1:${late.port}`;
  const address = addressOf(`postgresql://blog@${hosts}/blog?sslmode=disable`);
  const stop = new AbortController().signal;
  // The first host takes all of the time; the second one is connected to all the same.
  const failure = await failureOf(connectAtOnce(withSignal(stop), address, 300));
  expect(exitCodes[failure.code]).toBe(69);
  expect(failure.message).toBe(
    `cannot connect to postgresql://blog@${hosts}/blog: no answer in 0.3 s`,
  );
  await late.asked;
  late.open();
  await late.closed;
});
