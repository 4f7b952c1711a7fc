// A TCP proxy in front of PostgreSQL, for what a server alone does not do: fall silent while its connections stay
// open, or greet as a transaction pooler does.

import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/**
 * Of a message that never arrives. `silence`: nothing passes any more; `cut`: that connection is closed; `down`: that one and all
 * that come later; `garbage`: the answer is none of the protocol's; an error: the server refuses, and hangs up. `half` and
 * `half, cut`: the message arrives, and after the first bytes of its answer comes no more, or the end.
 */
export type Fault =
  | "silence"
  | "half"
  | "half, cut"
  | "garbage"
  | "cut"
  | "down"
  | { readonly sqlState: string; readonly message: string };

export interface Proxy {
  /** The URL of the same database through the proxy. */
  readonly url: string;
  /** From now on nothing passes in either direction. */
  swallow(): void;
  /** Fails at the nth client's message that holds the text; resolves then. */
  failAt(text: string | Buffer, nth: number, fault: Fault): Promise<void>;
  /** After `down`: connections are accepted again. */
  recover(): void;
  /** From now on data wait, in either direction, until `thaw`. */
  freeze(): void;
  thaw(): void;
  /** Closes the connections that there are. */
  cut(): void;
  /** The ports by which the server knows the connections that there are. */
  ports(): number[];
  /** So far: connections that were made, and how often in them the client has spoken and been answered. */
  traffic(): { readonly connections: number; readonly roundTrips: number };
}

/**
 * `rewrite` may change what the server says, `request` what it is told; `refuse` answers in its place and hangs up.
 * `port` 0 is any. Closed when the test has finished.
 */
export async function startProxy(
  serverUrl: string | (() => string),
  rewrite: (data: Buffer) => Buffer = (data) => data,
  port = 0,
  request: (data: Buffer) => Buffer = (data) => data,
  refuse: (data: Buffer) => Buffer | null = () => null,
): Promise<Proxy> {
  const findServer = () => new URL(typeof serverUrl === "string" ? serverUrl : serverUrl());
  const pairs = new Set<readonly [near: Socket, far: Socket]>();
  let frozen = false;
  let open = true;
  let down = false;
  let watched: { text: string | Buffer; left: number; fault: Fault; reached: () => void } | null =
    null;
  let [connections, roundTrips] = [0, 0];
  const server = createServer((near) => {
    if (down) {
      near.destroy();
      return;
    }
    const behind = findServer();
    const far = connect(Number(behind.port), behind.hostname);
    const pair = [near, far] as const;
    pairs.add(pair);
    connections += 1;
    let asked = false;
    let half: "half" | "half, cut" | null = null;
    near.on("data", (data: Buffer) => {
      asked = true;
      if (watched !== null && data.includes(watched.text) && --watched.left === 0) {
        const { fault, reached } = watched;
        reached();
        if (fault === "silence") open = false;
        else if (fault === "half" || fault === "half, cut") half = fault;
        else if (fault === "garbage") return near.write(garbage);
        else if (typeof fault === "object") return near.end(formatError(fault));
        else {
          down = fault === "down";
          return near.destroy();
        }
      }
      const refusal = refuse(data);
      if (refusal !== null) near.end(refusal);
      else if (open) far.write(request(data));
    });
    far.on("data", (data: Buffer) => {
      if (asked) roundTrips += 1;
      asked = false;
      if (half !== null) {
        near.write(data.subarray(0, Math.min(halfLength, data.length - 1)));
        if (half === "half") open = false;
        else near.destroySoon();
        half = null;
      } else if (open) near.write(rewrite(data));
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => {
        pairs.delete(pair);
        other.destroy();
      });
      if (frozen) one.pause();
    }
  });
  const forEach = (act: (socket: Socket) => unknown) => [...pairs].flat().forEach(act);
  onTestFinished(() => {
    forEach((socket) => socket.destroy());
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const url = findServer();
  url.port = String(address.port);
  return {
    url: url.href,
    swallow: () => (open = false),
    recover: () => (down = false),
    freeze() {
      frozen = true;
      forEach((socket) => socket.pause());
    },
    thaw() {
      frozen = false;
      forEach((socket) => socket.resume());
    },
    cut: () => forEach((socket) => socket.destroy()),
    ports: () => [...pairs].map(([, far]) => far.localPort ?? 0),
    async failAt(text, nth, fault) {
      const { promise, resolve } = Promise.withResolvers<void>();
      watched = { text, left: nth, fault, reached: resolve };
      await promise;
    },
    traffic: () => ({ connections, roundTrips }),
  };
}

/** A message's kind and its length, and a little of what it says. */
const halfLength = 7;

const garbage = Buffer.from("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");

function formatError({ sqlState, message }: { sqlState: string; message: string }): Buffer {
  const fields = `SFATAL\0VFATAL\0C${sqlState}\0M${message}\0\0`;
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, Buffer.from(fields)]);
}

/** PgBouncer greets with a process id of its own making (message K: length 12, process id, secret). */
export function greetAsPooler(data: Buffer): Buffer {
  const at = data.indexOf(Buffer.from([0x4b, 0, 0, 0, 12]));
  if (at !== -1) data.writeInt32BE(data.readInt32BE(at + 5) ^ 0x40_00_00_00, at + 5);
  return data;
}

/** Has the server refuse client_connection_check_interval, as it does on platforms that know only 0 for it. */
export function refuseCheckInterval(data: Buffer): Buffer {
  const text = data.toString("latin1");
  const refused = text
    .replaceAll(
      "'client_connection_check_interval', '10000'",
      "'client_connection_check_interval', '-1000'",
    )
    .replaceAll("client_connection_check_interval=1000", "client_connection_check_interval=-100");
  return Buffer.from(refused, "latin1");
}

/** PgBouncer refuses start-up parameters that it does not know, unless it is told to ignore them. */
export function refuseOptions(data: Buffer): Buffer | null {
  if (!data.includes("default_transaction_read_only")) return null;
  return formatError({
    sqlState: "08P01",
    message: "unsupported startup parameter: options",
  });
}
