// env.py, which alone decides what Alembic connects to and how often it migrates. It is not run: its
// tokens are searched for whatever could make the ordinary reading of files and version table wrong.
// Guarantees: unless a hazard is named, it migrates once, from the configured folders, with this version table.

import {
  type Literal,
  compoundKeywords,
  findAtTop,
  readArguments,
  readLiteral,
  splitAt,
} from "./literals.ts";
import {
  decodeSource,
  type Line,
  normaliseNames,
  type Source,
  type Token,
  tokenise,
} from "./tokens.ts";

export interface Environment {
  /** As given to `context.configure`, by literals only; null stands for Alembic's default. */
  readonly versionTable: string | null;
  readonly versionTableSchema: string | null;
  /** Why the version table is not certain; the user's word on it settles that. */
  readonly tableHazard: string | null;
  /** Why the folders are not certain; the user's word on them settles that. */
  readonly folderHazard: string | null;
  /** The statements that may set the folders, by the first and the last line that each one may be on. */
  readonly folderLines: readonly (readonly [first: number, last: number])[];
  /** Why it may migrate never, or something else. Nothing settles that. */
  readonly flowHazard: string | null;
  /** Why it may migrate several times; the user's word on the schemas settles that. */
  readonly repetition: string | null;
  /** It reads what `-x` says. */
  readonly readsXArguments: boolean;
  /** It connects to `sqlalchemy.url` of the ini file, and to nothing else. */
  readonly usesIniUrl: boolean;
}

export type EnvironmentAnswer =
  | { readonly kind: "known"; readonly environment: Environment }
  | { readonly kind: "cannot-tell"; readonly reason: string };

interface Block {
  readonly line: Line;
  /** The header of a compound statement, or the whole of a simple one. */
  readonly header: readonly Token[];
  readonly body: readonly Block[];
}

/** Reads env.py. `flask`: it is run by Flask-Migrate, which hands it keyword arguments. */
export function readEnvironment(
  source: Source,
  options: { readonly flask: boolean },
): EnvironmentAnswer {
  const decoded = decodeSource(source);
  if (decoded.kind === "unreadable") return { kind: "cannot-tell", reason: decoded.reason };
  const tokens = tokenise(decoded.text, { skipFunctions: false });
  if (tokens.kind === "unreadable") return { kind: "cannot-tell", reason: tokens.reason };
  const lines = tokens.lines.filter((line) => !isDocstring(line));
  // What is not in the whole need not be looked for in each token: in a string as it stands, in a name as Python compares it.
  const { text } = decoded;
  const names = normaliseNames(source, text);
  const whole = names === text ? text : `${text}\n${names}`;
  const blocks = nestBlocks(lines);
  const contexts = findContextNames(lines);
  const table = readVersionTable(lines, contexts, { whole, flask: options.flask });
  return {
    kind: "known",
    environment: {
      ...table,
      ...(folderWords.test(whole) ? findFolderHazards(lines) : noFolderHazard),
      ...findFlowHazard(lines, blocks, contexts),
      readsXArguments: lines.some((line) =>
        line.tokens.some((token) => token.text === "get_x_argument"),
      ),
      usesIniUrl: connectsToIniUrl(lines),
    },
  };
}

/** A statement that is nothing but strings says nothing. */
function isDocstring(line: Line): boolean {
  return line.tokens.every((token) => token.kind === "string");
}

function nestBlocks(lines: readonly Line[]): Block[] {
  const top: Block[] = [];
  const open: { indent: number; body: Block[] }[] = [{ indent: -1, body: top }];
  for (const line of lines) {
    while ((open.at(-1)?.indent ?? -1) >= line.indent) open.pop();
    const colon = isCompound(line) ? findAtTop(line.tokens, (token) => token.text === ":") : -1;
    const tail = colon === -1 ? [] : line.tokens.slice(colon + 1);
    const body: Block[] = [];
    // `if x: f()` on one line.
    if (tail.length > 0) body.push({ line, header: tail, body: [] });
    open
      .at(-1)
      ?.body.push({ line, header: colon === -1 ? line.tokens : line.tokens.slice(0, colon), body });
    open.push({ indent: line.indent, body });
  }
  return top;
}

