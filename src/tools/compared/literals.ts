// What a configuration file of JavaScript, TypeScript or JSON says in literals. Guarantees: what only running it could tell is
// "other", and an object to which something else may add is open.

import { posix } from "node:path";

export type Literal =
  /** `beside`: a path that is relative to the file's own folder. */
  | { readonly kind: "text"; readonly text: string; readonly beside?: true }
  | {
      readonly kind: "object";
      readonly entries: ReadonlyMap<string, Literal>;
      readonly open: boolean;
    }
  /** An expression, as it is written. */
  | { readonly kind: "other"; readonly source: string };

/** What a file exports; null where that is no object that is written down in it. */
export function readExport(source: string): Literal | null {
  const masked = mask(source);
  if (/^\s*\{/.test(masked)) return readAt(source, masked, masked.search(/\{/));
  const exported = [
    ...masked.matchAll(/\bexport\s+default\s+|\bmodule\.exports\s*=\s*|\bexport\s*=\s*/g),
  ];
  const [only, ...others] = exported;
  if (
    only === undefined ||
    others.length > 0 ||
    /\bexports\.\w+\s*=|\bmodule\.exports\./.test(masked)
  ) {
    return null;
  }
  return readNamed(source, masked, only.index + only[0].length);
}

/** What a function or a constructor is given, where the file calls it once: `new DataSource({ … })`. */
export function readArgument(source: string, call: RegExp): Literal | null {
  const masked = mask(source);
  const [only, ...others] = [...masked.matchAll(call)];
  if (only === undefined || others.length > 0) return null;
  return readNamed(source, masked, only.index + only[0].length);
}

/** The elements of `[a, b]`; null where it is no list that is written down. */
export function readList(literal: Literal | null): readonly Literal[] | null {
  if (literal?.kind !== "other" || !/^\[[^]*\]$/.test(literal.source)) return null;
  const { source } = literal;
  const masked = mask(source);
  const elements: Literal[] = [];
  for (let at = 1; ;) {
    at = skipSpace(masked, at, /[\s,]/);
    if (at >= masked.length - 1) return elements;
    const element = readValue(source, masked, at);
    elements.push(element.literal);
    at = element.end;
  }
}

/** An object, or the only definition of its name. */
function readNamed(source: string, masked: string, start: number): Literal | null {
  const direct = readWrapped(source, masked, start);
  if (direct !== null) return direct;
  const name = /^[A-Za-z_$][\w$]*/.exec(masked.slice(start))?.[0];
  if (name === undefined) return null;
  const escaped = name.replaceAll("$", "\\$");
  const definitions = [
    ...masked.matchAll(
      new RegExp(`\\b(?:const|let|var)\\s+${escaped}\\b(?:\\s*:[^=]+)?\\s*=\\s*`, "g"),
    ),
  ];
  const uses = masked.match(new RegExp(`(?<![\\w$.])${escaped}(?![\\w$])`, "g")) ?? [];
  const [definition] = definitions;
  if (definition === undefined || definitions.length > 1 || uses.length !== 2) return null;
  return readWrapped(source, masked, definition.index + definition[0].length);
}

/** An object, or one that `defineConfig()` is given. */
function readWrapped(source: string, masked: string, start: number): Literal | null {
  const before = /^(?:defineConfig\s*\(\s*)?(?=\{)/.exec(masked.slice(start));
  return before === null ? null : readAt(source, masked, start + before[0].length);
}

function readAt(source: string, masked: string, start: number): Literal {
  return readObject(source, masked, start).literal;
}

/** What stands at a path of keys; null where certainly nothing does. */
export function findLiteral(literal: Literal | null, ...path: readonly string[]): Literal | null {
  const unknown: Literal = { kind: "other", source: "" };
  let found: Literal = literal ?? unknown;
  for (const key of path) {
    if (found.kind !== "object") return unknown;
    const next: Literal | undefined = found.entries.get(key);
    if (next === undefined) return found.open ? unknown : null;
    found = next;
  }
  return found;
}

interface Parsed {
  readonly literal: Literal;
  readonly end: number;
}

function readObject(source: string, masked: string, start: number): Parsed {
  const entries = new Map<string, Literal>();
  let open = false;
  let at = start + 1;
  for (;;) {
    at = skipSpace(masked, at, /[\s,]/);
    if (at >= masked.length) return { literal: { kind: "object", entries, open: true }, end: at };
    if (masked[at] === "}") return { literal: { kind: "object", entries, open }, end: at + 1 };
    const key = /^(?:([A-Za-z_$][\w$]*)|(["'])([^"'\\\n]*)\2)\s*:/.exec(
      // Strings are masked: the key is read from the source.
      source.slice(at, at + 200),
    );
    if (key === null) {
      // Shorthand, a method, a computed key, another object's properties.
      const end = skipExpression(masked, at);
      const shorthand = /^([A-Za-z_$][\w$]*)\s*(?:\(|$)/.exec(source.slice(at, end).trimEnd())?.[1];
      if (shorthand === undefined) open = true;
      else entries.set(shorthand, { kind: "other", source: source.slice(at, end) });
      at = end;
      continue;
    }
    const { literal, end } = readValue(source, masked, skipSpace(masked, at + key[0].length));
    entries.set(key[1] ?? key[3] ?? "", literal);
    at = end;
  }
}

function readValue(source: string, masked: string, start: number): Parsed {
  const end = skipExpression(masked, start);
  const text = source.slice(start, end).trim();
  if (masked[start] === "{") {
    const object = readObject(source, masked, start);
    if (/^(?:as const)?$/.test(masked.slice(object.end, end).trim())) return { ...object, end };
  }
  const plain = /^(["'`])((?:(?!\1)[^\\\n$])*)\1(?: as const)?$/.exec(text);
  if (plain !== null) return { literal: { kind: "text", text: plain[2] ?? "" }, end };
  const path = readPath(text);
  return {
    literal: path ?? { kind: "other", source: text },
    end,
  };
}

/** `path.join(__dirname, "db", "migrations")`, `__dirname + "/migrations"`, as it is relative to the file's folder. */
function readPath(text: string): Literal | null {
  const beside =
    /^(?:__dirname|import\.meta\.dirname)\s*\+\s*["']\/([^"'\\]*)["']$/.exec(text)?.[1] ??
    /^`\$\{(?:__dirname|import\.meta\.dirname)\}\/([^`\\$]*)`$/.exec(text)?.[1];
  if (beside !== undefined) return { kind: "text", text: beside, beside: true };
  const words =
    /^(?:path\.)?(?:join|resolve)\(\s*((?:__dirname|import\.meta\.dirname|process\.cwd\(\)|["'][^"'\\]*["'])(?:\s*,\s*["'][^"'\\]*["'])*)\s*,?\s*\)$/.exec(
      text,
    )?.[1];
  if (words === undefined) return null;
  const parts = words
    .split(",")
    .map((word) => word.trim())
    .map((word) => (/^["']/.test(word) ? word.slice(1, -1) : "."));
  const path = posix.join(...parts);
  return /^(?:__dirname|import)/.test(words)
    ? { kind: "text", text: path, beside: true }
    : { kind: "text", text: path };
}

/** The end of an expression: the next comma or closing bracket that is not in one of its own. */
function skipExpression(masked: string, start: number): number {
  let depth = 0;
  for (let at = start; at < masked.length; at += 1) {
    const sign = masked[at] as string;
    if ("([{".includes(sign)) depth += 1;
    else if (")]}".includes(sign)) {
      if (depth === 0) return at;
      depth -= 1;
    } else if (sign === "," && depth === 0) return at;
  }
  return masked.length;
}

function skipSpace(text: string, start: number, space = /\s/): number {
  let at = start;
  while (at < text.length && space.test(text[at] as string)) at += 1;
  return at;
}

/** The source with spaces for comments and for what is in strings. */
export function mask(source: string): string {
  const tokens =
    /\/\/[^\n]*|\/\*[^]*?\*\/|"(?:\\[^]|[^"\\\n])*"|'(?:\\[^]|[^'\\\n])*'|`(?:\\[^]|[^`\\])*`/g;
  return source.replaceAll(tokens, (token) => {
    const blank = token.replaceAll(/[^\n]/g, " ");
    return token.startsWith("/") ? blank : `"${blank.slice(2)}"`;
  });
}

/** The variable that an expression is the value of: `process.env.NAME!`, `env("NAME")`, with an empty default. */
export function readVariable({ source }: Extract<Literal, { kind: "other" }>): string | null {
  const match =
    /^(?:process\.env(?:\.(\w+)|\[["'](\w+)["']\])|env(?:<\w+>)?\(\s*["'](\w+)["']\s*\))\s*(?:!|as string|(?:\?\?|\|\|)\s*(?:""|''))?$/.exec(
      source,
    );
  return match?.[1] ?? match?.[2] ?? match?.[3] ?? null;
}
