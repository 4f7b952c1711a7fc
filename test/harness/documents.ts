// The repository's documents, as its tests read them: tables, headings, links, and the blocks of commands.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");

/** All documents, as paths from the root: README.md first. */
export function listDocuments(): string[] {
  const found = globSync("**/*.md", {
    cwd: root,
    exclude: (name) => /(^|\/)(node_modules|dist|\..+)$/.test(name),
  });
  return ["README.md", ...found.filter((name) => name !== "README.md").toSorted()];
}

/** A document's text; with `chapter`, what is below that heading. @throws where there is none. */
export function readDocument(name: string, chapter?: string): string {
  const text = readFileSync(join(root, name), "utf8");
  if (chapter === undefined) return text;
  // In a block a # is no heading.
  const pattern = /^```[^]*?^```$|^(#+) (.*)$/gm;
  const headings = [...text.matchAll(pattern)].filter(([, marks]) => marks !== undefined);
  const start = headings.findIndex(([, , title]) => title === chapter);
  const [first, ...later] = headings.slice(start);
  if (start === -1 || first === undefined) throw new Error(`${name} has no chapter ${chapter}`);
  const end = later.find(([, marks = ""]) => marks.length <= (first[1] ?? "").length);
  return text.slice(first.index + first[0].length, end?.index);
}

/** The body of the table whose first heading is `heading`: plain cells, without code marks. @throws where there is none. */
export function readTable(text: string, heading: string): string[][] {
  const lines = text.split("\n");
  const start = lines.findIndex((line) => line.startsWith("|") && splitRow(line)[0] === heading);
  if (start === -1) throw new Error(`there is no table with the heading ${heading}`);
  const rest = lines.slice(start + 2);
  const end = rest.findIndex((line) => !line.startsWith("|"));
  return rest.slice(0, end === -1 ? undefined : end).map(splitRow);
}

function splitRow(line: string): string[] {
  return line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) =>
      cell
        .trim()
        .replace(/^`([^`]*)`$/, "$1")
        .replaceAll("\\|", "|"),
    );
}

/** The fenced blocks of one kind, each as its lines. */
export function readBlocks(text: string, kind: string): string[][] {
  const blocks = text.matchAll(new RegExp(`^\`\`\`${kind}\\n([^]*?)^\`\`\`$`, "gm"));
  return [...blocks].map(([, body = ""]) => body.split("\n").slice(0, -1));
}

/** The text without its fenced blocks. */
export function withoutBlocks(text: string): string {
  return text.replaceAll(/^```[^]*?^```$/gm, "");
}
