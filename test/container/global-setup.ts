// Finds the container engine and builds the two images of Dockerfile.backend, once for the whole run. Where no engine
// answers the tests are skipped, unless ENTRYPOINT_TEST_ENGINE is "required".
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

export default async function setUp(project: TestProject): Promise<void> {
  const engine = await findEngine();
  project.provide("engine", engine);
  project.provide("blogImage", "entrypoint-test/blog");
  project.provide("entrypointImage", "entrypoint-test/entrypoint");
  if (engine === null) {
    const what = "no container engine answers (docker, podman)";
    if (process.env["ENTRYPOINT_TEST_ENGINE"] === "required") throw new Error(what);
    console.log(`The container tests are skipped: ${what}`);
    return;
  }
  await buildImage(engine, "entrypoint-test/entrypoint", ["--target", "entrypoint"]);
  await buildImage(engine, "entrypoint-test/blog", []);
}

async function findEngine(): Promise<Engine | null> {
  for (const engine of ["docker", "podman"] as const) {
    const { exitCode } = await execa(engine, ["info"], { reject: false });
    if (exitCode === 0) return engine;
  }
  return null;
}

async function buildImage(engine: Engine, tag: string, options: string[]): Promise<void> {
  const bases = ["NODE_IMAGE", "PYTHON_IMAGE"].filter((name) => process.env[name]);
  await execa(
    engine,
    [
      // npm and pip reach their registries as this machine does.
      ...["build", "--network", "host", "--file", "Dockerfile.backend", "--tag", tag],
      ...bases.flatMap((name) => ["--build-arg", name]),
      ...options,
      ".",
    ],
    { cwd: root },
  );
}
