// The two Compose files with a real engine, under `docker compose` or, where that is not there, docker-compose 1.

import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { execa } from "execa";
import { expect, onTestFinished, test as runTest } from "vitest";

import { blogImage, engine } from "./engine.ts";
import { baseImages } from "./global-setup.ts";

const directory = join(import.meta.dirname, "../../docker");
const composeCommand = engine === "docker" ? await findCompose() : null;
const test = runTest.skipIf(composeCommand === null);

test.for(["compose.yaml", "compose.boot.yaml"])("Compose takes %s as it is", async (file) => {
  const { stderr } = await compose(file, "entrypoint-test", blogImage, ["config", "--quiet"]);
  expect(stderr).not.toMatch(/warn|unsupported|obsolete/i);
});

test("the service that migrates ends with 0, and the application starts after it", async () => {
  const project = createProject("compose.yaml");
  await project.compose("up", "--detach");

  const [migrate] = await project.containers("migrate");
  expect(migrate?.State).toMatchObject({ Status: "exited", ExitCode: 0 });
  expect(await project.events("migrate")).toContain("migrated");

  const [backend] = await project.containers("backend");
  await serves(backend);
  expect(Date.parse(backend?.State.StartedAt ?? "")).toBeGreaterThan(
    Date.parse(migrate?.State.FinishedAt ?? ""),
  );
  // No entrypoint is in front of it.
  expect(backend?.Path).toBe("uvicorn");
  for (const container of [migrate, backend]) expect(container).toMatchObject(hardened);

  // Once more, as after an update that brings no revision.
  await project.compose("up", "--detach");
  expect((await project.containers("migrate"))[0]?.State.ExitCode).toBe(0);
  expect((await project.events("migrate")).filter((event) => event === "migrating")).toHaveLength(
    1,
  );
});

test("with a broken migration the application never starts, and `up` says so", async () => {
  const project = createProject("compose.yaml", await buildBrokenImage());
  const { exitCode, stderr, stdout } = await project
    .compose("up", "--detach")
    .catch((error) => error);

  expect(exitCode).toBe(1);
  expect(`${stdout}${stderr}`).toMatch(/migrate.*exit(ed with code|: exit| ).*1/s);
  const [migrate] = await project.containers("migrate");
  expect(migrate?.State).toMatchObject({ Status: "exited", ExitCode: 1 });
  expect(migrate?.RestartCount).toBe(0);
  expect(await project.events("migrate")).toContain("migration-failed");
  // Created by some versions of Compose, but started by none.
  for (const backend of await project.containers("backend")) {
    expect(backend.State.Status).toBe("created");
  }
});

test("of six replicas one migrates, and all six serve", async () => {
  const project = createProject("compose.boot.yaml");
  await project.compose("up", "--detach", "--scale", "backend=6");

  const replicas = await project.containers("backend");
  expect(replicas).toHaveLength(6);
  await Promise.all(replicas.map(serves));
  for (const replica of replicas) {
    expect(replica).toMatchObject(hardened);
    expect(replica.RestartCount).toBe(0);
  }
  const events = await project.events("backend");
  expect(events.filter((event) => event === "migrating")).toHaveLength(1);
  expect(events.filter((event) => event === "starting")).toHaveLength(6);
});

/** What `docker inspect` says. */
interface Container {
  Id: string;
  Path: string;
  RestartCount: number;
  State: { Status: string; ExitCode: number; StartedAt: string; FinishedAt: string };
}

const hardened = {
  Config: { User: "10001:10001" },
  HostConfig: {
    ReadonlyRootfs: true,
    CapDrop: ["ALL"],
    SecurityOpt: ["no-new-privileges:true"],
  },
};

/** The first of the two that answers; null where neither does. */
async function findCompose(): Promise<[string, ...string[]] | null> {
  const commands: [string, ...string[]][] = [["docker", "compose"], ["docker-compose"]];
  for (const [program, ...words] of commands) {
    const { failed } = await execa(program, [...words, "version"], { reject: false });
    if (!failed) return [program, ...words];
  }
  if (process.env["ENTRYPOINT_TEST_ENGINE"] === "required") throw new Error("there is no Compose");
  console.log(
    "The tests of Compose are skipped: neither docker compose nor docker-compose answers",
  );
  return null;
}

function compose(file: string, name: string, image: string, words: readonly string[]) {
  const [program = "", ...before] = composeCommand ?? [];
  const options = ["--project-name", name, "--file", join(directory, file)];
  return execa(program, [...before, ...options, ...words], {
    // A free port, since the tests do not have the machine to themselves.
    env: { BACKEND_IMAGE: image, POSTGRES_IMAGE: baseImages.postgres, PORT: "0" },
  });
}

/** A project of this test's own, of which nothing is left after it. */
function createProject(file: string, image = blogImage) {
  const name = `entrypoint-test-${randomBytes(4).toString("hex")}`;
  onTestFinished(async () => {
    await compose(file, name, image, ["down", "--volumes", "--timeout", "2"]);
  });
  const listIds = async (service: string) => {
    const labels = [`project=${name}`, `service=${service}`];
    const filters = labels.map((label) => `--filter=label=com.docker.compose.${label}`);
    const { stdout } = await execa("docker", ["ps", "--all", "--quiet", ...filters]);
    return stdout.split("\n").filter((id) => id !== "");
  };
  return {
    compose: (...words: string[]) => compose(file, name, image, words),
    /** All containers of a service, those too that have ended. */
    async containers(service: string): Promise<Container[]> {
      const ids = await listIds(service);
      if (ids.length === 0) return [];
      const { stdout } = await execa("docker", ["inspect", ...ids]);
      return JSON.parse(stdout) as Container[];
    },
    /** The events that the replicas of a service have logged. */
    async events(service: string): Promise<string[]> {
      const ids = await listIds(service);
      const logs = await Promise.all(ids.map((id) => execa("docker", ["logs", id], { all: true })));
      return logs.flatMap(({ all }) =>
        [...all.matchAll(/^\S+Z [A-Z]+ ([a-z-]+): /gm)].map(([, event = ""]) => event),
      );
    },
  };
}

/** Resolves once the container answers with the posts, of which there are none. */
async function serves(container: Container | undefined): Promise<void> {
  const { stdout } = await execa("docker", ["port", container?.Id ?? "", "8000"]);
  const [address] = stdout.split("\n");
  const readPosts = async () => {
    const response = await fetch(`http://${address}/posts`).catch(() => null);
    return response?.ok === true ? response.json() : null;
  };
  await expect.poll(readPosts, { timeout: 60_000 }).toEqual([]);
}

/** The image with one more revision, which fails. */
async function buildBrokenImage(): Promise<string> {
  const context = await mkdtemp(join(tmpdir(), "entrypoint-image-"));
  const tag = `entrypoint-test:${randomBytes(4).toString("hex")}`;
  onTestFinished(async () => {
    await execa("docker", ["rmi", "--force", tag]);
    await rm(context, { recursive: true });
  });
  await writeFile(
    join(context, "0006_broken.py"),
    `from alembic import op

revision = "0006_broken"
down_revision = "0005_require_word_count"


def upgrade() -> None:
    op.execute("ALTER TABLE nowhere ADD COLUMN nothing integer")
`,
  );
  await writeFile(
    join(context, "Dockerfile"),
    `FROM ${blogImage}\nCOPY 0006_broken.py migrations/versions/\n`,
  );
  await execa("docker", ["build", "--quiet", "--tag", tag, context]);
  return tag;
}
