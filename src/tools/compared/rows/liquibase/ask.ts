// What Liquibase reports of its change sets, without a database: its own database is a file here, of which it is told that all of
// them are applied. Guarantees: nothing is migrated; the files that count are those in a folder of which a copy is enough.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { NoAnswer } from "../../../../failure.ts";
import type { Words } from "../../../../context.ts";
import { describeCount } from "../../../../log/words.ts";
import { findProgram } from "../../../../process/become/find-program.ts";
import type { Covered } from "../../../fingerprint.ts";
import { frozenPath } from "../../../frozen.ts";
import { runForOutput, type Run } from "../../../question.ts";
import { withTemporaryFolder } from "../../../temporary-folder.ts";
import { readWords } from "../../words.ts";
import type { Answer, Entry, Project } from "../../row.ts";
import {
  findRefused,
  formatChangeSets,
  nameOf,
  parseChangeSets,
  withWrongChecksum,
  type ChangeSet,
} from "./change-sets.ts";
import { command } from "./command.ts";
import { javaVariables, readSettings } from "./settings.ts";
import { findAlways, findDoubt, findValidChecksums, findVariables } from "./texts.ts";

const loadingCure =
  "make sure that the change log and all that it includes are in the image, and that the command names it: --changelog-file";

/** More is read at every start. */
const most = { files: 5_000, bytes: 2 ** 25 };

/** Options of the command that decide what is in the list. */
const kept = [
  "classpath defaults-file license-key allow-duplicated-changeset-identifiers duplicate-file-mode file-encoding strict",
  "secure-parsing include-system-classpath on-missing-include-changelog on-missing-sql-file preserve-schema-case",
  "support-property-escaping",
]
  .join(" ")
  .split(" ");
const keptOfUpdate = ["contexts", "context-filter", "label-filter", "default-schema-name"];

export async function ask(words: Words, project: Project, run: Run): Promise<Answer> {
  const asked = readAsked(words, project);
  return withTemporaryFolder("liquibase", async (folder) => {
    const file = join(folder, "list.csv");
    const copy = join(folder, "copy");
    /** With the rows that are given; the ones afterwards. */
    const call = async (verb: string, rows: readonly ChangeSet[], searchPath: string | null) => {
      rmSync(file, { force: true });
      if (rows.length > 0) writeFileSync(file, formatChangeSets(rows));
      const asking = commandOf(asked, { verb, file, searchPath });
      // Names that are not ASCII come back as they are.
      const env = { ...run.env, LC_ALL: "C.UTF-8" };
      const { stderr, failure } = await runForOutput(asking, { ...run, env });
      const sets = existsSync(file) ? parseChangeSets(readFileSync(file, "utf8")) : [];
      return { sets, stderr, failure };
    };
    const list = async (searchPath: string | null) => {
      const { sets, failure } = await call("changelog-sync-sql", [], searchPath);
      if (failure !== null) throw new NoAnswer(failure, loadingCure);
      return sets;
    };

    const sets = await list(asked.searchPath);
    const [first] = sets;
    if (first === undefined) {
      throw new NoAnswer("Liquibase finds no change set", loadingCure);
    }
    const places = { copy, frozenFile: frozenPath(project.cwd) };
    const tree = await findTree(asked, places, async () => isSame(sets, await list(copy)));
    const texts = tree.files.map((path) => [path, readFileSync(path, "utf8")] as const);
    const findFirst = (find: (path: string, text: string) => string | null) =>
      texts.map(([path, text]) => find(path, text)).find((one) => one !== null) ?? null;
    const always = findFirst(findAlways);
    const kinds =
      always === null
        ? await findKinds(
            sets,
            texts.flatMap(([, text]) => findValidChecksums(text)),
            async (rows) => call("update-sql", rows, asked.searchPath),
          )
        : null;
    return {
      frozen: {
        listing: { entries: sets.map((set) => toEntry(set, asked.root, kinds)) },
        schema: null,
        tableDoubt: null,
        doubt: findFirst(findDoubt),
        always: always ?? kinds?.always ?? null,
      },
      covered: [tree.covered, ...asked.covered],
      held: heldBy(texts.map(([, text]) => text)),
      created: [],
      summary: `${describeCount(sets.length, "change set")}, by Liquibase ${first["liquibase"] ?? ""}`,
    };
  });
}

interface Asked {
  /** The program, and what launches it. */
  readonly program: Words;
  readonly options: readonly string[];
  readonly ofUpdate: readonly string[];
  /** What the command says. */
  readonly searchPath: string | null;
  /** The folder that it means; absolute. */
  readonly root: string;
  /** As the command has it. */
  readonly given: string;
  /** Within the folder. */
  readonly changeLog: string;
  readonly covered: readonly Covered[];
}

