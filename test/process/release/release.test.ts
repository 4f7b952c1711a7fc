// What `npm run release` makes, as one would check it who publishes it: sums, licences, the bill of materials, the wheel and the
// npm package by pip and npm themselves. test/container/packages.test.ts boots the blog from each.
// @runs-on executable
// @takes long

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { readDocument, readTable } from "../../harness/documents.ts";
import { tagOf } from "../../../scripts/release/packages.ts";

const root = resolve(import.meta.dirname, "../../..");
const python = process.env["ENTRYPOINT_TEST_PYTHON"] ?? "python3";
const { version, name } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly version: string;
  readonly name: string;
};

const directory = mkdtempSync(join(tmpdir(), "entrypoint-release-"));
const release = join(directory, "release");
const find = (end: string): string => {
  const found = readdirSync(release).find((file) => file.endsWith(end));
  if (found === undefined) throw new Error(`the release has no ${end}`);
  return join(release, found);
};
const run = (file: string, ...words: string[]): string =>
  execFileSync(file, words, { cwd: directory, encoding: "utf8" });

beforeAll(() => {
  const words = [
    join(root, "scripts/release/release.ts"),
    "--dist",
    join(root, "dist"),
    "--outdir",
    release,
  ];
  const { stderr, status } = spawnSync(process.execPath, words, { encoding: "utf8" });
  // Nothing is left out of it.
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
});
afterAll(() => rmSync(directory, { recursive: true }));

test("has the files that scripts/release/README.md lists, and their sums", () => {
  const listed = readTable(readDocument("scripts/release/README.md"), "File").map(([file = ""]) =>
    file.replaceAll("VERSION", version),
  );
  expect(readdirSync(release).toSorted()).toEqual(listed.toSorted());
  const sums = execFileSync("sha256sum", ["--check", "--strict", "SHA256SUMS"], {
    cwd: release,
    encoding: "utf8",
  });
  expect(sums.match(/: OK$/gm)).toHaveLength(listed.length - 1);
});

test("of the same build has the same bytes, whoever makes it and when", () => {
  const other = join(directory, "other");
  const words = [join(root, "scripts/release/release.ts"), "--dist", join(root, "dist")];
  execFileSync(
    "sh",
    ["-c", 'umask 077; exec "$@"', "sh", process.execPath, ...words, "--outdir", other],
    {
      env: {
        PATH: process.env["PATH"],
        HOME: directory,
        TZ: "Asia/Kathmandu",
        LANG: "tr_TR.UTF-8",
      },
      stdio: "pipe",
    },
  );
  const sums = (folder: string) => readFileSync(join(folder, "SHA256SUMS"), "utf8");
  expect(sums(other)).toBe(sums(release));
});

describe("each archive has the licences of all that is in it, and the bill of materials", () => {
  test.for([
    ["linux-x86_64.tar.gz", "tar", "--list", "--file"],
    ["bundle.tar.gz", "tar", "--list", "--file"],
    [".tgz", "tar", "--list", "--file"],
    [".whl", python, "-m", "zipfile", "--list"],
  ] as const)("%s", ([end, program, ...words]) => {
    const listing = run(program, ...words, find(end));
    for (const file of ["LICENSE", "THIRD-PARTY-LICENSES", `${name}.cdx.json`]) {
      expect(listing).toMatch(new RegExp(`/${file}\\b`));
    }
  });

  test("the image", () => {
    const layer = /blobs\/sha256\/\w+/.exec(
      run("sh", "-c", `tar --list --verbose --file '${find(".tar")}' | sort -k3n | tail -n 1`),
    )?.[0];
    const listing = run("sh", "-c", `tar -xOf '${find(".tar")}' ${layer} | tar -tzf -`);
    expect(listing.trim().split("\n")).toEqual([
      "entrypoint",
      "usr/",
      "usr/local/",
      "usr/local/bin/",
      "usr/local/bin/entrypoint",
      "usr/share/",
      "usr/share/doc/",
      `usr/share/doc/${name}/`,
      ...["LICENSE", "THIRD-PARTY-LICENSES", `${name}.cdx.json`].map(
        (file) => `usr/share/doc/${name}/${file}`,
      ),
    ]);
  });
});

