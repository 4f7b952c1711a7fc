// Which commands are certainly no server: in `docker run IMAGE bash` nobody wants a boot. Guarantees: what is not known to end by
// itself, or to serve the person who has started it alone, may be a server, and boots.

import type { Words } from "../context.ts";
import type { OneOffRule } from "../settings/settings.ts";
import { NotAllowed, parseWords } from "../settings/values.ts";
import {
  baseName,
  flags,
  isPython,
  skipOptions,
  unwrap,
  values,
  type Options,
} from "./launchers.ts";
import type { Program } from "./launchers.ts";
import { unwrapMore } from "./compared/launchers.ts";
import { readCommandLine } from "./recognise.ts";
import { describeWords } from "../log/words.ts";

export interface OneOff {
  /** What it is, for the log. */
  readonly reason: string;
  /** It migrates by itself. */
  readonly migrates: boolean;
}

const shells = ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish"];
/** Options of a shell that have their value in the next word. */
const shellOptions = values("-o +o -O +O --rcfile --init-file");
const pythonOptions = values("-W -X --check-hash-based-pycs");

/** Whatever their arguments are. Modules that `python -m` runs are among them. */
const kinds: Readonly<Record<string, string>> = {
  "a shell": "ipython IPython bpython ptpython",
  "a database client":
    "psql pgcli pg_dump pg_dumpall pg_restore pg_isready createdb dropdb createuser dropuser vacuumdb reindexdb redis-cli valkey-cli sqlite3 mysql mariadb mongosh",
  "a test or a check":
    "pytest py.test unittest doctest tox nox mypy pyright ruff black isort flake8 pylint pre-commit",
  "a package manager": "pip pip3 venv ensurepip apt apt-get dpkg apk",
  "a tool to look around": "ls printenv ps top htop vi vim nano less git compileall py_compile",
};

/** Programs of which some subcommands are servers. */
interface Subcommands {
  /** Those before the subcommand. */
  readonly options: Options;
  readonly names: string;
}

const django: Subcommands = {
  options: values("--settings --pythonpath -v --verbosity"),
  names:
    "shell shell_plus dbshell test check createsuperuser changepassword collectstatic compilemessages makemessages makemigrations migrate showmigrations sqlmigrate sqlflush diffsettings dumpdata loaddata inspectdb help version",
};

const subcommands: Readonly<Record<string, Subcommands>> = {
  "manage.py": django,
  "django-admin": django,
  django,
  flask: {
    options: { ...values("-A --app -e --env-file"), ...flags("--debug --no-debug") },
    names: "shell routes",
  },
  celery: {
    options: values("-A --app -b --broker --result-backend --loader --config --workdir"),
    names: "inspect control status shell call purge report result list",
  },
  uv: {
    options: values("--directory --project --color --cache-dir"),
    names: "pip sync lock add remove tree venv version export",
  },
  poetry: {
    options: values("-C --directory -P --project"),
    names: "install show check lock add remove update version config env export build shell",
  },
};

/** Null where it may be a server. @param rules the user's own: the last one that concerns the command counts. */
export function recogniseOneOff(words: Words, rules: readonly OneOffRule[]): OneOff | null {
  const seen = unwrap(words);
  const more = seen.kind === "program" ? unwrapMore(seen) : seen;
  // A script of the project's own may be a server, and Node by itself is known as little.
  const launched = more.kind === "opaque" ? seen : more;
  const program = launched.kind === "opaque" ? (launched.program ?? null) : launched;
  for (const rule of rules.toReversed()) {
    if (rule.kind === "none") return null;
    if (![words, listWords(program)].some((given) => startsWith(given, rule.words))) continue;
    return rule.kind === "boots"
      ? null
      : {
          reason: `${describeWords(rule.words)} is a one-off command by the settings`,
          migrates: false,
        };
  }
  return program === null ? null : recogniseProgram(program, rules);
}

function recogniseProgram(program: Program, rules: readonly OneOffRule[]): OneOff | null {
  const { name: path, args } = program;
  const name = baseName(path);
  const tool = readCommandLine(program);
  if (tool !== null) {
    return {
      reason: `${name} is a migration tool's own command line`,
      migrates: tool === "changes",
    };
  }
  const is = (what: string): OneOff => ({ reason: `${name} is ${what}`, migrates: false });
  if (program.kind === "program") {
    if (shells.includes(name)) return recogniseShell(args, is("a shell"), rules);
    if (isPython(name)) return isInteractive(args) ? is("an interactive Python") : null;
    if (name === "env") return recogniseEnv(args, is("a tool to look around"), rules);
  }
  const kind = Object.entries(kinds).find(([, names]) => names.split(" ").includes(name))?.[0];
  if (kind !== undefined) return is(kind);
  if (!Object.hasOwn(subcommands, name)) return null;
  const { options, names } = subcommands[name] ?? django;
  const [subcommand = ""] = skipOptions(args, options);
  if (!names.split(" ").includes(subcommand)) return null;
  return {
    reason: `${name} ${subcommand} is no server`,
    migrates: subcommand === "migrate",
  };
}

/** A shell is a person's own, unless it runs a script; what a simple command of its `-c` is, is known. */
function recogniseShell(
  args: readonly string[],
  shell: OneOff,
  rules: readonly OneOffRule[],
): OneOff | null {
  const [word, ...rest] = skipOptions(args, shellOptions);
  if (word === undefined) return shell;
  const options = args.slice(0, args.length - rest.length - 1);
  const given = options.some((option) => /^-[A-Za-z]*c[A-Za-z]*$/.test(option));
  if (!given || rest.length > 0) return null;
  try {
    return recogniseOneOff(parseWords(word.replace(/^\s*exec\s+/, "")), rules);
  } catch (error) {
    if (error instanceof NotAllowed) return null;
    throw error;
  }
}

/** `env`, or `env A=b …`. */
function recogniseEnv(
  args: readonly string[],
  alone: OneOff,
  rules: readonly OneOffRule[],
): OneOff | null {
  const start = args.findIndex((word) => !/^[A-Za-z_]\w*=/.test(word));
  if (start === -1) return alone;
  const [program = "", ...rest] = args.slice(start);
  return program.startsWith("-") ? null : recogniseOneOff([program, ...rest], rules);
}

/** Python without anything to run, or with a question alone. */
function isInteractive(args: readonly string[]): boolean {
  const known = /^-(?:[bBdEiIOPqRsSuvVhx?]+|-version|-help|[WX].*)$/;
  return args.every(
    (word, index) => known.test(word) || pythonOptions[args[index - 1] ?? ""] === "value",
  );
}

function listWords(program: Program | null): readonly string[] {
  return program === null ? [] : [program.name, ...program.args];
}

function startsWith(words: readonly string[], beginning: readonly string[]): boolean {
  const [first = "", ...rest] = words;
  const [program, ...others] = beginning;
  const same = first === program || baseName(first) === program;
  return same && others.every((word, index) => rest[index] === word);
}
