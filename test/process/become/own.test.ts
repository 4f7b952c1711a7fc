// --own for real: needs root, which is what a container mostly starts as; skipped elsewhere.
// @runs-on bundle, executable

import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { runEntrypoint } from "../harness/entrypoint.ts";

const [uid, gid] = [54321, 54322];
const user = ["--user", `${uid}:${gid}`];

describe.skipIf(process.getuid?.() !== 0)("as root", () => {
  test("a directory that is missing is made, and the application writes in it", async () => {
    const directory = join(makeDirectory(), "data/uploads");
    const app = ["exec", "--", "touch", join(directory, "x")];
    const own = [...user, "--umask", "077", "--own", directory];
    const { code, lines, stderr } = await runEntrypoint([...own, ...app]);
    expect(code, stderr).toBe(0);
    expect(ownerOf(join(directory, "x"))).toEqual([uid, gid]);
    expect(lines).toMatchObject([{ event: "owned", uid, gid, changed: 1, directory }]);
    // What was made on the way stays root's.
    expect(ownerOf(join(directory, ".."))).toEqual([0, 0]);
  });

  test("all that is in it gets the owner, no link is followed, and what is right is left alone", async () => {
    const root = makeDirectory();
    const outside = join(root, "outside");
    const directory = join(root, "data");
    mkdirSync(join(directory, "deep/deeper"), { recursive: true });
    mkdirSync(outside);
    const files = ["a", "deep/b", "deep/deeper/c", "right"].map((name) => join(directory, name));
    for (const file of [...files, join(outside, "secret")]) writeFileSync(file, "");
    chownSync(join(directory, "right"), uid, gid);
    symlinkSync(join(outside, "secret"), join(directory, "link"));
    symlinkSync(outside, join(directory, "deep/folder"));
    symlinkSync(directory, join(root, "volume"));
    const args = [...user, "--own", join(root, "volume"), "exec", "--", "true"];
    const { code, lines, stderr } = await runEntrypoint(args);
    expect(code, stderr).toBe(0);
    const inside = ["", "deep", "deep/deeper", "link", "deep/folder"];
    for (const path of [...files, ...inside.map((name) => join(directory, name))]) {
      expect(ownerOf(path), path).toEqual([uid, gid]);
    }
    for (const path of [outside, join(outside, "secret"), join(root, "volume")]) {
      expect(ownerOf(path), path).toEqual([0, 0]);
    }
    expect(lines).toMatchObject([{ event: "owned", changed: 8 }]);
    // Nothing is left to do.
    expect((await runEntrypoint(args)).lines).toEqual([]);
  });

  test("PUID and PGID that change own what the old ones have written", async () => {
    const directory = makeDirectory();
    const env = {
      ENTRYPOINT_USER: "${PUID:-1000}:${PGID:-1000}",
      ENTRYPOINT_OWN: `${directory}/one:${directory}/\${SECOND:-two}`,
    };
    const write = ["exec", "--", "sh", "-c", `id -u >> ${directory}/one/log`];
    expect(await runEntrypoint(write, { env })).toMatchObject({ code: 0 });
    expect(ownerOf(join(directory, "one/log"))).toEqual([1000, 1000]);
    const changed = { ...env, PUID: String(uid), PGID: String(gid) };
    expect(await runEntrypoint(write, { env: changed })).toMatchObject({ code: 0 });
    for (const name of ["one", "one/log", "two"]) {
      expect(ownerOf(join(directory, name))).toEqual([uid, gid]);
    }
  });

  test("a dry run makes nothing, and a file in the way is named", async () => {
    const directory = makeDirectory();
    const missing = join(directory, "missing");
    await runEntrypoint([...user, "--own", missing, "--dry-run", "exec", "--", "true"]);
    expect(existsSync(missing)).toBe(false);
    writeFileSync(missing, "");
    const { code, lines } = await runEntrypoint([...user, "--own", missing, "exec", "--", "true"]);
    expect(code).toBe(64);
    expect(lines.at(-1)?.["msg"]).toBe(`cannot make and own ${missing}: EEXIST (${missing})`);
  });
});

test("without --user the directory is made", async () => {
  const directory = join(makeDirectory(), "data");
  const { code, lines } = await runEntrypoint(["--own", directory, "exec", "--", "true"]);
  expect({ code, lines }).toEqual({ code: 0, lines: [] });
  expect(lstatSync(directory).isDirectory()).toBe(true);
});

function ownerOf(path: string): number[] {
  const stats = lstatSync(path);
  return [stats.uid, stats.gid];
}

/** Every user may look into it. */
function makeDirectory(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "entrypoint-own-")));
  chmodSync(directory, 0o755);
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}
