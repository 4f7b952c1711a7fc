// A migration's file of Python: the line of a statement, by what the tool has reported of it, and the comments.
// Guarantees: nothing is searched outside of the lines that print the statement; without them the location is what is run.

import {
  readLines,
  type TextLines,
  type SourceFile,
  type SourceLocation,
  type SqlOrigin,
} from "./source-file.ts";

/** Null where there is no such file. @param run begins what is run. */
export function openPythonSource(path: string, run: RegExp): SourceFile | null {
  const lines = readLines(path);
  if (lines === null) return null;
  const { text } = lines;
  const offset = run.exec(text)?.index ?? 0;
  const whole: SourceLocation = {
    ...lines.locate(path, lines.lineAt(offset)),
    certain: false,
    region: { first: lines.lineAt(offset), last: lines.lineAt(findEnd(text, offset) - 1) },
  };
  return {
    comments: findComments(lines),
    whole,
    locateLine: (line) => lines.locate(path, line),
    locate(statement, origin) {
      if (origin === null) return whole;
      const { certain } = origin;
      const region = { first: findCommentsAbove(lines, origin.first), last: origin.last };
      const written = findText(lines, origin, statement.text);
      const call = written ?? findCall(lines, origin);
      return { ...lines.locate(path, call.line), ...call, certain, region };
    },
  };
}

type Columns = Pick<SourceLocation, "line" | "column" | "endColumn">;

/** The statement's own first line, where it stands in these lines once. */
function findText(lines: TextLines, { first, last }: SqlOrigin, text: string): Columns | null {
  const needle = (text.split("\n")[0] ?? "").trim();
  const start = lines.startOf(first);
  const searched = lines.text.slice(start, lines.startOf(last + 1));
  const index = needle === "" ? -1 : searched.indexOf(needle);
  if (index === -1 || searched.includes(needle, index + 1)) return null;
  const line = lines.lineAt(start + index);
  const column = start + index - lines.startOf(line) + 1;
  return { line, column, endColumn: column + needle.length };
}

function findCall(lines: TextLines, origin: SqlOrigin): Columns | Pick<Columns, "line"> {
  const { line, endLine, column, endColumn } = origin;
  if (column === null || endColumn === null) return { line: origin.first };
  const text = lines.line(line);
  const columnOf = (bytes: number) => Buffer.from(text).toString("utf8", 0, bytes).length + 1;
  const end = endLine === line ? columnOf(endColumn) : text.trimEnd().length + 1;
  return { line, column: columnOf(column), endColumn: Math.max(end, columnOf(column) + 1) };
}

/** Strings may have lines without indentation: only what begins something else ends the function. */
function findEnd(text: string, start: number): number {
  const body = text.indexOf("\n", start);
  const next = body === -1 ? null : /^(?:async def |def |class |if |@)/m.exec(text.slice(body));
  return next === null ? text.length : body + next.index;
}

/** Python's strings and comments; the quotes of a string may be three. */
const stringOrComment =
  /"""(?:\\[^]|[^\\])*?"""|'''(?:\\[^]|[^\\])*?'''|"(?:\\[^]|[^"\\\n])*"|'(?:\\[^]|[^'\\\n])*'|#[^\n]*/g;

function findComments(lines: TextLines): SourceFile["comments"] {
  return Array.from(lines.text.matchAll(stringOrComment)).flatMap((match) =>
    match[0].startsWith("#") ? [{ line: lines.lineAt(match.index), text: match[0].slice(1) }] : [],
  );
}

function findCommentsAbove(lines: TextLines, line: number): number {
  let first = line;
  while (first > 1 && /^\s*#/.test(lines.line(first - 1))) first--;
  return first;
}
