// The single executable is a copy of the Node of its base image: that has to be the Node that the tests run on, to the patch.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../../../..");
const read = (file: string) => readFileSync(join(root, file), "utf8");
const { packages } = JSON.parse(read("package-lock.json")) as {
  packages: Record<string, { version: string }>;
};
const version = packages["node_modules/node"]?.version;
const documents = globSync(["*.md", "{docker,scripts,src,test}/**/*.md"], {
  cwd: root,
  exclude: (name) => name === "node_modules",
});

test("the base image is of the Node in package-lock.json", () => {
  expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  const [, image] = /^ARG NODE_IMAGE=(.*)$/m.exec(read("Dockerfile.backend")) ?? [];
  expect(image).toBe(`node:${version}-bookworm-slim`);
});

// test/unit/docker/compose.test.ts holds the Compose files to the Dockerfile.
test("the container tests use the same image", () => {
  const file = read("test/container/global-setup.ts");
  const images = [...file.matchAll(/\bnode:\d[\w.-]*/g)].map(([image]) => image);
  expect(images).toEqual([`node:${version}-bookworm-slim`]);
});

test("the documents name no other patch of it", () => {
  expect(documents).toContain("scripts/build/README.md");
  for (const file of documents) {
    for (const [image, named] of read(file).matchAll(/\bnode:(\d+\.\d[\d.]*)[\w.-]*/g)) {
      expect(named, `${file}: ${image}`).toBe(version);
    }
  }
  expect(read("scripts/build/README.md")).toContain(`node:${version}-bookworm-slim`);
});
