// What sslmode=prefer does in libpq and cannot do in pg: the server is asked whether it speaks TLS, and the same connection
// goes on either way. With pg alone a server without TLS gets a second connection, and starts a second backend.

import { once } from "node:events";
import { createConnection, isIP, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";

/** The message SSLRequest: its length, then 1234 and 5679. */
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

export interface Negotiated {
  /** For the `stream` of a pg client that is told not to encrypt: it only has to say that it is connected. */
  readonly socket: Socket;
  readonly encrypted: boolean;
}

/** Connects, and agrees on TLS or none. Rejects with the socket's error, or with the message `timedOut` after `timeoutMs`. */
export async function negotiate(
  { host, port }: { readonly host: string; readonly port: number },
  options: ConnectionOptions,
  { timeoutMs, timedOut }: { readonly timeoutMs: number; readonly timedOut: string },
): Promise<Negotiated> {
  const socket = createConnection({ host, port });
  // One that comes when the patience has just ended is nobody's business.
  socket.on("error", () => undefined);
  const patience = AbortSignal.timeout(Math.ceil(timeoutMs));
  const heard = async (from: Socket, event: string): Promise<unknown[]> => {
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
  try {
    await heard(socket, "connect");
    socket.write(sslRequest);
    const [answer] = await heard(socket, "data");
    // More than one byte would have come from somebody in between, who cannot encrypt what follows.
    switch (String(answer)) {
      case "N":
        return { socket: handOver(socket), encrypted: false };
      case "S": {
        // Not an import: it takes 5 ms, and mostly nobody wants it.
        const { connect } = process.getBuiltinModule("node:tls");
        const servername = isIP(host) === 0 ? { servername: host } : {};
        const secure = connect({ socket, host, ...servername, ...options });
        await heard(secure, "secureConnect");
        return { socket: handOver(secure), encrypted: true };
      }
      default:
        throw new Error("There was an error establishing an SSL connection");
    }
  } catch (error) {
    socket.destroy();
    throw patience.aborted ? new Error(timedOut, { cause: error }) : error;
  }
}

/** pg connects the stream that it is given, and goes on at its "connect". */
function handOver(socket: Socket): Socket {
  return Object.assign(socket, {
    connect() {
      process.nextTick(() => socket.emit("connect"));
      return socket;
    },
  });
}
