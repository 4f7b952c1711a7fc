// The line `alembic upgrade head` of the shell script: what its words mean, as argparse and click would take them.
// Guarantees: a command is Alembic's only if every word of it is understood.

import type { Words } from "../../context.ts";
import { baseName, flags, skipOptions, values, type Options, type Program } from "../launchers.ts";

/** What `upgrade` was told to reach. */
export type Target =
  | { readonly kind: "head" }
  | { readonly kind: "heads" }
  | { readonly kind: "revision"; readonly id: string };

export interface AlembicCommand {
  /** As the user wrote it, launcher included. */
  readonly words: Words;
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

/** What the words mean, or why they are not understood. */
type Reading = Omit<AlembicCommand, "words"> | string;

/** Understands a command of Alembic's or Flask-Migrate's; null where the program is neither, a reason where its words are not understood. */
export function readCommand(
  { kind, name, args }: Program,
  words: Words,
): AlembicCommand | string | null {
  const reading = readProgram(kind, name, args);
  return reading === null || typeof reading === "string" ? reading : { words, ...reading };
}

function readProgram(kind: Program["kind"], name: string, args: readonly string[]): Reading | null {
  switch (kind) {
    case "module":
      if (name === "alembic" || name === "alembic.config") return readAlembic(args);
      return name === "flask" ? readFlask(args) : null;
    case "script":
      return name.includes("/") && baseName(name) === "alembic" ? readAlembic(args) : null;
    case "program":
      if (name === "alembic") return readAlembic(args);
      return name === "flask" ? readFlask(args) : null;
  }
}

/** Any command of Alembic's or Flask-Migrate's. */
export function readCommandLine({ kind, name, args }: Program): "changes" | "reads" | null {
  const program = kind === "script" ? baseName(name) : name;
  const verb = findVerb(program, args);
  if (verb === null) return null;
  return ["upgrade", "downgrade", "stamp"].includes(verb) ? "changes" : "reads";
}

/** The first of Alembic's words that is no option; null where the program is another one. */
function findVerb(program: string, args: readonly string[]): string | null {
  if (program === "alembic" || program === "alembic.config") {
    return skipOptions(args, values("-c --config -n --name -x"))[0] ?? "";
  }
  if (program !== "flask") return null;
  const [db, ...rest] = skipOptions(args, flaskGroup);
  return db === "db" ? (skipOptions(rest, flaskDb)[0] ?? "") : null;
}

type Verb = "current" | "heads" | "history" | "upgrade" | "downgrade" | "stamp" | "merge";

/** The same program and options with another verb: `alembic -c a.ini history` of `alembic -c a.ini upgrade head`. */
export function wordsFor(
  { words, layout, directory, xArguments }: AlembicCommand,
  verb: Verb,
  options: readonly string[],
): Words {
  // The word upgrade and its one revision are the last two; click has options around them.
  const before =
    layout === "alembic"
      ? words.slice(0, -2)
      : words.slice(0, words.indexOf("upgrade", words.indexOf("db")));
  const folder = directory === null ? [] : ["--directory", directory];
  // `upgrade` alone has an -x of its own: the others take it from the group.
  const late = xArguments.filter((each) => !before.some((word) => word.endsWith(each)));
  const [program = words[0], ...rest] = before;
  return [program, ...rest, ...late.flatMap((each) => ["-x", each]), verb, ...folder, ...options];
}

/** The command as it stands for every tenant: `-x tenant={tenant}`. */
export function withoutTenant(command: AlembicCommand, tenant: string | null): AlembicCommand {
  if (tenant === null) return command;
  const text = (word: string) =>
    word === tenant || word.endsWith(`=${tenant}`)
      ? `${word.slice(0, -tenant.length)}{tenant}`
      : word;
  const [program, ...rest] = command.words;
  return {
    ...command,
    words: [program, ...rest.map(text)],
    xArguments: command.xArguments.map(text),
  };
}

const alembicOptions = ["--help", "--version", "--config", "--name", "--raiseerr", "--quiet"];

function readAlembic(words: readonly string[]): Reading {
  let config: string | null = null;
  let section = "alembic";
  const xArguments: string[] = [];
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (word === "upgrade") {
      const target = readUpgrade(words.slice(index + 1));
      if (typeof target === "string") return target;
      return { layout: "alembic", config, section, xArguments, directory: null, target };
    }
    if (!word.startsWith("-")) return `alembic ${word} is not an upgrade`;
    const option = readAlembicOption(word);
    if (option === null) return `alembic's option ${word} is unknown or ambiguous`;
    if (option.name === "--raiseerr" || option.name === "--quiet") continue;
    if (option.name === "--help" || option.name === "--version")
      return `alembic ${word} migrates nothing`;
    let value = option.value;
    if (value === null) {
      index += 1;
      value = words[index] ?? null;
      if (value === null || value.startsWith("-")) return `alembic has no value for ${word}`;
    }
    if (option.name === "-x") xArguments.push(value);
    else if (option.name === "--name") section = value;
    else if (value === "") return `${word} is empty`;
    // Alembic 1.16 takes an ini file and a pyproject.toml together, older versions the last one.
    else if (config !== null) return "there are several --config";
    else config = value;
  }
  return "alembic is given no command";
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

function readUpgrade(words: readonly string[]): Target | string {
  const revisions: string[] = [];
  for (const word of words) {
    if (/^-[0-9]+$/.test(word)) return "a relative target depends on what Alembic finds";
    if (word.startsWith("-")) {
      if (word.length > 3 && "--sql".startsWith(word)) return "--sql only prints";
      if (word.startsWith("--t")) return "--tag is interpreted by env.py";
      return `alembic upgrade does not know the option ${word}`;
    }
    revisions.push(word);
  }
  const [revision] = revisions;
  if (revision === undefined || revisions.length > 1) return "alembic upgrade takes one revision";
  return readTarget(revision);
}

function readTarget(revision: string): Target | string {
  if (revision === "head" || revision === "heads") return { kind: revision };
  if (revision === "base") return "an upgrade to base does nothing";
  if (revision.includes(":")) return "a range of revisions only prints";
  if (revision.includes("@")) return "the target is a branch's";
  if (/[-+]/.test(revision)) return "a relative target depends on what Alembic finds";
  if (revision.trim() === "") return "the target is empty";
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

function readFlask(words: readonly string[]): Reading {
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
          return `flask ${words.slice(0, index + 1).join(" ")} is not \`flask db upgrade\``;
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
      return `flask ${word} is not understood`;
    }
    if (kind === "flag") continue;
    if (joined === null) index += 1;
    const value = joined ?? words[index];
    if (value === undefined) return `flask misses the value of ${word}`;
    if (name === "-d" || name === "--directory") directory = value;
    if (name === "-x" || name === "--x-arg") xArguments.push(value);
  }
  if (level < 2) return "it is not `flask db upgrade`";
  if (positional.length > 1) return "flask db upgrade takes one revision";
  if (directory === "") return "the directory is empty";
  const target = readTarget(positional[0] ?? "head");
  if (typeof target === "string") return target;
  return {
    layout: "flask",
    config: null,
    section: "alembic",
    xArguments,
    directory,
    target,
  };
}
