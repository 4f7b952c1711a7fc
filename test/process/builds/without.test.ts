// What makes the single executable small and fast rests on how this Node and these packages are made. Each of it is taken
// away here for real: the build says in one line what it leaves out, and the program runs without. Where the program would be
// wrong, the build fails.
// @takes long

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

import * as esbuild from "esbuild";
import { describe, expect, onTestFinished, test } from "vitest";

import {
  buildSingleExecutable,
  usualFlags,
  type MakeOptions,
} from "../../../scripts/build/executable.ts";
import { createStandIns } from "../../../scripts/build/stand-ins.ts";

const root = resolve(import.meta.dirname, "../../..");

describe("the single executable", () => {
  /** Prints its version, or the options that it runs Node with. */
  const main = `require("node:v8").startupSnapshot.setDeserializeMainFunction(() => {
    console.log(process.argv.includes("--version") ? "1.0" : process.execArgv.join(" "));
  });`;
  const withRehearsal = (rehearsal: string) => `${main}
    const { existsSync, unlinkSync } = require("node:fs");
    if (existsSync("rehearsal.js")) {
      const done = () => unlinkSync("rehearsal.js");
      ${rehearsal}
    }`;

  test("is made with everything where nothing is in the way", () => {
    const { warnings, program } = make({ main: withRehearsal("done();"), rehearsal: true });
    expect(warnings).toEqual([]);
    expect(execFileSync(program, { encoding: "utf8" })).toBe(`${usualFlags.join(" ")}\n`);
    expect(statSync(program).size).toBeLessThan(statSync(process.execPath).size);
  });

  test("keeps all of Node's parts where Node is no program as expected", () => {
    const directory = makeDirectory();
    const node = join(directory, "node");
    const bytes = readFileSync(process.execPath);
    bytes[6] = 0; // EI_VERSION, at which neither the kernel nor the dynamic linker looks.
    writeFileSync(node, bytes, { mode: 0o755 });
    const { warnings, program } = make({ main, node });
    const kept = warnings.map(
      (line) => /^the executable is not (.*), which costs /.exec(line)?.[1],
    );
    expect(kept).toEqual([
      "stripped",
      "free of libatomic",
      "cut where it is empty",
      "described by section headers",
    ]);
    expect(warnings[0]).toMatch(/^the executable is not stripped, .* MB .*: Node is not /);
    expect(statSync(program).size).toBeGreaterThan(bytes.length);
  });

  test("keeps ICU's languages where Node gives another answer without them", () => {
    const intl = 'console.log((1.5).toLocaleString("de"))';
    const { warnings, program } = make({ main, intl });
    expect(warnings).toEqual([
      expect.stringMatching(/^the executable is not freed of ICU's languages, .* other answers$/),
    ]);
    expect(statSync(program).size).toBeGreaterThan(100e6);
  });

  test("keeps the compiled code of Node's modules where two lists of them are found", () => {
    const list = join(makeDirectory(), "list");
    const entries = Array.from({ length: 150 }, (_, index) => [`internal/m${index}`, "code"]);
    const texts = entries.flat().flatMap((text) => [number(text.length), Buffer.from(text)]);
    writeFileSync(list, Buffer.concat([number(entries.length), ...texts]));
    const { warnings } = make({ main, assets: { list } });
    expect(warnings).toEqual([
      expect.stringMatching(
        /^the executable is not freed of Node's compiled modules, which costs .* ms .*: .* has 2 lists/,
      ),
    ]);
  });

  test("runs without a flag that V8 refuses, and with the others", () => {
    const flags = ["--no-rehash-snapshot", "--no-such-flag", "--regexp-tier-up-ticks=20"];
    const { warnings, program } = make({ main, flags });
    expect(warnings).toEqual([
      expect.stringMatching(
        /^the executable is not run with --no-such-flag, which costs .* ms .*: .*bad option/,
      ),
    ]);
    expect(execFileSync(program, { encoding: "utf8" })).toBe(
      "--no-rehash-snapshot --regexp-tier-up-ticks=20\n",
    );
  });

  test.for([
    ["fails", 'void Promise.reject(new Error("no server"));', /: Error: no server$/],
    ["hangs", "setInterval(() => {}, 1000);", /: it takes too long$/],
    ["never ends", "void new Promise(() => {}).then(done);", /: the rehearsal has not come/],
  ] as const)("is not rehearsed where the rehearsal %s", ([, rehearsal, reason]) => {
    // Only a limit that the one which hangs reaches for certain, and no other by chance.
    const limit = rehearsal.startsWith("setInterval") ? { rehearsalLimitMs: 1_000 } : {};
    const { warnings } = make({ main: withRehearsal(rehearsal), rehearsal: true, ...limit });
    expect(warnings).toEqual([expect.stringMatching(/^the executable is not rehearsed, which/)]);
    expect(warnings[0]).toMatch(reason);
  });

  test("is a plain one where the optimised one does not run", () => {
    const fragile = `${main}
      require("node:v8").startupSnapshot.addDeserializeCallback(() => {
        if (process.execArgv.length > 0) throw new Error("not with options");
      });`;
    const { warnings, program } = make({ main: fragile });
    expect(warnings).toEqual([
      expect.stringMatching(/^the executable is not optimised, which costs .*: Error: not with/),
    ]);
    expect(execFileSync(program, { encoding: "utf8" })).toBe("\n");
    expect(statSync(program).size).toBeGreaterThan(statSync(process.execPath).size);
  });

  test.for([
    ["cannot run", 'throw new Error("broken");', /broken/],
    ["is another version", main.replace("1.0", "0.9"), /it prints "0\.9\\n"/],
  ] as const)("is not made of a program that %s", ([, broken, reason]) => {
    expect(() => make({ main: broken })).toThrow(reason);
  });

  function number(value: number): Buffer {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  }

  function make(
    options: Omit<MakeOptions, "warn"> & {
      readonly main: string;
      readonly rehearsal?: boolean;
      readonly assets?: Readonly<Record<string, string>>;
    },
  ): { warnings: string[]; program: string } {
    const { main: text, rehearsal = false, assets = {}, ...others } = options;
    const directory = makeDirectory();
    const sources = { "main.js": join(directory, "main.js"), "rehearsal.js": join(directory, "r") };
    writeFileSync(sources["main.js"], text);
    writeFileSync(sources["rehearsal.js"], "");
    const warnings: string[] = [];
    const program = join(directory, "program");
    buildSingleExecutable(
      program,
      { version: "1.0", sources, rehearsal: rehearsal ? "rehearsal.js" : null, assets },
      { warn: (line) => void warnings.push(line), ...others },
    );
    expect(execFileSync(program, ["--version"], { encoding: "utf8" })).toBe("1.0\n");
    return { warnings, program };
  }
});

describe("the bundle", () => {
  /** The packages as they are, as far as the build looks at them. */
  const packages = {
    "pg/index.js":
      'require("./lib/crypto/utils"); require("pg-native"); require("pg-cloudflare"); require("pg-pool"); require("pgpass");',
    "pg/lib/crypto/utils.js": readFileSync(join(root, "node_modules/pg/lib/crypto/utils.js")),
    "pino/index.js": 'require("thread-stream"); const os = require("node:os"); os.hostname();',
    "commander/index.js": 'const childProcess = require("node:child_process");',
    "libpg-query/index.js": 'require("./wasm/libpg-query.js");',
    "libpg-query/wasm/libpg-query.js": "var PgQueryModule; moduleArg.instantiateWasm;",
  };

  test("has stand-ins for what it replaces and leaves out", async () => {
    const { warnings, text } = await bundle({});
    expect(warnings).toEqual([]);
    expect(text).not.toContain("webCrypto");
    expect(text).toContain("readParserWasm");
    for (const module of [
      "thread-stream",
      "node:os",
      "node:child_process",
      "pg-native",
      "pg-pool",
      "pgpass",
    ]) {
      expect(text).not.toContain(`require("${module}")`);
    }
  });

  test.for([
    [
      "has one more",
      /its sign is a function, ours nothing/,
      (text) => `${text}
      module.exports.sign = () => {};`,
    ],
    [
      "has one less",
      /its md5 is nothing, ours a function/,
      (text) => `${text}
      delete module.exports.md5;`,
    ],
    [
      "has another kind of one",
      /its md5 is a string, ours a function/,
      (text) => `${text}
      module.exports.md5 = "";`,
    ],
  ] satisfies [string, RegExp, (text: string) => string][])(
    "has pg's own hashes where that %s",
    async ([, reason, change]) => {
      const own = packages["pg/lib/crypto/utils.js"].toString();
      const { warnings, text } = await bundle({ "pg/lib/crypto/utils.js": change(own) });
      expect(warnings).toEqual([
        expect.stringMatching(/^the bundle has pg's own hashes, which costs .* ms .*: /),
      ]);
      expect(warnings[0]).toMatch(reason);
      expect(text).toContain("webCrypto");
    },
  );

  test("has pg's own hashes where they are in another file", async () => {
    const { warnings } = await bundle({
      "pg/index.js":
        'require("pg-native"), require("pg-cloudflare"), require("pg-pool"), require("pgpass")',
    });
    expect(warnings).toEqual([
      expect.stringMatching(/^the bundle has pg's own hashes, .*: there is no pg\/lib/),
    ]);
  });

  test.for([
    [
      "pg",
      "pg-native",
      {
        "pg/index.js":
          'require("./lib/crypto/utils"); require("pg-cloudflare"); require("pg-pool"); require("pgpass");',
      },
    ],
    ["commander", "node:child_process", { "commander/index.js": "" }],
  ] as const)("says that %s no longer imports %s", async ([importer, module, changes]) => {
    const { warnings } = await bundle(changes);
    expect(warnings).toEqual([expect.stringContaining(`${importer} no longer imports ${module}`)]);
  });

  test.for([
    [
      "pino reads the host's name in another way",
      /pino no longer imports node:os.*the name of the machine/,
      { "pino/index.js": 'require("thread-stream"); require("os").hostname();' },
    ],
    [
      "pino uses more of node:os",
      /pino uses os\.EOL of node:os, which its stand-in lacks/,
      { "pino/index.js": 'require("thread-stream"); const os = require("node:os"); os.EOL;' },
    ],
    [
      "commander uses more of node:child_process",
      /commander uses childProcess\.exec of node:child_process/,
      {
        "commander/index.js":
          'const childProcess = require("node:child_process"); childProcess.exec("");',
      },
    ],
    [
      "the parser has no loader",
      /the bundle has no libpg-query\/wasm\/libpg-query\.js/,
      { "libpg-query/index.js": "" },
    ],
    [
      "the parser's loader takes no WebAssembly",
      /libpg-query\.js has no instantiateWasm/,
      { "libpg-query/wasm/libpg-query.js": "var PgQueryModule;" },
    ],
  ] as const)("is not made where %s", async ([, reason, changes]) => {
    await expect(bundle(changes)).rejects.toThrow(reason);
  });

  /** Of the packages with these files instead. */
  async function bundle(changes: Readonly<Record<string, string>>) {
    const directory = makeDirectory();
    for (const [name, content] of Object.entries({ ...packages, ...changes })) {
      const file = join(directory, "node_modules", name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
    }
    const warnings: string[] = [];
    const standIns = createStandIns(root, (line) => void warnings.push(line));
    const names = ["pg", "pino", "commander", "libpg-query"];
    const { outputFiles } = await esbuild.build({
      stdin: {
        contents: names.map((name) => `require("${name}");`).join(""),
        resolveDir: directory,
      },
      plugins: [standIns.plugin],
      bundle: true,
      platform: "node",
      write: false,
      logLevel: "silent",
    });
    standIns.check();
    return { warnings, text: outputFiles[0]?.text ?? "" };
  }
});

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-without-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}
