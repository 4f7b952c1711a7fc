// PostgreSQL's own parser, version 18, as WebAssembly. It takes some 30 ms to start, so only the commands that read SQL
// load it. It counts bytes or characters; here positions are indices of the string that was given.

import type { Node } from "libpg-query";
import { SqlSyntaxError } from "./errors.ts";

/** One statement of a script. */
interface ParsedStatement {
  /** The parse tree, with PostgreSQL's names: `{ AlterTableStmt: … }`. */
  readonly node: Node;
  /** Indices into the script: from the first token to behind the last one, without the semicolon. */
  readonly start: number;
  readonly end: number;
  /** A `location` of the tree as an index into the statement's own text. */
  readonly indexOf: (location: number) => number;
}

/** A token of a script, or a comment. Indices are into the script. */
export interface SqlToken {
  readonly start: number;
  readonly end: number;
  /** As written. */
  readonly text: string;
  readonly comment: boolean;
}

export interface SqlParser {
  /** The statements of a script, none for an empty one. Throws SqlSyntaxError. */
  parse(script: string): ParsedStatement[];
  /** The tokens of a script, whether they make statements or not. Throws SqlSyntaxError where one does not end. */
  scan(script: string): SqlToken[];
  /**
   * The tree of the PL/pgSQL body in a DO or CREATE FUNCTION statement: `{ plpgsql_funcs: [{ PLpgSQL_function: … }] }`.
   * Throws SqlSyntaxError, with index 0.
   */
  parsePlPgSql(statement: string): unknown;
}

/** Throws Failure "bad-settings" where the bundle has been copied without the parser. */
export async function loadSqlParser(): Promise<SqlParser> {
  const { loadModule, parsePlPgSQLSync, parseSync, scanSync, SqlError } =
    await import("libpg-query");
  await loadModule();
  return {
    parse(script) {
      // The parser rejects an empty string.
      if (script === "") return [];
      try {
        const { stmts = [] } = parseSync(script);
        const indexOf = byteIndex(script);
        return stmts.flatMap(({ stmt, stmt_location: offset = 0, stmt_len: length }) => {
          if (stmt === undefined) return [];
          const start = indexOf(offset);
          const end = length === undefined ? script.trimEnd().length : indexOf(offset + length);
          let indexOfOwn: ((offset: number) => number) | null = null;
          return [
            {
              node: stmt,
              start,
              end,
              indexOf(location) {
                indexOfOwn ??= byteIndex(script.slice(start, end));
                return indexOfOwn(location - offset);
              },
            },
          ];
        });
      } catch (error) {
        if (!(error instanceof SqlError)) throw error;
        const characters = error.sqlDetails?.cursorPosition ?? 0;
        const index = Array.from(script).slice(0, characters).join("").length;
        throw new SqlSyntaxError(error.message, index);
      }
    },
    scan(script) {
      const plain = scanPlain(script);
      if (plain !== null) return plain;
      try {
        // The scanner's JSON is broken by a control character.
        const { tokens } = scanSync(script.replaceAll(controlCharacters, " "));
        const indexOf = byteIndex(script);
        return tokens.map((token) => {
          const [start, end] = [indexOf(token.start), indexOf(token.end)];
          const comment = token.tokenName.endsWith("_COMMENT");
          return { start, end, text: script.slice(start, end), comment };
        });
      } catch (error) {
        if (!(error instanceof Error) || error.name === "RuntimeError") throw error;
        throw new SqlSyntaxError("a string, a name or a comment does not end", 0);
      }
    },
    parsePlPgSql(statement) {
      try {
        return parsePlPgSQLSync(statement);
      } catch (error) {
        if (!(error instanceof Error) || error.name === "RuntimeError") throw error;
        throw new SqlSyntaxError(error.message, 0);
      }
    },
  };
}

/** What can begin or hide a string of another kind, a comment, or a name that is no word. */
const unplain = /--|\/\*|[\\$]|&["']|(?<![\w\u0080-\uFFFF])[bBnNxX]'|0[bBoOxX]/;

/** A token of a plain text, or white space; a quote that does not end is none. */
const plainToken = new RegExp(
  [
    // oxlint-disable-next-line no-control-regex
    /[\u0000-\u0020\u007F]+/,
    /[eE]?'(?:[^']|'')*'(?:\s*[\n\r]\s*'(?:[^']|'')*')*/,
    /"(?:[^"]|"")+"/,
    /[A-Za-z_\u0080-\uFFFF][\w\u0080-\uFFFF]*/,
    /(?:\d[\d_]*(?:\.(?!\.)[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?/,
    /::|:=|\.\.|[()[\],;:.]/,
    // An operator ends with a sign only if it has one of these characters.
    /[-+*/<>=]*[~!@#%^&|`?][-+*/<>=~!@#%^&|`?]*|[-+*/<>=]*[*/<>=]|[-+]/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "y",
);

/** What the scanner finds in a text without comments and special strings, in a tenth of its time; null for another text. */
function scanPlain(script: string): SqlToken[] | null {
  if (unplain.test(script)) return null;
  const tokens: SqlToken[] = [];
  for (let start = 0; start < script.length; start = plainToken.lastIndex) {
    plainToken.lastIndex = start;
    const [text] = plainToken.exec(script) ?? [];
    if (text === undefined) return null;
    if (text.charCodeAt(0) <= 0x20 || text === "\u007F") continue;
    tokens.push({ start, end: start + text.length, text, comment: false });
  }
  return tokens;
}

/** Each of one byte, as the space that takes its place; none has a meaning of its own to SQL. */
// oxlint-disable-next-line no-control-regex
const controlCharacters = /[\u0000-\u0008\u000B-\u000C\u000E-\u001F\u007F]/g;

/** From an offset in the UTF-8 form of `text` to an index of `text`. */
function byteIndex(text: string): (offset: number) => number {
  const bytes = Buffer.from(text);
  if (bytes.length === text.length) return (offset) => offset;
  let [knownOffset, knownIndex] = [0, 0];
  return (offset) => {
    if (offset < knownOffset) [knownOffset, knownIndex] = [0, 0];
    knownIndex += bytes.toString("utf8", knownOffset, offset).length;
    knownOffset = offset;
    return knownIndex;
  };
}
