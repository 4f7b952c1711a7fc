// What is imported by `await import()` alone stands in the bundle as text: V8 does not parse it before it is wanted, and
// whoever lets go of the module lets go of all of it, so that the collector can take it. (esbuild's own way is a function
// for each module, which V8 compiles at every start, and a cache that keeps what it has returned for good.) Modules that
// the rest of the bundle has as well are given to the text, since some have a state, and a class must be one.
//
// For the single executable the texts are files, and so are those within them: what is in the bundle is in the snapshot, and
// what is in the snapshot is read at every start and kept.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";

import { lazyFile } from "../src/lazy-text.ts";

export interface LazyModules {
  readonly plugin: Plugin;
  /** The source map of each text, by the name that src/source-map.ts finds in a stack behind `#`. */
  readonly maps: Record<string, unknown>;
  /** The file of each text, by the same name; none where they stand in the bundle. */
  readonly files: Record<string, string>;
  readonly metafiles: Metafile[];
}

type Options = BuildOptions & { readonly plugins: Plugin[] };

/** Whether a file of the bundle is an ES module or a CommonJS one, by its path. */
type Formats = ReadonlyMap<string, "cjs" | "esm" | undefined>;

/**
 * For a build with these options, from the folder `root`, whose source maps are to be right in the folder `outdir`. The texts
 * are written to the folder `directory`, for src/lazy-text.ts to read; null keeps them in the bundle.
 */
export function createLazyModules(
  options: Options,
  root: string,
  outdir: string,
  directory: string | null,
): LazyModules {
  const maps: Record<string, unknown> = {};
  const files: Record<string, string> = {};
  const metafiles: Metafile[] = [];

  /** The files of a bundle without what is imported dynamically. */
  async function listEager(entryPoints: BuildOptions["entryPoints"]): Promise<Formats> {
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
      ...(entryPoints === undefined ? {} : { entryPoints }),
      write: false,
      metafile: true,
      absWorkingDir: root,
      plugins: [withoutLazy, ...options.plugins],
    });
    const inputs = Object.entries(metafile.inputs);
    return new Map(inputs.map(([path, { format }]) => [join(root, path), format]));
  }

  async function buildText(entry: string, name: string, outer: Formats) {
    const shared = new Map<string, string>();
    const share: Plugin = {
      name: "share",
      setup(bundler) {
        bundler.onResolve({ filter: /.*/ }, async ({ kind, path, resolveDir, pluginData }) => {
          if (kind === "entry-point" || kind === "dynamic-import" || pluginData === share)
            return undefined;
          // A file of the same name as a module of Node's is not meant.
          if (path.startsWith("node:")) return undefined;
          const found = await bundler.resolve(path, { kind, resolveDir, pluginData: share });
          if (found.external || !outer.has(found.path)) return undefined;
          const id = relative(root, found.path);
          shared.set(id, found.path);
          return { path: id, external: true };
        });
      },
    };
    const inner =
      directory === null
        ? []
        : [lazily(async () => new Map([...outer, ...(await listEager([entry]))]))];
    const { outputFiles, metafile } = await build({
      ...options,
      banner: {},
      entryPoints: [entry],
      outfile: join(outdir, `${name}.js`),
      absWorkingDir: root,
      write: false,
      metafile: true,
      sourcemap: "external",
      plugins: [share, ...inner, ...options.plugins],
    });
    const find = (end: string) => outputFiles.find(({ path }) => path.endsWith(end))?.text ?? "";
    maps[name] = JSON.parse(find(".map"));
    metafiles.push(metafile);
    return { text: find(".js"), shared: [...shared] };
  }

  /** The expression that gives the text, and what it wants to be imported. */
  function place(text: string, name: string): { imports: string; expression: string } {
    if (directory === null) return { imports: "", expression: JSON.stringify(text) };
    const file = join(directory, lazyFile(name));
    mkdirSync(directory, { recursive: true });
    writeFileSync(file, text);
    files[name] = file;
    const reader = JSON.stringify(join(root, "src/lazy-text.ts"));
    return {
      imports: `import { readLazyText } from ${reader};`,
      expression: `readLazyText(${JSON.stringify(name)})`,
    };
  }

  const lazily = (listOuter: () => Promise<Formats>): Plugin => ({
    name: "lazy-modules",
    setup(bundler) {
      const outer = listOuter();
      bundler.onResolve({ filter: /.*/ }, async ({ kind, path, resolveDir }) => {
        if (kind !== "dynamic-import") return undefined;
        const found = await bundler.resolve(path, { kind: "import-statement", resolveDir });
        if (found.external) return found;
        // Relative, since it is in the source map.
        return { path: relative(root, found.path), namespace: "lazy", pluginData: path };
      });
      bundler.onLoad({ filter: /.*/, namespace: "lazy" }, async ({ path, pluginData }) => {
        const name = (pluginData as string).replace(/^.*\/|\.ts$/g, "");
        const { text, shared } = await buildText(join(root, path), name, await outer);
        const { imports, expression } = place(text, name);
        const sharedImports = shared.map(
          ([, file], index) => `import * as shared${index} from ${JSON.stringify(file)};`,
        );
        const formats = await outer;
        const entries = shared.map(([id, file], index) => {
          const value = formats.get(file) === "esm" ? "" : ".default";
          return `${JSON.stringify(id)}: shared${index}${value}`;
        });
        // What `import()` gives has a `then` of its own, so that it is called at each one.
        return {
          resolveDir: root,
          contents: `import { compileFunction } from "node:vm";
            ${imports}
            ${sharedImports.join("\n")}
            const shared = { ${entries.join(", ")} };
            export function then(resolve) {
              const load = compileFunction(
                ${expression},
                ["require", "module", "exports", "__dirname", "__filename"],
                { filename: __filename + "#${name}" },
              );
              const module = { exports: {} };
              load((id) => shared[id] ?? require(id), module, module.exports, __dirname, __filename);
              resolve(module.exports);
            }`,
        };
      });
    },
  });

  return { plugin: lazily(() => listEager(undefined)), maps, files, metafiles };
}
