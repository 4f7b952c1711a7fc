// Python source, as far as one has to understand it to know which statements stand at module level:
// decoding, strings (f-strings nest), brackets, comments, continuation, indentation.
// Guarantees: what is inside a string or a comment is never taken for code, nor code for a string.

import { isAscii, isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";

export interface Token {
  readonly kind: "name" | "string" | "number" | "operator";
  /** As written; an identifier is in the form Python compares (NFKC). */
  readonly text: string;
  /** The value of a plain string literal; null for bytes, f-strings, t-strings and everything else. */
  readonly value: string | null;
}

/** One logical line: a simple statement, several with `;`, or the header of a compound one. */
export interface Line {
  /** Columns of indentation, tabs to multiples of eight. 0 is module level. */
  readonly indent: number;
  /** Empty for the lines of a skipped function body. */
  readonly tokens: readonly Token[];
  /** Of the first physical line, from 1. */
  readonly number: number;
}

export type Tokens =
  | { readonly kind: "read"; readonly lines: readonly Line[] }
  | { readonly kind: "unreadable"; readonly reason: string };

export type SourceText =
  /** Where `exact` is false, characters beyond ASCII are not those that Python would see. */
  | { readonly kind: "text"; readonly text: string; readonly exact: boolean }
  | { readonly kind: "unreadable"; readonly reason: string };

// Encodings in which every byte below 0x80 is ASCII and no byte of a longer character is: quotes,
// backslashes and newlines can be found without knowing the rest.
const asciiSupersets =
  /^(?:us-)?ascii$|^646$|^latin-?[0-9]*$|^l1$|^iso-?8859(?:-[0-9]+)?$|^8859$|^cp125[0-8]$|^windows-125[0-8]$|^koi8-[rtu]$/;
const utf8Names = /^utf-?8(?:-(?:sig|unix|dos|mac))?$|^u8$|^utf$|^cp65001$/;
const codingCookie = /^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)/;
const blankOrComment = /^[ \t\f]*(?:#.*)?$/;

/** The bytes of a file, or its text where all of them are ASCII, which is what most files are and read in half the time. */
export type Source = Uint8Array | string;

export function readSource(path: string): Source {
  const text = readFileSync(path, "utf8");
  // What is not ASCII takes more bytes than characters, and so does a byte that is not UTF-8.
  return Buffer.byteLength(text) === text.length ? text : readFileSync(path);
}

/** Decodes a Python file by PEP 263: byte order mark, coding cookie in the first two lines, else UTF-8. */
export function decodeSource(source: Source): SourceText {
  if (typeof source === "string") return decodeAscii(source);
  let body = source;
  const marked = source[0] === 0xef && source[1] === 0xbb && source[2] === 0xbf;
  if (marked) body = source.subarray(3);
  const buffer = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (buffer.includes(0)) return { kind: "unreadable", reason: nullByte };
  const cookie = findCodingCookie(buffer.toString("latin1", 0, cookieBytes));
  const ascii = isAscii(buffer);
  if (cookie === null || utf8Names.test(cookie)) {
    if (ascii) return { kind: "text", text: buffer.toString("latin1"), exact: true };
    if (!isUtf8(buffer)) return { kind: "unreadable", reason: "it is not UTF-8" };
    return { kind: "text", text: buffer.toString("utf8"), exact: true };
  }
  if (marked)
    return { kind: "unreadable", reason: `it has a byte order mark, but says coding ${cookie}` };
  if (!asciiSupersets.test(cookie)) return { kind: "unreadable", reason: describeCookie(cookie) };
  if (/^(?:us-)?ascii$|^646$/.test(cookie) && !ascii)
    return { kind: "unreadable", reason: "it is not ASCII" };
  return { kind: "text", text: buffer.toString("latin1"), exact: ascii };
}

/** The decoded text with its names in the form in which Python compares them. */
export function normaliseNames(source: Source, text: string): string {
  return typeof source === "string" || isAscii(source) ? text : text.normalize("NFKC");
}

function decodeAscii(text: string): SourceText {
  if (text.includes("\0")) return { kind: "unreadable", reason: nullByte };
  const cookie = findCodingCookie(text.slice(0, cookieBytes));
  if (cookie === null || utf8Names.test(cookie) || asciiSupersets.test(cookie)) {
    return { kind: "text", text, exact: true };
  }
  return { kind: "unreadable", reason: describeCookie(cookie) };
}

const nullByte = "it holds a null byte";

function describeCookie(cookie: string): string {
  return `its encoding is ${cookie}`;
}

/** As much of a file as can hold its first two lines, within reason. */
const cookieBytes = 1024;

function findCodingCookie(start: string): string | null {
  if (!start.includes("coding")) return null;
  const top = start.split(/\r\n|\r|\n/, 2);
  const first = codingCookie.exec(top[0] ?? "");
  const found =
    first ?? (blankOrComment.test(top[0] ?? "") ? codingCookie.exec(top[1] ?? "") : null);
  return found?.[1] === undefined ? null : found[1].toLowerCase().replaceAll("_", "-");
}

const closing: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };
const operators =
  /\*\*=|\/\/=|>>=|<<=|\.\.\.|:=|==|!=|<=|>=|->|\+=|-=|\*=|\/=|%=|&=|\|=|\^=|@=|\*\*|\/\/|<<|>>/y;
