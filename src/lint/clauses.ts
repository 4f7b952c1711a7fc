// A statement's own words, as they are written: defaults, conditions, types, bounds. A safe form repeats them.
// Guarantees: where a clause ends is read from PostgreSQL's tokens and from where its parser saw the next clause.

import type { ColumnDef, Constraint } from "libpg-query";
import type { SqlToken } from "../postgres/parser.ts";
import { quoteName } from "../postgres/names.ts";
import { wordsOf } from "../postgres/tree.ts";
import type { Statement } from "./statements.ts";

/** Tokens of one statement, one after the other. */
interface Clause {
  readonly text: string;
  readonly tokens: readonly SqlToken[];
}

/** Without the comments before and behind; those in between stay. */
function format({ text, tokens }: Clause): string {
  const [first, last] = [tokens[0], tokens.at(-1)];
  return first === undefined || last === undefined ? "" : text.slice(first.start, last.end);
}

/** From the token at a node's `location` to the end of the statement. */
function clauseFrom(statement: Statement, location: number): Clause {
  const start = statement.indexOf(location);
  const { text } = statement;
  return { text, tokens: statement.tokens().filter((token) => token.start >= start) };
}

/** From the token at a node's `location` to the end of its command in ALTER TABLE. */
function command(statement: Statement, location: number): Clause {
  return upTo(clauseFrom(statement, location), ({ text }) => text === ",");
}

/** The clause up to the first token that is in no parentheses of its own and of which `isEnd` holds. */
function upTo({ text, tokens }: Clause, isEnd: (token: SqlToken) => boolean): Clause {
  let depth = 0;
  const end = tokens.findIndex((token) => {
    if (depth === 0 && isEnd(token)) return true;
    if (token.text === "(" || token.text === "[") depth++;
    // One that closes what was opened before the clause ends it.
    return (token.text === ")" || token.text === "]") && --depth < 0;
  });
  return { text, tokens: end === -1 ? tokens : tokens.slice(0, end) };
}

function isWord(token: SqlToken | undefined, word: string): boolean {
  return token?.text.toLowerCase() === word;
}

/** From the first of these words outside of parentheses on; null where there is none. */
function startAt(clause: Clause, ...words: readonly string[]): Clause | null {
  const before = upTo(clause, (token) => words.some((word) => isWord(token, word)));
  const tokens = clause.tokens.slice(before.tokens.length);
  return words.some((word) => isWord(tokens[0], word)) ? { ...clause, tokens } : null;
}

function behind(clause: Clause, word: string): Clause | null {
  const found = startAt(clause, word);
  return found === null ? null : { ...found, tokens: found.tokens.slice(1) };
}

/** What is in the parentheses that the clause begins with; empty where it begins with none. */
function inParentheses({ text, tokens }: Clause): Clause {
  if (tokens[0]?.text !== "(") return { text, tokens: [] };
  return upTo({ text, tokens: tokens.slice(1) }, () => false);
}

/** The statement, without comments before and behind it. */
export function formatStatement(statement: Statement): string {
  const { text } = statement;
  return format({ text, tokens: statement.tokens() });
}

/** The statement with another word behind the first of `words`: CREATE INDEX becomes CREATE INDEX CONCURRENTLY. */
export function insertBehind(statement: Statement, words: readonly string[], more: string): string {
  const text = formatStatement(statement);
  const tokens = statement.tokens();
  const word = startAt({ text: statement.text, tokens }, ...words)?.tokens[0];
  if (word === undefined) return text;
  const index = word.end - (tokens[0]?.start ?? 0);
  return `${text.slice(0, index)} ${more}${text.slice(index)}`;
}

/** DEFERRABLE and its like: a part of the clause before it. */
export function isAttribute({ contype = "CONSTR_NULL" }: Constraint): boolean {
  return contype.startsWith("CONSTR_ATTR_");
}

/** The rest of a column's clause: up to the next clause of the column, or the next command. */
function columnClause(statement: Statement, column: ColumnDef, location: number): Clause {
  const starts = [
    ...(column.constraints ?? []).map((one) =>
      "Constraint" in one && !isAttribute(one.Constraint) ? one.Constraint.location : undefined,
    ),
    column.collClause?.location,
  ].flatMap((one) => (one === undefined || one <= location ? [] : [statement.indexOf(one)]));
  return upTo(
    clauseFrom(statement, location),
    (token) => token.text === "," || starts.includes(token.start),
  );
}

