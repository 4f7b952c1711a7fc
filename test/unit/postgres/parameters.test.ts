// Every parameter of libpq is read and makes a difference, or is ignored and makes none, or is refused with the cure; and
// so is the variable that stands in for it.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  driverParameters,
  otherVariables,
  parameters,
  type Fate,
} from "../../../src/postgres/parameters.ts";
import { addressOf } from "./harness.ts";

const directory = mkdtempSync(join(tmpdir(), "entrypoint-service-"));
const serviceFile = join(directory, "pg_service.conf");
writeFileSync(serviceFile, "[blog]\nhost=served\n");
afterAll(() => rmSync(directory, { recursive: true }));

const all: [string, string | null, Fate][] = Object.entries(parameters).map(
  ([name, [variable, fate]]) => [name, variable, fate],
);

/** Of each parameter that is read, a value that is not the default; `with` is what it needs beside it. */
const samples: Readonly<Record<string, { readonly value: string; readonly with?: string }>> = {
  service: { value: "blog", with: `servicefile=${serviceFile}` },
  servicefile: { value: serviceFile, with: "service=blog" },
  host: { value: "other" },
  hostaddr: { value: "192.0.2.1" },
  port: { value: "5433" },
  dbname: { value: "other" },
  user: { value: "other" },
  password: { value: "other" },
  passfile: { value: "/other" },
  options: { value: "-c a=b" },
  target_session_attrs: { value: "primary" },
  connect_timeout: { value: "9" },
  require_auth: { value: "scram-sha-256" },
  channel_binding: { value: "require" },
  sslmode: { value: "require" },
  sslnegotiation: { value: "direct", with: "sslmode=require" },
  sslrootcert: { value: "/other" },
  sslcrl: { value: "/other" },
  sslcrldir: { value: "/other" },
  sslcert: { value: "/other" },
  sslkey: { value: "/other" },
  sslpassword: { value: "other" },
  sslsni: { value: "0" },
  ssl_min_protocol_version: { value: "TLSv1.3" },
  ssl_max_protocol_version: { value: "TLSv1.2" },
};

test("there is a sample of each parameter that is read", () => {
  const read = all.filter(([, , fate]) => fate === "read").map(([name]) => name);
  expect(Object.keys(samples)).toEqual(read);
});

describe.each(Object.entries(samples))("%s", (name, { value, with: beside = "" }) => {
  const plain = () => {
    try {
      return addressOf(`postgresql://?${beside}`);
    } catch (error) {
      // A service without its file.
      return error;
    }
  };

  test("makes a difference in a URL and among libpq's keywords", () => {
    const address = addressOf(`postgresql://?${beside}&${name}=${encodeURIComponent(value)}`);
    expect(address).not.toEqual(plain());
    expect(addressOf(`${name}='${value}' ${beside}`)).toEqual(address);
  });
});

test.each(
  all.flatMap(([name, variable, fate]) =>
    fate === "read" && variable !== null ? [[name, variable] as const] : [],
  ),
)("%s may be given as %s", (name, variable) => {
  const { value = "", with: beside = "" } = samples[name] ?? {};
  const url = `postgresql://?${beside}`;
  const inUrl = addressOf(`${url}&${name}=${encodeURIComponent(value)}`);
  expect(addressOf(url, { [variable]: value })).toEqual(inUrl);
});

test.each(all.filter(([, , fate]) => typeof fate !== "string" && "ignored" in fate))(
  "%s, or %s, makes no difference",
  (name, variable) => {
    const address = addressOf("postgresql://db/blog");
    expect(addressOf(`postgresql://db/blog?${name}=1`)).toEqual(address);
    expect(addressOf("postgresql://db/blog", { [variable ?? name]: "1" })).toEqual(address);
  },
);

test.each(all.filter(([, , fate]) => typeof fate !== "string" && "refused" in fate))(
  "%s, or %s, is refused, with the cure",
  (name, variable, fate) => {
    const { refused = "", but = [] } = fate as { refused?: string; but?: readonly string[] };
    // On a socket, since there alone a peer can be looked at.
    const url = "postgresql:///blog?host=/run/pg";
    expect(() => addressOf(`${url}&${name}=s3cret`)).toThrow(refused);
    expect(() => addressOf(`${url}&${name}=s3cret`)).not.toThrow("s3cret");
    if (variable !== null) expect(() => addressOf(url, { [variable]: "x" })).toThrow(variable);
    for (const value of but) expect(() => addressOf(`${url}&${name}=${value}`)).not.toThrow();
  },
);

test("requirepeer is nothing to a TCP connection", () => {
  const env = { PGREQUIREPEER: "postgres" };
  expect(() => addressOf("postgresql://db/blog", env)).not.toThrow();
  // It may be a socket.
  expect(() => addressOf("postgresql:///blog", env)).toThrow("PGREQUIREPEER");
});

test("no variable stands in for two parameters", () => {
  const variables = all.flatMap(([, variable]) => variable ?? []);
  const names = [...variables, ...Object.keys(otherVariables)];
  expect(names).toEqual([...new Set(names)]);
});

test("the drivers' own parameters are none of libpq's", () => {
  for (const name of Object.keys(driverParameters)) expect(parameters).not.toHaveProperty(name);
});
