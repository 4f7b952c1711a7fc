// `"$@"`: splits the command line into entrypoint's own options and the application's words.
// Options end at the first word that is not one, or at `--`; from there on every word is APP's own.

import { Command, CommanderError, Option } from "commander";
import { exitCodes, Failure } from "./exit-codes.ts";
import {
  concerns,
  settingTable,
  type Command as CommandName,
  type Flags,
  type Invocation,
  type SettingName,
  type SettingRow,
} from "./settings.ts";

declare const ENTRYPOINT_VERSION: string;

export type Parsed =
  | { readonly kind: "boot"; readonly invocation: Invocation }
  | { readonly kind: "print"; readonly text: string };

const commands: Readonly<Record<CommandName, string>> = {
  run: "boot: wait, inspect, migrate under the lock if needed, verify, become APP (the default)",
  migrate: "the same without an APP: exit 0 once the database is at head",
  supervise: "no database: starts APP and does PID 1's duties for it",
  wait: "never migrates: waits until the database is at head, then becomes APP, or exits 0 without one",
  status:
    "where the database stands, and who is at work; exit 0 at head, 3 pending, else the state's code",
  current: "the database's revisions, as alembic current prints them",
  heads: "the last revisions, as alembic heads prints them",
  history: "all revisions, as alembic history prints them",
  downgrade:
    "goes back to REVISION (-1, an id, base), under the lock: says what is undone, and verifies it",
  freeze:
    "at image build: writes down the revision graph as Alembic itself tells it, for every start to read",
  lint: "unsafe operations in the pending migrations; exit 65 where one is refused",
  backfill: "an UPDATE of a large table in batches that nobody notices; resumable",
};

/** `argv` without the runtime's two words. Throws Failure("bad-settings"). */
export function parseArguments(argv: readonly string[]): Parsed {
  const first = parseWords("entrypoint", argv);
  if (first.kind === "print") return first;
  const [word, ...rest] = first.words;
  if (first.separated || word === undefined) return boot("run", first.flags, first.words);
  if (word === "help") return parseArguments(["--help"]);
  if (!isCommand(word)) return boot("run", first.flags, first.words);

  const second = parseWords(word, rest);
  if (second.kind === "print") return second;
  return boot(word, mergeFlags(first.flags, second.flags), second.words);
}

function isCommand(word: string): word is CommandName {
  return Object.hasOwn(commands, word);
}

/** The options before the command's name and those after it: the later one counts, or both of a repeatable one. */
function mergeFlags(first: Flags, second: Flags): Flags {
  const merged: Flags = { ...first, ...second };
  for (const name of Object.keys(second) as SettingName[]) {
    const [before, after] = [first[name], second[name]];
    if (Array.isArray(before) && Array.isArray(after)) merged[name] = [...before, ...after];
  }
  return merged;
}

function boot(command: CommandName, flags: Flags, app: readonly string[]): Parsed {
  return { kind: "boot", invocation: { command, flags, app } };
}

type Scope = "entrypoint" | CommandName;

function parseWords(
  scope: Scope,
  argv: readonly string[],
):
  | { kind: "words"; flags: Flags; words: readonly string[]; separated: boolean }
  | { kind: "print"; text: string } {
  // What most starts have, and commander would take a millisecond to say.
  if (scope !== "downgrade" && argv[0]?.startsWith("-") !== true) {
    return { kind: "words", flags: {}, words: argv, separated: false };
  }
  const printed: string[] = [];
  const command = createCommand(scope, printed);
  try {
    command.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: "print", text: printed.join("") };
    throw new Failure("bad-settings", describeUsage(error), {
      hint: "entrypoint --help lists every option; the application's own come after its name or after --",
    });
  }
  const words = command.args;
  return {
    kind: "words",
    flags: command.opts<Flags>(),
    words,
    separated: argv[argv.length - words.length - 1] === "--",
  };
}

/** `--databse-url=postgresql://…` is an unknown option, and its value may hold a password. */
function describeUsage({ message }: CommanderError): string {
  return message.replace(/^error: /, "").replace(/^(unknown option '[^=']*)=.*'/s, "$1'");
}

function createCommand(scope: Scope, printed: string[]): Command {
  const command = new Command(scope === "entrypoint" ? scope : `entrypoint ${scope}`)
    // The words of an APP are its own, those of entrypoint may come in any order.
    .passThroughOptions(scope !== "downgrade")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => printed.push(text),
      writeErr: () => undefined,
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .argument("[app...]")
    .usage(usages[scope])
    .configureHelp({ visibleArguments: () => [] })
    .helpOption("-h, --help", "print this and exit")
    .action(() => undefined);
  if (scope === "entrypoint") {
    command.version(ENTRYPOINT_VERSION, "-V, --version", "print the version and exit");
    command.description(
      "Waits for PostgreSQL, migrates once under a lock, verifies, and becomes the application.",
    );
    command.addHelpText("after", helpTail);
  } else {
    command.description(commands[scope]);
  }
  for (const [name, row] of Object.entries(settingTable) as [SettingName, SettingRow][]) {
    if (scope !== "entrypoint" && !concerns(name, scope)) continue;
    command.addOption(createOption(name, row));
  }
  return command;
}

const usages: Readonly<Record<Scope, string>> = {
  entrypoint: "[options] [--] [APP [ARG...]]",
  run: "[options] [--] [APP [ARG...]]",
  migrate: "[options]",
  wait: "[options] [--] [APP [ARG...]]",
  supervise: "[options] [--] APP [ARG...]",
  status: "[options]",
  current: "[options]",
  heads: "[options]",
  history: "[options]",
  downgrade: "[options] REVISION",
  freeze: "[options]",
  lint: "[options]",
  backfill: "--table NAME --set ASSIGNMENTS --where CONDITION [options]",
};

function createOption(name: SettingName, row: SettingRow): Option {
  const notes = [
    ...(row.variable === null ? [] : [row.variable]),
    ...(row.initial === null ? [] : [`default: ${row.initial}`]),
  ];
  const option = new Option(
    row.flags,
    notes.length === 0 ? row.help : `${row.help} (${notes.join("; ")})`,
  );
  // commander names an option after its flag; here it is the row that names it.
  option.attributeName = () => name;
  option.negate = false;
  if (row.repeatable === true) {
    option.argParser((value: string, previous: string[] | undefined) => [
      ...(previous ?? []),
      value,
    ]);
  }
  return option;
}

const helpTail = `
Commands:
${Object.entries(commands)
  .map(([name, help]) => `  entrypoint ${name.padEnd(10)} ${help}`)
  .join("\n")}

APP of run defaults to ENTRYPOINT_APP, else: uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2
A first word that is no command is the APP. A flag beats its variable, a variable beats the default.
Durations: 500ms, 60s, 10m; a bare number is seconds.

Exit codes: 0 done, or APP's own; 128+n ended by signal n;
${Object.entries(exitCodes)
  .map(([name, code]) => `${String(code).padStart(5)} ${name}`)
  .join("\n")}
`;
