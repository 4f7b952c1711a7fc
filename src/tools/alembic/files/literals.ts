// What `import`ing a revision file would leave in `revision`, `down_revision`, `branch_labels` and
// `depends_on`, told without running it: module-level assignments of literals, the last one counting.
// Guarantees: a value is either what Python would bind, or "unknown" with the reason.

import {
  decodeSource,
  normaliseNames,
  type Line,
  type Source,
  type Token,
  tokenise,
} from "./tokens.ts";

export type Literal =
  | { readonly kind: "none" }
  | { readonly kind: "string"; readonly value: string }
  | {
      readonly kind: "sequence";
      readonly type: "tuple" | "list" | "set";
      readonly items: readonly string[];
    };

type Variable =
  | Literal
  /** Never bound. */
  | { readonly kind: "absent" }
  /** Bound to something that only Python can tell. */
  | { readonly kind: "unknown"; readonly reason: string };

export const variableNames = ["revision", "down_revision", "branch_labels", "depends_on"] as const;
type VariableName = (typeof variableNames)[number];
type Variables = Readonly<Record<VariableName, Variable>>;

interface Docstring {
  /** Empty if there is none. */
  readonly text: string;
  /** False where versions of Python differ in it, or where only Python could tell. */
  readonly certain: boolean;
}

export type VariablesAnswer =
  | {
      readonly kind: "known";
      readonly variables: Variables;
      readonly doc: Docstring;
    }
  | { readonly kind: "cannot-tell"; readonly reason: string };

// A file without these words cannot reach its module's names from inside a function.
const reachesOut = /\b(?:global|globals|exec|modules)\b/;
/** The words that begin a compound statement, but for those that make a scope of their own. */
export const compoundKeywords = new Set([
  "if",
  "elif",
  "else",
  "for",
  "while",
  "try",
  "except",
  "finally",
  "with",
]);
const dynamicCalls = new Set(["exec", "eval", "globals", "locals", "vars", "setattr", "delattr"]);
const leavingCalls = new Set(["exit", "quit", "_exit", "abort"]);

class CannotTell extends Error {}

/** Reads the four variables out of a revision file. */
export function readVariables(source: Source): VariablesAnswer {
  const decoded = decodeSource(source);
  if (decoded.kind === "unreadable") return { kind: "cannot-tell", reason: decoded.reason };
  const text = normaliseNames(source, decoded.text);
  const reaching = reachesOut.test(text);
  const tokens = tokenise(decoded.text, { skipFunctions: !reaching });
  if (tokens.kind === "unreadable") return { kind: "cannot-tell", reason: tokens.reason };
  try {
    const variables = readModule(tokens.lines, reaching);
    if (!decoded.exact && Object.values(variables).some(hasWideCharacter)) {
      return {
        kind: "cannot-tell",
        reason: "its ids are not ASCII, and its encoding is not UTF-8",
      };
    }
    const doc = readDocstring(tokens.lines);
    const touched = text.includes("__doc__") || (!decoded.exact && isWide(doc.text));
    return { kind: "known", variables, doc: { ...doc, certain: doc.certain && !touched } };
  } catch (error) {
    if (!(error instanceof CannotTell)) throw error;
    return { kind: "cannot-tell", reason: error.message };
  }
}

