// What the Compose files say once more, they say as the Dockerfile and as each other. Whether they work is shown by
// test/container/compose.test.ts.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";
import { parse } from "yaml";

const root = join(import.meta.dirname, "../../..");
const dockerfile = readFileSync(join(root, "Dockerfile.backend"), "utf8");
const withService = readServices("compose.yaml");
const withoutService = readServices("compose.boot.yaml");

test("the base images' defaults are the Dockerfile's", () => {
  const defaults = [...dockerfile.matchAll(/^ARG (\w+)=(\S+)$/gm)].map(([, name = "", image]) => [
    name,
    `\${${name}:-${image}}`,
  ]);
  expect(defaults).toHaveLength(2);
  const { migrate, backend } = withService;
  for (const service of [migrate, backend, withoutService["backend"]]) {
    expect(service?.build?.args).toEqual(Object.fromEntries(defaults));
  }
});

test("the project's name, and so that of its containers, is blog", () => {
  expect(readFileSync(join(root, "docker/.env"), "utf8")).toMatch(/^COMPOSE_PROJECT_NAME=blog$/m);
});

test("both files have the same database", () => {
  expect(withService["db"]).toBeDefined();
  expect(withoutService["db"]).toEqual(withService["db"]);
});

interface ComposeService {
  build?: { args: Record<string, string> };
}

function readServices(file: string): Record<string, ComposeService> {
  const text = readFileSync(join(root, "docker", file), "utf8");
  return (parse(text, { merge: true }) as { services: Record<string, ComposeService> }).services;
}
