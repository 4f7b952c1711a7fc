// What passes by itself, and what somebody has to mend.

import pg from "pg";
import { expect, test } from "vitest";
import { cureOf } from "../../../src/postgres/cures.ts";
import { classify } from "../../../src/postgres/errors.ts";

function createDatabaseError(code: string, message = "no"): Error {
  const error = new pg.DatabaseError(message, 2, "error");
  return Object.assign(error, { code, severity: "FATAL" });
}

const createError = (code: string) => Object.assign(new Error(code), { code });

test.each(["57P01", "57P02", "57P03", "53300", "53400", "08000", "08006", "08P01"])(
  "SQLSTATE %s passes by itself",
  (code) => {
    expect(classify(createDatabaseError(code))).toBe("passing");
  },
);

test.each(["28000", "28P01", "3D000", "57014", "42501", "XX000"])(
  "SQLSTATE %s has to be mended",
  (code) => {
    expect(classify(createDatabaseError(code))).toBe("refused");
  },
);

test.each([
  "ECONNREFUSED",
  "ECONNRESET",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EAI_AGAIN",
  "EAI_FAIL",
  "ENOTFOUND",
  "ENOENT",
])("%s passes by itself", (code) => {
  expect(classify(createError(code))).toBe("passing");
});

test.each(["EACCES", "DEPTH_ZERO_SELF_SIGNED_CERT", "ERR_TLS_CERT_ALTNAME_INVALID"])(
  "%s has to be mended",
  (code) => {
    expect(classify(createError(code))).toBe("refused");
  },
);

test.each([
  "timeout expired",
  "Connection terminated unexpectedly",
  "Connection terminated due to connection timeout",
])("what pg says without a code passes by itself: %s", (message) => {
  expect(classify(new Error(message))).toBe("passing");
});

test.each([
  "The server does not support SSL connections",
  "SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string",
  "a certificate that was not intended for servers",
])("what pg says without a code has to be mended: %s", (message) => {
  expect(classify(new Error(message))).toBe("refused");
});

test("of several addresses one that may come is enough to wait for", () => {
  expect(classify(new AggregateError([createError("EACCES"), createError("ECONNREFUSED")]))).toBe(
    "passing",
  );
  expect(classify(new AggregateError([createError("EACCES")]))).toBe("refused");
});

// What PgBouncer 1.18 and newer ones say, each with SQLSTATE 08P01.
test.each([
  ["password authentication failed", "own list of users"],
  ["SASL authentication failed", "own list of users"],
  ['password authentication failed for user "blog"', "own list of users"],
  ["server login failed: FATAL password authentication failed", "own list of users"],
  ["no such user: blog", "own list of users"],
  ["no such database: blog", "own list of databases"],
  ['database "blog" does not exist', "the database's name"],
  ["unsupported startup parameter: options", "PGOPTIONS, or options= in the URL"],
  ["unsupported startup parameter in options: lock_timeout", "take lock_timeout: leave it out"],
  ["SSL required", "sslmode=require"],
])("PgBouncer's %s has to be mended, and the cure says how", (message, cure) => {
  const error = createDatabaseError("08P01", message);
  expect(classify(error)).toBe("refused");
  expect(cureOf(error)).toContain(cure);
});

test.each([
  "query_wait_timeout",
  "no more connections allowed (max_client_conn)",
  "server login has been failing, try again later (server_login_retry)",
  "client_login_timeout (server down)",
  "pgbouncer cannot connect to server",
])("PgBouncer's %s passes by itself", (message) => {
  expect(classify(createDatabaseError("08P01", message))).toBe("passing");
});
