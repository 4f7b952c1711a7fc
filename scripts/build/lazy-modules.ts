// Puts a module that only `await import()` imports into the bundle as text: V8 does not parse it before it is needed, and the
// collector can free all of it with the last reference to the module. (esbuild's own output is a function for each module,
// which V8 compiles at every start, and a cache that keeps the module for good.) The text gets the modules that the rest of the
// bundle has too, since some have a state, and a class must exist once. For the single executable the texts are files: all
// that is in the bundle is in the snapshot, read at every start and kept.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";

import { lazyFile } from "../../src/runtime/snapshot.ts";

export interface LazyModules {
  readonly plugin: Plugin;
  /** The source map of each text, by its name, which src/runtime/source-map.ts finds behind `#` in a stack. */
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
 * are written to the folder `directory`, for src/runtime/snapshot.ts to read; null keeps them in the bundle.
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
    // They were met in the order in which callbacks ended.
    return { text: find(".js"), shared: [...shared].toSorted(([a], [b]) => (a < b ? -1 : 1)) };
  }

  /** The expression that gives the text, and the imports that it needs. */
  function place(text: string, name: string): { imports: string; expression: string } {
    if (directory === null) return { imports: "", expression: JSON.stringify(text) };
    const file = join(directory, lazyFile(name));
    mkdirSync(directory, { recursive: true });
    writeFileSync(file, text);
    files[name] = file;
    const reader = JSON.stringify(join(root, "src/runtime/snapshot.ts"));
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
        // Two of the project's own may be called the same in different folders.
        const name = path.startsWith("src/")
          ? path.replace(/^src\/|\.ts$/g, "").replaceAll("/", "-")
          : (pluginData as string).replace(/^.*\/|\.ts$/g, "");
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
        // The namespace has a `then` of its own, so that each `import()` calls it.
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