test("the licences and the bill name the same packages, which are those of the bundle, and Node", () => {
  const bill = JSON.parse(readFileSync(find(".cdx.json"), "utf8")) as {
    readonly components: readonly { readonly "bom-ref": string }[];
  };
  const listed = bill.components.map((one) => one["bom-ref"]);
  const licences = run(
    "tar",
    "-xzOf",
    find("bundle.tar.gz"),
    "--wildcards",
    "*/THIRD-PARTY-LICENSES",
  );
  const titles = [...licences.matchAll(/^={80}\n(\S+) (\S+)\n={80}$/gm)].map(
    ([, title, number]) => `${title}@${number}`,
  );
  expect(listed.filter((ref) => !ref.startsWith("node@")).toSorted()).toEqual(titles.toSorted());
  expect(titles.length).toBeGreaterThan(40);
  for (const dependency of ["pg", "pino", "commander", "execa", "libpg-query"]) {
    expect(titles).toContainEqual(expect.stringMatching(`^${dependency}@`));
  }
  expect(titles.join()).not.toMatch(/esbuild|vitest/);
  expect(listed).toContain(`node@${process.versions.node}`);
  expect(licences).toContain("OpenSSL");
});

test("pip installs the wheel: the command, its metadata, and no module", () => {
  const target = join(directory, "target");
  run(python, "-m", "pip", "install", "--quiet", "--no-index", "--target", target, find(".whl"));
  expect(readdirSync(target).toSorted()).toEqual(["bin", `pg_entrypoint-${version}.dist-info`]);
  expect(readdirSync(join(target, "bin"))).toEqual(["entrypoint"]);
  expect(run(join(target, "bin/entrypoint"), "--version")).toBe(`${version}\n`);
  const metadata = readFileSync(
    join(target, `pg_entrypoint-${version}.dist-info/METADATA`),
    "utf8",
  );
  expect(metadata).toMatch(/^Name: pg-entrypoint\nVersion: /m);
  expect(metadata).toMatch(/^License-File: THIRD-PARTY-LICENSES$/m);
});

test("there is no wheel of a program that does not run where its tag says", () => {
  // Node itself needs libatomic, and no slim image has it.
  expect(() => tagOf(readFileSync(process.execPath))).toThrow(/may not need libatomic\.so\.1/);
  const newer = Buffer.from(readFileSync(join(root, "dist/entrypoint")));
  newer.write("GLIBC_2.98", newer.indexOf("GLIBC_2.28\0"), "latin1");
  expect(() => tagOf(newer)).toThrow(/needs GLIBC_2\.98, and manylinux_2_28 has up to 2\.28/);
});

describe("npm installs the package for everybody, on Node", () => {
  const runtimes = join(root, "test/process/builds/runtimes/node_modules");

  test.for([
    ["20", join(runtimes, `node-20-${process.arch}/bin`)],
    ["22", join(runtimes, `node-22-${process.arch}/bin`)],
    ["24", join(runtimes, `node-24-${process.arch}/bin`)],
    ["26", join(root, "node_modules/node/bin")],
  ] as const)("%s", ([major, bin]) => {
    const prefix = mkdtempSync(join(directory, "prefix-"));
    const env = { PATH: `${bin}:${process.env["PATH"]}`, HOME: directory };
    const options = { cwd: directory, env, encoding: "utf8" } as const;
    expect(execFileSync("node", ["--version"], options)).toMatch(`v${major}.`);
    const words = ["install", "--global", "--offline", "--prefix", prefix, find(".tgz")];
    const { status, stderr } = spawnSync("npm", words, options);
    expect(status, stderr).toBe(0);
    expect(readdirSync(join(prefix, "lib/node_modules"))).toEqual([name]);
    const command = join(prefix, "bin/entrypoint");
    expect(execFileSync(command, ["--version"], options)).toBe(`${version}\n`);
    const started = spawnSync(command, ["--no-migrate", "echo", "started"], options);
    expect(started.stdout).toBe("started\n");
  });
});
