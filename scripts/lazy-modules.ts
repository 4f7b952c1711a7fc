// What is imported by `await import()` alone stands in the bundle as text: V8 does not parse it before it is wanted, and
// whoever lets go of the module lets go of all of it, so that the collector can take it. (esbuild's own way is a function
// for each module, which V8 compiles at every start, and a cache that keeps what it has returned for good.) Modules that
// the rest of the bundle has as well are given to the text, since some have a state, and a class must be one.

import { join, relative, resolve } from "node:path";

import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";

export interface LazyModules {
  readonly plugin: Plugin;
  /** The source map of each text, by the name that src/source-map.ts finds in a stack behind `#`. */
  readonly maps: Record<string, unknown>;
  readonly metafiles: Metafile[];
}

/** For a build with these options, from the folder `root`, whose source maps are to be right in the folder `outdir`. */
export function createLazyModules(
  options: BuildOptions & { readonly plugins: Plugin[] },
  root: string,
  outdir: string,
): LazyModules {
  const maps: Record<string, unknown> = {};
  const metafiles: Metafile[] = [];

  /** The files of the bundle without what is imported dynamically. */
  async function listEager(): Promise<Set<string>> {
    const withoutLazy: Plugin = {
      name: "without-lazy",
      setup(bundler) {
        bundler.onResolve({ filter: /.*/ }, ({ kind, path }) =>
          kind === "dynamic-import" ? { path, external: true } : undefined,
        );
      },
    };
    const { metafile } = await build({
      ...options,
      write: false,
      metafile: true,
      absWorkingDir: root,
      plugins: [withoutLazy, ...options.plugins],
    });
    return new Set(Object.keys(metafile.inputs).map((path) => join(root, path)));
  }

  async function buildText(entry: string, name: string, eager: Set<string>) {
    const shared = new Map<string, string>();
    const share: Plugin = {
      name: "share",
      setup(bundler) {
        bundler.onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
          const file = resolve(resolveDir, path);
          if (kind === "entry-point" || !eager.has(file)) return undefined;
          shared.set(relative(root, file), file);
          return { path: relative(root, file), external: true };
        });
      },
    };
    const { outputFiles, metafile } = await build({
      ...options,
      banner: {},
      entryPoints: [entry],
      outfile: join(outdir, `${name}.js`),
      absWorkingDir: root,
      write: false,
      metafile: true,
      sourcemap: "external",
      plugins: [share, ...options.plugins],
    });
    const find = (end: string) => outputFiles.find(({ path }) => path.endsWith(end))?.text ?? "";
    maps[name] = JSON.parse(find(".map"));
    metafiles.push(metafile);
    return { text: find(".js"), shared: [...shared] };
  }

  const plugin: Plugin = {
    name: "lazy-modules",
    setup(bundler) {
      const eager = listEager();
      bundler.onResolve({ filter: /.*/ }, async ({ kind, path, resolveDir }) => {
        if (kind !== "dynamic-import") return undefined;
        const found = await bundler.resolve(path, { kind: "import-statement", resolveDir });
        if (found.external) return found;
        // Relative, since it is in the source map.
        return { path: relative(root, found.path), namespace: "lazy", pluginData: path };
      });
      bundler.onLoad({ filter: /.*/, namespace: "lazy" }, async ({ path, pluginData }) => {
        const name = (pluginData as string).replace(/^.*\/|\.ts$/g, "");
        const { text, shared } = await buildText(join(root, path), name, await eager);
        const imports = shared.map(
          ([, file], index) => `import * as shared${index} from ${JSON.stringify(file)};`,
        );
        const entries = shared.map(([id], index) => `${JSON.stringify(id)}: shared${index}`);
        // What `import()` gives has a `then` of its own, so that it is called at each one.
        return {
          resolveDir: root,
          contents: `import { compileFunction } from "node:vm";
            ${imports.join("\n")}
            const shared = { ${entries.join(", ")} };
            export function then(resolve) {
              const load = compileFunction(
                ${JSON.stringify(text)},
                ["require", "module", "exports", "__dirname"],
                { filename: __filename + "#${name}" },
              );
              const module = { exports: {} };
              load((id) => shared[id] ?? require(id), module, module.exports, __dirname);
              resolve(module.exports);
            }`,
        };
      });
    },
  };
  return { plugin, maps, metafiles };
}
