// What a password becomes on its way to the server, against the examples of the RFCs and against pg's own code, in whose
// place ours stands.

import { createRequire } from "node:module";

import { describe, expect, test } from "vitest";

import * as ours from "../../../src/runtime/password-hashes.ts";

type Hashes = Record<keyof typeof ours, (...values: unknown[]) => unknown>;
const require = createRequire(import.meta.url);
const theirs = require("pg/lib/crypto/utils.js") as Hashes;

const bytes = (value: unknown): string =>
  typeof value === "string" ? value : Buffer.from(value as ArrayBuffer).toString("hex");

test("has all that pg asks for", () => {
  expect(Object.keys(ours).toSorted()).toEqual(Object.keys(theirs).toSorted());
});

describe("gives what pg's own code gives", () => {
  const salt = Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64");
  const key = Buffer.from("a key, or a hash");
  test.for<[keyof typeof ours, unknown[]]>([
    ["md5", ["größe"]],
    ["postgresMd5PasswordHash", ["blog", "größe", Buffer.from([1, 2, 3, 254])]],
    ["sha256", [key]],
    ["hashByName", ["SHA-384", key]],
    ["hashByName", ["SHA-256", key]],
    ["hmacSha256", [key, "n=*,r=größe"]],
    ["deriveKey", ["größe", salt, 1]],
    ["deriveKey", ["pencil", salt, 4096]],
    ["deriveKey", ["pencil", salt, 20_001]],
  ])("%s of %j", async ([name, values]) => {
    const [own, other] = [await (ours as Hashes)[name](...values), await theirs[name](...values)];
    expect(bytes(own)).toBe(bytes(other));
  });
});

test("derives the key of RFC 7677's example", async () => {
  const salt = Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64");
  const salted = await ours.deriveKey("pencil", salt, 4096);
  const serverKey = ours.hmacSha256(salted, "Server Key");
  const message =
    "n=user,r=rOprNGfwEbeRWgbNEkqO," +
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
  expect(ours.hmacSha256(serverKey, message).toString("base64")).toBe(
    "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
  );
});

test("keeps nobody waiting for a great number of rounds", async () => {
  let turned = false;
  const derived = ours.deriveKey("pencil", Buffer.alloc(16), 100_000);
  setImmediate(() => (turned = true));
  await derived;
  expect(turned).toBe(true);
});