function readAsked(words: Words, project: Project): Asked {
  const { cwd, env, flags } = project;
  const { read, files, javaOptions } = readSettings(project);
  if (javaOptions !== null) {
    throw new NoAnswer(javaOptions, "set them as LIQUIBASE_… or as words of the command");
  }
  const at = words.findIndex(
    (word, index) =>
      basename(word) === "liquibase" && typeof readProgram(words.slice(index + 1)) === "object",
  );
  const [launcher, ...rest] = words.slice(0, at + 1);
  if (launcher === undefined) {
    throw new NoAnswer(
      `${words.join(" ")} does not say how Liquibase is run`,
      "name its own command: --inspect-as 'liquibase update --changelog-file=FILE'",
    );
  }
  if (/^warn$/i.test(read("on-missing-include-changelog") ?? "")) {
    throw new NoAnswer(
      "--on-missing-include-changelog=WARN lets the change log include what is added later",
      "leave entrypoint freeze out: the command runs at every start, under the lock",
    );
  }
  const searchPath = read("search-path") ?? null;
  if (searchPath?.includes(",") === true) {
    throw new NoAnswer(`${searchPath} is more than one folder`, "name one with --search-path");
  }
  const root = resolve(cwd, searchPath ?? ".");
  const changeLog = read("changelog-file");
  if (changeLog === undefined) {
    throw new NoAnswer("no --changelog-file names the change log", loadingCure);
  }
  const within = relative(root, resolve(root, changeLog));
  if (within.startsWith("..")) {
    throw new NoAnswer(`${changeLog} is not in ${root}`, "name its folder with --search-path");
  }
  const given = (names: readonly string[], from: (name: string) => string | undefined) =>
    names.flatMap((name) => {
      const value = from(name);
      return value === undefined ? [] : [`--${name}=${value}`];
    });
  const classpath = (read("classpath") ?? "").split(/[:,]/).filter((path) => path !== "");
  const program = realpathSync(
    resolve(cwd, findProgram(words[at] ?? "", { path: env["PATH"], cwd }).file),
  );
  return {
    program: [launcher, ...rest],
    options: given(kept, (name) => flags.get(`--${name}`)),
    ofUpdate: [
      // Variables may be for `update` alone.
      ...given(keptOfUpdate, read),
      ...(flags.get("-D") ?? "").split("\n").flatMap((one) => (one === "" ? [] : [`-D${one}`])),
    ],
    searchPath,
    root,
    given: changeLog,
    changeLog: within,
    covered: [
      ...[program, ...files, ...classpath].map(
        (path) => ({ kind: "file", path: resolve(cwd, path) }) as const,
      ),
      ...["lib", "internal/lib"].map(
        (name) => ({ kind: "names", path: join(dirname(program), name) }) as const,
      ),
    ],
  };
}

function readProgram(args: readonly string[]) {
  return readWords({ commands: [command] }, { kind: "program", name: "liquibase", args });
}

function commandOf(
  { program: [program, ...rest], options, ofUpdate, given, changeLog, searchPath: own }: Asked,
  { verb, file, searchPath }: { verb: string; file: string; searchPath: string | null },
): Words {
  return [
    program,
    ...rest,
    ...options,
    "--show-banner=false",
    ...(searchPath === null ? [] : [`--search-path=${searchPath}`]),
    verb,
    `--changelog-file=${searchPath === own ? given : changeLog}`,
    `--url=offline:postgresql?outputLiquibaseSql=all&changeLogFile=${file}`,
    ...ofUpdate,
  ];
}

/**
 * The smallest folder around the change log that is enough for the same list, with its files; or the change log alone.
 * @param answers whether Liquibase lists the same with the copy alone.
 */
async function findTree(
  { root, changeLog, searchPath }: Asked,
  { copy, frozenFile }: { copy: string; frozenFile: string },
  answers: () => Promise<boolean>,
): Promise<{ covered: Covered; files: readonly string[] }> {
  const folder = dirname(changeLog);
  const candidates = folder === "." ? [changeLog] : [];
  for (let path = folder; path !== "."; path = dirname(path)) candidates.push(path);
  // The working directory itself has much that is not the change log's.
  if (searchPath !== null) candidates.push(".");
  let last: Error | null = null;
  for (const candidate of candidates) {
    const path = resolve(root, candidate);
    const files = listFiles(path);
    rmSync(copy, { recursive: true, force: true });
    const copyTo = (from: string) => {
      const to = join(copy, relative(root, from));
      mkdirSync(dirname(to), { recursive: true });
      return to;
    };
    for (const file of files) copyFileSync(file, copyTo(file));
    // A change log may include all that is beside it.
    if (frozenFile.startsWith(`${path}/`)) writeFileSync(copyTo(frozenFile), "{}");
    try {
      if (await answers()) {
        const kind = candidate === changeLog ? "file" : "tree";
        return { covered: { kind, path }, files };
      }
      last = null;
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      last = error;
    }
  }
  throw new NoAnswer(
    `the change log includes what lies outside of ${resolve(root, candidates.at(-1) ?? ".")}${last === null ? "" : ` (${last.message.replace(/^.*? failed: /s, "")})`}`,
    "put it and all that it includes into one folder, and name that with --search-path",
  );
}

