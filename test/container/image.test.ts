// What an image holds and may be run with: entrypoint in one of the user's own, as README shows it, and the blog's
// with all that operators take away from a container.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { execa } from "execa";
import { describe, expect, onTestFinished, test } from "vitest";

import {
  blogImage,
  call,
  engine,
  entrypointImage,
  fetchWhenServed,
  run,
  startContainer,
  startDatabase,
} from "./engine.ts";
import { baseImages } from "./global-setup.ts";

const root = join(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const published = ["--publish", "127.0.0.1::8000"];

/** README's Dockerfile for an image of the user's own, on a base that is here. */
const dockerfile = (/^```dockerfile\n# after\n([^]*?)```/m.exec(readme)?.[1] ?? "")
  .replace(/^FROM .*/, `FROM ${baseImages.python}`)
  .replaceAll("--from=entrypoint ", `--from=${entrypointImage} `);
const copies = /(^COPY --from=.*\n)+/m.exec(dockerfile)?.[0] ?? "";

describe.skipIf(engine === null)("an image of the user's own", () => {
  test("gets the files that README lists, of about that size, and nothing else", async () => {
    const id = await call("create", entrypointImage, "none");
    onTestFinished(async () => void (await run("rm", id)));
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-image-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const archive = join(directory, "archive.tar");
    await call("export", "--output", archive, id);
    const { stdout: listing } = await execa("tar", ["--list", "--verbose", `--file=${archive}`]);
    const files = [...listing.matchAll(/^([-l]\S+) \S+ +(\d+) .* \d\d:\d\d (\S+)/gm)]
      // The engine's own, in every container.
      .filter(([, , , path = ""]) => !/^(\.dockerenv|dev|etc|proc|sys|run)\b/.test(path))
      .map(([, mode, size, path]) => ({ path: `/${path}`, mode, megabytes: Number(size) / 1e6 }));
    const rows = [...readme.matchAll(/^\| `(\/\S+)` +\| (\S+) (?:MB|KB)? *\|/gm)];
    expect(new Set(files.map(({ path }) => path))).toEqual(new Set(rows.map(([, path]) => path)));
    const program = files.find(({ path }) => path === "/entrypoint");
    expect(program?.mode).toBe("-rwxr-xr-x");
    expect(program?.megabytes).toBeCloseTo(Number(rows[0]?.[2]), -1);
    const compressed = gzipSync(readFileSync(archive)).length / 1e6;
    expect(compressed).toBeCloseTo(Number(/\| (\d+) MB compressed/.exec(readme)?.[1]), -1);
  });

  test("boots when it is built from README's Dockerfile", async () => {
    const tag = nameImage("own");
    await execa(
      engine ?? "",
      ["build", "--network=host", "--tag", tag, "--file", "-", "docker/backend"],
      { cwd: root, input: dockerfile },
    );
    const database = await startDatabase();
    const app = await startContainer({
      image: tag,
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published],
    });
    expect(await fetchWhenServed(app, "/posts")).toBe("[]");
    expect(await app.stop()).toBeLessThan(2_000);
  });

  test("that has libatomic1 goes on using its own", async () => {
    const tag = nameImage("libatomic");
    await execa(engine ?? "", ["build", "--tag", tag, "-"], {
      input: `FROM ${baseImages.node}\n${copies}`,
    });
    const own = await call("run", "--rm", tag, "ldd", "/entrypoint");
    expect(own).toMatch(/libatomic\.so\.1 => \/(usr\/)?lib\/[^/]+-linux-gnu\/libatomic\.so\.1 /);
    const slim = await call("run", "--rm", blogImage, "ldd", "/entrypoint");
    expect(slim).toMatch(/libatomic\.so\.1 => \/(usr\/)?lib\/libatomic\.so\.1 /);
  });

  test("keeps its directories as they are, and a link among them", async () => {
    const tag = nameImage("directories");
    const look = "stat -c '%n %F %A %u:%g' /usr /usr/lib /usr/local /usr/local/. /usr/local/bin";
    await execa(engine ?? "", ["build", "--tag", tag, "-"], {
      input: [
        `FROM ${baseImages.python}`,
        "RUN mv /usr/local /srv/local && ln -s /srv/local /usr/local \\",
        " && chown 1:2 /usr /usr/lib /usr/local/. /usr/local/bin \\",
        " && chmod 2775 /usr/local/. /usr/local/bin && chmod 711 /usr /usr/lib \\",
        ` && ${look} > /before`,
        copies,
      ].join("\n"),
    });
    const differences = await run("run", "--rm", tag, "sh", "-c", `${look} | diff /before -`);
    expect(differences).toEqual({ code: 0, stdout: "", stderr: "" });
    const version = await call("run", "--rm", tag, "entrypoint", "--version");
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test("is made as the blog's is", () => {
    const own = readFileSync(join(root, "Dockerfile.backend"), "utf8");
    expect(own).toContain(copies.replaceAll(entrypointImage, "entrypoint"));
  });
});

describe.skipIf(engine === null)("the blog's image", () => {
  test("runs as a user that is not root and owns the application", async () => {
    const [user, owner] = [
      await call("run", "--rm", blogImage, "id", "-un"),
      await call("run", "--rm", blogImage, "stat", "-c", "%U", "/app/alembic.ini"),
    ];
    expect([user, owner]).toEqual(["app", "app"]);
  });

  test.for<[name: string, flags: readonly string[]]>([
    [
      "a root file system that cannot be written, no capabilities and no new privileges",
      ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"],
    ],
    ["the engine's own init before it", ["--init"]],
    ["a user that the image does not know", ["--user=54321:54321", "--read-only"]],
  ])("boots with %s", async ([, flags]) => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published, ...flags],
    });
    expect(await fetchWhenServed(app, "/posts")).toBe("[]");
    await app.stop();
    expect(await app.ended()).toBe(0);
  });

  test("boots on a terminal, where its lines are for people", async () => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      flags: [...database.flags, ...published, "--tty"],
    });
    await fetchWhenServed(app, "/posts");
    expect(app.output()).toMatch(/\[32mINFO.*Running database migrations\.\.\./);
    expect(app.lines()).toEqual([]);
    await app.stop();
    expect(await app.ended()).toBe(0);
  });

  test("boots and migrates within 128 MB of memory", async () => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url },
      // One process: two of uvicorn's workers take more than that by themselves.
      words: ["/entrypoint", "uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000"],
      flags: [...database.flags, ...published, "--memory=128m", "--memory-swap=128m"],
    });
    expect(await fetchWhenServed(app, "/posts")).toBe("[]");
    await app.stop();
    expect(await app.ended()).toBe(0);
  });
});

/** A name for an image that goes with the test. */
function nameImage(name: string): string {
  const tag = `entrypoint-test/${name}`;
  onTestFinished(async () => void (await run("rmi", "--force", tag)));
  return tag;
}
