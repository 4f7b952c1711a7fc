// Makes dist/entrypoint of the bundle: a copy of the Node that runs this, with a start-up snapshot of the bundle.
// Guarantees: the executable has run once; what makes it small and fast is left out, with a warning, where this Node does not
// allow it; the snapshot carries nothing of the machine: it is taken without environment, in UTC, in a folder without a name.

import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { cutParts, describeSections, linkAtomics, stripSymbols, type Span } from "./elf.ts";
import { intlProgram } from "./intl.ts";
import {
  dropCodeCache,
  dropLanguages,
  dropOwnCode,
  dropOwnSnapshots,
  dropWasm,
  type Emptied,
} from "./shrink.ts";

/** The first Node that has node:ffi without a flag. `--build-sea` is older. */
const oldestNode = [26, 9] as const;

/** Before the bundle in the snapshot, for this machine's paths and the process's id. Node sets its own at each start. */
export const snapshotBanner = `process.execPath = process.argv[0] = "";
for (const [name, value] of Object.entries({ argv0: "", pid: 1 })) Object.defineProperty(process, name, { value });
`;

/** Those of the process that takes the snapshot, for the same bytes in each build: nothing is random, and nothing runs beside it. */
const repeatableFlags = [
  "--predictable",
  "--single-threaded",
  "--no-memory-reducer",
  "--hash-seed=1",
  "--random-seed=1",
];

/**
 * V8's, for a process that lives for some 50 ms. It compiles functions and patterns only once they have run often, as those do
 * that read hundreds of revisions. It keeps the hashes of the snapshot's strings: a new random seed at each start guards a
 * server whose clients choose the keys of its tables.
 */
export const usualFlags = [
  "--no-rehash-snapshot",
  "--regexp-tier-up-ticks=20",
  "--baseline-batch-compilation-threshold=65536",
  "--invocation-count-for-maglev=1500",
];

/** Those of Node's own modules that a start may load: assets, foreign functions and TLS. */
const laterModules =
  /^(?:sea|ffi|internal\/ffi.*|tls|internal\/tls\/.*|internal\/js_stream_socket)$/;

/** What it costs to do without: README.md beside this file says how that was measured. */
const costs = {
  symbols: "33 MB of file, 5.7 MB of the compressed image",
  atomics: "a library, libatomic.so.1, that slim images lack",
  languages: "30 MB of file, 12.1 MB of the compressed image",
  ownCode: "3.7 MB of file, 1.6 MB of the compressed image",
  ownSnapshots: "2.6 MB of file, 0.8 MB of the compressed image",
  wasm: "1.4 MB of the compressed image",
  cut: "40 MB of file",
  sections: "those who analyse it: their tools fail",
  flags: "some of the 7 ms that all flags together save at each start",
  rehearsal: "11 ms at each start",
  codeCache: "4 ms at each start, 4.3 MB of memory, 1.9 MB of the compressed image",
  everything: "26 ms at each start, 3.8 MB of memory, 7.4 MB of the compressed image",
};

/** For whatever is run here, on a machine that may be slow or emulated. */
const limitMs = 300_000;

export interface Program {
  /** What `--version` prints. */
  readonly version: string;
  /** The bundle, as `main.js`, and what it reads while it runs: files, by the names that it has for them. */
  readonly sources: Readonly<Record<string, string>>;
  /** The name of the source that rehearses a start: the bundle can do without it, and removes it when it has rehearsed. */
  readonly rehearsal: string | null;
  /** Files for `sea.getAsset`, by name. */
  readonly assets: Readonly<Record<string, string>>;
}

export interface MakeOptions {
  /** Called with one line for each thing that is left out: which, what that costs, and why. */
  readonly warn: (line: string) => void;
  /** The Node that is copied. */
  readonly node?: string;
  readonly flags?: readonly string[];
  /** What Node has to print without ICU's languages as it does with them. */
  readonly intl?: string;
  /** How long the snapshot may take with the rehearsal, which itself takes less than a second. */
  readonly rehearsalLimitMs?: number;
}

/**
 * Writes the executable `output`, which has run once when this returns.
 * @throws where this Node is too old to make one, or what it makes does not run, even without all that is optional.
 */