const compound = new Set([...compoundKeywords, "def", "class"]);

function isCompound(line: Line): boolean {
  return compound.has(keywordOf(line.tokens)) || line.tokens.at(-1)?.text === ":";
}

function keywordOf(tokens: readonly Token[]): string {
  const first = tokens[0]?.text ?? "";
  return first === "async" ? (tokens[1]?.text ?? "") : first;
}

// ---- how often it migrates

/** The names under which env.py knows `alembic.context`. */
function findContextNames(lines: readonly Line[]): Set<string> {
  const names = new Set<string>();
  for (const { tokens } of lines) {
    const imports = tokens.findIndex((token) => token.text === "import");
    if (tokens[0]?.text === "from" && tokens[1]?.text === "alembic" && imports === 2) {
      for (const part of splitAt(unwrap(tokens.slice(3)), ",")) {
        if (part[0]?.text === "context") names.add(part[2]?.text ?? "context");
      }
    }
  }
  return names;
}

function unwrap(tokens: readonly Token[]): readonly Token[] {
  return tokens[0]?.text === "(" && tokens.at(-1)?.text === ")" ? tokens.slice(1, -1) : tokens;
}

/** Is the token at `index` the method of a call `context.<method>(`? */
function isContextCall(
  tokens: readonly Token[],
  index: number,
  contexts: ReadonlySet<string>,
): boolean {
  if (tokens[index - 1]?.text !== "." || tokens[index + 1]?.text !== "(") return false;
  const owner = tokens[index - 2]?.text ?? "";
  const deeper = tokens[index - 3]?.text === ".";
  return deeper
    ? owner === "context" && tokens[index - 4]?.text === "alembic"
    : contexts.has(owner);
}

const flowWords = new Set([
  "configure",
  "run_migrations",
  "EnvironmentContext",
  "command",
  "exec",
  "eval",
]);

function findFlowHazard(
  lines: readonly Line[],
  blocks: readonly Block[],
  contexts: ReadonlySet<string>,
): Pick<Environment, "flowHazard" | "repetition"> {
  const hazard = (flowHazard: string) => ({ flowHazard, repetition: null });
  const imported = findImportedNames(lines);
  for (const { tokens, number } of lines) {
    for (let index = 0; index < tokens.length; index += 1) {
      const token = tokens[index] as Token;
      if (!flowWords.has(token.text) || token.kind !== "name") continue;
      const next = tokens[index + 1]?.text;
      const attribute = tokens[index - 1]?.text === ".";
      const where = `env.py, line ${number}`;
      if (
        token.text === "configure" &&
        attribute &&
        next === "(" &&
        !isContextCall(tokens, index, contexts)
      ) {
        const owner = tokens[index - 2]?.text ?? "";
        if (
          !imported.has(owner) ||
          owner === "MigrationContext" ||
          owner === "EnvironmentContext"
        ) {
          return hazard(`${where}: it is not certain what is configured`);
        }
      }
      if (token.text === "run_migrations" && attribute && !isContextCall(tokens, index, contexts)) {
        return hazard(`${where}: it is not certain what is migrated`);
      }
      if (token.text === "EnvironmentContext" && next === "(")
        return hazard(`${where} makes an environment of its own`);
      if (token.text === "command" && tokens[0]?.text === "from" && tokens[1]?.text === "alembic") {
        return hazard(`${where} runs commands of Alembic itself`);
      }
      if (token.text === "command" && attribute && tokens[index - 2]?.text === "alembic") {
        return hazard(`${where} runs commands of Alembic itself`);
      }
      if (["exec", "eval"].includes(token.text) && !attribute && next === "(")
        return hazard(`${where} calls ${token.text}()`);
      if (token.text === "configure" && isContextCall(tokens, index, contexts)) {
        for (const name of [
          "fn",
          "script",
          "starting_rev",
          "purge",
          "as_sql",
          "dont_mutate",
          "destination_rev",
        ]) {
          if (findKeyword(tokens, index + 1, name) !== null)
            return hazard(`${where} configures ${name}`);
        }
      }
    }
  }
  let repetition: string | null = null;
  for (const method of ["configure", "run_migrations"] as const) {
    const count = countRuns(blocks, method, contexts);
    if (count === 0)
      return hazard(`env.py does not call context.${method}() where that can be seen`);
    if (count > 1) repetition ??= `env.py may call context.${method}() more than once`;
  }
  return { flowHazard: null, repetition };
}

