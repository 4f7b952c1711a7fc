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
import { readBlocks, readDocument, readTable } from "../harness/documents.ts";
import { baseImages } from "./global-setup.ts";

const root = join(import.meta.dirname, "../..");
const published = ["--publish", "127.0.0.1::8000"];

/** README's Dockerfile for an image of the user's own, on a base that is here. */
const dockerfile = (readBlocks(readDocument("README.md"), "dockerfile")[0] ?? [])
  .join("\n")
  .replace(/^FROM .*/, `FROM ${baseImages.python}`)
  // Older builders do not know --link.
  .replaceAll("--link --from=pg-entrypoint ", `--from=${entrypointImage} `);
const copies = /(^COPY --from=.*\n)+/m.exec(dockerfile)?.[0] ?? "";

describe.skipIf(engine === null)("an image of the user's own", () => {
  test("gets the files that docker/README.md lists, of about that size, and nothing else", async () => {
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
    const rows = readTable(readDocument("docker/README.md"), "What");
    expect(new Set(files.map(({ path }) => path))).toEqual(new Set(rows.map(([path]) => path)));
    const program = files.find(({ path }) => path === "/entrypoint");
    expect(program?.mode).toBe("-rwxr-xr-x");
    const [, size, compressed] = /^(\d+) MB, (\d+) MB compressed$/.exec(rows[0]?.[1] ?? "") ?? [];
    expect(Math.abs((program?.megabytes ?? 0) - Number(size))).toBeLessThan(2);
    expect(
      Math.abs(gzipSync(readFileSync(archive)).length / 1e6 - Number(compressed)),
    ).toBeLessThan(1);
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
    expect(await app.stop()).toBeLessThan(9_000);
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
    const version = await call("run", "--rm", tag, "/entrypoint", "--version");
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
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
      env: { DATABASE_URL: database.url, ENTRYPOINT_LOG_FORMAT: "auto" },
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
