// --wait-for: services that are not there yet, that answer and are not ready, and that never will be; each on real sockets, and
// Redis itself where it is installed.
// @runs-on executable

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createServer as createHttps } from "node:https";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTls } from "node:tls";

import { describe, expect, onTestFinished, test } from "vitest";

import { findFreePort } from "../../../scripts/postgres.ts";
import { certificate, privateKey } from "../boot/fixtures/tls.ts";
import { runEntrypoint, startEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase } from "../harness/postgres.ts";
import { findMissing, testUnless } from "../supervise/harness/supervised.ts";

const key = { cert: certificate, key: privateKey };
/** RabbitMQ's greeting begins so: a method frame of channel 0, Connection.Start. */
const amqpStart = Buffer.from([1, 0, 0, 0, 0, 1, 0xf0, 0, 10, 0, 10, 0, 9]);

/** What answers the first looks as one that is not ready, and then as one that is. */
interface Peer {
  readonly url: (port: number) => string;
  readonly create: (isReady: () => boolean) => Server;
  /** What the log says while it is not ready. */
  readonly reason: string;
}

const speakRedis = (isReady: () => boolean, expected: string) => (socket: Socket) => {
  let heard = "";
  socket.on("error", () => undefined);
  socket.on("data", (data) => {
    heard += data.toString();
    if (heard.length < expected.length) return;
    const answers = expected.includes("AUTH") ? "+OK\r\n" : "";
    const ready = isReady() && heard === expected;
    socket.write(ready ? `${answers}+PONG\r\n` : "-LOADING Redis is loading the dataset\r\n");
  });
};
const ping = "*1\r\n$4\r\nPING\r\n";
const auth = "*3\r\n$4\r\nAUTH\r\n$3\r\nweb\r\n$6\r\ns:cret\r\n";

const speakAmqp = (isReady: () => boolean) => (socket: Socket) => {
  socket.on("error", () => undefined);
  socket.on("data", (data) => {
    if (isReady() && data.toString("latin1") === "AMQP\0\0\u0009\u0001") socket.write(amqpStart);
    else socket.end();
  });
};

const peers: Readonly<Record<string, Peer>> = {
  redis: {
    url: (port) => `redis://127.0.0.1:${port}/0`,
    create: (isReady) => createServer(speakRedis(isReady, ping)),
    reason: "it answers PING with -LOADING Redis is loading the dataset",
  },
  "redis with TLS, a user and a password": {
    url: (port) => `rediss://web:s%3Acret@localhost:${port}`,
    create: (isReady) => createTls(key, speakRedis(isReady, auth + ping)),
    reason: "it answers AUTH with -LOADING Redis is loading the dataset",
  },
  http: {
    url: (port) => `http://me:password@127.0.0.1:${port}/healthz?deep=1`,
    create: (isReady) =>
      createHttp(({ url, headers, method }, response) => {
        const asked = method === "GET" && url === "/healthz?deep=1";
        const named = headers.authorization === `Basic ${btoa("me:password")}`;
        response.writeHead(isReady() && asked && named ? 204 : 503).end();
      }),
    reason: "it answers 503 Service Unavailable",
  },
  https: {
    url: (port) => `https://localhost:${port}`,
    create: (isReady) =>
      createHttps(key, (_, response) =>
        response.writeHead(isReady() ? 200 : 301, { location: "/" }).end("x".repeat(100_000)),
      ),
    reason: "it answers 301 Moved Permanently",
  },
  amqp: {
    url: (port) => `amqp://guest:guest@127.0.0.1:${port}/blog`,
    create: (isReady) => createServer(speakAmqp(isReady)),
    reason: "it closes the connection",
  },
  amqps: {
    url: (port) => `amqps://localhost:${port}?verify=verify_none`,
    create: (isReady) => createTls(key, speakAmqp(isReady)),
    reason: "it closes the connection",
  },
};