/** The type of a new column, with its storage and its collation. */
export function definitionOf(statement: Statement, column: ColumnDef): string {
  const { typeName, collClause } = column;
  const clause = columnClause(statement, column, typeName?.location ?? 0);
  const type = format(upTo(clause, (token) => isWord(token, "using")));
  if (collClause === undefined) return type;
  return `${type} COLLATE ${wordsOf(collClause.collname).map(quoteName).join(".")}`;
}

/** Whether the column is nothing but a type. */
export function isPlainType(column: ColumnDef): boolean {
  return (
    column.collClause === undefined &&
    column.storage_name === undefined &&
    column.compression === undefined
  );
}

/** The expression behind DEFAULT. */
export function defaultOf(statement: Statement, column: ColumnDef, given: Constraint): string {
  const clause = columnClause(statement, column, given.location ?? 0);
  return format(behind(clause, "default") ?? clause);
}

/** The expression behind USING; null where there is none. */
export function usingOf(statement: Statement, { typeName }: ColumnDef): string | null {
  const clause = command(statement, typeName?.location ?? 0);
  const using = behind(clause, "using");
  return using === null ? null : format(using);
}

/** The condition in the parentheses behind CHECK. */
export function conditionOf(statement: Statement, { location = 0 }: Constraint): string {
  const check = behind(clauseFrom(statement, location), "check");
  return check === null ? "" : format(inParentheses(check));
}

/** A foreign key without its name; that of a column from REFERENCES on. */
export function foreignKeyOf(
  statement: Statement,
  { location = 0 }: Constraint,
  column: ColumnDef | null,
): string {
  const clause =
    column === null ? command(statement, location) : columnClause(statement, column, location);
  return format(startAt(clause, column === null ? "foreign" : "references") ?? clause);
}

/** What stands behind the columns of UNIQUE or PRIMARY KEY, for its index. */
export function indexParametersOf(
  statement: Statement,
  { location = 0 }: Constraint,
  column: ColumnDef | null,
): string {
  const whole =
    column === null ? command(statement, location) : columnClause(statement, column, location);
  const clause = startAt(whole, "unique", "primary") ?? whole;
  const list = (word: string) => {
    const found = behind(clause, word);
    return found?.tokens[0]?.text === "("
      ? ` ${word.toUpperCase()} (${format(inParentheses(found))})`
      : "";
  };
  const nulls = behind(clause, "nulls");
  const tablespace = behind(clause, "tablespace")?.tokens[0];
  return [
    list("include"),
    isWord(nulls?.tokens[0], "not") ? " NULLS NOT DISTINCT" : "",
    list("with"),
    tablespace === undefined ? "" : ` TABLESPACE ${tablespace.text}`,
  ].join("");
}

/**
 * What stands behind SET, the expression of the first assignment in it, and what stands behind WHERE.
 * @param location of the first column that is assigned.
 */
export function updateOf(
  statement: Statement,
  location: number,
): { readonly set: string; readonly expression: string; readonly where: string | null } {
  const whole = clauseFrom(statement, location);
  const ends = ["where", "from", "returning"];
  const set = upTo(whole, (token) => ends.some((word) => isWord(token, word)));
  const where = behind(whole, "where");
  return {
    set: format(set),
    expression: format(behind(set, "=") ?? { ...set, tokens: [] }),
    where: where === null ? null : format(upTo(where, (token) => isWord(token, "returning"))),
  };
}

/**
 * The bounds of a new partition, `FOR VALUES IN (1)` or DEFAULT, and what stands behind them.
 * @param location of DEFAULT, or of what follows FOR VALUES.
 */
export function boundsOf(
  statement: Statement,
  location: number,
): { readonly bounds: string; readonly storage: string } {
  const clause = clauseFrom(statement, location);
  const { text, tokens } = clause;
  if (isWord(tokens[0], "default"))
    return { bounds: "DEFAULT", storage: format({ text, tokens: tokens.slice(1) }) };
  // The last of the parentheses that follow one another or a TO.
  let end = 0;
  for (let depth = 0, index = 0; index < tokens.length; index++) {
    if (tokens[index]?.text === "(") depth++;
    if (tokens[index]?.text !== ")" || --depth > 0) continue;
    end = index + 1;
    if (!isWord(tokens[end], "to")) break;
  }
  return {
    bounds: `FOR VALUES ${format({ text, tokens: tokens.slice(0, end) })}`,
    storage: format({ text, tokens: tokens.slice(end) }),
  };
}
