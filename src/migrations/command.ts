// The line `alembic upgrade head` of the shell script: what its words mean, as argparse and click
// would take them. Guarantees: a command is "alembic" only if every word of it is understood;
// everything else is run as it is, and never skipped.

import type { Words } from "../settings.ts";
import type { Target } from "./state.ts";

export type MigrationCommand =
  | {
      readonly kind: "alembic";
      /** `flask`: run by Flask-Migrate, whose folder is also its script location. */
      readonly layout: "alembic" | "flask";
      /** `-c`, `--config` */
      readonly config: string | null;
      /** `-n`, `--name` */
      readonly section: string;
      /** `-x`, for env.py to read */
      readonly xArguments: readonly string[];
      /** `flask db upgrade -d` */
      readonly directory: string | null;
      readonly target: Target;
    }
  | { readonly kind: "opaque"; readonly reason: string };

type Options = Readonly<Record<string, "flag" | "value" | "refused">>;

// What `uv run` takes without a change of directory or environment that would have to be followed.
const uvOptions: Options = {
  ...flags(
    "--frozen --locked --no-sync --no-dev --dev --all-extras --no-extra-warning --isolated --active --offline",
  ),
  ...flags(
    "--quiet -q --verbose -v --no-cache --exact --no-project --no-env-file --all-groups --no-default-groups",
  ),
  ...flags(
    "--no-editable --no-progress --no-config --managed-python --no-managed-python --native-tls --all-packages",
  ),
  ...flags(
    "--refresh --reinstall --upgrade -U --no-build --no-binary --no-python-downloads --only-dev -qq -vv",
  ),
  ...values(
    "--extra --no-extra --group --no-group --only-group --with --with-editable --with-requirements",
  ),
  ...values(
    "--python -p --package --index --default-index --index-url -i --project --color --cache-dir",
  ),
};
const poetryOptions: Options = flags(
  "--quiet -q --verbose -v -vv -vvv --no-interaction -n --no-ansi --ansi --no-plugins",
);
const pdmOptions: Options = flags("-s --site-packages -q --quiet -v --verbose");
const pythonFlags = /^-[bBdEIOPRsSuvq]+$/;

function flags(names: string): Options {
  return Object.fromEntries(names.split(" ").map((name) => [name, "flag" as const]));
}

function values(names: string): Options {
  return Object.fromEntries(names.split(" ").map((name) => [name, "value" as const]));
}

/** Understands the words of a migration command, or says why it cannot. */
export function recogniseCommand(words: readonly string[]): MigrationCommand {
  const [first, ...rest] = words;
  if (first === undefined) return opaque("there is no command");
  const program = baseName(first);
  if (program === "alembic") return recogniseAlembic(rest);
  if (program === "flask") return recogniseFlask(rest);
  if (/^(?:python[0-9.]*|pypy[0-9.]*)$/.test(program)) return recognisePython(rest);
  switch (program) {
    case "uv":
      return recogniseRunner(program, rest, uvOptions);
    case "poetry":
      return recogniseRunner(program, rest, poetryOptions);
    case "pdm":
      return recogniseRunner(program, rest, pdmOptions);
    case "pipenv":
    case "rye":
      return recogniseRunner(program, rest, {});
    case "ddtrace-run":
    case "opentelemetry-instrument":
      return rest[0]?.startsWith("-") === true
        ? opaque(`the options of ${program} are not known`)
        : recogniseCommand(rest);
    case "sh":
    case "bash":
    case "dash":
    case "ash":
      return opaque("a shell runs it");
    case "env":
      return opaque("env changes what it runs in");
    default:
      return opaque(`${program} is not Alembic`);
  }
}

/**
 * The words that tell the same Alembic something else, `alembic -c a.ini history` of `alembic -c a.ini upgrade head`;
 * null unless `words` are understood.
 */
export function askAlembic(
  words: readonly string[],
  verb: "current" | "heads" | "history" | "upgrade" | "downgrade" | "stamp" | "merge",
  options: readonly string[],
): Words | null {
  const command = recogniseCommand(words);
  if (command.kind === "opaque") return null;
  // The word upgrade and its one revision are the last two; click has options around them.
  const before =
    command.layout === "alembic"
      ? words.slice(0, -2)
      : words.slice(0, words.indexOf("upgrade", words.indexOf("db")));
  const directory = command.directory === null ? [] : ["--directory", command.directory];
  // `upgrade` alone has an -x of its own: the others take it from the group.
  const late = command.xArguments.filter((each) => !before.some((word) => word.endsWith(each)));
  const xArguments = late.flatMap((each) => ["-x", each]);
  const [program, ...rest] = [...before, ...xArguments, verb, ...directory, ...options];
  return program === undefined ? null : [program, ...rest];
}