describe.for(Object.entries(peers))("%s", ([, peer]) => {
  test("is waited for until it is ready", async () => {
    const port = await findFreePort();
    const url = peer.url(port);
    const run = startEntrypoint(["--no-migrate", "--wait-for", url, "echo", "served"], {
      env: { SSL_CERT_FILE: writeFile("ca.pem", certificate) },
    });
    expect((await run.event("waiting"))["msg"]).toContain("(connection refused)");
    let looks = 0;
    const server = peer.create(() => (looks += 1) > 2);
    await listen(server, port);
    expect(await run.ended).toMatchObject({ code: 0 });
    expect(looks).toBe(3);
    expect(run.stdout()).toBe("served\n");
    expect(run.lines().map(({ event }) => event)).toEqual([
      "waiting",
      "services-ready",
      "starting",
    ]);
  });

  test("is named with its answer where it is never ready", async () => {
    const port = await findFreePort();
    await listen(
      peer.create(() => false),
      port,
    );
    const args = ["--no-migrate", "--wait-timeout", "0", "--wait-for", peer.url(port), "true"];
    const env = { SSL_CERT_FILE: writeFile("ca.pem", certificate) };
    const { code, lines } = await runEntrypoint(args, { env });
    expect(code).toBe(68);
    expect(lines).toMatchObject([{ event: "service-unavailable", exitCode: 68 }]);
    expect(lines[0]?.["msg"]).toContain(`(${peer.reason})`);
  });
});

test.for(["tcp://127.0.0.1:PORT", "127.0.0.1:PORT", "tcp://localhost:PORT", "unix:SOCKET"])(
  "%s only has to accept a connection",
  async (form) => {
    const [port, socket] = [await findFreePort(), join(makeDirectory(), "socket")];
    const url = form.replace("PORT", String(port)).replace("SOCKET", socket);
    const run = startEntrypoint(["--no-migrate", "--wait-for", url, "true"]);
    await run.event("waiting");
    const silent = createServer((client) => client.on("error", () => undefined));
    await listen(silent, form.startsWith("unix") ? socket : port);
    expect(await run.ended).toMatchObject({ code: 0 });
  },
);

test("several are waited for at once, by a worker without a database as well", async () => {
  const [ready, missing, other] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ];
  await listen(createServer(), ready);
  const env = {
    ENTRYPOINT_WAIT_FOR: `tcp://127.0.0.1:${ready} redis://\${CACHE_HOST}:${missing} \${NOWHERE:-}
      127.0.0.1:${other}`,
    CACHE_HOST: "127.0.0.1",
    ENTRYPOINT_WAIT_TIMEOUT: "200ms",
  };
  const missed = [`redis://127.0.0.1:${missing}`, `tcp://127.0.0.1:${other}`];
  for (const words of [["wait", "--no-migrate"], ["supervise"], ["run", "--no-migrate"]]) {
    const { code, lines, stdout } = await runEntrypoint([...words, "--", "echo", "on"], { env });
    expect(code).toBe(68);
    expect(stdout).toBe("");
    expect(lines.at(-1)).toMatchObject({ event: "service-unavailable", services: missed });
    expect(lines.at(-1)?.["msg"]).toContain(
      `within 0.2 s: ${missed.map((name) => `${name} (connection refused)`).join(", ")}`,
    );
  }
  await listen(createServer(speakRedis(() => true, ping)), missing);
  await listen(createServer(), other);
  for (const words of [["wait", "--no-migrate"], ["supervise"], ["run", "--no-migrate"]]) {
    const { code, stdout } = await runEntrypoint([...words, "--", "echo", "on"], { env });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "on\n" });
  }
});

test("a service is waited for before the database, which need not be at head without a migration command", async () => {
  const port = await findFreePort();
  const env = {
    DATABASE_URL: await createTestDatabase(),
    ENTRYPOINT_WAIT_FOR: `127.0.0.1:${port}`,
  };
  const run = startEntrypoint(["wait", "--no-migrate", "--", "echo", "on"], { env });
  await run.event("waiting");
  await listen(createServer(), port);
  expect(await run.ended).toMatchObject({ code: 0 });
  const unreachable = { ...env, DATABASE_URL: "postgresql://a@127.0.0.1:1/a" };
  const args = ["wait", "--no-migrate", "--wait-timeout", "0"];
  expect(await runEntrypoint(args, { env: unreachable })).toMatchObject({ code: 69 });
});

test("a signal ends the wait", async () => {
  const port = await findFreePort();
  const silent = createServer();
  await listen(silent, port);
  const run = startEntrypoint(["--no-migrate", "--wait-for", `amqp://127.0.0.1:${port}`, "true"]);
  // Nothing answers, so the look is still under way.
  await once(silent, "connection");
  run.process.kill("SIGTERM");
  expect(await run.ended).toMatchObject({ code: 143 });
  expect(run.lines().map(({ event }) => event)).toEqual(["stopped"]);
});