const stringPrefix = /^(?:[rubft]|[bft]r|r[bft])$/i;

class Unreadable extends Error {}

/**
 * Splits Python source into logical lines of tokens.
 * With `skipFunctions` the bodies of module-level functions are walked over but not kept.
 */
export function tokenise(source: string, options: { readonly skipFunctions: boolean }): Tokens {
  const text = source.includes("\r") ? source.replaceAll(/\r\n?/g, "\n") : source;
  try {
    return { kind: "read", lines: readLines(text, options.skipFunctions) };
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return { kind: "unreadable", reason: error.message };
  }
}

function readLines(text: string, skipFunctions: boolean): Line[] {
  const lines: Line[] = [];
  let at = 0;
  let lineNumber = 1;
  let skipping = false;
  while (at < text.length) {
    let indent = 0;
    for (; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code === 32) indent += 1;
      else if (code === 9) indent = (Math.floor(indent / 8) + 1) * 8;
      else if (code === 12) indent = 0;
      else break;
    }
    if (at >= text.length) break;
    if (text[at] === "\n") {
      at += 1;
      lineNumber += 1;
      continue;
    }
    if (text[at] === "#") {
      at = endOfLine(text, at);
      continue;
    }
    const start = at;
    if (indent > 0 && skipping) at = skipLogicalLine(text, at);
    else {
      const tokens: Token[] = [];
      at = readLogicalLine(text, at, tokens);
      if (tokens.length > 0) {
        lines.push({ indent, tokens, number: lineNumber });
        if (indent === 0) {
          const first = tokens[0]?.text;
          skipping =
            skipFunctions && (first === "def" || (first === "async" && tokens[1]?.text === "def"));
        }
      }
    }
    lineNumber += countNewlines(text, start, at);
  }
  return lines;
}

