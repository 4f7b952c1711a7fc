// Waiting for a database: what is waited for, what is believed at once, and how long a try and the whole wait may
// take. The servers are real listeners on the loopback; none of them is a PostgreSQL.

import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { classify, connect, waitForDatabase } from "../../src/database/connect.ts";
import { parseDatabaseUrl, type DatabaseAddress } from "../../src/database/url.ts";
import { exitCodes, Failure, Stopped } from "../../src/exit-codes.ts";
import { createLog } from "../../src/log.ts";

const log = await createLog("json", "silent");

function addressOf(url: string): DatabaseAddress {
  const answer = parseDatabaseUrl(url);
  if (answer.kind !== "postgres") throw new Error(`${url} is foreign`);
  return answer.address;
}

/** A server on a free port; `talk` is called with each connection. */
async function startServer(
  talk: (socket: Socket) => void,
): Promise<{ server: Server; port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    talk(socket);
  }).listen(0, "127.0.0.1");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await once(server, "listening");
  return { server, port: (server.address() as AddressInfo).port };
}

/** A port on which nobody listens. */
async function findClosedPort(): Promise<number> {
  const { server, port } = await startServer(() => undefined);
  server.close();
  await once(server, "close");
  return port;
}

/** PostgreSQL's ErrorResponse, after which it hangs up. */
function refuse(socket: Socket, sqlState: string, message: string): void {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(fields.length + 4, 1);
  socket.end(Buffer.concat([head, fields]));
}

async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  const error = await promise.then(
    () => new Error("it connects"),
    (reason: unknown) => reason,
  );
  if (error instanceof Failure) return error;
  throw error;
}

function createDatabaseError(code: string): Error {
  const error = new pg.DatabaseError("no", 2, "error");
  return Object.assign(error, { code, severity: "FATAL" });
}

const createError = (code: string) => Object.assign(new Error(code), { code });

test.each(["57P01", "57P02", "57P03", "53300", "53400", "08000", "08006", "08P01"])(
  "SQLSTATE %s passes by itself",
  (code) => {
    expect(classify(createDatabaseError(code))).toBe("passing");
  },
);

test.each(["28000", "28P01", "3D000", "57014", "42501", "XX000"])(
  "SQLSTATE %s has to be mended",
  (code) => {
    expect(classify(createDatabaseError(code))).toBe("refused");
  },
);

test.each([
  "ECONNREFUSED",
  "ECONNRESET",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EAI_AGAIN",
  "EAI_FAIL",
  "ENOTFOUND",
  "ENOENT",
])("%s passes by itself", (code) => {
  expect(classify(createError(code))).toBe("passing");
});

test.each(["EACCES", "DEPTH_ZERO_SELF_SIGNED_CERT", "ERR_TLS_CERT_ALTNAME_INVALID"])(
  "%s has to be mended",
  (code) => {
    expect(classify(createError(code))).toBe("refused");
  },
);

test.each([
  "timeout expired",
  "Connection terminated unexpectedly",
  "Connection terminated due to connection timeout",
])("what pg says without a code passes by itself: %s", (message) => {
  expect(classify(new Error(message))).toBe("passing");
});

test.each([
  "The server does not support SSL connections",
  "SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string",
  "a certificate that was not intended for servers",
])("what pg says without a code has to be mended: %s", (message) => {
  expect(classify(new Error(message))).toBe("refused");
});

test("of several addresses one that may come is enough to wait for", () => {
  expect(classify(new AggregateError([createError("EACCES"), createError("ECONNREFUSED")]))).toBe(
    "passing",
  );
  expect(classify(new AggregateError([createError("EACCES")]))).toBe("refused");
});

test("a server that accepts and says nothing costs no more than the time for a try", async () => {
  const { port } = await startServer(() => undefined);
  const start = performance.now();
  await expect(
    connect(addressOf(`postgresql://127.0.0.1:${port}/blog`), { timeoutMs: 100 }),
  ).rejects.toThrow(/timeout/);
  expect(performance.now() - start).toBeLessThan(1_000);
});

test.each(["prefer", "disable", "require", "allow"])(
  "the last try is cut at the wait's limit, with sslmode %s",
  async (mode) => {
    const { port } = await startServer(() => undefined);
    const start = performance.now();
    const failure = await failureOf(
      waitForDatabase(addressOf(`postgresql://127.0.0.1:${port}/blog?sslmode=${mode}`), {
        timeoutMs: 200,
        stop: new AbortController().signal,
        log,
      }),
    );
    expect(failure.code).toBe("database-unavailable");
    expect(performance.now() - start).toBeLessThan(1_000);
  },
);

