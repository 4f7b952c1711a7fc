// `alembic upgrade CURRENT:head --sql`: the SQL that the pending revisions would run.
// Guarantees: where a revision fails half-way, what Alembic printed before is there, and what is missing is a gap.

import { Failure } from "../../failure.ts";
import type { Place, PrintedSql, SqlCapability, SqlRange } from "../tool.ts";
import { printingCode, readPrinted } from "./asked/printing.ts";
import { withPython } from "./asked/python.ts";
import { runForOutput } from "../question.ts";
import { findUnprinted } from "../unprinted.ts";
import { wordsFor, type AlembicCommand } from "./command.ts";
import { render } from "./operations.ts";

export function createSql(command: AlembicCommand): SqlCapability {
  return {
    printSql: (range, place) => printSql(command, range, place),
    findStarts,
    render,
  };
}

/** Python has to start, and a long history to be printed. */
const timeoutMs = 60_000;

async function printSql(
  command: AlembicCommand,
  range: SqlRange,
  place: Place,
): Promise<PrintedSql> {
  const { target } = command;
  const to = range.to ?? (target.kind === "revision" ? target.id : target.kind);
  // Alembic takes one revision to start from: with several rows it prints all of them.
  const [from] = range.from.length === 1 ? range.from : [undefined];
  const before = range.withHistory ? from : undefined;
  const upgrade = from === undefined || range.withHistory ? to : `${from}:${to}`;
  const code = printingCode(before === undefined ? null : { from: before, to });
  const words = wordsFor(command, "upgrade", ["--sql", upgrade]);
  try {
    const { printed, asked, failure } = await withPython(
      place.env,
      code,
      async ({ env, folder }) => {
        const { stdout, failure: failed } = await runForOutput(words, { ...place, env, timeoutMs });
        place.stop.throwIfAborted();
        const reported = readPrinted(folder, cureFor);
        return {
          printed: reported ?? readOutput(stdout),
          asked: reported !== null,
          failure: failed,
        };
      },
    );
    if (!asked && range.withHistory)
      return await printSql(command, { ...range, withHistory: false }, place);
    const { starts } = printed;
    const gaps = [
      ...printed.gaps,
      ...(failure === null
        ? []
        : [{ id: starts.at(-1)?.id ?? null, cause: failure, cure: cureFor(failure), line: null }]),
    ];
    const known = new Set(starts.map(({ id }) => id));
    const unprinted = findUnprinted("Alembic", range, { known, gaps }, usualCure);
    return { ...printed, gaps: [...gaps, ...unprinted] };
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "cannot-tell") throw error;
    const gap = { id: null, cause: error.message, cure: error.hint ?? usualCure, line: null };
    return { sql: "", starts: [], origins: [], range: null, gaps: [gap] };
  }
}

/** Of a Python that could not be asked: it prints, and nobody knows which line does. */
function readOutput(stdout: string): PrintedSql {
  const sql = trimPreamble(stdout);
  return { sql, starts: findStarts(sql), origins: [], range: null, gaps: [] };
}

/** By `-- Running upgrade a1 -> b2`, as Alembic writes it above each revision; `a1, a2 -> b3` for a merge. */
export function findStarts(sql: string): PrintedSql["starts"] {
  return Array.from(sql.matchAll(/^-- Running upgrade .*-> (\S+)$/gm), ({ index, 1: id = "" }) => ({
    id,
    start: index,
    path: null,
  }));
}

/** Alembic's first line stands below what env.py prints itself. */
function trimPreamble(stdout: string): string {
  const start = /^(?:BEGIN;|-- Running upgrade |CREATE TABLE )/m.exec(stdout)?.index ?? 0;
  return `${stdout.slice(start)}\n`;
}

function cureFor(failure: string): string {
  if (/NoneType|MockConnection|fetch|scalar|get_bind|offline/i.test(failure)) {
    return "what reads from the database cannot be printed as SQL: put that part under `if not context.is_offline_mode():`, or write # entrypoint: allow incomplete because … in the revision";
  }
  return usualCure;
}

const usualCure =
  "make alembic upgrade --sql work (env.py needs its run_migrations_offline), or lint a file: --sql FILE";
