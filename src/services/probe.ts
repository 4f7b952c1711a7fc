// One look at a service: does it answer in its own protocol? Guarantees: nothing of the look is left when it ends.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { connect, type Socket } from "node:net";
import { connect as connectTls, rootCertificates, type ConnectionOptions } from "node:tls";
import type { Environment } from "../runtime/environment.ts";
import { requireRegularFile } from "../runtime/regular-file.ts";
import type { Service } from "./address.ts";

/** Why it is not ready. */
export class NotReady extends Error {
  /** `refused`: no waiting changes it, as far as is known; `cut`: the time for the look was over. */
  readonly kind: "passing" | "refused" | "cut";

  constructor(message: string, kind: NotReady["kind"] = "passing") {
    super(message);
    this.kind = kind;
  }
}

/** Resolves where the service is ready; throws NotReady. @param stop ends the look, for another reason than that. */
export async function probe(
  service: Service,
  { timeoutMs, stop, env }: { timeoutMs: number; stop: AbortSignal; env: Environment },
): Promise<void> {
  const limit = AbortSignal.any([stop, AbortSignal.timeout(timeoutMs)]);
  try {
    const tls = service.tls === null ? null : readTlsOptions(service, service.tls, env);
    if (service.protocol === "http") return await probeHttp(service, tls, limit);
    await talk(service, tls, limit);
  } catch (error) {
    if (error instanceof NotReady) throw error;
    if (limit.aborted) throw new NotReady(`no answer in ${timeoutMs / 1000} s`, "cut");
    if (isCertificateError(error)) throw new NotReady(describeCertificate(error), "refused");
    throw new NotReady(describeError(error));
  }
}

function readTlsOptions(
  { at }: Service,
  { verified, caFile }: NonNullable<Service["tls"]>,
  env: Environment,
): ConnectionOptions {
  const file = caFile ?? env["SSL_CERT_FILE"] ?? "";
  const own = file === "" ? [] : [readCertificates(file)];
  return {
    rejectUnauthorized: verified,
    ...("host" in at && !/^[\d.]+$|:/.test(at.host) ? { servername: at.host } : {}),
    ...(own.length === 0 ? {} : { ca: caFile === null ? [...rootCertificates, ...own] : own }),
  };
}

function readCertificates(file: string): string {
  try {
    requireRegularFile(file);
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new NotReady(`its certificates: ${(error as Error).message}`, "refused");
  }
}

function isCertificateError(error: unknown): error is Error {
  const { code = "" } = error as NodeJS.ErrnoException;
  return /CERT|UNABLE_TO_|HOSTNAME_MISMATCH/.test(code);
}

/** Without Node's own cure, which is for who starts Node. */
function describeCertificate({ message }: Error): string {
  return `${message.replace(/;.*$/s, "")}: SSL_CERT_FILE may name the file of its issuer`;
}

async function probeHttp(
  service: Service,
  tls: ConnectionOptions | null,
  signal: AbortSignal,
): Promise<void> {
  const { at, user, password, resource } = service;
  const request = tls === null ? requestHttp : requestHttps;
  const authority = user === "" && password === "" ? {} : { auth: `${user}:${password}` };
  await new Promise<void>((resolve, reject) => {
    const headers = { accept: "*/*", "user-agent": "entrypoint" };
    const options = { ...at, ...tls, ...authority, headers, path: resource, agent: false, signal };
    const sent = request(options, (response) => {
      const { statusCode = 0, statusMessage = "" } = response;
      sent.destroy();
      if (statusCode >= 200 && statusCode < 300) resolve();
      else reject(new NotReady(`it answers ${`${statusCode} ${statusMessage}`.trim()}`));
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** Connects, and says what the protocol begins with. */
async function talk(
  service: Service,
  tls: ConnectionOptions | null,
  signal: AbortSignal,
): Promise<void> {
  const { at } = service;
  const socket = tls === null ? connect(at) : connectTls({ ...at, ...tls });
  const end = () => socket.destroy(new Error("aborted"));
  signal.addEventListener("abort", end, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once(tls === null ? "connect" : "secureConnect", resolve);
      socket.once("error", reject);
    });
    if (service.protocol === "redis") await talkRedis(socket, service);
    if (service.protocol === "amqp") await talkAmqp(socket);
  } finally {
    signal.removeEventListener("abort", end);
    socket.on("error", () => undefined);
    socket.destroy();
  }
}

async function talkRedis(socket: Socket, { user, password }: Service): Promise<void> {
  const names = user === "" ? [] : [user];
  const commands = [...(password === "" ? [] : [["AUTH", ...names, password]]), ["PING"]];
  socket.write(commands.map((words) => encodeCommand(words)).join(""));
  for (const [word] of commands) {
    const reply = await readLine(socket);
    // Who may not ping is known all the same.
    if (reply === "+OK" || reply === "+PONG" || reply.startsWith("-NOPERM")) continue;
    const refused = /^-(?:NOAUTH|WRONGPASS|ERR (?:invalid password|AUTH|Client sent AUTH))/.test(
      reply,
    );
    throw new NotReady(
      `it answers ${word} with ${reply.slice(0, 200)}`,
      refused ? "refused" : "passing",
    );
  }
}

function encodeCommand(words: readonly string[]): string {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  return `*${words.length}\r\n${parts.join("")}`;
}

/** The protocol's header, which the broker answers with Connection.Start. */
async function talkAmqp(socket: Socket): Promise<void> {
  socket.write(Buffer.from("AMQP\0\0\u0009\u0001", "latin1"));
  const frame = await readUntil(socket, ({ length }) => (length < 8 ? null : 8));
  if (frame.toString("latin1", 0, 4) === "AMQP") {
    throw new NotReady(
      `it speaks AMQP ${[...frame.subarray(5, 8)].join(".")}, not 0.9.1`,
      "refused",
    );
  }
  // A method frame of channel 0.
  if (frame[0] !== 1 || frame.readUInt16BE(1) !== 0)
    throw new NotReady("it speaks no AMQP", "refused");
}

const longestAnswer = 4096;

/** The first bytes, up to where `findEnd` says that they end. */
async function readUntil(
  socket: Socket,
  findEnd: (bytes: Buffer) => number | null,
): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  for (;;) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) {
      if (socket.readableEnded) throw new NotReady("it closes the connection");
      await waitForMore(socket);
      continue;
    }
    bytes = Buffer.concat([bytes, chunk]);
    const end = findEnd(bytes);
    if (end !== null) {
      if (end < bytes.length) socket.unshift(bytes.subarray(end));
      return bytes.subarray(0, end);
    }
    if (bytes.length > longestAnswer) throw new NotReady("it answers in another protocol");
  }
}

async function waitForMore(socket: Socket): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  try {
    await Promise.race([once(socket, "readable", { signal }), once(socket, "end", { signal })]);
  } finally {
    over.abort();
  }
}

async function readLine(socket: Socket): Promise<string> {
  const line = await readUntil(socket, (bytes) => {
    const end = bytes.indexOf("\n");
    return end === -1 ? null : end + 1;
  });
  return line.toString().trimEnd();
}

/** In the words that a person knows; a name with several addresses fails with several errors. */
function describeError(error: unknown): string {
  if (error instanceof AggregateError) {
    return [...new Set(error.errors.map((one) => describeError(one)))].join(", ");
  }
  const { code = "", message } = error as NodeJS.ErrnoException;
  return reasons[code] ?? message;
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  ENOTFOUND: "its name is not known",
  EAI_AGAIN: "its name is not known yet",
  ENOENT: "the file does not exist",
};
