// What mends an error that a connection is refused with: the cure that its log line gives. PostgreSQL's own refusals are told
// apart by SQLSTATE, since their words are in the server's language.

import { noPassword, protocolViolation, sqlState, tooManyConnections } from "./errors.ts";
import { quoteName } from "./names.ts";

/** As whom, and to which database; empty where that is not known. */
interface Target {
  readonly user?: string | undefined;
  readonly database?: string | undefined;
}

type Cure = (message: string, target: Target) => string;

const usual = "check the user, the password and the database's name in the URL";
const role = ({ user }: Target) => (user === undefined ? "the role" : quoteName(user));
const databaseOf = ({ user, database = user }: Target) =>
  database === undefined ? "the database" : quoteName(database);

const bySqlState: Readonly<Record<string, Cure>> = {
  "28P01": () => "check the user and the password in the URL",
  "28000": (message, target) => {
    if (!message.includes("pg_hba.conf")) {
      return `check the user in the URL; the role must exist and be allowed to log in: alter role ${role(target)} login`;
    }
    const line = "let a line of the server's pg_hba.conf allow this user, database and address";
    return /no encryption|SSL off/.test(message)
      ? `encrypt the connection: sslmode=require, or ${line}`
      : line;
  },
  "3D000": (_, target) =>
    `check the database's name in the URL, or make it: create database ${databaseOf(target)}`,
  "42501": (message, target) =>
    message.includes(`"${target.database ?? target.user}"`)
      ? `grant connect on database ${databaseOf(target)} to ${role(target)}`
      : "grant to the role what the message names, or leave it out of PGOPTIONS and of options= in the URL",
  "55000": (_, target) => `alter database ${databaseOf(target)} with allow_connections true`,
  [tooManyConnections]: (_, target) =>
    `end sessions that nobody needs (pg_stat_activity), or raise max_connections or the connection limit of ${role(target)}`,
  "42704": () => "correct PGOPTIONS, or options= in the URL",
  "22023": () => "correct PGOPTIONS, or options= in the URL",
};

const authority =
  "name the certificate of the authority that has signed the server's in sslrootcert= (PGSSLROOTCERT), or encrypt without checking it: sslmode=require, and no root certificate";

/** By Node's code. */
const byErrorCode: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: authority,
  SELF_SIGNED_CERT_IN_CHAIN: authority,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: authority,
  UNABLE_TO_GET_ISSUER_CERT: authority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: authority,
  CERT_UNTRUSTED: authority,
  CERT_HAS_EXPIRED: "renew the server's certificate",
  CERT_NOT_YET_VALID: "check the clocks of both machines",
  CERT_REVOKED: "renew the server's certificate: sslcrl= lists it as revoked",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "connect by a name that the server's certificate has, or check only who has signed it: sslmode=verify-ca",
  ERR_OSSL_BAD_DECRYPT:
    "the key of the client's certificate is encrypted: give its passphrase, sslpassword=",
  EMFILE: "raise the limit of open files: ulimit -n, nofile of the container",
  ENFILE: "raise the machine's limit of open files: sysctl fs.file-max",
  EACCES: "let the account that entrypoint runs as use the socket",
  [noPassword]: "put the password into the URL, into PGPASSWORD, or into a password file",
};

/** By what pg, entrypoint and PgBouncer say, which is always in English. */
const byMessage: readonly (readonly [RegExp, string])[] = [
  [/(?:SSL|TLS) required/i, "encrypt the connection: sslmode=require"],
  [
    /does not support SSL/,
    "switch TLS on in the server (ssl = on), or do without: sslmode=prefer, or sslmode=disable",
  ],
  [
    /certificate required|handshake failure/,
    "give the client's certificate: sslcert= and sslkey=, or ~/.postgresql",
  ],
  [
    /authentication, which entrypoint does not (?:speak|know)/,
    "let a line of the server's pg_hba.conf request scram-sha-256 of this user",
  ],
  [
    /require_auth|channel_binding/,
    "change require_auth or channel_binding in the URL, or the method in the server's pg_hba.conf",
  ],
  [
    /no such database/i,
    "check the database's name in the URL, and the pooler's own list of databases",
  ],
  [/^--database-password-command/, "run that command by itself, as the same user"],
];

/** What mends a refusal. */
export function cureOf(error: unknown, target: Target = {}): string {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return cureOf(error.errors[0], target);
  }
  const message = error instanceof Error ? error.message : "";
  const [, parameter] = /unsupported startup parameter(?: in options)?: (\w+)/.exec(message) ?? [];
  if (parameter !== undefined) {
    const source = parameter === "options" ? "PGOPTIONS, or options= in the URL" : parameter;
    return `the pooler in between does not take ${source}: leave it out, use the URL of the server itself, or let PgBouncer's ignore_startup_parameters list it`;
  }
  const state = sqlState(error);
  const found = state === null ? undefined : bySqlState[state];
  if (found !== undefined) return found(message, target);
  const { code } = error as NodeJS.ErrnoException;
  const known = state === null ? byErrorCode[code ?? ""] : undefined;
  if (known !== undefined) return known;
  const [, said] = byMessage.find(([pattern]) => pattern.test(message)) ?? [];
  if (said !== undefined) return said;
  return state === protocolViolation ? `${usual}, and the pooler's own list of users` : usual;
}