/** What decides nothing: it begins no string and no comment, and opens and closes nothing. */
const dull = /[^\n"'#\\()[\]{}]*/y;
const plainName = /[A-Za-z0-9_]*/y;

/** The index of the first character from `at` on that is not matched by `run`, which is sticky and matches nothing too. */
function skipRun(run: RegExp, text: string, at: number): number {
  run.lastIndex = at;
  run.test(text);
  return run.lastIndex;
}

/** The end of the logical line of which nothing is kept. */
function skipLogicalLine(text: string, start: number): number {
  const brackets: string[] = [];
  let at = start;
  for (;;) {
    at = skipRun(dull, text, at);
    if (at >= text.length) break;
    const character = text[at] as string;
    if (character === "\n") {
      at += 1;
      if (brackets.length === 0) return at;
    } else if (character === "#") {
      at = endOfLine(text, at);
    } else if (character === "\\") {
      at = skipContinuation(text, at);
    } else if (character === '"' || character === "'") {
      at = skipString(text, at, findPrefix(text, start, at), 0);
    } else {
      matchBracket(brackets, character);
      at += 1;
    }
  }
  refuseOpen(brackets);
  return at;
}

/** The prefix of the string that opens at `quote`, in small letters; `start` is where the line begins. */
function findPrefix(text: string, start: number, quote: number): string {
  let from = quote;
  while (from > start && quote - from < 3 && isNamePart(text.charCodeAt(from - 1))) from -= 1;
  const prefix = text.slice(from, quote);
  return stringPrefix.test(prefix) ? prefix.toLowerCase() : "";
}

function skipContinuation(text: string, at: number): number {
  if (text.charCodeAt(at + 1) !== 10) throw new Unreadable("a backslash stands outside a string");
  return at + 2;
}

function matchBracket(open: string[], character: string, where = ""): void {
  if (character in closing) open.push(closing[character] as string);
  else if (character === ")" || character === "]" || character === "}") {
    if (open.pop() !== character) throw new Unreadable(`an unexpected ${character}${where}`);
  }
}

function refuseOpen(brackets: readonly string[]): void {
  if (brackets.length > 0)
    throw new Unreadable(`a bracket is never closed: ${brackets.at(-1)} is missing`);
}

function readLogicalLine(text: string, start: number, tokens: Token[]): number {
  const brackets: string[] = [];
  let at = start;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === 32 || code === 9 || code === 12) {
      at += 1;
    } else if (code === 10) {
      at += 1;
      if (brackets.length === 0) return at;
    } else if (code === 35) {
      at = endOfLine(text, at);
    } else if (code === 92) {
      at = skipContinuation(text, at);
    } else if (code === 34 || code === 39) {
      const end = skipString(text, at, "", 0);
      tokens.push({
        kind: "string",
        text: text.slice(at, end),
        value: stringValue(text, at, end, ""),
      });
      at = end;
    } else if (isNameStart(code)) {
      let end = skipRun(plainName, text, at);
      const plain = !(text.charCodeAt(end) > 127);
      if (!plain) while (end < text.length && isNamePart(text.charCodeAt(end))) end += 1;
      const quote = text.charCodeAt(end);
      if (
        (quote === 34 || quote === 39) &&
        end - at <= 2 &&
        stringPrefix.test(text.slice(at, end))
      ) {
        const prefix = text.slice(at, end).toLowerCase();
        const after = skipString(text, end, prefix, 0);
        tokens.push({
          kind: "string",
          text: text.slice(at, after),
          value: stringValue(text, end, after, prefix),
        });
        at = after;
      } else {
        const name = text.slice(at, end);
        tokens.push({ kind: "name", text: plain ? name : name.normalize("NFKC"), value: null });
        at = end;
      }
    } else if (code >= 48 && code <= 57) {
      let end = at + 1;
      while (end < text.length && (isNamePart(text.charCodeAt(end)) || text[end] === ".")) end += 1;
      tokens.push({ kind: "number", text: text.slice(at, end), value: null });
      at = end;
    } else {
      const character = text[at] as string;
      let operator = character;
      if ("()[]{},".includes(character)) matchBracket(brackets, character);
      else {
        operators.lastIndex = at;
        operator = operators.exec(text)?.[0] ?? character;
      }
      tokens.push({ kind: "operator", text: operator, value: null });
      at += operator.length;
    }
  }
  refuseOpen(brackets);
  return at;
}

function isNameStart(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95 || code > 127;
}

function isNamePart(code: number): boolean {
  return isNameStart(code) || (code >= 48 && code <= 57);
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end === -1 ? text.length : end;
}

function countNewlines(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf("\n", from); at !== -1 && at < to; at = text.indexOf("\n", at + 1))
    count += 1;
  return count;
}

