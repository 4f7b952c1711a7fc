// SQL as string literals of Python. Guarantees: Python reads the very text.

/** A Python string literal of one line, in double quotes unless single ones need fewer backslashes. */
export function quotePython(text: string): string {
  const quoted = JSON.stringify(text);
  if (!text.includes('"') || text.includes("'")) return quoted;
  return `'${quoted.slice(1, -1).replaceAll('\\"', '"')}'`;
}

/** Several lines are strings that Python joins: they may be indented. */
export function quoteLines(text: string): string {
  const lines = text.split(/(?<=\n)/);
  if (lines.length === 1) return quotePython(text);
  return `\n${lines.map((line) => `    ${quotePython(line)}`).join("\n")}\n`;
}
