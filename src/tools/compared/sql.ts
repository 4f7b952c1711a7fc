// The SQL of migrations that are files of SQL, as their tool would run it: without what goes back, and with the transactions that
// the tool puts around it. Guarantees: a migration that is no SQL is a gap; each statement keeps its file and its line.

import { readFileSync } from "node:fs";
import { Failure } from "../../failure.ts";
import { SqlSyntaxError } from "../../postgres/errors.ts";
import { loadSqlParser, type SqlParser } from "../../postgres/parser.ts";
import { requireRegularFile } from "../../runtime/regular-file.ts";
import { readLines, TextLines, type SourceFile, type SqlOrigin } from "../source-file.ts";
import type { FileSql, PrintedSql, SqlGap, SqlRange } from "../tool.ts";
import type { Entry, Project, SqlFiles } from "./row.ts";

/** @param entries all of the image, in their order. */
export function createSql(rules: SqlFiles, entries: readonly Entry[], project: Project): FileSql {
  const fileOf = ({ path }: Entry) =>
    rules.fileOf === undefined ? (path.endsWith(".sql") ? path : null) : rules.fileOf(path);
  return {
    async printSql(range) {
      const parser = await loadSqlParser();
      const chosen = choose(entries, range);
      const pieces = chosen.map((entry) => readPiece(rules, entry, fileOf(entry)));
      const printed = join(pieces, {
        parser,
        transaction:
          typeof rules.transaction === "function" ? rules.transaction(project) : rules.transaction,
      });
      const after = range.withHistory ? choose(entries, { ...range, withHistory: false }) : null;
      return { ...printed, range: after === null ? null : after.map(({ name }) => name) };
    },
    findStarts: () => [],
    render: {
      renderStep: () => "",
      ownTransactions: rules.ownTransactions,
      openSource: (path) => openSource(rules, path),
    },
  };
}

/** Throws Failure "bad-settings" for a name that no migration has. */
function choose(entries: readonly Entry[], range: SqlRange): readonly Entry[] {
  const { from, to, pending, withHistory } = range;
  if (pending !== null) return entries.filter(({ name }) => pending.includes(name));
  const find = (text: string): number => {
    const index = entries.findIndex(({ id, name }) => name === text || id === text);
    if (index !== -1) return index;
    throw new Failure("bad-settings", `there is no migration ${text}`, {
      hint: "entrypoint history lists them",
    });
  };
  const last = from.at(-1);
  const start = withHistory || last === undefined ? 0 : find(last) + 1;
  const isNewest = to === null || to === "head" || to === "heads";
  return entries.slice(start, isNewest ? entries.length : find(to) + 1);
}

/** What one migration runs. */
interface Piece {
  readonly id: string;
  readonly path: string | null;
  /** The part of the file that goes up, and its first line. */
  readonly sql: string;
  readonly line: number;
  readonly lines: number;
  /** It is run outside of a transaction: in one piece, or each statement by itself. */
  readonly bare: "script" | "statements" | null;
  readonly gap: SqlGap | null;
}

function readPiece(rules: SqlFiles, { name: id, path }: Entry, file: string | null): Piece {
  const none = { id, path, sql: "", line: 1, lines: 1, bare: null };
  const gap = (cause: string, cure: string) => ({
    ...none,
    gap: { id, cause, cure, line: null },
  });
  if (file === null) return gap(`${path} is no file of SQL`, "look at it by hand");
  let text: string;
  try {
    requireRegularFile(file);
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error;
    return gap(`${file} cannot be read: ${error.message}`, "look whether it is in the image");
  }
  const unreadable = rules.unreadable?.find(([pattern]) => pattern.test(text));
  const { start, end } = findUp(rules, text);
  const lines = new TextLines(text);
  const line = lines.lineAt(start);
  const isBare =
    typeof rules.bare === "function" ? rules.bare(file, text) : rules.bare?.test(text) === true;
  return {
    id,
    path: file,
    sql: separate(rules, text.slice(start, end)),
    line,
    lines: lines.lineAt(Math.max(start, end - 1)) - line + 1,
    bare: isBare ? (rules.bareRuns ?? "statements") : null,
    gap:
      unreadable === undefined
        ? null
        : { id, cause: unreadable[1], cure: "look at it by hand", line: null },
  };
}

/** From the line that begins what goes up to the one that begins what goes back. */
function findUp({ up, down }: SqlFiles, text: string): { start: number; end: number } {
  const begin = up?.exec(text)?.index ?? 0;
  const rest = down?.exec(text.slice(begin));
  return { start: begin, end: rest == null ? text.length : begin + rest.index };
}

/** What parts statements becomes a semicolon, so that each stays where it is. */
function separate({ separator }: SqlFiles, sql: string): string {
  if (separator === undefined) return sql;
  return sql.replaceAll(separator, (found) => ";".padEnd(found.length));
}

function join(
  pieces: readonly Piece[],
  { parser, transaction }: { parser: SqlParser; transaction: "each" | "all" | "script" },
): Omit<PrintedSql, "range"> {
  let sql = transaction === "all" ? "BEGIN;\n" : "";
  const starts: PrintedSql["starts"][number][] = [];
  const origins: SqlOrigin[] = [];
  for (const piece of pieces) {
    const { id, path, line, lines } = piece;
    const own = piece.bare ?? transaction;
    const wrapped = own === "each" || (own === "script" && hasSeveral(parser, piece.sql));
    starts.push({ id, start: sql.length, path });
    if (wrapped) sql += "BEGIN;\n";
    const start = sql.length;
    // A file may end within a statement, or a comment.
    sql += `${piece.sql}\n;\n`;
    const last = line + lines - 1;
    origins.push({
      start,
      end: sql.length,
      first: line,
      last,
      line,
      endLine: last,
      column: null,
      endColumn: null,
      certain: true,
    });
    if (wrapped) sql += "COMMIT;\n";
  }
  if (transaction === "all") sql += "COMMIT;\n";
  return { sql, starts, origins, gaps: pieces.flatMap(({ gap }) => (gap === null ? [] : [gap])) };
}

/** The server runs statements that it is sent together in one transaction. */
export function hasSeveral(parser: SqlParser, sql: string): boolean {
  try {
    return parser.parse(sql).length > 1;
  } catch (error) {
    if (error instanceof SqlSyntaxError) return true;
    throw error;
  }
}

function openSource(rules: SqlFiles, path: string): SourceFile | null {
  const lines = readLines(path);
  if (lines === null) return null;
  const { text } = lines;
  const { start, end } = findUp(rules, text);
  const region = { first: lines.lineAt(start), last: lines.lineAt(Math.max(start, end - 1)) };
  const whole = { ...lines.locate(path, region.first), certain: false, region };
  return {
    isSql: true,
    comments: Array.from(text.matchAll(/--.*/g), ({ index, 0: comment }) => ({
      line: lines.lineAt(index),
      text: comment.slice(2),
    })),
    whole,
    locateLine: (line) => lines.locate(path, line),
    locate(statement, origin) {
      if (origin === null) return whole;
      const index = lines.startOf(origin.first) + statement.start - origin.start;
      const line = lines.lineAt(index);
      const column = index - lines.startOf(line) + 1;
      const excerpt = lines.line(line);
      const length = Math.min(statement.text.length, excerpt.length - column + 1);
      return {
        file: path,
        line,
        column,
        endColumn: column + Math.max(1, length),
        certain: true,
        excerpt,
        region: { first: line, last: lines.lineAt(index + statement.text.length - 1) },
      };
    },
  };
}