export function buildSingleExecutable(
  output: string,
  { version, sources, rehearsal, assets }: Program,
  {
    warn,
    node = process.execPath,
    flags = usualFlags,
    intl = intlProgram,
    rehearsalLimitMs = 120_000,
  }: MakeOptions,
): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])) {
    throw new Error(
      `the single executable needs Node ${oldestNode.join(".")} or newer, this is ${process.versions.node}; run: npm run build, or build the image with a newer NODE_IMAGE`,
    );
  }
  const whole = readFileSync(node);
  attempt("optimised", costs.everything, placeOptimised, placePlain);

  function placeOptimised(): void {
    const strip = () => stripSymbols(whole);
    const stripped = attempt("stripped", costs.symbols, strip, () => whole);
    const link = () => linkAtomics(stripped);
    const linked = attempt("free of libatomic", costs.atomics, link, () => stripped);
    const spans: Span[] = [];
    const free = (what: string, cost: string, from: Buffer, act: () => Emptied): Buffer =>
      attempt(
        `freed of ${what}`,
        cost,
        () => {
          const emptied = act();
          spans.push(...emptied.spans);
          return emptied.program;
        },
        () => from,
      );
    const base = free("ICU's languages", costs.languages, linked, () => withoutLanguages(linked));
    const known = flags.filter((flag) => {
      const tryFlag = () => run(node, [flag, "--eval", "0"]) === "";
      return attempt(`run with ${flag}`, costs.flags, tryFlag, () => false);
    });
    const takePlain = () => takeSnapshot(base, known, false);
    const takeRehearsed = () => takeSnapshot(base, known, true);
    const taken =
      rehearsal === null
        ? takePlain()
        : attempt("rehearsed", costs.rehearsal, takeRehearsed, takePlain);
    const hashOf = (words: readonly string[]) => readHeader(words).subarray(12, 16);
    const small = free("Node's compiled modules", costs.codeCache, taken, () =>
      dropCodeCache(taken, base.length, laterModules, {
        compiled: hashOf(repeatableFlags),
        run: hashOf(known),
      }),
    );
    const smaller = free("compiled code of Node's own", costs.ownCode, small, () =>
      dropOwnCode(small, readHeader([]).subarray(0, 8), base.length),
    );
    const bare = free("Node's own snapshots", costs.ownSnapshots, smaller, () =>
      dropOwnSnapshots(smaller, process.versions.v8, base.length),
    );
    const drained = attempt(
      "freed of WebAssembly",
      costs.wasm,
      () => dropWasm(bare, base.length),
      () => bare,
    );
    const cut = () => cutParts(drained, spans);
    const short = attempt("cut where it is empty", costs.cut, cut, () => drained);
    const describe = () => describeSections(short, whole);
    place(attempt("described by section headers", costs.sections, describe, () => short));
  }

  /** @throws where a program would get another answer than from all of Node. */
  function withoutLanguages(program: Buffer): Emptied {
    const emptied = dropLanguages(program);
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-"));
    try {
      const smaller = join(directory, "node");
      writeFileSync(smaller, emptied.program, { mode: 0o755 });
      const [before, after] = [node, smaller].map((file) => run(file, ["--eval", intl]));
      if (before !== after) throw new Error("Node without them gives other answers");
      return emptied;
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  /** How V8 begins compiled code: a number, hashes of its version, of the source and of the flags. */
  function readHeader(execArgv: readonly string[]): Buffer {
    const read =
      'console.log(new vm.Script("0").createCachedData().subarray(0, 16).toString("hex"))';
    return Buffer.from(run(node, [...execArgv, "--eval", read]).trim(), "hex");
  }

  function placePlain(): void {
    place(takeSnapshot(whole, [], false));
  }

  /** What `act` returns or, where it throws and with a warning, `otherwise`. */
  function attempt<T>(what: string, cost: string, act: () => T, otherwise: () => T): T {
    try {
      return act();
    } catch (error) {
      warn(`the executable is not ${what}, which costs ${cost}: ${explain(error)}`);
      return otherwise();
    }
  }

  function takeSnapshot(base: Buffer, execArgv: readonly string[], rehearsed: boolean): Buffer {
    // Some of Node's own state keeps the path of the program that takes the snapshot: TMPDIR may contain a name.
    const directory = mkdtempSync("/tmp/entrypoint-");
    try {
      writeFileSync(join(directory, "node"), base, { mode: 0o755 });
      for (const [name, file] of Object.entries(sources)) {
        if (rehearsed || name !== rehearsal) copyFileSync(file, join(directory, name));
      }
      const config = {
        // Absolute in the snapshot, and so the same everywhere.
        main: "/proc/self/cwd/main.js",
        output: "entrypoint",
        executable: "node",
        useSnapshot: true,
        assets,
        disableExperimentalSEAWarning: true,
        execArgv,
        // NODE_OPTIONS are the application's.
        execArgvExtension: "none",
      };
      writeFileSync(join(directory, "sea.json"), JSON.stringify(config));
      // The warnings say that some of Node's modules are not verified in a snapshot: our tests verify them.
      run(
        join(directory, "node"),
        ["--no-warnings", ...repeatableFlags, "--build-sea", "sea.json"],
        {
          cwd: directory,
          timeoutMs: rehearsed ? rehearsalLimitMs : limitMs,
        },
      );
      if (rehearsed && existsSync(join(directory, rehearsal ?? ""))) {
        throw new Error("the rehearsal has not come to its end");
      }
      return readFileSync(join(directory, "entrypoint"));
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  /** @throws where it does not run. */
  function place(executable: Buffer): void {
    writeFileSync(output, executable, { mode: 0o755 });
    const printed = run(output, ["--version"]);
    if (printed !== `${version}\n`) throw new Error(`it prints ${JSON.stringify(printed)}`);
  }
}

/** Runs a program to its end; what it prints. @throws where it ends with another code than 0, or not in time. */
function run(
  file: string,
  words: readonly string[],
  { cwd = "/", timeoutMs = limitMs }: { cwd?: string; timeoutMs?: number } = {},
): string {
  return execFileSync(file, words, {
    cwd,
    env: { TZ: "UTC" },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
}

/** What went wrong, in one line: of what a child has written, the line that names its error. */
function explain(error: unknown): string {
  const { code, signal, stderr, message } = error as Error & {
    readonly code?: string;
    readonly signal?: string | null;
    readonly stderr?: string;
  };
  if (code === "ETIMEDOUT") return "it takes too long";
  if (typeof signal === "string") return `it dies of ${signal}`;
  const lines = (stderr ?? message).split("\n").filter((line) => line.trim() !== "");
  return (
    lines.find((line) => /^\w*(?:Error|Failure)\b|bad option/.test(line)) ?? lines[0] ?? message
  );
}
