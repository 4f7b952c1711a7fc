// Bundles entrypoint.ts and all that it needs into one file, dist/entrypoint.js, which runs on any Node >= 20.20 with no
// node_modules beside it: CommonJS, since that starts faster than ESM and needs no package.json where the file is copied to.
// Then makes the single executable of it, dist/entrypoint (README.md beside this file).

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build, type BuildOptions, type Metafile } from "esbuild";
import { parserFile } from "../../src/postgres/parser-wasm.ts";
import { lazyFile } from "../../src/runtime/snapshot.ts";
import { sourceMapAsset } from "../../src/runtime/source-map.ts";
import { buildSingleExecutable, snapshotBanner } from "./executable.ts";
import { createLazyModules } from "./lazy-modules.ts";
import { createStandIns } from "./stand-ins.ts";

const root = join(import.meta.dirname, "../..");
/** The names of the packages whose code is in the bundle. */
const packagesFile = "packages.json";
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
};

const { values: options } = parseArgs({
  options: {
    outdir: { type: "string", default: join(root, "dist") },
    explain: { type: "boolean" },
  },
});
const dist = resolve(options.outdir);
mkdirSync(dist, { recursive: true });
// The checkout's package.json says "module"; the bundle is not one.
writeFileSync(join(dist, "package.json"), '{ "type": "commonjs" }\n');

// Built beside dist, then renamed: a process that starts meanwhile finds the old file or the new one, whole. The paths in
// the source maps are right in both places.
const staging = `${dist}.${process.pid}`;
const warned = new Set<string>();
process.once("exit", () => rmSync(staging, { recursive: true, force: true }));
const common = {
  bundle: true,
  minify: true,
  platform: "node",
  format: "cjs",
  sourcesContent: false,
  legalComments: "none",
  define: {
    ENTRYPOINT_VERSION: JSON.stringify(version),
    ENTRYPOINT_COMMIT: JSON.stringify(process.env["ENTRYPOINT_COMMIT"] || describeCommit()),
  },
  logLevel: "warning",
} satisfies BuildOptions;
const { metafiles } = await buildBundle(
  {
    entryPoints: [join(root, "entrypoint.ts")],
    outfile: join(staging, "entrypoint.js"),
    target: "node20.20",
    sourcemap: "linked",
  },
  null,
);
chmodSync(join(staging, "entrypoint.js"), 0o755);
const { files } = await buildBundle(
  {
    entryPoints: [join(import.meta.dirname, "snapshot.ts")],
    outfile: join(staging, "snapshot.js"),
    target: "node26",
    sourcemap: "external",
    banner: { js: snapshotBanner },
  },
  staging,
);
copyFileSync(
  fileURLToPath(import.meta.resolve("libpg-query/wasm/libpg-query.wasm")),
  join(staging, parserFile),
);
renameSync(join(staging, "snapshot.js.map"), join(staging, "entrypoint.map"));
// The first two are loaded before the snapshot is taken.
const { "commands-commands": commands = "", rehearsal = "", ...later } = files;
buildSingleExecutable(
  join(staging, "entrypoint"),
  {
    version,
    sources: {
      "main.js": join(staging, "snapshot.js"),
      [lazyFile("commands-commands")]: commands,
      [lazyFile("rehearsal")]: rehearsal,
    },
    rehearsal: lazyFile("rehearsal"),
    assets: {
      [sourceMapAsset]: join(staging, "entrypoint.map"),
      [parserFile]: join(staging, parserFile),
      ...Object.fromEntries(Object.entries(later).map(([name, file]) => [lazyFile(name), file])),
    },
  },
  { warn },
);
for (const file of [
  "entrypoint.js.map",
  parserFile,
  "entrypoint.js",
  "entrypoint.map",
  "entrypoint",
]) {
  renameSync(join(staging, file), join(dist, file));
}

/** With the maps of its lazy modules in its own, for src/runtime/source-map.ts. These are written to `directory`, where there is one. */
async function buildBundle(
  own: Pick<BuildOptions, "banner" | "entryPoints" | "sourcemap" | "target"> & {
    readonly outfile: string;
  },
  directory: string | null,
): Promise<{ metafiles: Metafile[]; files: Readonly<Record<string, string>> }> {
  const standIns = createStandIns(root, warn);
  const settings = { ...common, ...own, plugins: [standIns.plugin] };
  const lazy = createLazyModules(settings, root, staging, directory);
  const plugins = [lazy.plugin, ...settings.plugins];
  const { metafile } = await build({ ...settings, plugins, metafile: true });
  standIns.check();
  refuseTwice([metafile, ...lazy.metafiles]);
  const file = `${own.outfile}.map`;
  const map = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...map, lazy: sorted(lazy.maps) }));
  return { metafiles: [metafile, ...lazy.metafiles], files: sorted(lazy.files) };
}

function inputsOf(all: readonly Metafile[]) {
  return (
    all
      .flatMap(({ outputs }) => Object.values(outputs))
      .flatMap((output) => Object.entries(output.inputs))
      // The text of a lazy module, which has a metafile of its own.
      .filter(([path]) => !path.startsWith("lazy:"))
  );
}

/** Throws where an error of ours is in two texts: one of the one is no instance of the other. */
function refuseTwice(all: readonly Metafile[]): void {
  const paths = inputsOf(all).map(([path]) => path);
  const twice = paths.filter((path, index) => paths.indexOf(path) !== index);
  const hasError = (path: string) =>
    /^(?:export )?class \w+ extends \w+ \{/m.test(readFileSync(join(root, path), "utf8"));
  const found = twice.find((path) => path.startsWith("src/") && hasError(path));
  if (found !== undefined) {
    throw new Error(`the error in ${found} would exist twice: import it where every start does`);
  }
}

/** By name: lazy modules are met in the order in which callbacks end. */
function sorted<T>(byName: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(byName).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** The commit of the checkout, with `-dirty` where files differ from it. */
function describeCommit(): string {
  const words = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
  const { stdout, status } = spawnSync("git", words, { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trim() : "unknown";
}

/** Reports what the build leaves out; once, though it makes two bundles. */
function warn(line: string): void {
  if (warned.has(line)) return;
  warned.add(line);
  console.warn(`warning: ${line}`);
}

const size = (file: string): number => statSync(join(dist, file)).size;
console.log(`${dist}/entrypoint.js: ${Math.round(size("entrypoint.js") / 1000)} KB`);
console.log(`${dist}/entrypoint: ${Math.round(size("entrypoint") / 1e6)} MB`);

const shares = new Map<string, number>();
const inputs = inputsOf(metafiles);
for (const [path, { bytesInOutput }] of inputs) {
  const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? "src";
  shares.set(name, (shares.get(name) ?? 0) + bytesInOutput);
}
// For the release, which carries their licences.
const packages = [...shares.keys()].filter((name) => name !== "src").toSorted();
writeFileSync(join(dist, packagesFile), JSON.stringify(packages));

if (options.explain === true) {
  for (const [name, bytes] of [...shares].toSorted((a, b) => b[1] - a[1])) {
    console.log(`${String(bytes).padStart(8)}  ${name}`);
  }
}
