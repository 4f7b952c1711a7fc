// Tables in Markdown, and the parts of a document that a script writes: between `<!-- NAME -->` and `<!-- /NAME -->`.
// No cell is padded, so that a change of one row is a change of one line.

/** `heading` and `rows`; a `|` in a cell is escaped. Without a newline at the end. */
export function formatTable(heading: readonly string[], rows: readonly string[][]): string {
  return [heading, heading.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`)
    .join("\n")
    .replaceAll(/(?<=\|) {2}(?=\|)/g, " ");
}

/** `text` with `body` between the marks of `name`. @throws where they are missing. */
export function fillMarks(text: string, name: string, body: string): string {
  const [from, to] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [start, end] = [text.indexOf(from), text.indexOf(to)];
  if (start === -1 || end < start) throw new Error(`there is no ${from} … ${to}`);
  return `${text.slice(0, start)}${from}\n\n${body}\n\n${text.slice(end)}`;
}