test("an answer may come byte by byte, and one that never ends is another protocol", async () => {
  const [slow, endless] = [await findFreePort(), await findFreePort()];
  await listen(
    createServer((socket) => {
      socket.setNoDelay(true).on("error", () => undefined);
      void (async () => {
        await once(socket, "data");
        for (const byte of "+PONG\r\n") await new Promise((done) => socket.write(byte, done));
      })();
    }),
    slow,
  );
  await listen(
    createServer((socket) => {
      socket.on("error", () => undefined);
      socket.write("x".repeat(10_000));
    }),
    endless,
  );
  const run = (port: number) => {
    const settings = ["--no-migrate", "--wait-timeout", "0"];
    return runEntrypoint([...settings, "--wait-for", `redis://127.0.0.1:${port}`, "true"]);
  };
  expect(await run(slow)).toMatchObject({ code: 0 });
  const { code, lines } = await run(endless);
  expect(code).toBe(68);
  expect(lines.at(-1)?.["msg"]).toContain("(it answers in another protocol)");
});

test("a dry run names them, and looks at none", async () => {
  const args = ["--no-migrate", "--dry-run", "--wait-for", "redis://u:hidden@cache/1", "true"];
  const { code, stdout } = await runEntrypoint(args);
  expect(code).toBe(0);
  expect(stdout.split("\n")[0]).toBe("services   would wait for redis://u@cache:6379");
});

test("a certificate that nobody has vouched for is a reason, unless the URL asks for no check", async () => {
  const port = await findFreePort();
  await listen(
    createTls(
      key,
      speakRedis(() => true, ping),
    ),
    port,
  );
  const url = `rediss://localhost:${port}`;
  const args = ["--no-migrate", "--wait-timeout", "0", "true"];
  const refused = await runEntrypoint(["--wait-for", url, ...args]);
  expect(refused.lines.at(-1)?.["msg"]).toContain(
    "(self-signed certificate: SSL_CERT_FILE may name the file of its issuer)",
  );
  const absent = await runEntrypoint(["--wait-for", url, ...args], {
    env: { SSL_CERT_FILE: "/no/such/file" },
  });
  expect(absent.lines.at(-1)?.["msg"]).toContain("/no/such/file");
  const query = "?ssl_cert_reqs=none";
  expect(await runEntrypoint(["--wait-for", url + query, ...args])).toMatchObject({ code: 0 });
});

const withRedis = testUnless(findMissing("redis-server"));

withRedis("a real Redis: its start, its password, and a password that is missing", async () => {
  const port = await findFreePort();
  const url = `redis://:long-password@127.0.0.1:${port}`;
  const run = startEntrypoint(["--no-migrate", "--wait-for", url, "true"]);
  await run.event("waiting");
  startRedis(port);
  expect(await run.ended).toMatchObject({ code: 0 });
  for (const [wrong, reason] of [
    [`redis://127.0.0.1:${port}`, "PING with -NOAUTH"],
    [url.replace("long", "wrong"), "AUTH with -WRONGPASS"],
  ] as const) {
    const refused = await runEntrypoint(["--no-migrate", "--wait-for", wrong, "true"]);
    expect(refused.code).toBe(68);
    // Sooner than the minute that it would be waited for.
    expect(refused.ms).toBeLessThan(30_000);
    expect(refused.lines.at(-1)?.["msg"]).toContain(reason);
  }
});

function startRedis(port: number): void {
  const options = ["--port", String(port), "--requirepass", "long-password", "--save", ""];
  const redis = spawn("redis-server", [...options, "--dir", makeDirectory()], { stdio: "ignore" });
  onTestFinished(async () => {
    const ended = once(redis, "exit");
    redis.kill("SIGKILL");
    await ended;
  });
}

async function listen(server: Server, at: number | string): Promise<void> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => sockets.add(socket));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => {
    const done = () => resolve();
    if (typeof at === "string") server.listen(at, done);
    else server.listen(at, "127.0.0.1", done);
  });
}

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-services-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

function writeFile(name: string, text: string): string {
  const path = join(makeDirectory(), name);
  writeFileSync(path, text);
  return path;
}
