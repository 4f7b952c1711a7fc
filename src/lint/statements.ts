// A script as the server would run it: one statement after the other, each with its position, its transaction and the
// migration that it is part of. The statements of a DO block are statements of their own.
// Guarantees: what cannot be parsed is reported, and what comes before and after it is still read.

import type { Node } from "libpg-query";
import { SqlSyntaxError } from "../postgres/errors.ts";
import type { SqlParser, SqlToken } from "../postgres/parser.ts";
import { quoteLiteral, quoteName } from "../postgres/names.ts";
import { wordsOf } from "../postgres/tree.ts";
import type { PrintedSql } from "../tools/tool.ts";

export interface Statement {
  readonly node: Node;
  /** Indices into the script; in a DO block, as near as its lines can tell. */
  readonly start: number;
  readonly end: number;
  /** The statement itself, without the semicolon. */
  readonly text: string;
  /** Statements of one transaction have the same number; null is a transaction of its own. */
  readonly transaction: number | null;
  /** The migration that it is part of. */
  readonly revision: string | null;
  readonly inDoBlock: boolean;
  /** `EXECUTE` in a DO block: what it runs is known at run time only; `text` is the expression. */
  readonly opaque: boolean;
  /** A node's `location` as an index into `text`. */
  readonly indexOf: (location: number) => number;
  /** The tokens of `text`, without comments. */
  readonly tokens: () => readonly SqlToken[];
}

/** A piece of the script that the parser rejects. */
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
  /** The migrations that the script is known to have, in their order. */
  readonly revisions: readonly string[];
  /** Where a transaction begins that the script does not end; null where there is none. */
  readonly openSince: number | null;
}

/** @param starts where each migration begins, by the tool that printed the script. */
export function readScript(
  parser: SqlParser,
  text: string,
  starts: PrintedSql["starts"] = [],
): Script {
  const { parsed, failures } = parseAll(parser, blankPsql(parser, text));
  const headings = dropInner(starts, parsed);
  const revisionAt = (index: number) =>
    headings.findLast(({ start }) => start <= index)?.id ?? null;
  const statements: Statement[] = [];
  let [transactions, transaction] = [0, null as number | null];
  let openSince: number | null = null;
  for (const { node, start, end, indexOf } of parsed) {
    if ("TransactionStmt" in node) {
      const { kind } = node.TransactionStmt;
      if (kind === "TRANS_STMT_BEGIN" || kind === "TRANS_STMT_START") {
        transaction = ++transactions;
        openSince = start;
      }
      if (
        kind === "TRANS_STMT_COMMIT" ||
        kind === "TRANS_STMT_ROLLBACK" ||
        kind === "TRANS_STMT_PREPARE"
      ) {
        const { chain } = node.TransactionStmt;
        transaction = chain === true ? ++transactions : null;
        openSince = chain === true ? start : null;
      }
      continue;
    }
    const own = text.slice(start, end);
    const statement: Statement = {
      node,
      start,
      end,
      text: own,
      transaction,
      revision: revisionAt(start),
      inDoBlock: false,
      opaque: false,
      indexOf,
      tokens: scanOnce(parser, own),
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
    revisions: headings.map(({ id }) => id),
    openSince,
  };
}

function scanOnce(parser: SqlParser, text: string): Statement["tokens"] {
  let tokens: readonly SqlToken[] | null = null;
  return () => (tokens ??= parser.scan(text).filter(({ comment }) => !comment));
}

interface Parsed extends Pick<Statement, "node" | "start" | "end" | "indexOf"> {}

type Failed = Omit<Unparsed, "revision">;

/** Statements that the parser rejects are stepped over, from one semicolon to the next. */
function parseAll(parser: SqlParser, text: string): { parsed: Parsed[]; failures: Failed[] } {
  const parsed: Parsed[] = [];
  const failures: Failed[] = [];
  const take = (from: number, to: number) => {
    for (const one of parser.parse(text.slice(from, to))) {
      parsed.push({ ...one, start: from + one.start, end: from + one.end });
    }
  };
  /** Scanned once, where it is needed at all; empty where some token does not end. */
  let tokens: readonly SqlToken[] | null = null;
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
      tokens ??= scanAll(parser, text);
      const semicolon =
        tokens.length === 0
          ? text.indexOf(";", at)
          : (tokens.find((token) => token.start >= at && token.text === ";")?.start ?? -1);
      const end = semicolon === -1 ? text.length : semicolon;
      const bound = fillPlaceholders(text.slice(begin, end), tokens, begin);
      if (bound !== null) {
        try {
          for (const one of parser.parse(bound))
            parsed.push({ ...one, start: begin + one.start, end: begin + one.end });
          from = end + 1;
          continue;
        } catch (inner) {
          if (!(inner instanceof SqlSyntaxError)) throw inner;
        }
      }
      const blank = /^(?:\s|--[^\n]*\n)*/.exec(text.slice(begin, end))?.[0].length ?? 0;
      failures.push({ start: begin + blank, end, reason: error.message });
      from = end + 1;
    }
  }
  return { parsed, failures };
}

