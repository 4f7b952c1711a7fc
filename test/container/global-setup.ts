// Finds the container engine and builds the two images of Dockerfile.backend, once for the whole run. Where no engine
// answers, or it cannot have the base images, the tests are skipped, unless ENTRYPOINT_TEST_ENGINE is "required".
//
// NODE_IMAGE, PYTHON_IMAGE and POSTGRES_IMAGE name other base images than the defaults.

import { join } from "node:path";

import { execa } from "execa";
import type { TestProject } from "vitest/node";

export type Engine = "docker" | "podman";

declare module "vitest" {
  export interface ProvidedContext {
    /** The client's name; null where no engine answers. */
    engine: Engine | null;
    /** The blog's image. */
    blogImage: string;
    /** The image that holds entrypoint alone. */
    entrypointImage: string;
  }
}

const root = join(import.meta.dirname, "../..");

/** The defaults are those of Dockerfile.backend. */
export const baseImages = {
  node: process.env["NODE_IMAGE"] || "node:26.10.0-bookworm-slim",
  python: process.env["PYTHON_IMAGE"] || "python:3.13-slim-bookworm",
  postgres: process.env["POSTGRES_IMAGE"] || "postgres:17",
};

export default async function setUp(project: TestProject): Promise<void> {
  project.provide("blogImage", "entrypoint-test/blog");
  project.provide("entrypointImage", "entrypoint-test/entrypoint");
  try {
    const engine = await findEngine();
    project.provide("engine", engine);
    await buildImage(engine, "entrypoint-test/entrypoint", ["--target=entrypoint"]);
    await buildImage(engine, "entrypoint-test/blog", []);
  } catch (error) {
    if (!(error instanceof NotHere) || process.env["ENTRYPOINT_TEST_ENGINE"] === "required") {
      throw error;
    }
    project.provide("engine", null);
    console.log(`The container tests are skipped: ${error.message}`);
  }
}

/** The machine lacks what the tests need. */
class NotHere extends Error {}

/** The first engine that answers, with all base images. */
async function findEngine(): Promise<Engine> {
  for (const engine of ["docker", "podman"] as const) {
    const { exitCode } = await execa(engine, ["info"], { reject: false });
    if (exitCode !== 0) continue;
    for (const image of Object.values(baseImages)) {
      const { failed } = await execa(engine, ["image", "inspect", image], { reject: false });
      if (!failed) continue;
      const pull = await execa(engine, ["pull", "--quiet", image], { reject: false });
      if (pull.failed)
        throw new NotHere(`${engine} cannot pull ${image}: ${lastLine(pull.stderr)}`);
    }
    return engine;
  }
  throw new NotHere("no container engine answers (docker, podman)");
}

async function buildImage(engine: Engine, tag: string, options: string[]): Promise<void> {
  const words = [
    "build",
    // npm and pip reach their registries as this machine does.
    "--network=host",
    "--file=Dockerfile.backend",
    `--tag=${tag}`,
    `--build-arg=NODE_IMAGE=${baseImages.node}`,
    `--build-arg=PYTHON_IMAGE=${baseImages.python}`,
    ...options,
    ".",
  ];
  const { failed, stderr } = await execa(engine, words, { cwd: root, reject: false });
  if (failed)
    throw new Error(`cannot build Dockerfile.backend: ${engine} ${words.join(" ")}\n${stderr}`);
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}