function recognisePython(words: readonly string[]): MigrationCommand {
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (pythonFlags.test(word)) continue;
    if (word === "-W" || word === "-X") index += 1;
    else if (/^-[WX]./.test(word)) continue;
    else if (word === "-m" || /^-m./.test(word)) {
      const module = word === "-m" ? words[index + 1] : word.slice(2);
      return recogniseModule(module ?? "", words.slice(word === "-m" ? index + 2 : index + 1));
    } else if (!word.startsWith("-") && word.includes("/") && baseName(word) === "alembic") {
      return recogniseAlembic(words.slice(index + 1));
    } else return opaque(`Python runs ${word}`);
  }
  return opaque("Python runs nothing");
}

function recogniseModule(module: string, words: readonly string[]): MigrationCommand {
  if (module === "alembic" || module === "alembic.config") return recogniseAlembic(words);
  if (module === "flask") return recogniseFlask(words);
  return opaque(`Python runs the module ${module}`);
}

/** `uv run …` and its like: options, `run`, options, then the command itself. */
function recogniseRunner(
  program: string,
  words: readonly string[],
  options: Options,
): MigrationCommand {
  let run = false;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (!word.startsWith("-")) {
      if (run) return recogniseCommand(words.slice(index));
      if (word !== "run") return opaque(`${program} ${word} is not Alembic`);
      run = true;
      continue;
    }
    if (word === "--" && run) return recogniseCommand(words.slice(index + 1));
    if (program === "uv" && run && (word === "-m" || word === "--module")) {
      return recogniseModule(words[index + 1] ?? "", words.slice(index + 2));
    }
    const equals = word.startsWith("--") ? word.indexOf("=") : -1;
    const kind = options[equals === -1 ? word : word.slice(0, equals)];
    if (kind === "value") {
      if (equals === -1) index += 1;
    } else if (kind !== "flag" || equals !== -1)
      return opaque(`${program} ${word}: the option may change what is run`);
  }
  return opaque(`${program} runs nothing`);
}

const alembicOptions = ["--help", "--version", "--config", "--name", "--raiseerr", "--quiet"];

function recogniseAlembic(words: readonly string[]): MigrationCommand {
  let config: string | null = null;
  let section = "alembic";
  const xArguments: string[] = [];
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (word === "upgrade") {
      const target = readUpgrade(words.slice(index + 1));
      if (target.kind === "opaque") return target;
      return {
        kind: "alembic",
        layout: "alembic",
        config,
        section,
        xArguments,
        directory: null,
        target,
      };
    }
    if (!word.startsWith("-")) return opaque(`alembic ${word} is not an upgrade`);
    const option = readAlembicOption(word);
    if (option === null)
      return opaque(
        `alembic does not know the option ${word}, or reads it otherwise than it looks`,
      );
    if (option.name === "--raiseerr" || option.name === "--quiet") continue;
    if (option.name === "--help" || option.name === "--version")
      return opaque(`alembic ${word} migrates nothing`);
    let value = option.value;
    if (value === null) {
      index += 1;
      value = words[index] ?? null;
      if (value === null || value.startsWith("-"))
        return opaque(`alembic misses the value of ${word}`);
    }
    if (option.name === "-x") xArguments.push(value);
    else if (option.name === "--name") section = value;
    else if (value === "") return opaque(`${word} is empty`);
    // Alembic 1.16 takes an ini file and a pyproject.toml together, older versions the last one.
    else if (config !== null) return opaque("there are several --config");
    else config = value;
  }
  return opaque("alembic is given no command");
}

function readAlembicOption(word: string): { name: string; value: string | null } | null {
  if (word.startsWith("--")) {
    const equals = word.indexOf("=");
    const name = equals === -1 ? word : word.slice(0, equals);
    // argparse takes any beginning of a name that is the beginning of one name only.
    const matches = alembicOptions.includes(name)
      ? [name]
      : alembicOptions.filter((each) => each.startsWith(name));
    const [found] = matches;
    if (found === undefined || matches.length > 1 || name === "--") return null;
    if (equals !== -1 && found !== "--config" && found !== "--name") return null;
    return { name: found, value: equals === -1 ? null : word.slice(equals + 1) };
  }
  if (word === "-q") return { name: "--quiet", value: null };
  if (word === "-h") return { name: "--help", value: null };
  const short: Readonly<Record<string, string>> = { "-c": "--config", "-n": "--name", "-x": "-x" };
  const name = short[word.slice(0, 2)];
  if (name === undefined) return null;
  if (word.length === 2) return { name, value: null };
  return { name, value: word[2] === "=" ? word.slice(3) : word.slice(2) };
}