/** The string that is the first statement. */
function readDocstring(lines: readonly Line[]): Docstring {
  const none: Docstring = { text: "", certain: true };
  const first = lines[0];
  const statement = stripParentheses(splitAt(first?.tokens ?? [], ";")[0] ?? []);
  if (first?.indent !== 0 || statement.length === 0) return none;
  if (statement.some(({ kind, text }) => kind !== "string" || /^\w*[bft]\w*['"]/i.test(text))) {
    return none;
  }
  const doc = joinStrings(statement);
  if (doc?.kind !== "string") return { text: "", certain: false };
  const text = doc.value.trim();
  // Python 3.13 takes tabs and a common indentation out of it.
  const below = doc.value
    .split("\n")
    .slice(1)
    .filter((line) => line.trim() !== "");
  const indented = below.length > 0 && below.every((line) => line.startsWith(" "));
  return { text, certain: !indented && !text.includes("\t") };
}

function hasWideCharacter(variable: Variable): boolean {
  const strings =
    variable.kind === "string"
      ? [variable.value]
      : variable.kind === "sequence"
        ? variable.items
        : [];
  return strings.some(isWide);
}

function isWide(text: string): boolean {
  return /[^\n\r\t -~]/.test(text);
}

type Bindings = Record<VariableName, Variable>;

/** `reaching`: one of the words of `reachesOut` is in it. */
function readModule(lines: readonly Line[], reaching: boolean): Variables {
  const absent: Variable = { kind: "absent" };
  const bindings: Bindings = {
    revision: absent,
    down_revision: absent,
    branch_labels: absent,
    depends_on: absent,
  };
  for (let index = 0; index < lines.length;) {
    let end = index + 1;
    while (end < lines.length && (lines[end] as Line).indent > 0) end += 1;
    const [header, ...body] = lines.slice(index, end) as [Line, ...Line[]];
    if (reaching) refuseReachingOut(header, body);
    readStatement(header, body, bindings);
    index = end;
  }
  return bindings;
}

/** Code in a function may run on import too, if it is called there. */
function refuseReachingOut(header: Line, body: readonly Line[]): void {
  for (const line of [header, ...body]) {
    for (const [index, token] of line.tokens.entries()) {
      if (token.kind !== "name" || line.tokens[index - 1]?.text === ".") {
        // `sys.modules`, under whatever name `sys` has.
        const path = ["import", "from"].includes(line.tokens[0]?.text ?? "");
        if (token.kind === "name" && token.text === "modules" && !path) {
          throw new CannotTell(`line ${line.number} uses .modules`);
        }
        continue;
      }
      if (
        token.text === "globals" ||
        (token.text === "exec" && line.tokens[index + 1]?.text === "(")
      ) {
        throw new CannotTell(`line ${line.number} uses ${token.text}()`);
      }
      if (token.text === "global") {
        const name = line.tokens.slice(index + 1).find((each) => isVariableName(each.text));
        if (name !== undefined)
          throw new CannotTell(`line ${line.number} declares ${name.text} global`);
      }
    }
  }
}

function readStatement(header: Line, body: readonly Line[], bindings: Bindings): void {
  const { tokens, number } = header;
  const first = tokens[0]?.text ?? "";
  const keyword = first === "async" ? (tokens[1]?.text ?? "") : first;
  if (keyword === "def" || keyword === "class") {
    const name = tokens[first === "async" ? 2 : 1]?.text ?? "";
    const headerEnd = keyword === "def" ? headerLength(tokens) : tokens.length;
    refuseLeaving(tokens.slice(0, headerEnd), number);
    bindWalruses(tokens.slice(0, headerLength(tokens)), number, bindings);
    if (keyword === "class")
      forEachExecuted(body, (line) => refuseLeaving(line.tokens, line.number));
    if (name === "__getattr__")
      throw new CannotTell(`line ${number} defines __getattr__ for the module`);
    bindUnknown(
      name,
      `line ${number} defines it as a ${keyword === "def" ? "function" : "class"}`,
      bindings,
    );
    return;
  }
  const compound = compoundKeywords.has(keyword) || tokens.at(-1)?.text === ":";
  if (compound || body.length > 0) {
    const inside = (line: Line): void => {
      refuseLeaving(line.tokens, line.number);
      bindMentions(line, bindings);
    };
    inside(header);
    forEachExecuted(body, inside);
    return;
  }
  for (const statement of splitAt(tokens, ";")) {
    if (statement.length === 0) continue;
    refuseLeaving(statement, number);
    readSimpleStatement(statement, number, bindings);
  }
}

/** The lines of a block that run when the module is imported, but for class bodies' bindings. */
function forEachExecuted(body: readonly Line[], visit: (line: Line) => void): void {
  let functionIndent: number | null = null;
  let classIndent: number | null = null;
  for (const line of body) {
    if (functionIndent !== null && line.indent > functionIndent) continue;
    functionIndent = null;
    if (classIndent !== null && line.indent <= classIndent) classIndent = null;
    const first = line.tokens[0]?.text;
    const keyword = first === "async" ? line.tokens[1]?.text : first;
    let visible = line;
    if (keyword === "def") {
      functionIndent = line.indent;
      visible = { ...line, tokens: line.tokens.slice(0, headerLength(line.tokens)) };
    }
    // Names bound in a class body are the class's own; what leaves the module leaves it from there as well.
    if (classIndent !== null) refuseLeaving(visible.tokens, visible.number);
    else if (keyword === "class") {
      classIndent = line.indent;
      visit({ ...line, tokens: line.tokens.slice(0, headerLength(line.tokens)) });
      refuseLeaving(line.tokens, line.number);
    } else visit(visible);
  }
}

/** How many tokens come up to and with the colon that ends a compound statement's header. */
function headerLength(tokens: readonly Token[]): number {
  const colon = findAtTop(tokens, (token) => token.text === ":");
  return colon === -1 ? tokens.length : colon + 1;
}

function refuseLeaving(tokens: readonly Token[], line: number): void {
  let start = true;
  for (let index = 0; index < tokens.length; index += 1) {
    const token = tokens[index] as Token;
    const attribute = tokens[index - 1]?.text === ".";
    if (token.kind === "name") {
      if (!attribute && (token.text === "raise" || (start && token.text === "assert"))) {
        throw new CannotTell(`line ${line} has ${token.text} at module level`);
      }
      const called = tokens[index + 1]?.text === "(";
      if (called && leavingCalls.has(token.text))
        throw new CannotTell(`line ${line} calls ${token.text}() at module level`);
      if (called && !attribute && dynamicCalls.has(token.text)) {
        throw new CannotTell(`line ${line} calls ${token.text}() at module level`);
      }
      if (token.text === "__dict__")
        throw new CannotTell(`line ${line} uses __dict__ at module level`);
    }
    start = token.text === ":" || token.text === ";";
  }
}

function readSimpleStatement(tokens: readonly Token[], line: number, bindings: Bindings): void {
  bindWalruses(tokens, line, bindings);
  const first = tokens[0]?.text;
  if (first === "import") return bindImports(tokens.slice(1), line, bindings);
  if (first === "from") return bindFromImport(tokens, line, bindings);
  if (first === "del") return bindAll(tokens.slice(1), `line ${line} deletes it`, bindings);
  if (first === "type" && tokens[1]?.kind === "name") {
    return bindUnknown(tokens[1].text, `line ${line} makes it a type alias`, bindings);
  }
  const sign = findAtTop(
    tokens,
    (token) => token.text === "=" || token.text === ":" || isAugmented(token),
  );
  if (sign === -1) return;
  const operator = tokens[sign]?.text as string;
  if (operator === ":") {
    if (first === "lambda") return;
    const equals = findAtTop(tokens, (token) => token.text === "=");
    // An annotation alone binds nothing.
    if (equals !== -1)
      bindTarget(tokens.slice(0, sign), readLiteral(tokens.slice(equals + 1)), line, bindings);
    return;
  }
  if (operator !== "=")
    return bindAll(tokens.slice(0, sign), `line ${line} changes it with ${operator}`, bindings);
  const parts = splitAt(tokens, "=");
  const value = readExpression(parts.at(-1) as readonly Token[]);
  for (const target of parts.slice(0, -1)) bindTarget(target, value, line, bindings);
}

function isAugmented(token: Token): boolean {
  return token.kind === "operator" && /^(?:[-+*/%&|^@]|\*\*|\/\/|>>|<<)=$/.test(token.text);
}

/** A literal, or a display of literals to be unpacked. */
type Expression =
  | Literal
  | { readonly kind: "display"; readonly items: readonly (Literal | null)[] }
  | null;

function bindTarget(
  target: readonly Token[],
  value: Expression,
  line: number,
  bindings: Bindings,
): void {
  const pattern = stripParentheses(target);
  if (pattern.length === 1) {
    const name = (pattern[0] as Token).text;
    if (!isVariableName(name)) return;
    if (value === null || value.kind === "display") {
      bindUnknown(name, `line ${line} assigns what is not a literal`, bindings);
    } else bindings[name] = value;
    return;
  }
  const inner =
    pattern[0]?.text === "[" && matching(pattern, 0) === pattern.length - 1
      ? pattern.slice(1, -1)
      : pattern;
  if (findAtTop(inner, (token) => token.text === ",") === -1 && inner === pattern) {
    // An attribute or an element of something: `x.revision = …`, `x[revision] = …`.
    if (pattern[0]?.text === "*") bindAll(pattern, `line ${line} unpacks into it`, bindings);
    return;
  }
  const targets = splitAt(inner, ",").filter((each) => each.length > 0);
  const items = unpack(value);
  const plain = targets.every((each) => each[0]?.text !== "*");
  for (const [index, each] of targets.entries()) {
    const item = plain && items?.length === targets.length ? (items[index] ?? null) : null;
    bindTarget(each, item, line, bindings);
    if (each[0]?.text === "*") bindAll(each, `line ${line} unpacks into it`, bindings);
  }
}

function unpack(value: Expression): readonly (Literal | null)[] | null {
  if (value?.kind === "display") return value.items;
  if (value?.kind !== "sequence" || value.type === "set") return null;
  return value.items.map((item) => ({ kind: "string", value: item }));
}

function bindUnknown(name: string, reason: string, bindings: Bindings): void {
  if (isVariableName(name))
    bindings[name] = { kind: "unknown", reason: `${name} is not certain: ${reason}` };
}

function bindAll(tokens: readonly Token[], reason: string, bindings: Bindings): void {
  for (const [index, token] of tokens.entries()) {
    if (token.kind === "name" && tokens[index - 1]?.text !== ".")
      bindUnknown(token.text, reason, bindings);
  }
}

function bindWalruses(tokens: readonly Token[], line: number, bindings: Bindings): void {
  for (let index = 1; index < tokens.length; index += 1) {
    if (tokens[index]?.text === ":=")
      bindUnknown((tokens[index - 1] as Token).text, `line ${line} assigns it with :=`, bindings);
  }
}

/** Within a block that may or may not run, whatever is not plainly a keyword or an attribute counts as bound. */
function bindMentions(line: Line, bindings: Bindings): void {
  let depth = 0;
  for (const [index, token] of line.tokens.entries()) {
    if (token.kind === "operator") {
      if ("([{".includes(token.text)) depth += 1;
      else if (")]}".includes(token.text)) depth -= 1;
    }
    if (token.kind !== "name") continue;
    if (token.text === "import" && line.tokens[index + 1]?.text === "*")
      bindStar(line.number, bindings);
    if (line.tokens[index - 1]?.text === "." || (depth > 0 && line.tokens[index + 1]?.text === "="))
      continue;
    bindUnknown(
      token.text,
      `line ${line.number} names it in a block that may or may not run`,
      bindings,
    );
  }
}

function bindStar(line: number, bindings: Bindings): void {
  for (const name of variableNames) bindUnknown(name, `line ${line} imports *`, bindings);
}

function bindImports(names: readonly Token[], line: number, bindings: Bindings): void {
  for (const each of splitAt(names, ",")) {
    const renamed = each.findIndex((token) => token.text === "as");
    const bound = each[renamed === -1 ? 0 : renamed + 1];
    if (bound !== undefined) bindUnknown(bound.text, `line ${line} imports it`, bindings);
  }
}

function bindFromImport(tokens: readonly Token[], line: number, bindings: Bindings): void {
  const names = stripParentheses(
    tokens.slice(tokens.findIndex((token) => token.text === "import") + 1),
  );
  if (tokens[1]?.text === "sys" && names.some((token) => token.text === "modules")) {
    throw new CannotTell(`line ${line} imports sys.modules`);
  }
  if (names[0]?.text === "*") bindStar(line, bindings);
  else bindImports(names, line, bindings);
}

function isVariableName(name: string): name is VariableName {
  return (
    name === "revision" ||
    name === "down_revision" ||
    name === "branch_labels" ||
    name === "depends_on"
  );
}

/**
 * The value of an expression, if it is None, a string (implicitly concatenated too, in parentheses or not),
 * or a tuple, list or set of strings; otherwise null.
 */
export function readLiteral(tokens: readonly Token[]): Literal | null {
  const value = readExpression(tokens);
  return value?.kind === "display" ? null : value;
}

function readExpression(tokens: readonly Token[]): Expression {
  const expression = stripParentheses(tokens);
  const [first] = expression;
  if (first === undefined)
    return tokens.length > 0 ? { kind: "sequence", type: "tuple", items: [] } : null;
  if (expression.length === 1 && first.kind === "name" && first.text === "None")
    return { kind: "none" };
  if (expression.every((token) => token.kind === "string")) return joinStrings(expression);
  const opensAll = matching(expression, 0) === expression.length - 1;
  if (first.text === "[" && opensAll) return readItems(expression.slice(1, -1), "list");
  // `{}` is a dictionary.
  if (first.text === "{" && opensAll)
    return expression.length === 2 ? null : readItems(expression.slice(1, -1), "set");
  if (findAtTop(expression, (token) => token.text === ",") !== -1)
    return readItems(expression, "tuple");
  return null;
}

function joinStrings(tokens: readonly Token[]): Literal | null {
  let value = "";
  for (const token of tokens) {
    if (token.value === null) return null;
    value += token.value;
  }
  return { kind: "string", value };
}

function readItems(tokens: readonly Token[], type: "tuple" | "list" | "set"): Expression {
  const parts = splitAt(tokens, ",");
  if (parts.at(-1)?.length === 0) parts.pop();
  const items = parts.map((part) => (part.length === 0 ? null : readLiteral(part)));
  const strings: string[] = [];
  for (const item of items) if (item?.kind === "string") strings.push(item.value);
  if (strings.length === items.length) return { kind: "sequence", type, items: strings };
  return type === "set" ? null : { kind: "display", items };
}

/** Takes off parentheses that enclose the whole, as long as they do; those that make a tuple only group it. */
function stripParentheses(tokens: readonly Token[]): readonly Token[] {
  let inner = tokens;
  while (inner[0]?.text === "(" && matching(inner, 0) === inner.length - 1)
    inner = inner.slice(1, -1);
  return inner;
}

function matching(tokens: readonly Token[], open: number): number {
  let depth = 0;
  for (let index = open; index < tokens.length; index += 1) {
    const token = tokens[index] as Token;
    if (token.kind !== "operator") continue;
    if ("([{".includes(token.text)) depth += 1;
    else if (")]}".includes(token.text)) depth -= 1;
    if (depth === 0) return index;
  }
  return -1;
}

/** The index of the first token outside all brackets that passes, or -1. */
export function findAtTop(tokens: readonly Token[], test: (token: Token) => boolean): number {
  let depth = 0;
  for (let index = 0; index < tokens.length; index += 1) {
    const token = tokens[index] as Token;
    if (token.kind !== "operator") continue;
    if ("([{".includes(token.text)) depth += 1;
    else if (")]}".includes(token.text)) depth -= 1;
    else if (depth === 0 && test(token)) return index;
  }
  return -1;
}

/** Splits at an operator that stands outside all brackets. */
export function splitAt(tokens: readonly Token[], operator: string): (readonly Token[])[] {
  const parts: (readonly Token[])[] = [];
  let rest = tokens;
  for (;;) {
    const index = findAtTop(rest, (token) => token.text === operator);
    if (index === -1) break;
    parts.push(rest.slice(0, index));
    rest = rest.slice(index + 1);
  }
  parts.push(rest);
  return parts;
}

/** The arguments of the call whose opening parenthesis is at `open`, split at their commas. */
export function readArguments(tokens: readonly Token[], open: number): (readonly Token[])[] {
  let depth = 0;
  for (let index = open; index < tokens.length; index += 1) {
    const token = tokens[index] as Token;
    if (token.kind !== "operator") continue;
    if ("([{".includes(token.text)) depth += 1;
    else if (")]}".includes(token.text)) depth -= 1;
    if (depth === 0)
      return splitAt(tokens.slice(open + 1, index), ",").filter((each) => each.length > 0);
  }
  return [];
}
