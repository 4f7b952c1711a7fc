// One try: which hosts are tried, with TLS or without, and what is left open. The servers are real listeners on the
// loopback; none of them is a PostgreSQL.

import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { connect } from "../../../src/postgres/connect.ts";
import { classify } from "../../../src/postgres/errors.ts";
import {
  addressOf,
  authentication,
  message,
  quiet,
  readyForQuery,
  refuse,
  row,
  serve,
  startServer,
} from "./harness.ts";

test("a server that accepts and says nothing costs no more than the time for a try", async () => {
  const { port } = await startServer(() => undefined);
  const start = performance.now();
  await expect(
    connect(addressOf(`postgresql://127.0.0.1:${port}/blog`), { ...quiet, timeoutMs: 100 }),
  ).rejects.toThrow(/timeout/);
  expect(performance.now() - start).toBeLessThan(30_000);
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
  await expect(connect(addressOf(url), { ...quiet, timeoutMs: 5_000 })).rejects.toThrow(
    "no such database",
  );
  expect(seen).toEqual([1, 2]);
});

test("a connection is closed when it cannot be seen what kind of server it is", async () => {
  const error = message("E", Buffer.from("SERROR\0VERROR\0C42501\0Mnot allowed\0\0"));
  const closed = Promise.withResolvers<void>();
  const { port } = await startServer((socket) => {
    socket.once("close", closed.resolve);
    serve(socket, error);
  });
  const url = `postgresql://127.0.0.1:${port}/blog?sslmode=disable&target_session_attrs=primary`;
  await expect(connect(addressOf(url), { ...quiet, timeoutMs: 5_000 })).rejects.toThrow(
    "not allowed",
  );
  await closed.promise;
});

const servers = {
  primary: row({ standby: false, readOnly: false }),
  "read-only primary": row({ standby: false, readOnly: true }),
  standby: row({ standby: true, readOnly: true }),
};

test.each([
  ["any", ["standby", "primary"], "standby"],
  ["primary", ["standby", "read-only primary", "primary"], "read-only primary"],
  ["read-write", ["standby", "read-only primary", "primary"], "primary"],
  ["standby", ["primary", "standby"], "standby"],
  ["read-only", ["primary", "read-only primary"], "read-only primary"],
  ["prefer-standby", ["primary", "standby"], "standby"],
  ["prefer-standby", ["read-only primary", "primary"], "read-only primary"],
  ["primary", ["standby"], null],
  ["standby", ["primary"], null],
] as const)("target_session_attrs=%s takes, of %j, the %s", async (wanted, kinds, taken) => {
  const ports: number[] = [];
  const open = new Set<string>();
  for (const kind of kinds) {
    const { port } = await startServer((socket) => {
      open.add(kind);
      socket.once("close", () => open.delete(kind));
      serve(socket, servers[kind]);
    });
    ports.push(port);
  }
  const hosts = ports.map((port) => `127.0.0.1:${port}`).join(",");
  const url = `postgresql://${hosts}/blog?sslmode=disable&target_session_attrs=${wanted}`;
  const connecting = connect(addressOf(url), { ...quiet, timeoutMs: 5_000 });
  if (taken === null) {
    const error = await connecting.catch((reason: unknown) => reason);
    expect(String(error)).toContain(`is not a server that target_session_attrs=${wanted} accepts`);
    // Another one may be promoted.
    expect(classify(error)).toBe("passing");
    return;
  }
  const connection = await connecting;
  await expect.poll(() => [...open]).toEqual([taken]);
  await connection.close();
});

