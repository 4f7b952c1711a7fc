// A script as the server would meet it: one statement after the other, each with its place, the transaction that it is
// in and the revision that it belongs to. What stands in a DO block counts as statements of its own.
// Guarantees: what cannot be parsed is told, and what comes before and after it is still there.

import type { Node } from "libpg-query";
import { byteIndex, SqlSyntaxError, type SqlParser } from "../sql/parser.ts";

export interface Statement {
  readonly node: Node;
  /** Indices into the script; in a DO block, as near as its lines can tell. */
  readonly start: number;
  readonly end: number;
  /** The statement itself, without the semicolon. */
  readonly text: string;
  /** Statements of one transaction have the same number; null is a transaction of its own. */
  readonly transaction: number | null;
  /** The Alembic revision under whose heading it stands. */
  readonly revision: string | null;
  readonly inDoBlock: boolean;
  /** `EXECUTE` in a DO block: what it runs is known at run time only; `node` is the expression's. */
  readonly opaque: boolean;
  /** The text from a node's `location` on. */
  readonly textFrom: (location: number) => string;
}

/** A piece of the script that is no SQL to the parser. */
interface Unparsed {
  readonly start: number;
  readonly end: number;
  readonly revision: string | null;
  readonly reason: string;
}

export interface Script {
  readonly text: string;
  readonly statements: readonly Statement[];
  readonly unparsed: readonly Unparsed[];
  /** Those that the script has headings for, in their order. */
  readonly revisions: readonly string[];
}

/** `-- Running upgrade a1 -> b2`, as `alembic upgrade --sql` writes it; `a1, a2 -> b3` for a merge. */
const heading = /^-- Running upgrade (.*?) ?-> (\S+)$/gm;

/** The revisions that a script has headings for. */
export function readRevisions(text: string): string[] {
  return Array.from(text.matchAll(heading), ([, , revision = ""]) => revision);
}

export function readScript(parser: SqlParser, text: string): Script {
  const { parsed, failures } = parseAll(parser, text);
  const headings = findHeadings(text, parsed);
  const revisionAt = (index: number) =>
    headings.findLast((one) => one.index <= index)?.revision ?? null;
  const statements: Statement[] = [];
  let [transactions, transaction] = [0, null as number | null];
  for (const { node, start, end, textFrom } of parsed) {
    if ("TransactionStmt" in node) {
      const { kind } = node.TransactionStmt;
      if (kind === "TRANS_STMT_BEGIN" || kind === "TRANS_STMT_START") transaction = ++transactions;
      if (kind === "TRANS_STMT_COMMIT" || kind === "TRANS_STMT_ROLLBACK") transaction = null;
      continue;
    }
    const revision = revisionAt(start);
    const statement: Statement = {
      node,
      start,
      end,
      text: text.slice(start, end),
      transaction,
      revision,
      inDoBlock: false,
      opaque: false,
      textFrom,
    };
    if (!("DoStmt" in node)) {
      statements.push(statement);
      continue;
    }
    // Outside of a transaction the block is one of its own.
    const within = { ...statement, transaction: transaction ?? ++transactions };
    statements.push(...readDoBlock(parser, within, failures));
  }
  return {
    text,
    statements,
    unparsed: failures.map((failure) => ({ ...failure, revision: revisionAt(failure.start) })),
    revisions: headings.map(({ revision }) => revision),
  };
}

interface Parsed {
  readonly node: Node;
  readonly start: number;
  readonly end: number;
  readonly textFrom: (location: number) => string;
}

type Failed = Omit<Unparsed, "revision">;

/** Statements that the parser refuses are stepped over, from one semicolon to the next. */
function parseAll(parser: SqlParser, text: string): { parsed: Parsed[]; failures: Failed[] } {
  const parsed: Parsed[] = [];
  const failures: Failed[] = [];
  const take = (from: number, to: number) => {
    const part = text.slice(from, to);
    const indexOf = byteIndex(part);
    for (const { node, start, end } of parser.parse(part)) {
      const textFrom = (location: number) => part.slice(indexOf(location), end);
      parsed.push({ node, start: from + start, end: from + end, textFrom });
    }
  };
  for (let from = 0; from < text.length;) {
    try {
      take(from, text.length);
      break;
    } catch (error) {
      if (!(error instanceof SqlSyntaxError)) throw error;
      const at = from + error.index;
      // What comes before the statement that is wrong parses by itself.
      let begin = at;
      for (;;) {
        begin = text.lastIndexOf(";", begin - 1) + 1;
        if (begin <= from) {
          begin = from;
          break;
        }
        try {
          take(from, begin);
          break;
        } catch (inner) {
          if (!(inner instanceof SqlSyntaxError)) throw inner;
          begin -= 1;
        }
      }
      const semicolon = text.indexOf(";", at);
      const end = semicolon === -1 ? text.length : semicolon;
      const blank = /^(?:\s|--[^\n]*\n)*/.exec(text.slice(begin, end))?.[0].length ?? 0;
      const start = begin + blank;
      failures.push({ start, end, reason: error.message });
      from = end + 1;
    }
  }
  return { parsed, failures };
}

