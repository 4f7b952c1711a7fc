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
import { build, type BuildOptions, type Plugin } from "esbuild";
import { sourceMapAsset } from "../src/source-map.ts";
import { parserFile } from "../src/sql/parser-wasm.ts";
import { buildSingleExecutable, snapshotBanner, snapshotFooter } from "./single-executable.ts";

const root = join(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
};

// pg can use libpq through a native add-on or Cloudflare's sockets, and pino can log in a thread of its own; nothing of
// that is done here.
const absent: Plugin = {
  name: "absent",
  setup(bundler) {
    bundler.onResolve({ filter: /^(pg-native|pg-cloudflare|thread-stream)$/ }, ({ path }) => ({
      path,
      namespace: "absent",
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
const common: BuildOptions = {
  entryPoints: [join(root, "entrypoint.ts")],
  bundle: true,
  minify: true,
  platform: "node",
  format: "cjs",
  sourcesContent: false,
  legalComments: "none",
  define: { ENTRYPOINT_VERSION: JSON.stringify(version) },
  plugins: [absent, parserLoader],
  logLevel: "warning",
};
const result = await build({
  ...common,
  outfile: join(staging, "entrypoint.js"),
  target: "node20.20",
  sourcemap: "linked",
  metafile: true,
});
chmodSync(join(staging, "entrypoint.js"), 0o755);
await build({
  ...common,
  outfile: join(staging, "snapshot.js"),
  target: "node26",
  sourcemap: "external",
  banner: { js: snapshotBanner },
  footer: { js: snapshotFooter },
});
copyFileSync(
  fileURLToPath(import.meta.resolve("libpg-query/wasm/libpg-query.wasm")),
  join(staging, parserFile),
);
renameSync(join(staging, "snapshot.js.map"), join(staging, "entrypoint.map"));
buildSingleExecutable(join(staging, "entrypoint"), join(staging, "snapshot.js"), {
  [sourceMapAsset]: join(staging, "entrypoint.map"),
  [parserFile]: join(staging, parserFile),
});
for (const file of [
  "entrypoint.js.map",
  parserFile,
  "entrypoint.js",
  "entrypoint.map",
  "entrypoint",
]) {
  renameSync(join(staging, file), join(dist, file));
}

const bytes = Object.entries(result.metafile.outputs).find(([path]) => path.endsWith(".js"))?.[1];
console.log(`${dist}/entrypoint.js: ${Math.round((bytes?.bytes ?? 0) / 1000)} KB`);
console.log(`${dist}/entrypoint: ${Math.round(statSync(join(dist, "entrypoint")).size / 1e6)} MB`);

if (options.explain === true) {
  const shares = new Map<string, number>();
  for (const [path, { bytesInOutput }] of Object.entries(bytes?.inputs ?? {})) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? "src";
    shares.set(name, (shares.get(name) ?? 0) + bytesInOutput);
  }
  for (const [name, size] of [...shares].toSorted((a, b) => b[1] - a[1])) {
    console.log(`${String(size).padStart(8)}  ${name}`);
  }
}