describe("the server asks for a password, and none is given", () => {
  /** Whether something was sent in answer, once the server has seen the connection end. */
  async function connectTo(request: Buffer, query: string, HOME = "/no/such/home") {
    const ended = Promise.withResolvers<boolean>();
    const { port } = await startServer((socket) => {
      let answered = false;
      socket.once("data", () => {
        socket.write(request);
        socket.on("data", () => (answered = true));
      });
      socket.once("close", () => ended.resolve(answered));
    });
    const url = `postgresql://blog@127.0.0.1:${port}/blog?sslmode=disable&${query}`;
    const error = await connect(addressOf(url, { HOME }), { ...quiet, timeoutMs: 5_000 }).then(
      () => new Error("it connects"),
      (reason: unknown) => reason as Error,
    );
    return { message: error.message, answered: await ended.promise, port };
  }

  test.each([
    ["in the clear", authentication(3)],
    ["by MD5", authentication(5, "salt")],
    ["by SCRAM", authentication(10, "SCRAM-SHA-256\0\0")],
  ])("%s: the message says where it may be, and the connection is closed", async (_, request) => {
    expect(await connectTo(request, "")).toMatchObject({
      message:
        "the server requires a password, and none is given: set it in the URL, in PGPASSWORD, or in /no/such/home/.pgpass",
      answered: false,
    });
  });

  test.each([
    ["password", authentication(3)],
    ["md5", authentication(5, "salt")],
    ["scram-sha-256", authentication(10, "SCRAM-SHA-256\0\0")],
    ["no", Buffer.concat([authentication(0), readyForQuery])],
  ])("%s is not done where require_auth does not allow it", async (method, request) => {
    const allowed = method === "md5" ? "!md5" : "md5";
    expect(await connectTo(request, `password=secret&require_auth=${allowed}`)).toMatchObject({
      message: `the server requests ${method} authentication, which require_auth does not allow`,
      answered: false,
    });
  });

  test.each([
    ["password", authentication(3)],
    ["scram-sha-256", authentication(10, "SCRAM-SHA-256\0\0")],
    ["no", Buffer.concat([authentication(0), readyForQuery])],
  ])("%s is not done with channel_binding=require", async (method, request) => {
    expect(await connectTo(request, "password=secret&channel_binding=require")).toMatchObject({
      message: `the server requests ${method} authentication, and channel_binding=require allows only SCRAM over TLS`,
      answered: false,
    });
  });

  test("a server that breaks off SCRAM before it has proven itself is refused", async () => {
    const request = Buffer.concat([
      authentication(10, "SCRAM-SHA-256\0\0"),
      authentication(0),
      readyForQuery,
    ]);
    const { message: said } = await connectTo(
      request,
      "password=secret&require_auth=scram-sha-256",
    );
    expect(said).toBe("the server has not proven that it knows the password");
  });
});

test("what require_auth allows is done", async () => {
  const { port } = await startServer((socket) => serve(socket));
  for (const allowed of ["none", "scram-sha-256,none", "!md5,!password"]) {
    const url = `postgresql://127.0.0.1:${port}/blog?sslmode=disable&require_auth=${allowed}`;
    const connection = await connect(addressOf(url), { ...quiet, timeoutMs: 5_000 });
    await connection.close();
  }
});

test.each(["kerberos", "md5,!password"])("require_auth=%s is refused", (words) => {
  expect(() => addressOf(`postgresql://db/blog?require_auth=${words}`)).toThrow(
    `require_auth is ${words}; allowed: a list of none, password, md5, scram-sha-256, gss, sspi, oauth, all with ! or none`,
  );
});

test.each([
  ["postgresql:///blog", true],
  ["postgresql+pg8000:///blog", false],
  ["postgresql://127.0.0.1/blog", false],
])("%s goes to libpq's socket, where it is there: %s", async (url, expected) => {
  const { port } = await startServer((socket) => serve(socket));
  let used = false;
  const path = `/tmp/.s.PGSQL.${port}`;
  const server = createServer((socket) => {
    used = true;
    serve(socket);
  }).listen(path);
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const address = addressOf(`${url}?port=${port}&sslmode=disable`);
  const connection = await connect(address, { ...quiet, timeoutMs: 5_000 });
  await connection.close();
  expect(used).toBe(expected);
});

test("hostaddr is where it connects, and nothing is resolved", async () => {
  const { port } = await startServer((socket) => serve(socket));
  const url = `postgresql://no.such.host:${port}/blog?sslmode=disable&hostaddr=127.0.0.1`;
  const connection = await connect(addressOf(url), { ...quiet, timeoutMs: 5_000 });
  await connection.close();
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
  await expect(connect(address, { ...quiet, timeoutMs: 5_000 })).rejects.toThrow();
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
  const error = await connect(address, { ...quiet, timeoutMs: 5_000 }).catch(
    (reason: unknown) => reason,
  );
  expect(tries).toEqual(answer === "" ? ["tls"] : ["tls", "plain"]);
  expect(classify(error)).toBe("passing");
});