const dullInDouble = /[^"\\\n]*/y;
const dullInSingle = /[^'\\\n]*/y;

/** The index after the string whose opening quote is at `open`. */
function skipString(text: string, open: number, prefix: string, depth: number): number {
  const quote = text[open] as string;
  const triple = text.startsWith(quote.repeat(3), open);
  const end = triple ? quote.repeat(3) : quote;
  const formatted = prefix.includes("f") || prefix.includes("t");
  const raw = prefix.includes("r");
  let at = open + end.length;
  const inner = quote === '"' ? dullInDouble : dullInSingle;
  while (at < text.length) {
    if (!formatted) at = skipRun(inner, text, at);
    if (at >= text.length) break;
    const character = text[at] as string;
    if (character === quote && (!triple || text.startsWith(end, at))) return at + end.length;
    if (character === "\n" && !triple) break;
    if (character === "\\") {
      if (!formatted) at += 2;
      // Within an f-string a backslash does not hide a brace, unless it is \N{NAME}.
      else if (text[at + 1] === "{" || text[at + 1] === "}") at += 1;
      else if (!raw && text.startsWith("N{", at + 1)) at = skipTo(text, at, "}");
      else at += 2;
    } else if (formatted && character === "{") {
      if (text[at + 1] === "{") at += 2;
      else at = skipReplacementField(text, at + 1, end, depth + 1);
    } else {
      at += 1;
    }
  }
  throw new Unreadable("a string is never closed");
}

function skipTo(text: string, from: number, character: string): number {
  const found = text.indexOf(character, from);
  if (found === -1) throw new Unreadable("a string is never closed");
  return found + 1;
}

/** The index after the `}` that closes the replacement field whose expression begins at `from`. */
function skipReplacementField(
  text: string,
  from: number,
  enclosing: string,
  depth: number,
): number {
  if (depth > 100) throw new Unreadable("f-strings are nested too deep");
  const brackets: string[] = [];
  let at = from;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    const character = text[at] as string;
    if (code === 34 || code === 39) {
      at = skipString(text, at, "", depth);
    } else if (isNameStart(code)) {
      let end = at + 1;
      while (end < text.length && isNamePart(text.charCodeAt(end))) end += 1;
      const quoted = text[end] === '"' || text[end] === "'";
      const prefix = text.slice(at, end);
      at =
        quoted && stringPrefix.test(prefix)
          ? skipString(text, end, prefix.toLowerCase(), depth)
          : end;
    } else if (character === "#") {
      at = endOfLine(text, at);
    } else if (character === "}" && brackets.length === 0) {
      return at + 1;
    } else if (character === ":" && brackets.length === 0) {
      return skipFormatSpecification(text, at + 1, enclosing, depth);
    } else {
      matchBracket(brackets, character, " in an f-string");
      at += 1;
    }
  }
  throw new Unreadable("a string is never closed");
}

function skipFormatSpecification(
  text: string,
  from: number,
  enclosing: string,
  depth: number,
): number {
  let at = from;
  while (at < text.length) {
    const character = text[at] as string;
    if (character === "}") return at + 1;
    if (text.startsWith(enclosing, at) || (character === "\n" && enclosing.length === 1)) break;
    if (character === "{") at = skipReplacementField(text, at + 1, enclosing, depth + 1);
    else if (character === "\\" && text[at + 1] !== "{" && text[at + 1] !== "}") at += 2;
    else at += 1;
  }
  throw new Unreadable("a string is never closed");
}

const simpleEscapes: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** The value of the literal between `open` and `end`, or null where it is not a plain string. */
function stringValue(text: string, open: number, end: number, prefix: string): string | null {
  if (/[bft]/.test(prefix)) return null;
  const width = text.startsWith((text[open] as string).repeat(3), open) && end - open >= 6 ? 3 : 1;
  const body = text.slice(open + width, end - width);
  if (prefix === "r" || !body.includes("\\")) return body;
  let value = "";
  for (let at = 0; at < body.length;) {
    if (body[at] !== "\\") {
      value += body[at];
      at += 1;
      continue;
    }
    const next = body[at + 1] ?? "";
    const simple = simpleEscapes[next];
    if (simple !== undefined) {
      value += simple;
      at += 2;
      continue;
    }
    const octal = /^[0-7]{1,3}/.exec(body.slice(at + 1, at + 4));
    if (octal !== null) {
      value += String.fromCharCode(Number.parseInt(octal[0], 8));
      at += 1 + octal[0].length;
      continue;
    }
    // A name out of the Unicode database is not ours to look up.
    if (next === "N") return null;
    const length = next === "x" ? 2 : next === "u" ? 4 : next === "U" ? 8 : 0;
    if (length > 0) {
      const digits = body.slice(at + 2, at + 2 + length);
      if (digits.length !== length || !/^[0-9a-f]+$/i.test(digits)) return null;
      const code = Number.parseInt(digits, 16);
      if (code > 0x10_ff_ff) return null;
      value += String.fromCodePoint(code);
      at += 2 + length;
      continue;
    }
    // An unknown escape stands for itself, backslash and all.
    value += `\\${next}`;
    at += 1 + next.length;
  }
  return value;
}
