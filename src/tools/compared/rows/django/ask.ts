// What Django reports of its migrations, without a database: `shell -c` takes the place of `migrate` in the migration command.
// Guarantees: nothing is migrated; what Django would refuse is no answer.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Words } from "../../../../context.ts";
import { Failure, NoAnswer } from "../../../../failure.ts";
import { describeCount } from "../../../../log/words.ts";
import type { Covered } from "../../../fingerprint.ts";
import { withPython } from "../../../python.ts";
import { runForOutput, type Run } from "../../../question.ts";
import type { AskedDatabase } from "../../../tool.ts";
import type { Watched } from "../../../watch.ts";
import type { Answer, Entry, Project } from "../../row.ts";
import { question } from "./question.ts";

/** A migration, as Django reports it. */
export interface Reported {
  readonly app: string;
  readonly name: string;
  readonly path: string;
  /** Each as APP.NAME. */
  readonly replaces: readonly string[];
}

interface Report extends Watched {
  readonly django: string;
  /** In an order in which Django could run them; what a squash replaces comes before it, whether it has a file or not. */
  readonly migrations: readonly Reported[];
  /** The folders of migrations of the project's own applications. */
  readonly folders: readonly string[];
  /** Files that would be imported if they were there. */
  readonly absent: readonly string[];
  /** The migrations of each application with several newest ones. */
  readonly conflicts: Readonly<Record<string, readonly string[]>>;
  /** Whose command `migrate` is. */
  readonly command: string;
  /** What is run before or after every migration, besides Django's own. */
  readonly receivers: readonly string[];
  /** Applications with models and no migrations, whose content types and permissions every run makes. */
  readonly unmigrated: readonly string[];
  /** The session's options of the database, which may set the search path. */
  readonly options: string;
  /** The variables on which the applications depend. */
  readonly held: readonly string[];
}

export async function ask(words: Words, flags: Project["flags"], run: Run): Promise<Answer> {
  const report = await call<Report>("report", words, flags, run);
  const { migrations, receivers, unmigrated, options } = report;
  if (!/^django\.core\b/.test(report.command)) {
    throw new NoAnswer(
      `the command migrate is that of ${report.command}, and not Django's own`,
      "leave entrypoint freeze out: the command runs at every start, under the lock",
    );
  }
  const conflicts = Object.entries(report.conflicts);
  if (conflicts.length > 0) {
    const each = conflicts.map(([app, names]) => `${names.join(" and ")} of ${app}`);
    throw new NoAnswer(
      `Django refuses conflicting migrations: ${each.join("; ")}`,
      "merge them: python manage.py makemigrations --merge",
    );
  }
  if (migrations.length === 0) {
    throw new NoAnswer(
      "Django finds no migration",
      "make sure that the applications are in INSTALLED_APPS, and their migrations in the image",
    );
  }
  const entries = entriesOf(migrations);
  const apps = new Set(migrations.map(({ app }) => app));
  return {
    frozen: {
      listing: { entries },
      ...readSearchPath(options),
      doubt: null,
      always: whyAlways(receivers, unmigrated),
    },
    covered: listCovered(report),
    held: report.held,
    created: report.created,
    summary: `${describeCount(migrations.length, "migration")} of ${describeCount(apps.size, "application")}, by Django ${report.django}`,
  };
}

export function entriesOf(migrations: readonly Reported[]): readonly Entry[] {
  return migrations.map(({ app, name, path, replaces }) => {
    const id = `${app}.${name}`;
    return { id, name: id, path, branch: app, ...(replaces.length > 0 ? { replaces } : {}) };
  });
}

function whyAlways(receivers: readonly string[], unmigrated: readonly string[]): string | null {
  const [receiver] = receivers;
  if (receiver !== undefined) return `${receiver} runs with every migrate, also with an empty one`;
  const [app] = unmigrated;
  return app === undefined
    ? null
    : `the application ${app} has models and no migrations: every migrate makes their content types and permissions`;
}