function findImportedNames(lines: readonly Line[]): Set<string> {
  const names = new Set<string>();
  for (const { tokens } of lines) {
    const start = tokens.findIndex((token) => token.text === "import");
    if (start === -1 || (start !== 0 && tokens[0]?.text !== "from")) continue;
    for (const part of splitAt(unwrap(tokens.slice(start + 1)), ",")) {
      const renamed = part.findIndex((token) => token.text === "as");
      names.add((renamed === -1 ? part[0] : part[renamed + 1])?.text ?? "");
    }
  }
  return names;
}

/** How often, at most, a run of the module calls `context.<method>()`. Loops and thread pools count as infinity. */
function countRuns(
  blocks: readonly Block[],
  method: string,
  contexts: ReadonlySet<string>,
): number {
  const functions = new Map<string, Block[]>();
  const collect = (list: readonly Block[]): void => {
    for (const block of list) {
      if (keywordOf(block.header) === "def") {
        const name = block.header[block.header[0]?.text === "async" ? 2 : 1]?.text ?? "";
        functions.set(name, [...(functions.get(name) ?? []), block]);
      }
      collect(block.body);
    }
  };
  collect(blocks);
  // Only these matter: `def get_engine()` that asks `db.get_engine()` looks like a function that calls itself.
  const callers = new Set<string>();
  const calls = (block: Block): boolean =>
    block.header.some((token, index) =>
      // `context.run_migrations()` is no call of the file's own `def run_migrations()`.
      isContextCall(block.header, index, contexts)
        ? token.text === method
        : callers.has(token.text),
    ) || block.body.some(calls);
  for (let size = -1; size !== callers.size;) {
    size = callers.size;
    for (const [name, bodies] of functions) if (bodies.some(calls)) callers.add(name);
  }
  const counted = new Map<string, number>();
  const countFunction = (name: string): number => {
    const known = counted.get(name);
    if (known !== undefined) return known;
    counted.set(name, Infinity);
    const count = Math.max(
      ...(functions.get(name) ?? []).map((block) => countBlocks(block.body, 0)),
    );
    counted.set(name, count);
    return count;
  };
  const countTokens = (tokens: readonly Token[]): number => {
    let count = 0;
    for (let index = 0; index < tokens.length; index += 1) {
      const token = tokens[index] as Token;
      if (token.kind !== "name") continue;
      if (isContextCall(tokens, index, contexts)) count += token.text === method ? 1 : 0;
      else if (callers.has(token.text) && !isImportedThere(tokens))
        count += countFunction(token.text);
    }
    const repeated = tokens.some((token) => token.kind === "name" && repeaters.has(token.text));
    return repeated && count > 0 ? Infinity : count;
  };
  // Branches are alternatives to each other and, where they leave, to all that follows them.
  const countBlocks = (list: readonly Block[], from: number): number => {
    let count = 0;
    for (let index = from; index < list.length;) {
      const block = list[index] as Block;
      const keyword = keywordOf(block.header);
      let end = index + 1;
      if (keyword === "if") {
        while (["elif", "else"].includes(keywordOf(list[end]?.header ?? []))) end += 1;
        const chain = list.slice(index, end);
        const rest = countBlocks(list, end);
        const branches = chain.map((each) => {
          const last = each.body.at(-1);
          const leaves = ["return", "raise"].includes(keywordOf(last?.header ?? []));
          return countBlocks(each.body, 0) + (leaves ? 0 : rest);
        });
        if (keywordOf(chain.at(-1)?.header ?? []) !== "else") branches.push(rest);
        const tests = chain.reduce((sum, each) => sum + countTokens(each.header), 0);
        return count + tests + Math.max(...branches);
      }
      if (keyword === "def") {
        // Only its default values and decorators run here, and neither migrates.
      } else if (keyword === "for" || keyword === "while") {
        const inside = countBlocks(block.body, 0);
        // A loop that is left once it has migrated only tries again what has failed.
        const once = countTokens(block.header) === 0 && inside === 1 && isLeftAfterRun(block.body);
        if (once) count += 1;
        else if (countTokens(block.header) + inside > 0) return Infinity;
      } else if (keyword === "try") {
        // Either an exception is handled or `else` runs.
        while (["except", "else", "finally"].includes(keywordOf(list[end]?.header ?? []))) end += 1;
        const parts = list.slice(index, end).map((each) => ({
          always: ["try", "finally"].includes(keywordOf(each.header)),
          count: countTokens(each.header) + countBlocks(each.body, 0),
        }));
        for (const part of parts) if (part.always) count += part.count;
        count += Math.max(0, ...parts.filter((part) => !part.always).map((part) => part.count));
      } else if (keyword === "match" && block.body.length > 0) {
        count += Math.max(...block.body.map((each) => countBlocks(each.body, 0)));
      } else count += countTokens(block.header) + countBlocks(block.body, 0);
      index = end;
    }
    return count;
  };
  /** Whether the loop of this body ends with the statement that migrates, or right behind it. */
  const isLeftAfterRun = (list: readonly Block[]): boolean =>
    list.every((block, index) => {
      const keyword = keywordOf(block.header);
      if (keyword === "return") return true;
      if (countTokens(block.header) + countBlocks(block.body, 0) === 0) return true;
      const next = list[index + 1];
      if (["break", "return"].includes(keywordOf(next?.header ?? []))) return true;
      if (keyword !== "with" && keyword !== "try") return false;
      if (isLeftAfterRun(block.body)) return true;
      const after = list.slice(index + 1).find((each) => keywordOf(each.header) !== "except");
      return (
        keyword === "try" &&
        keywordOf(after?.header ?? []) === "else" &&
        ["break", "return"].includes(keywordOf(after?.body.at(-1)?.header ?? []))
      );
    });
  return countBlocks(blocks, 0);
}