/** The headings that are no part of a statement's own text. */
function findHeadings(
  text: string,
  parsed: readonly Parsed[],
): { index: number; revision: string }[] {
  const found: { index: number; revision: string }[] = [];
  let next = 0;
  for (const match of text.matchAll(heading)) {
    while ((parsed[next]?.end ?? Infinity) <= match.index) next++;
    if ((parsed[next]?.start ?? Infinity) < match.index) continue;
    found.push({ index: match.index, revision: match[2] ?? "" });
  }
  return found;
}

/** One statement of PL/pgSQL that runs SQL. */
interface BlockStatement {
  readonly query: string;
  readonly line: number;
  readonly dynamic: boolean;
}

function readDoBlock(parser: SqlParser, block: Statement, failures: Failed[]): Statement[] {
  if (!("DoStmt" in block.node)) return [];
  const language = (block.node.DoStmt.args ?? []).find(
    (one) => "DefElem" in one && one.DefElem.defname === "language",
  );
  if (language !== undefined && !JSON.stringify(language).includes("plpgsql")) {
    return [{ ...block, inDoBlock: true, opaque: true }];
  }
  const found: BlockStatement[] = [];
  try {
    findQueries(parser.parsePlPgSql(block.text), found);
  } catch (error) {
    if (!(error instanceof SqlSyntaxError)) throw error;
    failures.push({ start: block.start, end: block.end, reason: error.message });
    return [];
  }
  // PL/pgSQL counts lines from the one that the body's quote opens in.
  const lines = block.text.split("\n");
  const quote = /\$\w*\$|'/.exec(block.text)?.index ?? 0;
  const firstLine = block.text.slice(0, quote).split("\n").length;
  const placeOf = (line: number) => {
    const index = Math.min(firstLine + line - 2, lines.length - 1);
    const before = lines.slice(0, index).reduce((sum, one) => sum + one.length + 1, 0);
    const indent = /^\s*/.exec(lines[index] ?? "")?.[0].length ?? 0;
    return block.start + before + indent;
  };
  return found.flatMap(({ query, line, dynamic }): Statement[] => {
    const start = placeOf(line);
    const common = {
      ...block,
      start,
      end: Math.min(start + query.length, block.end),
      text: query,
      inDoBlock: true,
      opaque: dynamic,
    };
    if (dynamic) return [common];
    try {
      const indexOf = byteIndex(query);
      const textFrom = (location: number) => query.slice(indexOf(location));
      return parser.parse(query).map(({ node }) => ({ ...common, node, textFrom }));
    } catch (error) {
      // A query with PL/pgSQL's own INTO is a SELECT: it changes nothing.
      if (error instanceof SqlSyntaxError) return [];
      throw error;
    }
  });
}

/** Walks PL/pgSQL's tree in the order of the text. */
function findQueries(tree: unknown, found: BlockStatement[]): void {
  if (Array.isArray(tree)) {
    for (const each of tree) findQueries(each, found);
    return;
  }
  if (typeof tree !== "object" || tree === null) return;
  for (const [key, value] of Object.entries(tree)) {
    const statement = value as {
      lineno?: number;
      sqlstmt?: { PLpgSQL_expr?: { query?: string } };
      query?: { PLpgSQL_expr?: { query?: string } };
    };
    if (key === "PLpgSQL_stmt_execsql") {
      const query = statement.sqlstmt?.PLpgSQL_expr?.query ?? "";
      found.push({ query, line: statement.lineno ?? 1, dynamic: false });
    } else {
      if (key === "PLpgSQL_stmt_dynexecute" || key === "PLpgSQL_stmt_dynfors") {
        const query = statement.query?.PLpgSQL_expr?.query ?? "";
        found.push({ query, line: statement.lineno ?? 1, dynamic: true });
      }
      findQueries(value, found);
    }
  }
}
