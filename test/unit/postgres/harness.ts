// Servers that are none: real listeners on the loopback that say what a test wants to be said.

import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { createLog } from "../../../src/log/log.ts";
import { parseDatabaseUrl, type DatabaseAddress } from "../../../src/postgres/url.ts";

/** Neither a signal nor a log. */
export const quiet = {
  stop: new AbortController().signal,
  log: createLog("json", "silent"),
};

export function addressOf(url: string, env: Record<string, string> = {}): DatabaseAddress {
  const answer = parseDatabaseUrl(url, env);
  if (answer.kind !== "postgres") throw new Error(`${url} is foreign`);
  return answer.address;
}

/** A server on a free port; `talk` is called with each connection. */
export async function startServer(
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

/** PostgreSQL's ErrorResponse, after which it hangs up. */
export function refuse(socket: Socket, sqlState: string, text: string): void {
  socket.end(message("E", Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0M${text}\0\0`)));
}

/** A message of PostgreSQL's: a letter, the length, and the content. */
export function message(kind: string, content: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(kind);
  head.writeInt32BE(content.length + 4, 1);
  return Buffer.concat([head, content]);
}

const int16 = (value: number) => Buffer.from([value >> 8, value & 255]);
const int32 = (value: number) => Buffer.concat([int16(value >> 16), int16(value & 65_535)]);

/** AuthenticationOk, or what the server asks for: 3 a password, 5 MD5 and a salt, 10 SASL and its mechanisms. */
export function authentication(kind: number, more = ""): Buffer {
  return message("R", Buffer.concat([int32(kind), Buffer.from(more)]));
}

export const readyForQuery = message("Z", Buffer.from("I"));

/** One row of booleans, by the names of the columns. */
export function row(values: Readonly<Record<string, boolean>>): Buffer {
  const count = int16(Object.keys(values).length);
  const fields = Object.keys(values).map((name) => {
    const type = [int32(16), int16(1), int32(-1), int16(0)];
    return Buffer.concat([Buffer.from(`${name}\0`), int32(0), int16(0), ...type]);
  });
  const cells = Object.values(values).map((value) =>
    Buffer.concat([int32(1), Buffer.from(value ? "t" : "f")]),
  );
  return Buffer.concat([
    message("T", Buffer.concat([count, ...fields])),
    message("D", Buffer.concat([count, ...cells])),
    message("C", Buffer.from("SELECT 1\0")),
  ]);
}

/** Lets everybody in, and answers each query with that. */
export function serve(socket: Socket, answer = row({})): void {
  socket.once("data", () => {
    socket.write(Buffer.concat([authentication(0), readyForQuery]));
    socket.on("data", () => socket.write(Buffer.concat([answer, readyForQuery])));
  });
}
