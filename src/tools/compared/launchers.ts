// The launchers of Node's and Ruby's tools, which are seen through as launchers.ts does with Python's.

import { NotAllowed, parseWords } from "../../settings/values.ts";
import { baseName, flags, unwrap, values, type Launched, type Options } from "../launchers.ts";
import type { Program } from "../launchers.ts";

interface Runner {
  /** It runs a script of package.json, whose name follows one of these words, or stands alone. */
  readonly scripts?: readonly string[];
  /** The script's own words follow `--` alone. */
  readonly separated?: true;
  /** Words of which one must come before the command; none where the command may come at once. */
  readonly verbs: readonly string[];
  readonly verbOptional: boolean;
  readonly options: Options;
}

const npmOptions: Options = {
  ...flags("-y --yes --no --no-install --silent -s --quiet -q --offline --prefer-offline"),
  ...values("-p --package --loglevel"),
};

const runners: Readonly<Record<string, Runner>> = {
  npx: { verbs: [], verbOptional: true, options: npmOptions },
  npm: {
    scripts: ["run", "run-script"],
    separated: true,
    verbs: ["exec", "x"],
    verbOptional: false,
    options: npmOptions,
  },
  pnpm: {
    scripts: ["run", ""],
    verbs: ["exec", "dlx"],
    verbOptional: false,
    options: flags("--silent -s"),
  },
  pnpx: { verbs: [], verbOptional: true, options: {} },
  yarn: {
    scripts: ["run", ""],
    verbs: ["exec", "dlx", "run"],
    verbOptional: true,
    options: flags("--silent -s --quiet -q"),
  },
  bunx: { verbs: [], verbOptional: true, options: flags("--bun -b --silent --no-install") },
  bun: {
    scripts: ["run", ""],
    verbs: ["x"],
    verbOptional: false,
    options: flags("--bun -b --silent"),
  },
  bundle: { verbs: ["exec"], verbOptional: false, options: {} },
};

type ReadScripts = () => Readonly<Record<string, string>> | null;

/** Options of Node that leave the program, its directory and its environment alone. */
const nodeOptions: Options = {
  ...flags(
    "--no-warnings --no-deprecation --enable-source-maps --experimental-strip-types --trace-warnings",
  ),
  ...values("--max-old-space-size --import --loader -r --require"),
};

/** Programs that run a script as Node does. */
const interpreters = ["node", "nodejs", "tsx", "ts-node", "bun", "ruby"];

/** Sees through the launchers that are left of a command. @param readScripts those of package.json. */
export function unwrapMore(program: Program, readScripts: ReadScripts = () => null): Launched {
  if (program.kind !== "program") return program;
  const { name, args } = program;
  const runner = Object.hasOwn(runners, name) ? runners[name] : undefined;
  if (runner !== undefined && !(name === "bun" && args[0]?.includes("/") === true)) {
    return unwrapRunner(name, args, { runner, readScripts });
  }
  if (!interpreters.includes(name)) return program;
  for (let index = 0; index < args.length; index += 1) {
    const word = args[index] as string;
    if (!word.startsWith("-")) return readFile(word, args.slice(index + 1));
    const equals = word.indexOf("=");
    const kind = nodeOptions[equals === -1 ? word : word.slice(0, equals)];
    if (kind === undefined) return opaque(`the option ${word} of ${name} is not known`);
    if (kind === "value" && equals === -1) index += 1;
  }
  return opaque(`${name} runs nothing`);
}

/** `node_modules/P/bin/cli.js` is P, `bin/P` too. */
function readFile(path: string, args: readonly string[]): Launched {
  const inPackage = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\/[^]*$/.exec(path)?.[1];
  if (inPackage === ".bin") return { kind: "program", name: baseName(path), args };
  if (inPackage !== undefined) return { kind: "program", name: inPackage, args };
  if (/^(?:\.\/)?bin\/\w+$/.test(path)) return { kind: "program", name: baseName(path), args };
  return opaque(`${path} is a script of the project's own: name the tool that it runs with --tool`);
}

function unwrapRunner(
  name: string,
  args: readonly string[],
  { runner, readScripts }: { runner: Runner; readScripts: ReadScripts },
): Launched {
  const script = readScript(args, runner, readScripts);
  // One that runs another script is not followed.
  if (script !== null) return typeof script === "string" ? opaque(script) : unwrapAll(script);
  let index = 0;
  let verb = false;
  for (; index < args.length; index += 1) {
    const word = args[index] as string;
    if (word === "--") {
      index += 1;
      break;
    }
    if (!word.startsWith("-")) {
      if (verb || !runner.verbs.includes(word)) break;
      verb = true;
      continue;
    }
    const equals = word.startsWith("--") ? word.indexOf("=") : -1;
    const kind = runner.options[equals === -1 ? word : word.slice(0, equals)];
    if (kind === undefined) return opaque(`${name} ${word}: the option may change what is run`);
    if (kind === "value" && equals === -1) index += 1;
  }
  const [first, ...rest] = args.slice(index);
  if (first === undefined) return opaque(`${name} runs nothing`);
  if (!verb && !runner.verbOptional) {
    return opaque(
      `${name} ${first} runs a script of the project's own: name the tool that it runs with --tool`,
    );
  }
  // `npx P@3`
  const program = first.replace(/(?<=\w)@[\w.^~-]+$/, "");
  // A package with a scope is no path.
  if (/^@[\w.-]+\/[\w.-]+$/.test(program)) return { kind: "program", name: program, args: rest };
  return unwrapAll([program, ...rest]);
}

function unwrapAll(words: readonly string[]): Launched {
  const launched = unwrap(words);
  return launched.kind === "program" ? unwrapMore(launched) : launched;
}

/** The words of a script that is one plain command; the reason where it is none; null where no script is run. */
function readScript(
  args: readonly string[],
  { scripts = [], separated, options }: Runner,
  readScripts: ReadScripts,
): readonly string[] | string | null {
  const words = args.filter((word) => options[word] !== "flag");
  const [verb = ""] = words;
  const isNamed = verb !== "" && scripts.includes(verb);
  if (!isNamed && !scripts.includes("")) return null;
  const [name = "", ...rest] = isNamed ? words.slice(1) : words;
  const texts = readScripts();
  const text = texts?.[name];
  if (texts === null || text === undefined) return null;
  const own = `the script ${name} of package.json`;
  if ([`pre${name}`, `post${name}`].some((other) => texts[other] !== undefined)) {
    return `${own} has others that run before or after it`;
  }
  const given = rest[0] === "--" ? rest.slice(1) : rest;
  if (separated === true && rest[0] !== "--" && rest.length > 0) {
    return `${own}: the words for it follow --`;
  }
  try {
    return [...parseWords(text), ...given];
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
    return `${own} is no plain command`;
  }
}

function opaque(reason: string): Launched {
  return { kind: "opaque", reason };
}