/** The schema of the table, where the database's options set the search path. */
function readSearchPath(options: string): { schema: string | null; tableDoubt: string | null } {
  const path = /search_path\s*=\s*(\S+)/.exec(options.replaceAll("\\ ", ""))?.[1];
  if (path === undefined) return { schema: null, tableDoubt: null };
  if (/^[a-z_][a-z0-9_]*$/.test(path)) return { schema: path, tableDoubt: null };
  return {
    schema: null,
    tableDoubt: `DATABASES sets the search path to ${path}: name the table with --version-table`,
  };
}

const loadingCure =
  "make sure that the settings can be loaded without a database, and that no application queries one as it is loaded";

/** What Django would connect to. */
export async function askDatabase(
  words: Words,
  flags: Project["flags"],
  run: Run,
): Promise<AskedDatabase> {
  const cure = "set ENTRYPOINT_DATABASE_URL, in which ${NAME} stands for a variable";
  let target: Target;
  try {
    target = await call<Target>("database", words, flags, run);
  } catch (error) {
    run.stop.throwIfAborted();
    if (!(error instanceof NoAnswer || error instanceof Failure)) throw error;
    return { kind: "no-answer", reason: error.message, cure };
  }
  const { vendor, parameters } = target;
  if (vendor !== "postgresql") return { kind: "foreign", dialect: vendor };
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([name]) => connecting.has(name) || name.startsWith("ssl")),
  );
  return { kind: "url", url: `postgresql:///?${query.toString()}` };
}

interface Target {
  readonly vendor: string;
  /** The driver's. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** The rest is about sessions. */
const connecting = new Set(
  "host hostaddr port user password dbname passfile service options target_session_attrs".split(
    " ",
  ),
);

/**
 * Calls a function of the question by `shell -c` in place of `migrate`. Throws NoAnswer, and Failure "not-found" or
 * "not-executable". @param asking defines it.
 */
export async function call<T>(
  name: "report" | "database" | "print",
  words: Words,
  flags: Project["flags"],
  run: Run,
  asking: string = question,
): Promise<T> {
  const at = words.lastIndexOf("migrate");
  const [program, ...rest] = words.slice(0, Math.max(at, 0));
  if (program === undefined) {
    throw new NoAnswer(
      `${words.join(" ")} does not say how Django is run`,
      "name its own command: --inspect-as 'python manage.py migrate'",
    );
  }
  const options = ["--settings", "--pythonpath"].flatMap((option) => {
    const value = flags.get(option);
    return value === undefined ? [] : [`${option}=${value}`];
  });
  const shell: Words = [
    program,
    ...rest,
    "shell",
    ...options,
    "-c",
    `import entrypoint_question; entrypoint_question.answer("${name}")`,
  ];
  const code = `DATABASE = ${JSON.stringify(flags.get("--database") ?? "default")}\n${asking}`;
  const { answer, failure } = await withPython(run.env, code, async ({ env, folder }) => {
    const { failure: failed } = await runForOutput(shell, { ...run, env });
    const reported = readAnswer(folder);
    if (reported === null) {
      const reason = failed ?? "the command ended before Django could be queried";
      return { answer: null, failure: reason };
    }
    return "refused" in reported
      ? { answer: null, failure: reported.refused }
      : { answer: reported, failure: null };
  });
  if (answer === null) throw new NoAnswer(failure ?? "", loadingCure);
  return answer.answer as T;
}

type Answered = { readonly answer: unknown } | { readonly refused: string };

function readAnswer(folder: string): Answered | null {
  let text: string;
  try {
    text = readFileSync(join(folder, "answer.json"), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  return JSON.parse(text) as Answered;
}

/** The files that the list may depend on. */
function listCovered(report: Report): Covered[] {
  const { folders, files, absent, listed, installations } = report;
  const inFolder = (path: string) => folders.some((folder) => path.startsWith(`${folder}/`));
  const paths = new Set([...files, ...absent].filter((path) => !inFolder(path)));
  return [
    ...[...paths].map((path) => ({ kind: "file", path }) as const),
    ...installations.map((path) => ({ kind: "packages", path }) as const),
    ...listed
      .filter((path) => !folders.includes(path) && !inFolder(path))
      .map((path) => ({ kind: "names", path }) as const),
    ...folders.map(
      (path) => ({ kind: "revisions", path, recursive: false, sourceless: true }) as const,
    ),
  ];
}
