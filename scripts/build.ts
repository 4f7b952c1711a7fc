// Bundles entrypoint.ts and all that it needs into one file, dist/entrypoint.js, which runs on
// any Node >= 20.20 with no node_modules beside it. CommonJS, since that starts faster than ESM and needs
// no package.json where the file is copied to.

import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
};

// pg can use libpq through a native add-on or Cloudflare's sockets; neither is here.
const absent: Plugin = {
  name: "absent",
  setup(bundler) {
    bundler.onResolve({ filter: /^(pg-native|pg-cloudflare)$/ }, ({ path }) => ({
      path,
      namespace: "absent",
    }));
    bundler.onLoad({ filter: /.*/, namespace: "absent" }, () => ({
      contents: "module.exports = {};",
    }));
  },
};

const dist = join(root, "dist");
mkdirSync(dist, { recursive: true });
// The checkout's package.json says "module"; the bundle is not one.
writeFileSync(join(dist, "package.json"), '{ "type": "commonjs" }\n');

// Built beside, then renamed: a process that starts meanwhile finds the old file or the new one, whole.
const staging = join(dist, `.build-${process.pid}`);
const result = await build({
  entryPoints: [join(root, "entrypoint.ts")],
  outfile: join(staging, "entrypoint.js"),
  bundle: true,
  minify: true,
  platform: "node",
  target: "node20.20",
  format: "cjs",
  sourcemap: "linked",
  sourcesContent: false,
  legalComments: "none",
  metafile: true,
  define: { ENTRYPOINT_VERSION: JSON.stringify(version) },
  plugins: [absent],
  logLevel: "warning",
});
chmodSync(join(staging, "entrypoint.js"), 0o755);
renameSync(join(staging, "entrypoint.js.map"), join(dist, "entrypoint.js.map"));
renameSync(join(staging, "entrypoint.js"), join(dist, "entrypoint.js"));
rmSync(staging, { recursive: true });

const bytes = Object.entries(result.metafile.outputs).find(([path]) => path.endsWith(".js"))?.[1];
console.log(`dist/entrypoint.js: ${Math.round((bytes?.bytes ?? 0) / 1000)} KB`);

if (process.argv.includes("--explain")) {
  const shares = new Map<string, number>();
  for (const [path, { bytesInOutput }] of Object.entries(bytes?.inputs ?? {})) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? "src";
    shares.set(name, (shares.get(name) ?? 0) + bytesInOutput);
  }
  for (const [name, size] of [...shares].toSorted((a, b) => b[1] - a[1])) {
    console.log(`${String(size).padStart(8)}  ${name}`);
  }
}
