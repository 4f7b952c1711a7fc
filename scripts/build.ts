// Bundles entrypoint.ts and all that it needs into one file, dist/entrypoint.js, which runs on
// any Node >= 20.20 with no node_modules beside it. CommonJS, since that starts faster than ESM and needs
// no package.json where the file is copied to.

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
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";
import { sourceMapAsset } from "../src/source-map.ts";
import { lazyFile } from "../src/lazy-text.ts";
import { parserFile } from "../src/sql/parser-wasm.ts";
import { createLazyModules } from "./lazy-modules.ts";
import { buildSingleExecutable, snapshotBanner } from "./single-executable.ts";

const root = join(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
};

// pg can use libpq through a native add-on or Cloudflare's sockets, pino can log in a thread of its own, and commander can start a subcommand that is a program
// of its own; nothing of that is done here.
const absent: Plugin = {
  name: "absent",
  setup(bundler) {
    bundler.onResolve({ filter: /^(pg-native|pg-cloudflare|thread-stream)$/ }, ({ path }) => ({
      path,
      namespace: "absent",
    }));
    bundler.onResolve({ filter: /^node:child_process$/ }, ({ path, importer }) =>
      importer.includes("/node_modules/commander/") ? { path, namespace: "absent" } : undefined,
    );
    // The machine's name, for a field that our lines do not have: it would stay in the snapshot.
    bundler.onResolve({ filter: /^node:os$/ }, ({ path, importer }) =>
      importer.includes("/node_modules/pino/") ? { path, namespace: "nameless" } : undefined,
    );
    bundler.onLoad({ filter: /.*/, namespace: "nameless" }, () => ({
      contents: 'exports.hostname = () => "";',
    }));
    bundler.onLoad({ filter: /.*/, namespace: "absent" }, () => ({
      contents: "module.exports = {};",
    }));
  },
};

// The loader of PostgreSQL's parser looks for its WebAssembly beside its own source, which is not there in a bundle.
const parserLoader: Plugin = {
  name: "parser-loader",
  setup(bundler) {
    bundler.onLoad({ filter: /libpg-query\/wasm\/libpg-query\.js$/ }, ({ path }) => ({
      contents: `${readFileSync(path, "utf8")}
        const { readParserWasm } = require(${JSON.stringify(join(root, "src/sql/parser-wasm.ts"))});
        module.exports = () => {
          const wasm = readParserWasm(__dirname);
          return PgQueryModule({
            instantiateWasm: (imports, done) =>
              void WebAssembly.instantiate(wasm, imports).then(({ instance }) => done(instance)),
          });
        };`,
    }));
  },
};

// pg asks Web Crypto for each hash of a password: see src/database/password-hashes.ts.
const passwordHashes: Plugin = {
  name: "password-hashes",
  setup(bundler) {
    bundler.onLoad({ filter: /\/pg\/lib\/crypto\/utils\.js$/ }, () => ({
      contents: `module.exports = require(${JSON.stringify(join(root, "src/database/password-hashes.ts"))});`,
    }));
  },
};

const { values: options } = parseArgs({
  options: {
    outdir: { type: "string", default: join(root, "dist") },
    explain: { type: "boolean" },
  },
});
const dist = options.outdir;
mkdirSync(dist, { recursive: true });
// The checkout's package.json says "module"; the bundle is not one.
writeFileSync(join(dist, "package.json"), '{ "type": "commonjs" }\n');

// Built beside, then renamed: a process that starts meanwhile finds the old file or the new one, whole. The paths in
// the source maps hold in both places.
const staging = `${dist}.${process.pid}`;
process.once("exit", () => rmSync(staging, { recursive: true, force: true }));
const common = {
  entryPoints: [join(root, "entrypoint.ts")],
  bundle: true,
  minify: true,
  platform: "node",
  format: "cjs",
  sourcesContent: false,
  legalComments: "none",
  define: { ENTRYPOINT_VERSION: JSON.stringify(version) },
  plugins: [absent, parserLoader, passwordHashes],
  logLevel: "warning",
} satisfies BuildOptions;
const { metafiles } = await buildBundle(
  { outfile: join(staging, "entrypoint.js"), target: "node20.20", sourcemap: "linked" },
  null,
);
chmodSync(join(staging, "entrypoint.js"), 0o755);
const { files } = await buildBundle(
  {
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
// Loaded before the snapshot is taken, and so in it.
const { commands: loaded = "", ...later } = files;
buildSingleExecutable(
  join(staging, "entrypoint"),
  { "main.js": join(staging, "snapshot.js"), [lazyFile("commands")]: loaded },
  {
    [sourceMapAsset]: join(staging, "entrypoint.map"),
    [parserFile]: join(staging, parserFile),
    ...Object.fromEntries(Object.entries(later).map(([name, file]) => [lazyFile(name), file])),
  },
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

/** With the maps of its lazy modules in its own, for src/source-map.ts. These are written to `directory`, where there is one. */
async function buildBundle(
  own: Pick<BuildOptions, "banner" | "sourcemap" | "target"> & { readonly outfile: string },
  directory: string | null,
): Promise<{ metafiles: Metafile[]; files: Readonly<Record<string, string>> }> {
  const lazy = createLazyModules({ ...common, ...own }, root, staging, directory);
  const { metafile } = await build({
    ...common,
    ...own,
    plugins: [lazy.plugin, ...common.plugins],
    metafile: true,
  });
  const file = `${own.outfile}.map`;
  const map = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...map, lazy: lazy.maps }));
  return { metafiles: [metafile, ...lazy.metafiles], files: lazy.files };
}

const size = (file: string): number => statSync(join(dist, file)).size;
console.log(`${dist}/entrypoint.js: ${Math.round(size("entrypoint.js") / 1000)} KB`);
console.log(`${dist}/entrypoint: ${Math.round(size("entrypoint") / 1e6)} MB`);

if (options.explain === true) {
  const shares = new Map<string, number>();
  const inputs = metafiles
    .flatMap(({ outputs }) => Object.values(outputs))
    .flatMap((output) => Object.entries(output.inputs))
    // The text of a lazy module, which has a metafile of its own.
    .filter(([path]) => !path.startsWith("lazy:"));
  for (const [path, { bytesInOutput }] of inputs) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? "src";
    shares.set(name, (shares.get(name) ?? 0) + bytesInOutput);
  }
  for (const [name, bytes] of [...shares].toSorted((a, b) => b[1] - a[1])) {
    console.log(`${String(bytes).padStart(8)}  ${name}`);
  }
}