// Loops that are not statements.
const repeaters = new Set(["for", "map", "imap", "imap_unordered", "starmap"]);

function isImportedThere(tokens: readonly Token[]): boolean {
  return tokens[0]?.text === "import" || tokens[0]?.text === "from";
}

// ---- where the folders are

const folderWords = /version_locations|_load_revisions|revision_map|_proxy|ScriptDirectory/;
const noFolderHazard = { folderHazard: null, folderLines: [] } as const;

// `script_location` is no hazard: it has been read when env.py runs.
function findFolderHazards(
  lines: readonly Line[],
): Pick<Environment, "folderHazard" | "folderLines"> {
  const hits = lines.filter(({ tokens }) =>
    tokens.some((token, index) => {
      const name = token.kind === "name";
      if (!name && token.kind !== "string") return false;
      return (
        token.text.includes("version_locations") ||
        (name && ["_load_revisions", "revision_map", "_proxy"].includes(token.text)) ||
        (name && token.text === "ScriptDirectory" && tokens[index + 1]?.text === "(")
      );
    }),
  );
  const [first] = hits;
  return {
    folderHazard:
      first === undefined ? null : `env.py, line ${first.number}: the folders may be set in code`,
    folderLines: hits.map(({ number }) => {
      const next = lines.find((line) => line.number > number);
      return [number, next === undefined ? Infinity : next.number - 1] as const;
    }),
  };
}

// ---- which version table

const tableNames = ["version_table", "version_table_schema"] as const;
const tableWords = /version_table|schema_translate_map|default_schema_name|search_path/;
const roleWords = /\bset\s+(?:(?:session|local)\s+)?(?:role|session\s+authorization)\b/i;

interface VersionTableAnswer {
  readonly versionTable: string | null;
  readonly versionTableSchema: string | null;
  readonly tableHazard: string | null;
}

function unsureTable(reason: string): VersionTableAnswer {
  return { versionTable: null, versionTableSchema: null, tableHazard: reason };
}