test("69: a port that stays closed fails at the limit, with the host, the reason and the limit", async () => {
  const port = await findClosedPort();
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

test("a host that refuses is passed over for the next in the list", async () => {
  const seen: number[] = [];
  const first = await startServer((socket) => {
    seen.push(1);
    refuse(socket, "57P03", "starting up");
  });
  const second = await startServer((socket) => {
    seen.push(2);
    refuse(socket, "3D000", "no such database");
  });
  const url = `postgresql://127.0.0.1:${first.port},127.0.0.1:${second.port}/blog?sslmode=disable`;
  await expect(connect(addressOf(url), { timeoutMs: 5_000 })).rejects.toThrow("no such database");
  expect(seen).toEqual([1, 2]);
});

test("a connection is closed when the question whether it is a standby fails", async () => {
  const message = (type: string, body: Buffer) => {
    const head = Buffer.alloc(5);
    head.write(type);
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  };
  const error = message("E", Buffer.from("SERROR\0VERROR\0C42501\0Mnot allowed\0\0"));
  const ready = message("Z", Buffer.from("I"));
  let closed: Promise<unknown> = Promise.resolve();
  const { port } = await startServer((socket) => {
    closed = once(socket, "close");
    socket.once("data", () => {
      // AuthenticationOk and ReadyForQuery; then every query fails.
      socket.write(Buffer.concat([message("R", Buffer.alloc(4)), ready]));
      socket.on("data", () => socket.write(Buffer.concat([error, ready])));
    });
  });
  const url = `postgresql://127.0.0.1:${port}/blog?sslmode=disable&target_session_attrs=primary`;
  await expect(connect(addressOf(url), { timeoutMs: 5_000 })).rejects.toThrow("not allowed");
  await closed;
});

const sslRequest = 80877103;

/** What each connection asks for first, TLS or not, by a server that refuses all with this SQLSTATE. */
async function recordTlsTries(mode: string, sqlState: string): Promise<string[]> {
  const tries: string[] = [];
  const { port } = await startServer((socket) => {
    tries.push("connection");
    socket.on("data", (data: Buffer) => {
      const tls = data.readInt32BE(4) === sslRequest;
      tries.push(tls ? "tls" : "plain");
      if (tls) socket.write("N");
      else refuse(socket, sqlState, "no pg_hba.conf entry");
    });
  });
  const address = addressOf(`postgresql://blog@127.0.0.1:${port}/blog?sslmode=${mode}`);
  await expect(connect(address, { timeoutMs: 5_000 })).rejects.toThrow();
  return tries;
}

test.each([
  ["disable", ["connection", "plain"]],
  ["allow", ["connection", "plain", "connection", "tls"]],
  // Over the same connection, as libpq does.
  ["prefer", ["connection", "tls", "plain"]],
  ["require", ["connection", "tls"]],
  ["verify-ca", ["connection", "tls"]],
  ["verify-full", ["connection", "tls"]],
])("sslmode %s tries %j where the server speaks no TLS", async (mode, tries) => {
  expect(await recordTlsTries(mode, "28000")).toEqual(tries);
});

test("sslmode allow does not try a wrong password again with TLS", async () => {
  expect(await recordTlsTries("allow", "28P01")).toEqual(["connection", "plain"]);
});

test.each([
  ["hangs up", ""],
  ["answers with an error, as one that has no slot left", "E"],
  ["says more than it was asked", "Sx"],
])("sslmode prefer tries without TLS where the server %s", async (_, answer) => {
  const tries: string[] = [];
  const { port } = await startServer((socket) => {
    socket.once("data", (data: Buffer) => {
      const tls = data.readInt32BE(4) === sslRequest;
      tries.push(tls ? "tls" : "plain");
      if (tls) socket.end(answer);
      else refuse(socket, "53300", "sorry, too many clients already");
    });
  });
  const address = addressOf(`postgresql://blog@127.0.0.1:${port}/blog`);
  const error = await connect(address, { timeoutMs: 5_000 }).catch((reason: unknown) => reason);
  expect(tries).toEqual(answer === "" ? ["tls"] : ["tls", "plain"]);
  expect(classify(error)).toBe("passing");
});

test("64: a TLS file that cannot be read is a bad setting, and is not waited for", async () => {
  const port = await findClosedPort();
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
])("a stop signal %s ends the wait within 100 ms", async (_when, closed) => {
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
  expect(performance.now() - abortedMs).toBeLessThan(100);
});
