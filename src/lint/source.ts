// The SQL that is linted: of the pending revisions, as `alembic upgrade CURRENT:head --sql` prints it, or of a file.
// Guarantees: where Alembic fails half-way, what it has printed is there, and what is missing is said.

import { readFileSync } from "node:fs";
import { Failure } from "../exit-codes.ts";
import { runForOutput } from "../migrations/alembic/run.ts";
import type { Graph } from "../migrations/alembic/graph.ts";
import { askAlembic, type MigrationCommand } from "../migrations/command.ts";
import type { Context } from "../migrations/migrate.ts";

export interface Source {
  readonly sql: string;
  /** The file that it comes from; null for Alembic's output. */
  readonly file: string | null;
  /** Those that count, and will run together; null for all that the script has headings for. */
  readonly pending: readonly string[] | null;
  /** The revisions' files. */
  readonly graph: Graph | null;
  readonly gaps: readonly Gap[];
}

/** What could not be had. */
interface Gap {
  /** The revision in which it begins; null: nothing was printed of any. */
  readonly revision: string | null;
  readonly cause: string;
  readonly cure: string;
}

/** Throws Failure "bad-settings". */
export function readSqlFile(path: string, graph: Graph | null): Source {
  try {
    return { sql: readFileSync(path, "utf8"), file: path, pending: null, graph, gaps: [] };
  } catch (error) {
    throw new Failure("bad-settings", `--sql ${path}: ${(error as Error).message}`, {
      hint: "name a file of SQL, such as alembic upgrade A:B --sql prints",
    });
  }
}

/** From where to where. */
export interface Range {
  /** The rows of the version table; none from the beginning. */
  readonly from: readonly string[];
  readonly to: string;
}

/** Python has to be started, and a long history to be printed. */
const timeoutMs = 60_000;
/** Each costs a start of Python. */
const mostRestarts = 10;

/** Has Alembic print the SQL of `range`. A revision that fails there is left out from where it failed, the rest goes on. */
export async function askSql(
  { settings, signals }: Context,
  range: Range,
  pending: readonly string[] | null,
  graph: Graph | null,
): Promise<Source> {
  const gaps: Gap[] = [];
  let sql = "";
  // Alembic takes one revision to start from: with several rows all is printed, and what is not pending left out.
  let [from] = range.from.length === 1 ? range.from : [undefined];
  for (let restarts = 0; restarts <= mostRestarts; restarts++) {
    const upgrade = from === undefined ? range.to : `${from}:${range.to}`;
    const words = askAlembic(settings.migrate ?? [], "upgrade", ["--sql", upgrade]);
    if (words === null) {
      throw new Failure("cannot-tell", "the migration command is not understood", {
        hint: "name a file of SQL: --sql FILE",
      });
    }
    const { stdout, failure } = await runForOutput(settings, words, {
      stop: signals.stop,
      timeoutMs,
    });
    signals.stop.throwIfAborted();
    sql += trimPreamble(stdout);
    if (failure === null) break;
    const revision = [...stdout.matchAll(/^-- Running upgrade .*-> (\S+)$/gm)].at(-1)?.[1] ?? null;
    gaps.push({ revision, cause: failure, cure: cureFor(failure) });
    // The next one may be printable; a target that is this one leaves nothing.
    if (revision === null || revision === from || pending?.at(-1) === revision) break;
    from = revision;
  }
  return { sql, file: null, pending, graph, gaps };
}

/** What env.py prints itself stands before Alembic's first line. */
function trimPreamble(stdout: string): string {
  const start = /^(?:BEGIN;|-- Running upgrade |CREATE TABLE )/m.exec(stdout)?.index ?? 0;
  return `${stdout.slice(start)}\n`;
}

function cureFor(failure: string): string {
  if (/NoneType|MockConnection|fetch|scalar|get_bind|offline/i.test(failure)) {
    return "what reads from the database cannot be printed as SQL: put that part under `if not context.is_offline_mode():`, or say # entrypoint: allow incomplete because … in the revision";
  }
  return "make alembic upgrade --sql work (env.py needs its run_migrations_offline), or lint a file: --sql FILE";
}

/** `head`, `heads` or a revision, as the migration command names it. */
export function targetWord(command: MigrationCommand): string {
  if (command.kind === "opaque") return "head";
  return command.target.kind === "revision" ? command.target.id : command.target.kind;
}