function readVersionTable(
  lines: readonly Line[],
  contexts: ReadonlySet<string>,
  { whole, flask }: { readonly whole: string; readonly flask: boolean },
): VersionTableAnswer {
  const named = tableWords.test(whole);
  const constants = named ? findConstants(lines) : [];
  const understood = new Set<Token>();
  const calls: { given: (string | null)[]; connected: boolean }[] = [];
  for (const { tokens, number } of lines) {
    for (const index of tokens.keys()) {
      if (tokens[index]?.text !== "configure" || !isContextCall(tokens, index, contexts)) continue;
      const given: (string | null)[] = [];
      for (const name of tableNames) {
        const keyword = findKeyword(tokens, index + 1, name);
        if (keyword === null) {
          given.push(null);
          continue;
        }
        const literal = resolveLiteral(keyword.value, constants);
        if (literal?.kind !== "string" && literal?.kind !== "none") {
          return unsureTable(`env.py, line ${number}: ${name} is not a literal`);
        }
        given.push(literal.kind === "string" ? literal.value : null);
        understood.add(keyword.name);
        for (const token of keyword.value) understood.add(token);
        // Only what is understood through this keyword: another constant may be the SQL that sets a search_path.
        for (const constant of constants) {
          if (!keyword.value.some((token) => token.text === constant.name)) continue;
          for (const token of constant.tokens) understood.add(token);
        }
      }
      const [first] = readArguments(tokens, index + 1);
      const connected =
        findKeyword(tokens, index + 1, "connection") !== null || first?.[1]?.text !== "=";
      calls.push({ given, connected });
      const splat = findSplat(tokens, index + 1, lines, flask);
      if (splat !== null)
        return unsureTable(`env.py, line ${number}: ${splat} may hold a version_table`);
    }
  }
  for (const { tokens, number } of named || roleWords.test(whole) ? lines : []) {
    for (const token of tokens) {
      if ((token.kind !== "name" && token.kind !== "string") || understood.has(token)) continue;
      const word = tableWords.exec(token.text)?.[0];
      // Names that merely contain the word (`include_version_tables`) are somebody's own.
      const exact =
        token.kind === "string" ||
        /^(?:version_table(?:_schema|_impl)?|.*search_path.*|schema_translate_map|default_schema_name)$/.test(
          token.text,
        );
      if (word !== undefined && exact)
        return unsureTable(`env.py, line ${number}: ${word} may move the version table`);
      if (token.kind === "string" && roleWords.test(token.text)) {
        return unsureTable(`env.py, line ${number} changes the role, and with it the schema`);
      }
    }
  }
  // Without a connection it only prints SQL.
  const connected = calls.filter((call) => call.connected);
  const [first, ...others] = (connected.length > 0 ? connected : calls).map(({ given }) => given);
  if (first === undefined)
    return { versionTable: null, versionTableSchema: null, tableHazard: null };
  if (others.some((call) => call[0] !== first[0] || call[1] !== first[1])) {
    return unsureTable("env.py configures different version tables");
  }
  return {
    versionTable: first[0] ?? null,
    versionTableSchema: first[1] ?? null,
    tableHazard: null,
  };
}

interface Constant {
  readonly name: string;
  readonly literal: Literal;
  readonly tokens: readonly Token[];
}

/** Names that are bound once in all of the file, at module level, to a literal. */
function findConstants(lines: readonly Line[]): Constant[] {
  const found: Constant[] = [];
  for (const { tokens, indent } of lines) {
    const [first] = tokens;
    const sign = findAtTop(tokens, (token) => token.text === "=");
    if (indent !== 0 || first?.kind !== "name" || sign === -1) continue;
    if (sign !== 1 && tokens[1]?.text !== ":") continue;
    const literal = readLiteral(tokens.slice(sign + 1));
    if (literal !== null) found.push({ name: first.text, literal, tokens });
  }
  return found.filter(({ name }) => countBindings(lines, name) === 1);
}

