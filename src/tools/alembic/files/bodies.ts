// Whether the functions of a revision file do anything. Guarantees: "empty" is said only of a function that certainly
// does nothing; what is bound in any other way than by one `def` at module level is "unknown".

import { decodeSource, tokenise, type Line, type Token } from "./tokens.ts";
import { splitAt } from "./literals.ts";

const functionNames = ["upgrade", "downgrade"] as const;
type FunctionName = (typeof functionNames)[number];

export type Body = "empty" | "full" | "unknown";

/** Reads the bytes of a revision file. */
export function readBodies(source: Uint8Array): Readonly<Record<FunctionName, Body>> {
  const unknown = { upgrade: "unknown", downgrade: "unknown" } as const;
  const decoded = decodeSource(source);
  if (decoded.kind === "unreadable") return unknown;
  const tokens = tokenise(decoded.text, { skipFunctions: false });
  if (tokens.kind === "unreadable") return unknown;
  return {
    upgrade: readBody(tokens.lines, "upgrade"),
    downgrade: readBody(tokens.lines, "downgrade"),
  };
}

function readBody(lines: readonly Line[], name: FunctionName): Body {
  const isNamed = ({ tokens }: Line) =>
    tokens.some(({ kind, text }) => kind === "name" && text === name);
  const [header, ...others] = lines.filter(isNamed);
  if (header === undefined || others.length > 0 || header.indent > 0) return "unknown";
  const { tokens } = header;
  const index = lines.indexOf(header);
  const decorated = lines[index - 1]?.tokens[0]?.text === "@";
  if (tokens[0]?.text !== "def" || tokens[1]?.text !== name || decorated) return "unknown";

  let end = index + 1;
  while (end < lines.length && (lines[end] as Line).indent > 0) end += 1;
  const body = [
    tokens.slice(tokens.findLastIndex(({ text }) => text === ":") + 1),
    ...lines.slice(index + 1, end).map((line) => line.tokens),
  ];
  const statements = body.flatMap((line) => splitAt(line, ";"));
  return statements.every(doesNothing) ? "empty" : "full";
}

/** `pass`, `...`, `return`, `return None`, a string, or nothing at all. */
function doesNothing(statement: readonly Token[]): boolean {
  const text = statement.map((token) => token.text).join(" ");
  if (["", "pass", "...", ". . .", "return", "return None"].includes(text)) return true;
  return statement.every(({ kind, value }) => kind === "string" && value !== null);
}