/** All files below a path. */
function listFiles(path: string): readonly string[] {
  const files: string[] = [];
  let bytes = 0;
  const visit = (at: string): void => {
    const found = statSync(at, { throwIfNoEntry: false });
    if (found?.isDirectory() === true) for (const name of readdirSync(at)) visit(join(at, name));
    if (found?.isFile() !== true) return;
    files.push(at);
    bytes += found.size;
    if (files.length > most.files || bytes > most.bytes) {
      throw new NoAnswer(
        `${path} has more than ${most.files} files or ${most.bytes / 2 ** 20} MiB, which every start would read`,
        "put the change log and all that it includes into a folder of its own",
      );
    }
  };
  visit(path);
  return files;
}

function isSame(sets: readonly ChangeSet[], others: readonly ChangeSet[]): boolean {
  const describe = (all: readonly ChangeSet[]) =>
    all.map((set) => `${nameOf(set)} ${set["md5sum"]}`).join("\n");
  return describe(sets) === describe(others);
}

/** What Liquibase does with a change set that is applied, by its name. */
interface Kinds {
  /** It runs again when its text has changed: `runOnChange`. */
  readonly reruns: ReadonlySet<string>;
  /** Another checksum is as good: `validCheckSum` is `ANY`. */
  readonly unchecked: ReadonlySet<string>;
  /** What else is as good as its checksum, by its name: other values of `validCheckSum`. */
  readonly accepted: ReadonlyMap<string, readonly string[]>;
  /** Why there is always something to run: `runAlways`. */
  readonly always: string | null;
}

/** Tells Liquibase that all are applied, with a text that has changed since, and looks at what it would do. */
async function findKinds(
  sets: readonly ChangeSet[],
  checksums: readonly string[],
  update: (
    rows: readonly ChangeSet[],
  ) => Promise<{ sets: readonly ChangeSet[]; stderr: string; failure: string | null }>,
): Promise<Kinds> {
  const refuse = async (rows: readonly ChangeSet[]) => {
    const { stderr, failure } = await update(rows);
    const refused = findRefused(rows, stderr);
    if (failure !== null && refused.size === 0) throw notUnderstood(failure);
    return refused;
  };
  const refused = await refuse(sets.map(withWrongChecksum));
  const accepted = new Map<string, string[]>();
  for (const md5sum of new Set(checksums)) {
    const still = await refuse(
      sets.map((set) => (refused.has(nameOf(set)) ? { ...set, md5sum } : set)),
    );
    for (const name of refused) {
      if (!still.has(name)) accepted.set(name, [...(accepted.get(name) ?? []), md5sum]);
    }
  }
  const others = new Set(sets.map(nameOf).filter((name) => !refused.has(name)));
  if (others.size === 0) return { reruns: others, unchecked: others, accepted, always: null };
  const rerun = async (rows: readonly ChangeSet[]) => {
    const answer = await update(rows);
    if (answer.failure !== null) throw notUnderstood(answer.failure);
    return answer.sets.filter(({ exectype }) => exectype === "RERAN").map(nameOf);
  };
  const reruns = await rerun(
    sets.map((set) => (others.has(nameOf(set)) ? withWrongChecksum(set) : set)),
  );
  const [always] = reruns.length === 0 ? [] : await rerun(sets);
  return {
    reruns: new Set(reruns),
    unchecked: new Set([...others].filter((name) => !reruns.includes(name))),
    accepted,
    always: always === undefined ? null : `${always} runs at every update (runAlways)`,
  };
}

function notUnderstood(failure: string): NoAnswer {
  return new NoAnswer(
    `cannot tell what Liquibase does once the text of a change set has changed: ${failure}`,
    "leave entrypoint freeze out: the command runs at every start, under the lock",
  );
}

function toEntry(set: ChangeSet, root: string, kinds: Kinds | null): Entry {
  const name = nameOf(set);
  const checksum = kinds?.unchecked.has(name) === true ? {} : { checksum: set["md5sum"] ?? "" };
  const accepts = kinds?.accepted.get(name);
  const reruns = kinds?.reruns.has(name) === true ? ({ reruns: true } as const) : {};
  return {
    id: name,
    name,
    path: resolve(root, set["filename"] ?? ""),
    ...checksum,
    ...(accepts === undefined ? {} : { accepts }),
    ...reruns,
  };
}

/** Only where values stand for names do the options of Java count, which may set some. */
function heldBy(texts: readonly string[]): readonly string[] {
  const names = new Set(texts.flatMap(findVariables));
  return names.size === 0 ? [] : [...names, ...javaVariables];
}
