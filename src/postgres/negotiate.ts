// TLS as libpq negotiates it. With sslmode=prefer the same connection serves whether the server speaks TLS or not: with pg
// alone a server without TLS would get a second connection, and start a second backend.

import { once } from "node:events";
import { createConnection, isIP, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";

/** The message SSLRequest: its length, then 1234 and 5679. */
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

export interface Wish {
  /** The name that the certificate must have, and where to connect instead of resolving it. */
  readonly host: { readonly host: string; readonly address?: string; readonly port: number };
  /** Called once it is known that they are needed. */
  readonly options: () => ConnectionOptions;
  /** A server without TLS is an error. */
  readonly required: boolean;
  /** The handshake comes without a request. */
  readonly direct: boolean;
  /** SNI. */
  readonly sendsServerName: boolean;
}

export interface Negotiated {
  /** For the `stream` of a pg client that is told not to encrypt: it only has to say that it is connected. */
  readonly socket: Socket;
  readonly encrypted: boolean;
}

/** Connects, and agrees on TLS or none. Rejects with the socket's error, or with the message `timedOut` after `timeoutMs`. */
export async function negotiate(
  { host: { host, address, port }, options, required, direct, sendsServerName }: Wish,
  { timeoutMs, timedOut }: { readonly timeoutMs: number; readonly timedOut: string },
): Promise<Negotiated> {
  const socket = createConnection({ host: address ?? host, port });
  // An error after the time-out has nobody left to handle it.
  socket.on("error", () => undefined);
  const patience = AbortSignal.timeout(Math.ceil(timeoutMs));
  const receive = async (from: Socket, event: string): Promise<unknown[]> => {
    const over = new AbortController();
    const signal = AbortSignal.any([patience, over.signal]);
    const closed = once(socket, "close", { signal }).then(() => {
      throw new Error("Connection terminated unexpectedly");
    });
    closed.catch(() => undefined);
    try {
      return (await Promise.race([once(from, event, { signal }), closed])) as unknown[];
    } finally {
      over.abort();
    }
  };
  const encrypt = async (): Promise<Negotiated> => {
    // Not an import: it takes 5 ms to load, and most connections do without.
    const { connect } = process.getBuiltinModule("node:tls");
    const secure = connect({
      socket,
      host,
      ...(sendsServerName && isIP(host) === 0 ? { servername: host } : {}),
      ...(direct ? { ALPNProtocols: ["postgresql"] } : {}),
      ...options(),
    });
    await receive(secure, "secureConnect");
    return { socket: handOver(secure), encrypted: true };
  };
  try {
    await receive(socket, "connect");
    if (direct) return await encrypt();
    socket.write(sslRequest);
    const [answer] = await receive(socket, "data");
    // More than one byte would have come from somebody in between, who cannot encrypt what follows.
    switch (String(answer)) {
      case "N":
        if (required) throw new Error("The server does not support SSL connections");
        return { socket: handOver(socket), encrypted: false };
      case "S":
        return await encrypt();
      default:
        throw new Error("There was an error establishing an SSL connection");
    }
  } catch (error) {
    socket.destroy();
    throw patience.aborted ? new Error(timedOut, { cause: error }) : error;
  }
}

/** pg connects the stream that it is given, and continues at its "connect". */
function handOver(socket: Socket): Socket {
  return Object.assign(socket, {
    connect() {
      process.nextTick(() => socket.emit("connect"));
      return socket;
    },
  });
}