/** An upper bound: keyword arguments of that name in calls are not counted, parameters are. */
function countBindings(lines: readonly Line[], name: string): number {
  let count = 0;
  for (const { tokens } of lines) {
    let depth = 0;
    const binds = [
      "def",
      "for",
      "global",
      "nonlocal",
      "import",
      "from",
      "del",
      "with",
      "class",
      "except",
    ];
    const risky =
      binds.includes(keywordOf(tokens)) ||
      tokens.some((token) => token.text === "for" || token.text === "lambda");
    for (const [index, token] of tokens.entries()) {
      if (token.kind === "operator") {
        if ("([{".includes(token.text)) depth += 1;
        else if (")]}".includes(token.text)) depth -= 1;
      }
      if (token.kind !== "name" || token.text !== name || tokens[index - 1]?.text === ".") continue;
      const next = tokens[index + 1]?.text ?? "";
      const assigned =
        depth === 0 &&
        findAtTop(tokens.slice(index + 1), (each) => /^(?:[^=!<>]*=|:)$/.test(each.text)) !== -1;
      if (risky || next === ":=" || assigned) count += 1;
    }
  }
  return count;
}

function resolveLiteral(tokens: readonly Token[], constants: readonly Constant[]): Literal | null {
  const literal = readLiteral(tokens);
  if (literal !== null || tokens.length !== 1) return literal;
  return constants.find((each) => each.name === tokens[0]?.text)?.literal ?? null;
}

interface Keyword {
  readonly name: Token;
  readonly value: readonly Token[];
}

function findKeyword(tokens: readonly Token[], open: number, name: string): Keyword | null {
  for (const argument of readArguments(tokens, open)) {
    const [first, sign, ...value] = argument;
    if (first?.text === name && sign?.text === "=") return { name: first, value };
  }
  return null;
}

/** What is unpacked into the call's keyword arguments and cannot be seen through, or null. */
function findSplat(
  tokens: readonly Token[],
  open: number,
  lines: readonly Line[],
  flask: boolean,
): string | null {
  for (const argument of readArguments(tokens, open)) {
    if (argument[0]?.text === "*") return "what is unpacked";
    if (argument[0]?.text !== "**") continue;
    const value = argument.slice(1);
    const said = `**${value.map((token) => token.text).join("")}`;
    if (isVisible(value, flask)) continue;
    const [name] = value;
    if (value.length !== 1 || name?.kind !== "name") return said;
    const bindings = lines.filter((line) => bindsName(line.tokens, name.text));
    const visible = bindings.every((line) => {
      const sign = findAtTop(line.tokens, (token) => token.text === "=");
      return sign !== -1 && isVisible(line.tokens.slice(sign + 1), flask);
    });
    if (bindings.length === 0 || !visible || changesUnseen(lines, name.text, flask)) return said;
  }
  return null;
}

function bindsName(tokens: readonly Token[], name: string): boolean {
  const binds = ["def", "for", "with", "import", "from", "global", "nonlocal", "except"].includes(
    keywordOf(tokens),
  );
  if (binds) return tokens.some((token) => token.text === name);
  return tokens[0]?.text === name && ["=", ":", "|="].includes(tokens[1]?.text ?? "");
}

function changesUnseen(lines: readonly Line[], name: string, flask: boolean): boolean {
  const isKnown = (value: readonly Token[]): boolean => {
    if (isVisible(value, false)) return true;
    const [alias] = value;
    if (!flask || value.length !== 1 || alias?.kind !== "name") return false;
    // `kwargs.update(configure_args)`, where that is what Flask-Migrate hands over.
    const bindings = lines.filter((line) => bindsName(line.tokens, alias.text));
    return (
      bindings.length > 0 &&
      bindings.every(({ tokens }) => tokens[1]?.text === "=" && isVisible(tokens.slice(2), flask))
    );
  };
  return lines.some(({ tokens }) =>
    tokens.some((token, index) => {
      if (token.text !== name) return false;
      const method = tokens[index + 2]?.text;
      if (tokens[index + 1]?.text !== "." || (method !== "update" && method !== "setdefault"))
        return false;
      return method === "setdefault" ? false : !isKnown(tokens.slice(index + 4, -1));
    }),
  );
}

