// Makes all that a publisher publishes, in dist/release: for this machine's architecture, with the version of package.json
// (README.md beside this file).

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { parserFile } from "../../src/postgres/parser-wasm.ts";
import { file } from "./archives.ts";
import { collectLicences, makeBill, readProject } from "./contents.ts";
import { description } from "./description.ts";
import { machine, makeArchive, makeImage, makeNpmPackage, makeWheel } from "./packages.ts";

const root = join(import.meta.dirname, "../..");
const { values: options } = parseArgs({
  options: {
    dist: { type: "string" },
    outdir: { type: "string", default: join(root, "dist/release") },
  },
});
const project = readProject(root);
const commit = git("rev-parse", "HEAD");
const seconds = Number(process.env["SOURCE_DATE_EPOCH"] ?? git("log", "-1", "--format=%ct") ?? 0);

// A build of its own, or one that has been tested.
const own = options.dist === undefined ? mkdtempSync(join(tmpdir(), "entrypoint-release-")) : null;
process.once("exit", () => {
  if (own !== null) rmSync(own, { recursive: true, force: true });
});
if (own !== null) {
  const build = [join(root, "scripts/build/build.ts"), "--outdir", join(own, "dist")];
  execFileSync(process.execPath, build, { stdio: ["ignore", "ignore", "inherit"] });
}
const dist = options.dist ?? join(own ?? "", "dist");
const read = (name: string): Buffer => readFileSync(join(dist, name));
const packages = JSON.parse(read("packages.json").toString()) as string[];

const licences = [
  file("LICENSE", readFileSync(join(root, "LICENSE"))),
  file("THIRD-PARTY-LICENSES", collectLicences(root, packages)),
];
const bill = file(`${project.name}.cdx.json`, makeBill(root, project, packages, seconds));
const program = read("entrypoint");
const bundle = [
  file("entrypoint.js", read("entrypoint.js"), 0o755),
  file("entrypoint.js.map", read("entrypoint.js.map")),
  file(parserFile, read(parserFile)),
];
const documents = [...licences, bill];

const name = `${project.name}-${project.version}`;
const artefacts = [
  makeArchive(
    `${name}-linux-${machine().elf}`,
    [file("entrypoint", program, 0o755), ...documents],
    seconds,
  ),
  makeArchive(
    `${name}-bundle`,
    [...bundle, file("package.json", '{ "type": "commonjs" }\n'), ...documents],
    seconds,
  ),
  makeWheel(project, program, description, { licences, bill }, seconds),
  makeNpmPackage(project, [...bundle, ...documents], description),
  makeImage(project, program, documents, commit, seconds),
  { name: `${name}.cdx.json`, content: bill.content },
];
const sums = artefacts
  .map((one) => `${createHash("sha256").update(one.content).digest("hex")}  ${one.name}\n`)
  .join("");

rmSync(options.outdir, { recursive: true, force: true });
mkdirSync(options.outdir, { recursive: true });
for (const one of [...artefacts, { name: "SHA256SUMS", content: Buffer.from(sums) }]) {
  writeFileSync(join(options.outdir, one.name), one.content);
  console.log(`${(one.content.length / 1e6).toFixed(1).padStart(6)} MB  ${one.name}`);
}

/** What git prints; null where this is no repository. */
function git(...words: readonly string[]): string | null {
  try {
    return execFileSync("git", words, { cwd: root, encoding: "utf8", stdio: "pipe" }).trim();
  } catch {
    return null;
  }
}
