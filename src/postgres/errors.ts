// What the errors of pg, of PostgreSQL and of the network mean to somebody who waits.

import type { DatabaseError } from "pg";
import { Failure } from "../failure.ts";

/** What pg says when a try has taken too long. */
export const tryTimeout = "timeout expired";

/** @param error that of a try, or those of several hosts. */
export function isTryTimeout(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isTryTimeout);
  return error instanceof Error && error.message === tryTimeout;
}

// The server is starting, restarting or full, or the network is not there yet.
const passingErrnos = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "EPIPE",
  "EAI_AGAIN",
  "EAI_FAIL",
  "ENOTFOUND",
  // The directory of a Unix socket before the server has made it.
  "ENOENT",
]);

/** cannot_connect_now: the server is starting up, or is not the one that is wanted. */
export const cannotConnectNow = "57P03";

/** PgBouncer says all that it has to say by this one: only the text tells what passes by itself. */
export const protocolViolation = "08P01";
const poolerRefusal =
  /authentication failed|login failed|no such (?:database|user)|(?:database|role|user) "[^"]*" (?:does not exist|is not permitted)|unsupported startup parameter|(?:SSL|TLS) required|no authentication method/i;
export const tooManyConnections = "53300";
/** The code of our own error where the server requires a password. */
export const noPassword = "ENOPASSWORD";

/** `passing` goes away without anybody's doing; `refused` has to be mended by somebody. */
export function classify(error: unknown): "passing" | "refused" {
  const state = sqlState(error);
  if (state !== null) {
    if (state === protocolViolation && poolerRefusal.test((error as Error).message))
      return "refused";
    // 57P01/02/03 shutting down, crashed, starting up; 53300 too many connections; class 08 connection exceptions.
    return /^(57P0[123]|53...|08...)$/.test(state) ? "passing" : "refused";
  }
  // No answer, or a connection that broke.
  if (error instanceof Failure)
    return error.code === "database-unavailable" ? "passing" : "refused";
  if (error instanceof AggregateError) {
    return error.errors.some((one) => classify(one) === "passing") ? "passing" : "refused";
  }
  const { code, message } = error as NodeJS.ErrnoException;
  // pg has no code for these two: its own time limit, and a server that hangs up during the greeting.
  const passing =
    passingErrnos.has(code ?? "") || /timeout expired|\b(?:terminated|ended)\b/i.test(message);
  return passing ? "passing" : "refused";
}

/** The server speaks no TLS, fails at it, or pg_hba.conf wants the other kind of connection. */
export function encryptionMayMatter(error: unknown): boolean {
  const message = error instanceof Error ? error.message : "";
  return (
    sqlState(error) === "28000" ||
    /does not support SSL|SSL connection|ssl3?_|tls|wrong version number/i.test(message)
  );
}

/** The server has no database of that name: invalid_catalog_name. */
export function isMissingDatabase(error: unknown): boolean {
  return sqlState(error) === "3D000";
}

/** A statement has not got its table lock in time, or has taken too long: lock_not_available, query_canceled. */
export function isOutOfTime(error: unknown): boolean {
  return ["55P03", "57014"].includes((error as { code?: string }).code ?? "");
}

/** The server refuses a statement, and keeps the session: 57P, 08, 53300 and two of its time limits end that. */
export function isRefusal(error: unknown): error is DatabaseError {
  const state = sqlState(error);
  return state !== null && !/^(?:57P|08|25P0[34]|53300)/.test(state);
}

/** The server's own code; null where it is not the server that speaks. */
export function sqlState(error: unknown): string | null {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  if (typeof code !== "string") return null;
  return severity !== undefined || code === cannotConnectNow ? code : null;
}

/** The hosts of a list, each with its own error. */
export class HostErrors extends AggregateError {
  constructor(errors: readonly (readonly [host: string, error: unknown])[]) {
    const lines = errors.map(([host, error]) => `${host}: ${describeError(error)}`);
    super(
      errors.map(([, error]) => error),
      lines.join("; "),
    );
  }
}

/** What pg says of a way of authentication that it does not know, and PostgreSQL's numbers of them. */
const unknownMethod = /^Unknown authenticationOk message type (\d+)$/;
const methodNames: Readonly<Record<string, string>> = {
  2: "Kerberos 5",
  6: "SCM",
  7: "GSSAPI",
  8: "GSSAPI",
  9: "SSPI",
};

export function describeError(error: unknown): string {
  if (error instanceof AggregateError && !(error instanceof HostErrors)) {
    return describeError(error.errors[0]);
  }
  const message = error instanceof Error ? error.message : String(error);
  const state = sqlState(error);
  if (state !== null) return `${message} (SQLSTATE ${state})`;
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EMFILE" || code === "ENFILE") return `too many files are open here (${code})`;
  return message;
}

/** Says in entrypoint's words what the protocol's parser threw. */
export function explainUnreadable(error: Error): Error {
  const [, number] = unknownMethod.exec(error.message) ?? [];
  if (number === undefined) {
    return new Error(`the server sends what is not PostgreSQL's protocol: ${error.message}`);
  }
  const method = methodNames[number];
  return new Error(
    method === undefined
      ? `the server requests an authentication, which entrypoint does not know: number ${number}`
      : `the server requests ${method} authentication, which entrypoint does not speak`,
  );
}

/** What the server refuses of our own statements is for the user to correct, and no internal error. */
export function explainDatabaseError(error: unknown): unknown {
  if (!isRefusal(error)) return error;
  return new Failure("database-unavailable", `the database refuses a query: ${error.message}`, {
    cause: error,
    hint: "the role must be able to read the catalog",
  });
}

/** The parser's error for a text, and its index there. */
export class SqlSyntaxError extends Error {
  override readonly name = "SqlSyntaxError";
  readonly index: number;
  constructor(message: string, index: number) {
    super(message);
    this.index = index;
  }
}
