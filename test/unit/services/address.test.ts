// What --wait-for takes, and what its messages call that.

import { expect, test } from "vitest";

import { parseService } from "../../../src/services/address.ts";

test.each([
  ["tcp://db:5432", { protocol: "tcp", at: { host: "db", port: 5432 }, name: "tcp://db:5432" }],
  ["db:5432", { protocol: "tcp", at: { host: "db", port: 5432 }, name: "tcp://db:5432" }],
  ["redis:6379", { protocol: "tcp", at: { host: "redis", port: 6379 } }],
  ["tcp://[::1]:80/", { at: { host: "::1", port: 80 }, name: "tcp://[::1]:80" }],
  ["unix:/run/a.sock", { protocol: "tcp", at: { path: "/run/a.sock" }, name: "unix:/run/a.sock" }],
  ["unix:///run/a.sock", { at: { path: "/run/a.sock" } }],
  ["redis://cache", { protocol: "redis", at: { host: "cache", port: 6379 }, tls: null }],
  ["redis://:a%40b@cache:1/2", { user: "", password: "a@b", name: "redis://cache:1" }],
  ["valkeys://u:p@c", { protocol: "redis", tls: { verified: true }, name: "valkeys://u@c:6379" }],
  ["rediss://c?ssl_cert_reqs=CERT_NONE", { tls: { verified: false, caFile: null } }],
  ["rediss://c?ssl_ca_certs=/ca.pem", { tls: { verified: true, caFile: "/ca.pem" } }],
  ["http://auth/healthz?a=b", { at: { host: "auth", port: 80 }, resource: "/healthz?a=b" }],
  ["http://auth:80", { name: "http://auth", resource: "/" }],
  ["https://auth:8443/x?token=y", { name: "https://auth:8443/x", tls: { verified: true } }],
  // Nobody reads the parameters of redis-py in a URL of HTTP.
  ["https://auth?ssl_cert_reqs=none", { tls: { verified: true, caFile: null } }],
  [
    "amqp://u:p@mq//",
    { protocol: "amqp", at: { host: "mq", port: 5672 }, name: "amqp://u@mq:5672" },
  ],
  ["amqps://mq?cacertfile=/ca.pem", { at: { host: "mq", port: 5671 }, tls: { caFile: "/ca.pem" } }],
  ["pyamqp://mq", { protocol: "amqp", at: { host: "mq", port: 5672 } }],
] as const)("%s", (text, expected) => {
  expect(parseService(text)).toMatchObject(expected);
});

test.each([
  "",
  "db",
  "tcp://db",
  "tcp://db:0",
  "tcp://db:65536",
  "tcp://:80",
  "tcp://db:80/path",
  "unix:relative.sock",
  "mysql://db:3306",
  "constructor://db:80",
  "redis://",
  "redis://a,b",
  "redis://u:%zz@c",
  "http:/auth",
  "http://a b",
])("%j is refused", (text) => {
  expect(parseService(text)).toBeNull();
});
