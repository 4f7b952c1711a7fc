// The SQL that the pending migrations would run, as Django's sqlmigrate prints it: of all of them by one Python, with the lines that
// print it. Guarantees: what Django cannot write as SQL is a gap; each migration is in the transaction that migrate puts around it.

import type { Words } from "../../../../context.ts";
import { Failure, NoAnswer } from "../../../../failure.ts";
import { loadSqlParser, type SqlParser } from "../../../../postgres/parser.ts";
import type { Step } from "../../../../postgres/steps.ts";
import { quoteLines } from "../../../python-literals.ts";
import { openPythonSource } from "../../../python-source.ts";
import type { SqlOrigin } from "../../../source-file.ts";
import type { FileSql, Place, PrintedSql, SqlGap, SqlRange } from "../../../tool.ts";
import { findUnprinted } from "../../../unprinted.ts";
import type { Project } from "../../row.ts";
import { hasSeveral } from "../../sql.ts";
import { call } from "./ask.ts";
import { printing } from "./printing.ts";
import { question } from "./question.ts";

/** The application is imported, and its models are made anew for each migration. */
const timeoutMs = 120_000;

export function createSql(words: Words, flags: Project["flags"]): FileSql {
  const forms: Form[] = [];
  return {
    async printSql(range, place) {
      const { printed, forms: found } = await printSql(words, flags, range, place);
      forms.push(...found);
      return printed;
    },
    findStarts: () => [],
    render: {
      renderStep: (step) => renderStep(step, forms),
      ownTransactions: "a migration with that operation alone",
      openSource: (path) => openPythonSource(path, /^class Migration\b/m),
    },
  };
}

/** An operation of Django's own, for one that it makes in the place of another. */
interface Form {
  readonly does: keyof typeof doing;
  /** Of the index or constraint. */
  readonly name: string;
  readonly code: string;
}

interface Printed {
  readonly id: string;
  readonly path: string;
  readonly atomic: boolean;
  /** Of one operation each. */
  readonly parts: readonly {
    readonly sql: readonly string[];
    readonly place: Omit<SqlOrigin, "start" | "end"> | null;
    /** The operation has a transaction of its own, in a migration that has none. */
    readonly atomic: boolean;
  }[];
  readonly gaps: readonly (Pick<SqlGap, "cause" | "line"> & {
    /** It reads from the database, and there is none. */
    readonly reads: boolean;
  })[];
  readonly forms: readonly Form[];
}

type Answer =
  | {
      readonly migrations: readonly Printed[];
      readonly range: readonly string[];
      readonly idle: readonly string[];
    }
  /** No migration of that name. */
  | { readonly missing: string };

async function printSql(
  words: Words,
  flags: Project["flags"],
  range: SqlRange,
  place: Place,
): Promise<{ readonly printed: PrintedSql; readonly forms: readonly Form[] }> {
  try {
    const code = `${question}${describeRange(range)}${printing}`;
    const answer = await call<Answer>("print", words, flags, { ...place, timeoutMs }, code);
    if ("missing" in answer) {
      throw new Failure("bad-settings", `there is no migration ${answer.missing}`, {
        hint: "entrypoint history lists them; a range begins behind the newest ones of each application, with commas between them, as entrypoint current prints them",
      });
    }
    const { migrations, idle } = answer;
    const gaps = migrations.flatMap(({ id, gaps: own }) =>
      own.map(({ cause, line, reads }): SqlGap => ({ id, cause, line, cure: cureFor(reads) })),
    );
    const known = new Set([...migrations.map(({ id }) => id), ...idle]);
    const printed = {
      ...join(await loadSqlParser(), migrations),
      range: range.withHistory ? answer.range : null,
      gaps: [...gaps, ...findUnprinted("Django", range, { known, gaps }, unprintedCure)],
    };
    return { printed, forms: migrations.flatMap(({ forms }) => forms) };
  } catch (error) {
    place.stop.throwIfAborted();
    if (!(error instanceof NoAnswer)) throw error;
    const gap = { id: null, cause: error.message, cure: error.cure, line: null };
    return { printed: { sql: "", starts: [], origins: [], range: null, gaps: [gap] }, forms: [] };
  }
}

const unprintedCure =
  "look whether Django uses the same database (DATABASES, --database), and why migrate would not run it";

function cureFor(reads: boolean): string {
  const allow =
    "look at it by hand, and write # entrypoint: allow incomplete because … in the migration";
  return reads ? `lint on a database that is where the range begins; or ${allow}` : allow;
}

function describeRange({ from, to, pending, withHistory, live }: SqlRange): string {
  const python = (value: boolean) => (value ? "True" : "False");
  const isNewest = to === null || to === "head" || to === "heads";
  return [
    "",
    // What is applied is Django's to say where it is asked for what is pending.
    `FROM = ${pending === null ? JSON.stringify(from.flatMap((id) => id.split(","))) : "None"}`,
    `TO = ${isNewest ? "None" : JSON.stringify(to)}`,
    `HISTORY = ${python(withHistory)}`,
    `LIVE = ${python(live)}`,
    "",
  ].join("\n");
}

function join(
  parser: SqlParser,
  migrations: readonly Printed[],
): Pick<PrintedSql, "sql" | "starts" | "origins"> {
  let sql = "";
  const starts: PrintedSql["starts"][number][] = [];
  const origins: SqlOrigin[] = [];
  for (const { id, path, atomic, parts } of migrations) {
    starts.push({ id, start: sql.length, path });
    if (atomic) sql += "BEGIN;\n";
    for (const part of parts) {
      const start = sql.length;
      for (const statement of part.sql) {
        // The server runs what it is sent together in one transaction.
        const wrapped = !atomic && (part.atomic || hasSeveral(parser, statement));
        // A text may end within a comment.
        sql += wrapped ? `BEGIN;\n${statement}\n;\nCOMMIT;\n` : `${statement}\n;\n`;
      }
      if (part.place !== null) origins.push({ start, end: sql.length, ...part.place });
    }
    if (atomic) sql += "COMMIT;\n";
  }
  return { sql, starts, origins };
}

/** The statement that an operation runs, and the name in it. */
const doing = {
  "create-index": /^CREATE INDEX CONCURRENTLY ("(?:[^"]|"")+"|\w+) ON /,
  "drop-index": /^DROP INDEX CONCURRENTLY (?:IF EXISTS )?("(?:[^"]|"")+"|\w+)$/,
  "add-check": / ADD CONSTRAINT ("(?:[^"]|"")+"|\w+) CHECK .* NOT VALID$/s,
  validate: / VALIDATE CONSTRAINT ("(?:[^"]|"")+"|\w+)$/,
};

/** As operations of a migration. What a RunSQL changes in the models is for its `state_operations` to say. */
function renderStep({ statements, transaction }: Step, forms: readonly Form[]): string {
  if (statements.length === 0) return "";
  const operations = statements.map(({ sql }) => {
    const code = forms.find((form) => isFor(form, sql))?.code;
    return `${code ?? `migrations.RunSQL(${quoteLines(sql)})`},`;
  });
  return [...(transaction === "inside" ? [] : ["# with atomic = False"]), ...operations].join("\n");
}

function isFor({ does, name }: Form, sql: string): boolean {
  const found = doing[does].exec(sql)?.[1];
  return found?.replace(/^"(.*)"$/s, "$1").replaceAll('""', '"') === name;
}
