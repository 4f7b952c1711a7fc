// What libpq's ssl* parameters ask for, and the files that it takes where none is named.

import { createPrivateKey } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { cureOf } from "../../../src/postgres/cures.ts";
import { classify } from "../../../src/postgres/errors.ts";
import { tlsOptions } from "../../../src/postgres/tls.ts";
import { certificate, privateKey } from "../../process/boot/fixtures/tls.ts";
import { addressOf } from "./harness.ts";

/** A home directory with these files in its .postgresql. */
function createHome(...names: readonly string[]): string {
  const home = mkdtempSync(join(tmpdir(), "entrypoint-home-"));
  onTestFinished(() => rmSync(home, { recursive: true }));
  mkdirSync(join(home, ".postgresql"));
  for (const name of names) writeFileSync(join(home, ".postgresql", name), name);
  return home;
}

const optionsOf = (url: string, home = createHome()) => tlsOptions(addressOf(url).tls, home);
const file = (name: string) => Buffer.from(name);

test.each([
  ["?sslmode=disable", "disable"],
  ["?sslmode=allow", "allow"],
  ["?sslmode=prefer", "prefer"],
  ["?sslmode=require", "require"],
  ["?sslmode=verify-ca", "verify-ca"],
  ["?sslmode=verify-full", "verify-full"],
  ["?ssl=require", "require"],
  ["?ssl=true", "verify-full"],
  ["?ssl=false", "disable"],
  ["?sslmode=&ssl=require", "require"],
  ["?sslrootcert=system", "verify-full"],
  ["", "prefer"],
])("TLS by %s is %s", (query, tlsMode) => {
  expect(addressOf(`postgresql://db/blog${query}`).tls.mode).toBe(tlsMode);
});

test("PGREQUIRESSL=1 asks for TLS, unless sslmode is given", () => {
  const env = { PGREQUIRESSL: "1" };
  expect(addressOf("postgresql://db/blog", env).tls.mode).toBe("require");
  expect(addressOf("postgresql://db/blog?sslmode=allow", env).tls.mode).toBe("allow");
  expect(addressOf("postgresql://db/blog", { ...env, PGSSLMODE: "allow" }).tls.mode).toBe("allow");
});

test.each([
  [
    "sslmode=on-demand",
    "sslmode is on-demand; allowed: disable, allow, prefer, require, verify-ca, verify-full",
  ],
  [
    "sslrootcert=system&sslmode=require",
    "sslrootcert=system requires sslmode=verify-full, and it is require",
  ],
  [
    "sslnegotiation=direct",
    "sslnegotiation=direct requires sslmode=require or stronger, and it is prefer",
  ],
  ["sslnegotiation=none", "sslnegotiation is none; allowed: postgres, direct"],
  [
    "ssl_min_protocol_version=SSLv3",
    "ssl_min_protocol_version is SSLv3; allowed: TLSv1, TLSv1.1, TLSv1.2, TLSv1.3",
  ],
])("%s is refused, with what is allowed", (query, message) => {
  expect(() => addressOf(`postgresql://db/blog?${query}`)).toThrow(message);
});

test("verify-full checks the host's name, and require checks nothing", () => {
  expect(optionsOf("postgresql://db/blog?sslmode=verify-full")).toEqual({
    rejectUnauthorized: true,
  });
  expect(optionsOf("postgresql://db/blog?sslmode=require")).toEqual({
    rejectUnauthorized: false,
    checkServerIdentity: expect.any(Function),
  });
});

test("a TLS file that is named and cannot be read is an error that names it", () => {
  for (const name of ["sslrootcert", "sslcrl", "sslcrldir"]) {
    expect(() => optionsOf(`postgresql://db/blog?sslmode=require&${name}=/no/such.pem`)).toThrow(
      "the TLS file /no/such.pem cannot be read",
    );
  }
});

test("the files of ~/.postgresql are taken, as by libpq, and those that are named before them", () => {
  const home = createHome("root.crt", "root.crl", "postgresql.crt", "postgresql.key");
  expect(optionsOf("postgresql://db/blog", home)).toMatchObject({
    ca: file("root.crt"),
    crl: [file("root.crl")],
    cert: file("postgresql.crt"),
    key: file("postgresql.key"),
    // A root is there: it counts, whatever the mode.
    rejectUnauthorized: true,
  });
  const named = join(home, ".postgresql", "root.crl");
  const all = ["sslrootcert", "sslcrl", "sslcert", "sslkey"].map((name) => `${name}=${named}`);
  expect(optionsOf(`postgresql://db/blog?${all.join("&")}`, home)).toMatchObject({
    ca: file("root.crl"),
    crl: [file("root.crl")],
    cert: file("root.crl"),
    key: file("root.crl"),
  });
});

test.each(["sslcertmode=disable", "sslcert=/no/such.crt"])(
  "with %s no certificate of the client's is sent",
  (query) => {
    const home = createHome("postgresql.crt", "postgresql.key");
    const options = optionsOf(`postgresql://db/blog?sslmode=require&${query}`, home);
    expect(options).not.toHaveProperty("cert");
    expect(options).not.toHaveProperty("key");
  },
);

test("the system's roots keep ~/.postgresql/root.crt away", () => {
  const home = createHome("root.crt", "root.crl");
  expect(optionsOf("postgresql://db/blog?sslrootcert=system", home)).toEqual({
    rejectUnauthorized: true,
  });
});

test("a folder of revocation lists is read, and a passphrase and versions are handed over", () => {
  const home = createHome("a.r0", "b.r0");
  const query = `sslcrldir=${join(home, ".postgresql")}&sslpassword=secret&ssl_min_protocol_version=tlsv1.3`;
  expect(optionsOf(`postgresql://db/blog?sslmode=require&${query}`)).toMatchObject({
    crl: [file("a.r0"), file("b.r0")],
    passphrase: "secret",
    minVersion: "TLSv1.3",
  });
});

test("an encrypted key in ~/.postgresql is opened by sslpassword, and its cure names that", () => {
  const home = createHome();
  const cipher = { cipher: "aes-256-cbc", passphrase: "right" };
  const key = createPrivateKey(privateKey).export({ type: "pkcs8", format: "pem", ...cipher });
  writeFileSync(join(home, ".postgresql/postgresql.crt"), certificate);
  writeFileSync(join(home, ".postgresql/postgresql.key"), key);
  const open = (query: string) =>
    createSecureContext(optionsOf(`postgresql://db/blog?sslmode=require${query}`, home));
  expect(() => open("&sslpassword=right")).not.toThrow();
  for (const query of ["", "&sslpassword=wrong"]) {
    let failure: unknown;
    try {
      open(query);
    } catch (error) {
      failure = error;
    }
    expect(cureOf(failure)).toContain("sslpassword=");
    expect(classify(failure)).toBe("refused");
  }
});
