// A constraint's own words out of the statement: its condition is repeated in the safe form as it was written.

/** From the first parenthesis to the one that closes it. */
export function balanced(text: string): string {
  const start = text.indexOf("(");
  let depth = 0;
  for (let index = start; index < text.length; index++) {
    const character = text[index];
    if (character === "'" || character === '"') {
      const end = text.indexOf(character, index + 1);
      index = end === -1 ? text.length : end;
    } else if (character === "(") depth++;
    else if (character === ")" && --depth === 0) return text.slice(start, index + 1);
  }
  return text.slice(start);
}