/** A dictionary whose keys are all written out, or what Flask-Migrate hands over. */
function isVisible(value: readonly Token[], flask: boolean): boolean {
  const text = value.map((token) => token.text).join("");
  if (flask && /^current_app\.extensions\[["']migrate["']\]\.configure_args$/.test(text))
    return true;
  const dictionary =
    value[0]?.text === "{" || (value[0]?.text === "dict" && value[1]?.text === "(");
  if (!dictionary) return false;
  if (value.some((token) => token.text === "**" || token.text === "for" || token.text === "|"))
    return false;
  return (
    value[0]?.text === "{" || readArguments(value, 1).every((argument) => argument[1]?.text === "=")
  );
}

// ---- which database

/** Names that mean that another URL than the ini file's may be used. */
const otherUrls = new Set(
  "set_main_option set_section_option create_engine create_async_engine environ getenv file_config".split(
    " ",
  ),
);
for (const name of ["get_x_argument", "load_dotenv", "get_engine", "make_url", "URL"])
  otherUrls.add(name);

function isEngineMaker(token: Token | undefined): boolean {
  return token?.text === "engine_from_config" || token?.text === "async_engine_from_config";
}

function connectsToIniUrl(lines: readonly Line[]): boolean {
  let engines = 0;
  for (const { tokens } of lines) {
    for (let index = 0; index < tokens.length; index += 1) {
      const token = tokens[index] as Token;
      if (token.kind === "operator" || token.kind === "number") continue;
      if (token.kind === "name" && otherUrls.has(token.text)) return false;
      // Whoever is given the configuration may set another URL in it.
      if (token.text === "config" && isHandedOver(tokens, index)) return false;
      if (
        token.kind === "string" &&
        token.value !== "sqlalchemy." &&
        token.text.includes("sqlalchemy.")
      ) {
        // Read as it stands, for offline mode.
        const read =
          token.value === "sqlalchemy.url" && tokens[index - 2]?.text === "get_main_option";
        if (!read || tokens[index + 1]?.text !== ")") return false;
      }
      if (!isEngineMaker(token) || tokens[index + 1]?.text !== "(") continue;
      engines += 1;
      const [section, ...rest] = readArguments(tokens, index + 1);
      if (!readsSection(section ?? [], lines)) return false;
      for (const [position, argument] of rest.entries()) {
        const keyword = argument[1]?.text === "=" ? argument[0]?.text : null;
        const value = argument.at(-1)?.value;
        if (
          (keyword === "prefix" || (keyword === null && position === 0)) &&
          value !== "sqlalchemy."
        )
          return false;
        if (keyword === "url" || argument[0]?.text === "**") return false;
      }
    }
  }
  return engines > 0;
}

/** Neither read, as `config.x`, nor bound, as in `config = context.config`. */
function isHandedOver(tokens: readonly Token[], index: number): boolean {
  const next = tokens[index + 1]?.text;
  const imported = tokens[0]?.text === "from" || tokens[0]?.text === "import";
  const bound = tokens[index - 1]?.text === "." && tokens[1]?.text === "=" && next === undefined;
  return next !== "." && next !== "=" && !bound && !imported;
}

/** `config.get_section(config.config_ini_section)`, or a name that is bound to that and not touched. */
function readsSection(argument: readonly Token[], lines: readonly Line[]): boolean {
  if (isSection(argument)) return true;
  const [name] = argument;
  if (argument.length !== 1 || name?.kind !== "name") return false;
  let bound = 0;
  for (const { tokens } of lines) {
    for (const [index, token] of tokens.entries()) {
      if (token.text !== name.text || token.kind !== "name") continue;
      if (index === 0 && tokens[1]?.text === "=" && isSection(tokens.slice(2))) bound += 1;
      // Otherwise it may only be handed to the engine.
      else if (!isEngineMaker(tokens[index - 2])) return false;
    }
  }
  return bound === 1;
}

function isSection(tokens: readonly Token[]): boolean {
  const text = tokens.map((token) => token.text).join("");
  return /^(?:context\.)?config\.get_section\((?:context\.)?config\.config_ini_section(?:,(?:\{\}|dict\(\))|,default=\{\})?,?\)$/.test(
    text,
  );
}
