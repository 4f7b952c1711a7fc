// What the single executable lacks of Node, and what it has all the same: each answer that needs ICU's data, its libraries, and
// headers that tools read.
// @runs-on executable

import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

import { beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { compareExchange, listLibraries, listVersionNeeds } from "../../../scripts/build/elf.ts";
import { buildSingleExecutable } from "../../../scripts/build/executable.ts";
import { intlExpressions, intlProgram } from "../../../scripts/build/intl.ts";
import { entrypointCommand, plainEnvironment } from "../harness/entrypoint.ts";

const root = resolve(import.meta.dirname, "../../..");
const [executable] = entrypointCommand();
const program = readFileSync(executable);

describe("answers as all of Node does", () => {
  let answers: [own: Record<string, unknown>, nodes: Record<string, unknown>];
  beforeAll(() => {
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-intl-"));
    try {
      const main = join(directory, "main.js");
      writeFileSync(
        main,
        `require("node:v8").startupSnapshot.setDeserializeMainFunction(() => {
          if (process.argv.includes("--version")) console.log("1.0");
          else { ${intlProgram} }
        });`,
      );
      const built = join(directory, "program");
      const sources = { "main.js": main };
      const warn = (line: string) => expect.unreachable(line);
      buildSingleExecutable(
        built,
        { version: "1.0", sources, rehearsal: null, assets: {} },
        { warn },
      );
      const ask = (file: string, words: readonly string[]) =>
        JSON.parse(
          execFileSync(file, words, {
            encoding: "utf8",
            env: plainEnvironment({ TZ: "Asia/Tokyo" }),
          }),
        ) as Record<string, unknown>;
      answers = [ask(built, []), ask(process.execPath, ["--eval", intlProgram])];
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test.for(Object.keys(intlExpressions))("%s", (name) => {
    const [own, nodes] = answers;
    expect(nodes[name]).toBeDefined();
    expect(own[name]).toEqual(nodes[name]);
  });
});

test("needs no library that Debian's slim images lack, and no newer one", () => {
  expect(listLibraries(program)).not.toContain("libatomic.so.1");
  const needs = listVersionNeeds(program);
  expect(needs.map(({ library }) => library)).not.toContain("libatomic.so.1");
  const newest = needs
    .flatMap(({ version }) => /^GLIBC_2\.(\d+)/.exec(version)?.[1] ?? [])
    .toSorted((a, b) => Number(b) - Number(a))[0];
  expect(newest).toBe("28");
});

test.skipIf(process.getuid?.() !== 0)(
  "runs where there are the libraries that it needs, and no shell, no /proc and nothing else",
  () => {
    const place = mkdtempSync(join(tmpdir(), "entrypoint-bare-"));
    onTestFinished(() => rmSync(place, { recursive: true }));
    const libraries = execFileSync("ldd", [executable], { encoding: "utf8" });
    for (const [path] of libraries.matchAll(/\/\S+\.so\S*/g)) {
      mkdirSync(join(place, dirname(path)), { recursive: true });
      copyFileSync(path, join(place, path));
    }
    copyFileSync(executable, join(place, "entrypoint"));
    const run = (...words: string[]) =>
      spawnSync("chroot", [place, "/entrypoint", ...words], { encoding: "utf8" });
    const version = run("--version");
    expect(version).toMatchObject({ status: 0, stderr: "" });
    for (const words of [["--no-migrate"], ["supervise", "--"]]) {
      const started = run(...words, "/entrypoint", "--version");
      expect(started).toMatchObject({ status: 0, stdout: version.stdout });
    }
    const words = ["--database-url", "postgresql://127.0.0.1:1/x", "--wait-timeout", "0"];
    const refused = run(...words, "--migrate", "/entrypoint --version", "/entrypoint");
    expect(refused.stderr).toContain("ERROR database-unavailable:");
    expect(refused.status).toBe(69);
  },
);

test("has the size that the documents give", () => {
  const document = readFileSync(join(root, "docker/README.md"), "utf8");
  const [, size, compressed] = /\| (\d+) MB, (\d+) MB compressed \|/.exec(document) ?? [];
  expect(Math.abs(statSync(executable).size / 1e6 - Number(size))).toBeLessThan(2);
  expect(Math.abs(gzipSync(program).length / 1e6 - Number(compressed))).toBeLessThan(1);
  expect(Number(compressed)).toBeLessThanOrEqual(31);
});

test("has headers that tools for programs read", () => {
  for (const words of [
    ["--headers"],
    ["--dynamic"],
    ["--version-info"],
    ["--notes"],
    ["--relocs"],
  ]) {
    const { status, stderr } = spawnSync("readelf", [...words, "--wide", executable], {
      encoding: "utf8",
    });
    expect({ words, status, stderr }).toEqual({ words, status: 0, stderr: "" });
  }
  const { status, stdout } = spawnSync("objdump", ["--private-headers", executable], {
    encoding: "utf8",
  });
  expect(status).toBe(0);
  expect(stdout).toContain("libstdc++.so.6");
});

test("compares and exchanges as libatomic does, in each size", () => {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-atomic-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const script = join(directory, "compare.py");
  writeFileSync(
    script,
    `import ctypes, mmap, sys
code = bytes.fromhex(sys.argv[1])
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
kind = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_size_t, *[ctypes.c_void_p] * 3, ctypes.c_int, ctypes.c_int)
own = kind(address)
theirs = kind(ctypes.cast(ctypes.CDLL("libatomic.so.1").__atomic_compare_exchange, ctypes.c_void_p).value)
def call(function, size, there, expected):
    whole = bytes(range(64)); buffer = ctypes.create_string_buffer(whole, 64)
    start = ctypes.addressof(buffer); start += -start % 16
    at, want, new = start, start + 16, start + 32
    ctypes.memmove(at, there * 16, 16); ctypes.memmove(want, expected * 16, 16)
    done = function(size, at, want, new, 4, 2)
    return done, ctypes.string_at(start, 48)
for size in (1, 2, 4, 8, 16):
    for there, expected in ((b"a", b"a"), (b"a", b"b")):
        assert call(own, size, there, expected) == call(theirs, size, there, expected), size
        assert call(own, size, there, expected)[0] == (there == expected)
print("the same")
`,
  );
  const words = [script, compareExchange.toString("hex")];
  expect(
    execFileSync(process.env["ENTRYPOINT_TEST_PYTHON"] ?? "python3", words, { encoding: "utf8" }),
  ).toBe("the same\n");
});
