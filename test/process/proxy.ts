// A TCP proxy in front of PostgreSQL, for what a server alone does not do: fall silent while its connections stay
// open, or greet as a transaction pooler does.

import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface Proxy {
  /** The URL of the same database through the proxy. */
  readonly url: string;
  /** From now on nothing passes in either direction. */
  swallow(): void;
  /** So far: connections that were made, and how often in them the client has spoken and been answered. */
  traffic(): { readonly connections: number; readonly roundTrips: number };
}

/** `rewrite` may change what the server says, and `port` 0 is any. Closed when the test has finished. */
export async function startProxy(
  serverUrl: string,
  rewrite: (data: Buffer) => Buffer = (data) => data,
  port = 0,
): Promise<Proxy> {
  const behind = new URL(serverUrl);
  const sockets: Socket[] = [];
  let open = true;
  let [connections, roundTrips] = [0, 0];
  const server = createServer((near) => {
    const far = connect(Number(behind.port), behind.hostname);
    sockets.push(near, far);
    connections += 1;
    let asked = false;
    near.on("data", (data: Buffer) => {
      asked = true;
      if (open) far.write(data);
    });
    far.on("data", (data: Buffer) => {
      if (asked) roundTrips += 1;
      asked = false;
      if (open) near.write(rewrite(data));
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const url = new URL(serverUrl);
  url.port = String(address.port);
  return {
    url: url.href,
    swallow: () => (open = false),
    traffic: () => ({ connections, roundTrips }),
  };
}

/** PgBouncer greets with a process id of its own making (message K: length 12, process id, secret). */
export function greetAsPooler(data: Buffer): Buffer {
  const at = data.indexOf(Buffer.from([0x4b, 0, 0, 0, 12]));
  if (at !== -1) data.writeInt32BE(data.readInt32BE(at + 5) ^ 0x40_00_00_00, at + 5);
  return data;
}
