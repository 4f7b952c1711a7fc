// Splits the command line into entrypoint's own options and the application's words.
// Options end at the first word that is not one, or at `--`; from there on every word is APP's own.

import { Command, CommanderError, Option } from "commander";
import { exitCodes, Failure } from "../failure.ts";
import type { Command as CommandName } from "./settings.ts";
import {
  concerns,
  settingTable,
  type Flags,
  type Invocation,
  type SettingName,
  type SettingRow,
} from "./table.ts";

declare const ENTRYPOINT_VERSION: string;
declare const ENTRYPOINT_COMMIT: string;

export type Parsed =
  | {
      readonly kind: "boot";
      readonly invocation: Invocation;
      /** Whether the user has named the command. */
      readonly named: boolean;
      /** Whether `--` stands before the words of the APP. */
      readonly separated: boolean;
    }
  | { readonly kind: "print"; readonly text: string };

const commands: Readonly<Record<CommandName, string>> = {
  run: "boot (wait, inspect, migrate under the lock if needed, verify), then become APP; the default",
  migrate: "boot without an APP: exit 0 once the database is at head",
  exec: "become APP at once, without a boot; so does a first word that is certainly no server, such as bash or psql",
  supervise: "start APP and act as its init (reap, forward signals, drain); no database is used",
  wait: "never migrate: wait until the database is at head, then become APP, or exit 0 without one",
  status:
    "report where the database stands, who holds the lock and who blocks a migration; exit 0 at head, 3 pending, else the state's code",
  current: "print the database's revisions, as the migration tool's own command does",
  heads: "print the newest revisions, as the migration tool's own command does",
  history: "print all revisions, as the migration tool's own command does",
  downgrade: "go back to REVISION (-1, an id, base) under the lock, and verify it",
  freeze: "at image build: store the migration tool's own report of the history, for every start",
  lint: "find unsafe operations in the pending migrations; exit 65 where one is refused",
  config:
    "print every setting in force and where it comes from, of a role too: entrypoint config ROLE",
  backfill:
    "run an UPDATE of a large table in small batches that hold row locks only briefly; resumable",
};

/** `argv` without the runtime's two words. Throws Failure("bad-settings"). */
export function parseArguments(argv: readonly string[]): Parsed {
  const first = parseWords("entrypoint", argv);
  if (first.kind === "print") return first;
  const [word, ...rest] = first.words;
  if (first.separated || word === undefined) return boot("run", first, false);
  if (word === "help") return parseArguments(["--help"]);
  if (!isCommand(word)) return boot("run", first, false);

  const second = parseWords(word, rest);
  if (second.kind === "print") return second;
  const flags = mergeFlags(first.flags, second.flags);
  return boot(word, { ...second, flags }, true);
}

/** How to log what is wrong with the other words: these two flags, wherever they are. */
export function findLogFlags(argv: readonly string[]): Flags {
  const end = argv.indexOf("--");
  const words = end === -1 ? argv : argv.slice(0, end);
  const find = (flag: string) =>
    words.flatMap((word, index) => {
      if (word === flag) return words[index + 1] ?? [];
      return word.startsWith(`${flag}=`) ? word.slice(flag.length + 1) : [];
    })[0];
  const [logFormat, logLevel] = [find("--log-format"), find("--log-level")];
  return {
    ...(logFormat === undefined ? {} : { logFormat }),
    ...(logLevel === undefined ? {} : { logLevel }),
  };
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

function boot(
  command: CommandName,
  {
    flags,
    words,
    separated,
  }: { readonly flags: Flags; readonly words: readonly string[]; readonly separated: boolean },
  named: boolean,
): Parsed {
  return { kind: "boot", invocation: { command, flags, app: words }, named, separated };
}

type Scope = "entrypoint" | CommandName;

/** Their words are no APP's, so that options may stand behind them. */
const ownWords: readonly Scope[] = ["downgrade", "config"];

function parseWords(
  scope: Scope,
  argv: readonly string[],
):
  | { kind: "words"; flags: Flags; words: readonly string[]; separated: boolean }
  | { kind: "print"; text: string } {
  // What most starts have, and commander would take a millisecond to say.
  if (!ownWords.includes(scope) && argv[0]?.startsWith("-") !== true) {
    return { kind: "words", flags: {}, words: argv, separated: false };
  }
  const printed: string[] = [];
  const command = createCommand(scope, printed);
  try {
    command.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const isLong = error.code === "commander.version" && argv.includes("--verbose");
    if (isLong) return { kind: "print", text: describeVersion() };
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

/** For a report, and for who has heard of a hole in Node.js. */
function describeVersion(): string {
  const { node, v8, openssl } = process.versions;
  return [
    ENTRYPOINT_VERSION,
    `commit ${ENTRYPOINT_COMMIT}`,
    `Node.js ${node}`,
    `V8 ${v8}`,
    `OpenSSL ${openssl}`,
    "",
  ].join("\n");
}

/** `--databse-url=postgresql://…` is an unknown option, and its value may hold a password. */
function describeUsage({ message }: CommanderError): string {
  return message.replace(/^error: /, "").replace(/^(unknown option '[^=']*)=.*'/s, "$1'");
}

function createCommand(scope: Scope, printed: string[]): Command {
  const command = new Command(scope === "entrypoint" ? scope : `entrypoint ${scope}`)
    // The words of an APP are its own, those of entrypoint may come in any order.
    .passThroughOptions(!ownWords.includes(scope))
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
    command.version(
      ENTRYPOINT_VERSION,
      "-V, --version",
      "print the version and exit; with --verbose also the commit and Node.js",
    );
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
  exec: "[options] [--] APP [ARG...]",
  supervise: "[options] [--] APP [ARG...]",
  status: "[options]",
  current: "[options]",
  heads: "[options]",
  history: "[options]",
  downgrade: "[options] REVISION",
  freeze: "[options]",
  lint: "[options]",
  config: "[options] [ROLE]",
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
A first word that is no command is a role of entrypoint.toml, else the APP.
A flag beats its variable, a variable beats the file, the file beats the default.
Durations: 500ms, 60s, 10m; a bare number is seconds.

Exit codes: 0 done, or APP's own; 128+n ended by signal n;
${Object.entries(exitCodes)
  .map(([name, code]) => `${String(code).padStart(5)} ${name}`)
  .join("\n")}
`;
