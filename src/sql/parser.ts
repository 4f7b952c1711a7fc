// PostgreSQL's own parser, version 18, as WebAssembly. It takes some 30 ms to start, so those commands alone load it
// that read SQL. Places in its answers, which count bytes or characters, become indices of the string that it was given.

import type { Node } from "libpg-query";

/** One statement of a script. */
interface ParsedStatement {
  /** The parse tree, with PostgreSQL's names: `{ AlterTableStmt: … }`. */
  readonly node: Node;
  /** Indices into the script: from the first token to behind the last one, without the semicolon. */
  readonly start: number;
  readonly end: number;
}

/** What the parser says against a text, and at which index of it. */
export class SqlSyntaxError extends Error {
  override readonly name = "SqlSyntaxError";
  readonly index: number;
  constructor(message: string, index: number) {
    super(message);
    this.index = index;
  }
}

export interface SqlParser {
  /** The statements of a script, none for an empty one. Throws SqlSyntaxError. */
  parse(script: string): ParsedStatement[];
  /**
   * The tree of the PL/pgSQL body in a DO or CREATE FUNCTION statement: `{ plpgsql_funcs: [{ PLpgSQL_function: … }] }`.
   * Throws SqlSyntaxError, with index 0.
   */
  parsePlPgSql(statement: string): unknown;
}

/** Throws Failure "bad-settings" where the bundle has been copied without the parser. */
export async function loadSqlParser(): Promise<SqlParser> {
  const { loadModule, parsePlPgSQLSync, parseSync, SqlError } = await import("libpg-query");
  await loadModule();
  return {
    parse(script) {
      // The parser takes an empty string for a mistake.
      if (script === "") return [];
      try {
        const { stmts = [] } = parseSync(script);
        const indexOf = byteIndex(script);
        return stmts.flatMap(({ stmt, stmt_location: start = 0, stmt_len: length }) =>
          stmt === undefined
            ? []
            : [
                {
                  node: stmt,
                  start: indexOf(start),
                  end: length === undefined ? script.trimEnd().length : indexOf(start + length),
                },
              ],
        );
      } catch (error) {
        if (!(error instanceof SqlError)) throw error;
        const characters = error.sqlDetails?.cursorPosition ?? 0;
        const index = Array.from(script).slice(0, characters).join("").length;
        throw new SqlSyntaxError(error.message, index);
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

/** From an offset in the UTF-8 form of `text` to an index of `text`. */
export function byteIndex(text: string): (offset: number) => number {
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