function readUpgrade(
  words: readonly string[],
): Target | { readonly kind: "opaque"; readonly reason: string } {
  const revisions: string[] = [];
  for (const word of words) {
    if (/^-[0-9]+$/.test(word))
      return opaqueTarget("a relative target depends on what Alembic finds");
    if (word.startsWith("-")) {
      if (word.length > 3 && "--sql".startsWith(word)) return opaqueTarget("--sql only prints");
      if (word.startsWith("--t")) return opaqueTarget("--tag means what env.py makes of it");
      return opaqueTarget(`alembic upgrade does not know the option ${word}`);
    }
    revisions.push(word);
  }
  const [revision] = revisions;
  if (revision === undefined || revisions.length > 1)
    return opaqueTarget("alembic upgrade takes one revision");
  return readTarget(revision);
}

function readTarget(
  revision: string,
): Target | { readonly kind: "opaque"; readonly reason: string } {
  if (revision === "head" || revision === "heads") return { kind: revision };
  if (revision === "base") return opaqueTarget("an upgrade to base does nothing");
  if (revision.includes(":")) return opaqueTarget("a range of revisions only prints");
  if (revision.includes("@")) return opaqueTarget("the target is a branch's");
  if (/[-+]/.test(revision)) return opaqueTarget("a relative target depends on what Alembic finds");
  if (revision.trim() === "") return opaqueTarget("the target is empty");
  return { kind: "revision", id: revision };
}

// click takes whole names only, options between arguments, and `-dDIR` as well as `-d DIR`.
const flaskGroup: Options = {
  ...values("-A --app -e --env-file"),
  ...flags("--debug --no-debug"),
};
const flaskDb: Options = values("-x --x-arg");
const flaskUpgrade: Options = {
  ...values("-d --directory -x --x-arg"),
  "--sql": "refused",
  "--tag": "refused",
};

function recogniseFlask(words: readonly string[]): MigrationCommand {
  const levels = [flaskGroup, flaskDb, flaskUpgrade];
  const path = ["db", "upgrade"];
  const positional: string[] = [];
  const xArguments: string[] = [];
  let directory: string | null = null;
  let level = 0;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (!word.startsWith("-") || word === "-") {
      if (level < 2) {
        if (word !== path[level])
          return opaque(`flask ${words.slice(0, index + 1).join(" ")} is not \`flask db upgrade\``);
        level += 1;
      } else positional.push(word);
      continue;
    }
    const long = word.startsWith("--");
    const equals = long ? word.indexOf("=") : -1;
    const name = long ? (equals === -1 ? word : word.slice(0, equals)) : word.slice(0, 2);
    const kind = levels[level]?.[name];
    const joined = long
      ? equals === -1
        ? null
        : word.slice(equals + 1)
      : word.length > 2
        ? word.slice(2)
        : null;
    if (kind === undefined || kind === "refused" || (kind === "flag" && joined !== null)) {
      return opaque(`flask ${word} is not understood`);
    }
    if (kind === "flag") continue;
    if (joined === null) index += 1;
    const value = joined ?? words[index];
    if (value === undefined) return opaque(`flask misses the value of ${word}`);
    if (name === "-d" || name === "--directory") directory = value;
    if (name === "-x" || name === "--x-arg") xArguments.push(value);
  }
  if (level < 2) return opaque("it is not `flask db upgrade`");
  if (positional.length > 1) return opaque("flask db upgrade takes one revision");
  if (directory === "") return opaque("the directory is empty");
  const target = readTarget(positional[0] ?? "head");
  if (target.kind === "opaque") return target;
  return {
    kind: "alembic",
    layout: "flask",
    config: null,
    section: "alembic",
    xArguments,
    directory,
    target,
  };
}

function baseName(word: string): string {
  return word.slice(word.lastIndexOf("/") + 1);
}

function opaque(reason: string): MigrationCommand {
  return { kind: "opaque", reason };
}

function opaqueTarget(reason: string): { readonly kind: "opaque"; readonly reason: string } {
  return { kind: "opaque", reason };
}
