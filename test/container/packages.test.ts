// The packages of a release, as their users install them: each in an image of its own, made as the front page says of a base
// without entrypoint, and the blog boots.

import { execFileSync } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { readBlocks, readDocument } from "../harness/documents.ts";
import { call, engine, fetchWhenServed, run, startContainer, startDatabase } from "./engine.ts";
import { baseImages } from "./global-setup.ts";

const root = join(import.meta.dirname, "../..");
const prefix = "entrypoint-test/packages-";

describe.skipIf(engine === null)("the blog boots from", () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-packages-"));
  let files: string[];
  const find = (pattern: RegExp): string => files.find((file) => pattern.test(file)) ?? "none";

  beforeAll(() => {
    const words = [
      join(root, "scripts/release/release.ts"),
      "--dist",
      join(root, "dist"),
      "--outdir",
      directory,
    ];
    execFileSync(process.execPath, words, { stdio: ["ignore", "ignore", "inherit"] });
    files = readdirSync(directory);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  /** The Dockerfile of the front page. */
  let lines: readonly string[];
  /** What of it a project has already. */
  let before: readonly string[];

  beforeAll(async () => {
    cpSync(join(root, "docker/backend"), directory, { recursive: true });
    // Not everywhere is a builder that knows it.
    const knowsLink = await isBuilt(["FROM scratch", `COPY --link ${find(/^SHA256SUMS$/)} /`]);
    const [block = []] = readBlocks(readDocument("README.md"), "dockerfile");
    lines = block
      .map((line) => line.replace(/^FROM .*/, `FROM ${baseImages.python}`))
      .map((line) => (knowsLink ? line : line.replace(" --link", "")));
    before = lines.slice(0, lines.indexOf("# new"));
  });

  test("the wheel", async () => {
    const wheel = find(/\.whl$/);
    await boot("wheel", [
      ...before,
      `COPY ${wheel} /tmp/`,
      `RUN pip install --no-index --no-cache-dir /tmp/${wheel}`,
      "COPY . .",
      'CMD ["entrypoint"]',
    ]);
  });

  test("npx with the npm package, beside Node", async () => {
    const archive = find(/\.tgz$/);
    await boot("npx", [
      `FROM ${baseImages.node} AS node`,
      ...before,
      "COPY . .",
      "COPY --from=node /usr/local/bin /usr/local/bin",
      "COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules",
      "COPY --from=node /usr/lib/*-linux-gnu/libatomic.so.1 /usr/lib/",
      `COPY ${archive} /package/`,
      "ENV HOME=/tmp",
      `CMD ["npx", "--yes", "--offline", "file:/package/${archive}"]`,
    ]);
  });

  test("a COPY from the image that docker load takes", async () => {
    const { stdout } = await execa(engine ?? "", [
      "load",
      "--input",
      join(directory, find(/\.tar$/)),
    ]);
    const reference = /Loaded image: (\S+:\d\S*)/.exec(stdout)?.[1] ?? "none";
    onTestFinished(async () => {
      await run("rmi", "--force", reference, reference.replace(/:.*/, ":latest"));
    });
    const labels = JSON.parse(
      await call("image", "inspect", "--format={{json .Config.Labels}}", reference),
    ) as Record<string, string>;
    expect(labels).toMatchObject({
      "org.opencontainers.image.licenses": "MIT",
      "org.opencontainers.image.version": reference.split(":")[1],
    });
    const name = reference.replace(/:.*/, "");
    const dockerfile = lines.map((line) => line.replace(`--from=${name}`, `--from=${reference}`));
    const tag = await boot("copy", dockerfile);

    // Neither new code nor another entrypoint repeats `pip install`.
    const [installed = "", changed = "", upgraded = ""] = ["installed", "changed", "upgraded"].map(
      (one) => `${prefix}${one}`,
    );
    onTestFinished(async () => void (await run("rmi", "--force", installed, changed, upgraded)));
    await build(installed, before);
    const layers = await listLayers(installed);
    expect((await listLayers(tag)).slice(0, layers.length)).toEqual(layers);
    appendFileSync(join(directory, "app/main.py"), "# new\n");
    await build(changed, dockerfile);
    const newer = `${prefix}newer`;
    onTestFinished(async () => void (await run("rmi", "--force", newer)));
    await build(newer, ["FROM scratch", "COPY SHA256SUMS /entrypoint"]);
    await build(
      upgraded,
      lines.map((line) => line.replace(`--from=${name}`, `--from=${newer}`)),
    );
    for (const other of [changed, upgraded]) {
      const all = await listLayers(other);
      expect(all.slice(0, layers.length), other).toEqual(layers);
      expect(all, other).not.toEqual(await listLayers(tag));
    }
  });

  async function build(tag: string, dockerfile: readonly string[]): Promise<void> {
    writeFileSync(join(directory, "Dockerfile"), `${dockerfile.join("\n")}\n`);
    // pip reaches its registry as this machine does.
    await execa(engine ?? "", ["build", "--network=host", "--tag", tag, directory]);
  }

  async function isBuilt(dockerfile: readonly string[]): Promise<boolean> {
    const tag = `${prefix}tried`;
    try {
      await build(tag, dockerfile);
      return true;
    } catch {
      return false;
    } finally {
      await run("rmi", "--force", tag);
    }
  }

  async function listLayers(tag: string): Promise<string[]> {
    const layers = await call("image", "inspect", "--format={{json .RootFS.Layers}}", tag);
    return JSON.parse(layers) as string[];
  }

  /** Builds the image, and waits until the blog answers. */
  async function boot(name: string, dockerfile: readonly string[]): Promise<string> {
    const tag = `${prefix}${name}`;
    onTestFinished(async () => void (await run("rmi", "--force", tag)));
    await build(tag, dockerfile);
    const database = await startDatabase();
    const app = await startContainer({
      image: tag,
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, "--publish", "127.0.0.1::8000"],
    });
    expect(await fetchWhenServed(app, "/posts")).toBe("[]");
    expect(app.lines().map(({ event }) => event)).toContain("migrated");
    await app.stop();
    return tag;
  }
});
