// pg_service.conf as libpq reads it; where libpq itself is asked is test/process/address.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readService } from "../../../src/postgres/service-file.ts";

/** A home directory, and a system's, with these texts in their service files. */
function createFiles(texts: { own?: string; system?: string }) {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-service-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, "etc"));
  const own = join(directory, ".pg_service.conf");
  const system = join(directory, "etc", "pg_service.conf");
  if (texts.own !== undefined) writeFileSync(own, texts.own);
  if (texts.system !== undefined) writeFileSync(system, texts.system);
  return { own, system, env: { HOME: directory, PGSYSCONFDIR: join(directory, "etc") } };
}

const entriesOf = (own: string, service = "blog") =>
  Object.fromEntries(readService(service, undefined, createFiles({ own }).env));

test("a section is read to the next one, without comments and empty lines", () => {
  const text = `
# of the blog
[shop]
host=shop
  [blog]
  host=db1,db2
port=5433
# password=commented
password= it's = here

[blog]
host=never
`;
  expect(entriesOf(text)).toEqual({
    host: "db1,db2",
    port: "5433",
    password: " it's = here",
  });
});

test("lines may end as on Windows, and the first of two values counts", () => {
  expect(entriesOf("[blog]\r\nhost=first\r\nhost=second\r\n")).toEqual({ host: "first" });
});

test("the own file comes before the system's, which comes where the own one does not define it", () => {
  const both = createFiles({ own: "[blog]\nhost=own", system: "[blog]\nhost=system" });
  expect(readService("blog", undefined, both.env).get("host")).toBe("own");
  const other = createFiles({ own: "[shop]\nhost=own", system: "[blog]\nhost=system" });
  expect(readService("blog", undefined, other.env).get("host")).toBe("system");
  const none = createFiles({ system: "[blog]\nhost=system" });
  expect(readService("blog", undefined, none.env).get("host")).toBe("system");
});

test("a file that is named takes the place of the own one", () => {
  const { own, env } = createFiles({ own: "[blog]\nhost=own" });
  const named = `${own}.named`;
  writeFileSync(named, "[blog]\nhost=named");
  expect(readService("blog", named, env).get("host")).toBe("named");
});

test("a service that is not defined is an error that names the files and the cure", () => {
  const { own, system, env } = createFiles({ own: "[shop]\nhost=own" });
  expect(() => readService("blog", undefined, env)).toThrow(
    `the service "blog" is not defined in ${own} or ${system}: name its file in PGSERVICEFILE`,
  );
});

test("a file that is named and cannot be read is an error, whatever the system's file says", () => {
  const { own, env } = createFiles({ system: "[blog]\nhost=system" });
  expect(() => readService("blog", own, env)).toThrow(
    `the service file ${own} cannot be read (ENOENT)`,
  );
});

test.each([
  ["host = db", "line 2 of"],
  ["hots=db", "line 2 of"],
  ["service=other", "line 2 of"],
  ["servicefile=/other", "line 2 of"],
  ["host", "is not of the form parameter=value, without spaces around the ="],
  ["ldap://ldap.example.com/dc=pg?uniqueMember?one?(cn=blog)", "write host=… there"],
])("a line that is not understood is an error: %s", (line, message) => {
  expect(() => entriesOf(`[blog]\n${line}\n`)).toThrow(message);
});

test("what other services say is nobody's business", () => {
  expect(entriesOf("[shop]\nldap://x\n[blog]\nhost=db\n[more]\nhost = db\n")).toEqual({
    host: "db",
  });
});
