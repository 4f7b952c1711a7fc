// The modules of packages that the bundle replaces or leaves out. Each replacement rests on how a package is written today:
// the build checks that, warns where the program only loses time or bytes, and fails where it would do something wrong.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import type { PartialMessage, Plugin } from "esbuild";

import * as passwordHashes from "../../src/runtime/password-hashes.ts";

/** What a package gets where it imports a module. */
interface StandIn {
  readonly importer: string;
  readonly module: string;
  readonly contents: string;
  /** A use of the module that the contents do not allow for. */
  readonly refused?: RegExp;
  /** What follows if the package does not import the module any longer, and whether the program is wrong then. */
  readonly unmet: { readonly wrong: boolean; readonly result: string };
}

const empty = "module.exports = {};";
const needless = { wrong: false, result: "its stand-in can be removed" };

const standIns: readonly StandIn[] = [
  // libpq through a native add-on, Cloudflare's sockets, a thread that writes the log: nothing of that is used here.
  { importer: "pg", module: "pg-native", contents: empty, unmet: needless },
  { importer: "pg", module: "pg-cloudflare", contents: empty, unmet: needless },
  { importer: "pino", module: "thread-stream", contents: empty, unmet: needless },
  // A pool of connections, which pg makes a class of as it is loaded; entrypoint has one connection.
  { importer: "pg", module: "pg-pool", contents: "module.exports = class {};", unmet: needless },
  // ~/.pgpass, which src/postgres/password-file.ts reads as libpq does.
  { importer: "pg", module: "pgpass", contents: empty, unmet: needless },
  // Starts a subcommand that is a program of its own; ours are not.
  {
    importer: "commander",
    module: "node:child_process",
    contents: empty,
    refused: /\bchildProcess\.(?!spawn\b)\w+/,
    unmet: {
      wrong: false,
      result: "if it does by another name, each start of entrypoint.js loads it, which costs 2 ms",
    },
  },
  // For a field that our lines do not have.
  {
    importer: "pino",
    module: "node:os",
    contents: 'exports.hostname = () => "";',
    refused: /\bos\.(?!hostname\b)\w+/,
    unmet: {
      wrong: true,
      result:
        "if it does by another name, the snapshot carries the name of the machine that builds it",
    },
  },
];

const hashes = "pg/lib/crypto/utils.js";
const ownHashes = "the bundle has pg's own hashes, which costs 3 ms at each start with a password";
const parser = "libpg-query/wasm/libpg-query.js";

export interface StandIns {
  /** For every part of one bundle. */
  readonly plugin: Plugin;
  /** After the build of all parts. @throws where a module that has to be replaced has not been met. */
  check(): void;
}

/** @param root the checkout. */
export function createStandIns(root: string, warn: (line: string) => void): StandIns {
  const met = new Set<string>();
  const source = (path: string) => JSON.stringify(join(root, path));
  const isOf = (file: string, name: string) => file.includes(`/node_modules/${name}/`);
  const plugin: Plugin = {
    name: "stand-ins",
    setup(bundler) {
      for (const standIn of standIns) {
        const { importer, module, contents, refused } = standIn;
        const namespace = `stand-in:${importer}`;
        bundler.onResolve({ filter: new RegExp(`^${module}$`) }, ({ path, importer: file }) => {
          if (!isOf(file, importer)) return undefined;
          met.add(nameOf(standIn));
          const use = refused?.exec(readFileSync(file, "utf8"))?.[0];
          const text = `${importer} uses ${use} of ${module}, which its stand-in lacks`;
          return use === undefined ? { path, namespace } : { errors: [{ text }] };
        });
        bundler.onLoad({ filter: new RegExp(`^${module}$`), namespace }, () => ({ contents }));
      }
      bundler.onLoad({ filter: pathEnd(hashes) }, ({ path }) => {
        met.add(hashes);
        const differences = compareHashes(path);
        if (differences.length === 0) {
          return {
            contents: `module.exports = require(${source("src/runtime/password-hashes.ts")});`,
          };
        }
        warn(`${ownHashes}: ${differences.join(", ")}`);
        return undefined;
      });
      // It looks for its WebAssembly beside its own source, which is not there in a bundle.
      bundler.onLoad({ filter: pathEnd(parser) }, ({ path }) => {
        met.add(parser);
        const text = readFileSync(path, "utf8");
        const errors: PartialMessage[] = ["PgQueryModule", "instantiateWasm"]
          .filter((name) => !text.includes(name))
          .map((name) => ({ text: `${parser} has no ${name}, by which it gets its WebAssembly` }));
        const contents = `${text}
          const { readParserWasm } = require(${source("src/postgres/parser-wasm.ts")});
          module.exports = () => {
            const wasm = readParserWasm(__dirname);
            return PgQueryModule({
              instantiateWasm: (imports, done) =>
                void WebAssembly.instantiate(wasm, imports).then(({ instance }) => done(instance)),
            });
          };`;
        return { contents, errors };
      });
    },
  };
  return {
    plugin,
    check() {
      if (!met.has(parser)) {
        throw new Error(`the bundle has no ${parser}: lint would not find its WebAssembly`);
      }
      if (!met.has(hashes)) warn(`${ownHashes}: there is no ${hashes}`);
      for (const standIn of standIns) {
        if (met.has(nameOf(standIn))) continue;
        const { importer, module, unmet } = standIn;
        const line = `${importer} no longer imports ${module}: ${unmet.result}`;
        if (unmet.wrong) throw new Error(line);
        warn(line);
      }
    },
  };
}

function nameOf({ importer, module }: StandIn): string {
  return `${importer} ${module}`;
}

/** How the exports of pg's file `path` differ from ours, one phrase each; none where ours can stand in for them. */
function compareHashes(path: string): string[] {
  let theirs: Readonly<Record<string, unknown>>;
  try {
    theirs = createRequire(path)(path) as typeof theirs;
  } catch (error) {
    return [`it cannot be loaded: ${String(error)}`];
  }
  const ours: typeof theirs = passwordHashes;
  const kindOf = (value: unknown) => (value === undefined ? "nothing" : `a ${typeof value}`);
  return [...new Set([...Object.keys(theirs), ...Object.keys(ours)])]
    .filter((name) => typeof ours[name] !== typeof theirs[name])
    .map((name) => `its ${name} is ${kindOf(theirs[name])}, ours ${kindOf(ours[name])}`);
}

function pathEnd(path: string): RegExp {
  return new RegExp(`/node_modules/${path.replaceAll(".", "\\.")}$`);
}