/** psql's own commands, such as `\\connect blog`, are no SQL: they become spaces. */
function blankPsql(parser: SqlParser, text: string): string {
  if (!text.includes("\\") || !/^\s*\\[a-z!?]/m.test(text)) return text;
  const quoted = scanAll(parser, text).filter(
    ({ text: own, comment }) => comment || /^(?:[a-z]&?)?['"$]/i.test(own),
  );
  return text.replaceAll(/^[^\S\n]*\\[a-z!?].*$/gm, (line, index: number) =>
    quoted.some(({ start, end }) => start <= index && index < end) ? line : " ".repeat(line.length),
  );
}

/** `%(n)s`, `:n`, `%s` and `?` as drivers write a value that is bound later. */
const placeholder = /%\(\w+\)s|(?<![:\w]):[A-Za-z_]\w*|%s\b|\?/g;

/**
 * The same text, as long as before, with parameters of PostgreSQL's in place of a driver's; null where there are none.
 * @param tokens of the whole script. @param begin of `text` in it.
 */
function fillPlaceholders(text: string, tokens: readonly SqlToken[], begin: number): string | null {
  // In a string, a name and a comment they are not.
  const quoted = tokens.filter(
    ({ start, end, text: own, comment }) =>
      end > begin && start < begin + text.length && (comment || /^(?:[a-z]&?)?['"$]/i.test(own)),
  );
  const filled = text.replaceAll(placeholder, (found, index: number) => {
    const at = begin + index;
    if (quoted.some(({ start, end }) => start <= at && at < end)) return found;
    return (found.length === 1 ? "0" : "$1").padEnd(found.length);
  });
  return filled === text ? null : filled;
}

function scanAll(parser: SqlParser, text: string): readonly SqlToken[] {
  try {
    return parser.scan(text);
  } catch (error) {
    if (error instanceof SqlSyntaxError) return [];
    throw error;
  }
}

/** A tool finds a heading in a string of a statement, too. */
function dropInner(starts: PrintedSql["starts"], parsed: readonly Parsed[]): PrintedSql["starts"] {
  let next = 0;
  return starts.filter(({ start }) => {
    while ((parsed[next]?.end ?? Infinity) <= start) next++;
    return (parsed[next]?.start ?? Infinity) >= start;
  });
}

/** One statement of PL/pgSQL that runs SQL. */
interface BlockStatement {
  readonly query: string;
  readonly line: number;
  readonly dynamic: boolean;
}

function readDoBlock(parser: SqlParser, block: Statement, failures: Failed[]): Statement[] {
  if (!("DoStmt" in block.node)) return [];
  const options = (block.node.DoStmt.args ?? []).flatMap((one) =>
    "DefElem" in one ? [one.DefElem] : [],
  );
  const language = options.find(({ defname }) => defname === "language");
  const body = options.find(({ defname }) => defname === "as");
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
  const quote = block.indexOf(body?.location ?? 0);
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
    const sql = dynamic ? constantOf(parser, query) : query;
    if (sql === null) return [common];
    try {
      return parser.parse(sql).map(({ node, start: from, end: to, indexOf }) => {
        const text = sql.slice(from, to);
        return { ...common, node, text, indexOf, opaque: false, tokens: scanOnce(parser, text) };
      });
    } catch (error) {
      // A query with PL/pgSQL's own INTO is a SELECT: it changes nothing.
      if (error instanceof SqlSyntaxError) return dynamic ? [common] : [];
      throw error;
    }
  });
}

/** The string that an expression of PL/pgSQL is whenever it runs; null where that is known only then. */
function constantOf(parser: SqlParser, expression: string): string | null {
  try {
    const [parsed] = parser.parse(`SELECT ${expression}`);
    const [target] =
      parsed !== undefined && "SelectStmt" in parsed.node
        ? (parsed.node.SelectStmt.targetList ?? [])
        : [];
    return target !== undefined && "ResTarget" in target ? evaluate(target.ResTarget.val) : null;
  } catch (error) {
    if (error instanceof SqlSyntaxError) return null;
    throw error;
  }
}

/** A literal, `a || b`, and format() of such. */
function evaluate(node: Node | undefined): string | null {
  if (node === undefined) return null;
  if ("A_Const" in node)
    return node.A_Const.sval === undefined ? null : (node.A_Const.sval.sval ?? "");
  if ("A_Expr" in node) {
    if (wordsOf(node.A_Expr.name).join(".") !== "||") return null;
    const [left, right] = [evaluate(node.A_Expr.lexpr), evaluate(node.A_Expr.rexpr)];
    return left === null || right === null ? null : left + right;
  }
  if (!("FuncCall" in node) || wordsOf(node.FuncCall.funcname).at(-1) !== "format") return null;
  const [template, ...values] = (node.FuncCall.args ?? []).map(evaluate);
  if (template === undefined || template === null) return null;
  let next = 0;
  let known = true;
  const text = template.replaceAll(/%(.?)/g, (_found, type: string) => {
    if (type === "%") return "%";
    const value = values[next++];
    if (value === undefined || value === null || !"sIL".includes(type) || type === "")
      known = false;
    return type === "I"
      ? quoteName(value ?? "")
      : type === "L"
        ? quoteLiteral(value ?? "")
        : (value ?? "");
  });
  return known ? text : null;
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
